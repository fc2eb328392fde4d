"""The log's files: what is appended is read again, whatever a crash has left behind it."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.edge.log_file import (
    FIRST_RECORD,
    KEPT_BYTES_MAX,
    LOG_NAMES,
    ROOM_BYTES_FIRST,
    SEARCHED_BYTES,
    Log,
    create_log_files,
    has_records,
)
from runtime.edge.log_records import encode_batch
from runtime.errors import StoreUnusable
from runtime.limits import MIB
from runtime.ports import Batch
from tests.runtime.edge.store_helpers import FLOWS

ID = b"log's id"
SECTOR = 512


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    create_log_files(tmp_path, ID)
    log = open_log(tmp_path)
    log.begin(0)
    yield log
    log.close()


def open_log(directory: Path) -> Log:
    return Log(directory, ID, sync=True)


def value(text: str) -> bytes:
    return encode_batch(Batch({FLOWS: {b"k": text.encode()}}))


def append(log: Log, number: int, *texts: str) -> None:
    log.append(number, [value(text) for text in texts])


def read(directory: Path, generation: int = 0, first: int = 0) -> list[tuple[int, str]]:
    log = open_log(directory)
    try:
        return read_open(log, generation, first)
    finally:
        log.close()


def read_open(log: Log, generation: int = 0, first: int = 0) -> list[tuple[int, str]]:
    return [
        (number, space.rows[b"k"].decode())  # type: ignore[union-attr]
        for number, body in log.read(generation, first)
        for space in body
    ]


def test_a_new_log_is_empty(log: Log, tmp_path: Path) -> None:
    assert read(tmp_path) == []
    assert not has_records(tmp_path)


def test_batches_come_back_in_order_with_their_numbers(log: Log, tmp_path: Path) -> None:
    append(log, 5, "five")
    append(log, 6, "six", "seven")
    append(log, 8, "eight")

    assert read(tmp_path, first=5) == [(5, "five"), (6, "six"), (7, "seven"), (8, "eight")]
    assert has_records(tmp_path)


def test_a_log_goes_on_behind_what_was_read(log: Log, tmp_path: Path) -> None:
    append(log, 0, "zero")
    again = open_log(tmp_path)
    assert read_open(again) == [(0, "zero")]
    again.resume(0)
    append(again, 1, "one")
    again.close()

    assert read(tmp_path) == [(0, "zero"), (1, "one")]


def test_generations_take_turns_and_write_over_one_another(log: Log, tmp_path: Path) -> None:
    # Breaks when what a generation of long ago has left is taken for more of the new one.
    for generation in range(6):
        log.begin(generation)
        for number in range(6 - generation):
            append(log, 10 * generation + number, f"{generation}.{number}")

        expected = [(10 * generation + n, f"{generation}.{n}") for n in range(6 - generation)]
        assert read(tmp_path, generation, 10 * generation) == expected
        # The one before it may still be merged.
        if generation:
            assert len(read(tmp_path, generation - 1, 10 * generation - 10)) == 7 - generation
        assert read(tmp_path, generation + 1, 99) == []


def test_a_generation_that_is_newer_than_expected_is_refused(log: Log, tmp_path: Path) -> None:
    log.begin(4)
    append(log, 0, "zero")

    with pytest.raises(StoreUnusable, match="newer than the database: generation 4"):
        read(tmp_path, 2)


def test_every_cut_of_the_last_record_loses_it_alone(log: Log, tmp_path: Path) -> None:
    # Whatever was in the file before: nothing yet, or records of an older generation.
    path = tmp_path / LOG_NAMES[0]
    for number in range(20):
        append(log, number, f"older {number}")
    log.begin(2)
    append(log, 20, "first")
    before = path.read_bytes()
    append(log, 21, "the last one")
    after = path.read_bytes()
    end = max(at for at in range(len(after)) if before[at] != after[at]) + 1
    start = min(at for at in range(len(after)) if before[at] != after[at])

    for cut in range(start, end):
        for rest in (before[cut:], bytes(len(before) - cut)):
            path.write_bytes(after[:cut] + rest)
            assert read(tmp_path, 2, 20) == [(20, "first")]
    path.write_bytes(after[:end] + bytes(len(after) - end))
    assert read(tmp_path, 2, 20) == [(20, "first"), (21, "the last one")]


@pytest.mark.parametrize("seed", range(60))
def test_a_power_cut_keeps_what_was_synced_and_no_part_of_what_was_not(
    log: Log, tmp_path: Path, seed: int
) -> None:
    # Of what was not synced, any sectors may have reached the disk, in any order.
    chance = random.Random(seed)
    path = tmp_path / LOG_NAMES[0]
    expected: list[tuple[int, str]] = []
    current = open_log(tmp_path)
    for _ in range(30):
        number = len(expected)
        text = "x" * chance.choice([1, 100, 511, 512, 5_000]) + str(number)
        before = path.read_bytes()
        append(current, number, text)
        if chance.random() < 0.6:
            expected.append((number, text))
            continue
        current.close()
        after = path.read_bytes()
        before = before.ljust(len(after), b"\0")
        sectors = [
            (after if chance.random() < 0.5 else before)[at : at + SECTOR]
            for at in range(0, len(after), SECTOR)
        ]
        path.write_bytes(b"".join(sectors))
        current = open_log(tmp_path)
        found = read_open(current)
        assert found in (expected, [*expected, (number, text)])
        expected = found
    current.close()

    assert read(tmp_path) == expected


@pytest.mark.parametrize("shift", range(0, 20, 3))
def test_a_damage_is_noticed_however_far_behind_it_the_next_record_is(
    log: Log, tmp_path: Path, shift: int
) -> None:
    # The head of the next record lies across the end of what is searched at a time.
    append(log, 0, "x" * (SEARCHED_BYTES - 100 + shift))
    append(log, 1, "one")
    path = tmp_path / LOG_NAMES[0]
    content = bytearray(path.read_bytes())
    content[FIRST_RECORD + 60] ^= 1
    path.write_bytes(content)

    with pytest.raises(StoreUnusable, match="batch 0 is damaged, and later ones are there"):
        read(tmp_path)


def test_a_sync_that_fails_is_made_good_by_the_same_call(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(log, 0, "zero")

    def fail(_file: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        for _ in range(3):
            with pytest.raises(OSError, match="Input/output error"):
                append(log, 1, "one")
    append(log, 1, "one")
    append(log, 2, "two")

    assert read(tmp_path) == [(0, "zero"), (1, "one"), (2, "two")]


def test_a_write_that_was_cut_short_is_made_good_by_the_same_call(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite

    def cut(file: int, content: bytes, offset: int) -> int:
        return write(file, content[:20], offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", cut)
        with pytest.raises(OSError, match="20 of"):
            append(log, 0, "zero")
    assert read(tmp_path) == []
    append(log, 0, "zero")

    assert read(tmp_path) == [(0, "zero")]


def test_each_record_is_synced_before_the_next_is_begun(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Breaks when two records are under way at once: the later may be whole, and the earlier not.
    calls: list[str] = []
    write, sync = os.pwrite, os.fdatasync

    def noted_write(file: int, content: bytes, offset: int) -> int:
        calls.append("write")
        return write(file, content, offset)

    def noted_sync(file: int) -> None:
        calls.append("sync")
        sync(file)

    monkeypatch.setattr(os, "pwrite", noted_write)
    monkeypatch.setattr(os, "fdatasync", noted_sync)
    for number in range(3):
        append(log, number, "x")

    # Before the first, room is taken: the new length is synced, then noted durably.
    assert calls == ["sync", "sync"] + ["write", "sync"] * 3


def test_what_was_read_is_synced_before_anybody_acts_on_it(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A process that was killed may have left its last record in the system's memory only.
    append(log, 0, "zero")
    synced: list[int] = []
    again = open_log(tmp_path)
    monkeypatch.setattr(os, "fdatasync", synced.append)
    again.accept(1)
    again.close()

    assert len(synced) == 2


def test_room_is_taken_in_advance(log: Log, tmp_path: Path) -> None:
    path = tmp_path / LOG_NAMES[0]
    append(log, 0, "zero")
    first = path.stat().st_size
    append(log, 1, "one")

    assert first == path.stat().st_size == FIRST_RECORD + ROOM_BYTES_FIRST

    append(log, 2, "x" * 3 * MIB)
    assert path.stat().st_size >= 3 * MIB
    assert [number for number, _ in read(tmp_path)] == [0, 1, 2]


def test_a_record_larger_than_the_room_is_written_whole(log: Log, tmp_path: Path) -> None:
    text = "x" * (20 * MIB)
    append(log, 0, text)

    assert read(tmp_path) == [(0, text)]


def test_a_file_that_a_burst_made_long_is_cut_when_its_turn_comes(log: Log, tmp_path: Path) -> None:
    path = tmp_path / LOG_NAMES[0]
    append(log, 0, "x")
    os.truncate(path, 3 * KEPT_BYTES_MAX)
    log._marks.note_file_bytes(0, 3 * KEPT_BYTES_MAX)
    again = open_log(tmp_path)
    again.begin(2)
    append(again, 1, "one")
    again.close()

    assert path.stat().st_size == KEPT_BYTES_MAX
    assert read(tmp_path, 2, 1) == [(1, "one")]


def test_what_looks_like_a_record_in_somebodys_data_is_data(log: Log, tmp_path: Path) -> None:
    # Breaks when a peer can have a store refused by a message that contains a record.
    other = tmp_path / "other"
    other.mkdir()
    create_log_files(other, b"another1")
    theirs = Log(other, b"another1", sync=False)
    theirs.begin(0)
    append(theirs, 1_000, "evil")
    theirs.close()
    evil = (other / LOG_NAMES[0]).read_bytes()[FIRST_RECORD:][:100]
    path = tmp_path / LOG_NAMES[0]
    append(log, 0, "zero")
    end = FIRST_RECORD + len(path.read_bytes()[FIRST_RECORD:].rstrip(b"\0"))
    log.append(1, [encode_batch(Batch({FLOWS: {b"k": evil * 10}}))])
    content = bytearray(path.read_bytes())
    content[end] ^= 1
    path.write_bytes(content)

    assert read(tmp_path) == [(0, "zero")]


def test_the_files_are_for_their_owner_only(log: Log, tmp_path: Path) -> None:
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in LOG_NAMES} == {0o600}
