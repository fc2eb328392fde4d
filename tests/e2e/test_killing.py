"""A real node ends a flow, and itself, within a second or so whatever the flow's code does."""

from collections.abc import Iterator
from typing import Final

import pytest
from click.testing import CliRunner

from runtime.cli.main import cli
from runtime.errors import FlowKilled
from runtime.ids import FlowId
from runtime.operations import Arguments, FlowFilter
from runtime.testing.driver import NetworkDriver, NodeProcess

SECONDS: Final = 30.0

STUBBORN: Final = """\
[network]
name = "stubborn"

[[node]]
name = "O=Alice,L=London,C=GB"
apps = ["tests.e2e.stubborn_flows"]
"""

FLOWS: Final = ("swallow_everything", "swallow_in_step", "wait_in_finally", "block_a_thread")


@pytest.fixture
def alice() -> Iterator[NodeProcess]:
    with NetworkDriver.create(STUBBORN) as network:
        network.start()
        yield network.node("alice")


def begin(node: NodeProcess, name: str, *arguments: str) -> FlowId:
    """Start a flow and wait until it waits in its own code."""
    flow_id = (
        node.rpc.options(client_id=name)
        .start_text(f"tests.e2e.stubborn_flows.{name}", Arguments([*arguments]))
        .id
    )
    double_of(node, 1)
    return flow_id


def double_of(node: NodeProcess, number: int) -> str:
    """Have the node run another flow, as a sign that it does."""
    flow_id = (
        node.rpc.options()
        .start_text("tests.e2e.stubborn_flows.double_in_thread", Arguments([str(number)]))
        .id
    )
    return node.rpc.result(flow_id, SECONDS).text


def live_flows(node: NodeProcess) -> list[str]:
    rows = node.rpc.flows(FlowFilter(statuses=["running", "waiting", "held"]))
    return [row.name for row in rows]


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_that_refuses_to_end_is_killed(alice: NodeProcess, name: str) -> None:
    flow_id = begin(alice, name)

    was_live = alice.rpc.kill(flow_id)

    assert was_live
    with pytest.raises(FlowKilled):
        alice.rpc.result(flow_id, SECONDS)
    assert double_of(alice, 21) == "42"
    assert live_flows(alice) == []


def test_node_info_names_what_was_left_behind(alice: NodeProcess) -> None:
    flow_id = begin(alice, "swallow_everything")

    alice.rpc.kill(flow_id)

    alice.wait_until(lambda: bool(alice.rpc.info().left_behind), "left it", SECONDS)
    assert flow_id in alice.rpc.info().left_behind[0]
    assert "stubborn_flows.py" in alice.rpc.info().left_behind[0]


@pytest.mark.parametrize("name", ["swallow_everything", "swallow_in_step"])
def test_a_greenlet_that_has_to_be_left_behind_is_named(alice: NodeProcess, name: str) -> None:
    flow_id = begin(alice, name)

    alice.rpc.kill(flow_id)

    alice.wait_until(lambda: "left behind in" in alice.output(), "named it", SECONDS)
    (line,) = [line for line in alice.output().splitlines() if "left behind in" in line]
    assert flow_id in line
    assert "stubborn_flows.py" in line


def test_a_flow_that_freezes_the_node_on_its_way_out_is_dead_before(alice: NodeProcess) -> None:
    flow_id = begin(alice, "freeze_in_finally")

    was_live = alice.rpc.kill(flow_id)
    alice.kill()
    alice.start()

    assert was_live
    assert live_flows(alice) == []
    with pytest.raises(FlowKilled):
        alice.rpc.result(flow_id, SECONDS)


def test_killed_steps_in_threads_use_up_no_threads_and_are_listed(alice: NodeProcess) -> None:
    config = alice.directory / "node.toml"
    alice.stop()
    config.write_text(f"step_threads = 2\n{config.read_text()}")
    alice.start()
    flow_ids = [
        alice.rpc.start_flow("tests.e2e.stubborn_flows.block_a_thread").id for _ in range(2)
    ]
    alice.wait_until(lambda: len(alice.rpc.info().step_threads) == 2, "run both", SECONDS)
    for _ in range(10):
        alice.rpc.kill(flow_ids[-2])
        flow_ids.append(alice.rpc.start_flow("tests.e2e.stubborn_flows.block_a_thread").id)
    for flow_id in flow_ids[-2:]:
        alice.rpc.kill(flow_id)

    assert double_of(alice, 21) == "42"
    info = alice.rpc.info()
    left = [row.what for row in info.step_threads if row.is_left]
    assert info.step_threads_max == 2
    assert left
    assert all("never_return of flow" in what for what in left)
    assert all("stubborn_flows.block_a_thread" in what for what in left)
    text = CliRunner().invoke(cli, ["node", "info", str(alice.directory)]).stdout
    assert "of 2 for steps are busy" in text
    assert "nobody waits for it" in text


def test_a_node_stops_in_good_order_under_flows_that_refuse_to_end(alice: NodeProcess) -> None:
    names = [f"tests.e2e.stubborn_flows.{name}" for name in FLOWS]
    for name in FLOWS:
        begin(alice, name)

    alice.stop()
    alice.start()

    assert sorted(live_flows(alice)) == sorted(names)
