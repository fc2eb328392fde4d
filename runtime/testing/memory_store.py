"""A store in memory that says when its batches are durable, and can lose the others.

For simulations and tests. It is deterministic: nothing depends on time, threads or hashing.
"""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from runtime.errors import KeyPresentError, StoreError
from runtime.memtable import Generation, check_keys, latest, merge, overlay
from runtime.ports import Batch, Loop, Space, StoreStatus


class StoreWatch(Protocol):
    """Who looks on, and may decide when batches become durable."""

    def submitted(self, batch: Batch) -> None:
        """Learn that ``batch`` was taken."""

    def landed(self, batch: Batch) -> None:
        """Learn that ``batch`` is durable, before its callback knows."""


class MemoryStore:
    """A `runtime.ports.Store` without a disk.

    By default every batch is reported durable in the next turn of ``loop``. With ``manual=True`` it
    is durable when `make_durable` says so.

    ``watch`` is told of each batch that was submitted, and that is durable.
    """

    def __init__(
        self, loop: Loop, *, manual: bool = False, watch: "StoreWatch | None" = None
    ) -> None:
        self._loop = loop
        self._manual = manual
        self._watch = watch
        self._rows = Generation(0)
        self._durable_rows = Generation(0)
        self._waiting: deque[tuple[Batch, Callable[[], None]]] = deque()
        self._is_closed = False
        self._durable_batches = 0

    @property
    def waiting(self) -> int:
        """How many batches are submitted and not durable yet."""
        return len(self._waiting)

    def get(self, space: Space, key: bytes) -> bytes | None:
        """Return the value as of all batches submitted so far."""
        table = self._rows.tables.get(space.name)
        return None if table is None else table.rows.get(key)

    def scan(self, space: Space, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs in order, as of now."""
        return merge(overlay((self._rows,), space.name, start, end), ())

    def latest(self, space: Space, before: bytes | None, count: int) -> list[tuple[bytes, bytes]]:
        """Return the last ``count`` pairs before a key, as of now, last first."""
        return latest((self._rows,), (), space.name, before, count)

    def submit(self, batch: Batch, on_durable: Callable[[], None]) -> None:
        """Take ``batch``; it is durable in a later turn of the loop, or by `make_durable`."""
        if self._is_closed:
            raise StoreError("the store is closed")
        for space, key in batch.absent:
            if self.get(space, key) is not None:
                raise KeyPresentError(space.name, key)
        check_keys(batch)
        _apply(self._rows, batch)
        self._waiting.append((batch, on_durable))
        if self._watch is not None:
            self._watch.submitted(batch)
        if not self._manual:
            self._loop.call_soon(self._make_next_durable)

    def make_durable(self, count: int | None = None) -> None:
        """Make the ``count`` oldest batches durable (None: all); their callbacks run soon."""
        for _ in range(len(self._waiting) if count is None else min(count, len(self._waiting))):
            batch, on_durable = self._waiting.popleft()
            self._land(batch)
            self._loop.call_soon(partial(self._report, on_durable))

    def crash(self) -> "MemoryStore":
        """Lose what is not durable: close this store, drop its callbacks, return one with the rest.

        The new store is of the same kind (manual or not) on the same loop.
        """
        self._is_closed = True
        self._waiting.clear()
        survivor = MemoryStore(self._loop, manual=self._manual, watch=self._watch)
        for name, table in self._durable_rows.tables.items():
            for generation in (survivor._rows, survivor._durable_rows):
                generation.apply(name, table.rows, write_once=True)
        return survivor

    def status(self) -> StoreStatus:
        """Return how many batches there were."""
        return StoreStatus(batches=self._durable_batches, batches_waiting=len(self._waiting))

    def close(self) -> None:
        """Make everything durable, drop the callbacks that are due, and refuse more."""
        self._is_closed = True
        for batch, _ in self._waiting:
            self._land(batch)
        self._waiting.clear()

    def _make_next_durable(self) -> None:
        if self._waiting:
            batch, on_durable = self._waiting.popleft()
            self._land(batch)
            on_durable()

    def _land(self, batch: Batch) -> None:
        self._durable_batches += 1
        _apply(self._durable_rows, batch)
        if self._watch is not None:
            self._watch.landed(batch)

    def _report(self, on_durable: Callable[[], None]) -> None:
        if not self._is_closed:
            on_durable()


def _apply(rows: Generation, batch: Batch) -> None:
    for space, writes in batch.writes.items():
        # Nothing older lies below, so no deletion of a key that was put has to be remembered.
        rows.apply(space.name, writes, write_once=True)
    for space, series in batch.deleted_series.items():
        rows.delete_series(space.name, series)
