"""The command ``sennit`` as it is installed: Ctrl-C ends it without a word from its first line on.

Python prints where a Ctrl-C came upon it, and to load `runtime` takes a fifth of a second. So this
stands apart from `runtime`, and loads it only when Ctrl-C is taken care of.
"""

import os
import signal
from importlib import import_module
from types import FrameType
from typing import Final

__all__ = ["main"]

# As in `runtime.cli.errors`, which is not loaded so early.
_EXIT_INTERRUPTED: Final = 130


def main() -> None:
    """Run the command with the arguments of the process, and exit."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end)
    import_module("runtime.cli.entry").main()


def _end(number: int, frame: FrameType | None) -> None:
    # Nothing is open yet. An exception could come upon code that swallows or prints it.
    os._exit(_EXIT_INTERRUPTED)
