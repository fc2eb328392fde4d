"""The store on disk: a log of batches, and in LMDB a tree for each space.

`submit` applies a batch to the newest generation of rows in memory, where reads see it at once,
and queues it for the writer (`runtime.edge.lmdb_writer`), which appends it to the log. When the
generation has grown large it is frozen and the writer merges it into the trees; the next one takes
over. Reads look into the newest generation, then into the frozen one, then into the tree. Opening
replays the log. The layout on disk is specified in `runtime.edge.lmdb_format` and
`runtime.edge.log_file`, the reasons are in ``docs/decisions/0001-store-layout.md``.

All methods belong to the thread whose gevent hub was current when the store was opened. While
something is on its way to the disk the store keeps the event loop alive, and otherwise not.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self, cast

import greenlet
import lmdb
from gevent import get_hub
from gevent.hub import Waiter
from gevent.monkey import get_original

from runtime.edge.lmdb_file import take_directory
from runtime.edge.lmdb_recovery import recover
from runtime.edge.lmdb_tree import Trees
from runtime.edge.lmdb_writer import Alarm, CrashPoint, QueuedBatch, Stop, StoreStatistics, Writer
from runtime.edge.log_records import encode_batch
from runtime.edge.mailbox import Mailbox
from runtime.errors import KeyPresentError, StoreError
from runtime.limits import MIB
from runtime.memtable import Generation, check_keys, latest, merge, overlay
from runtime.ports import Batch, Space, StoreStatus

MAP_BYTES_FIRST: Final = 64 * MIB

# What a start has to replay, and what a generation holds in memory: 65 MiB if the rows are small.
MERGE_ROWS: Final = 200_000
MERGE_BYTES: Final = 32 * MIB

_ABSENT: Final = object()

log = logging.getLogger("sennit.store")


class _Watcher(Protocol):
    ref: bool

    def start(self, callback: Callable[[], None]) -> None: ...
    def send(self) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


class LmdbStore:
    """A `runtime.ports.Store` in a directory of its own."""

    def __init__(
        self,
        path: Path,
        *,
        owner: str,
        map_bytes_first: int = MAP_BYTES_FIRST,
        merge_rows: int = MERGE_ROWS,
        merge_bytes: int = MERGE_BYTES,
        sync: bool = True,
        on_alarm: Callable[[str | None], None] | None = None,
        crash_point: CrashPoint | None = None,
    ) -> None:
        """Open the store at ``path`` or create it; raise `StoreUnusable` and change nothing.

        Args:
            path: Its directory.
            owner: Whose data it is; a store of another owner is refused.
            map_bytes_first: The first size of the map; it doubles by itself.
            merge_rows: Rows in memory from which on they are merged into the trees.
            merge_bytes: Bytes in the log from which on they are merged.
            sync: False loses batches that were reported durable when the machine loses power.
            on_alarm: Called from the hub with a message when the disk fails, with None when it
                works again.
            crash_point: Where to kill the process, for tests of recovery.
        """
        self._merge_rows = merge_rows
        self._merge_bytes = merge_bytes
        self._on_alarm = on_alarm
        self._lock = take_directory(path, owner, map_bytes=map_bytes_first)
        try:
            self._trees = Trees(path, map_bytes=map_bytes_first, sync=sync)
            try:
                recovered = recover(self._trees, owner, sync=sync)
            except BaseException:
                self._trees.close()
                raise
        except BaseException:
            self._lock.release()
            raise
        self._log = recovered.log
        self._active = recovered.active
        self._submitted = recovered.submitted
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()
        self._is_closed = False
        self._closer: Waiter[None] | None = None
        self._thread = get_original("_thread", "get_ident")()
        self._hub = get_hub()
        # The stubs of gevent don't know that `ref` can be set; all its loops can.
        self._watcher = cast(_Watcher, self._hub.loop.async_(ref=False))
        self._watcher.start(self._hear)
        self._writer = Writer(
            self._trees,
            self._log,
            durable=self._submitted,
            noted=recovered.noted,
            wake=self._watcher.send,
            crash_point=crash_point,
        )
        self._queue: Mailbox[QueuedBatch | Generation | Stop] = self._writer.queue
        if recovered.older is not None:
            self._writer.merge_later(recovered.older)
        self._writer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_class: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def statistics(self) -> StoreStatistics:
        """What was written since the store was opened; it goes on changing."""
        return self._writer.statistics

    @property
    def commits(self) -> int:
        """How many transactions were committed since the store was opened."""
        return self._writer.statistics.commits

    @property
    def is_merging(self) -> bool:
        """Whether the writer is busy moving a generation of rows into the trees."""
        return self._writer.frozen is not None

    @property
    def rows_unmerged(self) -> int:
        """How many rows are in memory and in the log, and wait to be merged into the trees."""
        return sum(generation.row_count() for generation in self._generations())

    @property
    def map_bytes(self) -> int:
        """How large the map of the database is; it doubles by itself."""
        return self._trees.map_bytes

    @property
    def scans_open(self) -> int:
        """How many scans were begun, are not at their end, and somebody still has."""
        return self._trees.scans_open

    def get(self, space: Space, key: bytes) -> bytes | None:
        """Return the value as of all batches submitted so far."""
        name = space.name
        for generation in self._generations():
            table = generation.tables.get(name)
            if table is not None:
                value = table.rows.get(key, _ABSENT)
                if value is not _ABSENT:
                    return value  # type: ignore[return-value]  # mypy can't narrow by a sentinel
        return self._trees.get(name, key)

    def scan(self, space: Space, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs in order; rows in memory are copied now, the tree is read as it goes."""
        newer = overlay(self._generations(), space.name, start, end)
        return merge(newer, self._trees.scan(space.name, start, end) or ())

    def latest(self, space: Space, before: bytes | None, count: int) -> list[tuple[bytes, bytes]]:
        """Return the last ``count`` pairs before a key, last first."""
        backwards = self._trees.backwards(space.name, before, count)
        return latest(self._generations(), backwards, space.name, before, count)

    def submit(self, batch: Batch, on_durable: Callable[[], None]) -> None:
        """Take ``batch``; call ``on_durable`` from the hub once it is on disk."""
        if self._is_closed:
            raise StoreError(f"the store at {self._trees.where} is closed")
        for space, key in batch.absent:
            if self.get(space, key) is not None:
                raise KeyPresentError(space.name, key)
        rows = check_keys(batch)
        if rows:
            self._write(batch, rows)
        elif self._submitted == self._writer.durable:
            self._watcher.send()
        if not self._waiting:
            self._watcher.ref = True
        self._waiting.append((self._submitted, on_durable))

    def status(self) -> StoreStatus:
        """Return how it does: what was written since it was opened, and its disk."""
        writer = self._writer
        trouble, trouble_ms = writer.trouble()
        return StoreStatus(
            batches=writer.statistics.batches,
            batches_waiting=self._submitted - writer.durable,
            size_bytes=self._trees.size_bytes(),
            free_bytes=self._trees.free_bytes(),
            synced_ms_ago=writer.synced_ms_ago(),
            trouble=trouble,
            trouble_ms=trouble_ms,
        )

    def close(self) -> None:
        """Wait until everything submitted is on disk, then let go of the files. Idempotent.

        In a greenlet only that waits and callbacks are called; in the hub, or in another thread,
        the thread waits and callbacks that are due are dropped. It waits as long as the disk fails.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._queue.put(Stop())
        is_own_thread = get_original("_thread", "get_ident")() == self._thread
        if is_own_thread and greenlet.getcurrent() is not self._hub:
            self._watcher.ref = True
            while not self._writer.is_finished or self._has_due_callback():
                self._closer = Waiter(self._hub)
                self._closer.get()
        self._writer.join()
        if is_own_thread:
            self._drop_watcher()
        else:
            self._hub.loop.run_callback_threadsafe(self._drop_watcher)
        self._log.close()
        self._trees.close()
        self._lock.release()

    def _generations(self) -> Iterable[Generation]:
        frozen = self._writer.frozen
        return (self._active,) if frozen is None else (self._active, frozen)

    def _write(self, batch: Batch, rows: int) -> None:
        active = self._active
        if (
            active.rows_written >= self._merge_rows or active.log_bytes >= self._merge_bytes
        ) and self._has_to_merge(active):
            active = self._freeze(active)
        number = self._submitted
        frame = encode_batch(batch)
        for space, writes in batch.writes.items():
            if writes:
                active.apply(space.name, writes, write_once=space.write_once)
        for space, series in batch.deleted_series.items():
            active.delete_series(space.name, series)
        active.batch_last = number
        active.log_bytes += len(frame)
        self._submitted = number + 1
        self._queue.put(QueuedBatch(number, frame, rows))

    def _has_to_merge(self, active: Generation) -> bool:
        if self._writer.frozen is not None:
            return False
        active.rows_written = active.row_count()  # fewer: some have vanished
        return active.rows_written >= self._merge_rows or active.log_bytes >= self._merge_bytes

    def _freeze(self, active: Generation) -> Generation:
        self._trees.settle_scans()
        self._active = Generation(active.number + 1)
        self._writer.merge_later(active)
        return self._active

    def _hear(self) -> None:
        """Run what the writer's progress allows; called from the hub when the writer has news."""
        writer, waiting = self._writer, self._waiting
        try:
            while writer.alarms:
                self._report(writer.alarms.popleft())
            while waiting and waiting[0][0] <= writer.durable:
                _, on_durable = waiting.popleft()
                try:
                    on_durable()
                except Exception:
                    log.exception("a callback of the store failed")
        finally:
            # Something that unwinds the hub must not cost the others their call.
            if self._has_due_callback():
                self._watcher.send()
            if not waiting:
                self._watcher.ref = self._is_closed
            if self._closer is not None:
                closer, self._closer = self._closer, None
                closer.switch(None)

    def _has_due_callback(self) -> bool:
        return bool(self._waiting) and self._waiting[0][0] <= self._writer.durable

    def _report(self, alarm: Alarm) -> None:
        if alarm.message is None:
            log.warning("the store at %s can be written again", self._trees.where)
        else:
            # The message says all of a disk that is full or fails; a stack would only hide it.
            is_disk = isinstance(alarm.error, OSError | lmdb.Error)
            log.error(alarm.message, exc_info=None if is_disk else alarm.error)
        if self._on_alarm is not None:
            try:
                self._on_alarm(alarm.message)
            except Exception:
                log.exception("the alarm callback of the store failed")

    def _drop_watcher(self) -> None:
        self._watcher.stop()
        self._watcher.close()
