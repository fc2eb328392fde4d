"""What a suspended flow waits for, as a value: the answer to "why is it not running?"."""

import msgspec


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """One wait. ``sessions`` are those that could end it; ``until`` is when time ends it (ms)."""

    on: str
    since: int
    sessions: tuple[int, ...] = ()
    until: int | None = None
    by_commit: bool = False


class Backlog(msgspec.Struct, frozen=True):
    """Peer and bytes of a session whose peer is far behind."""

    peer: str
    size: int
