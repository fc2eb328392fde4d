"""What a batch looks like in the log, and what becomes of deleted series."""

from pathlib import Path

import msgspec

from runtime.edge.lmdb_store import LmdbStore
from runtime.edge.log_records import decode_content, encode_batch
from runtime.ports import Batch, keys_of
from tests.runtime.edge.store_damage import digest
from tests.runtime.edge.store_helpers import FLOWS, JOURNAL, all_rows, commit, finish_merging


def series(prefix: bytes, count: int) -> Batch:
    batch = Batch()
    batch.delete_series(JOURNAL, prefix, count)
    return batch


def test_opening_and_closing_without_a_write_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with LmdbStore(path, owner="A") as store:
        commit(store, Batch({FLOWS: {b"a": b"1"}}))
    before = digest(path)
    with LmdbStore(path, owner="A"):
        pass

    assert digest(path) == before


def test_a_batch_is_a_map_for_each_space() -> None:
    body = msgspec.msgpack.encode([["flows", False, {b"k": b"v", b"gone": None}]])

    assert encode_batch(Batch({FLOWS: {b"k": b"v", b"gone": None}}))[4:] == body


def test_a_deleted_series_is_the_fourth_element() -> None:
    batch = Batch({FLOWS: {b"k": b"v"}})
    batch.delete_series(JOURNAL, b"flow", 12)
    body = msgspec.msgpack.encode(
        [["flows", False, {b"k": b"v"}], ["journal", True, {}, [[b"flow", 12]]]]
    )

    encoded = encode_batch(batch)

    assert encoded[4:] == body
    ((flows, journal),) = decode_content(encoded)
    assert (flows.rows, flows.deleted_series) == ({b"k": b"v"}, [])
    assert (journal.rows, journal.deleted_series) == ({}, [(b"flow", 12)])


def test_a_series_is_deleted_in_every_place_where_its_rows_can_be(tmp_path: Path) -> None:
    # Breaks when only rows of the newest generation vanish, and those in the tree come back.
    with LmdbStore(tmp_path / "store", owner="A", merge_rows=1) as store:
        for number in range(3):
            commit(store, Batch({JOURNAL: {b"flow\0\0\0%c" % number: b"v"}}))
            commit(store, Batch({FLOWS: {b"%d" % number: b"v"}}))
        assert len(all_rows(store, JOURNAL)) == 3
        commit(store, series(b"flow", 3))
        assert all_rows(store, JOURNAL) == {}

    with LmdbStore(tmp_path / "store", owner="A") as store:
        assert all_rows(store, JOURNAL) == {}


def test_a_series_that_came_and_went_leaves_nothing_to_merge(tmp_path: Path) -> None:
    # Breaks when flows that end soon leave deletions behind, and fill the trees with them.
    with LmdbStore(tmp_path / "store", owner="A") as store:
        commit(store, Batch({JOURNAL: dict.fromkeys(keys_of((b"flow", 100)), b"v")}))
        commit(store, series(b"flow", 100))

        assert store.rows_unmerged == 0


def test_deletions_of_what_is_in_the_tree_are_merged_like_any_rows(tmp_path: Path) -> None:
    # Breaks when they are not counted, and the log grows for ever.
    with LmdbStore(tmp_path / "store", owner="A", merge_rows=1_000) as store:
        commit(store, Batch({JOURNAL: dict.fromkeys(keys_of((b"flow", 1_000)), b"v")}))
        commit(store, Batch({FLOWS: {b"a": b"1"}}))
        finish_merging(store)
        assert store.statistics.merges == 1
        commit(store, series(b"flow", 1_000))
        commit(store, Batch({FLOWS: {b"b": b"1"}}))
        finish_merging(store)

        assert store.statistics.merges == 2
        assert all_rows(store, JOURNAL) == {}
