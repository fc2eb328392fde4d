"""The part of `runtime.testing.store_conformance` that is about write-once spaces."""

# ruff: noqa: D102  the names of the tests are sentences

import random

import pytest

from runtime.ports import KEY_BYTES_MAX, NUMBER_BYTES, Batch, Store, keys_of
from runtime.testing.store_suite import (
    FLOWS,
    JOURNAL,
    StoreHarness,
    StoreSuite,
    ignore,
    put,
    rows_of,
)


class WriteOnceConformance(StoreSuite):
    """`StoreConformance` inherits from it."""

    def test_a_write_once_row_can_be_deleted(self, harness: StoreHarness, store: Store) -> None:
        store.submit(put(JOURNAL, {b"a": b"1", b"b": b"2", b"c": b"3"}), ignore)
        store.submit(put(JOURNAL, {b"a": None}), ignore)
        self.settle(harness, store)
        store.submit(put(FLOWS, {b"x": b"1"}), ignore)
        store.submit(put(JOURNAL, {b"b": None, b"d": b"4"}), ignore)
        self.settle(harness, store)
        before = rows_of(store, JOURNAL)
        store = self.reopen(harness, store)

        assert before == rows_of(store, JOURNAL) == [(b"c", b"3"), (b"d", b"4")]
        assert store.get(JOURNAL, b"a") is None
        assert store.get(JOURNAL, b"b") is None
        store.close()

    def test_a_series_is_deleted_as_one(self, harness: StoreHarness, store: Store) -> None:
        rows: dict[bytes, bytes | None] = dict.fromkeys(keys_of((b"a", 300)), b"v")
        store.submit(put(JOURNAL, {**rows, b"a": b"1", b"b\0\0\0\0": b"2"}), ignore)
        batch = put(FLOWS, {b"x": b"1"})
        batch.delete_series(JOURNAL, b"a", 299)
        self.submit(harness, store, batch)
        left = [(b"a", b"1"), (b"a\0\0\1\x2b", b"v"), (b"b\0\0\0\0", b"2")]
        before = rows_of(store, JOURNAL)
        store = self.reopen(harness, store)

        assert before == rows_of(store, JOURNAL) == left
        assert store.get(JOURNAL, b"a\0\0\0\0") is None
        assert store.latest(JOURNAL, b"a\0\0\1\x2b", 9) == left[:1]
        store.close()

    def test_a_batch_may_do_nothing_but_delete_a_series(
        self, harness: StoreHarness, store: Store
    ) -> None:
        # Breaks when such a batch counts as empty.
        self.submit(harness, store, put(JOURNAL, {b"a\0\0\0\0": b"1"}))
        batch = Batch()
        batch.delete_series(JOURNAL, b"a", 1)
        self.submit(harness, store, batch)
        store = self.reopen(harness, store)

        assert batch
        assert rows_of(store, JOURNAL) == []
        store.close()

    def test_a_series_of_impossible_keys_is_refused(self, store: Store) -> None:
        batch = Batch()
        batch.delete_series(JOURNAL, b"k" * (KEY_BYTES_MAX - NUMBER_BYTES + 1), 1)

        with pytest.raises(ValueError, match=f"a key of {KEY_BYTES_MAX + 1} bytes"):
            store.submit(batch, ignore)

    def test_any_history_gives_the_rows_of_a_dictionary(self, harness: StoreHarness) -> None:
        chance = random.Random(4)
        model: dict[bytes, bytes] = {}
        used = 0
        store = harness.open()
        for _ in range(400):
            rows: dict[bytes, bytes | None] = {}
            for _ in range(chance.randrange(1, 6)):
                if model and chance.random() < 0.45:
                    rows[chance.choice(sorted(model))] = None
                else:
                    rows[b"%04x" % (used * 40_503 % 65_536)] = chance.randbytes(9)
                    used += 1
            store.submit(put(JOURNAL, rows), ignore)
            for key, value in rows.items():
                if value is None:
                    del model[key]
                else:
                    model[key] = value
            if chance.random() < 0.05:
                self.settle(harness, store)
            if chance.random() < 0.02:
                store = self.reopen(harness, store)
            low, high = sorted(b"%04x" % chance.randrange(65_536) for _ in range(2))
            expected = sorted(row for row in model.items() if low <= row[0] < high)
            assert list(store.scan(JOURNAL, low, high)) == expected
        assert rows_of(store, JOURNAL) == sorted(model.items())
        store.close()
