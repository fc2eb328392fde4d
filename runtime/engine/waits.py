"""What a suspended flow waits for, as a value: the answer to "why is it not running?"."""

from typing import Final

import msgspec


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """One wait. ``sessions`` are those that could end it; ``until`` is when time ends it (ms)."""

    on: str
    since: int
    sessions: tuple[int, ...] = ()
    until: int | None = None


COMMIT: Final = Wait(on="commit", since=0)
"""Waiting for the own events to become durable: shared, because every step waits so."""
