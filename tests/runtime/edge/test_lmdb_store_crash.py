"""Killed with SIGKILL at any moment, the store has what it reported durable, in whole batches."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.edge.lmdb_store import LmdbStore
from runtime.edge.lmdb_writer import CrashPoint, crash_point_from_environment
from runtime.errors import ConfigurationError
from tests.runtime.edge.store_helpers import FLOWS, JOURNAL, all_rows, finish_merging

# Batch n puts n rows of its own into the journal, deletes those of batch n - 3 and counts up in
# the flows; so each state of the store is that of exactly one n.
WRITER = """
import os, sys
from pathlib import Path
import gevent
from gevent.hub import Waiter
from runtime.edge.lmdb_store import LmdbStore
from runtime.edge.lmdb_writer import crash_point_from_environment
from runtime.ports import Batch, Space
journal = Space("journal", write_once=True)
flows = Space("flows")
path, merge_rows, in_flight_max = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
store = LmdbStore(
    Path(path), owner="A", merge_rows=merge_rows, map_bytes_first=65_536,
    crash_point=crash_point_from_environment(),
)
first = int(store.get(flows, b"count") or b"0") + 1
in_flight = 0
waiter = Waiter()
def durable(number):
    global in_flight, waiter
    os.write(1, b"%d\\n" % number)
    in_flight -= 1
    waiter.switch(None)
for number in range(first, first + 100_000):
    batch = Batch()
    for row in range(number % 20):
        batch.put(journal, b"%06d-%02d" % (number, row), b"v" * 50)
    for row in range((number - 3) % 20 if number > 3 else 0):
        batch.delete(journal, b"%06d-%02d" % (number - 3, row))
    batch.put(flows, b"count", b"%d" % number)
    in_flight += 1
    store.submit(batch, lambda number=number: durable(number))
    while in_flight >= in_flight_max:
        waiter = Waiter()
        waiter.get()
"""


def expected_rows(count: int) -> set[bytes]:
    return {
        b"%06d-%02d" % (number, row)
        for number in range(max(1, count - 2), count + 1)
        for row in range(number % 20)
    }


def check(path: Path, reported: int) -> int:
    """Check that the store is in the state of one batch, at least the reported; return it."""
    with LmdbStore(path, owner="A") as store:
        count = int(store.get(FLOWS, b"count") or b"0")
        assert count >= reported
        assert set(all_rows(store, JOURNAL)) == expected_rows(count)
        finish_merging(store)
        assert set(all_rows(store, JOURNAL)) == expected_rows(count)
    return count


def start_writer(
    path: Path, *, merge_rows: int, in_flight: int, crash_at: str = ""
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, os.fspath(path), str(merge_rows), str(in_flight)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "SENNIT_CRASH_AT_COMMIT": crash_at},
    )


def run_until_killed(writer: "subprocess.Popen[bytes]") -> list[int]:
    assert writer.stdout is not None
    with writer:
        reported = [int(line) for line in writer.stdout.read().split()]
    assert writer.returncode == -signal.SIGKILL
    return reported


@pytest.mark.parametrize("in_flight", [1, 30])
@pytest.mark.parametrize("merge_rows", [10, 100])
@pytest.mark.parametrize("seed", range(3))
def test_what_was_reported_survives_a_kill_from_outside(
    tmp_path: Path, merge_rows: int, in_flight: int, seed: int
) -> None:
    chance = random.Random(seed)
    path = tmp_path / "store"
    count = 0
    for _ in range(3):
        writer = start_writer(path, merge_rows=merge_rows, in_flight=in_flight)
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(chance.randrange(1, 150))]
        writer.kill()
        reported = [int(line) for line in lines] + run_until_killed(writer)
        assert reported == list(range(count + 1, count + 1 + len(reported)))
        count = check(path, reported[-1])


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("commit", [1, 2, 5, 6, 7, 8, 9, 10, 11, 23, 50])
@pytest.mark.parametrize("merge_rows", [10, 60])
def test_a_kill_right_before_or_after_a_commit_leaves_whole_batches(
    tmp_path: Path, moment: str, commit: int, merge_rows: int
) -> None:
    path = tmp_path / "store"
    writer = start_writer(path, merge_rows=merge_rows, in_flight=1, crash_at=f"{moment}:{commit}")

    reported = run_until_killed(writer)
    count = check(path, len(reported))

    assert reported == list(range(1, len(reported) + 1))
    # One batch is on its way; it is there if the process died after its commit.
    assert count - len(reported) in {0, 1}
    assert len(reported) < commit


def test_with_one_batch_in_flight_a_kill_before_its_commit_loses_it(tmp_path: Path) -> None:
    path = tmp_path / "store"
    writer = start_writer(path, merge_rows=10**6, in_flight=1, crash_at="before:4")

    reported = run_until_killed(writer)

    assert reported == [1, 2, 3]
    assert check(path, 3) == 3


def test_with_one_batch_in_flight_a_kill_after_its_commit_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "store"
    writer = start_writer(path, merge_rows=10**6, in_flight=1, crash_at="after:4")

    reported = run_until_killed(writer)

    assert reported == [1, 2, 3]
    assert check(path, 3) == 4


def test_a_crash_point_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENNIT_CRASH_AT_COMMIT", raising=False)
    unset = crash_point_from_environment()
    monkeypatch.setenv("SENNIT_CRASH_AT_COMMIT", "before:12")
    before = crash_point_from_environment()
    monkeypatch.setenv("SENNIT_CRASH_AT_COMMIT", "after:1")
    after = crash_point_from_environment()

    assert unset is None
    assert before == CrashPoint(moment="before", commit=12)
    assert after == CrashPoint(moment="after", commit=1)


@pytest.mark.parametrize("text", ["before", "before:", "before:0", "during:1", "after:x", ":3"])
def test_an_impossible_crash_point_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENNIT_CRASH_AT_COMMIT", text)

    with pytest.raises(ConfigurationError, match="before:N or after:N"):
        crash_point_from_environment()
