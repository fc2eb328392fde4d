"""What the facades load: an author of flows pays for no database and no socket library."""

import subprocess
import sys

import pytest

from tests.source_files import ROOT


@pytest.mark.parametrize("library", ["lmdb", "zmq", "sqlalchemy"])
def test_import_runtime_in_a_fresh_interpreter_loads_no_edge(library: str) -> None:
    program = f"import runtime, sys; sys.exit({library!r} in sys.modules)"

    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)

    assert ended.returncode == 0, f"import runtime loads {library}"


def test_runtime_and_ledger_can_be_imported_in_either_order() -> None:
    for program in ("import runtime, ledger", "import ledger, runtime"):
        ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)

        assert ended.returncode == 0, program
