"""Clock and loop as one life of one simulated node has them: skewed, and dead with the node."""

from collections.abc import Callable
from typing import TypeVar

import greenlet

from runtime.edge.wall_timers import WallTimer, WallTimers
from runtime.limits import WALL_CLOCK_LOOK_MS
from runtime.ports import ThreadUse
from runtime.testing.simulated_loop import (
    SimulatedClock,
    SimulatedLoop,
    SimulatedSignal,
    SimulatedTimer,
)

T = TypeVar("T")


class NodeClock:
    """The network's time plus what the node's clock is ahead; survives restarts of the node."""

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock = clock
        self.ahead_ms = 0

    def now_ms(self) -> int:
        """Return the time that the node believes in."""
        return self._clock.now_ms() + self.ahead_ms

    def steady_ms(self) -> int:
        """Return the network's time, which no jump of the node's clock changes."""
        return self._clock.steady_ms()


class NodeLoop:
    """A `runtime.ports.Loop` on the network's loop. After `cut` nothing of it runs any more."""

    def __init__(self, loop: SimulatedLoop, clock: NodeClock) -> None:
        self._loop = loop
        self._is_cut = False
        self._wall_timers = WallTimers(clock, self.call_after)

    @property
    def hub(self) -> greenlet.greenlet:
        """See `runtime.ports.Loop`."""
        return self._loop.hub

    def cut(self) -> None:
        """Run no callback any more, whether it was asked for before or will be."""
        self._is_cut = True

    def call_soon(self, callback: Callable[[], None]) -> None:
        """See `runtime.ports.Loop`."""
        self._loop.call_soon(lambda: self._run(callback))

    def call_after(self, delay_ms: int, callback: Callable[[], None]) -> SimulatedTimer:
        """See `runtime.ports.Loop`."""
        return self._loop.call_after(delay_ms, lambda: self._run(callback))

    def call_at(self, time_ms: int, callback: Callable[[], None]) -> WallTimer:
        """See `runtime.ports.Loop`."""
        return self._wall_timers.call_at(time_ms, callback)

    def clock_was_set(self) -> None:
        """Have long timers notice it, as late as on a real node at the latest."""
        self.call_after(WALL_CLOCK_LOOK_MS, self._wall_timers.look)

    def signal(self) -> SimulatedSignal:
        """See `runtime.ports.Loop`."""
        return self._loop.signal()

    def in_loop(self, function: Callable[[], T], timeout_seconds: float | None = None) -> T:
        """See `runtime.ports.Loop`."""
        return self._loop.in_loop(function, timeout_seconds)

    def run_in_thread(self, function: Callable[[], object], what: str = "") -> object:
        """See `runtime.ports.Loop`."""
        return self._loop.run_in_thread(function, what)

    def threads(self) -> ThreadUse:
        """See `runtime.ports.Loop`."""
        return self._loop.threads()

    def call_from_thread(self, callback: Callable[[], None]) -> None:
        """See `runtime.ports.Loop`."""
        self.call_soon(callback)

    def _run(self, callback: Callable[[], None]) -> None:
        if not self._is_cut:
            callback()
