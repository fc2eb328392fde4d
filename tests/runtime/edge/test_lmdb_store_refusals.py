"""Databases that the store refuses, each with a message that says what to do, and unharmed."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lmdb
import msgspec
import pytest

from runtime.edge.lmdb_log import HEADER, LOGS, MERGED, META, encode_frame, encode_number
from runtime.edge.lmdb_store import LmdbStore
from runtime.errors import StoreUnusable
from runtime.ports import Batch
from tests.runtime.edge.store_damage import (
    PAGE,
    copy_store,
    edit,
    make_original,
    overwrite,
    refusal,
)
from tests.runtime.edge.store_helpers import (
    FLOWS,
    JOURNAL,
    all_rows,
    ignore,
    rows,
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
        assert store._active.row_count() > 100
        assert set(store._trees.databases) == {"journal", "flows"}


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
    header = msgspec.msgpack.encode({"application": "sennit", "format": 3, "owner": "A", "x": 1})
    edit(path, lambda txn, env: txn.put(HEADER, header, db=env.open_db(META, txn)))

    message = refusal(path)

    assert "format 3, newer than 2" in message
    assert "newer version" in message


def test_an_undecodable_header_is_torn(path: Path) -> None:
    edit(path, lambda txn, env: txn.put(HEADER, b"\xc1", db=env.open_db(META, txn)))

    assert "header can't be decoded" in refusal(path)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    (path / "data.mdb").write_bytes(b"not a database " * 1_000)

    assert "no meta page" in refusal(path)


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


def change_last_record(
    path: Path, change: Callable[[bytes, bytes], tuple[bytes, bytes | None]]
) -> None:
    """Change the last record of the log: its key and value, or no value to delete it."""

    def rewrite(txn: "lmdb.Transaction[bytes]", env: lmdb.Environment) -> None:
        logs = [env.open_db(name, txn) for name in LOGS]
        log = next(log for log in logs if txn.stat(log)["entries"])
        with txn.cursor(db=log) as cursor:
            assert cursor.last()
            key, value = cursor.item()
        txn.delete(key, db=log)
        key, changed = change(key, value)
        if changed is not None:
            txn.put(key, changed, db=log)

    edit(path, rewrite)


def flip(value: bytes, position: int) -> bytes:
    changed = bytearray(value)
    changed[position] ^= 0x10
    return bytes(changed)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda key, value: (key, flip(value, len(value) // 2)), "wrong checksum"),
        (lambda key, value: (key, flip(value, 7)), "wrong checksum"),
        (lambda key, value: (key, value[:-1]), "bytes"),
        (lambda key, value: (key, value[:5]), "ends inside its frame"),
        (lambda key, value: (key + b"x", value), "is not a batch number"),
        (lambda key, value: (encode_number(int.from_bytes(key) + 1), value), "is missing"),
        (lambda key, value: (encode_number(10**6), encode_frame(10**6, Batch())), "is missing"),
        (lambda key, value: (encode_number(10**6), value), "missing"),
    ],
    ids=["body", "checksum", "cut", "frame", "key", "renumbered", "gap", "moved"],
)
def test_a_damaged_record_is_torn_and_named(
    path: Path, damage: Callable[[bytes, bytes], tuple[bytes, bytes | None]], message: str
) -> None:
    change_last_record(path, damage)

    refused = refusal(path)

    assert "torn" in refused
    assert message in refused
    assert os.fspath(path) in refused


def test_a_record_that_is_right_but_means_nothing_is_torn(path: Path) -> None:
    def undecodable(key: bytes, _value: bytes) -> tuple[bytes, bytes]:
        frame = encode_frame(int.from_bytes(key), Batch({FLOWS: {b"a": 1}}))  # type: ignore[dict-item]
        return key, frame

    change_last_record(path, undecodable)

    assert "can't be decoded" in refusal(path)


def test_a_log_that_lost_its_beginning_is_torn(path: Path) -> None:
    def lose_first(txn: "lmdb.Transaction[bytes]", env: lmdb.Environment) -> None:
        for name in LOGS:
            with txn.cursor(db=env.open_db(name, txn)) as cursor:
                if cursor.first():
                    cursor.delete()

    edit(path, lose_first)

    assert "are missing in the log" in refusal(path)


def test_a_lost_count_of_merged_batches_is_torn(path: Path) -> None:
    edit(path, lambda txn, env: txn.delete(MERGED, db=env.open_db(META, txn)))

    assert "is not a batch number" in refusal(path)


def test_a_half_made_store_is_made_anew(tmp_path: Path, original: Path) -> None:
    path = tmp_path / "store"
    (path / "new").mkdir(parents=True)
    shutil.copy(original / "lock.mdb", path / "new" / "data.mdb")

    with LmdbStore(path, owner="A") as store:
        store.submit(rows(FLOWS, {b"a": b"1"}), ignore)
    with LmdbStore(path, owner="A") as store:
        assert store.get(FLOWS, b"a") == b"1"
    assert not (path / "new").exists()
