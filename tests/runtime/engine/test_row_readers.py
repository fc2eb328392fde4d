"""Every space of the engine and of the ledger has somebody who can decode its rows."""

import re

import pytest

from ledger.stores import readers
from runtime.engine import row_readers
from tests.source_files import ROOT


@pytest.mark.parametrize(
    ("folders", "known"),
    [
        (("runtime/core", "runtime/engine"), row_readers.READERS),
        (("ledger",), readers.READERS),
    ],
    ids=["engine", "ledger"],
)
def test_the_rows_of_every_space_can_be_decoded(
    folders: tuple[str, ...], known: dict[str, object]
) -> None:
    # Breaks when a new space is not read by `sennit node check`.
    spaces = {
        name
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        for name in re.findall(r'^\w+: Final = Space\("([\w.]+)"', path.read_text(), re.MULTILINE)
    }

    assert spaces == set(known)
