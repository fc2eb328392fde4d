"""A flow has one status, whoever is asked: its handle, a list, its details, after a restart."""

import pytest

from runtime import FlowKilled, Retry, RetryLater, flow, step
from runtime.engine.flow_ids import key_of
from runtime.ids import FlowId
from runtime.operations import FlowFilter
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.test_node_operations import linger, start


@flow(name="status.rely")
def rely() -> None:
    raise RetryLater("the bank is away")


@step(retry=Retry())
def unlucky() -> None:
    raise OSError("the line is dead")


@flow(name="status.try_step")
def try_step() -> None:
    unlucky()


@flow(name="status.stumble")
def stumble() -> None:
    raise LookupError("where is it?")


@pytest.fixture(params=[True, False], ids=["rebuilt", "resident"])
def network(request: pytest.FixtureRequest) -> SimulatedNetwork:
    return SimulatedNetwork(is_replay_checked=request.param)


@pytest.fixture
def node(network: SimulatedNetwork) -> SimulatedNode:
    return network.node("Alice", apps=[linger, rely, try_step, stumble])


def statuses(node: SimulatedNode, flow_id: FlowId) -> set[str]:
    """Return all that the node says in all ways."""
    asked = node.operations
    (row,) = asked.flows(FlowFilter()).rows
    return {
        row.status,
        asked.flow(flow_id).row.status,
        asked.watch(flow_id, lambda: None).detail().row.status,
        node.handle(flow_id).status,
    }


def test_a_killed_flow_is_killed_for_everybody_before_and_after_a_restart(
    node: SimulatedNode,
) -> None:
    flow_id = start(node, linger, client_id="one")
    handle = node.handle(flow_id)

    node.operations.kill(flow_id)

    assert handle.status == "killed"
    assert statuses(node, flow_id) == {"killed"}
    node.restart()
    assert statuses(node, flow_id) == {"killed"}
    with pytest.raises(FlowKilled):
        node.handle(flow_id).result()


def test_a_failed_flow_is_failed_for_everybody_before_and_after_a_restart(
    node: SimulatedNode,
) -> None:
    flow_id = start(node, stumble, client_id="one")

    assert statuses(node, flow_id) == {"failed"}
    node.restart()
    assert statuses(node, flow_id) == {"failed"}


def test_a_flow_that_will_be_tried_again_waits_and_says_until_when(
    network: SimulatedNetwork, node: SimulatedNode
) -> None:
    flow_id = node.begin_flow(rely).id
    network.run_for(0.1)

    wait = node.operations.flow(flow_id).wait

    assert statuses(node, flow_id) == {"waiting"}
    assert wait is not None
    assert wait.what == "retry after RetryLater: the bank is away"
    assert wait.until_ms is not None
    assert 500 <= wait.until_ms - wait.since_ms <= 1_000


def test_a_step_that_will_be_tried_again_waits_and_says_until_when(
    network: SimulatedNetwork, node: SimulatedNode
) -> None:
    flow_id = node.begin_flow(try_step).id
    network.run_for(0.1)

    wait = node.operations.flow(flow_id).wait

    assert statuses(node, flow_id) == {"waiting"}
    assert wait is not None
    assert "next attempt at" in wait.what
    assert wait.until_ms is not None
    assert wait.until_ms > wait.since_ms


def test_a_sleep_says_when_it_is_over(network: SimulatedNetwork, node: SimulatedNode) -> None:
    flow_id = node.begin_flow(linger).id
    network.run_for(0.1)

    wait = node.operations.flow(flow_id).wait

    started_ms = int.from_bytes(key_of(flow_id)[:6], "big")
    assert wait is not None
    assert wait.until_ms is not None
    assert abs(wait.until_ms - started_ms - 1_000_000_000) < 100
