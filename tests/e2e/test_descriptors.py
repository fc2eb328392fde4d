"""A node's process may open as many files as the system lets it."""

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from runtime.testing.driver import NetworkDriver, NodeProcess
from tests.e2e.networks import EMBEDDED

FEW: Final = 300


@pytest.fixture
def node() -> Iterator[NodeProcess]:
    """A node that was started where only few files may be open, unless somebody asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with NetworkDriver.create(EMBEDDED) as network:
        alice = network.node("alice")
        resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, hard))
        try:
            alice.launch()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        alice.wait_until_up()
        yield alice


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="the system does not tell")
def test_a_node_raises_its_limit_of_open_files_to_what_it_may_have(node: NodeProcess) -> None:
    # Breaks when peers and users share the thousand that a shell gives, and strangers a quarter.
    lines = Path(f"/proc/{node.pid}/limits").read_text().splitlines()
    (line,) = (each for each in lines if each.startswith("Max open files"))
    soft, hard = line.split()[3:5]

    assert soft == hard
    assert int(hard) > FEW
    # A share of it that is larger than the limit of the node would not show.
    in_use = {row.name: row.limit for row in node.rpc.info().limits}
    assert in_use["rpc_connections_silent_max"] == min(1_000, int(hard) // 4)
