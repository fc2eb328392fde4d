"""Against a dictionary: any sequence of batches, scans, merges, reopenings and failures."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import hypothesis.strategies as st
import lmdb
import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule

from runtime.edge.lmdb_store import LmdbStore
from runtime.errors import KeyPresentError
from runtime.ports import Batch, Series, Space, keys_of
from tests.runtime.edge.store_helpers import (
    commit,
    fail_next_merges,
    fail_next_records,
    finish_merging,
    has_failing_parts,
    ignore,
)

MANY = Space("many")
ONCE = Space("once", write_once=True)

Rows = list[tuple[bytes, bytes]]


class OpenScan(NamedTuple):
    store: LmdbStore
    rows: Iterator[tuple[bytes, bytes]]
    expected: Rows


KEYS = st.integers(0, 60).map(lambda number: b"%02d" % number)
VALUES = st.sampled_from([b"", b"v", b"w" * 3_000])


class StoreMachine(RuleBasedStateMachine):
    """Holds a store and what should be in it."""

    scans: Bundle[OpenScan] = Bundle("scans")

    @initialize(merge_rows=st.sampled_from([1, 5, 20, 10**6]))
    def open_first(self, merge_rows: int) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("runtime.edge.lmdb_writer.RETRY_SECONDS_FIRST", 0.001)
        self.directory = Path(tempfile.mkdtemp())
        self.merge_rows = merge_rows
        self.many: dict[bytes, bytes] = {}
        self.once: dict[bytes, bytes] = {}
        self.once_used = 0
        self.series: list[Series] = []
        self.submitted = 0
        self.called: list[int] = []
        self.open()

    def open(self) -> None:
        self.store = LmdbStore(
            self.directory / "store",
            owner="A",
            merge_rows=self.merge_rows,
            map_bytes_first=65_536,
            sync=False,
        )

    def submit(self, batch: Batch) -> None:
        number = self.submitted
        self.store.submit(batch, lambda: self.called.append(number))
        self.submitted += 1

    @rule(writes=st.dictionaries(KEYS, st.none() | VALUES, max_size=12))
    def write_many(self, writes: dict[bytes, bytes | None]) -> None:
        self.submit(Batch({MANY: writes}))
        for key, value in writes.items():
            if value is None:
                self.many.pop(key, None)
            else:
                self.many[key] = value

    @rule(count=st.integers(0, 8), deleted=st.sets(st.integers(0, 30)), value=VALUES)
    def write_once(self, count: int, deleted: set[int], value: bytes) -> None:
        batch = Batch()
        alive = sorted(self.once)
        for index in deleted:
            if index < len(alive):
                batch.delete(ONCE, alive[index])
                del self.once[alive[index]]
        for _ in range(count):
            key = b"%04d" % (self.once_used * 7 % 10_000)
            self.once_used += 1
            batch.put(ONCE, key, value)
            self.once[key] = value
        self.submit(batch)

    @rule(count=st.integers(1, 5), value=VALUES)
    def grow_series(self, count: int, value: bytes) -> None:
        """Add rows to the newest series; begin one if it was deleted."""
        if not self.series or self.once_used % 3 == 0:
            self.series.append((b"s%04d" % self.once_used, 0))
        self.once_used += 1
        prefix, length = self.series[-1]
        self.series[-1] = prefix, length + count
        rows: dict[bytes, bytes | None] = dict.fromkeys(keys_of(self.series[-1])[length:], value)
        self.submit(Batch({ONCE: rows}))
        self.once.update(dict.fromkeys(rows, value))

    @rule(index=st.integers(0, 4), write=st.none() | KEYS)
    def delete_series(self, index: int, write: bytes | None) -> None:
        if index >= len(self.series):
            return
        prefix, length = self.series.pop(index)
        batch = Batch()
        if write is not None:
            batch.put(MANY, write, b"beside")
            self.many[write] = b"beside"
        # A row of it may have been deleted by itself; to delete it again is no error.
        batch.delete_series(ONCE, prefix, length)
        for key in keys_of((prefix, length)):
            self.once.pop(key, None)
        self.submit(batch)

    @rule(key=KEYS, value=VALUES)
    def put_if_absent(self, key: bytes, value: bytes) -> None:
        batch = Batch({MANY: {key: value}}, [(MANY, key)])
        try:
            self.store.submit(batch, ignore)
        except KeyPresentError:
            assert key in self.many
        else:
            assert key not in self.many
            self.many[key] = value

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        assert self.store.get(MANY, key) == self.many.get(key)

    @rule(start=KEYS, end=st.none() | KEYS)
    def scan_whole(self, start: bytes, end: bytes | None) -> None:
        for space, model in ((MANY, self.many), (ONCE, self.once)):
            assert list(self.store.scan(space, start, end)) == [
                (key, value)
                for key, value in sorted(model.items())
                if start <= key and (end is None or key < end)
            ]

    @rule(before=st.none() | KEYS, count=st.integers(0, 30))
    def latest(self, before: bytes | None, count: int) -> None:
        for space, model in ((MANY, self.many), (ONCE, self.once)):
            fitting = [row for row in model.items() if before is None or row[0] < before]
            assert self.store.latest(space, before, count) == sorted(fitting, reverse=True)[:count]

    @rule(target=scans, space=st.sampled_from([MANY, ONCE]))
    def begin_scan(self, space: Space) -> OpenScan:
        model = self.many if space is MANY else self.once
        return OpenScan(self.store, self.store.scan(space, b"", None), sorted(model.items()))

    @rule(scan=scans, count=st.integers(1, 30))
    def go_on_with_scan(self, scan: OpenScan, count: int) -> None:
        if scan.store is self.store:
            for _ in range(min(count, len(scan.expected))):
                assert next(scan.rows) == scan.expected.pop(0)

    @rule(scan=consumes(scans))
    def finish_scan(self, scan: OpenScan) -> None:
        if scan.store is self.store:
            assert list(scan.rows) == scan.expected

    @rule()
    def settle(self) -> None:
        commit(self.store, Batch())
        assert self.called == list(range(self.submitted))

    @rule()
    def rest(self) -> None:
        finish_merging(self.store)

    @rule()
    def fail_to_merge(self) -> None:
        _, has_failing_database = has_failing_parts(self.store)
        if not has_failing_database:
            fail_next_merges(self.store, lmdb.Error("mdb_txn_commit", 5))

    @rule()
    def fail_to_write(self) -> None:
        has_failing_log, _ = has_failing_parts(self.store)
        if not has_failing_log:
            fail_next_records(self.store, OSError(5, "Input/output error"))

    @rule()
    def reopen(self) -> None:
        self.store.close()
        assert self.called == list(range(self.submitted))
        self.open()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.patch.undo()
            shutil.rmtree(self.directory)


StoreMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)
TestStoreMachine = StoreMachine.TestCase
