"""Faults are planted where they should be, one at a time, and the known ones still fit the code."""

import ast
from collections import Counter

import pytest

from tests.mutation.plant import mutants_of
from tests.mutation.planted import PLANTED, Planted
from tests.mutation.survivors import SURVIVORS, Survivor
from tests.source_files import ROOT

SOURCE = '''"""A module."""

LIMIT = 3


def work(box, count):
    """Do it."""
    if count > LIMIT:
        raise ValueError("too many")
    if box.is_open and count:
        box.count = count
    log.info("never touched")
    box.put(count)
    box.commit()
    return count == 2


def tell():
    return True
'''


def changed_line(text: str) -> str:
    before, after = SOURCE.splitlines(), text.splitlines()
    return next(new.strip() for old, new in zip(before, after, strict=False) if old != new)


def test_each_kind_of_fault_is_planted_once_and_is_python() -> None:
    mutants = mutants_of(SOURCE)

    assert [(mutant.kind, changed_line(mutant.text)) for mutant in mutants] == [
        ("comparison", "if count >= LIMIT:"),
        ("guard removed", "if False:"),
        ("always", "if True:"),
        ("never", "if False:"),
        ("part of a condition ignored", "if True and count:"),
        ("part of a condition ignored", "if box.is_open and True:"),
        ("dropped assignment", "pass"),
        ("dropped call", "pass"),
        ("swapped", "box.commit()"),
        ("dropped call", "pass"),
        ("comparison", "return count != 2"),
        ("other answer", "return False"),
    ]
    assert all(ast.parse(mutant.text) for mutant in mutants)


def test_every_file_that_is_hunted_in_can_have_each_of_its_faults() -> None:
    kinds: Counter[str] = Counter()
    for folder in ("runtime/core", "runtime/engine", "runtime/edge", "ledger"):
        for file in (ROOT / folder).rglob("*.py"):
            mutants = mutants_of(file.read_text())
            kinds.update(mutant.kind for mutant in mutants)
            # A tenth: all of them take long.
            for mutant in mutants[::10]:
                ast.parse(mutant.text)

    assert len(kinds) == 9


@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.title)
def test_a_known_fault_still_fits_the_code(fault: Planted) -> None:
    text = (ROOT / fault.path).read_text()

    assert text.count(fault.was) == 1
    ast.parse(text.replace(fault.was, fault.becomes))


@pytest.mark.parametrize("entry", SURVIVORS, ids=lambda it: f"{it.path} {it.function} {it.was}")
def test_a_listed_survivor_is_a_fault_that_can_be_planted(entry: Survivor) -> None:
    mutants = mutants_of((ROOT / entry.path).read_text())

    assert (entry.function, entry.kind, entry.was) in {
        (mutant.function, mutant.kind, mutant.was) for mutant in mutants
    }
    assert entry.reason


def test_no_survivor_is_listed_twice() -> None:
    names = Counter((it.path, it.function, it.kind, it.was) for it in SURVIVORS)

    assert [name for name, count in names.items() if count > 1] == []


def test_a_fault_is_named_by_its_function_as_seen_from_the_file() -> None:
    text = "class Box:\n    def put(self):\n        def inner():\n            return True\n"

    assert [mutant.function for mutant in mutants_of(text)] == ["Box.put.inner"]
