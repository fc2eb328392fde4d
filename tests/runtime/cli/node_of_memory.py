"""A process that runs a node in memory as ``sennit node run`` runs a real one.

Called with the directory of a node and with ``slow`` if the node takes for ever to stop, or with
``broken`` if it can't be started.
"""

import sys

import gevent

from runtime.cli.errors import SennitGroup
from runtime.cli.logs import log_to_stderr
from runtime.cli.node_process import supervise
from runtime.errors import ConfigurationError
from runtime.operations import NodeOperations
from tests.runtime.cli.conftest import serve
from tests.runtime.edge.fake_node import FakeNode

group = SennitGroup("node_of_memory")


class NodeOfMemory:
    """Starts and stops as a node does."""

    def __init__(self, directory: str, manner: str) -> None:
        self._fake = FakeNode()
        self._directory = directory
        self._manner = manner

    @property
    def operations(self) -> NodeOperations:
        return self._fake

    def start(self) -> None:
        if self._manner == "broken":
            raise ConfigurationError("node.toml", "is odd", "Mend it")
        self._server = serve(self._directory, self._fake)

    def wait_until_asked_to_stop(self) -> None:
        self._fake.is_stopping.wait()

    def ask_to_stop(self) -> None:
        self._fake.stop()

    def stop(self) -> None:
        if self._manner == "slow":
            gevent.sleep(1_000)
        self._server.close()


@group.command()
def run() -> None:
    log_to_stderr("info")
    supervise(NodeOfMemory(*sys.argv[1:3]))


if __name__ == "__main__":
    group(["run"])
