"""The event loop that flows live on: gevent's, with time from a `Clock`.

All methods but `GeventLoop.in_loop` belong to the thread of the hub that was current when the loop
was made.
"""

import logging
from collections.abc import Callable
from typing import Protocol, TypeVar

from gevent import get_hub
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event
from gevent.hub import Hub

from runtime.edge.loop_calls import LoopCalls
from runtime.edge.step_threads import StepThreads
from runtime.edge.wall_timers import WallTimer, WallTimers
from runtime.limits import STEP_THREADS, WALL_CLOCK_LOOK_MS
from runtime.ports import Clock, ThreadUse

T = TypeVar("T")

log = logging.getLogger("sennit.loop")


class _TimerWatcher(Protocol):
    def stop(self) -> None: ...
    def close(self) -> None: ...


class GeventLoop:
    """A `runtime.ports.Loop`.

    An exception that a callback lets through is logged and goes no further.
    """

    def __init__(
        self,
        clock: Clock,
        look_ms: int = WALL_CLOCK_LOOK_MS,
        *,
        step_threads: int = STEP_THREADS,
    ) -> None:
        self._hub = get_hub()
        self._threads = StepThreads(self._hub, step_threads)
        self._look_ms = look_ms
        self._wall_timers = WallTimers(clock, self.call_after, look_ms)
        self._next_look: GeventTimer | None = None
        self._calls = LoopCalls(self._hub)

    @property
    def hub(self) -> Hub:
        """Return gevent's hub; a flow's greenlet has it as parent."""
        return self._hub

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call once, from the hub, in a later turn of the loop."""
        self._hub.loop.run_callback(_guarded, callback)

    def call_after(self, delay_ms: int, callback: Callable[[], None]) -> "GeventTimer":
        """Call once, from the hub, ``delay_ms`` from now; gevent's timers run on steady time."""
        return GeventTimer(self._hub, delay_ms, callback)

    def call_at(self, time_ms: int, callback: Callable[[], None]) -> WallTimer:
        """Call once, from the hub, when the wall clock has reached ``time_ms``; soon if it has.

        While a timer waits for longer than ``look_ms``, the loop looks at the wall clock once in
        that time; otherwise it has nothing to do.
        """
        timer = self._wall_timers.call_at(time_ms, callback)
        self._keep_looking()
        return timer

    def signal(self) -> "GeventSignal":
        """Return a new signal, not set."""
        return GeventSignal()

    def in_loop(self, function: Callable[[], T], timeout_seconds: float | None = None) -> T:
        """Call ``function`` here, or if this is another thread, in a greenlet of the hub's."""
        if get_hub_if_exists() is self._hub:
            return function()
        return self._calls.make(function, timeout_seconds)

    def refuse_threads(self, error: Exception) -> None:
        """Raise ``error`` in other threads that wait in `in_loop`, and when they call it again."""
        self._calls.refuse(error)

    def run_in_thread(self, function: Callable[[], object], what: str = "") -> object:
        """Run ``function`` in a native thread; only the calling greenlet waits for its result.

        An exception of the function is raised here. Raises RuntimeError in the hub itself, which
        can't wait.
        """
        return self._threads.run(function, what)

    def threads(self) -> ThreadUse:
        """Return what the threads do, the longest running first."""
        return self._threads.use()

    def close(self) -> None:
        """End the threads; whoever waits for one still gets its outcome."""
        self._threads.close()

    def call_from_thread(self, callback: Callable[[], None]) -> None:
        """Call once, from the hub; any thread may ask for it."""
        self._hub.loop.run_callback_threadsafe(_guarded, callback)

    def _keep_looking(self) -> None:
        if self._next_look is None and self._wall_timers.has_long:
            self._next_look = self.call_after(self._look_ms, self._look)

    def _look(self) -> None:
        self._next_look = None
        self._wall_timers.look()
        self._keep_looking()


class GeventSignal:
    """A `runtime.ports.Signal`."""

    def __init__(self) -> None:
        self._event = Event()

    def set(self) -> None:
        """Let all waiters go on, now and later."""
        self._event.set()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Block the calling greenlet until set; False on time-out."""
        return self._event.wait(timeout_seconds)


class GeventTimer:
    """A pending call of `GeventLoop.call_after`."""

    def __init__(self, hub: Hub, delay_ms: int, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._watcher: _TimerWatcher = hub.loop.timer(max(0, delay_ms) / 1000)
        self._watcher.start(self._ring, update=True)

    def cancel(self) -> None:
        """Make sure that the call does not happen (any more)."""
        self._watcher.stop()
        self._watcher.close()

    def _ring(self) -> None:
        self._watcher.close()
        _guarded(self._callback)


def _guarded(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:
        log.exception("a callback of the event loop failed")
