"""The native threads that steps run in: a bounded number, kept for the next step.

A step that is taken down gives its place back at once, because nothing can stop a native thread;
the thread is left behind, named in the log and listed, until it ends by itself.
"""

import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

import greenlet
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event
from gevent.hub import Hub
from gevent.lock import Semaphore
from gevent.monkey import get_original

from runtime.limits import STEP_THREADS
from runtime.ports import Occupant, ThreadUse

log = logging.getLogger("sennit.flow")

_start_thread: Final = get_original("_thread", "start_new_thread")
_make_lock: Final = get_original("_thread", "allocate_lock")

# Of so many at the most the places are given back. After that, a thread that does not end keeps
# its place, or the process would fill up.
LEFT_BEHIND_MAX: Final = 1_000


class _Lock(Protocol):
    def acquire(self) -> bool: ...
    def release(self) -> None: ...


class _Bell(Protocol):
    ref: bool

    def start(self, callback: Callable[["_Job"], None], job: "_Job") -> None: ...
    def send(self) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


class _Job:
    """One step in a thread. The thread rings ``bell``, and the loop takes it from there."""

    __slots__ = (
        "bell",
        "error",
        "function",
        "has_ended",
        "has_place",
        "is_left",
        "since",
        "value",
        "what",
    )

    def __init__(self, function: Callable[[], object], what: str, hub: Hub) -> None:
        self.function = function
        self.what = what
        self.since = time.monotonic()
        self.value: object = None
        self.error: BaseException | None = None
        self.is_left = False
        self.has_place = True
        self.has_ended = Event()
        self.bell: _Bell = hub.loop.async_()  # type: ignore[assignment]  # ``ref`` is not declared


class _Worker:
    """A thread that runs one job after another, until it is given None."""

    __slots__ = ("_has_job", "_job")

    def __init__(self) -> None:
        self._job: _Job | None = None
        self._has_job: _Lock = _make_lock()
        self._has_job.acquire()
        _start_thread(self._live, ())

    def give(self, job: _Job | None) -> None:
        """Run a job next; only for one that is idle."""
        self._job = job
        self._has_job.release()

    def _live(self) -> None:
        while True:
            self._has_job.acquire()
            job, self._job = self._job, None
            if job is None:
                break
            try:
                job.value = job.function()
            except BaseException as error:  # raised again in the greenlet that waits
                job.error = error
            bell = job.bell
            del job
            bell.send()
        hub = get_hub_if_exists()
        if hub is not None:
            # A step has used something of gevent's here.
            hub.destroy(destroy_loop=True)


class StepThreads:
    """See the module. All methods belong to the thread of ``hub``."""

    def __init__(self, hub: Hub, threads_max: int = STEP_THREADS) -> None:
        self._hub = hub
        self._threads_max = threads_max
        self._places = Semaphore(threads_max)
        self._waiting = 0
        self._busy: dict[_Job, _Worker] = {}
        self._idle: list[_Worker] = []
        self._is_closed = False

    def run(self, function: Callable[[], object], what: str) -> object:
        """Run ``function`` in a thread; the calling greenlet waits for its outcome.

        Raises RuntimeError in the hub, which can't wait.
        """
        if greenlet.getcurrent() is self._hub:
            raise RuntimeError("run_in_thread can't be called from the hub; call it in a greenlet")
        self._waiting += 1
        try:
            self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            worker = self._idle.pop() if self._idle else _Worker()
        except BaseException:  # the system has no more threads
            self._places.release()
            raise
        job = _Job(function, what, self._hub)
        job.bell.start(self._ended, job)
        self._busy[job] = worker
        worker.give(job)
        try:
            job.has_ended.wait()
        except BaseException:
            self._leave(job)
            raise
        if job.error is not None:
            raise job.error
        return job.value

    def use(self) -> ThreadUse:
        """Return what the threads do, the longest running first."""
        now = time.monotonic()
        return ThreadUse(
            threads_max=self._threads_max,
            waiting=self._waiting,
            occupants=[
                Occupant(job.what, round((now - job.since) * 1000), job.is_left)
                for job in self._busy
            ],
        )

    def close(self) -> None:
        """End the threads that are idle, and the others when they have done their work."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().give(None)

    def _ended(self, job: _Job) -> None:
        job.bell.stop()
        job.bell.close()
        worker = self._busy.pop(job)
        if self._is_closed or not job.has_place:
            worker.give(None)
        else:
            self._idle.append(worker)
        if job.has_place:
            self._places.release()
        if job.is_left:
            log.info("the thread that was left behind has ended: %s", job.what)
        job.has_ended.set()

    def _leave(self, job: _Job) -> None:
        if job not in self._busy:
            return
        left = sum(not other.has_place for other in self._busy)
        job.is_left = True
        # The loop must not stay for its sake.
        job.bell.ref = False
        if left < LEFT_BEHIND_MAX:
            job.has_place = False
            self._places.release()
        log.info(
            "the flow was taken down, but its thread runs on and is left behind: %s. "
            "Nobody waits for it, and another step may have its place",
            job.what,
        )
