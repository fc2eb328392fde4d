"""Plant faults, run the tests that pass through the line, and print the faults that none noticed.

    python -m tests.mutation.hunt --count 100 --seed 1 runtime/engine ledger
    python -m tests.mutation.hunt --planted

The first run notes which test passes through which line (a few minutes); ``--learn`` does it again,
and ``--learn tests/runtime/test_new.py`` adds what new tests pass through. Each fault is planted in
a copy of the project. The tests through the line run first, those that pass through the fewest
other lines before all others; a fault that survives them meets the judges of the whole: simulations
of networks with crashes. Faults of `survivors` are not planted again, but counted.

Exit code 1 if a fault survived; 2 if the hunt itself went wrong with some, which says nothing of
them.
"""

import argparse
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from tests.mutation.learnt import Map, known, learn
from tests.mutation.plant import mutants_of
from tests.mutation.planted import PLANTED
from tests.mutation.survivors import reason_of
from tests.mutation.trial import (
    Fault,
    HuntError,
    Soundness,
    copy_of_project,
    run_tests,
    survives,
)
from tests.source_files import ROOT

JUDGES: Final = ("tests/simulation/test_simulation.py", "tests/simulation/test_histories.py")
WORKERS: Final = 2


class Verdict(StrEnum):
    """What came of a fault."""

    NOTICED = "noticed "
    SURVIVED = "SURVIVED"
    LISTED = "listed  "
    ERROR = "ERROR   "


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
            reason=reason_of(file.relative_to(ROOT).as_posix(), mutant),
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


def judge(
    folder: Path, fault: Fault, tests: list[str], soundness: Soundness
) -> tuple[Verdict, str]:
    """Plant a fault in a copy; return what came of it, and what there is to say about that."""
    if fault.reason is not None:
        return Verdict.LISTED, fault.reason
    try:
        survived = all(
            survives(folder, fault, asked, soundness, run_tests) for asked in (tests, list(JUDGES))
        )
    except HuntError as error:
        return Verdict.ERROR, str(error)
    return (Verdict.SURVIVED if survived else Verdict.NOTICED), ""


def hunt(
    faults: list[Fault], tests: Map, soundness: Soundness, workers: int
) -> Iterator[tuple[Fault, Verdict, str]]:
    """Plant the faults; yield each with what came of it."""
    folders: SimpleQueue[Path] = SimpleQueue()
    for _ in range(workers):
        folders.put(copy_of_project())

    def tried(fault: Fault) -> tuple[Fault, Verdict, str]:
        folder = folders.get()
        try:
            # A condition over several lines counts for the line on which it begins.
            return fault, *judge(folder, fault, tests.through(fault.path, fault.line), soundness)
        finally:
            folders.put(folder)

    try:
        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(tried, faults)
    finally:
        for _ in range(workers):
            shutil.rmtree(folders.get())


def report(counts: Counter[Verdict], unfit: set[str]) -> int:
    """Print what came of all; return the exit code."""
    tried = counts[Verdict.NOTICED] + counts[Verdict.SURVIVED]
    share = f" ({counts[Verdict.NOTICED] / tried:.1%})" if tried else ""
    print(f"{counts[Verdict.NOTICED]} of {tried} noticed{share}, {counts[Verdict.LISTED]} listed")
    for test in sorted(unfit):
        print(f"UNFIT    {test} fails without a fault, too")
    if counts[Verdict.ERROR]:
        print(f"of {counts[Verdict.ERROR]} nothing is known: the hunt went wrong there")
    if counts[Verdict.ERROR] or unfit:
        return 2
    return 1 if counts[Verdict.SURVIVED] else 0


def main() -> int:
    """Hunt as the command line says."""
    parser = argparse.ArgumentParser(prog="tests.mutation.hunt", description=__doc__.split("\n")[0])
    parser.add_argument("paths", nargs="*", default=["runtime/core", "runtime/engine", "ledger"])
    parser.add_argument(
        "--count", type=int, default=100, help="how many faults, chosen by the seed"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument(
        "--learn",
        nargs="*",
        metavar="TESTS",
        help="note anew which test runs what, or only of these, and end",
    )
    parser.add_argument("--planted", action="store_true", help="the known faults instead")
    asked = parser.parse_args()
    if asked.learn is not None:
        learn(asked.learn, asked.workers)
        return 0
    tests = known()
    if tests is None:
        learn([], asked.workers)
        tests = known()
        assert tests is not None
    faults = planted() if asked.planted else faults_in(asked.paths)
    if not asked.planted:
        chosen = random.Random(asked.seed).sample(range(len(faults)), min(asked.count, len(faults)))
        faults = [faults[number] for number in sorted(chosen)]
    began, counts, soundness = time.monotonic(), Counter[Verdict](), Soundness()
    for fault, verdict, more in hunt(faults, tests, soundness, asked.workers):
        counts[verdict] += 1
        print(verdict, fault.title, *([f"\n         {more}"] if more else []), flush=True)
    print(f"{len(faults)} faults in {time.monotonic() - began:.0f} s")
    return report(counts, soundness.unfit)


if __name__ == "__main__":
    sys.exit(main())
