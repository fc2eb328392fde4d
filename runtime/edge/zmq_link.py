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
from dataclasses import dataclass
from enum import Enum
from typing import Final

import zmq

from runtime.edge.zmq_auth import HANDSHAKE_MS_MAX, CurveKeys, PeerAddress
from runtime.edge.zmq_stats import TransportStats
from runtime.edge.zmq_watch import Alarm, EventWatch, WritableWatch
from runtime.frames import Backlog, fits, pack
from runtime.ids import PeerName
from runtime.limits import MIB
from runtime.ports import LinkState
from runtime.seldom_log import SeldomLog

# Frames between us and the I/O thread; all are lost when the connection breaks. A few are enough to
# keep that thread busy. What is more waits in the backlog, where it is bounded in bytes and small
# envelopes come together in one frame: 8 made a busy link faster than 64 or 1,000.
SEND_FRAMES_MAX: Final = 8
BACKLOG_BYTES_MAX: Final = 16 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTimes:
    """How long a link waits for what."""

    reconnect_ms_first: int = 50
    reconnect_ms_max: int = 2_000
    """Soon enough for a peer that restarts; seldom enough for one that stays away."""

    heartbeat_ms: int = 15_000
    heartbeat_timeout_ms: int = 10_000
    """A process that hangs or a machine that lost its power says nothing, so it has to be asked.
    ZeroMQ's I/O thread does that, and our loop does not notice."""

    connecting_ms_max: int = 2_000
    """What is sent waits this long for a peer that is not there; then the peer is away."""

    reopen_ms: int = 10_000
    """An away link is opened anew when something is sent, but not more often than this."""

    look_up_ms: int = 5_000
    """The peer book is asked for news of peers that are away or refuse us, not more often."""

    refused_ms_first: int = 100
    refused_ms_max: int = 30_000
    """After a refusal, the next attempt; doubling."""


log = logging.getLogger("sennit.transport")


class LinkStatus(Enum):
    """What can be done with envelopes."""

    CONNECTING = "connecting"
    UP = "up"
    AWAY = "away"


_UP: Final = LinkStatus.UP


class Link:
    """The sending half of a link.

    ``on_up`` is called from the hub after each handshake, ``on_unreachable`` when the peer did not
    answer in time, or has refused us. That must not close the link at once.
    """

    def __init__(
        self,
        peer: PeerName,
        address: PeerAddress,
        *,
        context: zmq.Context[zmq.Socket[bytes]],
        keys: CurveKeys,
        times: LinkTimes,
        stats: TransportStats,
        on_up: Callable[[], None],
        on_unreachable: Callable[[], None],
    ) -> None:
        self.address: Final = address
        self._times = times
        self._peer = peer
        self._context = context
        self._keys = keys
        self._stats = stats
        self._on_up = on_up
        self._on_unreachable = on_unreachable
        self._backlog = Backlog(bytes_max=BACKLOG_BYTES_MAX)
        self._alarm = Alarm()
        self._log = SeldomLog(log, burst=5)
        self._refused_ms = times.refused_ms_first
        self._connection: _Connection | None = None
        # Up or not; attempts that fail change nothing of that.
        self._is_up = False
        self._is_so_since = time.monotonic()
        self.reopen()

    def send(self, envelopes: Sequence[bytes]) -> None:
        """Send, keep or drop ``envelopes``, by status; never waits."""
        is_free = self._status is _UP and not self._backlog
        if is_free and envelopes and fits(envelopes) and self._transmit(envelopes):
            return
        if self._status is LinkStatus.AWAY and self._has_lasted(self._times.reopen_ms):
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

    def state(self) -> LinkState:
        """Return whether the peer can be reached, and for how long that has been."""
        for_ms = round((time.monotonic() - self._is_so_since) * 1000)
        return LinkState(peer=self._peer, is_up=self._is_up, for_ms=for_ms)

    def _note_is_up(self, *, is_up: bool) -> None:
        if is_up is not self._is_up:
            self._is_up = is_up
            self._is_so_since = time.monotonic()

    def reopen(self) -> None:
        """Connect, from scratch; what was kept waits on."""
        self._disconnect(linger_ms=0)
        self._opened_at = time.monotonic()
        try:
            self._connection = _Connection(
                self._context,
                self._keys,
                self.address,
                self._times,
                on_event=self._note,
                on_writable=self._flush,
            )
        except zmq.ZMQError as error:
            self._note_impossible(error)
        else:
            self._begin_connecting()

    def hurry(self) -> None:
        """Learn that the peer is alive: don't wait for ZeroMQ's next attempt."""
        is_due = self._has_lasted(self._times.reconnect_ms_first)
        if self._status is not LinkStatus.UP and is_due:
            self.reopen()

    def close(self, *, linger_ms: int) -> None:
        """Disconnect; what is on its way may still leave within ``linger_ms``."""
        self._disconnect(linger_ms=linger_ms)
        self._be_away()

    def _has_lasted(self, ms: int) -> bool:
        return time.monotonic() - self._opened_at >= ms / 1000

    def _disconnect(self, *, linger_ms: int) -> None:
        self._alarm.clear()
        if self._connection is not None:
            self._connection.close(linger_ms=linger_ms)
            self._connection = None

    def _begin_connecting(self) -> None:
        self._status = LinkStatus.CONNECTING
        self._note_is_up(is_up=False)
        self._alarm.set(self._times.connecting_ms_max, self._note_unreachable)

    def _be_away(self) -> None:
        self._status = LinkStatus.AWAY
        self._note_is_up(is_up=False)
        self._stats.envelopes_dropped += self._backlog.clear()

    def _note_unreachable(self) -> None:
        self._be_away()
        self._on_unreachable()

    def _note(self, event: zmq.Event, _: int) -> None:
        if event == zmq.Event.HANDSHAKE_SUCCEEDED:
            self._note_up()
        elif event == zmq.Event.DISCONNECTED:
            self._note_lost()
        else:
            self._note_refused(event)

    def _note_up(self) -> None:
        self._alarm.clear()
        self._refused_ms = self._times.refused_ms_first
        self._status = LinkStatus.UP
        self._note_is_up(is_up=True)
        self._stats.links_up += 1
        self._flush()
        self._on_up()

    def _note_lost(self) -> None:
        if self._status is LinkStatus.UP:
            self._begin_connecting()

    def _note_refused(self, event: zmq.Event) -> None:
        self._log.warn(
            "refused",
            f"{self._peer} at {self.address.endpoint} refuses us ({event.name}); trying again in "
            f"{self._refused_ms} ms. Its network map may not list our key (yet), or ours may list "
            "another key than it has",
        )
        self._try_again_later()

    def _note_impossible(self, error: zmq.ZMQError) -> None:
        self._log.say(
            logging.ERROR,
            "impossible",
            f"can't connect to {self._peer} at {self.address.endpoint}: {error}; trying again in "
            f"{self._refused_ms} ms. Its entry in the network map may be wrong, or this process "
            "may have too few file descriptors (ulimit -n)",
        )
        self._try_again_later()

    def _try_again_later(self) -> None:
        self._be_away()
        self._alarm.set(self._refused_ms, self.reopen)
        self._refused_ms = min(self._refused_ms * 2, self._times.refused_ms_max)
        self._on_unreachable()

    def _flush(self) -> None:
        while self._backlog and self._transmit(self._backlog.first()):
            self._backlog.pop()

    def _transmit(self, batch: Sequence[bytes]) -> bool:
        """Send one frame; False if there is no room, and then `_flush` is called when there is."""
        assert self._connection is not None
        frame_bytes = self._connection.send(batch)
        if not frame_bytes:
            return False
        stats = self._stats
        stats.frames_out += 1
        stats.envelopes_out += len(batch)
        stats.bytes_out += frame_bytes
        return True


class _Connection:
    """A DEALER with its watches; it exists as a whole or not at all."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        keys: CurveKeys,
        address: PeerAddress,
        times: LinkTimes,
        *,
        on_event: Callable[[zmq.Event, int], None],
        on_writable: Callable[[], None],
    ) -> None:
        self._socket = context.socket(zmq.DEALER)
        try:
            _configure(self._socket, keys, address, times)
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


def _configure(
    socket: zmq.Socket[bytes], keys: CurveKeys, address: PeerAddress, times: LinkTimes
) -> None:
    socket.curve_publickey = keys.public_key
    socket.curve_secretkey = keys.secret_key
    socket.curve_serverkey = address.curve_key
    socket.ipv6 = "[" in address.endpoint
    socket.sndhwm = SEND_FRAMES_MAX
    # Without a connection there is nothing to write to: nothing old waits for the peer's return.
    socket.immediate = True
    socket.reconnect_ivl = times.reconnect_ms_first
    socket.reconnect_ivl_max = times.reconnect_ms_max
    socket.handshake_ivl = HANDSHAKE_MS_MAX
    socket.heartbeat_ivl = times.heartbeat_ms
    socket.heartbeat_timeout = times.heartbeat_timeout_ms
    # The other end does not ask us; it hangs up when it has missed our questions.
    socket.heartbeat_ttl = 3 * times.heartbeat_ms
    # A peer has no business to send to this socket, and finds no room if it does.
    socket.rcvhwm = 1
    socket.maxmsgsize = 1_024
