"""The standard streams of the command: open whatever the shell has closed, clear when they fail."""

import io
import os
import sys
from typing import Any, Final, TextIO

from runtime.errors import SennitError

_STANDARD_FILES: Final = 3


class OutputFailed(SennitError):
    """Standard output can't be written: its disk is full, say."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return (
            f"standard output can't be written: {self.why}. "
            "What was asked for may have been done; look before you repeat it"
        )


def prepare() -> None:
    """Make the streams fit to be written to, whatever the shell has made of them."""
    for number in range(_STANDARD_FILES):
        _keep_open(number)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (as long as the process)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = _telling(sys.stdout)
    if isinstance(sys.stderr, io.TextIOWrapper):
        # What a terminal can't show must not end a command that has done its work.
        sys.stderr.reconfigure(errors="backslashreplace")


def give_up_output() -> None:
    """Let nothing more be written to standard output, nor Python complain of that at its exit."""
    if sys.stdout is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class _Output(io.FileIO):
    """A file whose errors, but that of a reader who has gone, are `OutputFailed`."""

    def write(self, data: Any, /) -> int:  # a raw file that blocks
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputFailed(error.strerror or str(error)) from error


def _telling(stream: io.TextIOWrapper) -> TextIO:
    raw = _Output(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
    )


def _keep_open(number: int) -> None:
    """Open a descriptor that is closed: else the store, say, may get that of standard error."""
    try:
        os.fstat(number)
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)
