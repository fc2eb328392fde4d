"""When the disk fails for a while the store keeps everything, says so, and goes on afterwards."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest

from runtime.edge.lmdb_file import open_environment, stretch
from runtime.edge.lmdb_store import LmdbStore
from runtime.errors import StoreUnusable
from runtime.ports import Batch, StoreStatus
from tests.runtime.edge.store_helpers import (
    FLOWS,
    FailingEnvironment,
    FailingTxn,
    all_rows,
    commit,
    fail_next_merges,
    fail_next_records,
    finish_merging,
    ignore,
    rows,
    trees_of,
    wait_for,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("only a privileged user can mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_the_status_tells_the_disk_and_its_trouble_as_long_as_it_lasts(path: Path) -> None:
    heard: list[object] = []
    statuses: list[StoreStatus] = []

    def hear(message: str | None) -> None:
        heard.append(message)
        statuses.append(store.status())

    with LmdbStore(path, owner="A", on_alarm=hear) as store:
        commit(store, rows(FLOWS, {b"a": b"1"}))
        good = store.status()
        fail_next_records(store, *[OSError(28, "No space left on device")] * 3)
        store.submit(rows(FLOWS, {b"b": b"2"}), ignore)
        wait_for(heard)
        commit(store, rows(FLOWS, {b"c": b"3"}))
        again = store.status()

    bad = statuses[0]
    assert good.size_bytes
    assert good.free_bytes
    assert good.synced_ms_ago is not None
    assert "No space left on device" in bad.trouble
    assert (bad.batches, bad.batches_waiting) == (1, 1)
    assert (again.trouble, again.batches, again.batches_waiting) == ("", 3, 0)


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), OSError(5, "Input/output error"), MemoryError("!")],
    ids=str,
)
def test_a_record_that_fails_is_written_again_and_told(
    path: Path, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str | None] = []
    with LmdbStore(path, owner="A", on_alarm=heard.append) as store:
        fail_next_records(store, error, error)
        commit(store, rows(FLOWS, {b"a": b"1"}))
        in_time = list(heard)
    with LmdbStore(path, owner="A") as store:
        assert store.get(FLOWS, b"a") == b"1"

    assert len(in_time) == 2
    assert in_time[0] is not None
    assert str(error) in in_time[0]
    assert os.fspath(path) in in_time[0]
    assert "Make room or mend the disk" in in_time[0]
    assert in_time[1] is None
    assert "can be written again" in caplog.text
    # The line says all of a disk's trouble; of what is no disk, where it came from is told.
    assert ("Traceback" in caplog.text) == isinstance(error, MemoryError)


@pytest.mark.parametrize(
    "error",
    [
        lmdb.DiskError("mdb_txn_commit", 28),
        lmdb.Error("mdb_txn_commit", 5),
        lmdb.MapResizedError("mdb_txn_begin"),
        OSError(5, "Input/output error"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_merge_that_fails_is_tried_again_and_told(path: Path, error: Exception) -> None:
    heard: list[str | None] = []
    with LmdbStore(path, owner="A", merge_rows=1, on_alarm=heard.append) as store:
        commit(store, rows(FLOWS, {b"a": b"1"}))
        fail_next_merges(store, error, error)
        commit(store, rows(FLOWS, {b"b": b"1"}))
        finish_merging(store)
        commit(store, Batch())

        assert heard[-1] is None
        assert str(error) in str(heard[0])
        assert all_rows(store, FLOWS) == {b"a": b"1", b"b": b"1"}


def test_batches_that_wait_for_the_disk_keep_their_order(path: Path) -> None:
    called: list[int] = []
    with LmdbStore(path, owner="A") as store:
        fail_next_records(store, *[OSError(5, "Input/output error")] * 3)
        for number in range(20):
            store.submit(
                rows(FLOWS, {b"a": b"%d" % number}),
                lambda number=number: called.append(number),  # type: ignore[misc]
            )
        seen_at_once = store.get(FLOWS, b"a")
        commit(store, Batch())

        assert seen_at_once == store.get(FLOWS, b"a") == b"19"
        assert called == list(range(20))


def test_a_failing_alarm_callback_harms_nobody(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_message: str | None) -> None:
        raise LookupError("mine")

    with LmdbStore(path, owner="A", on_alarm=fail) as store:
        fail_next_records(store, OSError(5, "Input/output error"))
        commit(store, rows(FLOWS, {b"a": b"1"}))

        assert store.get(FLOWS, b"a") == b"1"
    assert "the alarm callback of the store failed" in caplog.text


def test_what_fails_while_merging_is_repeated_whole(path: Path) -> None:
    with LmdbStore(path, owner="A", merge_rows=1_000) as store:
        commit(store, rows(FLOWS, {b"%04d" % n: b"v" for n in range(1_000)}))
        fail_next_merges(store, *[lmdb.Error("mdb_txn_commit", 5)] * 2)
        fail_next_records(store, OSError(5, "Input/output error"))
        commit(store, rows(FLOWS, {b"%04d" % n: None for n in range(0, 1_000, 3)}))
        finish_merging(store)
        commit(store, rows(FLOWS, {b"z": b"1"}))
        finish_merging(store)
        expected = {b"%04d" % n: b"v" for n in range(1_000) if n % 3} | {b"z": b"1"}

        assert all_rows(store, FLOWS) == expected
    with LmdbStore(path, owner="A") as store:
        assert all_rows(store, FLOWS) == expected


def test_an_environment_that_lmdb_gave_up_is_opened_afresh(path: Path) -> None:
    heard: list[str | None] = []
    with LmdbStore(path, owner="A", merge_rows=100, on_alarm=heard.append) as store:
        commit(store, rows(FLOWS, {b"%03d" % n: b"v" for n in range(300)}))
        commit(store, rows(FLOWS, {b"x": b"1"}))
        finish_merging(store)
        scan = store.scan(FLOWS, b"", None)
        begun = [next(scan)]
        commit(store, rows(FLOWS, {b"%03d" % n: b"w" for n in range(300)}))
        fail_next_merges(store, lmdb.PanicError("mdb_txn_begin"))
        commit(store, rows(FLOWS, {b"y": b"1"}))
        finish_merging(store)
        commit(store, Batch())
        is_afresh = isinstance(trees_of(store).environment, lmdb.Environment)
        rest = list(scan)

        assert heard[-1] is None
        assert is_afresh
        assert len(begun + rest) == 301
        assert len(all_rows(store, FLOWS)) == 302


def test_an_environment_that_cannot_be_opened_afresh_is_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str | None] = []
    failures = [lmdb.Error("mdb_env_open", 5), lmdb.Error("mdb_env_open", 24)]

    def failing(directory: Path, *, map_bytes: int, sync: bool) -> lmdb.Environment:
        if failures:
            raise failures.pop()
        return open_environment(directory, map_bytes=map_bytes, sync=sync)

    with LmdbStore(path, owner="A", merge_rows=1, on_alarm=heard.append) as store:
        commit(store, rows(FLOWS, {b"a": b"1"}))
        monkeypatch.setattr("runtime.edge.lmdb_tree.open_environment", failing)
        fail_next_merges(store, lmdb.PanicError("mdb_txn_begin"))
        commit(store, rows(FLOWS, {b"b": b"1"}))
        finish_merging(store)
        commit(store, Batch())

        assert failures == []
        assert heard[-1] is None
        assert all_rows(store, FLOWS) == {b"a": b"1", b"b": b"1"}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (lmdb.InvalidError("mdb_env_open"), "torn"),
        (lmdb.VersionMismatchError("mdb_env_open"), "another generation of LMDB"),
        (lmdb.CorruptedError("mdb_page_search"), "torn"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_lmdb_refuses_to_open_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: lmdb.Error, message: str
) -> None:
    LmdbStore(path, owner="A").close()

    def failing(directory: Path, *, map_bytes: int, sync: bool) -> lmdb.Environment:
        raise error

    monkeypatch.setattr("runtime.edge.lmdb_tree.open_environment", failing)
    with pytest.raises(StoreUnusable, match=message):
        LmdbStore(path, owner="A")
    monkeypatch.undo()

    with LmdbStore(path, owner="A"):
        pass


class UnreadableAt(FailingEnvironment):
    """An environment whose n-th transaction finds a damage."""

    def __init__(self, environment: lmdb.Environment, number: int) -> None:
        super().__init__(environment)
        self._left = number

    def begin(
        self, db: lmdb._Database | None = None, *, write: bool = False
    ) -> "lmdb.Transaction[bytes] | FailingTxn":
        self._left -= 1
        if not self._left:
            raise lmdb.CorruptedError("mdb_page_search")
        return super().begin(db, write=write)


@pytest.mark.parametrize("number", [1, 2], ids=["list of trees", "header and logs"])
def test_what_lmdb_cannot_read_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    LmdbStore(path, owner="A").close()

    def damaged(directory: Path, *, map_bytes: int, sync: bool) -> UnreadableAt:
        environment = open_environment(directory, map_bytes=map_bytes, sync=sync)
        return UnreadableAt(environment, number)

    monkeypatch.setattr("runtime.edge.lmdb_tree.open_environment", damaged)
    with pytest.raises(StoreUnusable, match="torn"):
        LmdbStore(path, owner="A")


def test_a_directory_that_went_away_does_not_kill_the_writer(path: Path) -> None:
    heard: list[str | None] = []
    with LmdbStore(
        path, owner="A", map_bytes_first=65_536, merge_rows=1, on_alarm=heard.append
    ) as store:
        path.rename(path.with_name("elsewhere"))
        commit(store, rows(FLOWS, {b"a": b"v" * 1_000_000}))
        store.submit(rows(FLOWS, {b"b": b"1"}), ignore)
        wait_for(heard)  # type: ignore[arg-type]
        path.with_name("elsewhere").rename(path)
        finish_merging(store)
        commit(store, Batch())

    assert "0 MiB are free there" in str(heard[0])
    assert heard[-1] is None


def test_a_map_that_cannot_grow_is_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str | None] = []
    failures: list[Exception] = [OSError(27, "File too large")]

    def failing(directory: Path, map_bytes: int) -> None:
        if failures:
            raise failures.pop()
        stretch(directory, map_bytes)

    with LmdbStore(
        path, owner="A", map_bytes_first=65_536, merge_rows=1, on_alarm=heard.append
    ) as store:
        monkeypatch.setattr("runtime.edge.lmdb_tree.stretch", failing)
        commit(store, rows(FLOWS, {b"a": b"v" * 1_000_000}))
        commit(store, rows(FLOWS, {b"b": b"1"}))
        finish_merging(store)
        commit(store, Batch())

        assert len(heard) == 2
        assert "File too large" in str(heard[0])
        assert store.map_bytes > 1_000_000


def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    heard: list[str | None] = []
    filler = small_disk / "filler"
    filler.write_bytes(bytes(1_400_000))
    called: list[int] = []

    def note(number: int) -> Callable[[], None]:
        return lambda: called.append(number)

    with LmdbStore(small_disk / "store", owner="A", on_alarm=heard.append) as store:
        for number in range(80):
            store.submit(rows(FLOWS, {b"%02d" % number: os.urandom(10_000)}), note(number))
        wait_for(heard)  # type: ignore[arg-type]
        durable_while_full = len(called)
        filler.unlink()
        commit(store, Batch())

        assert heard[0] is not None
        assert "0 MiB are free there" in heard[0]
        assert heard[-1] is None
        assert durable_while_full < 80
        assert called == list(range(80))
    with LmdbStore(small_disk / "store", owner="A") as store:
        assert len(all_rows(store, FLOWS)) == 80


def test_a_store_that_cannot_be_made_for_lack_of_room_is_refused(small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(bytes(2 * 1024 * 1024 - 8 * 4096))

    with pytest.raises(StoreUnusable, match="Check that the disk has room"):
        LmdbStore(small_disk / "store", owner="A")


def test_a_damaged_row_is_an_error_for_its_reader_only(path: Path) -> None:
    with LmdbStore(path, owner="A", merge_rows=1) as store:
        commit(store, rows(FLOWS, {b"a": b"1"}))
        commit(store, rows(FLOWS, {b"b": b"1"}))
        finish_merging(store)
        trees = trees_of(store)
        real = trees.environment

        trees.environment = UnreadableAt(real, 1)  # type: ignore[assignment]
        with pytest.raises(StoreUnusable, match="torn"):
            store.get(FLOWS, b"a")
        trees.environment = UnreadableAt(real, 1)  # type: ignore[assignment]
        with pytest.raises(StoreUnusable, match="torn"):
            list(store.scan(FLOWS, b"", None))
        trees.environment = real

        assert store.get(FLOWS, b"a") == b"1"


def test_submitting_goes_on_while_the_disk_fails(path: Path) -> None:
    heard: list[str | None] = []
    with LmdbStore(path, owner="A", on_alarm=heard.append) as store:
        failing = fail_next_records(store, *[OSError(5, "Input/output error")] * 4)
        store.submit(rows(FLOWS, {b"a": b"1"}), ignore)
        wait_for(heard)  # type: ignore[arg-type]
        store.submit(rows(FLOWS, {b"b": b"1"}), ignore)

        assert all_rows(store, FLOWS) == {b"a": b"1", b"b": b"1"}
    assert failing.errors == []
