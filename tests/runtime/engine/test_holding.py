"""Flows that are held before they run, because an operator or the end of the process says so."""

from collections.abc import Sequence

import pytest

from runtime import FlowKilled, flow, sleep
from runtime.engine.flow_ids import key_of
from runtime.engine.holding import HoldAtStart, NoNote, hold_at_start
from runtime.errors import ConfigurationError
from runtime.ids import FlowId
from runtime.ports import Suspicion
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import outcome


@flow
def wait() -> str:
    sleep(10)
    return "waited"


def three(network: SimulatedNetwork) -> tuple[SimulatedNode, list[FlowId]]:
    """Return a node and three flows of it that have not run yet."""
    alice = network.node("Alice", apps=[wait])
    ids = [alice.options(client_id=f"order-{number}").begin_flow(wait).id for number in range(3)]
    return alice, ids


def begin(alice: SimulatedNode, note: NoNote, rule: HoldAtStart = HoldAtStart()) -> None:
    """Do what the start of a node does before flows run."""
    hold_at_start(alice.running.manager, note, rule)


def hold(alice: SimulatedNode, *flows: str, is_all: bool = False) -> None:
    begin(alice, NoNote(), HoldAtStart(flows=flows, is_all=is_all))


def held(alice: SimulatedNode, ids: Sequence[FlowId]) -> list[bool]:
    return [alice.handle(flow_id).status == "held" for flow_id in ids]


def test_a_flow_is_named_by_its_id_an_end_of_it_or_its_client_id(
    network: SimulatedNetwork,
) -> None:
    alice, ids = three(network)

    hold(alice, ids[0], ids[1][-12:])
    by_id = held(alice, ids)
    hold(alice, "order-2")
    network.run()

    assert by_id == [True, True, False]
    assert held(alice, ids) == [True] * 3


def test_a_held_flow_runs_when_it_is_retried_and_ends_when_it_is_killed(
    network: SimulatedNetwork,
) -> None:
    alice, ids = three(network)
    hold(alice, is_all=True)
    network.run()

    assert held(alice, ids) == [True] * 3
    alice.retry(ids[0])
    assert alice.kill(ids[1])
    assert outcome(alice.handle(ids[0])) == "waited"
    assert isinstance(outcome(alice.handle(ids[1])), FlowKilled)
    alice.restart()
    network.run()
    assert held(alice, [ids[2]]) == [True]


def test_of_names_that_fit_none_or_several_nothing_is_held(network: SimulatedNetwork) -> None:
    alice, ids = three(network)

    with pytest.raises(ConfigurationError, match="3 flows fit"):
        hold(alice, ids[0], ids[0][:4])
    with pytest.raises(ConfigurationError, match="no live flow is 'nobody'"):
        hold(alice, "nobody")
    with pytest.raises(ConfigurationError, match="no live flow is ''"):
        hold(alice, "")

    assert held(alice, ids) == [False] * 3


def suspected(running: FlowId | None, deaths: int, events: int = 1) -> NoNote:
    note = NoNote()
    note.running = None if running is None else key_of(running)
    if running is not None and deaths:
        note.suspicion = Suspicion(key_of(running), deaths, events)
    return note


def test_the_third_end_in_a_row_holds_the_flow_and_the_count_begins_anew(
    network: SimulatedNetwork,
) -> None:
    alice, ids = three(network)
    note = suspected(ids[1], 1)

    begin(alice, note)
    second = held(alice, ids), note.suspicion
    begin(alice, note)

    assert second == ([False] * 3, Suspicion(key_of(ids[1]), 2, 1))
    assert held(alice, ids) == [False, True, False]
    assert note.suspicion is None


def test_without_progress_is_a_condition(network: SimulatedNetwork) -> None:
    alice, ids = three(network)
    note = suspected(ids[1], 5, events=7)

    begin(alice, note)

    assert held(alice, ids) == [False] * 3
    assert note.suspicion == Suspicion(key_of(ids[1]), 1, 1)


def test_0_never_holds(network: SimulatedNetwork) -> None:
    alice, ids = three(network)

    begin(alice, suspected(ids[1], 100), HoldAtStart(after_crashes=0))

    assert held(alice, ids) == [False] * 3


def test_a_key_that_no_flow_has_means_nobody(network: SimulatedNetwork) -> None:
    alice, ids = three(network)
    note = suspected(ids[1], 2)
    note.running = bytes(16)

    begin(alice, note)

    assert held(alice, ids) == [False] * 3
    assert note.suspicion is None
