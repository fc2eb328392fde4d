"""How many files the process may have open. ZeroMQ ends a process that has no more to give."""

import resource
from typing import Final

from runtime.errors import ConfigurationError

COMMAND_FILES_MIN: Final = 32
# A node's own, and connections of some peers and users.
NODE_FILES_MIN: Final = 256
# What a node that may have more asks for: two connections for each of its peers.
NODE_FILES_WANTED: Final = 65_536


def allow_open_files(least: int, wanted: int) -> None:
    """Have the system allow ``wanted`` files, as far as it does; below ``least`` raise."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if allowed > soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        except (OSError, ValueError):
            # Some systems have a bound of their own below the one that they tell.
            allowed = soft
    if allowed < least:
        raise ConfigurationError(
            "ulimit -n",
            f"this process may have {allowed} files and connections open, and needs {least}",
            "Allow more before you start it: ulimit -n 4096, or LimitNOFILE= of systemd",
        )
