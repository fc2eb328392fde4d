"""Stop a node while flows are suspended, in the middle of steps, and while new ones keep coming.

Whoever waits for a flow, in a greenlet of the program, hears that the node has stopped.

Started again with the same directory, it tells how many flows came back.
"""

import sys

import gevent

from runtime.errors import NodeStopped
from runtime.handle import FlowHandle
from runtime.node import Node
from runtime.operations import FlowFilter
from tests.e2e.flows import await_peer, nap_in_step, nap_in_thread, sleep_a_week, work

FLOWS_OF_EACH = 10
WEEK_SECONDS = 7 * 24 * 3600.0


def main(directory: str) -> None:
    with Node(directory) as node:
        came_back = node.flows(FlowFilter(limit=1_000))
        print(f"{len(came_back)} came back")
        if came_back:
            return
        bob = node.party("Bob")
        handles: list[FlowHandle[object]] = [
            *(node.begin_flow(sleep_a_week) for _ in range(FLOWS_OF_EACH)),
            *(node.begin_flow(await_peer, bob) for _ in range(FLOWS_OF_EACH)),
            *(node.begin_flow(nap_in_step, WEEK_SECONDS) for _ in range(FLOWS_OF_EACH)),
            *(node.begin_flow(nap_in_thread, 1.0) for _ in range(FLOWS_OF_EACH)),
            *(node.begin_flow(work, 1_000_000) for _ in range(FLOWS_OF_EACH)),
        ]
        waiters = [gevent.spawn(wait_until_stopped, handle) for handle in handles]
        starters = [gevent.spawn(start_until_stopped, node) for _ in range(5)]
        gevent.sleep(0.2)
    gevent.joinall(starters, raise_error=True)
    gevent.joinall(waiters, raise_error=True)
    print("left")


def wait_until_stopped(handle: FlowHandle[object]) -> None:
    """Wait for a flow that never ends."""
    try:
        handle.result()
    except NodeStopped:
        return
    raise AssertionError


def start_until_stopped(node: Node) -> None:
    """Start flows that never end, until the node is gone."""
    while True:
        try:
            node.start_flow(sleep_a_week)
        except NodeStopped:
            return


if __name__ == "__main__":
    main(sys.argv[1])
