"""A node inside other people's programs, with and without monkey patching."""

from pathlib import Path

import pytest

from runtime.network_bootstrap import CreatedNetwork, create_network
from tests.e2e.networks import EMBEDDED
from tests.e2e.program_runs import Ran, run_program

pytestmark = pytest.mark.parametrize("is_patched", [False, True], ids=["plain", "patched"])


@pytest.fixture
def network(tmp_path: Path) -> CreatedNetwork:
    (tmp_path / "network.toml").write_text(EMBEDDED)
    return create_network(tmp_path / "network.toml")


def test_a_script_starts_a_node_runs_a_flow_and_ends(
    network: CreatedNetwork, is_patched: bool
) -> None:
    ran = run_program("script", network.nodes[0].directory, is_patched=is_patched)

    assert ran == Ran(exit_code=0, lines=["5"], errors="")


def test_a_web_service_answers_with_flows_while_other_greenlets_tick(
    network: CreatedNetwork, is_patched: bool
) -> None:
    ran = run_program("service", network.nodes[0].directory, is_patched=is_patched)

    sums = ",".join(str(1_000 + number) for number in range(20))
    assert ran == Ran(exit_code=0, lines=[sums, "ticked", "ticks on"], errors="")


def test_two_nodes_in_one_process_speak_to_each_other(
    network: CreatedNetwork, is_patched: bool
) -> None:
    directories = [node.directory for node in network.nodes]

    ran = run_program("two_nodes", *directories, is_patched=is_patched)

    assert ran == Ran(exit_code=0, lines=["hello Bob hello Alice"], errors="")


def test_nodes_may_live_in_threads_of_their_own(network: CreatedNetwork, is_patched: bool) -> None:
    directories = [node.directory for node in network.nodes]

    ran = run_program("threads", *directories, is_patched=is_patched)

    assert ran == Ran(exit_code=0, lines=["[0.2, 0.2, 5, 5, 7, 7]"], errors="")


def test_a_node_stops_when_its_program_fails_or_is_interrupted(
    network: CreatedNetwork, is_patched: bool
) -> None:
    ran = run_program("interrupted", network.nodes[0].directory, is_patched=is_patched)

    assert ran == Ran(exit_code=0, lines=["failed", "interrupted", "stopped", "2"], errors="")


def test_steps_that_block_hold_up_nobody_else(network: CreatedNetwork, is_patched: bool) -> None:
    ran = run_program("blocking", network.nodes[0].directory, is_patched=is_patched)

    quick_sum = sum(number + 1 for number in range(20)) + 20 * sum(range(20))
    results = "['A', 'B', 'in a thread', 'on gevent']"
    lines = [str(quick_sum), "0 slow ones had ended", results]
    assert ran == Ran(exit_code=0, lines=lines, errors="")


def test_a_node_leaves_flows_that_are_suspended_or_busy_where_they_are(
    network: CreatedNetwork, is_patched: bool
) -> None:
    first = run_program("leaving", network.nodes[0].directory, is_patched=is_patched)
    second = run_program("leaving", network.nodes[0].directory, is_patched=is_patched)

    assert first == Ran(exit_code=0, lines=["0 came back", "left"], errors="")
    assert (second.exit_code, second.errors) == (0, "")
    assert int(second.lines[0].split()[0]) >= 50
