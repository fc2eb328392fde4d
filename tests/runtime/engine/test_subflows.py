"""Sub-flows: inline ones share their caller's sessions, initiating ones have their own."""

import contextlib
import logging

import pytest

from runtime import (
    FlowException,
    FlowTimeout,
    NotInFlow,
    Party,
    Session,
    SessionClosed,
    UnexpectedFlowEnd,
    flow,
    initiate,
    responder,
    sleep,
    step,
    step_id,
    timeout,
)
from runtime.core.envelopes import End, Error, Open
from runtime.testing.network import SimulatedNetwork
from tests.runtime.engine.scenes import (
    Wire,
    assert_nothing_is_left,
    journal,
    kinds,
    outcome,
    pair,
    same,
)


class Sorry(FlowException):
    """No."""


def inline(session: Session, word: str) -> str:
    return session.exchange(word, str).unwrap(same)


@flow
def call_inline(peer: Party) -> list[str]:
    session = initiate(peer)
    return [inline(session, "a"), inline(session, "b")]


@responder(call_inline)
def echo(session: Session) -> None:
    for _ in range(2):
        session.send(session.receive(str).unwrap(same).upper())


@step
def where_am_i() -> str:
    return step_id()


@flow
def pay(peer: Party, amount: int) -> str:
    session = initiate(peer)
    receipt = session.exchange(amount, str).unwrap(same)
    sleep(5)
    return receipt


@responder(pay)
def be_paid(session: Session) -> None:
    amount = session.receive(int).unwrap(same)
    if amount < 0:
        raise Sorry("a negative amount")
    session.send(f"got {amount}")
    # Until the sub-flow is over, and not longer.
    with pytest.raises(UnexpectedFlowEnd):
        session.receive(str)


@flow
def trade(peer: Party, amounts: list[int]) -> list[str]:
    session = initiate(peer)
    session.send("begin")
    receipts = []
    for amount in amounts:
        try:
            receipts.append(pay(peer, amount))
        except Sorry as error:
            receipts.append(f"sorry: {error}")
    receipts.append(session.exchange("end", str).unwrap(same))
    return receipts


@responder(trade)
def trade_along(session: Session) -> None:
    session.receive(str)
    session.send(session.receive(str).unwrap(same))


def test_a_plain_function_shares_the_sessions_of_its_caller(network: SimulatedNetwork) -> None:
    wire = Wire(network)
    alice, bob = pair(network, call_inline, echo)

    assert alice.start_flow(call_inline, bob.party).result() == ["A", "B"]
    assert len(wire.of(Open)) == 1


def test_a_flow_called_in_a_flow_speaks_its_own_protocol(network: SimulatedNetwork) -> None:
    wire = Wire(network)
    alice, bob = pair(network, trade, trade_along, pay, be_paid)

    receipts = alice.start_flow(trade, bob.party, [1, 2]).result()
    network.run()

    assert receipts == ["got 1", "got 2", "end"]
    assert [opened.flow for opened in wire.of(Open)] == [trade.name, pay.name, pay.name]
    assert_nothing_is_left(network)


def test_outside_of_a_flow_a_flow_can_not_be_called(network: SimulatedNetwork) -> None:
    with pytest.raises(NotInFlow, match=r"start it with node\.start_flow"):
        pay(network.node("Bob").party, 1)


def test_sessions_of_a_sub_flow_end_with_it(network: SimulatedNetwork) -> None:
    wire = Wire(network)
    kept: list[Session] = []

    @flow
    def leak(peer: Party) -> None:
        session = initiate(peer)
        session.exchange("x", str)
        kept.append(session)

    @responder(leak)
    def answer(session: Session) -> None:
        session.send(session.receive(str).unwrap(same))

    @flow
    def use_after(peer: Party) -> str:
        leak(peer)
        sleep(10)
        try:
            kept[-1].send("too late")
        except SessionClosed as error:
            return str(error)
        return "sent"

    alice, bob = pair(network, leak, answer, use_after)
    handle = alice.start_flow(use_after, bob.party)
    network.run_for(5)

    assert [type(each) for each in wire.of(End)] == [End, End]
    assert "this flow has closed session 1" in handle.result()


def test_an_error_of_a_sub_flow_ends_its_sessions_and_can_be_caught(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, trade, trade_along, pay, be_paid)

    receipts = alice.start_flow(trade, bob.party, [1, -1, 2]).result()
    network.run()

    assert receipts == ["got 1", "sorry: a negative amount", "got 2", "end"]
    assert_nothing_is_left(network)


def test_a_step_begins_when_the_end_of_a_sub_flow_whose_error_was_caught_is_durable(
    network: SimulatedNetwork,
) -> None:
    # Breaks when a step asks for its place too late: only then is the sub-flow over.
    seen: list[tuple[bool, str]] = []

    @flow
    def fail() -> None:
        raise Sorry("no")

    @step
    def look() -> None:
        manager = alice.running.manager
        run = next(iter(manager.runs.values()))
        seen.append((run.batch_number <= run.commits.durable, step_id().partition(":")[2]))

    @flow
    def catch_and_look() -> None:
        with contextlib.suppress(Sorry):
            fail()
        look()

    alice, _ = pair(network, fail, catch_and_look)
    alice.start_flow(catch_and_look).result()

    # A start, an entry and an exit are durable; the step has place 2 among the operations.
    assert seen == [(True, "2")]


def test_the_peers_of_a_failed_sub_flow_get_its_error_and_no_others(
    network: SimulatedNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    wire = Wire(network)
    told: list[BaseException] = []

    @flow
    def fail_inside(peer: Party) -> None:
        session = initiate(peer)
        session.exchange("x", str)
        raise ValueError("a secret")

    @responder(fail_inside)
    def hear_inside(session: Session) -> None:
        session.send(session.receive(str).unwrap(same))
        try:
            session.receive(str)
        except UnexpectedFlowEnd as error:
            told.append(error)

    @flow
    def survive(peer: Party, survives: bool) -> str:
        session = initiate(peer)
        session.send("x")
        try:
            fail_inside(peer)
        except ValueError:
            if not survives:
                raise
        sleep(1)
        return session.receive(str).unwrap(same)

    @responder(survive)
    def hear_outside(session: Session) -> None:
        session.receive(str)
        session.send("fine")

    alice, bob = pair(network, fail_inside, hear_inside, survive, hear_outside)
    with caplog.at_level(logging.WARNING):
        assert alice.start_flow(survive, bob.party, True).result() == "fine"
    assert len(wire.of(Error)) == 1

    error = outcome(alice.start_flow(survive, bob.party, False))
    network.run()

    # Sub-flow and flow fail of the same error: one id in all logs and at all peers.
    assert isinstance(error, ValueError)
    ids = {each.error_id for each in wire.of(Error)[1:]}
    assert len(ids) == 1
    assert any(ids.pop() in note for note in error.__notes__)
    assert told


def test_the_error_id_of_a_sub_flow_is_the_same_after_a_restart(
    network: SimulatedNetwork,
) -> None:
    wire = Wire(network)

    @flow
    def fail_inside(peer: Party) -> None:
        initiate(peer).exchange("x", str)
        raise ValueError("a secret")

    @responder(fail_inside)
    def answer(session: Session) -> None:
        session.send(session.receive(str).unwrap(same))
        sleep(1)

    @flow
    def fail_later(peer: Party) -> None:
        try:
            fail_inside(peer)
        finally:
            sleep(100)

    alice, bob = pair(network, fail_inside, answer, fail_later)
    handle = alice.start_flow(fail_later, bob.party)
    network.run_for(50)
    alice.restart()

    error = outcome(alice.handle(handle.id))

    assert isinstance(error, ValueError)
    assert wire.of(Error)[0].error_id in error.__notes__[-1]


def test_events_of_a_sub_flow_have_its_path(network: SimulatedNetwork) -> None:
    @flow
    def inner() -> str:
        return where_am_i()

    @flow
    def middle() -> list[str]:
        return [inner(), inner()]

    @flow
    def outer() -> list[list[str]]:
        sleep(1)
        ids = [middle(), middle()]
        sleep(100)
        return ids

    alice = network.node("Alice", apps=[inner, middle, outer])
    handle = alice.start_flow(outer)
    network.run_for(50)

    paths = [event.path for event in journal(alice, handle.id) if "Step" in type(event).__name__]
    assert paths == ["1/2/", "1/5/", "9/10/", "9/13/"]
    alice.restart()
    ids = [step for pair_ in alice.handle(handle.id).result() for step in pair_]  # type: ignore[attr-defined]
    assert len(set(ids)) == 4


def test_a_sub_flow_is_replayed_inside_of_its_caller(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, trade, trade_along, pay, be_paid)
    handle = alice.start_flow(trade, bob.party, [1, 2, 3])
    for _ in range(6):
        network.run_for(2)
        alice.restart()

    assert alice.handle(handle.id).result() == ["got 1", "got 2", "got 3", "end"]
    network.run()
    assert_nothing_is_left(network)


def test_a_sub_flow_is_not_finished_while_a_session_is_opening(
    network: SimulatedNetwork,
) -> None:
    @flow
    def fire(peer: Party) -> None:
        initiate(peer).send("x")

    @responder(fire)
    def be_hit(session: Session) -> None:
        session.receive(str)

    @flow
    def fire_twice(peer: Party) -> str:
        fire(peer)
        fire(peer)
        return "fired"

    alice, bob = pair(network, fire, be_hit, fire_twice)
    bob.crash()
    handle = alice.start_flow(fire_twice, bob.party)
    network.run_for(60)

    assert kinds(alice, handle.id).count("Entered") == 1
    bob.start()
    assert handle.result() == "fired"


def test_a_timeout_around_a_sub_flow_bounds_that_wait_too(network: SimulatedNetwork) -> None:
    @flow
    def fire(peer: Party) -> None:
        initiate(peer).send("x")

    @flow
    def give_up(peer: Party) -> str:
        try:
            with timeout(10):
                fire(peer)
        except FlowTimeout:
            sleep(10)
            return "gave up"
        return "fired"

    alice, bob = pair(network, fire, give_up)
    bob.crash()
    handle = alice.start_flow(give_up, bob.party)
    network.run_for(15)
    alice.restart()
    network.run_for(1)

    assert alice.handle(handle.id).result() == "gave up"


def test_a_refusal_that_a_sub_flow_never_saw_fails_it(network: SimulatedNetwork) -> None:
    @flow
    def fire(peer: Party) -> None:
        initiate(peer).send("x")

    @flow
    def fire_and_see(peer: Party) -> str:
        try:
            fire(peer)
        except UnexpectedFlowEnd as error:
            sleep(10)
            return error.reason
        return "fired"

    alice, bob = pair(network, fire, fire_and_see)
    handle = alice.start_flow(fire_and_see, bob.party)
    network.run_for(1)
    alice.restart()

    assert "has no responder here" in str(alice.handle(handle.id).result())


def test_a_session_of_a_failed_sub_flow_is_closed_at_once(network: SimulatedNetwork) -> None:
    kept: list[Session] = []

    @flow
    def leak_and_fail(peer: Party) -> None:
        session = initiate(peer)
        session.exchange("x", str)
        kept.append(session)
        raise Sorry("failed")

    @responder(leak_and_fail)
    def answer(session: Session) -> None:
        session.send(session.receive(str).unwrap(same))

    @flow
    def use_after(peer: Party) -> str:
        with contextlib.suppress(Sorry):
            leak_and_fail(peer)
        try:
            kept[-1].send("too late")
        except SessionClosed as error:
            sleep(1)
            return str(error)
        return "sent"

    alice, bob = pair(network, leak_and_fail, answer, use_after)

    assert "this flow has closed" in alice.start_flow(use_after, bob.party).result()
