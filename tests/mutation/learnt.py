"""Which tests pass through which lines: noted by running them once with coverage."""

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Final

from coverage import CoverageData

from tests.mutation.trial import FAILED, PASSED
from tests.source_files import ROOT

LEARNT: Final = ROOT / ".mutation"
LEARNT_FROM: Final = ("tests/runtime", "tests/ledger", "tests/conformance", "tests/samples")
# So many of the tests that pass through a line are asked; the next ones hardly ever know more.
TESTS_MAX: Final = 400
ARGUMENTS_MAX: Final = 4


class Map:
    """Which tests pass through which lines. Paths are those from the root of the project."""

    def __init__(self, data: CoverageData) -> None:
        self._lines_of: dict[str, int] = defaultdict(int)
        self._tests: dict[str, dict[int, set[str]]] = {}
        for file in data.measured_files():
            lines: dict[int, set[str]] = {}
            for line, contexts in data.contexts_by_lineno(file).items():
                lines[line] = {it.rpartition("|")[0] for it in contexts if it}
                for test in lines[line]:
                    self._lines_of[test] += 1
            self._tests[Path(file).as_posix()] = lines

    def through(self, path: str, line: int) -> list[str]:
        """Return tests that pass through a line: the module's own, then others, narrowest first.

        Of a test with very many sets of arguments, a few are taken.
        """
        own = f"test_{Path(path).stem}"
        tests = self._tests.get(path, {}).get(line, set())
        chosen: list[str] = []
        taken: dict[str, int] = defaultdict(int)
        for test in sorted(tests, key=lambda test: (own not in test, self._lines_of[test], test)):
            function = test.partition("[")[0]
            taken[function] += 1
            if own in test or taken[function] <= ARGUMENTS_MAX:
                chosen.append(test)
        return chosen[:TESTS_MAX]


def learn(tests: list[str], workers: int) -> None:
    """Run tests once and note which lines each passes through; all tests if none is named.

    What named tests show is added to what is known.
    """
    LEARNT.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(workers), "--cov"]
    command += ["--cov-context=test", "--cov-report=", "--cov-fail-under=0"]
    command += ["--cov-append", *tests] if tests else LEARNT_FROM
    environment = {**os.environ, "COVERAGE_FILE": str(LEARNT / "coverage")}
    done = subprocess.run(command, cwd=ROOT, env=environment)
    # A failed test is no witness: the hunt sees that when it asks it.
    if done.returncode not in (PASSED, FAILED):
        sys.exit(f"the tests could not be run: pytest ended with {done.returncode}")


def known() -> Map | None:
    """Return what was learnt, if anything was."""
    if not (LEARNT / "coverage").exists():
        return None
    data = CoverageData(str(LEARNT / "coverage"))
    data.read()
    return Map(data)
