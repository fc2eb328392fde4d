"""Every transport against the one suite."""

from collections.abc import Callable, Iterator

import pytest

from runtime.ids import PeerName
from runtime.ports import Transport
from runtime.testing.memory_transport import MemoryNetwork
from runtime.testing.simulated_loop import SimulatedClock, SimulatedLoop
from runtime.testing.transport_conformance import TransportConformance, TransportHarness
from tests.runtime.edge.zmq_network import ZmqNetwork


class MemoryHarness:
    def __init__(self) -> None:
        self._loop = SimulatedLoop(SimulatedClock())
        self._network = MemoryNetwork(self._loop)

    def run_until(self, is_done: Callable[[], bool]) -> None:
        self._loop.run(is_done)

    def transport(self, me: PeerName) -> Transport:
        return self._network.transport(me)


class TestMemoryTransport(TransportConformance):
    @pytest.fixture
    def harness(self) -> TransportHarness:
        return MemoryHarness()


class TestZmqTransport(TransportConformance):
    @pytest.fixture
    def harness(self) -> Iterator[TransportHarness]:
        with ZmqNetwork() as network:
            yield network
