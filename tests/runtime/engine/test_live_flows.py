"""The flows that live in a node are found by name and user, and nothing of one that ended stays."""

from runtime import Flow, flow, sleep
from runtime.engine.live_flows import LiveFlows
from runtime.ids import FlowId
from runtime.testing.network import SimulatedNetwork, SimulatedNode


@flow(name="live.nap")
def nap(seconds: int) -> None:
    sleep(seconds)


@flow(name="live.rest")
def rest(seconds: int) -> None:
    sleep(seconds)


def begin(node: SimulatedNode, user: str, what: Flow[[int], None], seconds: int) -> FlowId:
    return node.options(user=user).start_flow(what, seconds).id


def found(runs: LiveFlows, *, name: str | None, user: str | None) -> set[FlowId]:
    fits_name = None if name is None else name.__eq__
    return {run.flow_id for run in runs.looked_for(fits_name, user, [])}


def names_in(runs: LiveFlows) -> list[str]:
    """Return the names that a search by name looks at."""
    names: list[str] = []

    def note(name: str) -> bool:
        names.append(name)
        return False

    list(runs.looked_for(note, None, []))
    return names


def test_live_flows_are_looked_for_by_name_and_by_user() -> None:
    network = SimulatedNetwork()
    node = network.node("Alice", apps=[nap, rest])
    ann_naps = begin(node, "ann", nap, 10)
    bea_naps = begin(node, "bea", nap, 10)
    ann_rests = begin(node, "ann", rest, 10)
    runs = node.running.manager.runs

    assert found(runs, name=None, user=None) == {ann_naps, bea_naps, ann_rests}
    assert found(runs, name="live.nap", user=None) == {ann_naps, bea_naps}
    assert found(runs, name=None, user="ann") == {ann_naps, ann_rests}
    assert found(runs, name="live.nap", user="ann") == {ann_naps}
    assert found(runs, name="live.rest", user="bea") == set()


def test_of_flows_that_have_ended_nothing_is_left() -> None:
    network = SimulatedNetwork()
    node = network.node("Alice", apps=[nap, rest])
    for user in ("ann", "bea"):
        begin(node, user, nap, 10)
    later = begin(node, "ann", rest, 1_000)
    runs = node.running.manager.runs

    network.run_for(20)

    assert found(runs, name=None, user="ann") == {later}
    assert found(runs, name="live.nap", user=None) == set()
    network.run_for(2_000)
    assert not runs
    assert names_in(runs) == []
