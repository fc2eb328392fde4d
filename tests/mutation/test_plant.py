"""Faults are planted where they should be, one at a time, and the known ones still fit the code."""

import ast
from collections import Counter

import pytest

from tests.mutation.plant import mutants_of
from tests.mutation.planted import PLANTED, Planted
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
