"""A fault counts as noticed only by a test that fails because of it."""

from pathlib import Path

import pytest

from tests.mutation.trial import Fault, HuntError, Soundness, run_tests, survives

SOUND = "def double(n):\n    return 2 * n\n"

TESTS = """
from box import double

def test_of_three():
    assert double(3) == 6

def test_of_nothing():
    assert double(0) == 0

def test_that_always_fails():
    assert False
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "box.py").write_text(SOUND)
    (tmp_path / "test_box.py").write_text(TESTS)
    (tmp_path / "setup.cfg").write_text("[tool:pytest]\n")
    return tmp_path


def is_survived_by(
    folder: Path, text: str, tests: list[str], soundness: Soundness | None = None
) -> bool:
    fault = Fault(path="box.py", line=2, title="a fault", text=text)
    survived = survives(
        folder,
        fault,
        [f"test_box.py::{name}" for name in tests],
        soundness or Soundness(),
        run_tests,
    )
    assert (folder / "box.py").read_text() == SOUND
    return survived


def test_a_fault_is_noticed_by_a_test_that_fails_only_with_it(folder: Path) -> None:
    assert not is_survived_by(folder, SOUND.replace("2", "3"), ["test_of_nothing", "test_of_three"])


def test_a_fault_that_no_test_sees_survives(folder: Path) -> None:
    assert is_survived_by(folder, SOUND.replace("2", "3"), ["test_of_nothing"])


def test_a_test_that_fails_without_the_fault_is_no_witness_and_others_are_asked(
    folder: Path,
) -> None:
    # Breaks when every fault is "noticed" by a test that some machine can't pass.
    soundness = Soundness()

    assert is_survived_by(
        folder, SOUND.replace("2", "3"), ["test_that_always_fails", "test_of_nothing"], soundness
    )
    assert not is_survived_by(
        folder, SOUND.replace("2", "3"), ["test_that_always_fails", "test_of_three"], soundness
    )
    assert soundness.unfit == {"test_box.py::test_that_always_fails"}


def test_a_fault_that_breaks_the_import_is_noticed(folder: Path) -> None:
    assert not is_survived_by(folder, SOUND + "double(None)\n", ["test_of_nothing"])


def test_a_process_that_ends_in_the_middle_has_noticed_the_fault(folder: Path) -> None:
    text = "import os\ndef double(n):\n    os.abort()\n"

    assert not is_survived_by(folder, text, ["test_of_nothing"])


def test_a_test_that_is_not_there_is_an_error_of_the_hunt(folder: Path) -> None:
    # Breaks when a map that is out of date reports every fault as noticed.
    with pytest.raises(HuntError, match=r"ended with 4(.*\n)+ERROR: not found"):
        is_survived_by(folder, SOUND, ["test_that_was_renamed"])


def test_a_file_that_is_asked_as_a_whole_may_have_an_unfit_test(folder: Path) -> None:
    fault = Fault(path="box.py", line=2, title="a fault", text="def double(n):\n    return 3 * n\n")
    soundness = Soundness()
    soundness.look(folder, ["test_box.py"], run_tests)

    assert soundness.unfit == {"test_box.py"}
    assert survives(folder, fault, ["test_box.py"], soundness, run_tests)
