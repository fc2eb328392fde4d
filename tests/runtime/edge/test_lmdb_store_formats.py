"""Stores that an older version has written, and what a newer one adds to them."""

from pathlib import Path

import lmdb
import msgspec
import pytest

from runtime.edge.lmdb_log import HEADER, META, decode_record, encode_frame
from runtime.edge.lmdb_store import LmdbStore
from runtime.ports import Batch, keys_of
from tests.runtime.edge.store_damage import copy_store, edit, make_original
from tests.runtime.edge.store_helpers import FLOWS, JOURNAL, all_rows, commit, finish_merging


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store that was written and never read again by a version that knew format 1."""
    path = copy_store(make_original(tmp_path / "original"), tmp_path / "store")
    header = msgspec.msgpack.encode({"application": "sennit", "format": 1, "owner": "A"})
    edit(path, lambda txn, env: txn.put(HEADER, header, db=env.open_db(META, txn)))
    return path


def format_of(path: Path) -> object:
    formats: list[object] = []

    def read(txn: "lmdb.Transaction[bytes]", env: lmdb.Environment) -> None:
        header = txn.get(HEADER, db=env.open_db(META, txn))
        assert header is not None
        formats.append(msgspec.msgpack.decode(header)["format"])

    edit(path, read)
    return formats[0]


def series(prefix: bytes, count: int) -> Batch:
    batch = Batch()
    batch.delete_series(JOURNAL, prefix, count)
    return batch


def test_a_store_of_format_1_is_read_and_becomes_one_of_format_2(path: Path) -> None:
    # Breaks when an older version calls torn what it only does not know.
    assert format_of(path) == 1

    with LmdbStore(path, owner="A") as store:
        assert len(all_rows(store, JOURNAL)) == 4_000
        assert len(all_rows(store, FLOWS)) == 200

    assert format_of(path) == 2


def test_opening_it_again_writes_no_header(path: Path) -> None:
    with LmdbStore(path, owner="A"):
        pass
    with lmdb.open(str(path), max_dbs=16, readonly=True) as environment:
        last = environment.info()["last_txnid"]
    with LmdbStore(path, owner="A"):
        pass

    with lmdb.open(str(path), max_dbs=16, readonly=True) as environment:
        assert environment.info()["last_txnid"] == last


def test_a_batch_without_series_is_written_as_in_format_1() -> None:
    body = msgspec.msgpack.encode([["flows", False, {b"k": b"v", b"gone": None}]])

    assert encode_frame(7, Batch({FLOWS: {b"k": b"v", b"gone": None}}))[8:] == body


def test_a_deleted_series_is_the_fourth_element() -> None:
    batch = Batch({FLOWS: {b"k": b"v"}})
    batch.delete_series(JOURNAL, b"flow", 12)
    body = msgspec.msgpack.encode(
        [["flows", False, {b"k": b"v"}], ["journal", True, {}, [[b"flow", 12]]]]
    )

    frame = encode_frame(7, batch)

    assert frame[8:] == body
    ((flows, journal),) = decode_record(7, frame, "here")
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

        assert store._active.row_count() == 0


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
