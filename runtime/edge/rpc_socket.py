"""A ZeroMQ socket that one greenlet reads and any greenlet writes, without polling.

`SocketWatch` tells when there may be something to read, and the reader then takes all there is.
Sending may swallow that signal (ZeroMQ's descriptor is edge-triggered, and a send looks into the
mailbox too), so each send has the reader look once more.
"""

from typing import Final, cast

import gevent.event
import zmq

from runtime.edge.zmq_auth import CurveKeys
from runtime.edge.zmq_watch import SocketWatch
from runtime.limits import FRAME_BYTES_MAX

HEARTBEAT_MS: Final = 5_000
RECONNECT_MS: Final = 100
RECONNECT_MS_MAX: Final = 1_000
# So that the last word (stop watching) leaves before the process ends.
LINGER_MS: Final = 200


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

    def receive(self, *, parts_max: int) -> list[zmq.Frame]:
        """Wait for a message; only the calling greenlet waits.

        Of one with more parts than ``parts_max``, one more is returned, and the rest dropped.
        """
        while True:
            self._may_have_input.clear()
            try:
                frames = [self.raw.recv(zmq.NOBLOCK, copy=False)]
            except zmq.Again:
                self._may_have_input.wait()
                continue
            # All parts of a message arrive together.
            part = frames[0]
            while part.more:
                part = self.raw.recv(zmq.NOBLOCK, copy=False)
                if len(frames) <= parts_max:
                    frames.append(part)
            return frames

    def is_drained(self) -> bool:
        """Tell whether all messages that are complete were read; if not, they will be."""
        if cast(int, self.raw.get(zmq.EVENTS)) & zmq.POLLIN:
            # To ask has used up the edge.
            self._may_have_input.set()
            return False
        return True

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


def dealer(
    context: zmq.Context[zmq.Socket[bytes]], server_key: bytes, user_keys: CurveKeys
) -> zmq.Socket[bytes]:
    """Return the socket of a client, not connected."""
    socket = context.socket(zmq.DEALER)
    socket.curve_serverkey = server_key
    socket.curve_publickey = user_keys.public_key
    socket.curve_secretkey = user_keys.secret_key
    socket.linger = LINGER_MS
    socket.maxmsgsize = FRAME_BYTES_MAX
    socket.heartbeat_ivl = HEARTBEAT_MS
    socket.reconnect_ivl = RECONNECT_MS
    socket.reconnect_ivl_max = RECONNECT_MS_MAX
    # Not ``immediate``: then a broken connection would take along what has arrived, unread.
    return socket
