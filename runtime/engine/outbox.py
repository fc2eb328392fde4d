"""Messages kept and sent again until the peer acknowledges them.

    space outbox    key: our session id (16 bytes) | number (u32, big-endian)
                    value: msgpack [peer, envelope]; before acceptance the envelope's `to` is empty

A message joins the outbox in the commit of what it depends on and leaves the node when that commit
has landed. Data of a session that is still opening stays here, in order, until the peer accepts.

How much is kept for a peer, and for all, is bounded (`runtime.core.quota`): flows that would hand
over more wait in a queue (`runtime.engine.room_queue`). Acceptances, refusals, ends and errors are
always taken: they are small, as many as there are sessions, and let others go on.

What is not acknowledged is sent again, each message with a back-off of its own, so that one that
was lost does not wait for the link to fall silent. A link on which nothing moves is looked at with
a back-off too, so a peer that is away for long costs little.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from runtime.core import envelopes
from runtime.core.envelopes import Accept, Content
from runtime.core.quota import Quotas, Share
from runtime.engine.commits import Commits
from runtime.engine.room_queue import RoomQueue
from runtime.errors import BadMessage
from runtime.ids import PeerName, SessionId
from runtime.limits import (
    KEPT_OVERHEAD_BYTES,
    MIB,
    RESEND_MS_FIRST,
    RESEND_MS_MAX,
    UNACKNOWLEDGED_BYTES_PER_SESSION_MAX,
)
from runtime.ports import Clock, Loop, Space, Timer

OUTBOX: Final = Space("outbox", write_once=True)

# How much is sent again at once; what is behind it follows after a pause.
RESEND_ENVELOPES_MAX: Final = 2_000
RESEND_BYTES_MAX: Final = 16 * MIB
RESEND_PAUSE_MS: Final = 50

_KEY_BYTES: Final = 20

Outgoing = Accept | Content


class Row(msgspec.Struct, array_like=True):
    """What a row of the outbox holds."""

    peer: PeerName
    envelope: bytes


class _Entry:
    __slots__ = ("due_ms", "envelope", "is_released", "number", "resent", "size")

    def __init__(self, number: int, envelope: Outgoing, size: int) -> None:
        self.number = number
        self.envelope = envelope
        self.size = size
        self.due_ms = 0
        self.resent = 0
        self.is_released = False


class _Session:
    """The unacknowledged messages of one session."""

    __slots__ = ("addressee", "entries", "is_blocked", "on_room", "peer", "share", "size")

    def __init__(self, peer: PeerName, share: Share) -> None:
        self.peer = peer
        self.share = share
        self.addressee = SessionId(b"")
        self.entries: deque[_Entry] = deque()
        self.size = 0
        self.is_blocked = False
        self.on_room: Callable[[], None] | None = None


class _Link:
    """What is under way to one peer."""

    __slots__ = ("delay_ms", "had_progress", "senders", "sessions", "share", "timer")

    def __init__(self, share: Share) -> None:
        self.share = share
        self.sessions: dict[SessionId, _Session] = {}
        # Our session by the peer's, of those that something was sent again for. Not of all, since
        # that would cost each message something, and one that arrives is not asked about.
        self.senders: dict[SessionId, SessionId] = {}
        self.delay_ms = RESEND_MS_FIRST
        self.had_progress = False
        self.timer: Timer | None = None


_encode_row = msgspec.msgpack.Encoder().encode
_row_decoder: msgspec.msgpack.Decoder[Row] = msgspec.msgpack.Decoder(Row)


class Outbox:
    """All unacknowledged messages of a node."""

    def __init__(self, loop: Loop, clock: Clock, commits: Commits, quotas: Quotas) -> None:
        self.loop = loop
        self.clock = clock
        self.commits = commits
        self.quotas = quotas
        self.queue = RoomQueue(loop, self.has_room)
        self._sessions: dict[SessionId, _Session] = {}
        self._links: dict[PeerName, _Link] = {}
        self.resent = 0
        # Called with a session whose messages are all acknowledged, or dropped.
        self.on_empty: Callable[[SessionId], None] = _nobody_listens

    def __len__(self) -> int:
        return sum(len(session.entries) for session in self._sessions.values())

    def waiting(self) -> dict[PeerName, tuple[int, int]]:
        """Return how many messages each peer has not acknowledged, and of how many sessions."""
        found: dict[PeerName, tuple[int, int]] = {}
        for session in self._sessions.values():
            messages, sessions = found.get(session.peer, (0, 0))
            found[session.peer] = messages + len(session.entries), sessions + 1
        return found

    def add(self, sid: SessionId, peer: PeerName, envelope: Outgoing, *, is_blocked: bool) -> None:
        """Take a message in the open batch; it is transmitted when that has landed.

        A blocked one waits for `unblock` on top of that.
        """
        encoded = envelopes.encode(envelope)
        number = envelope.number
        self.commits.put(OUTBOX, _key(sid, number), _encode_row((peer, encoded)))
        entry = self._insert(sid, peer, number, envelope, len(encoded))
        if is_blocked:
            self._sessions[sid].is_blocked = True
        else:
            self._release(peer, entry, encoded)

    def unblock(self, sid: SessionId, peer_sid: SessionId) -> None:
        """Address what waited for acceptance to the peer's session and let it go."""
        session = self._sessions.get(sid)
        if session is None or not session.is_blocked:
            return
        session.is_blocked = False
        for entry in session.entries:
            if not entry.is_released:
                entry.envelope = _addressed(entry.envelope, peer_sid)
                self._release(session.peer, entry, envelopes.encode(entry.envelope))

    def acknowledged(self, peer: PeerName, sid: SessionId, up_to: int) -> bool:
        """Forget what the peer has; False if the session is not one with this peer."""
        session = self._sessions.get(sid)
        if session is None:
            return True
        if session.peer != peer:
            return False
        link = self._links[peer]
        freed = 0
        entries = session.entries
        while entries and entries[0].number <= up_to and entries[0].is_released:
            entry = entries.popleft()
            session.size -= entry.size
            freed += entry.size + KEPT_OVERHEAD_BYTES
            link.had_progress = True
            link.delay_ms = RESEND_MS_FIRST
            self.commits.delete(OUTBOX, _key(sid, entry.number))
        if session.on_room is not None:
            session.on_room()
        self._free(link, freed)
        if not entries:
            self._forget(sid)
        return True

    def drop(self, sid: SessionId) -> None:
        """Forget all messages of a session that the peer has refused."""
        session = self._sessions.get(sid)
        if session is not None:
            for entry in session.entries:
                self.commits.delete(OUTBOX, _key(sid, entry.number))
            self._forget(sid)

    def has(self, sid: SessionId) -> bool:
        """Tell whether a session has messages that the peer has not acknowledged."""
        return sid in self._sessions

    def peer_of(self, sid: SessionId) -> PeerName | None:
        """Return whom the unacknowledged messages of a session are for; None if it has none."""
        session = self._sessions.get(sid)
        return None if session is None else session.peer

    def sender_to(self, peer: PeerName, peer_sid: SessionId) -> SessionId | None:
        """Return which session keeps sending to the session ``peer_sid`` of ``peer``, if one does.

        It is known from the second sending on.
        """
        link = self._links.get(peer)
        return None if link is None else link.senders.get(peer_sid)

    def has_room(self, peer: PeerName, sid: SessionId | None = None) -> bool:
        """Tell whether a flow may hand over more for ``peer``, in that session of it or a new one.

        If so, any single message may follow, however large.
        """
        link = self._links.get(peer)
        # Often nothing is under way.
        if link is None or not link.sessions:
            return True
        session = None if sid is None else self._sessions.get(sid)
        if session is not None and session.size > UNACKNOWLEDGED_BYTES_PER_SESSION_MAX:
            return False
        return not link.share.is_passed

    def count(self, sid: SessionId) -> int:
        """Return how many messages of a session the peer has not acknowledged."""
        session = self._sessions.get(sid)
        return 0 if session is None else len(session.entries)

    def when_room(
        self, peer: PeerName, sid: SessionId | None, key: bytes, callback: Callable[[], None]
    ) -> None:
        """Call ``callback`` when `has_room`, which is False now, may have become True.

        ``key`` is the caller's, for ``queue.leave``.
        """
        if self._links[peer].share.is_passed:
            self.queue.join(peer, key, callback)
        elif sid is not None:
            self._sessions[sid].on_room = callback

    def peer_reachable(self, peer: PeerName) -> None:
        """Send everything for ``peer`` again: the link is new, and may have lost it."""
        link = self._links.get(peer)
        if link is not None:
            link.delay_ms = RESEND_MS_FIRST
            for session in link.sessions.values():
                for entry in session.entries:
                    entry.due_ms = entry.resent = 0
            self._resend(peer, link)

    def restore(
        self,
        rows: Iterator[tuple[bytes, bytes]],
        peer_session_of: Callable[[SessionId], SessionId | None],
    ) -> None:
        """Take over the rows of the store after a restart.

        ``peer_session_of`` tells the peer's id of a session that was accepted; the data of others
        stays blocked.
        """
        for key, value in rows:
            if len(key) != _KEY_BYTES:
                self.commits.unreadable.set_aside(OUTBOX, key, "its key is no message's")
                continue
            read = self.commits.unreadable.read_or_none(OUTBOX, key, value, _read_row)
            if read is None:
                # The messages behind it wait at the peer, so that none is taken for another.
                continue
            row, envelope = read
            sid, number = SessionId(key[:16]), int.from_bytes(key[16:], "big")
            entry = self._insert(sid, row.peer, number, envelope, len(row.envelope))
            entry.is_released = True
            if isinstance(envelope, envelopes.Data | envelopes.Error | envelopes.End):
                peer_sid = SessionId(envelope.to) or peer_session_of(sid)
                if peer_sid:
                    envelope.to = peer_sid
                else:
                    entry.is_released = False
                    self._sessions[sid].is_blocked = True

    def resume(self) -> None:
        """Send everything again after a restart."""
        for peer, link in list(self._links.items()):
            self._resend(peer, link)

    def close(self) -> None:
        """Cancel all timers, and wake nobody any more."""
        self.queue.close()
        for link in self._links.values():
            if link.timer is not None:
                link.timer.cancel()
                link.timer = None

    def _insert(
        self, sid: SessionId, peer: PeerName, number: int, envelope: Outgoing, size: int
    ) -> _Entry:
        session = self._sessions.get(sid)
        if session is None:
            link = self._links.get(peer)
            if link is None:
                link = self._links[peer] = _Link(self.quotas.of(peer).unacknowledged)
            session = self._sessions[sid] = _Session(peer, link.share)
            link.sessions[sid] = session
        entry = _Entry(number, envelope, size)
        session.entries.append(entry)
        session.size += size
        session.share.add(size + KEPT_OVERHEAD_BYTES)
        return entry

    def _release(self, peer: PeerName, entry: _Entry, encoded: bytes) -> None:
        entry.is_released = True
        entry.due_ms = self.clock.steady_ms() + RESEND_MS_FIRST
        self.commits.send(peer, encoded)
        link = self._links[peer]
        if link.timer is None:
            self._arm(peer, link, link.delay_ms)

    def _forget(self, sid: SessionId) -> None:
        session = self._sessions.pop(sid)
        link = self._links[session.peer]
        # The timer stays: to set it anew for each lone message costs more than one call in vain.
        del link.sessions[sid]
        if session.entries:
            self._free(link, session.size + KEPT_OVERHEAD_BYTES * len(session.entries))
        if session.addressee and link.senders.get(session.addressee) == sid:
            del link.senders[session.addressee]
        self.on_empty(sid)

    def _free(self, link: _Link, freed: int) -> None:
        link.share.add(-freed)
        if self.queue.waiting:
            self.queue.look_soon()

    def _arm(self, peer: PeerName, link: _Link, delay_ms: int) -> None:
        if link.timer is not None:
            link.timer.cancel()
            link.timer = None
        if link.sessions:
            link.had_progress = False
            link.timer = self.loop.call_after(delay_ms, lambda: self._due(peer, link))

    def _due(self, peer: PeerName, link: _Link) -> None:
        link.timer = None
        if not link.had_progress:
            link.delay_ms = min(link.delay_ms * 2, RESEND_MS_MAX)
        self._resend(peer, link)

    def _resend(self, peer: PeerName, link: _Link) -> None:
        """Transmit again what is due, once what it depends on is durable."""
        count = size = 0
        now = self.clock.steady_ms()
        for sid, session in link.sessions.items():
            if count > RESEND_ENVELOPES_MAX or size > RESEND_BYTES_MAX:
                self._arm(peer, link, RESEND_PAUSE_MS)
                break
            for entry in session.entries:
                if entry.is_released and entry.due_ms <= now:
                    if not session.addressee and not isinstance(entry.envelope, envelopes.Open):
                        session.addressee = entry.envelope.to
                        link.senders[session.addressee] = sid
                    entry.resent += 1
                    entry.due_ms = now + min(
                        RESEND_MS_FIRST << min(entry.resent, 16), RESEND_MS_MAX
                    )
                    self.commits.send(peer, envelopes.encode(entry.envelope))
                    count += 1
                    size += entry.size
        else:
            self._arm(peer, link, link.delay_ms)
        self.resent += count


def _nobody_listens(sid: SessionId) -> None:
    """Wait for nothing."""


def _addressed(envelope: Outgoing, peer_sid: SessionId) -> Outgoing:
    if isinstance(envelope, envelopes.Data | envelopes.Error | envelopes.End):
        envelope.to = peer_sid
    return envelope


def _read_row(value: bytes) -> tuple[Row, Outgoing]:
    row = _row_decoder.decode(value)
    envelope = envelopes.decode(row.envelope, is_addressed=False)
    if isinstance(envelope, envelopes.Answer):
        raise BadMessage("an answer is not kept")
    return row, envelope


def _key(sid: SessionId, number: int) -> bytes:
    return sid + number.to_bytes(4, "big")
