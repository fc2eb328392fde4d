"""`FlowHandle`: what the starter of a flow holds, in the same process."""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from runtime.driver import driver_or_none
from runtime.errors import InFlow
from runtime.ids import FlowId
from runtime.ports import Signal
from runtime.progress_tree import ProgressTree

R_co = TypeVar("R_co", covariant=True)


class FlowEnd(Protocol):
    """How a flow ended."""

    def value(self) -> object:
        """Return the result, or raise the error."""


class FlowHandle(Generic[R_co]):
    """One flow of this node. Also good for one that ended before a restart, by its client id."""

    __slots__ = (
        "_cut_off",
        "_end",
        "_new_signal",
        "_signal",
        "_status",
        "_watchers",
        "id",
        "name",
        "progress",
    )

    def __init__(
        self,
        *,
        flow_id: FlowId,
        name: str,
        progress: ProgressTree,
        signal: Callable[[], Signal],
        status: Callable[[], str],
    ) -> None:
        self.id = flow_id
        self.name = name
        self.progress = progress
        self._new_signal = signal
        self._signal: Signal | None = None
        self._status = status
        self._end: FlowEnd | None = None
        self._cut_off: Exception | None = None
        self._watchers: list[Callable[[], None]] = []

    @property
    def status(self) -> str:
        """``running``, ``waiting``, ``held``, ``completed``, ``failed`` or ``killed``."""
        return self._status()

    @property
    def is_ended(self) -> bool:
        """Tell whether the flow is over, durably."""
        return self._end is not None

    def result(self, timeout: float | None = None) -> R_co:
        """Return the flow's result, or raise its error; blocks only the calling greenlet.

        Raises TimeoutError after ``timeout`` seconds; the flow goes on. Raises `NodeStopped` when
        the node stops; the flow goes on when it is back. Inside a flow, call the
        other flow as a sub-flow instead; this raises `InFlow`.
        """
        if self._end is None and self._cut_off is None:
            if driver_or_none() is not None:
                raise InFlow("result() would block a flow; call the other flow as a sub-flow")
            if self._signal is None:
                self._signal = self._new_signal()
            if not self._signal.wait(timeout):
                raise TimeoutError(f"flow {self.id} ({self.name}) is {self.status}: no result yet")
        if self._end is None:
            assert self._cut_off is not None
            raise self._cut_off
        return self._end.value()  # type: ignore[return-value]

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` from the loop when the flow is over, at once if it is."""
        if self._end is None:
            self._watchers.append(callback)
        else:
            callback()

    def resolve(self, end: FlowEnd, status: str) -> None:
        """Let the engine say how the flow ended, once that is durable."""
        self._end = end
        # The flow's own method would keep the flow alive with us.
        self._status = lambda: status
        if self._signal is not None:
            self._signal.set()
        if self._watchers:
            watchers, self._watchers = self._watchers, []
            for callback in watchers:
                callback()

    def cut_off(self, error: Exception) -> None:
        """Let the engine say that it has stopped, so that nobody waits in vain."""
        if self._end is None:
            self._cut_off = error
            if self._signal is not None:
                self._signal.set()

    def __repr__(self) -> str:
        return f"<flow {self.id} {self.name}: {self.status}>"
