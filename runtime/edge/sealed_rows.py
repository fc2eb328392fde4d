"""Rows as the trees have them: each value ends with a checksum, and each look makes sure of it.

    value in the tree    value as it was put | crc32 u32, big-endian, of the space, the key and it

LMDB has no checksums, so a disk that gives back other bytes gives wrong data in silence. A wrong
value shows by its checksum, and so does a wrong key, once its row is read. That a row is missing
is believed only when both its neighbours are sound and in order: a search that was misled, by a
damaged key or by a damaged branch, always ends beside the damage. What can't be told: a whole page
in an older version of itself, as a disk leaves it that has lost a write.

All functions raise `StoreDamaged`, which names the row.
"""

from collections.abc import Iterable, Iterator
from typing import Final
from zlib import crc32

import lmdb

from runtime.errors import StoreDamaged

Row = tuple[bytes, bytes]

CHECKSUM_BYTES: Final = 4


class SealedSpace:
    """Seals and opens the rows of one space."""

    def __init__(self, name: str, where: str) -> None:
        self.name = name
        self._where = where
        self._seed = crc32(name.encode())

    def seal(self, key: bytes, value: bytes) -> bytes:
        """Return the value as the tree has it."""
        return value + crc32(value, crc32(key, self._seed) ^ len(key)).to_bytes(CHECKSUM_BYTES)

    def open(self, key: bytes, sealed: bytes) -> bytes:
        """Return the value as it was put."""
        value = sealed[:-CHECKSUM_BYTES]
        checksum = crc32(value, crc32(key, self._seed) ^ len(key)).to_bytes(CHECKSUM_BYTES)
        if sealed[-CHECKSUM_BYTES:] != checksum:
            raise self._damaged(key)
        return value

    def find(self, txn: "lmdb.Transaction[bytes]", key: bytes) -> bytes | None:
        """Return the value of ``key``, or None if it is certain that there is none."""
        sealed = txn.get(key)
        if sealed is not None:
            return self.open(key, sealed)
        cursor = txn.cursor()
        self._seek(cursor, key)
        return None

    def rows_from(self, cursor: "lmdb.Cursor[bytes]", start: bytes) -> Iterator[Row]:
        """Yield the rows with ``start <= key`` in order."""
        if self._seek(cursor, start):
            yield from self._opened(cursor.iternext(), start)

    def rows_before(self, cursor: "lmdb.Cursor[bytes]", before: bytes | None) -> Iterator[Row]:
        """Yield the rows with ``key < before`` (None: all) from the last to the first."""
        if before is None:
            is_there = cursor.last()
        else:
            is_there = self._seek(cursor, before)
            is_there = cursor.prev() if is_there else cursor.last()
        if is_there:
            last = None
            for key, sealed in cursor.iterprev():
                if last is not None and key >= last:
                    raise self._damaged(key)
                last = key
                yield key, self.open(key, sealed)

    def _seek(self, cursor: "lmdb.Cursor[bytes]", key: bytes) -> bool:
        """Go to the first row that is not before ``key``, and make sure that it is; False: none."""
        is_there = cursor.set_range(key)
        if is_there:
            found, sealed = cursor.item()
            self.open(found, sealed)
            if found == key:
                return True
            if found < key:
                raise self._damaged(found)
        if cursor.prev() if is_there else cursor.last():
            found, sealed = cursor.item()
            self.open(found, sealed)
            if found >= key:
                raise self._damaged(found)
            cursor.next()
        return is_there

    def _opened(self, rows: Iterable[Row], start: bytes) -> Iterator[Row]:
        expected = start
        for key, sealed in rows:
            if key < expected:
                raise self._damaged(key)
            expected = key + b"\0"
            yield key, self.open(key, sealed)

    def _damaged(self, key: bytes) -> StoreDamaged:
        return StoreDamaged(self._where, self.name, key)
