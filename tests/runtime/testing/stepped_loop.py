"""A loop whose turns and whose time a test takes itself."""

import heapq
import itertools
from collections import deque
from collections.abc import Callable

import greenlet

from runtime.ports import Timer


class SteppedTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class SteppedLoop:
    """Time stands still while there is something to do, and then jumps to the next timer."""

    def __init__(self) -> None:
        self.now_ms = 0
        self._soon: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[int, int, SteppedTimer]] = []
        self._numbers = itertools.count()

    @property
    def hub(self) -> greenlet.greenlet:
        return greenlet.getcurrent()

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def call_at(self, time_ms: int, callback: Callable[[], None]) -> Timer:
        timer = SteppedTimer(callback)
        heapq.heappush(self._timers, (time_ms, next(self._numbers), timer))
        return timer

    def run_in_thread(self, function: Callable[[], object]) -> object:
        return function()

    def run(self) -> None:
        """Run until there is nothing left to do."""
        while self._step():
            pass

    def run_until(self, is_done: Callable[[], bool]) -> None:
        while not is_done():
            assert self._step(), "it did not happen, and nothing else will"

    def _step(self) -> bool:
        if self._soon:
            self._soon.popleft()()
            return True
        if self._timers:
            time_ms, _, timer = heapq.heappop(self._timers)
            self.now_ms = max(self.now_ms, time_ms)
            if timer.callback is not None:
                timer.callback()
            return True
        return False
