"""A real node that code of a flow brings to a stand: it says so, and can still be ended."""

import os
import signal
from collections.abc import Iterator
from typing import Final

import pytest
from click.testing import CliRunner

from runtime.cli.main import cli
from runtime.ids import FlowId
from runtime.operations import Arguments
from runtime.testing.driver import NetworkDriver, NodeProcess
from tests.e2e import stubborn_flows
from tests.e2e.test_killing import STUBBORN, begin, double_of, live_flows
from tests.source_files import ROOT

SECONDS: Final = 30.0
STILL: Final = "nothing has run on this node for"


@pytest.fixture
def alice() -> Iterator[NodeProcess]:
    with NetworkDriver.create(STUBBORN) as network:
        network.start()
        yield network.node("alice")


def freeze(node: NodeProcess, name: str, *arguments: str) -> FlowId:
    """Start a flow that stops the node, and wait until it has; return its id."""
    flow_id = (
        node.rpc.options()
        .start_text(f"tests.e2e.stubborn_flows.{name}", Arguments([*arguments]))
        .id
    )
    node.wait_until(lambda: STILL in node.output(), "stood still", SECONDS)
    return flow_id


def lines_with(node: NodeProcess, text: str) -> list[str]:
    return [line for line in node.output().splitlines() if text in line]


def line_of(text: str) -> str:
    """Return where a line of the flows is."""
    path = ROOT / "tests" / "e2e" / "stubborn_flows.py"
    lines = [line.strip() for line in path.read_text().splitlines()]
    return f"{path}:{lines.index(text) + 1}"


def test_a_loop_that_stands_still_is_logged_with_flow_function_line_and_time(
    alice: NodeProcess,
) -> None:
    flow_id = freeze(alice, "freeze_for", "3600.0")
    alice.wait_until(lambda: len(lines_with(alice, STILL)) >= 2, "said it again", SECONDS)

    first, second = lines_with(alice, STILL)[:2]
    assert flow_id in first
    assert "tests.e2e.stubborn_flows.freeze_for" in first
    assert f"in freeze_for ({line_of('really_sleep(seconds)')})" in first
    seconds = [float(line.partition(STILL)[2].split()[0]) for line in (first, second)]
    assert 1 <= seconds[0] < seconds[1]


def test_a_loop_that_runs_again_says_so_and_is_counted(alice: NodeProcess) -> None:
    flow_id = freeze(alice, "freeze_for", "3.0")
    value = alice.rpc.result(flow_id, SECONDS).text
    alice.wait_until(lambda: "runs again, after" in alice.output(), "said so", SECONDS)

    info = alice.rpc.info()
    assert value == "'thawed'"
    assert info.freezes == 1
    assert info.freeze_ms_longest >= 2_000
    text = CliRunner().invoke(cli, ["node", "info", str(alice.directory)]).stdout
    assert "did nothing else 1 times" in text


def test_the_command_tells_a_busy_node_from_one_that_does_not_run(alice: NodeProcess) -> None:
    freeze(alice, "compute_for_ever")
    busy = CliRunner().invoke(cli, ["node", "info", str(alice.directory)])
    alice.kill()
    gone = CliRunner().invoke(cli, ["node", "info", str(alice.directory)])

    assert (busy.exit_code, gone.exit_code) == (1, 1)
    assert "the port is open, but the node does not answer" in busy.stderr
    assert "its log says" in busy.stderr
    assert "is it running?" not in busy.stderr
    assert "is it running?" in gone.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("name", ["compute_for_ever", "freeze_for"])
def test_the_second_signal_ends_a_node_that_stands_still(
    alice: NodeProcess, number: signal.Signals, name: str
) -> None:
    freeze(alice, name, *(["3600.0"] if name == "freeze_for" else []))

    os.kill(alice.pid, number)
    alice.wait_until(lambda: "once more stops at once" in alice.output(), "heard", SECONDS)
    os.kill(alice.pid, number)

    assert alice.wait_for_exit(SECONDS) in (128 + number, -number)


def test_the_second_signal_ends_a_node_whose_interpreter_is_kept(alice: NodeProcess) -> None:
    alice.rpc.start_flow("tests.e2e.stubborn_flows.compute_in_c")
    alice.wait_until(lambda: not answers(alice), "stood still", SECONDS)

    os.kill(alice.pid, signal.SIGTERM)
    alice.wait_until(lambda: has_forgotten(alice.pid, signal.SIGTERM), "got it", SECONDS)
    os.kill(alice.pid, signal.SIGTERM)

    assert alice.wait_for_exit(SECONDS) == -signal.SIGTERM


def test_code_in_c_that_kept_the_interpreter_is_named_afterwards(alice: NodeProcess) -> None:
    # Some seconds on any machine; the watchdog itself can't run meanwhile.
    flow_id = freeze(alice, "compute_in_c_for", str(10**9))

    (first, *_) = lines_with(alice, STILL)
    assert flow_id in first
    assert line_of("return sum(range(rounds))") in first


def answers(node: NodeProcess) -> bool:
    return CliRunner().invoke(cli, ["node", "info", str(node.directory)]).exit_code == 0


def has_forgotten(process: int, number: int) -> bool:
    """Tell whether a process has no handler of a signal any more."""
    with open(f"/proc/{process}/status") as status:
        (caught,) = [line.split()[1] for line in status if line.startswith("SigCgt:")]
    return not int(caught, 16) >> (number - 1) & 1


def test_sighup_stops_a_node_in_good_order(alice: NodeProcess) -> None:
    begin(alice, "wait_in_finally")

    os.kill(alice.pid, signal.SIGHUP)
    code = alice.wait_for_exit(SECONDS)
    alice.start()

    assert code == 0
    assert live_flows(alice) == ["tests.e2e.stubborn_flows.wait_in_finally"]


def test_what_libraries_wait_in_holds_up_nobody_because_it_is_patched(alice: NodeProcess) -> None:
    begin(alice, "nap")
    alice.wait_until(lambda: "going to nap" in alice.output(), "gone to nap", SECONDS)

    assert double_of(alice, 21) == "42"
    program = alice.rpc.start_flow("tests.e2e.stubborn_flows.run_program").id
    assert alice.rpc.result(program, SECONDS).text == "7"
    assert STILL not in alice.output()


def test_without_the_patch_it_holds_up_all(alice: NodeProcess) -> None:
    alice.stop()
    alice.start(options=["--no-patch"])

    freeze(alice, "nap")

    assert f"nap_plainly ({line_of('time.sleep(LONG_SECONDS)')})" in alice.output()
    assert stubborn_flows.nap.name in alice.output()
