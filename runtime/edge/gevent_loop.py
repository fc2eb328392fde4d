"""The event loop that flows live on: gevent's, with wall time from a `Clock`.

All methods belong to the thread of the hub that was current when the loop was made.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import greenlet
from gevent import get_hub
from gevent.event import Event
from gevent.hub import Hub

from runtime.ports import Clock

# How late, at most, we notice that the wall clock was set forward. An idle timer costs one wake-up
# in this time.
TIMER_SECONDS_MAX: Final = 3_600.0

log = logging.getLogger(__name__)


class _TimerWatcher(Protocol):
    def stop(self) -> None: ...
    def close(self) -> None: ...


class GeventLoop:
    """A `runtime.ports.Loop`.

    An exception that a callback lets through is logged and goes no further.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hub = get_hub()

    @property
    def hub(self) -> greenlet.greenlet:
        """Return gevent's hub; a flow's greenlet has it as parent."""
        return self._hub

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call once, from the hub, in a later turn of the loop."""
        self._hub.loop.run_callback(_guarded, callback)

    def call_at(self, time_ms: int, callback: Callable[[], None]) -> "GeventTimer":
        """Call once, from the hub, when the clock has reached ``time_ms``; soon if it has.

        gevent's timers run on monotonic time. When one has run out, the wall clock is asked again:
        if it was set back meanwhile, we wait for the rest; if it was set forward, the call is late,
        by at most `TIMER_SECONDS_MAX`, and never early.
        """
        return GeventTimer(self._hub, self._clock, time_ms, callback)

    def signal(self) -> "GeventSignal":
        """Return a new signal, not set."""
        return GeventSignal()

    def run_in_thread(self, function: Callable[[], object]) -> object:
        """Run ``function`` in a native thread; only the calling greenlet waits for its result.

        An exception of the function is raised here. Raises RuntimeError in the hub itself, which
        can't wait.
        """
        if greenlet.getcurrent() is self._hub:
            raise RuntimeError("run_in_thread can't be called from the hub; call it in a greenlet")
        # The pool prints exceptions before it hands them over, so it does not get to see any.
        outcome = self._hub.threadpool.apply(_outcome_of, (function,))
        if outcome.exception is not None:
            raise outcome.exception
        return outcome.value


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
    """A pending call of `GeventLoop.call_at`."""

    def __init__(self, hub: Hub, clock: Clock, time_ms: int, callback: Callable[[], None]) -> None:
        self._hub = hub
        self._clock = clock
        self._time_ms = time_ms
        self._callback = callback
        self._watcher = self._arm()

    def cancel(self) -> None:
        """Make sure that the call does not happen (any more)."""
        self._watcher.stop()
        self._watcher.close()

    def _arm(self) -> _TimerWatcher:
        delay_seconds = max(0.0, (self._time_ms - self._clock.now_ms()) / 1000)
        watcher = self._hub.loop.timer(min(delay_seconds, TIMER_SECONDS_MAX))
        watcher.start(self._ring, update=True)
        return watcher

    def _ring(self) -> None:
        self._watcher.close()
        if self._clock.now_ms() < self._time_ms:
            self._watcher = self._arm()
        else:
            _guarded(self._callback)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    value: object = None
    exception: BaseException | None = None


def _outcome_of(function: Callable[[], object]) -> _Outcome:
    try:
        return _Outcome(value=function())
    except BaseException as error:  # raised again in the greenlet that waits
        return _Outcome(exception=error)


def _guarded(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:
        log.exception("a callback of the event loop failed")
