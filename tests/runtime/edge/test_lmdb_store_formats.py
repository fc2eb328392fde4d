"""Stores that an older version has written, and what a newer one adds to them."""

import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

import lmdb
import msgspec
import pytest

from runtime.edge.lmdb_format import HEADER, META
from runtime.edge.lmdb_store import LmdbStore
from runtime.edge.lmdb_tree import Trees
from runtime.edge.lmdb_upgrade import LOGS
from runtime.edge.log_file import LOG_NAMES
from runtime.edge.log_records import decode_content, encode_batch
from runtime.ports import Batch, keys_of
from tests.runtime.edge.store_damage import digest, edit, refusal
from tests.runtime.edge.store_helpers import FLOWS, JOURNAL, all_rows, commit, finish_merging

GOLDEN = Path(__file__).parents[2] / "golden" / "store-format-2.mdb.xz"
"""A store of format 2, killed while the second of three generations was being merged.

Batch n wrote five events and the state of flow n; and from the sixth on it deleted those of flow
n - 5, except of every seventh one. There are `GOLDEN_BATCHES`.
"""

GOLDEN_BATCHES = 137


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A store that a version before the log became a file was killed with."""
    path = tmp_path / "store"
    path.mkdir(mode=0o700)
    (path / "data.mdb").write_bytes(lzma.decompress(GOLDEN.read_bytes()))
    return path


def is_golden_flow_alive(number: int) -> bool:
    return number >= GOLDEN_BATCHES - 5 or number % 7 == 0


def check_golden_rows(store: LmdbStore) -> None:
    alive = [number for number in range(GOLDEN_BATCHES) if is_golden_flow_alive(number)]
    assert all_rows(store, FLOWS) == {b"flow%04d" % n: b"state %d" % n for n in alive}
    assert all_rows(store, JOURNAL) == {
        b"flow%04d" % n + event.to_bytes(4): b"event %d of flow %d" % (event, n)
        for n in alive
        for event in range(5)
    }


def header_of(path: Path) -> dict[str, object]:
    headers: list[dict[str, object]] = []

    def read(txn: "lmdb.Transaction[bytes]", env: lmdb.Environment) -> None:
        header = txn.get(HEADER, db=env.open_db(META, txn))
        assert header is not None
        headers.append(msgspec.msgpack.decode(header))

    edit(path, read)
    return headers[0]


def change_older_log(
    path: Path, change: Callable[[bytes, bytes], tuple[bytes, bytes | None]]
) -> None:
    """Change the last record of the longer log: its key and value, or no value to delete it."""

    def rewrite(txn: "lmdb.Transaction[bytes]", env: lmdb.Environment) -> None:
        logs = [env.open_db(name, txn, create=False) for name in LOGS]
        log = max(logs, key=lambda each: txn.stat(each)["entries"])
        with txn.cursor(db=log) as cursor:
            assert cursor.last()
            key, value = cursor.item()
        txn.delete(key, db=log)
        key, changed = change(key, value)
        if changed is not None:
            txn.put(key, changed, db=log)

    edit(path, rewrite)


def series(prefix: bytes, count: int) -> Batch:
    batch = Batch()
    batch.delete_series(JOURNAL, prefix, count)
    return batch


def test_a_store_of_format_2_is_read_and_becomes_one_of_format_3(older: Path) -> None:
    # Breaks when a new version loses the journals that were alive when it was installed.
    assert header_of(older)["format"] == 2

    with LmdbStore(older, owner="A") as store:
        check_golden_rows(store)
        commit(store, Batch({FLOWS: {b"new": b"1"}}))
        commit(store, Batch({FLOWS: {b"new": None}}))
    with LmdbStore(older, owner="A") as store:
        check_golden_rows(store)

    header = header_of(older)
    assert (header["format"], header["owner"]) == (3, "A")
    assert len(header["log_id"]) == 8  # type: ignore[arg-type]
    with lmdb.open(str(older), max_dbs=16, readonly=True) as environment, environment.begin() as t:
        assert not set(LOGS) & {key for key, _ in t.cursor()}


def test_a_store_of_format_1_is_one_of_format_2_without_series(older: Path) -> None:
    header = msgspec.msgpack.encode({"application": "sennit", "format": 1, "owner": "A"})
    edit(older, lambda txn, env: txn.put(HEADER, header, db=env.open_db(META, txn)))

    with LmdbStore(older, owner="A") as store:
        check_golden_rows(store)


def test_an_older_store_of_another_owner_is_left_as_it_is(older: Path) -> None:
    assert "foreign" in refusal(older, owner="B")
    assert not (older / LOG_NAMES[0]).exists()


def test_an_upgrade_that_was_cut_off_is_made_again(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The process dies when the new log is there and the database does not know of it yet.
    def die(trees: Trees, merges: object, header: bytes) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("runtime.edge.lmdb_upgrade._write", die)
        with pytest.raises(KeyboardInterrupt):
            LmdbStore(older, owner="A")
    assert header_of(older)["format"] == 2
    assert (older / LOG_NAMES[0]).exists()

    with LmdbStore(older, owner="A") as store:
        check_golden_rows(store)


def test_a_database_from_before_the_upgrade_does_not_cost_the_newer_log(older: Path) -> None:
    # As when only data.mdb was brought back from a backup: the log has what came since.
    before = (older / "data.mdb").read_bytes()
    with LmdbStore(older, owner="A") as store:
        commit(store, Batch({FLOWS: {b"new": b"1"}}))
    after = (older / "data.mdb").read_bytes()
    (older / "data.mdb").write_bytes(before)

    assert "its log is newer than the database" in refusal(older)
    (older / "data.mdb").write_bytes(after)
    with LmdbStore(older, owner="A") as store:
        assert store.get(FLOWS, b"new") == b"1"


def test_an_upgrade_makes_room_in_the_map(older: Path) -> None:
    # Breaks when a map that is just large enough for the logs stops the store from opening.
    big = msgspec.msgpack.encode([["flows", False, {b"big": b"v" * 1_000_000}]])

    def append(key: bytes, value: bytes) -> tuple[bytes, bytes]:
        number = int.from_bytes(key) + 1
        checksum = zlib.crc32(big, zlib.crc32(number.to_bytes(8)))
        return key, value + len(big).to_bytes(4) + checksum.to_bytes(4) + big

    # The last record of the newer log is the last of all.
    with lmdb.open(str(older), max_dbs=16, map_size=1 << 22) as env, env.begin(write=True) as txn:
        logs = [env.open_db(name, txn, create=False) for name in LOGS]
        log = min(logs, key=lambda each: txn.stat(each)["entries"])
        key, value = next(iter(txn.cursor(db=log)))
        txn.put(*append(key, value), db=log)
    with LmdbStore(older, owner="A", map_bytes_first=65_536) as store:
        assert store.get(FLOWS, b"big") == b"v" * 1_000_000


def flip(value: bytes, position: int) -> bytes:
    changed = bytearray(value)
    changed[position] ^= 0x10
    return bytes(changed)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda key, value: (key, flip(value, len(value) // 2)), "wrong checksum"),
        (lambda key, value: (key, flip(value, 7)), "wrong checksum"),
        (lambda key, value: (key, value[:-1]), "wrong checksum"),
        (lambda key, value: (key, value[:5]), "ends inside its frame"),
        (lambda key, value: (key + b"x", value), "a key of the log is"),
        (lambda key, value: ((int.from_bytes(key) + 1).to_bytes(8), value), "is missing"),
        (lambda key, value: (key, None), "are missing in the log"),
    ],
    ids=["body", "checksum", "cut", "frame", "key", "renumbered", "lost"],
)
def test_a_damaged_record_of_an_older_store_is_torn(
    older: Path, damage: Callable[[bytes, bytes], tuple[bytes, bytes | None]], message: str
) -> None:
    change_older_log(older, damage)

    refused = refusal(older)

    assert "torn" in refused
    assert message in refused
    assert header_of(older)["format"] == 2


def test_a_record_of_an_older_store_that_means_nothing_is_torn(older: Path) -> None:
    def undecodable(key: bytes, _value: bytes) -> tuple[bytes, bytes]:
        checksum = zlib.crc32(b"\xc1", zlib.crc32(key))
        return key, (1).to_bytes(4) + checksum.to_bytes(4) + b"\xc1"

    change_older_log(older, undecodable)

    assert "can't be decoded" in refusal(older)


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
