"""Every transport against the one suite."""

from collections.abc import Iterator

import pytest

from runtime.ids import PeerName
from runtime.ports import Transport
from runtime.testing.memory_transport import MemoryNetwork
from runtime.testing.transport_conformance import TransportConformance, TransportHarness
from tests.runtime.edge.zmq_network import ZmqNetwork
from tests.runtime.testing.stepped_loop import SteppedLoop


class MemoryHarness:
    def __init__(self) -> None:
        loop = SteppedLoop()
        self.run_until = loop.run_until
        self._network = MemoryNetwork(loop)

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
