"""A flow that has its own node kill it: in its own code, in a step, in a native thread."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import FlowKilled, current_flow, flow, service, sleep, step
from runtime.flow import Flow
from runtime.network_bootstrap import create_network
from runtime.node import Node
from tests.e2e.networks import EMBEDDED

SECONDS = 20.0


@step
def kill_in_step(flow_id: str) -> bool:
    return service(Node).kill(flow_id)


@step(thread=True)
def kill_in_thread(flow_id: str) -> bool:
    return service(Node).kill(flow_id)


@flow
def by_itself() -> str:
    service(Node).kill(current_flow().id)
    sleep(0.01)
    return "survived"


@flow
def in_a_step() -> str:
    kill_in_step(current_flow().id)
    return "survived"


@flow
def in_a_thread() -> str:
    kill_in_thread(current_flow().id)
    return "survived"


FLOWS = (by_itself, in_a_step, in_a_thread)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    path: Path = tmp_path_factory.mktemp("node") / "network.toml"
    path.write_text(EMBEDDED)
    network = create_network(path)
    with Node(network.nodes[0].directory, apps=FLOWS, sync=False) as node:
        node.host.provide(Node, node)
        yield node


@pytest.mark.parametrize("killing_itself", FLOWS, ids=lambda it: it.name.rpartition(".")[2])
def test_a_flow_that_kills_itself_ends_as_killed(node: Node, killing_itself: Flow[[], str]) -> None:
    handle = node.start_flow(killing_itself)

    with pytest.raises(FlowKilled):
        handle.result(SECONDS)

    assert node.flow(handle.id).row.status == "killed"
    assert node.info().left_behind == []
