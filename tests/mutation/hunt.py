"""Plant faults, run the tests that pass through the line, and print the faults that none noticed.

    python -m tests.mutation.hunt --count 100 --seed 1 runtime/engine ledger
    python -m tests.mutation.hunt --planted

The first run notes which test passes through which line (a few minutes); ``--learn`` does it again.
Each fault is planted in a copy of the project. The tests through the line run first, those that
pass through the fewest other lines before all others; a fault that survives them meets the judges
of the whole: simulations of networks with crashes. Exit code 1 if a fault survived.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from coverage import CoverageData

from tests.mutation.plant import mutants_of
from tests.mutation.planted import PLANTED
from tests.source_files import ROOT

LEARNT: Final = ROOT / ".mutation"
LEARNT_FROM: Final = ("tests/runtime", "tests/ledger", "tests/conformance", "tests/samples")
JUDGES: Final = ("tests/simulation/test_simulation.py", "tests/simulation/test_histories.py")
# So many of the tests that pass through a line are asked; the next ones hardly ever know more.
TESTS_MAX: Final = 400
ARGUMENTS_MAX: Final = 4
SECONDS_MAX: Final = 240
WORKERS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A file with a fault in it, and a line to say what it is."""

    path: str
    line: int
    title: str
    text: str


class Map:
    """Which tests pass through which lines."""

    def __init__(self, data: CoverageData) -> None:
        self._data = data
        self._lines_of: dict[str, int] = defaultdict(int)
        self._tests: dict[str, dict[int, set[str]]] = {}
        for file in data.measured_files():
            lines: dict[int, set[str]] = {}
            for line, contexts in data.contexts_by_lineno(file).items():
                lines[line] = {it.partition("|")[0] for it in contexts if it}
                for test in lines[line]:
                    self._lines_of[test] += 1
            self._tests[Path(file).relative_to(ROOT).as_posix()] = lines

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


def learn() -> None:
    """Run the tests once and note which lines each passes through."""
    LEARNT.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(WORKERS), "--cov"]
    environment = {**os.environ, "COVERAGE_FILE": str(LEARNT / "coverage")}
    command += ["--cov-context=test", "--cov-report=", "--cov-fail-under=0", *LEARNT_FROM]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def known() -> Map:
    """Return what was learnt."""
    data = CoverageData(str(LEARNT / "coverage"))
    data.read()
    return Map(data)


def copy_of_project() -> Path:
    """Return a folder with a copy of what the tests need."""
    folder = Path(tempfile.mkdtemp(prefix="mutation-"))
    for name in ("runtime", "ledger", "samples", "benchmarks", "tests", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def survives(folder: Path, fault: Fault, tests: list[str]) -> bool:
    """Tell whether no test notices the fault."""
    file = folder / fault.path
    sound = file.read_text()
    file.write_text(fault.text)
    try:
        return _passes(folder, tests) and _passes(folder, list(JUDGES))
    finally:
        file.write_text(sound)


def _passes(folder: Path, tests: list[str]) -> bool:
    if not tests:
        return True
    chosen = folder / "chosen.txt"
    chosen.write_text("\n".join(tests))
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "no:xdist", "--timeout", "60", f"@{chosen}"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, timeout=SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def faults_in(paths: list[str]) -> list[Fault]:
    """Return every fault that can be planted in some files or folders."""
    files: list[Path] = []
    for path in paths:
        place = ROOT / path
        files += sorted(place.rglob("*.py")) if place.is_dir() else [place]
    return [
        Fault(
            path=file.relative_to(ROOT).as_posix(),
            line=mutant.line,
            title=f"{file.relative_to(ROOT)}:{mutant.line}: {mutant.kind}: {mutant.was}",
            text=mutant.text,
        )
        for file in files
        for mutant in mutants_of(file.read_text())
    ]


def planted() -> list[Fault]:
    """Return the faults that were once planted by hand and noticed by nobody."""
    found: list[Fault] = []
    for fault in PLANTED:
        text = (ROOT / fault.path).read_text()
        line = text[: text.index(fault.was)].count("\n") + 1
        new = text.replace(fault.was, fault.becomes)
        title = f"{fault.path}:{line}: {fault.title}"
        found.append(Fault(path=fault.path, line=line, title=title, text=new))
    return found


def hunt(faults: list[Fault], tests: Map) -> Iterator[tuple[Fault, bool]]:
    """Plant the faults; yield each with whether it survived."""
    folders: SimpleQueue[Path] = SimpleQueue()
    for _ in range(WORKERS):
        folders.put(copy_of_project())

    def judge(fault: Fault) -> tuple[Fault, bool]:
        folder = folders.get()
        try:
            # A condition over several lines counts for the line on which it begins.
            return fault, survives(folder, fault, tests.through(fault.path, fault.line))
        finally:
            folders.put(folder)

    try:
        with ThreadPoolExecutor(WORKERS) as pool:
            yield from pool.map(judge, faults)
    finally:
        for _ in range(WORKERS):
            shutil.rmtree(folders.get())


def main() -> int:
    """Hunt as the command line says."""
    parser = argparse.ArgumentParser(prog="tests.mutation.hunt", description=__doc__.split("\n")[0])
    parser.add_argument("paths", nargs="*", default=["runtime/core", "runtime/engine", "ledger"])
    parser.add_argument(
        "--count", type=int, default=100, help="how many faults, chosen by the seed"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learn", action="store_true", help="note anew which test runs what")
    parser.add_argument("--planted", action="store_true", help="the known faults instead")
    asked = parser.parse_args()
    if asked.learn or not (LEARNT / "coverage").exists():
        learn()
    faults = planted() if asked.planted else faults_in(asked.paths)
    if not asked.planted:
        chosen = random.Random(asked.seed).sample(range(len(faults)), min(asked.count, len(faults)))
        faults = [faults[number] for number in sorted(chosen)]
    began, survivors = time.monotonic(), 0
    for fault, survived in hunt(faults, known()):
        survivors += survived
        print("SURVIVED" if survived else "noticed ", fault.title, flush=True)
    seconds = time.monotonic() - began
    killed = len(faults) - survivors
    print(f"{killed} of {len(faults)} noticed ({killed / len(faults):.0%}) in {seconds:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
