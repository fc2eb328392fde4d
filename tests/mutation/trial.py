"""Run tests on a copy of the project with a fault in it, and tell whether they notice the fault.

Only a failed test speaks of the fault, or one that never ends or takes the process down, or can't
be imported; and only if it passes without the fault. A test that fails without it, too, is unfit
and asked no more. All else that pytest may end with (nothing collected, a name that is no test, an
error of its own) is a mistake of the hunt.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.source_files import ROOT

SECONDS_MAX: Final = 240
TEST_SECONDS_MAX: Final = 60
PASSED: Final = 0
FAILED: Final = 1
# It says so of the tests in a file that can't be imported, too; then the file is named as failed.
NOT_FOUND: Final = 4
# How a process ends that has gone wrong in C. One that was killed says nothing.
_CRASHES: Final = (-signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGSEGV)

_FOLDERS: Final = ("runtime", "ledger", "samples", "benchmarks", "tests", "docs")
_FILES: Final = ("setup.cfg", "pyproject.toml", "README.md")
_FAILED_TESTS: Final = "cache/v/cache/lastfailed"


class HuntError(Exception):
    """The tests could not be run as they should, so nothing is known about the fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A file with a fault in it, and a line to say what it is."""

    path: str
    line: int
    title: str
    text: str
    reason: str | None = None
    """Why nothing can notice it, if it is listed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run of tests ended; ``failed`` is empty if the process was ended before it could say.

    Python may be stopped in the middle, by us or by the bound of one test.
    """

    passed: bool
    failed: tuple[str, ...] = ()


RunTests = Callable[[Path, list[str]], Outcome]


@dataclass(slots=True)
class Soundness:
    """What is known of tests on code without a fault. One for all who try."""

    sound: set[str] = field(default_factory=set)
    unfit: set[str] = field(default_factory=set)

    def look(self, folder: Path, tests: list[str], run: RunTests) -> None:
        """Run those tests in a sound copy that nobody has run yet."""
        unknown = [test for test in tests if test not in self.sound | self.unfit]
        while unknown:
            outcome = run(folder, unknown)
            if not outcome.passed and not outcome.failed:
                raise HuntError(f"without a fault, too, these tests don't end: {unknown[:3]} ...")
            self.unfit.update(_concerned(unknown, outcome.failed))
            unknown = [test for test in unknown if test not in self.unfit]
            if outcome.passed:
                self.sound.update(unknown)
                return


def copy_of_project() -> Path:
    """Return a folder with a copy of what the tests need."""
    folder = Path(tempfile.mkdtemp(prefix="mutation-"))
    for name in _FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in _FILES:
        shutil.copy(ROOT / name, folder / name)
    return folder


def survives(
    folder: Path, fault: Fault, tests: list[str], soundness: Soundness, run: RunTests
) -> bool:
    """Tell whether none of the tests notices the fault. The folder is left as it was."""
    while asked := [test for test in tests if test not in soundness.unfit]:
        outcome = _with_fault(folder, fault, asked, run)
        if outcome.passed:
            return True
        witnesses = _witnesses(asked, outcome.failed)
        soundness.look(folder, witnesses, run)
        if not soundness.unfit.intersection(witnesses):
            return False
    return True


def _witnesses(asked: list[str], failed: tuple[str, ...]) -> list[str]:
    """Return which tests to run without the fault; all if it is not known which of them failed."""
    tests = [name for name in failed if "::" in name]
    files = [name for name in failed if "::" not in name]
    return tests + [test for test in asked if test.partition("::")[0] in files] or asked


def _concerned(asked: list[str], failed: tuple[str, ...]) -> set[str]:
    """Return which of the tests or files have failed."""
    files = {name.partition("::")[0] for name in failed}
    return {test for test in asked if test in failed or test.partition("::")[0] in failed} | (
        files.intersection(asked)
    )


def _with_fault(folder: Path, fault: Fault, tests: list[str], run: RunTests) -> Outcome:
    file = folder / fault.path
    sound = file.read_text()
    file.write_text(fault.text)
    try:
        return run(folder, tests)
    finally:
        file.write_text(sound)


def run_tests(folder: Path, tests: list[str]) -> Outcome:
    """Run tests until one fails; raise `HuntError` if they could not be run."""
    chosen, failed = folder / "chosen.txt", folder / _FAILED_TESTS
    chosen.write_text("\n".join(tests))
    failed.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:xdist"]
    command += ["-o", f"cache_dir={folder / 'cache'}", f"--timeout={TEST_SECONDS_MAX}"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [*command, f"@{chosen}"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
        )
    except subprocess.TimeoutExpired:
        return Outcome(passed=False)
    if done.returncode == PASSED:
        return Outcome(passed=True)
    if done.returncode in _CRASHES:
        return Outcome(passed=False)
    named = tuple(json.loads(failed.read_text())) if failed.exists() else ()
    if done.returncode == FAILED or (done.returncode == NOT_FOUND and named):
        return Outcome(passed=False, failed=named)
    said = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
    raise HuntError(f"pytest ended with {done.returncode}; learn anew? It said:\n{said}")
