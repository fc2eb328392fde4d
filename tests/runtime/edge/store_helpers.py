"""What the tests of the store on disk share."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import gevent
import lmdb
from gevent.hub import Waiter

from runtime.edge.lmdb_store import LmdbStore
from runtime.edge.lmdb_tree import Trees
from runtime.edge.lmdb_writer import Writer
from runtime.edge.log_file import Log
from runtime.ports import Batch, Space

FLOWS = Space("flows")
JOURNAL = Space("journal", write_once=True)


def ignore() -> None:
    pass


def rows(space: Space, writes: dict[bytes, bytes | None]) -> Batch:
    return Batch({space: writes})


def commit(store: LmdbStore, batch: Batch) -> None:
    """Submit ``batch`` and wait until it is durable."""
    waiter: Waiter[None] = Waiter()
    store.submit(batch, lambda: waiter.switch(None))
    waiter.get()


def finish_merging(store: LmdbStore) -> None:
    while store.is_merging:
        gevent.sleep(0.001)


def all_rows(store: LmdbStore, space: Space) -> dict[bytes, bytes]:
    return dict(store.scan(space, b"", None))


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own, in the directory of the project."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[3],
    )


def trees_of(store: LmdbStore) -> Trees:
    """Return the database of a store, for what only a device that fails would show."""
    return store._trees


def writer_of(store: LmdbStore) -> Writer:
    """Return the thread that writes a store, for the same reason."""
    return store._writer


def has_failing_parts(store: LmdbStore) -> tuple[bool, bool]:
    """Tell whether the log is one that fails, and whether the database is."""
    log, environment = writer_of(store).log, trees_of(store).environment
    return isinstance(log, FailingLog), isinstance(environment, FailingEnvironment)


def fail_next_records(store: LmdbStore, *errors: Exception) -> "FailingLog":
    """Have the next records fail, each with an error of ours."""
    writer = writer_of(store)
    failing = FailingLog(writer.log, *errors)
    writer.log = failing  # type: ignore[assignment]
    return failing


def fail_next_merges(store: LmdbStore, *errors: Exception) -> None:
    """Have the next transactions of the writer fail, each with an error of ours."""
    trees = trees_of(store)
    trees.environment = FailingEnvironment(trees.environment, *errors)  # type: ignore[assignment]


class FailingLog:
    """A log whose next records are written, but not synced."""

    def __init__(self, log: Log, *errors: Exception) -> None:
        self._log = log
        self.errors = list(errors)

    def append(self, number: int, batches: Sequence[bytes]) -> None:
        """Write, and fail as long as there are errors."""
        if self.errors:
            file = self._log._current
            end = file._end
            self._log.append(number, batches)
            file._end = end
            raise self.errors.pop(0)
        self._log.append(number, batches)

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)


class FailingEnvironment:
    """An LMDB environment whose next write transactions fail, each with an error of ours."""

    def __init__(self, environment: lmdb.Environment, *errors: Exception) -> None:
        self._environment = environment
        self.errors = list(errors)

    def begin(
        self, db: lmdb._Database | None = None, *, write: bool = False
    ) -> "lmdb.Transaction[bytes] | FailingTxn":
        txn = self._environment.begin(db=db, write=write)
        return FailingTxn(txn, self.errors.pop(0)) if write and self.errors else txn

    def __getattr__(self, name: str) -> object:
        return getattr(self._environment, name)


class FailingTxn:
    """A transaction that fails to commit."""

    def __init__(self, txn: "lmdb.Transaction[bytes]", error: Exception) -> None:
        self._txn = txn
        self._error = error

    def __enter__(self) -> "lmdb.Transaction[bytes]":
        return self._txn

    def __exit__(
        self,
        exception_class: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._txn.abort()
        raise self._error


def wait_for(condition: "list[object]", seconds: float = 30.0) -> None:
    """Run the loop until the list has something in it."""
    deadline = time.monotonic() + seconds
    while not condition:
        assert time.monotonic() < deadline, "it did not happen"
        gevent.sleep(0.001)
