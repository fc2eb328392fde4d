"""Two nodes in one process, on one gevent hub, that speak to each other over ZeroMQ."""

import sys

from runtime.node import Node
from tests.e2e.flows import greet


def main(alice_directory: str, bob_directory: str) -> None:
    with Node(alice_directory) as alice, Node(bob_directory) as bob:
        there = alice.start_flow(greet, alice.party("Bob"), "Bob")
        back = bob.start_flow(greet, bob.party("Alice"), "Alice")
        print(there.result(timeout=10), back.result(timeout=10))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
