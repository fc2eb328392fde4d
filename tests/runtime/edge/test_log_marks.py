"""A log that lost its tail is refused, whatever its length and however its process ended."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.edge.lmdb_store import LmdbStore
from runtime.edge.log_file import FIRST_RECORD, KEPT_BYTES_MAX, LOG_NAMES, Log, create_log_files
from runtime.edge.log_marks import MARKS_NAME, SLOT_OFFSETS, LogMarks
from runtime.edge.log_records import encode_batch
from runtime.errors import StoreUnusable
from runtime.ports import Batch
from tests.runtime.edge.store_damage import (
    copy_store,
    forget_the_count,
    log_id_of,
    newest_records,
    overwrite,
    refusal,
)
from tests.runtime.edge.store_helpers import FLOWS, all_rows, commit, finish_merging, rows

WRITER = """
import os, signal, sys
from pathlib import Path
from gevent.hub import Waiter
from runtime.edge.lmdb_store import LmdbStore
from runtime.ports import Batch, Space
store = LmdbStore(Path(sys.argv[1]), owner="A")
for number in range(100):
    waiter = Waiter()
    batch = Batch({Space("flows"): {b"%03d" % number: b"v" * 100}})
    store.submit(batch, lambda: waiter.switch(None))
    waiter.get()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose process was killed when it had reported a hundred batches durable."""
    path = tmp_path_factory.mktemp("killed") / "store"
    done = subprocess.run(
        [sys.executable, "-c", WRITER, path], check=False, cwd=Path(__file__).parents[3]
    )
    assert done.returncode == -signal.SIGKILL
    return path


@pytest.fixture
def path(killed: Path, tmp_path: Path) -> Path:
    return copy_store(killed, tmp_path / "store")


def test_a_store_whose_process_was_killed_has_everything_that_was_reported(path: Path) -> None:
    with LmdbStore(path, owner="A") as store:
        assert len(all_rows(store, FLOWS)) == 100


@pytest.mark.parametrize("seed", range(12))
def test_a_log_that_was_cut_after_a_kill_is_refused_at_any_length(path: Path, seed: int) -> None:
    # Breaks when what is left of a log is taken for all of it.
    records = newest_records(path)
    log = path / LOG_NAMES[0]
    size = log.stat().st_size
    lengths = [0, FIRST_RECORD, records[18].end, records[-2].end, records[-1].end, size - 1]
    chance = random.Random(seed)
    length = lengths[seed] if seed < len(lengths) else chance.randrange(size)
    os.truncate(log, length)

    message = refusal(path)

    assert "torn: in log.0" in message
    assert "its head is damaged" in message or f"it has {length} bytes, and had {size}" in message


def test_a_log_that_was_cut_is_refused_even_when_the_count_was_lost_with_the_power(
    path: Path,
) -> None:
    records = newest_records(path)
    forget_the_count(path)
    os.truncate(path / LOG_NAMES[0], records[18].end)

    assert "in log.0, the end is missing" in refusal(path)


@pytest.mark.parametrize("first", [0, 1, 50, 98, 99])
def test_zeros_in_place_of_the_last_records_after_a_kill_are_noticed(
    path: Path, first: int
) -> None:
    records = newest_records(path)
    zeros = bytes(records[-1].end - records[first].start)
    overwrite(path, records[first].start, zeros, LOG_NAMES[0])

    assert f"batches {first} to 99 are missing in the log" in refusal(path)


def test_after_a_power_cut_a_count_that_is_too_low_does_no_harm(path: Path) -> None:
    # Nor can it tell that the last records were zeroed; that much is not promised.
    forget_the_count(path)

    with LmdbStore(path, owner="A") as store:
        assert len(all_rows(store, FLOWS)) == 100


def test_a_start_notes_what_it_has_found(path: Path) -> None:
    forget_the_count(path)
    with LmdbStore(path, owner="A"):
        later = copy_store(path, path.with_name("later"))
    record = newest_records(later)[-1]
    overwrite(later, record.start, bytes(record.end - record.start), LOG_NAMES[0])

    assert "batches 99 to 99 are missing in the log" in refusal(later)


def test_a_log_that_a_merge_has_moved_on_from_is_watched_as_well(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with LmdbStore(path, owner="A", merge_rows=10) as store:
        for number in range(60):
            commit(store, rows(FLOWS, {b"%d" % number: b"v"}))
            finish_merging(store)
        killed = copy_store(path, tmp_path / "killed")
    for name in LOG_NAMES:
        cut = copy_store(killed, tmp_path / f"cut {name}")
        os.truncate(cut / name, (cut / name).stat().st_size - 1)
        assert f"in {name}, the end is missing" in refusal(cut)


@pytest.mark.parametrize("slot", SLOT_OFFSETS)
def test_one_damaged_note_leaves_the_other_one(path: Path, slot: int) -> None:
    overwrite(path, slot + 20, b"\xff", MARKS_NAME)

    with LmdbStore(path, owner="A") as store:
        assert len(all_rows(store, FLOWS)) == 100


def test_damaged_marks_are_torn(path: Path) -> None:
    for slot in SLOT_OFFSETS:
        overwrite(path, slot + 20, b"\xff", MARKS_NAME)

    assert "log.marks is damaged" in refusal(path)


def test_missing_marks_are_torn(path: Path) -> None:
    (path / MARKS_NAME).unlink()

    assert "log.marks is missing" in refusal(path)


def test_marks_that_were_cut_are_torn(path: Path) -> None:
    os.truncate(path / MARKS_NAME, 100)

    assert "log.marks has lost its end" in refusal(path)


def test_the_marks_of_another_store_are_foreign(path: Path, tmp_path: Path) -> None:
    LmdbStore(tmp_path / "other", owner="A").close()
    (tmp_path / "other" / MARKS_NAME).replace(path / MARKS_NAME)

    message = refusal(path)

    assert "foreign" in message
    assert "log.marks belongs to another store" in message


def test_the_length_is_on_disk_before_it_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Breaks when a power cut between the two leaves a whole store that is refused.
    create_log_files(tmp_path, b"log's id")
    log = Log(tmp_path, b"log's id", sync=True)
    log.begin(0)

    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(OSError, match="Input/output error"):
            log.append(0, [encode_batch(Batch({FLOWS: {b"k": b"v"}}))])
    marks = LogMarks(tmp_path, b"log's id", sync=True)
    noted = marks.file_bytes(0)
    marks.close()
    log.close()

    assert noted == FIRST_RECORD


def test_a_file_is_shortened_after_its_new_length_was_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Breaks when a crash between the two leaves a whole store that is refused.
    create_log_files(tmp_path, b"log's id")
    os.truncate(tmp_path / LOG_NAMES[0], 3 * KEPT_BYTES_MAX)
    marks = LogMarks(tmp_path, b"log's id", sync=True)
    marks.note_file_bytes(0, 3 * KEPT_BYTES_MAX)
    marks.close()
    log = Log(tmp_path, b"log's id", sync=True)

    def fail(_marks: LogMarks, _file: int, _size: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(LogMarks, "note_file_bytes", fail)
        with pytest.raises(OSError, match="Input/output error"):
            log.begin(2)
    log.close()

    Log(tmp_path, b"log's id", sync=True).close()


def test_the_marks_are_on_disk_when_a_length_was_noted(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fdatasync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}"))
    )
    marks = LogMarks(path, log_id_of(path), sync=True)
    marks.note_batches(100)
    marks.note_file_bytes(0, (path / LOG_NAMES[0]).stat().st_size)
    marks.close()

    assert synced == [os.fspath(path / MARKS_NAME)]


def test_a_refused_log_keeps_no_file_open(path: Path) -> None:
    os.truncate(path / LOG_NAMES[1], FIRST_RECORD - 1)
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(StoreUnusable):
        LmdbStore(path, owner="A")

    assert len(os.listdir("/proc/self/fd")) <= before
