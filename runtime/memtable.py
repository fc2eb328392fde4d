"""Recent rows in memory: a dictionary for each space, with its keys sorted once somebody scans it.

A store keeps its newest rows in a `Generation`, reads through `overlay` and gives a whole
generation away (to a tree on disk, say) when it has grown large. A row is a key with its value, or
with ``None`` for a deletion that older generations and the tree still have to hear of.

What always holds: the sorted index of a table covers every key of `Table.rows`; it may also hold
keys that have vanished, and lags behind by the batches in `_unsorted`.
"""

import heapq
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, islice
from operator import itemgetter
from typing import Final

from runtime.ports import KEY_BYTES_MAX, NUMBER_BYTES, Batch, Series, Space, keys_of

Rows = Mapping[bytes, bytes | None]

_key_of = itemgetter(0)

# Inserting into a Python list moves what stands behind; a block of this size moves in < 0.2 µs.
BLOCK_KEYS_MAX: Final = 1_024


class SortedKeys:
    """A sorted set of keys in blocks, so that adding one key does not move all the others."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        ordered = sorted(keys)
        half = BLOCK_KEYS_MAX // 2
        self._blocks = [ordered[i : i + half] for i in range(0, len(ordered), half)]
        self._firsts = [block[0] for block in self._blocks]
        self._count = len(ordered)

    def __len__(self) -> int:
        return self._count

    def add(self, key: bytes) -> None:
        """Insert ``key`` unless it is there."""
        if not self._blocks:
            self._blocks, self._firsts, self._count = [[key]], [key], 1
            return
        at = max(bisect_right(self._firsts, key) - 1, 0)
        block = self._blocks[at]
        position = bisect_left(block, key)
        if position < len(block) and block[position] == key:
            return
        insort(block, key, position)
        self._firsts[at] = block[0]
        self._count += 1
        if len(block) > BLOCK_KEYS_MAX:
            self._split(at)

    def between(self, start: bytes, end: bytes | None) -> Iterator[bytes]:
        """Yield the keys with ``start <= key < end`` in order."""
        at = max(bisect_right(self._firsts, start) - 1, 0)
        for number in range(at, len(self._blocks)):
            block = self._blocks[number]
            low = bisect_left(block, start) if number == at else 0
            if end is None or block[-1] < end:
                yield from block[low:]
            else:
                yield from block[low : bisect_left(block, end)]
                return

    def before(self, end: bytes | None) -> Iterator[bytes]:
        """Yield the keys with ``key < end`` from the last to the first."""
        at = len(self._blocks) if end is None else bisect_left(self._firsts, end)
        for block in reversed(self._blocks[:at]):
            yield from reversed(block if end is None else block[: bisect_left(block, end)])

    def _split(self, at: int) -> None:
        block = self._blocks[at]
        half = len(block) // 2
        self._blocks[at : at + 1] = [block[:half], block[half:]]
        self._firsts[at : at + 1] = [block[0], block[half]]


class Table:
    """The rows of one space in one generation."""

    def __init__(self, *, write_once: bool) -> None:
        self.write_once = write_once
        self.rows: dict[bytes, bytes | None] = {}
        self._sorted: SortedKeys | None = None
        self._unsorted: list[Rows] = []
        self._unsorted_count = 0

    def apply(self, writes: Rows) -> None:
        """Take the writes of one batch."""
        if self.write_once and None in writes.values():
            self._apply_write_once(writes)
        else:
            self.rows.update(writes)
        self._note(writes)

    def delete_series(self, deleted: Iterable[Series]) -> int:
        """Take the deletions of one batch; return how many rows that adds."""
        rows = self.rows
        # Put and deleted here, and never used elsewhere: nobody else has to hear of it.
        elsewhere: dict[bytes, bytes | None] = {
            key: None
            for series in deleted
            for key in keys_of(series)
            if rows.pop(key, None) is None
        }
        rows.update(elsewhere)
        self._note(elsewhere)
        return len(elsewhere)

    def _note(self, writes: Rows) -> None:
        """Remember what the sorted index lacks."""
        if self._sorted is not None:
            self._unsorted.append(writes)
            self._unsorted_count += len(writes)
            # Adding is ten times dearer than sorting, and what nobody scans must not pile up.
            if self._unsorted_count > 64 + len(self._sorted) // 8:
                self._forget_order()

    def between(self, start: bytes, end: bytes | None) -> list[tuple[bytes, bytes | None]]:
        """Return the rows with ``start <= key < end``, deletions too, in order."""
        rows = self.rows
        return [(key, rows[key]) for key in self._order().between(start, end) if key in rows]

    def before(self, end: bytes | None) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield the rows with ``key < end``, deletions too, from the last to the first."""
        rows = self.rows
        return ((key, rows[key]) for key in self._order().before(end) if key in rows)

    def _apply_write_once(self, writes: Rows) -> None:
        rows = self.rows
        deleted = [key for key, value in writes.items() if value is None]
        here = [key for key in deleted if rows.get(key) is not None]
        rows.update(writes)
        # Put and deleted here, and never used elsewhere: nobody else has to hear of it.
        for key in here:
            del rows[key]

    def _order(self) -> SortedKeys:
        order = self._sorted
        # Keys that have vanished stay in the order until they are the greater part of it.
        if order is None or len(order) > 64 + 2 * len(self.rows):
            order = self._sorted = SortedKeys(self.rows)
        else:
            for writes in self._unsorted:
                for key in writes:
                    order.add(key)
        self._unsorted = []
        self._unsorted_count = 0
        return order

    def _forget_order(self) -> None:
        self._sorted = None
        self._unsorted = []
        self._unsorted_count = 0


class Generation:
    """The rows of all spaces that were written between two moments."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.tables: dict[str, Table] = {}
        self.batch_last = -1
        """The number of the last batch in here."""
        self.log_bytes = 0
        """What its batches take in the log."""
        self.rows_written = 0
        """At least as many as `row_count`, and quicker to ask."""

    def apply(self, space_name: str, writes: Rows, *, write_once: bool) -> None:
        """Take the writes of one batch to one space."""
        table = self.tables.get(space_name)
        if table is None:
            table = self.tables[space_name] = Table(write_once=write_once)
        self.rows_written += len(writes)
        table.apply(writes)

    def delete_series(self, space_name: str, deleted: Iterable[Series]) -> None:
        """Take the deletions of series by one batch in one space, which is write-once."""
        table = self.tables.get(space_name)
        if table is None:
            table = self.tables[space_name] = Table(write_once=True)
        self.rows_written += table.delete_series(deleted)

    def row_count(self) -> int:
        """Count the rows, deletions too."""
        return sum(len(table.rows) for table in self.tables.values())


def check_keys(batch: Batch) -> int:
    """Return how many rows ``batch`` writes; raise ValueError if a key has an impossible length."""
    rows = 0
    for space, writes in batch.writes.items():
        if not writes:
            continue
        rows += len(writes)
        longest = max(map(len, writes))
        if longest > KEY_BYTES_MAX or b"" in writes:
            raise _impossible_key(longest if longest > KEY_BYTES_MAX else 0, space)
    for space, deleted in batch.deleted_series.items():
        for prefix, count in deleted:
            rows += count
            if len(prefix) > KEY_BYTES_MAX - NUMBER_BYTES:
                raise _impossible_key(len(prefix) + NUMBER_BYTES, space)
    return rows


def _impossible_key(length: int, space: Space) -> ValueError:
    return ValueError(
        f"a key of {length} bytes in space {space.name!r}; a key has 1 to {KEY_BYTES_MAX} bytes"
    )


def overlay(
    newest_first: Iterable[Generation], space_name: str, start: bytes, end: bytes | None
) -> list[tuple[bytes, bytes | None]]:
    """Return the rows in the range, the newest of each key, deletions too, in order."""
    found = [
        rows
        for generation in newest_first
        if (table := generation.tables.get(space_name)) is not None
        and (rows := table.between(start, end))
    ]
    if not found:
        return []
    if len(found) == 1:
        return found[0]
    merged: dict[bytes, bytes | None] = {}
    for rows in reversed(found):
        merged.update(rows)
    return sorted(merged.items())


def latest(
    newest_first: Iterable[Generation],
    tree_backwards: Iterable[tuple[bytes, bytes]],
    space_name: str,
    before: bytes | None,
    count: int,
) -> list[tuple[bytes, bytes]]:
    """Return the last ``count`` rows that there are with ``key < before``, the last one first.

    ``tree_backwards`` has what is older than all generations; it is read as far as necessary.
    """
    sources: list[Iterable[tuple[bytes, bytes | None]]] = [
        table.before(before)
        for generation in newest_first
        if (table := generation.tables.get(space_name)) is not None
    ]
    # Of one key, the newest comes first: the merge keeps the order of its sources.
    rows = heapq.merge(*sources, tree_backwards, key=_key_of, reverse=True)
    newest = (next(of_key) for _, of_key in groupby(rows, key=_key_of))
    return list(islice(((key, value) for key, value in newest if value is not None), count))


def merge(
    newer: list[tuple[bytes, bytes | None]], older_chunks: Iterable[list[tuple[bytes, bytes]]]
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows of both in order: of one key the newer, and none that ``newer`` deletes.

    The chunks are in order, and so are the rows in each. They are taken one at a time.
    """
    position = 0
    for chunk in older_chunks:
        upto = bisect_right(newer, chunk[-1][0], position, key=_key_of)
        if upto == position:
            yield from chunk
            continue
        mixed: dict[bytes, bytes | None] = dict(chunk)
        mixed.update(newer[position:upto])
        position = upto
        for key, value in sorted(mixed.items()):
            if value is not None:
                yield key, value
    for key, value in newer[position:]:
        if value is not None:
            yield key, value
