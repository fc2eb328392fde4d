"""The table of features says nothing that isn't so: what it calls done names a test that exists."""

import re
from dataclasses import dataclass
from typing import Final

from tests.source_files import ROOT

PRIORITIES: Final = {"P0", "P1", "P2", "-"}
PART_LAST: Final = 20
# What is only partly there says in a few words what is missing.
STATE: Final = re.compile(r"done|missing|-|partly \(\S+(?: \S+){1,7}\)")
TEST: Final = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    feature: str
    priority: str
    state: str
    proof: str


def rows() -> list[Row]:
    lines = (ROOT / "docs" / "features.md").read_text().splitlines()
    cells = [re.split(r"\s*(?<!\\)\|\s*", line.strip("| ")) for line in lines if line[:2] == "| "]
    return [
        Row(feature=feature, priority=priority, state=state, proof=proof)
        for feature, priority, state, proof in cells
        if feature != "feature"
    ]


def test_every_part_stands_in_the_table_in_order() -> None:
    text = (ROOT / "docs" / "features.md").read_text()

    parts = [int(number) for number in re.findall(r"^## (\d+) ", text, re.MULTILINE)]
    assert parts == list(range(1, PART_LAST + 1))


def test_every_feature_has_a_known_priority_and_state() -> None:
    strange = [
        row.feature
        for row in rows()
        if row.priority not in PRIORITIES or not STATE.fullmatch(row.state)
    ]

    assert strange == []


def test_a_feature_that_is_there_names_tests_that_exist() -> None:
    present = [row for row in rows() if row.state.startswith(("done", "partly"))]

    unproven = [row.feature for row in present if not names_only_tests_that_exist(row.proof)]
    assert unproven == []


def names_only_tests_that_exist(proof: str) -> bool:
    """Tell whether ``proof`` names at least one test, and none that can't be found."""
    named = TEST.findall(proof)
    return bool(named) and all(exists(path, test) for path, test in named)


def exists(path: str, test: str) -> bool:
    """Tell whether the file is there and has the test, if one is named."""
    file = ROOT / path
    return file.exists() and (not test or f"def {test}(" in file.read_text())
