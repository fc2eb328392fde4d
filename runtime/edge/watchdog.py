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

# Who was late themselves by so much was stopped with the whole process, or the machine slept.
ASLEEP_SECONDS: Final = 5.0

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
        while not self._stopping.acquire(timeout=LOOK_SECONDS):
            if self._is_waiting():
                continue
            asked = time.monotonic()
            self._answered.acquire(blocking=False)
            try:
                self._bell.send()
            except Exception:  # stopped in this moment
                return
            if not self._answered.acquire(timeout=LOOK_SECONDS) and not self._was_asleep(
                asked, LOOK_SECONDS
            ):
                self._stands_still(asked)

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
            asked = time.monotonic()
            if self._answered.acquire(timeout=pause) or self._was_asleep(asked, pause):
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

    def _was_asleep(self, asked: float, seconds: float) -> bool:
        return time.monotonic() - asked > seconds + ASLEEP_SECONDS
