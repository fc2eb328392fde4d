"""A test that is killed while the nodes that it drives run: print their processes, then die."""

import os
import signal

from runtime.testing.driver import NetworkDriver
from tests.e2e.networks import EMBEDDED


def main() -> None:
    with NetworkDriver.create(EMBEDDED) as network:
        network.start()
        print(network.directory, *(node.pid for node in network.nodes), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
