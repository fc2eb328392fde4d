"""Calls into a gevent loop from other native threads, which wait for what comes of them.

A waiting thread is blocked as a whole: its hub, if it has one, stands still. It waits on a native
lock, so it makes no difference whether the standard library is patched.
"""

from collections.abc import Callable
from typing import Final, TypeVar

import gevent
from gevent.hub import Hub
from gevent.monkey import get_original

T = TypeVar("T")

_allocate_lock: Final = get_original("_thread", "allocate_lock")


class LoopCalls:
    """The calls of all threads into one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._guard = _allocate_lock()
        self._pending: set[_Call] = set()
        self._refusal: Exception | None = None

    def make(self, function: Callable[[], T], timeout_seconds: float | None) -> T:
        """Call ``function`` in a greenlet of the hub; return what it does, or raise it.

        Raises TimeoutError after ``timeout_seconds``; the call goes on.
        """
        call = _Call(function, self._forget)
        with self._guard:
            if self._refusal is not None:
                raise self._refusal
            self._pending.add(call)
        self._hub.loop.run_callback_threadsafe(gevent.spawn, call.run)
        if not call.is_over.acquire(True, -1 if timeout_seconds is None else timeout_seconds):
            raise TimeoutError
        if call.error is not None:
            raise call.error
        return call.value  # type: ignore[return-value]

    def refuse(self, error: Exception) -> None:
        """Raise ``error`` in all threads that wait, and from now on; call it in the hub's thread.

        After that the hub may stand still for good.
        """
        with self._guard:
            self._refusal = error
            pending, self._pending = self._pending, set()
        for call in pending:
            call.end(None, error)

    def _forget(self, call: "_Call") -> None:
        with self._guard:
            self._pending.discard(call)


class _Call:
    """One call. Only the hub's thread ends it."""

    def __init__(self, function: Callable[[], object], forget: "Callable[[_Call], None]") -> None:
        self._function = function
        self._forget = forget
        self._is_ended = False
        self.value: object = None
        self.error: BaseException | None = None
        self.is_over = _allocate_lock()
        self.is_over.acquire()

    def run(self) -> None:
        """Call the function, unless nobody waits for it any more."""
        if self._is_ended:
            return
        try:
            value, error = self._function(), None
        except BaseException as raised:  # raised again in the thread that waits
            value, error = None, raised
        self._forget(self)
        self.end(value, error)

    def end(self, value: object, error: BaseException | None) -> None:
        """Let the thread go on; the first end counts."""
        if not self._is_ended:
            self._is_ended = True
            self.value, self.error = value, error
            self.is_over.release()
