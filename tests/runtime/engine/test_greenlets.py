"""A greenlet goes on with the next flow, and no flow can tell."""

import weakref
from contextvars import ContextVar
from typing import Final

import pytest
from gevent.local import local
from greenlet import getcurrent, greenlet

from runtime import flow, sleep
from runtime.engine import greenlets
from runtime.errors import FlowKilled, RetryLater
from runtime.testing.network import SimulatedNetwork, SimulatedNode

mode: Final[ContextVar[str]] = ContextVar("mode", default="unset")
of_greenlet: Final = local()

lived_in: Final[list[int]] = []
kept: Final[list[object]] = []
seen: Final[list[object]] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    lived_in.clear()
    kept.clear()
    seen.clear()


@pytest.fixture
def network() -> SimulatedNetwork:
    """Flows stay where they are until they end."""
    return SimulatedNetwork(is_replay_checked=False)


@flow
def visit() -> None:
    lived_in.append(id(getcurrent()))


@flow
def mark_everything() -> None:
    lived_in.append(id(getcurrent()))
    mode.set("marked")
    getcurrent().mark = "marked"  # type: ignore[attr-defined]


@flow
def look_for_marks() -> None:
    lived_in.append(id(getcurrent()))
    seen.extend([mode.get(), hasattr(getcurrent(), "mark"), hasattr(of_greenlet, "mark")])


@flow
def mark_local() -> None:
    lived_in.append(id(getcurrent()))
    of_greenlet.mark = "marked"


@flow
def be_known(how: str) -> None:
    lived_in.append(id(getcurrent()))
    kept.append(getcurrent() if how == "reference" else weakref.ref(getcurrent()))


@flow
def wait_a_second() -> None:
    lived_in.append(id(getcurrent()))
    sleep(1)


@flow
def rely_on_the_world() -> None:
    lived_in.append(id(getcurrent()))
    raise RetryLater("the world is away")


def node(network: SimulatedNetwork) -> SimulatedNode:
    return network.node(
        "Alice",
        apps=[
            visit,
            mark_everything,
            look_for_marks,
            mark_local,
            be_known,
            wait_a_second,
            rely_on_the_world,
        ],
    )


def idle(alice: SimulatedNode) -> int:
    return alice.running.manager.greenlets.idle


def test_flows_one_after_another_live_in_one_greenlet(network: SimulatedNetwork) -> None:
    # Breaks when something of the runtime keeps a reference, and each flow pays for a new one.
    alice = node(network)

    for _ in range(3):
        alice.start_flow(visit)
        network.run()

    assert len(lived_in) == 3
    assert len(set(lived_in)) == 1
    assert idle(alice) == 1


def test_flows_side_by_side_have_a_greenlet_each(network: SimulatedNetwork) -> None:
    alice = node(network)

    for _ in range(2):
        for _ in range(3):
            alice.start_flow(wait_a_second)
        network.run()

    assert len(lived_in) == 6
    assert len(set(lived_in[:3])) == 3
    assert set(lived_in[3:]) == set(lived_in[:3])
    assert idle(alice) == 3


def test_marks_that_a_flow_left_are_gone(network: SimulatedNetwork) -> None:
    # Breaks when a flow sees the context variables or attributes of another.
    alice = node(network)

    alice.start_flow(mark_everything)
    network.run()
    alice.start_flow(look_for_marks)
    network.run()

    assert len(set(lived_in)) == 1, "the second flow did not get the first one's greenlet"
    assert seen == ["unset", False, False]


def test_gevents_locals_are_of_one_flow(network: SimulatedNetwork) -> None:
    alice = node(network)

    alice.start_flow(mark_local)
    network.run()
    alice.start_flow(look_for_marks)
    network.run()

    assert seen == ["unset", False, False]


@pytest.mark.parametrize("how", ["reference", "weak reference"])
def test_a_greenlet_that_somebody_knows_is_not_used_again(
    network: SimulatedNetwork, how: str
) -> None:
    # Breaks when the owner of a lock, or the aim of a timer, becomes another flow.
    alice = node(network)

    alice.start_flow(be_known, how)
    network.run()
    known = kept[0]() if isinstance(kept[0], weakref.ref) else kept[0]
    assert isinstance(known, greenlet)
    if how == "weak reference":
        del known
    alice.start_flow(visit)
    network.run()

    assert len(lived_in) == 2
    if how == "reference":
        assert len(set(lived_in)) == 2
    else:
        assert kept[0]() is None  # type: ignore[operator]
    assert idle(alice) == 1


def test_one_that_was_thrown_out_is_not_used_again(network: SimulatedNetwork) -> None:
    # Breaks when a timer of gevent's that came late leaves a dead greenlet, and a flow never runs.
    alice = node(network)
    alice.start_flow(be_known, "reference")
    network.run()
    late = kept.pop()
    assert isinstance(late, greenlet)

    with pytest.raises(TimeoutError):
        late.throw(TimeoutError)
    del late
    handle = alice.start_flow(visit)
    network.run()

    assert handle.is_ended
    assert len(lived_in) == 2


def test_one_that_is_switched_to_while_idle_serves_one_flow_at_a_time(
    network: SimulatedNetwork,
) -> None:
    # Breaks when a late switch of gevent's has it counted twice, and two flows begin in it.
    alice = node(network)
    alice.start_flow(be_known, "reference")
    network.run()
    late = kept.pop()
    assert isinstance(late, greenlet)

    late.switch()
    del late
    handles = [alice.start_flow(wait_a_second) for _ in range(3)]
    network.run()

    assert [handle.status for handle in handles] == ["completed"] * 3
    assert len(set(lived_in[1:])) == 3


def test_the_greenlet_of_a_flow_that_waits_for_a_retry_is_free(network: SimulatedNetwork) -> None:
    # Breaks when the flow, killed before its retry, takes down the next tenant of its greenlet.
    alice = node(network)
    relying = alice.start_flow(rely_on_the_world)
    network.run_for(0.01)
    visiting = alice.start_flow(wait_a_second)
    network.run_for(0.01)

    assert alice.kill(relying.id)
    network.run()

    assert len(set(lived_in)) == 1
    assert visiting.status == "completed"
    with pytest.raises(FlowKilled):
        relying.result()


def test_one_that_was_taken_down_is_not_used_again(network: SimulatedNetwork) -> None:
    alice = node(network)
    killed = alice.start_flow(wait_a_second)
    network.run_for(0.01)

    alice.kill(killed.id)
    network.run()

    assert idle(alice) == 0


def test_only_so_many_are_kept(network: SimulatedNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greenlets, "IDLE_MAX", 2)
    alice = node(network)

    for _ in range(5):
        alice.start_flow(wait_a_second)
    network.run()

    assert idle(alice) == 2


@pytest.mark.parametrize("end", ["stop", "crash"])
def test_a_node_that_is_over_keeps_none(network: SimulatedNetwork, end: str) -> None:
    # Breaks when they hold each other for ever: the garbage collector can't see into them.
    alice = node(network)
    for _ in range(3):
        alice.start_flow(wait_a_second)
    network.run()
    greenlets = alice.running.manager.greenlets
    assert greenlets.idle == 3
    ghosts = [weakref.ref(each) for each in greenlets._idle]

    alice.stop() if end == "stop" else alice.crash()

    assert greenlets.idle == 0
    assert [each() for each in ghosts] == [None] * 3
