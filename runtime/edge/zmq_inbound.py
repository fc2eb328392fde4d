"""The listening half of all links: a ROUTER that receives, and never sends.

ZeroMQ's message is ``routing id | frame``. Whatever else arrives, or a frame that is malformed, is
dropped and counted, and the log names the peer. Bounds hold before anything is decoded: ZeroMQ
closes the connection of a peer that announces more than FRAME_BYTES_MAX (the peer may come back),
and stops reading from one that has RECEIVE_FRAMES_MAX frames waiting here; `zmq_connections` cuts
one that sends part after part, and `zmq_fair` lets peers take turns.
"""

import logging
from collections.abc import Callable
from typing import Final, cast

import zmq

from runtime.edge.zmq_auth import (
    HANDSHAKE_MS_MAX,
    USER_ID,
    ZAP_DOMAIN,
    CurveKeys,
    PeerBook,
    ZapHandler,
)
from runtime.edge.zmq_connections import Connections, bounds_of_peers
from runtime.edge.zmq_fair import FairQueue
from runtime.edge.zmq_stats import TransportStats
from runtime.edge.zmq_watch import EventWatch, SocketWatch
from runtime.errors import ConfigurationError
from runtime.frames import MalformedFrame, unpack
from runtime.ids import PeerName
from runtime.limits import FRAME_BYTES_MAX, PeerLimits
from runtime.seldom_log import SeldomLog

# Frames of one connection that wait for us: some megabytes from an honest peer, whose frames rarely
# have more than FRAME_BYTES_TARGET; 160 from a hostile one. More did not make it any faster.
RECEIVE_FRAMES_MAX: Final = 16

# Connections accepted by the kernel and not yet by ZeroMQ; a whole network may come back at once.
ACCEPT_BACKLOG_MAX: Final = 1_024

_READABLE: Final = int(zmq.POLLIN)
_EVENTS: Final = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)

log = logging.getLogger("sennit.transport")


class Inbound:
    """Receive from every peer. ``on_frame`` gets the peer, its connection and the envelopes."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        *,
        bind: str,
        keys: CurveKeys,
        peers: PeerBook,
        limits: PeerLimits,
        stats: TransportStats,
        on_frame: Callable[[PeerName, bytes, list[bytes]], None],
    ) -> None:
        """Listen at ``bind``; raises `ConfigurationError` and leaves nothing behind."""
        self._peers = peers
        self._stats = stats
        self._log = SeldomLog(log)
        self._zap = ZapHandler(context, lambda key: peers.peer_of(key) is not None, stats)
        self._router = context.socket(zmq.ROUTER)
        try:
            _configure(self._router, keys, bind)
            self._router.bind(bind)
        except zmq.ZMQError as error:
            self._router.close(linger=0)
            self._zap.close()
            raise ConfigurationError(
                bind,
                f"can't listen here: {error}",
                "Choose an address and port of this machine that no other process listens at, "
                "and keys as curve_keypair() makes them",
            ) from error
        self.endpoint: Final = cast(bytes, self._router.last_endpoint).decode()
        self._connections = Connections(
            bounds=bounds_of_peers(limits),
            is_drained=self._look_whether_drained,
            stats=stats,
            log=self._log,
        )
        self._events = EventWatch(self._router, _EVENTS, self._note)
        self._watch = SocketWatch(self._router, self._take)
        self._queue = FairQueue(
            handle=on_frame, on_full=self._watch.pause, on_room=self._watch.resume
        )

    def usage(self) -> list[tuple[str, int, int]]:
        """Return each limit by name, with what is used of it."""
        return self._connections.usage()

    def close(self) -> None:
        """Hang up on everybody."""
        self._watch.close()
        self._queue.close()
        self._events.close()
        self._connections.close()
        self._router.close(linger=0)
        self._zap.close()

    def _take(self) -> bool:
        try:
            connection = self._router.recv(zmq.NOBLOCK)
        except zmq.Again:
            return False
        # A message arrives as a whole, so none of its parts has to be waited for.
        frame = self._router.recv(zmq.NOBLOCK, copy=False)
        is_alone = not frame.more
        if not is_alone:
            self._skip_parts()
        # To ask is cheaper than to try in vain, and most frames come alone. What comes after this
        # wakes us again. Later we may be closed.
        has_more = not self._is_drained()
        # The ZAP handler has put the key there: no connection comes to be without it.
        peer = self._peers.peer_of(str(frame.get(USER_ID)).encode())
        if peer is None:
            self._stats.frames_unknown += 1
        else:
            self._connections.delivered(frame.get(zmq.SRCFD), peer)
            self._deliver(peer, connection, frame, is_alone=is_alone)
        return has_more

    def _look_whether_drained(self) -> bool:
        is_drained = self._is_drained()
        if not is_drained:
            self._watch.look()
        return is_drained

    def _is_drained(self) -> bool:
        return not cast(int, self._router.get(zmq.EVENTS)) & _READABLE

    def _skip_parts(self) -> None:
        while self._router.recv(zmq.NOBLOCK, copy=False).more:
            pass

    def _deliver(
        self, peer: PeerName, connection: bytes, frame: zmq.Frame, *, is_alone: bool
    ) -> None:
        try:
            if not is_alone:
                raise MalformedFrame("a message of several parts")
            envelopes = unpack(frame.buffer)
        except MalformedFrame as error:
            self._stats.frames_malformed += 1
            self._log.warn(peer, f"frame from {peer} dropped: {error}")
            return
        self._stats.frames_in += 1
        self._stats.envelopes_in += len(envelopes)
        self._stats.bytes_in += len(frame)
        self._queue.put(peer, connection, envelopes)

    def _note(self, event: zmq.Event, value: int) -> None:
        if event == zmq.Event.ACCEPTED:
            self._connections.opened(value)
        elif event == zmq.Event.DISCONNECTED:
            self._connections.closed(value)
        else:
            self._note_broken(event)

    def _note_broken(self, event: zmq.Event) -> None:
        self._stats.handshakes_broken += 1
        self._log.warn(
            "broken handshake",
            f"a connection to {self.endpoint} was no proper CURVE handshake ({event.name}): "
            "whoever it was speaks no CURVE, means another node or gave up",
        )


def _configure(socket: zmq.Socket[bytes], keys: CurveKeys, bind: str) -> None:
    socket.curve_server = True
    socket.curve_publickey = keys.public_key
    socket.curve_secretkey = keys.secret_key
    socket.zap_domain = ZAP_DOMAIN
    socket.ipv6 = "[" in bind
    socket.backlog = ACCEPT_BACKLOG_MAX
    socket.handshake_ivl = HANDSHAKE_MS_MAX
    socket.maxmsgsize = FRAME_BYTES_MAX
    socket.rcvhwm = RECEIVE_FRAMES_MAX
