"""The layering of the packages is a test: the contracts in setup.cfg hold."""

import subprocess
import sys
from pathlib import Path

from tests.source_files import ROOT


def test_imports_point_downwards(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as run; run()",
    ]

    linted = subprocess.run(
        [*command, "--no-logo", "--cache-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert linted.returncode == 0, linted.stdout + linted.stderr
