"""A native thread that notices when the loop stands still, and says what it does instead.

Once a second it looks at the stack of the loop's thread. A loop that waits for events is left
alone, so an idle node is not woken. Any other is asked to answer; if it has not after a second, it
stands still: that is logged, and again after twice as long each time, until it answers.
"""

import logging
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Final, Protocol

from gevent.hub import Hub
from gevent.monkey import get_original

from runtime.ids import FlowId
from runtime.ports import Sight

log = logging.getLogger("sennit.watchdog")

LOOK_SECONDS: Final = 1.0
PAUSE_SECONDS_MAX: Final = 300.0

# A watchdog that is late by so much was stopped with the whole process, or the machine slept;
# unless the process has used the processor meanwhile.
ASLEEP_SECONDS: Final = 5.0

# One that is late by so much, for another reason, did not get the interpreter.
KEPT_SECONDS: Final = 2.0

_start_thread: Final = get_original("_thread", "start_new_thread")
_make_lock: Final = get_original("_thread", "allocate_lock")
_get_ident: Final = get_original("_thread", "get_ident")
_LOOP: Final = Hub.run.__code__


class _Lock(Protocol):
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...


class Watchdog:
    """See the module. It belongs to the thread that makes it, whose hub it watches."""

    def __init__(
        self,
        hub: Hub,
        look_at: Callable[[FrameType | None], Sight],
        noted: Callable[[FlowId | None], None] = lambda flow_id: None,
    ) -> None:
        """Watch ``hub`` from `start` on.

        Args:
            hub: The loop of this thread.
            look_at: Says what a stack does; called in the thread of the watchdog.
            noted: Called there when the loop stands still, with the flow; with None when it turns.
        """
        self.freezes = 0
        self.longest_ms = 0
        self._thread_id = _get_ident()
        self._look_at = look_at
        self._noted = noted
        self._answered: _Lock = _make_lock()
        self._answered.acquire()
        self._stopping: _Lock = _make_lock()
        self._stopping.acquire()
        self._bell = hub.loop.async_()
        self._bell.ref = False  # type: ignore[attr-defined]  # not declared
        self._is_stopped = False

    def start(self) -> None:
        """Begin to watch."""
        self._bell.start(self._answer)
        _start_thread(self._watch, ())

    def stop(self) -> None:
        """Watch no more. Idempotent."""
        if not self._is_stopped:
            self._is_stopped = True
            self._stopping.release()
            self._bell.stop()
            self._bell.close()

    def _answer(self) -> None:
        """Say that the loop turns; called by it."""
        if self._answered.locked():  # type: ignore[attr-defined]
            self._answered.release()

    def _watch(self) -> None:
        while True:
            slept = _Span()
            if self._stopping.acquire(timeout=LOOK_SECONDS):
                return
            # Code in C may have kept the interpreter, also from us.
            was_kept = slept.late_seconds() > KEPT_SECONDS and not slept.was_asleep()
            if not was_kept and self._is_waiting():
                continue
            asked = _Span()
            self._answered.acquire(blocking=False)
            try:
                self._bell.send()
            except Exception:  # stopped in this moment
                return
            if was_kept:
                self._stands_still(slept.since)
            elif not self._answered.acquire(timeout=LOOK_SECONDS) and not asked.was_asleep():
                self._stands_still(asked.since)

    def _stands_still(self, since: float) -> None:
        """Say so with growing pauses, until the loop answers."""
        self.freezes += 1
        pause = LOOK_SECONDS
        while not self._is_stopped:
            seconds = time.monotonic() - since
            sight = self._sight()
            self._noted(sight.flow_id)
            log.warning(
                "nothing has run on this node for %.1f s: it is busy with %s. What blocks or "
                "computes for long belongs in a step with thread=True",
                seconds,
                sight.words,
                extra={"flow_id": sight.flow_id or "", "flow": sight.flow or ""},
            )
            asked = _Span(pause)
            if self._answered.acquire(timeout=pause) or asked.was_asleep():
                break
            pause = min(2 * pause, PAUSE_SECONDS_MAX)
        seconds = time.monotonic() - since
        self.longest_ms = max(self.longest_ms, round(seconds * 1000))
        self._noted(None)
        log.warning("the node runs again, after %.1f s", seconds)

    def _is_waiting(self) -> bool:
        frame = self._frame()
        return frame is None or frame.f_code is _LOOP

    def _sight(self) -> Sight:
        try:
            return self._look_at(self._frame())
        except Exception as error:  # the thread may have gone on while we looked
            return Sight(words=f"something that can't be seen ({error})", flow_id=None, flow=None)

    def _frame(self) -> FrameType | None:
        return sys._current_frames().get(self._thread_id)  # noqa: SLF001  # documented as public


class _Span:
    """A wait of this thread, that should take so long."""

    __slots__ = ("_cpu", "_seconds", "since")

    def __init__(self, seconds: float | None = None) -> None:
        self.since = time.monotonic()
        self._cpu = time.process_time()
        self._seconds = LOOK_SECONDS if seconds is None else seconds

    def late_seconds(self) -> float:
        """Return how much longer it has taken so far."""
        return time.monotonic() - self.since - self._seconds

    def was_asleep(self) -> bool:
        """Tell whether the whole process was stopped meanwhile, or the machine slept."""
        return is_sleep(self.late_seconds(), time.process_time() - self._cpu)


def is_sleep(late_seconds: float, cpu_seconds: float) -> bool:
    """Tell whether the whole process must have stood still for a watchdog to be late so much."""
    return late_seconds > ASLEEP_SECONDS and cpu_seconds < late_seconds / 2
