"""The open batch, and the pipeline that makes batches durable one after another.

At most one batch is on its way to the disk; the open one grows meanwhile and follows the moment the
other has landed. What depends on a batch is released when it has landed: greenlets that wait for
their own events, envelopes for peers, acknowledgements, results.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Final

from runtime.core.envelopes import Ack, Gone, encode
from runtime.core.events import JOURNAL
from runtime.engine.unreadable import UnreadableRows
from runtime.ids import PeerName, SessionId
from runtime.ports import Batch, Loop, Space, Store, Timer, keys_of

if TYPE_CHECKING:
    from runtime.engine.flow_run import FlowRun

log = logging.getLogger("sennit.engine")

# Rows that only need to go some time (acknowledged messages) wait this long for company.
LAZY_MS: Final = 250

_NOTHING: Final[Mapping[bytes, bytes | None]] = {}

# What is under way: the batch's number, and what is released when it has landed.
_Flight = tuple[
    int,
    list[Callable[[], None]],
    dict[PeerName, list[bytes]],
    dict[tuple[PeerName, SessionId], int],
    dict[tuple[PeerName, SessionId, SessionId], Gone],
]


class Commits:
    """All writes of the engine pass here."""

    def __init__(
        self,
        store: Store,
        loop: Loop,
        *,
        now: Callable[[], int],
        ready: "deque[FlowRun]",
        on_turn: Callable[[], None],
        transmit: Callable[[PeerName, list[bytes]], None],
        journal_rows: Callable[[], dict[bytes, bytes | None]] = dict,
    ) -> None:
        self.store = store
        self.loop = loop
        self.number = 0
        self.durable = 0
        self.is_scheduled = False
        self.commits = 0
        self.is_abandoned = False
        self.unreadable = UnreadableRows()
        # Set while the loop's own callback runs that will take its turn itself, at its end.
        self.is_turn_ahead = False
        # When the batch that is under way left; 0: none is.
        self.flying_since_ms = 0
        self._now = now
        self._ready = ready
        self._on_turn = on_turn
        self._transmit = transmit
        self._journal_rows = journal_rows
        self._flight: _Flight | None = None
        self.flying_waiters: list[FlowRun] = []
        self._lazy_timer: Timer | None = None
        self._open_next()

    def _open_next(self) -> None:
        self.number += 1
        self.batch = Batch()
        self.journal = self._journal_rows()
        self.batch.writes[JOURNAL] = self.journal
        self.is_eager = False
        self.waiters: list[FlowRun] = []
        self.released: list[Callable[[], None]] = []
        self.outgoing: dict[PeerName, list[bytes]] = {}
        self.acks: dict[tuple[PeerName, SessionId], int] = {}
        self.gone: dict[tuple[PeerName, SessionId, SessionId], Gone] = {}
        # How many of them each peer gets.
        self.denials: dict[PeerName, int] = {}

    # --- writing ----------------------------------------------------------------------------

    def put(self, space: Space, key: bytes, value: bytes) -> None:
        """Write a row that something depends on."""
        self.batch.put(space, key, value)
        self.wake()

    def delete(self, space: Space, key: bytes) -> None:
        """Remove a row, together with whatever is committed next."""
        rows = self.batch.writes.setdefault(space, {})
        if space.write_once and rows.get(key) is not None:
            del rows[key]
            return
        rows[key] = None
        if not self.is_eager and not self.is_scheduled:
            self._arm_lazily()

    def acknowledge(self, peer: PeerName, sid: SessionId, up_to: int) -> None:
        """Acknowledge the peer's messages of its session ``sid`` once the open batch is durable."""
        self.acks[peer, sid] = up_to
        self.wake()

    def deny(self, peer: PeerName, gone: Gone) -> None:
        """Tell the peer of a session that is not there; once in a batch, however often it asks."""
        if (peer, gone.to, gone.sid) not in self.gone:
            self.denials[peer] = self.denials.get(peer, 0) + 1
        self.gone[peer, gone.to, gone.sid] = gone
        self.wake()

    def send(self, peer: PeerName, envelope: bytes) -> None:
        """Transmit an envelope once the open batch is durable."""
        self.outgoing.setdefault(peer, []).append(envelope)
        self.wake()

    def after(self, callback: Callable[[], None]) -> None:
        """Call from the loop once the open batch is durable."""
        self.released.append(callback)
        self.wake()

    def wake(self) -> None:
        """See to it that the open batch is submitted after this turn."""
        self.is_eager = True
        if not self.is_scheduled:
            self.schedule()

    def schedule(self) -> None:
        """See to it that there is a turn soon."""
        if not self.is_scheduled:
            self.is_scheduled = True
            if not self.is_turn_ahead:
                self.loop.call_soon(self._on_turn)

    def with_turn(self, work: Callable[[], None]) -> None:
        """Do ``work`` and what it made ready, in one callback of the loop.

        For what the loop itself calls. Another round of the loop between the two would cost a
        lone flow as much as its own code.
        """
        if self.is_scheduled or self.is_turn_ahead:
            work()
            return
        self.is_turn_ahead = True
        try:
            work()
        finally:
            self.is_turn_ahead = False
            self._take_turn()

    def _take_turn(self) -> None:
        if self.is_scheduled:
            self._on_turn()

    # --- reading: the open batch over the store ------------------------------------------------

    def get(self, space: Space, key: bytes) -> bytes | None:
        """Return a value as of everything written so far."""
        rows = self._written(space)
        if key in rows:
            return rows[key]
        return self.store.get(space, key)

    def scan(self, space: Space, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs as of everything written so far; undisturbed by later writes."""
        written = {
            key: value
            for key, value in self._written(space).items()
            if key >= start and (end is None or key < end)
        }
        return overlaid(self.store.scan(space, start, end), written)

    def latest(self, space: Space, before: bytes | None, count: int) -> list[tuple[bytes, bytes]]:
        """Return the last ``count`` pairs before a key as of everything written, last first."""
        written = {
            key: value
            for key, value in self._written(space).items()
            if before is None or key < before
        }
        # Each of these may hide a row of the store.
        rows: dict[bytes, bytes | None] = dict(
            self.store.latest(space, before, count + len(written))
        )
        rows |= written
        found = [(key, value) for key, value in rows.items() if value is not None]
        return sorted(found, reverse=True)[:count]

    def _written(self, space: Space) -> Mapping[bytes, bytes | None]:
        rows = self.batch.writes.get(space, _NOTHING)
        series = self.batch.deleted_series.get(space)
        if not series:
            return rows
        return {**rows, **dict.fromkeys(chain.from_iterable(map(keys_of, series)))}

    # --- the pipeline -----------------------------------------------------------------------

    def submit(self) -> None:
        """Send the open batch on its way, if it is worth it and the other one has landed."""
        if self._flight is not None or self.is_abandoned:
            return
        if not self.is_eager:
            if self.batch:
                self._arm_lazily()
            return
        batch = self.batch
        self._flight = (self.number, self.released, self.outgoing, self.acks, self.gone)
        self.flying_since_ms = self._now()
        self.flying_waiters = self.waiters
        self._open_next()
        if batch:
            self.store.submit(batch, self._landed)
        else:
            self.commits -= 1
            self._landed()

    def _landed(self) -> None:
        if not self.is_abandoned:
            self.with_turn(self._follow)

    def _follow(self) -> None:
        """Let go what depends on the batch that has landed, and send the next one after it."""
        flight = self._flight
        assert flight is not None
        self._flight = None
        self.flying_since_ms = 0
        self.commits += 1
        self.durable, released, outgoing, acks, gone = flight
        if released or outgoing or acks or gone:
            for (peer, _, _), envelope in gone.items():
                outgoing.setdefault(peer, []).append(encode(envelope))
            self._release(released, outgoing, acks)
        self._ready.extend(self.flying_waiters)
        self.flying_waiters = []
        if self._ready:
            self.schedule()
        self.submit()

    def _release(
        self,
        released: list[Callable[[], None]],
        outgoing: dict[PeerName, list[bytes]],
        acks: dict[tuple[PeerName, SessionId], int],
    ) -> None:
        for (peer, sid), up_to in acks.items():
            outgoing.setdefault(peer, []).append(encode(Ack(sid, up_to)))
        for peer, envelopes in outgoing.items():
            self._transmit(peer, envelopes)
        for callback in released:
            try:
                callback()
            except Exception:
                # Whoever else waits for this commit must not wait for ever.
                log.exception("a callback after a commit failed")

    def close(self) -> None:
        """Submit what is open, even if nothing depends on it, and arm nothing any more."""
        if self._lazy_timer is not None:
            self._lazy_timer.cancel()
            self._lazy_timer = None
        if self.batch:
            self.store.submit(self.batch, lambda: None)
            self._open_next()

    def abandon(self) -> None:
        """Drop what is open, and whatever should follow what is under way."""
        if self._lazy_timer is not None:
            self._lazy_timer.cancel()
            self._lazy_timer = None
        self.is_abandoned = True

    def _arm_lazily(self) -> None:
        if self._lazy_timer is None:
            self._lazy_timer = self.loop.call_after(LAZY_MS, self._lazy_due)

    def _lazy_due(self) -> None:
        # It stays armed when a commit has taken the rows along; then there is nothing to do.
        self._lazy_timer = None
        if self.batch:
            self.with_turn(self.wake)


def overlaid(
    below: Iterator[tuple[bytes, bytes]], above: dict[bytes, bytes | None]
) -> Iterator[tuple[bytes, bytes]]:
    """Merge two ordered sources; ``above`` wins, and its None hides a key."""
    if not above:
        yield from below
        return
    upper = iter(sorted(above.items()))
    top = next(upper, None)
    for key, value in below:
        while top is not None and top[0] < key:
            if top[1] is not None:
                yield top[0], top[1]
            top = next(upper, None)
        if top is not None and top[0] == key:
            if top[1] is not None:
                yield top[0], top[1]
            top = next(upper, None)
        else:
            yield key, value
    while top is not None:
        if top[1] is not None:
            yield top[0], top[1]
        top = next(upper, None)
