"""Fixtures of the edge tests: a network of transports on loopback."""

from collections.abc import Iterator

import pytest

from tests.runtime.edge.zmq_network import ZmqNetwork


@pytest.fixture
def network() -> Iterator[ZmqNetwork]:
    with ZmqNetwork() as network:
        yield network
