"""The trees of a store: rows that have left memory, read by point and in chunks.

What always holds:

- Only the merge of a generation changes a tree, and it changes nothing but what that generation
  holds. So a reader that looks through the generation sees the same before, while and after.
- Every use of the environment by a reader is a short read transaction under `_gate`. No
  transaction outlives a call, so that no forgotten iterator keeps old pages alive, and the writer,
  by taking the gate, knows that the map may be moved.
- `get`, `scan`, `backwards` and `settle_scans` belong to the thread of the hub; the rest to that of
  the writer.
"""

import os
import weakref
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import lmdb
from gevent.monkey import get_original

from runtime.edge.lmdb_file import open_environment, stretch, unusable_on_os_error
from runtime.edge.lmdb_format import META, ROWS_PREFIX, foreign, torn
from runtime.edge.sealed_rows import SealedSpace
from runtime.errors import StoreError, StoreUnusable
from runtime.limits import MIB

# Most scans want a few rows; long ones are read in ever larger pieces.
CHUNK_ROWS_FIRST: Final = 64
CHUNK_ROWS_MAX: Final = 1_024
CHUNK_BYTES_MAX: Final = 1024 * 1024

_Rows = list[tuple[bytes, bytes]]

# Of st_blocks, whatever the file system has.
_BLOCK_BYTES: Final = 512


class Trees:
    """The LMDB environment of one store."""

    def __init__(self, directory: Path, *, map_bytes: int, sync: bool) -> None:
        self.where = str(directory)
        self.directory = directory
        self._sync = sync
        # Reentrant: collecting garbage may unwind a flow in here, and that may read.
        self._gate = get_original("_thread", "RLock")()
        self._scans: weakref.WeakSet[TreeScan] = weakref.WeakSet()
        self._sealed: dict[str, SealedSpace] = {}
        self._is_closed = False
        self.map_bytes = map_bytes
        self._open()

    def get(self, space_name: str, key: bytes) -> bytes | None:
        """Return the value of ``key`` in the tree of ``space_name``.

        This and all other reads raise `StoreDamaged` if what is there is not what was written.
        """
        if space_name not in self.databases:
            return None
        try:
            with self._gate, self.environment.begin(db=self.databases[space_name]) as txn:
                return self.sealed(space_name).find(txn, key)
        except lmdb.Error as error:
            raise self._unreadable(error) from error

    def scan(self, space_name: str, start: bytes, end: bytes | None) -> "TreeScan | None":
        """Return an iterator of chunks of ``start <= key < end``, or None if there is no tree."""
        if space_name not in self.databases:
            return None
        scan = TreeScan(self, space_name, start, end)
        self._scans.add(scan)
        return scan

    @property
    def scans_open(self) -> int:
        """How many scans read from the database as they go."""
        return len(self._scans)

    def settle_scans(self) -> None:
        """Have all open scans read what they still want, because the trees are about to change."""
        for scan in list(self._scans):
            scan.settle()
        self._scans.clear()

    def read_chunk(
        self, space_name: str, start: bytes, end: bytes | None, count: int
    ) -> tuple[_Rows, bool]:
        """Return about ``count`` rows from ``start`` on, and whether there may be more."""
        rows: _Rows = []
        size = 0
        try:
            with self._gate, self.environment.begin(db=self.databases[space_name]) as txn:
                for row in self.sealed(space_name).rows_from(txn.cursor(), start):
                    if end is not None and row[0] >= end:
                        return rows, False
                    rows.append(row)
                    size += len(row[1])
                    if len(rows) >= count or size >= CHUNK_BYTES_MAX:
                        return rows, True
        except lmdb.Error as error:
            raise self._unreadable(error) from error
        return rows, False

    def backwards(
        self, space_name: str, before: bytes | None, count: int
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield rows with ``key < before`` from the last to the first, read ``count`` at a time."""
        rows: _Rows = []
        while space_name in self.databases:
            rows = self._read_chunk_before(space_name, before, count)
            yield from rows
            if not rows:
                return
            before = rows[-1][0]

    def _read_chunk_before(self, space_name: str, before: bytes | None, count: int) -> _Rows:
        try:
            with self._gate, self.environment.begin(db=self.databases[space_name]) as txn:
                rows = self.sealed(space_name).rows_before(txn.cursor(), before)
                return list(islice(rows, count))
        except lmdb.Error as error:
            raise self._unreadable(error) from error

    def sealed(self, space_name: str) -> SealedSpace:
        """Return what seals and opens the rows of a space."""
        found = self._sealed.get(space_name)
        if found is None:
            found = self._sealed[space_name] = SealedSpace(space_name, self.where)
        return found

    def ensure_space(self, space_name: str) -> None:
        """Create the tree of ``space_name`` unless it exists."""
        if space_name not in self.databases:
            name = ROWS_PREFIX + space_name.encode()
            self.databases[space_name] = self.environment.open_db(name)

    def prepare(self) -> None:
        """Make the file as long as the map, now that we know it is ours."""
        with unusable_on_os_error(self.directory):
            stretch(self.directory, self.map_bytes)

    def grow(self) -> None:
        """Double the map. No transaction of the calling thread may be open."""
        with self._gate:
            map_bytes = self.map_bytes * 2
            stretch(self.directory, map_bytes)
            self.environment.set_mapsize(map_bytes)
            self.map_bytes = map_bytes

    def reopen(self) -> None:
        """Open the environment afresh, after LMDB has declared it unusable."""
        with self._gate:
            self.environment.close()
            self._open()

    def free_mib(self) -> int:
        """Return how much room the file system has for us; 0 if it does not tell."""
        return (self.free_bytes() or 0) // MIB

    def free_bytes(self) -> int | None:
        """Return how much room the file system has for us; None if it does not tell."""
        try:
            usage = os.statvfs(self.directory)
        except OSError:
            return None
        return usage.f_bavail * usage.f_frsize

    def size_bytes(self) -> int | None:
        """Return what all files of the store take of the disk; None if it does not tell."""
        try:
            blocks = sum(entry.stat().st_blocks for entry in os.scandir(self.directory))
        except OSError:
            return None
        return blocks * _BLOCK_BYTES

    def close(self) -> None:
        """Let go of the files."""
        with self._gate:
            self._is_closed = True
            self.environment.close()

    def _unreadable(self, error: lmdb.Error) -> StoreError:
        if self._is_closed:
            return StoreError(f"the store at {self.where} is closed")
        return unreadable(self.where, error)

    def _open(self) -> None:
        try:
            self.environment = open_environment(
                self.directory, map_bytes=self.map_bytes, sync=self._sync
            )
        except lmdb.Error as error:
            raise unreadable(self.where, error) from error
        self.map_bytes = self.environment.info()["map_size"]
        try:
            self._open_databases()
        except lmdb.Error as error:
            self.environment.close()
            if isinstance(error, lmdb.NotFoundError):
                raise foreign(self.where, "it has no header of ours") from None
            raise unreadable(self.where, error) from error

    def _open_databases(self) -> None:
        open_db = self.environment.open_db
        self.meta = open_db(META, create=False)
        with self.environment.begin() as txn:
            names = [key for key, _ in txn.cursor() if key.startswith(ROWS_PREFIX)]
        self.databases = {
            name.removeprefix(ROWS_PREFIX).decode(): open_db(name, create=False) for name in names
        }


class TreeScan:
    """The rows of a range of one tree, in chunks, as they were when the scan was made."""

    def __init__(self, trees: Trees, space_name: str, start: bytes, end: bytes | None) -> None:
        self._trees = trees
        self._space_name = space_name
        self._start = start
        self._end = end
        self._count = CHUNK_ROWS_FIRST
        self._has_more = True
        self._settled: list[_Rows] = []

    def __iter__(self) -> Iterator[_Rows]:
        return self

    def __next__(self) -> _Rows:
        if self._settled:
            return self._settled.pop(0)
        rows = self._read()
        if not rows:
            raise StopIteration
        return rows

    def settle(self) -> None:
        """Read the rest now."""
        while rows := self._read():
            self._settled.append(rows)

    def _read(self) -> _Rows:
        if not self._has_more:
            return []
        rows, self._has_more = self._trees.read_chunk(
            self._space_name, self._start, self._end, self._count
        )
        if rows:
            self._start = rows[-1][0] + b"\0"
        self._count = min(self._count * 4, CHUNK_ROWS_MAX)
        return rows


def unreadable(where: str, error: lmdb.Error) -> StoreUnusable:
    """Translate an error of LMDB's that means the database can't be read."""
    if isinstance(error, lmdb.VersionMismatchError):
        return StoreUnusable(
            f"the store at {where} was written by another generation of LMDB ({error}). "
            "Nothing was changed. Install the version that wrote it"
        )
    return torn(where, str(error))
