"""A real node used from within a program: flows, handles, client ids, journals, start and stop."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gevent
import pytest

from runtime import flow, step
from runtime.atomic import StoreTxn, atomic
from runtime.config import NodeConfig
from runtime.edge.last_run import LAST_RUN_FILE
from runtime.errors import (
    BadArguments,
    ConfigurationError,
    InFlow,
    NodeStopped,
    UnknownFlow,
    UnknownParty,
)
from runtime.host import Host
from runtime.network_bootstrap import CreatedNetwork, create_network
from runtime.node import Node
from runtime.operations import FlowFilter
from runtime.ports import Space
from tests.e2e import flows
from tests.e2e.networks import EMBEDDED

SECONDS = 20.0


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> CreatedNetwork:
    path = tmp_path_factory.mktemp("node") / "network.toml"
    path.write_text(EMBEDDED)
    return create_network(path)


@pytest.fixture(scope="module")
def node(network: CreatedNetwork) -> Iterator[Node]:
    with Node(network.nodes[0].directory, sync=False) as node:
        yield node


@pytest.fixture
def other(network: CreatedNetwork) -> Node:
    """A node that is down."""
    return Node(NodeConfig.load(network.nodes[1].directory))


def test_a_flow_is_started_and_its_result_awaited(node: Node) -> None:
    handle = node.start_flow(flows.add, 2, b=3)

    assert handle.result(SECONDS) == 5
    assert handle.status == "completed"
    assert node.handle(handle.id).result(SECONDS) == 5


def test_a_node_that_can_not_note_who_runs_says_so_and_runs(
    network: CreatedNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    config = NodeConfig.load(network.nodes[1].directory)
    config.store_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    note = config.store_directory / LAST_RUN_FILE
    note.mkdir()

    with Node(config, sync=False) as node:
        value = node.start_flow(flows.add, 2, 3).result(SECONDS)
    note.rmdir()

    assert value == 5
    assert "can't note which flow is running" in caplog.text


def test_arguments_that_do_not_fit_start_nothing(node: Node) -> None:
    with pytest.raises(BadArguments, match=r"add\(a: int, b: int\).*'b'"):
        node.start_flow(flows.add, 2)  # type: ignore[call-arg]


def test_the_same_client_id_gives_the_same_flow_until_it_is_forgotten(node: Node) -> None:
    first = node.options(client_id="sum").start_flow(flows.add, 2, 3)
    again = node.options(client_id="sum").start_flow(flows.add, 2, 3)
    result = again.result(SECONDS)

    was_forgotten = node.forget("sum")
    anew = node.options(client_id="sum").start_flow(flows.add, 9, 9)

    assert (again.id, result, was_forgotten) == (first.id, 5, True)
    assert anew.result(SECONDS) == 18
    assert not node.forget("never used")


def test_many_flows_start_in_one_commit(node: Node) -> None:
    commits = node.commits

    handles = [node.begin_flow(flows.sleep_a_week) for _ in range(100)]
    node.wait_durable()

    assert len({handle.id for handle in handles}) == 100
    assert node.commits - commits <= 3
    for handle in handles:
        node.operations.kill(handle.id)


def test_flows_and_journals_can_be_read(node: Node) -> None:
    handle = node.start_flow(flows.sleep_a_week)

    listed = node.flows(FlowFilter(name="*sleep_a_week", statuses=["waiting", "running"]))
    gevent.sleep(0)
    journal = node.journal(handle.id)

    assert [row.id for row in listed] == [handle.id]
    assert [row.index for row in journal] == list(range(len(journal)))
    assert journal[0].kind == "Started"
    assert handle.id in {row.id for row in node.flows()}
    node.operations.kill(handle.id)


def test_an_unknown_flow_is_refused(node: Node) -> None:
    with pytest.raises(UnknownFlow):
        node.handle("01890a5d-ac96-774b-bcce-b302099a8057")


def test_parties_are_found_by_name_and_by_organisation(node: Node) -> None:
    assert node.party("O=Bob,L=Paris,C=FR") == node.party("bob")
    assert node.me == node.party("Alice")
    with pytest.raises(UnknownParty, match="O=Bob"):
        node.party("Carol")


@flow
def double(number: int) -> int:
    return 2 * number


def test_a_flow_of_no_app_is_refused(node: Node) -> None:
    with pytest.raises(UnknownFlow, match=r"double' is not installed.*Add its module to apps"):
        node.start_flow(double, 21)

    assert double.name not in [kind.name for kind in node.operations.flow_names()]


def test_apps_may_be_given_on_top_of_the_configured_ones(network: CreatedNetwork) -> None:
    path = network.nodes[1].directory / "node.toml"
    before = path.read_text()
    path.write_text(before.replace('"tests.e2e.flows"', ""))

    with Node(network.nodes[1].directory, apps=(flows,)) as node:
        names = [kind.name for kind in node.operations.flow_names()]

    path.write_text(before)
    assert "tests.e2e.flows.add" in names


THINGS = Space("tests.things")


@atomic
def put_thing(txn: StoreTxn, key: str) -> None:
    txn.put(THINGS, key.encode(), b"1")


def test_the_program_can_write_and_read_the_nodes_store(node: Node) -> None:
    node.host.run_atomic(put_thing, "a")

    assert node.host.get(THINGS, b"a") == b"1"
    assert list(node.host.scan(THINGS, b"", None)) == [(b"a", b"1")]


def test_a_node_that_is_down_says_how_to_start_it(other: Node) -> None:
    for use in (lambda: other.me, lambda: other.start_flow(flows.add, 1, 2), other.flows):
        with pytest.raises(NodeStopped, match=r"start\(\)"):
            use()


def test_a_node_is_started_once(node: Node) -> None:
    with pytest.raises(NodeStopped, match="running already"):
        node.start()


def test_stop_is_idempotent_and_may_come_before_the_start(other: Node) -> None:
    other.stop()
    other.wait_until_asked_to_stop()
    other.start()
    other.stop()
    other.stop()

    with pytest.raises(NodeStopped):
        other.flows()


def test_whoever_asks_ends_the_wait(other: Node) -> None:
    with other:
        waiting = gevent.spawn(other.wait_until_asked_to_stop)
        gevent.sleep(0)
        was_waiting = not waiting.ready()

        other.ask_to_stop()

        waiting.join(SECONDS)
        assert was_waiting
        assert waiting.ready()


def test_a_directory_without_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"node\.toml"):
        Node(tmp_path)


def test_two_that_stop_a_node_both_return_when_it_is_down(other: Node) -> None:
    other.start()
    for _ in range(20):
        other.begin_flow(flows.work, 1_000)

    stopping = [gevent.spawn(other.stop) for _ in range(2)]
    gevent.wait(stopping, timeout=SECONDS, count=1)

    with other:
        assert all(greenlet.ready() for greenlet in stopping)


NODES: list[Node] = []


@step
def stop_its_node() -> None:
    NODES[-1].stop()


@flow
def stop_from_inside() -> None:
    stop_its_node()


def test_a_flow_can_not_stop_its_own_node(node: Node) -> None:
    NODES.append(node)
    node.host.register(stop_from_inside)

    with pytest.raises(InFlow, match=r"ask_to_stop\(\)"):
        node.start_flow(stop_from_inside).result(SECONDS)

    assert node.start_flow(flows.add, 1, 2).result(SECONDS) == 3


def refuse_to_close() -> None:
    raise ZeroDivisionError


def test_an_app_that_can_not_stop_keeps_nothing_else_open(
    other: Node, caplog: pytest.LogCaptureFixture
) -> None:
    other.start()
    other.host.on_stop(refuse_to_close)

    other.stop()

    assert "a callback for the node's stop failed" in caplog.text
    with other:
        assert other.start_flow(flows.add, 1, 2).result(SECONDS) == 3


def install(host: Host) -> None:
    """Make this module an app that offers a service."""
    host.provide(Greeting, Greeting("hello"))


@dataclass(frozen=True)
class Greeting:
    text: str


def test_an_app_installs_its_services(network: CreatedNetwork) -> None:
    this = sys.modules[__name__]

    with Node(network.nodes[1].directory, apps=(this, flows)) as node:
        assert node.host.service(Greeting) == Greeting("hello")
