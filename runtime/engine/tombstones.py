"""What stays of a session that is over here: enough to answer late messages, and not for long.

    space tombstones   key: our session id (16 bytes)
                            or the opener's session id (16 bytes) | 0x01, at the responder
                       value: msgpack array, see `Tombstone`

A session of a flow that is over leaves a tombstone, at the responder under both its ids: a late
message is acknowledged, so that the peer forgets it; a late open message does not start a second
responder; a late acceptance lets go what waited for it.

It stays as long as something is under way to the peer, and `TOMBSTONE_MS` longer, by the steady
clock: a wall clock that is set must not bring a flow to life again. By then the peer
knows our end, and forgets what it sends in vain when it hears that there is no such session. Only
copies of its open message must still be recognised, and such a copy is under way for seconds. So
the oldest ones of a peer go earlier if it has had very many sessions; only its own may suffer.
"""

from collections import deque
from typing import Final

import msgspec

from runtime.core.quota import Quotas
from runtime.engine.commits import Commits
from runtime.engine.outbox import Outbox
from runtime.ids import PeerName, SessionId
from runtime.limits import TOMBSTONE_MS
from runtime.ports import Clock, Space

TOMBSTONES: Final = Space("tombstones")

# How often those of all peers are looked at, and how many are removed then at most; those of a
# peer that buries one are looked at each time.
SWEEP_MS: Final = 1_000
SWEEP_ROWS_MAX: Final = 1_000

_SESSION_ID_BYTES: Final = 16

# Whose a session was whose tombstone can't be read: none that sends a message.
_NOBODY: Final = PeerName("")


class Tombstone(msgspec.Struct, array_like=True):
    """A session that is over here. ``other`` is its id at the other end, empty while unknown.

    Under the opener's id, ``other`` is our own. ``since`` is when it was put, in ms of the wall
    clock: after a restart, it tells only which is older.
    """

    peer: PeerName
    other: SessionId
    since: int


class _Grave:
    """Where the rows of one session are."""

    __slots__ = ("forget_after", "opener", "peer", "sid")

    def __init__(self, peer: PeerName, sid: SessionId, opener: SessionId | None) -> None:
        self.peer = peer
        self.sid = sid
        self.opener = opener
        self.forget_after = 0


_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(Tombstone)


class Tombstones:
    """All tombstones of a node."""

    def __init__(self, commits: Commits, outbox: Outbox, clock: Clock, quotas: Quotas) -> None:
        self._commits = commits
        self._outbox = outbox
        self._clock = clock
        self._quotas = quotas
        # Of sessions with something under way to the peer, which has not acknowledged our end.
        self._unsettled: dict[SessionId, _Grave] = {}
        # The others by peer, in the order in which they go.
        self._settled: dict[PeerName, deque[_Grave]] = {}
        self._sweep_due = 0
        outbox.on_empty = self._settle

    def of(self, sid: SessionId) -> Tombstone | None:
        """Return the tombstone of one of our sessions."""
        return self._get(sid)

    def of_opener(self, sid: SessionId) -> Tombstone | None:
        """Return the tombstone of a session by the id that its opener, a peer, has given to it."""
        return self._get(_as_opener(sid))

    def put(
        self, peer: PeerName, sid: SessionId, peer_sid: SessionId | None, *, is_responder: bool
    ) -> None:
        """Leave tombstones for a session of ours.

        As long as something of a session is under way that the peer has opened, it counts among
        the sessions of that peer.
        """
        self._put(sid, Tombstone(peer, peer_sid or SessionId(b""), self._clock.now_ms()))
        if is_responder and peer_sid is not None:
            self.put_refused(peer, sid, peer_sid)
        else:
            self._add(_Grave(peer, sid, None))
            self._sweep(peer)

    def put_refused(self, peer: PeerName, sid: SessionId, opener: SessionId) -> None:
        """Leave a tombstone for an open message alone; ``sid`` stands for our answer to it."""
        self._put(_as_opener(opener), Tombstone(peer, sid, self._clock.now_ms()))
        self._add(_Grave(peer, sid, opener))
        self._sweep(peer)

    def accepted(self, sid: SessionId, tombstone: Tombstone, peer_sid: SessionId) -> None:
        """Note the peer's id of a session that was over before it was accepted, or refused."""
        tombstone.other = peer_sid
        self._put(sid, tombstone)

    def recover(self) -> None:
        """Find all of them again at a start; the outbox is restored already."""
        since: dict[SessionId, int] = {}
        openers: dict[SessionId, SessionId] = {}
        peers: dict[SessionId, PeerName] = {}
        for key, value in self._commits.scan(TOMBSTONES, b"", None):
            tombstone = self._read(key, value)
            if tombstone is None:
                continue
            sid = SessionId(key)
            if len(key) > _SESSION_ID_BYTES:
                sid = tombstone.other
                openers[sid] = SessionId(key[:_SESSION_ID_BYTES])
            since[sid], peers[sid] = tombstone.since, tombstone.peer
        for sid in sorted(since, key=since.__getitem__):
            self._add(_Grave(peers[sid], sid, openers.get(sid)))

    def _add(self, grave: _Grave) -> None:
        account = self._quotas.of(grave.peer)
        account.tombstones.add(1)
        if self._outbox.has(grave.sid):
            self._unsettled[grave.sid] = grave
            if grave.opener is not None:
                account.sessions.add(1)
            return
        grave.forget_after = self._clock.steady_ms() + TOMBSTONE_MS
        queue = self._settled.get(grave.peer)
        if queue is None:
            queue = self._settled[grave.peer] = deque()
        queue.append(grave)

    def _settle(self, sid: SessionId) -> None:
        """Learn that the peer has acknowledged all of a session."""
        grave = self._unsettled.pop(sid, None)
        if grave is None:
            return
        account = self._quotas.of(grave.peer)
        account.tombstones.add(-1)
        if grave.opener is not None:
            account.sessions.add(-1)
        self._add(grave)

    def _sweep(self, peer: PeerName) -> None:
        """Remove those that have served their time, and the oldest of ``peer`` if it has many."""
        now = self._clock.steady_ms()
        rows = self._sweep_peer(peer, now, SWEEP_ROWS_MAX)
        if now < self._sweep_due:
            return
        self._sweep_due = now + SWEEP_MS
        for other in list(self._settled):
            rows = self._sweep_peer(other, now, rows)

    def _sweep_peer(self, peer: PeerName, now: int, rows: int) -> int:
        queue = self._settled.get(peer)
        share = self._quotas.of(peer).tombstones
        while queue and rows and (queue[0].forget_after < now or not share.has_room(0)):
            grave = queue.popleft()
            share.add(-1)
            rows -= 1
            self._commits.delete(TOMBSTONES, grave.sid)
            if grave.opener is not None:
                self._commits.delete(TOMBSTONES, _as_opener(grave.opener))
        if queue is not None and not queue:
            del self._settled[peer]
        return rows

    def _put(self, key: bytes, tombstone: Tombstone) -> None:
        self._commits.put(TOMBSTONES, key, _encode(tombstone))

    def _get(self, key: bytes) -> Tombstone | None:
        value = self._commits.get(TOMBSTONES, key)
        if value is None:
            return None
        return self._read(key, value) or Tombstone(_NOBODY, SessionId(b""), 0)

    def _read(self, key: bytes, value: bytes) -> Tombstone | None:
        return self._commits.unreadable.read_or_none(TOMBSTONES, key, value, _decoder.decode)


def _as_opener(sid: SessionId) -> bytes:
    """Return the key at the responder; a node that talks to itself has one for each end."""
    return sid + b"\x01"
