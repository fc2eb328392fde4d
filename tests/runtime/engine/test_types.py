"""Semantics 3: values of the wrong type, bytes that are no value, values that can't be sent."""

import pytest

from runtime import (
    BadMessage,
    FlowException,
    Party,
    Session,
    UnexpectedFlowEnd,
    UnexpectedMessage,
    UnserialisableMessage,
    flow,
    initiate,
    message,
    responder,
)
from runtime.core.envelopes import Data, decode, encode
from runtime.testing.memory_transport import Delivery, Link
from runtime.testing.network import SimulatedNetwork
from tests.runtime.engine.scenes import Wire, assert_nothing_is_left, outcome, pair, same


@message
class Apple:
    weight: int


@message
class Basket:
    apples: list[Apple]
    note: object = None


@flow
def send_apples(peer: Party) -> str:
    session = initiate(peer)
    session.send(Apple(100))
    session.send(Apple(200))
    return session.receive(str).unwrap(same)


@responder(send_apples)
def expect_text(session: Session) -> None:
    try:
        session.receive(str)
    except UnexpectedMessage as error:
        told = f"{error.expected} | {error.got} | {error.where}"
    apple = session.receive(Apple).unwrap(same)
    session.send(f"{told} | {apple.weight}")


def test_a_value_of_another_type_names_expected_got_and_position_and_is_consumed(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, send_apples, expect_text)

    expected, got, where, weight = alice.start_flow(send_apples, bob.party).result().split(" | ")

    assert expected == "str"
    assert got == f"{Apple.__module__}.Apple"
    assert f"session 0 with {alice.party.name}, message 0" in where
    assert weight == "200"


@pytest.mark.parametrize("lets_escape", [True, False])
def test_a_wrong_type_that_escapes_ends_the_peers_flow_too(
    network: SimulatedNetwork, lets_escape: bool
) -> None:
    @flow
    def send_wrong(peer: Party) -> str:
        return initiate(peer).exchange(Apple(1), str).unwrap(same)

    @responder(send_wrong)
    def expect_other(session: Session) -> None:
        try:
            session.receive(int)
        except UnexpectedMessage:
            if lets_escape:
                raise
            session.send("never mind")

    alice, bob = pair(network, send_wrong, expect_other)

    got = outcome(alice.start_flow(send_wrong, bob.party))

    if lets_escape:
        assert isinstance(got, UnexpectedFlowEnd)
        assert got.error_id is not None
    else:
        assert got == "never mind"
    network.run()
    assert_nothing_is_left(network)


def tampered(kind: str, body: bytes) -> object:
    """Return a policy that replaces the value of each data message."""

    def policy(link: Link, encoded: list[bytes]) -> list[Delivery]:
        changed = []
        for each in encoded:
            envelope = decode(each)
            if isinstance(envelope, Data):
                envelope.kind, envelope.body = kind, body
            changed.append(encode(envelope))
        return [Delivery(changed)]

    return policy


@flow
def tell_what_came(peer: Party) -> str:
    session = initiate(peer)
    session.send("go")
    try:
        session.receive(str)
    except BadMessage as error:
        return f"{error.reason} {error.where}"
    return "fine"


@responder(tell_what_came)
def say_something(session: Session) -> None:
    session.receive(str)
    session.send("something")


@pytest.mark.parametrize(
    ("kind", "body"),
    [("no.such.Type", b"\xc0"), ("str", b"\xc1"), ("str", b""), ("", b"\xc0")],
)
def test_bytes_that_are_no_value_are_a_bad_message_with_session_and_peer(
    network: SimulatedNetwork, kind: str, body: bytes
) -> None:
    network.links.policy = tampered(kind, body)  # type: ignore[assignment]
    alice, bob = pair(network, tell_what_came, say_something)

    told = alice.start_flow(tell_what_came, bob.party).result()

    assert f"session 1 with {bob.party.name}, message 1" in told


# --- at the sender --------------------------------------------------------------------------


class Unknown:
    """No message."""


@flow
def send_unknown(peer: Party) -> str:
    session = initiate(peer)
    try:
        session.send(Basket([Apple(1)], Unknown()))
    except UnserialisableMessage as error:
        return error.path
    return "sent"


def test_a_value_that_can_not_be_encoded_is_refused_at_the_sender_and_nothing_leaves(
    network: SimulatedNetwork,
) -> None:
    wire = Wire(network)
    alice, bob = pair(network, send_unknown)

    path = alice.start_flow(send_unknown, bob.party).result()
    network.run()

    assert path == "Basket.note"
    assert wire.trace() == []


def test_an_encoding_error_that_escapes_tells_the_peer_no_more_than_an_error_id(
    network: SimulatedNetwork,
) -> None:
    @flow
    def break_later(peer: Party) -> None:
        session = initiate(peer)
        session.exchange("hello", str)
        session.send(Unknown())

    seen: list[UnexpectedFlowEnd] = []

    @responder(break_later)
    def see_it_break(session: Session) -> None:
        session.send(session.receive(str).unwrap(same))
        try:
            session.receive(str)
        except UnexpectedFlowEnd as error:
            seen.append(error)

    alice, bob = pair(network, break_later, see_it_break)

    assert isinstance(outcome(alice.start_flow(break_later, bob.party)), UnserialisableMessage)
    network.run()
    assert seen[-1].error_id is not None


# --- checks ---------------------------------------------------------------------------------


class TooHeavy(FlowException):
    """The apple weighs too much."""


def test_a_check_that_fails_reaches_the_peer(network: SimulatedNetwork) -> None:
    @flow
    def send_heavy(peer: Party) -> str:
        return initiate(peer).exchange(Apple(5_000), str).unwrap(same)

    @responder(send_heavy)
    def weigh(session: Session) -> None:
        def light(apple: Apple) -> Apple:
            if apple.weight > 1_000:
                raise TooHeavy(apple.weight)
            return apple

        session.receive(Apple).unwrap(light)

    alice, bob = pair(network, send_heavy, weigh)

    with pytest.raises(TooHeavy) as caught:
        alice.start_flow(send_heavy, bob.party).result()

    assert caught.value.args == (5_000,)


def test_messages_of_every_kind_cross(network: SimulatedNetwork) -> None:
    values = [None, True, 7, 2**70, 1.5, "x", b"x", [1, 2], {"a": 1}, Apple(3), Basket([Apple(1)])]

    @flow
    def send_each(peer: Party) -> list[bool]:
        session = initiate(peer)
        return [session.exchange(value, type(value)).unwrap(same) == value for value in values]

    @responder(send_each)
    def send_back(session: Session) -> None:
        for value in values:
            session.send(session.receive(type(value)).unwrap(same))

    alice, bob = pair(network, send_each, send_back)

    assert alice.start_flow(send_each, bob.party).result() == [True] * len(values)


def test_a_union_may_be_asked_for(network: SimulatedNetwork) -> None:
    @flow
    def ask_for_either(peer: Party) -> list[str]:
        session = initiate(peer)
        session.send("go")
        return [type(session.receive(Apple | str).unwrap(same)).__name__ for _ in range(2)]

    @responder(ask_for_either)
    def send_either(session: Session) -> None:
        session.receive(str)
        session.send(Apple(1))
        session.send("x")

    alice, bob = pair(network, ask_for_either, send_either)

    assert alice.start_flow(ask_for_either, bob.party).result() == ["Apple", "str"]
