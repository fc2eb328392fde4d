"""A ZeroMQ socket that one greenlet reads and any greenlet writes, without polling.

`SocketWatch` tells when there may be something to read, and the reader then takes all there is.
Sending may swallow that signal (ZeroMQ's descriptor is edge-triggered, and a send looks into the
mailbox too), so each send has the reader look once more.
"""

import gevent.event
import zmq

from runtime.edge.zmq_watch import SocketWatch


class RpcSocket:
    """Wraps a socket of a plain ZeroMQ context. Belongs to the thread that made it."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.raw = socket
        self._may_have_input = gevent.event.Event()
        self._watch = SocketWatch(socket, self._signal)

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self.raw.closed

    def receive(self) -> list[zmq.Frame]:
        """Wait for a message; only the calling greenlet waits."""
        while True:
            self._may_have_input.clear()
            try:
                return self.raw.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                self._may_have_input.wait()

    def send(self, frames: list[bytes]) -> None:
        """Send without waiting; raises `zmq.Again` if the peer does not keep up."""
        try:
            self.raw.send_multipart(frames, zmq.NOBLOCK)
        finally:
            self._may_have_input.set()

    def close(self) -> None:
        """Let go of the socket, whose linger decides what becomes of what was not sent yet."""
        self._watch.close()
        self.raw.close()

    def _signal(self) -> bool:
        self._may_have_input.set()
        return False
