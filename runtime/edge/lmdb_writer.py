"""The one thread that writes a store: it appends batches to the log and merges generations.

It is a native thread, whatever gevent has patched. Everything that was queued while it was busy
becomes one record and one sync. Every call to the system or to LMDB lets go of the interpreter
lock, and beside a busy hub each return costs up to the switch interval (5 ms); so a commit makes as
few calls as it can, and a merge goes in small steps: after each record twice as many rows as the
record brought, and more while nothing is queued. A merge is thus over before the next one is due.

What always holds:

- `durable` only grows, and counts batches whose record is written and synced.
- What failed left nothing behind that counts; it is tried again, with back-off, for ever.
"""

import contextlib
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Final, Literal, NamedTuple

import lmdb
from gevent.monkey import get_original

from runtime.edge.lmdb_format import WRITTEN, encode_number
from runtime.edge.lmdb_merge import Merge, never
from runtime.edge.lmdb_tree import Trees
from runtime.edge.log_file import Log
from runtime.edge.mailbox import Mailbox
from runtime.errors import ConfigurationError
from runtime.memtable import Generation

RECORD_BYTES_MAX: Final = 8 * 1024 * 1024
MERGE_ROWS_STEP: Final = 256
RETRY_SECONDS_FIRST: Final = 0.05
RETRY_SECONDS_MAX: Final = 5.0

CRASH_VARIABLE: Final = "SENNIT_CRASH_AT_COMMIT"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashPoint:
    """Kill the process right before or right after its n-th commit; for tests of recovery."""

    moment: Literal["before", "after"]
    commit: int


def crash_point_from_environment() -> CrashPoint | None:
    """Read ``SENNIT_CRASH_AT_COMMIT``, for example ``before:3`` or ``after:1``."""
    text = os.environ.get(CRASH_VARIABLE)
    if not text:
        return None
    moment, _, number = text.partition(":")
    if not number.isdecimal() or int(number) < 1:
        moment = ""
    match moment:
        case "before" | "after":
            return CrashPoint(moment=moment, commit=int(number))
        case _:
            raise ConfigurationError(
                CRASH_VARIABLE, f"{text!r} is no crash point", "Write before:N or after:N, N from 1"
            )


@dataclass(slots=True, kw_only=True)
class StoreStatistics:
    """What the writer has done since the store was opened."""

    commits: int = 0
    batches: int = 0
    rows: int = 0
    log_bytes: int = 0
    merges: int = 0
    merged_rows: int = 0
    commit_ms_last: float = 0.0
    synced_at: float | None = None
    """When the last commit was on disk, by `perf_counter`."""


class QueuedBatch(NamedTuple):
    """One encoded batch on its way into the log."""

    number: int
    frame: bytes
    rows: int


class Alarm(NamedTuple):
    """Trouble with the disk, or, without a message, its end."""

    message: str | None
    error: BaseException | None


class Stop:
    """The last thing in the queue."""


class Writer:
    """Takes batches from `queue`, and calls `wake` (from its thread) when there is news.

    The news are in `durable`, `alarms` and `is_finished`.
    """

    def __init__(
        self,
        trees: Trees,
        log: Log,
        *,
        durable: int,
        noted: int,
        wake: Callable[[], object],
        crash_point: CrashPoint | None,
    ) -> None:
        self.queue: Mailbox[_Item] = Mailbox()
        self.durable = durable
        self.frozen: Generation | None = None
        """Set by `merge_later`, on the hub; the writer clears it when the trees have all of it."""
        self.alarms: deque[Alarm] = deque()
        self.is_finished = False
        self.statistics = StoreStatistics()
        self._trees = trees
        self.log = log
        self._wake = wake
        self._crash_point = crash_point
        self._merge: Merge | None = None
        self._rows_owed = 0
        self._noted = noted
        self._trouble: str | None = None
        self._trouble_at = 0.0
        self._running = get_original("_thread", "allocate_lock")()
        self._sleep = get_original("time", "sleep")

    def trouble(self) -> tuple[str, int]:
        """Return why the disk can't be written just now, if so, and since how many ms."""
        trouble = self._trouble
        return ("", 0) if trouble is None else (trouble, _ms_since(self._trouble_at))

    def synced_ms_ago(self) -> int | None:
        """Return how long ago something became durable; None if nothing did."""
        synced_at = self.statistics.synced_at
        return None if synced_at is None else _ms_since(synced_at)

    def start(self) -> None:
        """Start the thread."""
        self._running.acquire()
        get_original("_thread", "start_new_thread")(self._run, ())

    def merge_later(self, generation: Generation) -> None:
        """Merge ``generation``, to which everything queued so far belongs, and nothing later."""
        assert self.frozen is None
        self.frozen = generation
        self.queue.put(generation)

    def join(self) -> None:
        """Block the calling native thread until the writer has ended, and let go of its queue."""
        self._running.acquire()
        self.queue.close()

    def _run(self) -> None:
        # As `threading.Thread` does, for debuggers and for coverage; from the next call on.
        sys.settrace(threading.gettrace())
        self._live()

    def _live(self) -> None:
        try:
            self._work()
        except BaseException as error:  # nobody else would hear of it
            self._tell(
                f"the writer of the store at {self._trees.where} has died of a bug: {error!r}. "
                "Nothing is written any more. Restart the node and report the bug",
                error,
            )
        finally:
            self.is_finished = True
            self._wake()
            self._running.release()

    def _work(self) -> None:
        queue = self.queue
        item: _Item | None = None
        while True:
            if item is None:
                if self._merge is not None and not queue:
                    self._step_merge(self._merge, MERGE_ROWS_STEP, until=self._has_work)
                    continue
                item = queue.get()
            if isinstance(item, QueuedBatch):
                item = self._commit(item)
            elif isinstance(item, Generation):
                self._begin_merge(item)
                item = None
            else:
                self._note_end()
                return

    def _commit(self, first: QueuedBatch) -> "_Item | None":
        """Write ``first`` and what is queued behind it; return what does not belong to it."""
        queue = self.queue
        frames = [first.frame]
        rows = first.rows
        size = len(first.frame)
        following: _Item | None = None
        while size < RECORD_BYTES_MAX and queue:
            following = queue.get()
            if not isinstance(following, QueuedBatch):
                break
            frames.append(following.frame)
            rows += following.rows
            size += len(following.frame)
            following = None
        try:
            self._append(first.number, frames)
        except Exception as error:  # whatever it is; flows wait for this batch
            self._retry(lambda: self._append(first.number, frames), after=error)
        statistics = self.statistics
        statistics.batches += len(frames)
        statistics.rows += rows
        statistics.log_bytes += size
        self.durable = first.number + len(frames)
        self._wake()
        if self._merge is not None:
            self._rows_owed += 2 * rows
            if self._rows_owed >= MERGE_ROWS_STEP:
                self._step_merge(self._merge, self._rows_owed)
        return following

    def _append(self, number: int, frames: list[bytes]) -> None:
        """Write one record; what a lone flow waits for, so it takes the straight way."""
        started = perf_counter()
        self._maybe_crash("before")
        self.log.append(number, frames)
        self._committed(started)

    def _begin_merge(self, generation: Generation) -> None:
        assert self._merge is None
        if self.log.generation == generation.number:  # else: a merge that was cut off
            self._retry(lambda: self.log.begin(generation.number + 1))
        self._merge = Merge(self._trees, generation)
        self._rows_owed = 0
        self._retry(self._merge.prepare)

    def _step_merge(self, merge: Merge, count: int, *, until: Callable[[], bool] = never) -> None:
        durable = self.durable

        def step() -> None:
            started = perf_counter()
            with self._trees.environment.begin(write=True) as txn:
                merge.write(txn, count, until=until)
                txn.put(WRITTEN, encode_number(WRITTEN, durable), db=self._trees.meta)
                self._maybe_crash("before")
            self._committed(started)

        self._retry(step)
        self._noted = durable
        self._rows_owed = 0
        self.statistics.merged_rows += merge.advance()
        if merge.is_done:
            self._merge = None
            # From here on readers find in the trees what they don't find here.
            self.frozen = None
            self.statistics.merges += 1

    def _note_end(self) -> None:
        """Note how many batches there are, so that a log that loses some later is noticed."""
        if self._noted == self.durable:
            return
        # It is no more than a net: without it the log alone says where it ends.
        with (
            contextlib.suppress(lmdb.Error, OSError),
            self._trees.environment.begin(write=True) as txn,
        ):
            txn.put(WRITTEN, encode_number(WRITTEN, self.durable), db=self._trees.meta)

    def _has_work(self) -> bool:
        return bool(self.queue)

    def _committed(self, started: float) -> None:
        statistics = self.statistics
        statistics.commits += 1
        statistics.synced_at = perf_counter()
        statistics.commit_ms_last = (statistics.synced_at - started) * 1000
        self._maybe_crash("after")

    def _maybe_crash(self, moment: Literal["before", "after"]) -> None:
        point = self._crash_point
        if point is not None and point.moment == moment:
            done = self.statistics.commits
            if point.commit == (done + 1 if moment == "before" else done):
                os.kill(os.getpid(), signal.SIGKILL)  # pragma: no cover

    def _retry(self, action: Callable[[], None], *, after: Exception | None = None) -> None:
        """Do ``action`` until it succeeds; ``after`` is how it has failed already."""
        delay = RETRY_SECONDS_FIRST
        remedy: Callable[[], None] | None = None
        error = after
        while True:
            if isinstance(error, lmdb.MapFullError):
                remedy = self._trees.grow
            elif error is not None:
                if isinstance(error, lmdb.PanicError):
                    remedy = self._trees.reopen
                self._raise_alarm(error)
                self._sleep(delay)
                delay = min(2 * delay, RETRY_SECONDS_MAX)
            try:
                if remedy is not None:
                    remedy()
                    remedy = None
                action()
                break
            except Exception as raised:  # whatever it is: say so, go on
                error = raised
        if self._trouble is not None:
            self._trouble = None
            self._tell(None, None)

    def _raise_alarm(self, error: Exception) -> None:
        if str(error) == self._trouble:
            return
        if self._trouble is None:
            self._trouble_at = perf_counter()
        self._trouble = str(error)
        # LMDB calls a write that a full disk cut short an input/output error: tell the room too.
        self._tell(
            f"the store at {self._trees.where} can't be written: {error}; "
            f"{self._trees.free_mib()} MiB are free there. Nothing is lost: flows wait, "
            "and the write is tried again until it succeeds. Make room or mend the disk",
            error,
        )

    def _tell(self, message: str | None, error: BaseException | None) -> None:
        # The hub logs it: the locks of `logging` may be gevent's, which are not for this thread.
        self.alarms.append(Alarm(message, error))
        self._wake()


def _ms_since(instant: float) -> int:
    return round((perf_counter() - instant) * 1000)


_Item = QueuedBatch | Generation | Stop
