"""The small file that remembers which flow was running, whatever ended the process."""

import os
from pathlib import Path

import pytest

from runtime.edge.last_run import LAST_RUN_FILE, LastRun
from runtime.ports import Suspicion

ONE = bytes(range(16))
OTHER = bytes(range(16, 32))


def test_what_was_entered_last_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    note = LastRun(tmp_path)
    before = note.running
    note.enter(ONE)

    again = LastRun(tmp_path)
    running = again.running
    again.leave()

    assert (before, running, LastRun(tmp_path).running) == (None, ONE, None)


def test_a_suspicion_is_kept_and_dropped(tmp_path: Path) -> None:
    note = LastRun(tmp_path)
    before = note.suspicion
    note.suspicion = Suspicion(ONE, 2, 17)
    kept = LastRun(tmp_path).suspicion
    note.suspicion = None

    assert (before, kept, LastRun(tmp_path).suspicion) == (None, Suspicion(ONE, 2, 17), None)


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 64, b"sennit-1", bytes(1_000)])
def test_a_file_that_is_something_else_means_nobody(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LAST_RUN_FILE).write_bytes(content)

    note = LastRun(tmp_path)

    assert (note.running, note.suspicion) == (None, None)
    note.enter(ONE)
    assert LastRun(tmp_path).running == ONE


def test_it_survives_an_end_that_nobody_gets_to_see(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        LastRun(tmp_path).enter(ONE)
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)

    assert LastRun(tmp_path).running == ONE


def test_after_its_close_nothing_is_open_and_notes_are_forgotten(tmp_path: Path) -> None:
    note = LastRun(tmp_path)
    note.enter(ONE)
    note.close()
    note.close()
    note.enter(OTHER)

    assert note.running == OTHER
    assert LastRun(tmp_path).running == ONE
    names = [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    assert not [name for name in names if str(tmp_path) in name]
