"""What a suspended flow waits for, as a value, and the instant at which time ends the wait."""

from collections.abc import Callable
from typing import Final

import msgspec

from runtime.limits import WALL_CLOCK_LOOK_MS
from runtime.ports import Clock, Loop, Timer


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """One wait: the answer to "why is it not running?".

    ``sessions`` are those that could end it; ``until`` is when time ends it (ms);
    ``source`` is the line of code that failed, of a flow that waits to run again.
    """

    on: str
    since: int
    sessions: tuple[int, ...] = ()
    until: int | None = None
    source: str = ""


COMMIT: Final = Wait(on="commit", since=0)
"""Waiting for the own events to become durable: shared, because every step waits so."""

ROOM: Final = "room at the peer"
"""What a flow waits for that is too far ahead of a peer; see `Wait.on`."""


class Due:
    """An instant that was set at one time to come at another, both recorded by the wall clock.

    If the time between the two is short, it passes on steady time: a wall clock that is set
    meanwhile changes nothing. After a restart it is at most that time away once more.
    """

    __slots__ = ("_clock", "_has_come", "_steady_ms", "set_ms", "until_ms")

    def __init__(self, clock: Clock, set_ms: int, until_ms: int) -> None:
        self.set_ms = set_ms
        self.until_ms = until_ms
        self._clock = clock
        self._has_come = False
        self._steady_ms: int | None = None
        length_ms = until_ms - set_ms
        if length_ms <= WALL_CLOCK_LOOK_MS:
            left_ms = min(until_ms - clock.now_ms(), length_ms)
            self._steady_ms = clock.steady_ms() + left_ms

    @property
    def has_come(self) -> bool:
        """Tell whether its time is over."""
        if self._steady_ms is not None:
            return self._clock.steady_ms() >= self._steady_ms
        return self._has_come or self._clock.now_ms() >= self.until_ms

    def arm(self, loop: Loop, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` from the loop when it has come."""
        if self._steady_ms is not None:
            return loop.call_after(self._steady_ms - self._clock.steady_ms(), callback)

        def come() -> None:
            # The wall clock need not show it: the last part of a long wait is steady, too.
            self._has_come = True
            callback()

        return loop.call_at(self.until_ms, come)
