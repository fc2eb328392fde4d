"""Semantics 6: flows whose code or journal does not fit are set aside intact."""

import contextlib
import logging

import pytest

from runtime import (
    Diverged,
    FlowException,
    Party,
    Session,
    flow,
    initiate,
    responder,
    sleep,
    step,
)
from runtime.errors import UndecodableEvent, UnknownFlow
from runtime.ports import Batch, Space
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import (
    assert_nothing_is_left,
    journal,
    only_flow,
    pair,
    same,
)


@step
def charge(amount: int) -> str:
    return f"charged {amount}"


@flow(name="trade")
def trade(amount: int) -> str:
    charge(amount)
    sleep(100)
    return "traded"


@flow(name="trade")
def trade_with_a_fee(amount: int) -> str:
    charge(amount + 1)
    sleep(100)
    return "traded with a fee"


@flow(name="other")
def other() -> str:
    sleep(50)
    return "other"


def diverged(network: SimulatedNetwork) -> SimulatedNode:
    alice = network.node("Alice", apps=[trade, other])
    alice.start_flow(trade, 10)
    network.run_for(10)
    alice.restart(apps=[trade_with_a_fee, other])
    network.run_for(1)
    return alice


def test_a_diverged_flow_is_held_with_both_sides_and_the_source_line(
    network: SimulatedNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        alice = diverged(network)

    error = only_flow(alice).error
    assert isinstance(error, Diverged)
    assert (error.place, error.recorded, error.asked) == (
        "event 1",
        f"step {__name__}.charge(10)",
        f"step {__name__}.charge(11): amount was 10 and is 11",
    )
    path, _, line = error.source.rpartition(":")
    assert path == __file__
    assert int(line) == trade_with_a_fee.function.__code__.co_firstlineno + 2
    assert "diverged" in caplog.text


def test_the_node_of_a_diverged_flow_is_up_and_others_run(network: SimulatedNetwork) -> None:
    alice = diverged(network)

    assert alice.start_flow(other).result() == "other"
    assert only_flow(alice).status_text() == "held"


def test_a_diverged_flow_continues_when_the_code_is_right_again(
    network: SimulatedNetwork,
) -> None:
    alice = diverged(network)
    flow_id = only_flow(alice).flow_id
    events = journal(alice, flow_id)

    alice.restart(apps=[trade, other])

    assert alice.handle(flow_id).result() == "traded"
    assert events
    network.run()
    assert_nothing_is_left(network)


def test_retrying_with_the_same_code_diverges_again(network: SimulatedNetwork) -> None:
    alice = diverged(network)
    run = only_flow(alice)

    alice.retry(run.flow_id)
    network.run_for(10)

    assert run.status_text() == "held"
    assert isinstance(run.error, Diverged)


def test_a_swallowed_divergence_is_a_divergence(network: SimulatedNetwork) -> None:
    @flow(name="swallow")
    def before() -> str:
        charge(1)
        sleep(100)
        return "before"

    @flow(name="swallow")
    def after() -> str:
        with contextlib.suppress(BaseException):
            charge(2)
        try:
            sleep(100)
        finally:
            return "swallowed"  # noqa: B012

    alice = network.node("Alice", apps=[before])
    alice.start_flow(before)
    network.run_for(10)

    alice.restart(apps=[after])
    network.run_for(1_000)

    assert isinstance(only_flow(alice).error, Diverged)


def test_an_error_before_the_end_of_the_record_is_a_divergence(
    network: SimulatedNetwork,
) -> None:
    # Breaks when a bug that came with new code fails flows away that were fine.
    @flow(name="fine")
    def fine() -> str:
        charge(1)
        sleep(100)
        return "fine"

    @flow(name="fine")
    def broken() -> str:
        charge(1)
        raise FlowException("new and wrong")

    alice = network.node("Alice", apps=[fine])
    handle = alice.start_flow(fine)
    network.run_for(10)

    alice.restart(apps=[broken])
    network.run_for(10)

    error = only_flow(alice).error
    assert isinstance(error, Diverged)
    assert "FlowException: new and wrong" in error.asked
    alice.restart(apps=[fine])
    assert alice.handle(handle.id).result() == "fine"


# --- missing, undecodable -------------------------------------------------------------------


def test_a_flow_whose_code_is_missing_is_held_and_others_run(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[trade, other])
    handle = alice.start_flow(trade, 10)
    network.run_for(10)

    alice.restart(apps=[other])
    network.run_for(200)

    run = only_flow(alice)
    assert run.status_text() == "held"
    assert isinstance(run.error, UnknownFlow)
    assert alice.start_flow(other).result() == "other"
    with pytest.raises(UnknownFlow):
        alice.retry(handle.id)
    assert run.status_text() == "held"
    alice.host.register(trade)
    alice.retry(handle.id)
    assert alice.handle(handle.id).result() == "traded"


def test_a_missing_flow_comes_back_by_itself_with_its_code(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[trade])
    handle = alice.start_flow(trade, 10)
    network.run_for(10)
    alice.restart(apps=[])
    network.run_for(10)

    alice.restart(apps=[trade])

    assert alice.handle(handle.id).result() == "traded"


@flow
def converse(peer: Party) -> str:
    session = initiate(peer)
    session.exchange("one", str)
    sleep(100)
    return session.exchange("two", str).unwrap(same)


@responder(converse)
def converse_too(session: Session) -> None:
    session.send(session.receive(str).unwrap(same))
    session.send("unread")
    session.send(session.receive(str).unwrap(same))


def damage(node: SimulatedNode, index: int, record: bytes) -> bytes:
    """Replace a record of the only journal; return what was there."""
    key = only_flow(node).key + index.to_bytes(4, "big")
    space = Space("journal")
    before = node.store.get(space, key)
    assert before is not None
    batch = Batch()
    batch.put(space, key, record)
    node.store.submit(batch, lambda: None)
    return before


@pytest.mark.parametrize("index", [0, 1, 3])
def test_an_undecodable_event_holds_its_flow_and_nothing_is_lost(
    network: SimulatedNetwork, index: int
) -> None:
    alice, bob = pair(network, converse, converse_too)
    handle = alice.start_flow(converse, bob.party)
    network.run_for(10)
    before = damage(alice, index, b"\x92\xcc\xc8\x00")
    network.run_for(1)

    alice.restart()
    network.run_for(300)
    run = only_flow(alice)
    assert run.status_text() == "held"
    assert isinstance(run.error, UndecodableEvent)
    with pytest.raises(UndecodableEvent):
        alice.retry(handle.id)
    damage(alice, index, before)

    alice.retry(handle.id)
    assert alice.handle(handle.id).result() == "unread"
    network.run()
    assert_nothing_is_left(network)


def test_arguments_that_the_code_can_not_read_any_more_hold_the_flow(
    network: SimulatedNetwork,
) -> None:
    @flow(name="arguments")
    def old(amount: int) -> int:
        sleep(100)
        return amount

    @flow(name="arguments")
    def new(amount: dict[str, str]) -> int:
        return len(amount)

    alice = network.node("Alice", apps=[old])
    handle = alice.start_flow(old, 5)
    network.run_for(10)
    alice.restart(apps=[new])
    network.run_for(10)

    assert isinstance(only_flow(alice).error, UndecodableEvent)
    alice.restart(apps=[old])
    assert alice.handle(handle.id).result() == 5


def test_a_recorded_result_that_the_code_can_not_read_any_more_holds_the_flow(
    network: SimulatedNetwork,
) -> None:
    @step(name="measure")
    def measure() -> int:
        return 5

    @step(name="measure")
    def measure_anew() -> dict[str, str]:
        return {}

    @flow(name="results")
    def old() -> int:
        value = measure()
        sleep(100)
        return value

    @flow(name="results")
    def new() -> int:
        try:
            value = len(measure_anew())
        except Exception:
            value = -1
        sleep(100)
        return value

    alice = network.node("Alice", apps=[old])
    handle = alice.start_flow(old)
    network.run_for(10)
    alice.restart(apps=[new])
    network.run_for(10)

    assert isinstance(only_flow(alice).error, UndecodableEvent)
    alice.restart(apps=[old])
    assert alice.handle(handle.id).result() == 5
