"""A flow that freezes or ends its node at every start is held, and no other; operators' holds."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from runtime.ids import FlowId
from runtime.operations import Arguments
from runtime.testing.driver import NetworkDriver, NodeProcess, NodeProcessFailed
from tests.e2e.test_freezing import STILL, lines_with
from tests.e2e.test_killing import STUBBORN, begin, double_of

SECONDS: Final = 30.0
RUNNING: Final = "was running when the node ended without being asked to"


@pytest.fixture
def alice() -> Iterator[NodeProcess]:
    with NetworkDriver.create(STUBBORN) as network:
        network.start()
        yield network.node("alice")


def start(node: NodeProcess, name: str, *arguments: str) -> FlowId:
    flow = f"tests.e2e.stubborn_flows.{name}"
    return node.rpc.start(flow, Arguments([*arguments]), name, "refuse")


def start_again(node: NodeProcess) -> None:
    """Start the process, which may end before it answers."""
    node.launch()


def test_a_fault_in_c_code_says_where_it_was(alice: NodeProcess) -> None:
    start(alice, "die_by_a_fault")

    code = alice.wait_for_exit(SECONDS)

    assert code == -signal.SIGSEGV
    assert "Segmentation fault" in alice.output()
    assert "in die_by_a_fault" in alice.output()


@pytest.mark.parametrize("name", ["die_after_a_wait", "die_by_a_fault", "die_in_step"])
def test_a_flow_that_ends_its_node_three_times_is_held_at_the_next_start(
    alice: NodeProcess, name: str
) -> None:
    flow_id = start(alice, name)
    other = begin_other(alice)
    alice.wait_for_exit(SECONDS)
    for _ in range(2):
        start_again(alice)
        alice.wait_for_exit(SECONDS)

    alice.start()

    detail = alice.rpc.flow(flow_id)
    assert detail.row.status == "held"
    assert "it ended the node again and again" in detail.error
    assert "3 times in a row" in detail.error
    assert alice.rpc.flow(other).row.status == "waiting"
    assert double_of(alice, 21) == "42"
    said = [line for line in lines_with(alice, RUNNING) if flow_id in line]
    assert len(said) == 3


def begin_other(node: NodeProcess) -> FlowId:
    return start(node, "wait_in_finally")


def test_a_flow_that_freezes_its_node_is_held_and_stays_so_if_a_retry_freezes_it(
    alice: NodeProcess,
) -> None:
    flow_id = start(alice, "freeze_for", "3600.0")
    for life in range(1, 4):
        alice.wait_until(lambda life=life: is_frozen(alice, life), "frozen", SECONDS)  # type: ignore[misc]
        alice.kill()
        if life < 3:
            start_again(alice)

    alice.start()
    status = alice.rpc.flow(flow_id).row.status
    alice.rpc.retry(flow_id)
    alice.wait_until(lambda: is_frozen(alice, 4), "frozen again", SECONDS)
    alice.kill()
    alice.start()

    assert status == "held"
    assert alice.rpc.flow(flow_id).row.status == "held"  # It got nowhere before the end.


def is_frozen(node: NodeProcess, life: int) -> bool:
    """Tell whether the node stands still in its n-th life."""
    lives = node.output().split("--- started")
    frozen = [STILL in text for text in lives]
    return sum(frozen) >= life


def test_the_number_of_times_is_configured_and_0_means_never(alice: NodeProcess) -> None:
    alice.stop()
    config = alice.directory / "node.toml"
    text = config.read_text()
    config.write_text(f"hold_after_crashes = 0\n{text}")
    alice.start()
    flow_id = start(alice, "die_after_a_wait")
    ends = [alice.wait_for_exit(SECONDS)]
    for _ in range(3):
        start_again(alice)
        ends.append(alice.wait_for_exit(SECONDS))

    config.write_text(f"hold_after_crashes = 1\n{text}")
    alice.start()

    assert ends == [-9] * 4
    assert alice.rpc.flow(flow_id).row.status == "held"


def test_a_flow_that_gets_on_between_the_ends_is_not_held(
    alice: NodeProcess, tmp_path: Path
) -> None:
    lives = tmp_path / "lives"
    flow_id = start(alice, "get_on", str(lives))
    for _ in range(4):
        alice.wait_for_exit(SECONDS)
        alice.disconnect()
        start_again(alice)
    alice.wait_until_up()

    assert alice.rpc.result(flow_id, SECONDS).text == "5"


def test_a_flow_that_waits_while_its_node_is_killed_is_not_suspected(alice: NodeProcess) -> None:
    flow_id = begin(alice, "wait_in_finally")
    for _ in range(4):
        alice.kill()
        alice.start()

    assert alice.rpc.flow(flow_id).row.status == "waiting"
    assert RUNNING not in alice.output()


def test_an_operator_holds_flows_at_the_start(alice: NodeProcess) -> None:
    first, second = begin(alice, "wait_in_finally"), begin(alice, "nap")
    alice.stop()

    alice.start(options=["--hold", first[-8:]])
    statuses = [alice.rpc.flow(flow_id).row.status for flow_id in (first, second)]
    alice.rpc.retry(first)
    again = alice.rpc.flow(first).row.status
    alice.stop()
    alice.start(options=["--hold-all"])
    all_held = [alice.rpc.flow(flow_id).row.status for flow_id in (first, second)]
    error = alice.rpc.flow(first).error

    assert statuses == ["held", "running"]
    assert again != "held"
    assert all_held == ["held", "held"]
    assert "the node was started with --hold" in error


def test_a_flow_that_stops_its_node_can_be_held_and_killed(alice: NodeProcess) -> None:
    flow_id = start(alice, "freeze_for", "3600.0")
    alice.wait_until(lambda: is_frozen(alice, 1), "frozen", SECONDS)
    alice.kill()

    alice.start(options=["--hold", "freeze_for"])
    was_live = alice.rpc.kill(flow_id)

    assert was_live
    assert alice.rpc.flow(flow_id).row.status == "killed"
    assert double_of(alice, 21) == "42"


def test_a_hold_of_a_flow_that_is_not_there_is_refused_before_anything_runs(
    alice: NodeProcess,
) -> None:
    begin(alice, "wait_in_finally")
    alice.stop()

    with pytest.raises(NodeProcessFailed, match="has ended with 2"):
        alice.start(options=["--hold", "nobody"])

    assert "no live flow is 'nobody'" in alice.output()
    assert "tests.e2e.stubborn_flows.wait_in_finally" in alice.output().splitlines()[-1]
