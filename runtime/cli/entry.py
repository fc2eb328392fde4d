"""Where the command ``sennit`` begins: a node's process is patched before anything else is loaded.

`sennit node run` lets gevent patch the standard library, so that code in a flow's step that waits
for a socket, a lock or `time.sleep` lets other flows run. Processes are left as they are: gevent's
work only in the main thread, and steps also run in others. ``--no-patch`` leaves out all of it.

Ctrl-C while modules are loaded, and while Python cleans up at its end, ends the process without a
word: there Python would print where it was. Between the two it is a `KeyboardInterrupt`.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import FrameType
from typing import Final

NO_PATCH: Final = "--no-patch"
# As in `runtime.cli.errors`, which is not loaded so early.
EXIT_INTERRUPTED: Final = 130


def main() -> None:
    """Run the command with the arguments of the process, and exit."""
    _at_interrupt(_end)
    if is_patched(sys.argv[1:]):
        # By name, because no other command needs gevent so early.
        import_module("gevent.monkey").patch_all(os=False, signal=False, subprocess=False)
    command = import_module("runtime.cli.main")
    _at_interrupt(signal.default_int_handler)
    try:
        command.main()
    finally:
        _at_interrupt(_end)


def is_patched(words: Sequence[str]) -> bool:
    """Tell whether the standard library is to be patched for these arguments."""
    return list(words[:2]) == ["node", "run"] and NO_PATCH not in words


def _at_interrupt(handler: Callable[[int, FrameType | None], object]) -> None:
    # A shell that runs a command in the background has it ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(EXIT_INTERRUPTED)
