"""A plain script: start the node of a directory, run a flow, print its result."""

import sys

from runtime.node import Node
from tests.e2e.flows import add


def main(directory: str) -> None:
    with Node(directory) as node:
        print(node.start_flow(add, 2, 3).result(timeout=10))


if __name__ == "__main__":
    main(sys.argv[1])
