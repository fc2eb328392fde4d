"""Semantics 1: which message is sent when, and what it carries; seen on the wire."""

import pytest

from runtime import (
    FlowException,
    Party,
    Session,
    UnexpectedFlowEnd,
    flow,
    initiate,
    responder,
    sleep,
)
from runtime.core.envelopes import Accept, Data, End, Error, Open, Refuse
from runtime.errors import error_id_of
from runtime.testing.network import SimulatedNetwork
from tests.runtime.engine.scenes import HeldDisk, Wire, assert_nothing_is_left, pair, same, turn


class Sorry(FlowException):
    """The responder can't."""


@flow(version=3)
def count_up(peer: Party, first: int, rounds: int) -> list[int]:
    session = initiate(peer)
    return [session.exchange(first + n, int).unwrap(same) for n in range(rounds)]


@responder(count_up)
def count_along(session: Session) -> None:
    number = session.receive(int).unwrap(same)
    session.send(number + 10)
    session.send(session.receive(int).unwrap(same) + 10)


def test_the_reference_trace(network: SimulatedNetwork) -> None:
    wire = Wire(network)
    alice, bob = pair(network, count_up, count_along)

    assert alice.start_flow(count_up, bob.party, 10, 2).result() == [20, 21]
    network.run()

    trace = wire.trace()
    assert trace == ["open(10)", "accept", "data 20", "data 11", "data 21", "end", "end"]
    assert_nothing_is_left(network)


def test_initiate_sends_nothing(network: SimulatedNetwork) -> None:
    wire = Wire(network)

    @flow
    def look_only(peer: Party) -> str:
        session = initiate(peer)
        sleep(10)
        return str(session.counterparty.name)

    alice, bob = pair(network, look_only)

    assert alice.start_flow(look_only, bob.party).result() == bob.party.name
    network.run()

    assert wire.trace() == []
    assert bob.info().flows_started == 0


@pytest.mark.parametrize("use", ["receive", "peer"])
def test_a_first_use_without_a_payload_opens_without_one(
    network: SimulatedNetwork, use: str
) -> None:
    wire = Wire(network)

    @flow
    def wait_for(peer: Party) -> str:
        session = initiate(peer)
        return str(session.receive(str).unwrap(same) if use == "receive" else session.peer.app)

    @responder(wait_for)
    def speak_first(session: Session) -> None:
        session.send("hello")

    alice, bob = pair(network, wait_for, speak_first)

    alice.start_flow(wait_for, bob.party).result()
    network.run()

    assert wire.trace()[:2] == ["open", "accept"]


def test_an_open_message_carries_ids_names_versions_and_the_first_payload(
    network: SimulatedNetwork,
) -> None:
    wire = Wire(network)
    alice, bob = pair(network, count_up, count_along)
    alice.host.app_versions["tests"] = "1.2"
    bob.host.app_versions["tests"] = "1.3"

    alice.start_flow(count_up, bob.party, 10, 2).result()

    (opened,), (accepted,) = wire.of(Open), wire.of(Accept)
    assert opened.flow == count_up.name
    assert (opened.version, opened.app, opened.app_version) == (3, "tests", "1.2")
    assert (accepted.version, accepted.app, accepted.app_version) == (3, "tests", "1.3")
    assert accepted.to == opened.sid
    assert accepted.sid != opened.sid
    assert len(accepted.sid) == len(opened.sid) == 16


def test_every_session_has_ids_of_its_own(network: SimulatedNetwork) -> None:
    wire = Wire(network)
    alice, bob = pair(network, count_up, count_along)

    for _ in range(3):
        alice.start_flow(count_up, bob.party, 10, 2).result()

    ids = [opened.sid for opened in wire.of(Open)] + [accept.sid for accept in wire.of(Accept)]
    assert len(set(ids)) == 6


def test_an_acceptance_leaves_after_the_responders_start_is_durable() -> None:
    disk = HeldDisk()
    network = SimulatedNetwork(disk=disk)
    wire = Wire(network)
    alice, bob = pair(network, count_up, count_along)
    alice.begin_flow(count_up, bob.party, 10, 2)
    turn(network)
    while not wire.of(Open):
        alice.store.make_durable()
        turn(network)

    while not disk.waiting(bob):
        turn(network)
    network.run_for(60)

    assert wire.of(Accept) == []
    bob.store.make_durable()
    turn(network)
    assert len(wire.of(Accept)) == 1


def test_sends_before_the_acceptance_are_kept_behind_it_in_order(
    network: SimulatedNetwork,
) -> None:
    wire = Wire(network)
    wire.loses = lambda link, envelope: isinstance(envelope, Accept)

    @flow
    def talk(peer: Party) -> str:
        session = initiate(peer)
        for number in range(4):
            session.send(number)
        return session.receive(str).unwrap(same)

    @responder(talk)
    def listen(session: Session) -> None:
        heard = [session.receive(int).unwrap(same) for _ in range(4)]
        session.send(str(heard))

    alice, bob = pair(network, talk, listen)
    handle = alice.start_flow(talk, bob.party)
    network.run_for(20)

    assert wire.trace() == ["open(0)"]
    wire.loses = lambda link, envelope: False

    assert handle.result() == "[0, 1, 2, 3]"
    assert wire.trace()[:5] == ["open(0)", "accept", "data 1", "data 2", "data 3"]


def test_messages_of_each_direction_are_numbered(network: SimulatedNetwork) -> None:
    wire = Wire(network)
    alice, bob = pair(network, count_up, count_along)

    alice.start_flow(count_up, bob.party, 10, 2).result()
    network.run()

    for node, numbers in ((alice, [1, 2]), (bob, [1, 2, 3])):
        sent = [
            envelope.number
            for link, envelope in wire.envelopes
            if link.source == node.party.name and isinstance(envelope, Data | End)
        ]
        assert sent == numbers


@flow
def ask(peer: Party, question: str) -> str:
    return initiate(peer).exchange(question, str).unwrap(same)


@responder(ask)
def answer(session: Session) -> None:
    match session.receive(str).unwrap(same):
        case "fail":
            raise Sorry("can't", 7)
        case "break":
            raise ValueError("a secret")
        case question:
            session.send(question.upper())


def test_an_error_carries_the_flow_exception_and_an_error_id(network: SimulatedNetwork) -> None:
    wire = Wire(network)
    alice, bob = pair(network, ask, answer)

    with pytest.raises(Sorry) as caught:
        alice.start_flow(ask, bob.party, "fail").result()

    (error,) = [each for link, each in wire.envelopes if isinstance(each, Error)][:1]
    assert error.error is not None
    assert error.error_id == error_id_of(caught.value)


def test_an_error_of_another_kind_carries_the_error_id_only(network: SimulatedNetwork) -> None:
    wire = Wire(network)
    alice, bob = pair(network, ask, answer)

    with pytest.raises(UnexpectedFlowEnd) as caught:
        alice.start_flow(ask, bob.party, "break").result()

    error = wire.of(Error)[0]
    assert error.error is None
    assert error.error_id == error_id_of(caught.value)


def test_a_refusal_carries_the_reason_and_an_error_id(network: SimulatedNetwork) -> None:
    wire = Wire(network)
    alice = network.node("Alice", apps=[ask, answer])
    bob = network.node("Bob", apps=[ask])

    with pytest.raises(UnexpectedFlowEnd, match="has no responder here") as caught:
        alice.start_flow(ask, bob.party, "hello").result()
    network.run()

    (refusal,) = wire.of(Refuse)
    assert refusal.error_id == error_id_of(caught.value)
    assert wire.trace() == ["open(hello)", "refuse"]


def test_an_end_is_sent_when_a_session_is_closed_and_not_again_when_the_flow_ends(
    network: SimulatedNetwork,
) -> None:
    wire = Wire(network)

    @flow
    def close_early(peer: Party) -> None:
        session = initiate(peer)
        session.exchange("hello", str)
        session.close()
        sleep(60)

    @responder(close_early)
    def wait_for_end(session: Session) -> None:
        session.send(session.receive(str).unwrap(same))
        with pytest.raises(UnexpectedFlowEnd):
            session.receive(str)

    alice, bob = pair(network, close_early, wait_for_end)
    handle = alice.start_flow(close_early, bob.party)
    network.run_for(30)

    assert not handle.is_ended
    assert wire.trace() == ["open(hello)", "accept", "data hello", "end", "end"]
    handle.result()
    network.run()
    assert len(wire.of(End)) == 2


@pytest.mark.parametrize("question", ["hello", "fail", "break"])
def test_ends_and_errors_are_as_safe_as_data(network: SimulatedNetwork, question: str) -> None:
    # Every message is lost the first time that it is sent.
    wire = Wire(network)
    seen: set[object] = set()

    def loses_first(link: object, envelope: object) -> bool:
        key = repr((link, envelope))
        is_first = key not in seen
        seen.add(key)
        return is_first

    wire.loses = loses_first
    alice, bob = pair(network, ask, answer)

    handle = alice.start_flow(ask, bob.party, question)
    network.run()

    assert handle.is_ended
    assert_nothing_is_left(network)


def test_what_is_acknowledged_is_durable_at_the_receiver() -> None:
    disk = HeldDisk()
    network = SimulatedNetwork(disk=disk)
    wire = Wire(network)
    alice, bob = pair(network, ask, answer)
    alice.begin_flow(ask, bob.party, "hello")
    turn(network)
    alice.store.make_durable()
    network.run_for(5)

    assert wire.of(Open)
    assert wire.acknowledgements == []
    bob.store.make_durable()
    turn(network)
    assert wire.acknowledgements
