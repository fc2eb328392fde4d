"""Timers by the wall clock, made of steady ones: the rules of the real and the simulated loop.

A wait that is not longer than `WALL_CLOCK_LOOK_MS` runs on steady time to its end: a wall clock
that is set meanwhile, and perhaps set right again, does nothing to it. A longer wait follows the
wall clock: its loop calls `look` at least once in that time, and if the clock was set, the rest of
the wait is measured anew.
"""

from collections.abc import Callable
from typing import Final

from runtime.limits import WALL_CLOCK_LOOK_MS
from runtime.ports import Clock, Timer

# Wall clocks are also slewed, by up to half a millisecond a second; that is no reason to measure
# thousands of timers anew.
SLEWED_MS_MAX: Final = 100


class WallTimers:
    """All timers of one loop that wait for an instant of the wall clock."""

    def __init__(
        self,
        clock: Clock,
        call_after: Callable[[int, Callable[[], None]], Timer],
        look_ms: int = WALL_CLOCK_LOOK_MS,
    ) -> None:
        self._clock = clock
        self._call_after = call_after
        self._look_ms = look_ms
        # In order of their making, so that a simulation is the same each time.
        self._long: dict[WallTimer, None] = {}
        self._offset_ms = self._offset()

    @property
    def has_long(self) -> bool:
        """Tell whether a timer waits that has to learn of a clock that was set."""
        return bool(self._long)

    def call_at(self, time_ms: int, callback: Callable[[], None]) -> "WallTimer":
        """See `runtime.ports.Loop`."""
        timer = WallTimer(self, time_ms, callback)
        self._arm(timer)
        return timer

    def look(self) -> None:
        """Measure the long timers anew if the wall clock was set since the last look."""
        offset = self._offset()
        if abs(offset - self._offset_ms) <= SLEWED_MS_MAX:
            return
        self._offset_ms = offset
        for timer in list(self._long):
            self.cancel(timer)
            self._arm(timer)

    def cancel(self, timer: "WallTimer") -> None:
        """Make sure that the call does not happen (any more)."""
        self._long.pop(timer, None)
        if timer.armed is not None:
            timer.armed.cancel()
            timer.armed = None

    def _offset(self) -> int:
        return self._clock.now_ms() - self._clock.steady_ms()

    def _arm(self, timer: "WallTimer") -> None:
        left_ms = max(0, timer.time_ms - self._clock.now_ms())
        if left_ms > self._look_ms:
            self._long[timer] = None
        timer.armed = self._call_after(left_ms, lambda: self._ring(timer))

    def _ring(self, timer: "WallTimer") -> None:
        timer.armed = None
        if timer in self._long:
            del self._long[timer]
            if self._clock.now_ms() < timer.time_ms:
                self._arm(timer)
                return
        timer.callback()


class WallTimer:
    """A pending call of `WallTimers.call_at`."""

    __slots__ = ("armed", "callback", "time_ms", "timers")

    def __init__(self, timers: WallTimers, time_ms: int, callback: Callable[[], None]) -> None:
        self.timers = timers
        self.time_ms = time_ms
        self.callback = callback
        self.armed: Timer | None = None

    def cancel(self) -> None:
        """Make sure that the call does not happen (any more)."""
        self.timers.cancel(self)
