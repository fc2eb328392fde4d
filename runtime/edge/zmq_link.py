"""Our half of the link to one peer: a DEALER that sends, and never receives.

The link is *connecting*, *up* or *away*.

    connecting   what is sent waits, since a handshake takes milliseconds          → up, away
    up           what is sent goes out; what finds no room waits, bounded          → connecting
    away         what is sent is dropped: delivery sends it again                  → up, connecting

ZeroMQ itself reconnects after a lost connection, in its I/O thread, without waking us. Two things
it leaves to us. After a refusal (our key is not in the peer's map yet) it gives the connection up
for good, so we open a new one after a while. And a connection that it gave up without telling is
opened anew when something is sent.
"""

import logging
import time
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

import zmq

from runtime.edge.zmq_auth import HANDSHAKE_MS_MAX, CurveKeys, PeerAddress
from runtime.edge.zmq_stats import TransportStats
from runtime.edge.zmq_watch import Alarm, EventWatch, WritableWatch
from runtime.frames import Backlog, pack
from runtime.ids import PeerName
from runtime.limits import MIB

# Soon enough for a peer that restarts; seldom enough for one that stays away.
RECONNECT_MS_FIRST: Final = 50
RECONNECT_MS_MAX: Final = 2_000

# A process that hangs or a machine that lost its power says nothing. ZeroMQ's I/O thread asks, our
# loop does not notice: a node with nothing to do polls nothing.
HEARTBEAT_MS: Final = 15_000
HEARTBEAT_TIMEOUT_MS: Final = 10_000
HEARTBEAT_TTL_MS: Final = 45_000

# Frames between us and the I/O thread. It only has to keep that thread busy until we are woken,
# and all of it is lost when the connection breaks. What is more waits in the backlog, where it is
# bounded in bytes and shares frames.
SEND_FRAMES_MAX: Final = 64
BACKLOG_BYTES_MAX: Final = 16 * MIB

# What is sent waits this long for a peer that is not there; then the peer is away.
CONNECTING_S_MAX: Final = 2.0

# Refused: again after this, doubling.
REFUSED_S_FIRST: Final = 0.1
REFUSED_S_MAX: Final = 30.0

# An away link is opened anew at most this often.
REOPEN_S: Final = 10.0

log = logging.getLogger(__name__)


class LinkStatus(Enum):
    """What can be done with envelopes."""

    CONNECTING = "connecting"
    UP = "up"
    AWAY = "away"


class Link:
    """The sending half of a link. ``on_up`` is called from the hub after each handshake."""

    def __init__(
        self,
        peer: PeerName,
        address: PeerAddress,
        *,
        context: zmq.Context[zmq.Socket[bytes]],
        keys: CurveKeys,
        stats: TransportStats,
        on_up: Callable[[], None],
    ) -> None:
        self.address: Final = address
        self._peer = peer
        self._context = context
        self._keys = keys
        self._stats = stats
        self._on_up = on_up
        self._backlog = Backlog(bytes_max=BACKLOG_BYTES_MAX)
        self._alarm = Alarm()
        self._refused_s = REFUSED_S_FIRST
        self._connection: _Connection | None = None
        self.reopen()

    def send(self, envelopes: Sequence[bytes]) -> None:
        """Send, keep or drop ``envelopes``, by status; never waits."""
        if self._status is LinkStatus.AWAY and time.monotonic() - self._opened_at >= REOPEN_S:
            self.reopen()
        if self._status is LinkStatus.AWAY:
            self._stats.envelopes_dropped += len(envelopes)
            return
        self._stats.envelopes_dropped += self._backlog.add(envelopes)
        if self._status is LinkStatus.UP:
            self._flush()

    @property
    def status(self) -> LinkStatus:
        """Return the last we heard of the connection."""
        return self._status

    def reopen(self) -> None:
        """Connect, from scratch; what was kept waits on."""
        self._disconnect(linger_ms=0)
        self._opened_at = time.monotonic()
        try:
            self._connection = _Connection(
                self._context,
                self._keys,
                self.address,
                on_event=self._note,
                on_writable=self._flush,
            )
        except zmq.ZMQError as error:
            self._note_impossible(error)
        else:
            self._begin_connecting()

    def hurry(self) -> None:
        """Learn that the peer is alive: don't wait for ZeroMQ's next attempt."""
        is_due = time.monotonic() - self._opened_at >= RECONNECT_MS_MAX / 1000
        if self._status is not LinkStatus.UP and is_due:
            self.reopen()

    def close(self, *, linger_ms: int) -> None:
        """Disconnect; what is on its way may still leave within ``linger_ms``."""
        self._disconnect(linger_ms=linger_ms)
        self._be_away()

    def _disconnect(self, *, linger_ms: int) -> None:
        self._alarm.clear()
        if self._connection is not None:
            self._connection.close(linger_ms=linger_ms)
            self._connection = None

    def _begin_connecting(self) -> None:
        self._status = LinkStatus.CONNECTING
        self._alarm.set(CONNECTING_S_MAX, self._be_away)

    def _be_away(self) -> None:
        self._status = LinkStatus.AWAY
        self._stats.envelopes_dropped += self._backlog.clear()

    def _note(self, event: zmq.Event) -> None:
        if event == zmq.Event.HANDSHAKE_SUCCEEDED:
            self._note_up()
        elif event == zmq.Event.DISCONNECTED:
            self._note_lost()
        else:
            self._note_refused(event)

    def _note_up(self) -> None:
        self._alarm.clear()
        self._refused_s = REFUSED_S_FIRST
        self._status = LinkStatus.UP
        self._stats.links_up += 1
        self._flush()
        self._on_up()

    def _note_lost(self) -> None:
        if self._status is LinkStatus.UP:
            self._begin_connecting()

    def _note_refused(self, event: zmq.Event) -> None:
        log.warning(
            "%s at %s refuses us (%s); trying again in %.1f s. Its network map may not list our "
            "key (yet), or ours may list another key than it has",
            self._peer,
            self.address.endpoint,
            event.name,
            self._refused_s,
        )
        self._try_again_later()

    def _note_impossible(self, error: zmq.ZMQError) -> None:
        log.error(
            "can't connect to %s at %s: %s; trying again in %.1f s. Its entry in the network map "
            "may be wrong, or this process may have too few file descriptors (ulimit -n)",
            self._peer,
            self.address.endpoint,
            error,
            self._refused_s,
        )
        self._try_again_later()

    def _try_again_later(self) -> None:
        self._be_away()
        self._alarm.set(self._refused_s, self.reopen)
        self._refused_s = min(self._refused_s * 2, REFUSED_S_MAX)

    def _flush(self) -> None:
        assert self._connection is not None
        while self._backlog:
            batch = self._backlog.first()
            frame_bytes = self._connection.send(batch)
            if not frame_bytes:
                return
            self._backlog.pop()
            self._stats.frames_out += 1
            self._stats.envelopes_out += len(batch)
            self._stats.bytes_out += frame_bytes


class _Connection:
    """A DEALER with its watches; it exists as a whole or not at all."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        keys: CurveKeys,
        address: PeerAddress,
        *,
        on_event: Callable[[zmq.Event], None],
        on_writable: Callable[[], None],
    ) -> None:
        self._socket = context.socket(zmq.DEALER)
        try:
            _configure(self._socket, keys, address)
            self._events = EventWatch(self._socket, _EVENTS, on_event)
        except zmq.ZMQError:
            self._socket.close(linger=0)
            raise
        self._writable = WritableWatch(self._socket, on_writable)
        try:
            self._socket.connect(address.endpoint)
        except zmq.ZMQError:
            self.close(linger_ms=0)
            raise

    def send(self, envelopes: Sequence[bytes]) -> int:
        """Send a frame and return its size; or return 0 and call ``on_writable`` when to retry."""
        if self._writable.is_waiting:
            return 0
        frame = pack(envelopes)
        try:
            self._socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            self._writable.wait()
            return 0
        return len(frame)

    def close(self, *, linger_ms: int) -> None:
        self._events.close()
        self._writable.close()
        self._socket.close(linger=linger_ms)


_EVENTS: Final = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_DISCONNECTED
)


def _configure(socket: zmq.Socket[bytes], keys: CurveKeys, address: PeerAddress) -> None:
    socket.curve_publickey = keys.public_key
    socket.curve_secretkey = keys.secret_key
    socket.curve_serverkey = address.curve_key
    socket.ipv6 = "[" in address.endpoint
    socket.sndhwm = SEND_FRAMES_MAX
    # Without a connection there is nothing to write to: nothing old waits for the peer's return.
    socket.immediate = True
    socket.reconnect_ivl = RECONNECT_MS_FIRST
    socket.reconnect_ivl_max = RECONNECT_MS_MAX
    socket.handshake_ivl = HANDSHAKE_MS_MAX
    socket.heartbeat_ivl = HEARTBEAT_MS
    socket.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS
    socket.heartbeat_ttl = HEARTBEAT_TTL_MS
    # A peer has no business to send to this socket, and finds no room if it does.
    socket.rcvhwm = 1
    socket.maxmsgsize = 1_024
