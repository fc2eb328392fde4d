"""Flows that block in steps, on gevent or in threads, all at once, while quick ones go on."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
import gevent.monkey
from gevent.server import StreamServer

from runtime.handle import FlowHandle
from runtime.node import Node
from tests.e2e.flows import (
    add,
    ask_echo,
    ask_echo_plainly,
    gate,
    wait_in_step,
    wait_in_thread,
    work,
)

SLOW_FLOWS = 20
QUICK_FLOWS = 20
THREADS = 5


def echo_slowly(connection: socket.socket, address: object) -> None:
    with connection, connection.makefile("r") as lines:
        text = lines.readline()
        gate.pass_on_gevent()
        connection.sendall(text.upper().encode())


@contextmanager
def echo_server() -> Iterator[int]:
    server = StreamServer(("127.0.0.1", 0), echo_slowly)
    server.start()
    try:
        assert server.server_port is not None
        yield server.server_port
    finally:
        server.stop()


def main(directory: str) -> None:
    # Only a patched socket of Python lets others go on; an unpatched one stops the whole hub, and
    # with it the server that it waits for.
    plain = ask_echo_plainly if gevent.monkey.is_module_patched("socket") else ask_echo
    with Node(directory) as node, echo_server() as port:
        slow: list[FlowHandle[str]] = [
            *(node.begin_flow(wait_in_step) for _ in range(SLOW_FLOWS)),
            *(node.begin_flow(ask_echo, port, "a") for _ in range(SLOW_FLOWS)),
            *(node.begin_flow(plain, port, "b") for _ in range(SLOW_FLOWS)),
            *(node.begin_flow(wait_in_thread) for _ in range(THREADS)),
        ]
        quick: list[FlowHandle[int]] = [
            *(node.begin_flow(add, number, 1) for number in range(QUICK_FLOWS)),
            *(node.begin_flow(work, 20) for _ in range(QUICK_FLOWS)),
        ]
        print(sum(handle.result(timeout=20) for handle in quick))
        while gate.waiting < len(slow):
            gevent.sleep(0.01)
        print(f"{sum(handle.is_ended for handle in slow)} slow ones had ended")
        gate.open()
        print(sorted({handle.result(timeout=20) for handle in slow}))


if __name__ == "__main__":
    main(sys.argv[1])
