"""What members of the network use who mean no good: bare sockets, and a wire that stops midway."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import gevent
import gevent.event
import gevent.socket
import zmq

from runtime.edge.zmq_auth import PeerAddress
from tests.source_files import ROOT


@contextmanager
def connecting(address: PeerAddress, keys: tuple[bytes, bytes]) -> Iterator["Bare"]:
    """Make connections with the keys of a member; all end with the block."""
    bare = Bare(address, keys)
    try:
        yield bare
    finally:
        bare.close()


class Bare:
    """Bare ZeroMQ sockets of one member."""

    def __init__(self, address: PeerAddress, keys: tuple[bytes, bytes]) -> None:
        self._address = address
        self._keys = keys
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []

    def socket(self, endpoint: str = "") -> "zmq.Socket[bytes]":
        """Return a new connection, to another endpoint if there is one."""
        socket = self._context.socket(zmq.DEALER)
        socket.curve_publickey, socket.curve_secretkey = self._keys
        socket.curve_serverkey = self._address.curve_key
        socket.connect(endpoint or self._address.endpoint)
        self._sockets.append(socket)
        return socket

    def close(self) -> None:
        for each in self._sockets:
            each.close(linger=0)
        self._context.term()


@contextmanager
def sending_parts(
    address: PeerAddress,
    keys: tuple[bytes, bytes],
    count: int,
    *endpoints: str,
    greeting: bytes = b"",
) -> Iterator["subprocess.Popen[str]"]:
    """Run `tests.runtime.edge.send_parts`; a line on its standard input ends the greeting."""
    of_curve = (*keys, address.curve_key)
    sender = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.runtime.edge.send_parts", str(count), greeting.hex()),
            *(key.decode() for key in of_curve),
            *endpoints,
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        text=True,
    )
    try:
        yield sender
    finally:
        sender.kill()
        sender.communicate()


class StoppingWire:
    """A TCP proxy that forwards so many bytes of one connection and then holds the rest."""

    def __init__(self, address: PeerAddress, *, bytes_max: int) -> None:
        self._left = bytes_max
        self._port = int(address.endpoint.rpartition(":")[2])
        self._listener = gevent.socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(1)
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.is_cut = False
        self.forwarded = 0
        self._is_closed = gevent.event.Event()
        self._greenlets: list[gevent.Greenlet[..., None]] = [gevent.spawn(self._run)]

    def _run(self) -> None:
        with self._listener, ExitStack() as ends:
            client = ends.enter_context(self._listener.accept()[0])
            server = ends.enter_context(gevent.socket.create_connection(("127.0.0.1", self._port)))
            self._greenlets.append(gevent.spawn(self._answer, server, client))
            while self._left:
                data = client.recv(min(65_536, self._left))
                if not data:
                    break
                self._left -= len(data)
                server.sendall(data)
                self.forwarded += len(data)
            self._is_closed.wait()

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                client.sendall(data)
        self.is_cut = True

    def close(self) -> None:
        self._is_closed.set()
        gevent.killall(self._greenlets)
