"""Rows of the store that this node can't read: set aside, on record, and the node goes on.

They stay where they are, for whoever can mend them. What depends on one is refused, held or
missing; nothing else is.
"""

import logging
from collections.abc import Callable
from typing import Final, TypeVar

from runtime.errors import UnreadableRow
from runtime.ports import Space
from runtime.seldom_log import SeldomLog

T = TypeVar("T")

log = logging.getLogger("sennit.recovery")

# A damaged store may have any number; these are remembered.
ROWS_REMEMBERED_MAX: Final = 1_000
LINES_PER_SPACE: Final = 20
_REASON_CHARACTERS_MAX: Final = 500


class UnreadableRows:
    """What was set aside since the node's start."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, bytes], str] = {}
        self._log = SeldomLog(log, burst=LINES_PER_SPACE)

    def read(self, space: Space, key: bytes, value: bytes, decode: Callable[[bytes], T]) -> T:
        """Return the row, decoded; raises `UnreadableRow` for one that is set aside."""
        try:
            return decode(value)
        # A row that was damaged, or that another version wrote, may provoke anything.
        except Exception as error:
            raise self.set_aside(space, key, f"{type(error).__name__}: {error}") from error

    def read_or_none(
        self, space: Space, key: bytes, value: bytes, decode: Callable[[bytes], T]
    ) -> T | None:
        """Return the row, decoded, or None for one that is set aside."""
        try:
            return self.read(space, key, value, decode)
        except UnreadableRow:
            return None

    def set_aside(self, space: Space, key: bytes, reason: str) -> UnreadableRow:
        """Put a row on record, and return how to tell of it."""
        found = UnreadableRow(space.name, key.hex(), reason[:_REASON_CHARACTERS_MAX])
        if (space.name, key) not in self.rows and len(self.rows) < ROWS_REMEMBERED_MAX:
            self.rows[space.name, key] = str(found)
            extra: dict[str, object] = {"space": space.name, "key": key.hex()}
            self._log.say(logging.ERROR, space.name, str(found), extra=extra)
        return found
