"""Who watches the progress of a flow hears all of it: over retries and restarts, and of its end."""

import pytest

from runtime import HoldForOperator, RetryLater, flow, progress, sleep, step
from runtime.flow import Flow
from runtime.progress_tree import Change, Ended, Position, Structure
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import HeldDisk, turn


class World:
    """What is outside of the nodes."""

    def __init__(self) -> None:
        self.is_up = True


world = World()


@pytest.fixture(autouse=True)
def _fresh_world() -> None:
    world.__init__()  # type: ignore[misc]


@step
def look() -> None:
    if not world.is_up:
        raise RetryLater("the world is away")


@flow(progress=("Asking", "Resting", "Paying"))
def work() -> str:
    progress("Asking")
    look()
    progress("Resting")
    sleep(1)
    progress("Paying")
    sleep(1)
    look()
    return "done"


@flow(progress=("Trying",))
def stumble() -> None:
    progress("Trying")
    sleep(1)
    if not world.is_up:
        raise HoldForOperator("look at it")
    raise LookupError("where is it?")


class Ear:
    """Writes down what a watcher hears."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def __call__(self, change: Change) -> None:
        self.changes.append(change)

    @property
    def reached(self) -> list[str]:
        """The labels of the moves."""
        return [change.label for change in self.changes if isinstance(change, Position)]

    @property
    def ends(self) -> list[str | None]:
        """How it ended, as often as that was told."""
        return [change.error for change in self.changes if isinstance(change, Ended)]

    def shown(self) -> list[str]:
        """Return the whole tree as it was told last."""
        rows = next(it for it in reversed(self.changes) if isinstance(it, Structure)).rows
        return [f"{row.label}: {row.status}" for row in rows]


def node_of(network: SimulatedNetwork) -> SimulatedNode:
    return network.node("Alice", apps=[work, stumble])


def test_a_watcher_hears_each_move_and_the_end(network: SimulatedNetwork) -> None:
    handle = node_of(network).begin_flow(work)
    ear = Ear()
    handle.progress.watch(ear)

    handle.result()

    assert ear.reached == ["Asking", "Resting", "Paying"]
    assert ear.ends == [None]


def test_a_watcher_hears_of_a_failure_once(network: SimulatedNetwork) -> None:
    handle = node_of(network).begin_flow(stumble)
    ear = Ear()
    handle.progress.watch(ear)

    network.run_for(10)

    assert ear.reached == ["Trying"]
    assert ear.ends == ["LookupError: where is it?"]


def test_a_watcher_hears_of_the_end_when_it_is_durable_and_not_before() -> None:
    disk = HeldDisk()
    network = SimulatedNetwork(disk=disk, is_replay_checked=False)
    disk.is_held = False
    alice = network.node("Alice", apps=[work])
    handle = alice.begin_flow(work)
    network.run_for(1.5)
    ear = Ear()
    handle.progress.watch(ear)
    disk.is_held = True
    network.run_for(10)

    assert (ear.ends, handle.status) == ([], "running")
    disk.let_go(alice)
    turn(network)
    assert (ear.ends, handle.status) == ([None], "completed")


def test_a_watcher_goes_on_over_retries_by_the_hospital(network: SimulatedNetwork) -> None:
    handle = node_of(network).begin_flow(work)
    ear = Ear()
    handle.progress.watch(ear)
    network.run_for(1.5)
    world.is_up = False
    network.run_for(60)
    world.is_up = True

    handle.result()

    assert ear.reached == ["Asking", "Resting", "Paying"]
    assert ear.ends == [None]


def test_a_watcher_goes_on_over_a_hold_and_a_retry_by_an_operator(
    network: SimulatedNetwork,
) -> None:
    alice = node_of(network)
    world.is_up = False
    handle = alice.begin_flow(stumble)
    ear = Ear()
    handle.progress.watch(ear)
    network.run_for(10)
    assert (handle.status, ear.ends) == ("held", [])
    world.is_up = True

    alice.retry(handle.id)
    network.run_for(10)

    assert ear.ends == ["LookupError: where is it?"]


@pytest.mark.parametrize("when", ["at once", "when it waits again"])
def test_a_watcher_after_a_restart_is_told_where_the_flow_is_and_its_end(
    network: SimulatedNetwork, when: str
) -> None:
    alice = node_of(network)
    flow_id = alice.begin_flow(work).id
    network.run_for(1.5)
    alice.restart()
    if when != "at once":
        network.run_for(0.1)
    ear = Ear()
    handle = alice.handle(flow_id)
    handle.progress.watch(ear)
    network.run_for(0.1)

    assert ear.shown() == ["Asking: done", "Resting: done", "Paying: current"]
    handle.result()
    assert ear.ends == [None]


@pytest.mark.parametrize("definition", [work, stumble])
def test_a_watcher_of_what_ended_before_a_restart_is_told_how(
    network: SimulatedNetwork, definition: Flow[[], object]
) -> None:
    alice = node_of(network)
    flow_id = alice.options(client_id="one").begin_flow(definition).id
    network.run_for(10)
    alice.restart()
    ear = Ear()

    alice.handle(flow_id).progress.watch(ear)

    assert ear.ends == [None if definition is work else "LookupError: where is it?"]
