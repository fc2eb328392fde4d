"""A real node, a simulated one, and the fake that the tests of command and RPC use, are one."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from runtime.edge.system_clock import SystemClock
from runtime.network_bootstrap import create_network
from runtime.node import Node
from runtime.operations import NodeOperations
from runtime.testing.network import SimulatedNetwork
from runtime.testing.operations_conformance import OperationsConformance, OperationsHarness
from tests.conformance import operation_flows
from tests.e2e.networks import EMBEDDED
from tests.runtime.edge.fake_node import FakeNode


def run_gevent_until(is_done: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + 60
    while not is_done():
        assert time.monotonic() < ends_at
        gevent.sleep(0.001)


class EngineHarness:
    """What nodes with an engine have in common."""

    add = operation_flows.add.name
    refuse = operation_flows.refuse.name
    wait = operation_flows.wait.name
    hold = operation_flows.hold.name


class RealHarness(EngineHarness):
    def __init__(self, node: Node) -> None:
        self._node = node
        self._stop = gevent.spawn(node.wait_until_asked_to_stop)
        gevent.sleep(0)

    @property
    def operations(self) -> NodeOperations:
        return self._node.operations

    @property
    def is_asked_to_stop(self) -> bool:
        gevent.sleep(0)
        return self._stop.ready()

    def let_time_pass(self) -> None:
        clock = SystemClock()
        now_ms = clock.now_ms()
        run_gevent_until(lambda: clock.now_ms() > now_ms)

    def run_until(self, is_done: Callable[[], bool]) -> None:
        run_gevent_until(is_done)


class SimulatedHarness(EngineHarness):
    def __init__(self) -> None:
        self._network = SimulatedNetwork()
        self._node = self._network.node("Alice", apps=[operation_flows])

    @property
    def operations(self) -> NodeOperations:
        return self._node.operations

    @property
    def is_asked_to_stop(self) -> bool:
        self._network.run_for(1)
        return not self._node.is_up

    def let_time_pass(self) -> None:
        self._network.run_for(0.001)

    def run_until(self, is_done: Callable[[], bool]) -> None:
        for _ in range(1_000):
            if is_done():
                return
            self._network.run_for(0.001)
        assert is_done()


class FakeHarness:
    add = "trade.add"
    refuse = "trade.buy"
    wait = "trade.wait"
    hold = "trade.hold"

    def __init__(self) -> None:
        self._node = FakeNode()

    @property
    def operations(self) -> NodeOperations:
        return self._node

    @property
    def is_asked_to_stop(self) -> bool:
        return self._node.is_stopping.is_set()

    def let_time_pass(self) -> None:
        """Each flow of the fake begins a millisecond after the one before."""

    def run_until(self, is_done: Callable[[], bool]) -> None:
        run_gevent_until(is_done)


class TestRealNode(OperationsConformance):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[OperationsHarness]:
        operation_flows.tries.clear()
        (tmp_path / "network.toml").write_text(EMBEDDED)
        directory = create_network(tmp_path / "network.toml").nodes[0].directory
        with (
            gevent.Timeout(60),
            Node(directory, apps=(operation_flows,), sync=False) as node,
        ):
            yield RealHarness(node)


class TestSimulatedNode(OperationsConformance):
    @pytest.fixture
    def harness(self) -> OperationsHarness:
        operation_flows.tries.clear()
        return SimulatedHarness()


class TestFakeNode(OperationsConformance):
    @pytest.fixture
    def harness(self) -> OperationsHarness:
        return FakeHarness()
