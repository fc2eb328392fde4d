"""Loop, clock and randomness of a simulation: one thread, virtual time, everything from one seed.

Time stands still while anything is ready and then jumps to the next timer, so a flow that sleeps
for a month takes no time at all. With a seed, callbacks that are ready together run in an order
that the seed decides; without one, in the order in which they were asked for.
"""

import heapq
from collections import deque
from collections.abc import Callable
from random import Random
from threading import get_ident
from typing import Final, TypeVar

import greenlet

from runtime.errors import MisuseError, SennitError
from runtime.ports import ThreadUse

T = TypeVar("T")

EPOCH_MS: Final = 1_767_225_600_000
"""Where simulated time begins: 2026-01-01 UTC."""

CALLBACKS_MAX: Final = 5_000_000


class NothingLeft(SennitError):
    """A simulation waits for something, and nothing is left that could make it happen."""


class SimulatedClock:
    """Wall time that moves only when it is told to."""

    def __init__(self, now_ms: int = EPOCH_MS) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Return simulated time."""
        return self._now_ms

    def steady_ms(self) -> int:
        """Return how long the simulation has run by its own time."""
        return self._now_ms - EPOCH_MS

    def advance_to(self, time_ms: int) -> None:
        """Move forward; never back."""
        self._now_ms = max(self._now_ms, time_ms)


class SeededEntropy:
    """Bytes from a generator, the same for the same seed."""

    def __init__(self, seed: int | str) -> None:
        self._random = Random(seed)

    def random_bytes(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        return self._random.randbytes(size)


class SimulatedTimer:
    """A pending call of `SimulatedLoop.call_at`."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None] | None) -> None:
        self.callback = callback

    def cancel(self) -> None:
        """Make sure that the call does not happen (any more)."""
        self.callback = None


class SimulatedSignal:
    """Waiting for it runs the simulation."""

    def __init__(self, loop: "SimulatedLoop") -> None:
        self._loop = loop
        self.is_set = False

    def set(self) -> None:
        """Let all waiters go on."""
        self.is_set = True

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Run the simulation until set, or until ``timeout_seconds`` of simulated time are over."""
        until = None
        if timeout_seconds is not None:
            until = self._loop.clock.now_ms() + round(timeout_seconds * 1000)
        self._loop.run(lambda: self.is_set, until_ms=until)
        return self.is_set


class SimulatedLoop:
    """A `runtime.ports.Loop` that a test drives."""

    def __init__(self, clock: SimulatedClock, random: Random | None = None) -> None:
        self.clock = clock
        self.random = random
        self.thread_ms: Callable[[], int] | None = None
        """How long what runs in a native thread takes; None: no time at all."""
        self._soon: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[int, int, SimulatedTimer]] = []
        self._serial = 0
        self._hub = greenlet.getcurrent()
        self._thread = get_ident()
        self.callbacks = 0

    @property
    def hub(self) -> greenlet.greenlet:
        """The greenlet that made the loop; only it may run it."""
        return self._hub

    def call_soon(self, callback: Callable[[], None]) -> None:
        """See `runtime.ports.Loop`."""
        self._soon.append(callback)

    def call_after(self, delay_ms: int, callback: Callable[[], None]) -> SimulatedTimer:
        """See `runtime.ports.Loop`."""
        return self.call_at(self.clock.now_ms() + delay_ms, callback)

    def call_at(self, time_ms: int, callback: Callable[[], None]) -> SimulatedTimer:
        """See `runtime.ports.Loop`."""
        timer = SimulatedTimer(callback)
        self._serial += 1
        heapq.heappush(self._timers, (time_ms, self._serial, timer))
        return timer

    def signal(self) -> SimulatedSignal:
        """See `runtime.ports.Loop`."""
        return SimulatedSignal(self)

    def in_loop(self, function: Callable[[], T], timeout_seconds: float | None = None) -> T:
        """Call ``function``; a simulation lives in one thread, so another one is refused."""
        if get_ident() != self._thread:
            raise MisuseError("a simulation lives in the thread that made it; call it there")
        return function()

    def threads(self) -> ThreadUse:
        """Return that there are none."""
        return ThreadUse()

    def call_from_thread(self, callback: Callable[[], None]) -> None:
        """See `runtime.ports.Loop`."""
        self.call_soon(callback)

    def run_in_thread(self, function: Callable[[], object], what: str = "") -> object:
        """Run ``function`` outside of the calling greenlet, which waits as long as `thread_ms`.

        It takes effect when it begins. A simulation has one thread, so nothing runs beside it.
        """
        outcome = _outcome_of(function)
        waiting = greenlet.getcurrent()
        if self.thread_ms is not None and waiting is not self._hub:
            due = self.clock.now_ms() + self.thread_ms()
            timer = self.call_at(due, lambda: _go_on(waiting))
            try:
                self._hub.switch()
            finally:
                timer.cancel()
        if isinstance(outcome, _Raised):
            raise outcome.error
        return outcome

    def run(self, is_done: Callable[[], bool], *, until_ms: int | None = None) -> None:
        """Run until ``is_done()``, or until simulated time has come to ``until_ms``.

        Raises `NothingLeft` if neither can happen any more, and if it takes more than
        `CALLBACKS_MAX` callbacks.
        """
        assert greenlet.getcurrent() is self._hub, "only the greenlet that made the loop runs it"
        budget = CALLBACKS_MAX
        while not is_done():
            budget -= 1
            if budget < 0:
                raise NothingLeft(f"not done after {CALLBACKS_MAX} callbacks: a loop without end?")
            if not self.step(until_ms):
                if until_ms is not None:
                    self.clock.advance_to(until_ms)
                    return
                raise NothingLeft("nothing is ready and no timer is set, so this can't happen")

    def run_until_idle(self) -> None:
        """Run until nothing is ready and no timer is set."""
        while self.step(None):
            pass

    def run_for(self, seconds: float) -> None:
        """Run for a span of simulated time."""
        self.run(lambda: False, until_ms=self.clock.now_ms() + round(seconds * 1000))

    def step(self, until_ms: int | None = None) -> bool:
        """Run one callback; False if there is none before ``until_ms``."""
        self._collect_due()
        if not self._soon:
            while self._timers and self._timers[0][2].callback is None:
                heapq.heappop(self._timers)
            if not self._timers or (until_ms is not None and self._timers[0][0] > until_ms):
                return False
            self.clock.advance_to(self._timers[0][0])
            self._collect_due()
        if self.random is not None and len(self._soon) > 1:
            self._soon.rotate(-self.random.randrange(len(self._soon)))
        self.callbacks += 1
        self._soon.popleft()()
        return True

    def _collect_due(self) -> None:
        now = self.clock.now_ms()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if timer.callback is not None:
                self._soon.append(_ring(timer))


def _ring(timer: SimulatedTimer) -> Callable[[], None]:
    def ring() -> None:
        if timer.callback is not None:
            timer.callback()

    return ring


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _outcome_of(function: Callable[[], object]) -> object:
    """Run ``function`` in a greenlet that is no flow's, as a thread is none."""

    def body() -> object:
        try:
            return function()
        except BaseException as error:  # raised again in the greenlet that waits
            return _Raised(error)

    return greenlet.greenlet(body).switch()


def _go_on(waiting: greenlet.greenlet) -> None:
    if not waiting.dead:
        waiting.switch()
