"""Taking greenlets of flows down: from the loop, in a bounded number of tries, whatever they do.

A greenlet that is taken down gets `FlowUnwound` where it waits, and every operation that it asks
for on its way out raises again. Code can still refuse to end: by swallowing everything in a loop,
or by waiting in a ``finally``. Such a greenlet is left behind: its operations are refused, the
engine never resumes it, and it is named in the log. It is always the loop that throws, because the
control of a greenlet that waits goes there, and would not come back to anybody else.
"""

import ctypes
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from greenlet import getcurrent, greenlet

from runtime.driver import FlowGreenlet
from runtime.errors import FlowUnwound
from runtime.ids import FlowId
from runtime.places import place_of
from runtime.ports import Loop

if TYPE_CHECKING:
    from runtime.engine.commits import Commits

log = logging.getLogger("sennit.flow")

# The answer to whoever asked for a kill leaves first: the code of a flow may block the whole loop.
GRACE_MS: Final = 20

# A `finally` may close a connection, say: so long it has until the next throw, and before it is
# left behind.
TRIES: Final = 3
PAUSE_MS: Final = 250

# Operations that are refused to one greenlet; then it is not resumed any more.
REFUSALS_MAX: Final = 1_000

_LOOK_MS: Final = 10

TAKEN_DOWN: Final = "the flow is being taken down"


@dataclass(frozen=True, slots=True)
class Doomed:
    """A greenlet that nothing refers to but this: its flow has ended, or begins again."""

    greenlet: FlowGreenlet
    flow_id: FlowId
    flow: str

    def __str__(self) -> str:
        return f"flow {self.flow_id} ({self.flow}) in {self.where()}"

    def where(self) -> str:
        """Return where it waits, as ``function (file:line)``."""
        return place_of(self.greenlet.gr_frame)


class Unwinding:
    """The driver of a greenlet that is being taken down: every operation raises again.

    One that asks for ever is not resumed any more; see `REFUSALS_MAX`.
    """

    def __init__(self) -> None:
        self.refusals = 0

    @property
    def is_exhausted(self) -> bool:
        """Whether the greenlet was stopped, because it did not end."""
        return self.refusals >= REFUSALS_MAX

    def __getattr__(self, name: str) -> object:
        self.refusals += 1
        while self.is_exhausted:
            hub = getcurrent().parent
            assert hub is not None
            hub.switch()
        raise FlowUnwound(f"{TAKEN_DOWN}; {name} writes nothing")


def refuse_all(doomed: FlowGreenlet) -> None:
    """Let a greenlet ask for nothing any more; it is not resumed by that."""
    if not isinstance(doomed.driver, Unwinding):
        doomed.driver = Unwinding()  # type: ignore[assignment]


class Takedowns:
    """Takes greenlets down, and remembers those that did not end."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._pending: dict[FlowGreenlet, Doomed] = {}
        self._left: list[Doomed] = []

    def left_behind(self) -> list[Doomed]:
        """Return the greenlets that did not end and are still there."""
        self._left = [doomed for doomed in self._left if not doomed.greenlet.dead]
        return list(self._left)

    def at_once(self, doomed: Doomed) -> None:
        """Take a greenlet down now, if this is the loop, or else soon."""
        self._pending[doomed.greenlet] = doomed
        if getcurrent() is self._loop.hub:
            self._try(doomed, 1)
        else:
            self._again(doomed, 0, 1)

    def begin(self, doomed: Doomed) -> None:
        """Take a greenlet down soon, from the loop; the caller does not wait."""
        self._pending[doomed.greenlet] = doomed
        self._again(doomed, GRACE_MS, 1)

    def begin_when_durable(self, doomed: Doomed, commits: "Commits") -> None:
        """Take a greenlet down once what was written so far is durable."""
        self._pending[doomed.greenlet] = doomed
        commits.after(lambda: self.begin(doomed))

    def finish(self, more: Iterable[Doomed]) -> None:
        """Take down ``more`` and all that are pending; returns when they ended or were left."""
        self._pending |= {doomed.greenlet: doomed for doomed in more}
        if getcurrent() is self._loop.hub:
            for doomed in list(self._pending.values()):
                if not self._throw(doomed):
                    self._leave(doomed)
            return
        for attempt in range(TRIES):
            if not self._pending:
                return
            self._throw_all()
            if attempt < TRIES - 1:
                self._await_ends()
        for doomed in list(self._pending.values()):
            self._leave(doomed)

    def _await_ends(self) -> None:
        """Let those that are pending end by themselves, for a while."""
        for _ in range(PAUSE_MS // _LOOK_MS):
            self._forget_dead()
            if all(_is_exhausted(greenlet) for greenlet in self._pending):
                return
            self._loop.signal().wait(_LOOK_MS / 1000)

    def _throw_all(self) -> None:
        is_done = self._loop.signal()

        def throw_all() -> None:
            try:
                for doomed in list(self._pending.values()):
                    self._throw(doomed)
            finally:
                is_done.set()

        self._loop.call_soon(throw_all)
        is_done.wait()

    def _again(self, doomed: Doomed, delay_ms: int, attempt: int) -> None:
        self._loop.call_after(delay_ms, lambda: self._try(doomed, attempt))

    def _try(self, doomed: Doomed, attempt: int) -> None:
        if doomed.greenlet not in self._pending or self._throw(doomed):
            return
        if attempt < TRIES and not _is_exhausted(doomed.greenlet):
            self._again(doomed, PAUSE_MS, attempt + 1)
        else:
            self._leave(doomed)

    def _throw(self, doomed: Doomed) -> bool:
        """Throw into it, from the loop; return whether it has ended."""
        if not doomed.greenlet.dead and not throw(doomed.greenlet):
            return False
        self._pending.pop(doomed.greenlet, None)
        return True

    def _forget_dead(self) -> None:
        for doomed in list(self._pending.values()):
            if doomed.greenlet.dead:
                del self._pending[doomed.greenlet]

    def _leave(self, doomed: Doomed) -> None:
        self._pending.pop(doomed.greenlet, None)
        self._left = [*self.left_behind(), doomed]
        make_immortal(doomed.greenlet)
        log.error(
            "flow %s (%s) does not end when it is taken down: its greenlet is left behind in %s. "
            "It can't do anything any more, but keeps its memory until the process ends",
            doomed.flow_id,
            doomed.flow,
            doomed.where(),
            extra={"flow_id": doomed.flow_id, "flow": doomed.flow},
        )


def throw(doomed: FlowGreenlet) -> bool:
    """Throw into a greenlet once, from the loop; return whether it has ended by that."""
    refuse_all(doomed)
    if _is_exhausted(doomed):
        return False
    doomed.throw(FlowUnwound(TAKEN_DOWN))
    return doomed.dead


def _is_exhausted(doomed: FlowGreenlet) -> bool:
    driver: object = doomed.driver
    return isinstance(driver, Unwinding) and driver.is_exhausted


def make_immortal(left: greenlet) -> None:
    """Keep an object until the process ends, and longer than the interpreter does.

    Whoever drops the last reference to a greenlet has `GreenletExit` thrown into it, and would run
    the code that does not end.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(left))
