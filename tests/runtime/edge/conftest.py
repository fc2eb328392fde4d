"""Fixtures of the edge tests: a network of transports on loopback."""

import resource
from collections.abc import Iterator

import pytest

from tests.runtime.edge.zmq_network import ZmqNetwork

# The strangers of the tests are in this process, too.
FEW_DESCRIPTORS = 1_024


@pytest.fixture
def network() -> Iterator[ZmqNetwork]:
    with ZmqNetwork() as network:
        yield network


@pytest.fixture
def few_descriptors() -> Iterator[int]:
    """A process that may open few files, as where nobody has raised the usual limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_DESCRIPTORS, hard))
    yield FEW_DESCRIPTORS
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
