"""Where the command ``sennit`` begins: a node's process is patched before anything else is loaded.

`sennit node run` lets gevent patch the standard library, so that code in a flow's step that waits
for a socket, a lock or `time.sleep` lets other flows run. Processes are left as they are: gevent's
work only in the main thread, and steps also run in others. ``--no-patch`` leaves out all of it.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

NO_PATCH: Final = "--no-patch"
# As in `runtime.cli.errors`, which is not loaded so early.
EXIT_INTERRUPTED: Final = 130


def main() -> None:
    """Run the command with the arguments of the process, and exit."""
    try:
        if is_patched(sys.argv[1:]):
            # By name, because no other command needs gevent so early.
            import_module("gevent.monkey").patch_all(os=False, signal=False, subprocess=False)
        command = import_module("runtime.cli.main")
    except KeyboardInterrupt:
        # While modules are loaded there is no `SennitGroup` yet that would see it.
        sys.exit(EXIT_INTERRUPTED)
    command.main()


def is_patched(words: Sequence[str]) -> bool:
    """Tell whether the standard library is to be patched for these arguments."""
    return list(words[:2]) == ["node", "run"] and NO_PATCH not in words
