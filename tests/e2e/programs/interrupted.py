"""Fail in the middle of a ``with``, and be interrupted by Ctrl-C while waiting for a flow."""

import os
import signal
import sys

import gevent

from runtime.errors import NodeStopped
from runtime.node import Node
from tests.e2e.flows import add, sleep_a_week


def main(directory: str) -> None:
    # As a program with gevent does that does not want it announced on standard error first.
    hub = gevent.get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)
    node = Node(directory)
    try:
        with node:
            node.start_flow(sleep_a_week)
            raise ZeroDivisionError
    except ZeroDivisionError:
        print("failed")
    try:
        with node:
            handle = node.start_flow(sleep_a_week)
            gevent.spawn_later(0.1, os.kill, os.getpid(), signal.SIGINT)
            handle.result()
    except KeyboardInterrupt:
        print("interrupted")
    try:
        node.start_flow(add, 1, 2)
    except NodeStopped:
        print("stopped")
    with node:
        print(len(node.flows()))


if __name__ == "__main__":
    main(sys.argv[1])
