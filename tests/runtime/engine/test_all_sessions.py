"""Semantics 2: several sessions at once."""

import pytest

from runtime import (
    FlowException,
    FlowTimeout,
    Party,
    Session,
    UnexpectedFlowEnd,
    flow,
    initiate,
    receive_all,
    responder,
    send_all,
    sleep,
    timeout,
)
from runtime.errors import SennitError
from runtime.testing.network import SimulatedNetwork
from tests.runtime.engine.scenes import (
    Wire,
    pair,
    same,
)


class Sorry(FlowException):
    """The responder can't."""


def use(session: Session, how: str) -> str:
    """Use a session; return what came of it in one word or two."""
    try:
        with timeout(60):
            match how:
                case "send":
                    session.send("again")
                    return "sent"
                case "receive":
                    return session.receive(str).unwrap(same)
                case "exchange":
                    return session.exchange("again", str).unwrap(same)
                case "peer":
                    return f"version {session.peer.flow_version}"
                case _:
                    session.close()
                    return "closed"
    except (SennitError, FlowTimeout) as error:
        return type(error).__name__


@flow
def ask_all(peers: list[Party], words: list[str]) -> list[str]:
    sessions = [initiate(peer) for peer in peers]
    send_all(dict(zip(sessions, words, strict=True)))
    return [each.unwrap(same) for each in receive_all(sessions, str)]


@responder(ask_all)
def answer_each(session: Session) -> None:
    match session.receive(str).unwrap(same):
        case "fail":
            raise Sorry("can't")
        case "slow":
            sleep(100)
            session.send("slow")
        case word:
            session.send(word.upper())


def test_receive_all_answers_in_the_order_of_the_sessions(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, ask_all, answer_each)
    carol = network.node("Carol", apps=[ask_all, answer_each])

    handle = alice.start_flow(ask_all, [bob.party, carol.party, bob.party], ["slow", "b", "c"])

    assert handle.result() == ["slow", "B", "C"]


def test_receive_all_raises_at_once_when_one_has_failed(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, ask_all, answer_each)
    started = network.clock.now_ms()

    handle = alice.start_flow(ask_all, [bob.party] * 3, ["slow", "fail", "c"])

    with pytest.raises(Sorry):
        handle.result()
    assert network.clock.now_ms() - started < 50_000


def test_receive_all_takes_all_or_nothing(network: SimulatedNetwork) -> None:
    @flow
    def ask_twice(peer: Party) -> list[str]:
        quick, slow = initiate(peer), initiate(peer)
        send_all({quick: "quick", slow: "slow"})
        try:
            with timeout(10):
                receive_all([quick, slow], str)
        except FlowTimeout:
            return [use(quick, "receive"), use(slow, "receive")]
        return ["nothing was slow"]

    @responder(ask_twice)
    def be_slow(session: Session) -> None:
        word = session.receive(str).unwrap(same)
        sleep(30 if word == "slow" else 0)
        session.send(word)

    alice, bob = pair(network, ask_twice, be_slow)

    assert alice.start_flow(ask_twice, bob.party).result() == ["quick", "slow"]


def test_receive_all_takes_a_type_for_each_session(network: SimulatedNetwork) -> None:
    @flow
    def ask_two_types(peer: Party) -> list[object]:
        first, second = initiate(peer), initiate(peer)
        send_all([first, second], 4)
        answers = receive_all({first: int, second: int})
        return [answers[first].unwrap(same), answers[second].unwrap(same)]

    @responder(ask_two_types)
    def double(session: Session) -> None:
        session.send(session.receive(int).unwrap(same) * 2)

    alice, bob = pair(network, ask_two_types, double)

    assert alice.start_flow(ask_two_types, bob.party).result() == [8, 8]


def test_the_same_session_twice_is_an_error_of_the_caller(network: SimulatedNetwork) -> None:
    @flow
    def name_twice(peer: Party) -> list[str]:
        session = initiate(peer)
        errors = []
        for call in (
            lambda: send_all([session, session], "x"),
            lambda: receive_all([session, session], str),
        ):
            try:
                call()
            except ValueError as error:
                errors.append(str(error))
        return errors

    alice, bob = pair(network, name_twice)

    errors = alice.start_flow(name_twice, bob.party).result()

    assert len(errors) == 2


def test_of_no_sessions_all_is_nothing(network: SimulatedNetwork) -> None:
    @flow
    def none_at_all(peer: Party) -> int:
        send_all([], "x")
        return len(receive_all([], str))

    alice, bob = pair(network, none_at_all)

    assert alice.start_flow(none_at_all, bob.party).result() == 0


def test_send_all_sends_to_all_or_to_none(network: SimulatedNetwork) -> None:
    wire = Wire(network)

    @flow
    def send_to_both(peer: Party) -> list[str]:
        ended, alive = initiate(peer), initiate(peer)
        ended.exchange("end", str)
        alive.exchange("stay", str)
        sleep(5)
        try:
            send_all([alive, ended], "last")
        except UnexpectedFlowEnd:
            return [use(alive, "exchange")]
        return ["sent to both"]

    @responder(send_to_both)
    def end_or_stay(session: Session) -> None:
        word = session.receive(str).unwrap(same)
        session.send(word)
        if word == "stay":
            session.send(session.receive(str).unwrap(same))

    alice, bob = pair(network, send_to_both, end_or_stay)

    assert alice.start_flow(send_to_both, bob.party).result() == ["again"]
    assert "data last" not in wire.trace()
