"""Run a program of `tests.e2e.programs` as a process of its own; every warning is an error."""

import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

from tests.source_files import ROOT

SECONDS_MAX: Final = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a program ended and what it wrote."""

    exit_code: int
    lines: list[str]
    errors: str


def run_program(
    name: str, *arguments: object, is_patched: bool, seconds_max: float = SECONDS_MAX
) -> Ran:
    """Run the program, all of Python patched by gevent or nothing; with its stacks if it hangs."""
    module = ["-m", "gevent.monkey", "--module"] if is_patched else ["-m"]
    process = subprocess.Popen(
        [
            *(sys.executable, "-W", "error", "-X", "faulthandler"),
            *(*module, f"tests.e2e.programs.{name}"),
            *map(str, arguments),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        output, errors = process.communicate(timeout=seconds_max)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        output, errors = process.communicate()
    return Ran(exit_code=process.returncode, lines=output.splitlines(), errors=errors)
