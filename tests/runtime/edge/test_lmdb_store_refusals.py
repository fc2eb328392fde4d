"""Databases that the store refuses, each with a message that says what to do, and unharmed."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import lmdb
import msgspec
import pytest

from runtime.edge.lmdb_format import GENERATIONS, HEADER, MERGED, META, WRITTEN, encode_number
from runtime.edge.lmdb_store import LmdbStore
from runtime.edge.log_file import LOG_NAMES, create_log_files
from runtime.edge.log_records import HEAD_BYTES, decode_head, encode_batch, encode_record
from runtime.errors import StoreUnusable
from runtime.ports import Batch
from tests.runtime.edge.store_damage import (
    PAGE,
    Record,
    copy_store,
    edit,
    forget_the_count,
    make_original,
    newest_records,
    overwrite,
    refusal,
)
from tests.runtime.edge.store_helpers import (
    FLOWS,
    JOURNAL,
    all_rows,
    commit,
    finish_merging,
    ignore,
    rows,
    trees_of,
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_original(tmp_path_factory.mktemp("original") / "store")


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    return copy_store(original, tmp_path / "store")


def test_the_original_opens(path: Path) -> None:
    with LmdbStore(path, owner="A") as store:
        assert len(all_rows(store, JOURNAL)) == 4_000
        assert len(all_rows(store, FLOWS)) == 200


def test_the_original_has_rows_in_trees_and_in_the_log(path: Path) -> None:
    with LmdbStore(path, owner="A") as store:
        assert store.rows_unmerged > 100
        assert set(trees_of(store).databases) == {"journal", "flows"}


# Somebody else's


def test_a_store_of_another_owner_is_foreign(path: Path) -> None:
    message = refusal(path, owner="B")

    assert "foreign" in message
    assert "'A', not to 'B'" in message


def test_a_database_of_another_program_is_foreign(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with lmdb.open(os.fspath(path)) as environment, environment.begin(write=True) as txn:
        txn.put(b"theirs", b"data")

    assert "foreign" in refusal(path)


def test_a_database_without_a_header_is_foreign(path: Path) -> None:
    edit(path, lambda txn, env: txn.delete(HEADER, db=env.open_db(META, txn)))

    assert "no header" in refusal(path)


def test_a_database_of_another_application_is_foreign(path: Path) -> None:
    header = msgspec.msgpack.encode({"application": "other", "format": 1, "owner": "A"})
    edit(path, lambda txn, env: txn.put(HEADER, header, db=env.open_db(META, txn)))

    assert "it belongs to other" in refusal(path)


def test_a_newer_format_is_refused(path: Path) -> None:
    header = msgspec.msgpack.encode({"application": "sennit", "format": 5, "owner": "A", "x": 1})
    edit(path, lambda txn, env: txn.put(HEADER, header, db=env.open_db(META, txn)))

    message = refusal(path)

    assert "format 5, newer than 4" in message
    assert "newer version" in message


def test_an_older_format_is_refused(path: Path) -> None:
    header = msgspec.msgpack.encode({"application": "sennit", "format": 3, "owner": "A"})
    edit(path, lambda txn, env: txn.put(HEADER, header, db=env.open_db(META, txn)))

    assert "format 3, of a version that was never released; this version reads 4" in refusal(path)


def test_an_undecodable_header_is_torn(path: Path) -> None:
    edit(path, lambda txn, env: txn.put(HEADER, b"\xc1", db=env.open_db(META, txn)))

    assert "header can't be decoded" in refusal(path)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    (path / "data.mdb").write_bytes(b"not a database " * 1_000)

    assert "not a meta page" in refusal(path)


def test_a_database_of_another_generation_of_lmdb_is_refused(path: Path) -> None:
    for page in (0, 1):
        overwrite(path, page * PAGE + 20, (2).to_bytes(4, sys.byteorder))

    assert "another generation of LMDB (format 2" in refusal(path)


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("mine")

    with pytest.raises(StoreUnusable, match="can't be opened"):
        LmdbStore(tmp_path / "store", owner="A")


# In use


def test_a_store_in_use_is_refused_with_the_process_that_has_it(path: Path) -> None:
    with (
        LmdbStore(path, owner="A"),
        pytest.raises(StoreUnusable, match=f"in use by process {os.getpid()}"),
    ):
        LmdbStore(path, owner="A")


def test_a_store_in_use_by_another_process_is_free_when_that_was_killed(path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; "
        "from runtime.edge.lmdb_store import LmdbStore; "
        "store = LmdbStore(Path(sys.argv[1]), owner='A'); print('open', flush=True); "
        "time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, path],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert other.stdout is not None
    with other, other.stdout:
        other.stdout.readline()
        with pytest.raises(StoreUnusable, match=f"in use by process {other.pid}"):
            LmdbStore(path, owner="A")
        other.kill()
        assert other.wait() == -signal.SIGKILL

    with LmdbStore(path, owner="A") as store:
        assert len(all_rows(store, JOURNAL)) == 4_000


def test_a_refused_store_is_let_go_of(path: Path) -> None:
    refusal(path, owner="B")

    with LmdbStore(path, owner="A"):
        pass


# Torn logs


def flip(path: Path, record: Record, offset: int) -> None:
    with (path / record.file).open("r+b") as file:
        file.seek(record.start + offset)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x10]))


def rewrite(path: Path, record: Record, number: int, *batches: bytes) -> None:
    """Put a record with a right checksum in the place of ``record``."""
    with (path / record.file).open("r+b") as file:
        file.seek(record.start)
        head = decode_head(file.read(HEAD_BYTES))
        changed = encode_record(head.log_id, head.generation, number, batches)
        file.seek(record.start)
        file.write(changed.ljust(record.end - record.start, b"\0"))


@pytest.mark.parametrize("which", [0, 1, -2], ids=["first", "second", "last but one"])
@pytest.mark.parametrize("offset", [0, 15, 23, 27, 31, HEAD_BYTES, HEAD_BYTES + 500])
def test_a_damaged_record_with_others_behind_it_is_torn_and_named(
    path: Path, which: int, offset: int
) -> None:
    record = newest_records(path)[which]
    flip(path, record, offset)

    message = refusal(path)

    assert "torn" in message
    assert f"in {record.file}, batch {record.number} is damaged" in message
    assert os.fspath(path) in message


@pytest.mark.parametrize("offset", [0, 15, 23, 27, 31, HEAD_BYTES, HEAD_BYTES + 500])
def test_a_last_record_that_is_damaged_after_the_store_was_closed_is_torn(
    path: Path, offset: int
) -> None:
    record = newest_records(path)[-1]
    flip(path, record, offset)

    assert f"batches {record.number} to {record.number} are missing in the log" in refusal(path)


@pytest.mark.parametrize("offset", [0, 15, 23, 27, 31, HEAD_BYTES, HEAD_BYTES + 500])
def test_a_last_record_that_a_crash_cut_off_was_never_reported(path: Path, offset: int) -> None:
    # Breaks when what a crash in the middle of a write leaves is called a damage.
    forget_the_count(path)
    record = newest_records(path)[-1]
    flip(path, record, offset)

    with LmdbStore(path, owner="A") as store:
        assert len(all_rows(store, FLOWS)) == 199
        commit(store, rows(FLOWS, {b"new": b"1"}))
    with LmdbStore(path, owner="A") as store:
        assert len(all_rows(store, FLOWS)) == 200
        assert store.get(FLOWS, b"new") == b"1"


def test_a_gap_in_the_numbers_is_torn(path: Path) -> None:
    record = newest_records(path)[-1]
    rewrite(path, record, record.number + 1, encode_batch(rows(FLOWS, {b"a": b"1"})))

    number = record.number
    assert f"batch {number} is missing, batch {number + 1} follows" in refusal(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0\0\1\xc1", "can't be decoded"),
        (b"\0\0\0\2\x91\xa1", "can't be decoded"),
        (encode_batch(Batch({FLOWS: {b"a": 1}})), "can't be decoded"),  # type: ignore[dict-item]
        (b"\0\0\0", "ends inside a length"),
        (b"\0\0\0\5\x90", "ends inside a batch"),
    ],
    ids=["no msgpack", "cut msgpack", "wrong type", "length", "batch"],
)
def test_a_record_that_is_right_but_means_nothing_is_torn(
    path: Path, content: bytes, message: str
) -> None:
    record = newest_records(path)[-1]
    rewrite(path, record, record.number, content)

    refused = refusal(path)

    assert f"batch {record.number} can't be decoded" in refused
    assert message in refused


@pytest.mark.parametrize("name", LOG_NAMES)
def test_a_missing_log_is_torn(path: Path, name: str) -> None:
    (path / name).unlink()

    assert f"{name} is missing" in refusal(path)


def test_a_log_without_its_database_is_torn_and_not_begun_anew(path: Path) -> None:
    (path / "data.mdb").rename(path / "moved.mdb")

    with pytest.raises(StoreUnusable, match=r"its log is there, but data\.mdb is missing"):
        LmdbStore(path, owner="A")
    assert not (path / "data.mdb").exists()


@pytest.mark.parametrize("name", LOG_NAMES)
@pytest.mark.parametrize("offset", [0, 8, 16, 19])
def test_a_damaged_head_of_a_log_is_torn(path: Path, name: str, offset: int) -> None:
    flip(path, Record(name, 0, 0, 0), offset)

    assert f"in {name}, its head is damaged" in refusal(path)


@pytest.mark.parametrize("name", LOG_NAMES)
def test_an_empty_file_is_no_log(path: Path, name: str) -> None:
    os.truncate(path / name, 0)

    assert "its head is damaged" in refusal(path)


@pytest.mark.parametrize("name", LOG_NAMES)
def test_the_log_of_another_store_is_foreign(path: Path, tmp_path: Path, name: str) -> None:
    LmdbStore(tmp_path / "other", owner="A").close()
    shutil.copy(tmp_path / "other" / name, path / name)

    message = refusal(path)

    assert "foreign" in message
    assert f"{name} belongs to another store" in message


def test_a_log_that_lost_what_a_merge_has_noted_is_torn_after_a_crash_too(
    path: Path, tmp_path: Path
) -> None:
    with LmdbStore(path, owner="A", merge_rows=1) as store:
        commit(store, rows(FLOWS, {b"a": b"1"}))
        commit(store, rows(FLOWS, {b"b": b"1"}))
        finish_merging(store)
        crashed = copy_store(path, tmp_path / "crashed")
    record = newest_records(crashed)[-1]
    flip(crashed, record, 0)

    assert f"batches {record.number} to {record.number} are missing" in refusal(crashed)


def test_a_refused_store_keeps_no_file_open(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    (path / LOG_NAMES[1]).unlink()
    refusal(path)

    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_start_that_fails_at_its_last_act_keeps_no_file_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(directory: Path, map_bytes: int) -> None:
        raise OSError(27, "File too large")

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr("runtime.edge.lmdb_tree.stretch", fail)

    assert "File too large" in refusal(path)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_store_whose_making_was_cut_off_behind_its_log_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.mkdir()
    create_log_files(path, b"an older")

    with LmdbStore(path, owner="A") as store:
        commit(store, rows(FLOWS, {b"a": b"1"}))
    with LmdbStore(path, owner="A") as store:
        assert all_rows(store, FLOWS) == {b"a": b"1"}


def test_a_database_older_than_its_log_is_torn(path: Path) -> None:
    # As when only data.mdb was brought back from a backup.
    shutil.copy(path / "data.mdb", path / "older.mdb")
    with LmdbStore(path, owner="A", merge_rows=1) as store:
        for number in range(6):
            commit(store, rows(FLOWS, {b"new": b"%d" % number}))
            finish_merging(store)
    (path / "older.mdb").replace(path / "data.mdb")

    assert "it is newer than the database" in refusal(path)


def test_a_database_newer_than_its_log_is_torn(path: Path) -> None:
    saved = {name: (path / name).read_bytes() for name in LOG_NAMES}
    with LmdbStore(path, owner="A") as store:
        commit(store, rows(FLOWS, {b"new": b"1"}))
    for name, content in saved.items():
        (path / name).write_bytes(content)

    assert "are missing in the log" in refusal(path)


@pytest.mark.parametrize("key", [GENERATIONS, WRITTEN])
def test_a_count_of_no_number_is_torn(path: Path, key: bytes) -> None:
    edit(path, lambda txn, env: txn.put(key, b"12", db=env.open_db(META, txn)))

    assert f"{key.decode()} is damaged ('3132')" in refusal(path)


@pytest.mark.parametrize("key", [GENERATIONS, MERGED, WRITTEN])
def test_a_count_that_is_not_what_was_written_is_torn(path: Path, key: bytes) -> None:
    other = encode_number(b"other", 7)
    edit(path, lambda txn, env: txn.put(key, other, db=env.open_db(META, txn)))

    assert f"{key.decode()} is damaged" in refusal(path)


def test_a_lost_count_of_merged_generations_is_torn(path: Path) -> None:
    edit(path, lambda txn, env: txn.delete(GENERATIONS, db=env.open_db(META, txn)))

    assert "generations is damaged ('')" in refusal(path)


def test_a_lost_count_of_merged_batches_is_torn(path: Path) -> None:
    edit(path, lambda txn, env: txn.delete(MERGED, db=env.open_db(META, txn)))

    assert "merged is damaged ('')" in refusal(path)


def test_a_half_made_store_is_made_anew(tmp_path: Path, original: Path) -> None:
    path = tmp_path / "store"
    (path / "new").mkdir(parents=True)
    shutil.copy(original / "lock.mdb", path / "new" / "data.mdb")

    with LmdbStore(path, owner="A") as store:
        store.submit(rows(FLOWS, {b"a": b"1"}), ignore)
    with LmdbStore(path, owner="A") as store:
        assert store.get(FLOWS, b"a") == b"1"
    assert not (path / "new").exists()
