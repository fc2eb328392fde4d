"""Greenlets of flows that have ended, kept for flows that begin.

A greenlet's first switch maps memory for its frames, and its end gives that back to the kernel:
together a quarter of what starting and ending a flow costs. So the greenlet of a flow that ended
waits here, and goes on with the next flow. No flow can tell: what the code before hung on it is
gone (context variables, attributes), and a greenlet that anybody else still knows is not used again
(as the owner of a lock, the aim of a timer, a key of gevent's locals).
"""

from sys import getrefcount
from typing import TYPE_CHECKING, Final, cast
from weakref import getweakrefcount

from greenlet import getcurrent, greenlet

from runtime.driver import Driver, FlowGreenlet
from runtime.ports import RunNote

if TYPE_CHECKING:
    from runtime.engine.flow_run import FlowRun

# An idle one keeps some 6 kB in memory.
IDLE_MAX: Final = 10_000

_switch: Final = greenlet.switch


class Greenlets:
    """See the module."""

    def __init__(self, hub: greenlet, note: RunNote) -> None:
        self._hub = hub
        self._note = note
        self._idle: list[FlowGreenlet] = []
        self._references_when_idle = self._count_when_idle()

    @property
    def idle(self) -> int:
        """How many wait for a flow."""
        return len(self._idle)

    def greenlet_for(self, run: "FlowRun") -> FlowGreenlet:
        """Return a greenlet that calls ``run.main`` when it is switched to."""
        idle = self._idle
        while idle:
            kept = idle.pop()
            references = getrefcount(kept), getweakrefcount(kept)
            if references == self._references_when_idle and not kept.dead:
                kept.driver = run
                kept.key = run.key
                return kept
        return FlowGreenlet(self._live, self._hub, run, self._note, run.key)

    def clear(self) -> None:
        """End those that are idle. The garbage collector can't see into them, and would not."""
        self._idle.clear()

    def _live(self) -> None:
        while True:
            current = getcurrent()
            assert isinstance(current, FlowGreenlet)
            run = cast("FlowRun", current.driver)
            run.main()
            if current.driver is not run or len(self._idle) >= IDLE_MAX:
                # Taken down, or there are enough.
                return
            run.greenlet = None
            current.driver = _NOBODY
            current.gr_context = None
            current.__dict__.clear()
            self._idle.append(current)
            hub = current.parent
            assert hub is not None
            # An idle greenlet must not keep itself.
            del run, current
            _switch(hub)

    def _count_when_idle(self) -> tuple[int, int]:
        """Return how many references, and weak ones, an idle greenlet has that no code knows.

        A debugger, or coverage, may have some of its own to every greenlet.
        """
        _switch(FlowGreenlet(self._live, getcurrent(), _NOBODY, self._note, b""))
        kept = self._idle.pop()
        return getrefcount(kept), getweakrefcount(kept)


class _Nobody:
    """The driver of an idle greenlet, and a flow that does nothing."""

    def main(self) -> None:
        pass


_NOBODY: Final = cast(Driver, _Nobody())
