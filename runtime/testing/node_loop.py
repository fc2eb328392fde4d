"""Clock and loop as one life of one simulated node has them: skewed, and dead with the node."""

from collections.abc import Callable

import greenlet

from runtime.testing.simulated_loop import (
    SimulatedClock,
    SimulatedLoop,
    SimulatedSignal,
    SimulatedTimer,
)


class NodeClock:
    """The network's time plus what the node's clock is ahead; survives restarts of the node."""

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock = clock
        self.ahead_ms = 0

    def now_ms(self) -> int:
        """Return the time that the node believes in."""
        return self._clock.now_ms() + self.ahead_ms


class NodeLoop:
    """A `runtime.ports.Loop` on the network's loop. After `cut` nothing of it runs any more."""

    def __init__(self, loop: SimulatedLoop, clock: NodeClock) -> None:
        self._loop = loop
        self._clock = clock
        self._is_cut = False

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

    def call_at(self, time_ms: int, callback: Callable[[], None]) -> "NodeTimer":
        """See `runtime.ports.Loop`. A clock that is set forward meanwhile makes it late."""
        timer = NodeTimer()
        self._arm(timer, time_ms, callback)
        return timer

    def signal(self) -> SimulatedSignal:
        """See `runtime.ports.Loop`."""
        return self._loop.signal()

    def run_in_thread(self, function: Callable[[], object]) -> object:
        """See `runtime.ports.Loop`."""
        return self._loop.run_in_thread(function)

    def _run(self, callback: Callable[[], None]) -> None:
        if not self._is_cut:
            callback()

    def _arm(self, timer: "NodeTimer", time_ms: int, callback: Callable[[], None]) -> None:
        def ring() -> None:
            if self._is_cut:
                return
            if self._clock.now_ms() < time_ms:
                self._arm(timer, time_ms, callback)
            else:
                callback()

        timer.armed = self._loop.call_at(time_ms - self._clock.ahead_ms, ring)


class NodeTimer:
    """A pending call of `NodeLoop.call_at`."""

    __slots__ = ("armed",)

    def __init__(self) -> None:
        self.armed: SimulatedTimer | None = None

    def cancel(self) -> None:
        """Make sure that the call does not happen (any more)."""
        if self.armed is not None:
            self.armed.cancel()
