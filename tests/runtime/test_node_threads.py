"""A real node that native threads use: what they start, wait for and do through handles."""

from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import TypeVar

import gevent
import pytest
from gevent import get_hub

from runtime.edge.gevent_loop import GeventLoop
from runtime.edge.system_clock import SystemClock
from runtime.errors import BadArguments, FlowKilled, MisuseError, NodeStopped, ResultNotReady
from runtime.handle import FlowHandle
from runtime.network_bootstrap import CreatedNetwork, create_network
from runtime.node import Node
from runtime.testing.network import SimulatedNetwork
from tests.e2e import flows
from tests.e2e.networks import EMBEDDED

SECONDS = 20.0

T = TypeVar("T")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> CreatedNetwork:
    path = tmp_path_factory.mktemp("node") / "network.toml"
    path.write_text(EMBEDDED)
    return create_network(path)


@pytest.fixture(scope="module")
def node(network: CreatedNetwork) -> Iterator[Node]:
    with Node(network.nodes[0].directory, sync=False) as node:
        yield node


def in_thread(function: Callable[[], T]) -> T:
    """Call ``function`` in a native thread, while the loop of this one runs."""
    result: T = get_hub().threadpool.apply(function)
    return result


def caught(function: Callable[[], object]) -> BaseException:
    """Return what a function raises; gevent's pool would print it."""
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def test_a_thread_starts_a_flow_and_waits_for_its_result(node: Node) -> None:
    def use() -> tuple[int, bool, bool, str]:
        handle = node.options(client_id="of a thread").start_flow(flows.add, 2, b=3)
        found = node.find("of a thread", flows.add)
        result = handle.result(SECONDS)
        is_same = found is not None and found.id == handle.id
        return result, is_same, handle.wait(), handle.status

    assert in_thread(use) == (5, True, True, "completed")


def test_many_threads_start_flows_at_once(node: Node) -> None:
    def use(number: int) -> int:
        return node.start_flow(flows.add, number, number).result(SECONDS)

    with gevent.Timeout(SECONDS):
        results = get_hub().threadpool.map(use, range(50))

    assert results == [2 * number for number in range(50)]


def test_a_thread_gets_the_errors_of_the_start_and_of_the_handle(node: Node) -> None:
    wrong = in_thread(lambda: caught(lambda: node.start_flow(flows.add, 1, "x")))  # type: ignore[arg-type]
    handle = in_thread(lambda: node.start_flow(flows.sleep_a_week))
    not_held = in_thread(lambda: caught(handle.retry))
    not_ready = in_thread(lambda: caught(lambda: handle.result(timeout=0.01)))
    has_ended = in_thread(lambda: handle.wait(timeout=0.01))
    was_alive = in_thread(handle.kill)
    killed = in_thread(lambda: caught(handle.result))

    assert isinstance(wrong, BadArguments)
    assert isinstance(not_held, MisuseError)
    assert isinstance(not_ready, ResultNotReady)
    assert (has_ended, was_alive) == (False, True)
    assert isinstance(killed, FlowKilled)


def test_a_thread_looks_at_flows(node: Node) -> None:
    handle = node.start_flow(flows.sleep_a_week)

    def look() -> tuple[str, str, int, bool, str]:
        journal = node.journal(handle.id)
        is_listed = handle.id in {row.id for row in node.flows()}
        return (
            node.flow(handle.id).row.name,
            node.handle(handle.id).name,
            len(journal),
            is_listed,
            node.party("Alice").name,
        )

    name, same_name, events, is_listed, party = in_thread(look)

    assert name == same_name == flows.sleep_a_week.name
    assert events >= 1
    assert is_listed
    assert party == node.me.name
    assert in_thread(lambda: node.kill(handle.id))


def test_a_node_that_stops_lets_go_of_threads_that_wait(network: CreatedNetwork) -> None:
    node = Node(network.nodes[1].directory, sync=False)
    node.start()
    handle: FlowHandle[None] = node.start_flow(flows.sleep_a_week)
    errors: list[BaseException] = []
    waits = Event()

    def wait() -> None:
        waits.set()
        errors.append(caught(handle.result))

    thread = Thread(target=wait)
    thread.start()
    waits.wait(SECONDS)
    node.stop()
    # From here on, nothing runs the loop any more.
    thread.join(SECONDS)
    late = Thread(target=lambda: errors.append(caught(lambda: node.start_flow(flows.sleep_a_week))))
    late.start()
    late.join(SECONDS)

    assert [type(error) for error in errors] == [NodeStopped, NodeStopped]
    with node:
        assert node.kill(handle.id)


def test_a_loop_that_stands_still_does_not_hold_a_thread_beyond_its_timeout() -> None:
    loop = GeventLoop(SystemClock())
    errors: list[BaseException] = []
    thread = Thread(
        target=lambda: errors.append(caught(lambda: loop.in_loop(list, timeout_seconds=0.01)))
    )

    thread.start()
    thread.join(SECONDS)

    assert [type(error) for error in errors] == [TimeoutError]


def test_a_simulation_refuses_other_threads() -> None:
    alice = SimulatedNetwork().node("Alice", apps=[flows])

    error = in_thread(lambda: caught(lambda: alice.start_flow(flows.add, 1, 2)))

    assert isinstance(error, MisuseError)
    assert "lives in the thread that made it" in str(error)
    assert alice.flows() == []
