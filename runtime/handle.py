"""`FlowHandle`: what the starter of a flow holds, in the same process."""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from runtime import checks
from runtime.driver import driver_or_none
from runtime.errors import InFlow, ResultNotReady
from runtime.ids import FlowId
from runtime.ports import Loop, Signal
from runtime.progress_tree import ProgressTree

R_co = TypeVar("R_co", covariant=True)


class FlowEnd(Protocol):
    """How a flow ended."""

    def value(self) -> object:
        """Return the result, or raise the error."""


class FlowControl(Protocol):
    """What handles ask of the engine, on its loop."""

    @property
    def loop(self) -> Loop:
        """Where the flows live."""

    def kill(self, flow_id: FlowId) -> bool:
        """End a flow durably; False if it had ended before."""

    def retry(self, flow_id: FlowId) -> None:
        """Run a held flow again; raises `MisuseError` if it is not held."""

    def why_held(self, flow_id: FlowId) -> str | None:
        """Return why a flow is held, or None if it is not."""


class FlowHandle(Generic[R_co]):
    """One flow of this node. Also good for one that ended before a restart, by its client id.

    It may be used from any thread while the node runs. What waits blocks only the calling greenlet,
    or the calling thread if that is not the node's. Inside a flow, what waits raises `InFlow`.
    """

    __slots__ = (
        "_control",
        "_cut_off",
        "_end",
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
        control: FlowControl,
        status: Callable[[], str],
    ) -> None:
        self.id = flow_id
        self.name = name
        self.progress = progress
        self._control = control
        self._signal: Signal | None = None
        self._status = status
        self._end: FlowEnd | None = None
        self._cut_off: Exception | None = None
        self._watchers: list[Callable[[], None]] = []

    # --- looking ------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """``running``, ``waiting``, ``held``, ``completed``, ``failed`` or ``killed``."""
        return self._status()

    @property
    def is_ended(self) -> bool:
        """Tell whether the flow is over, durably."""
        return self._end is not None

    @property
    def why_held(self) -> str | None:
        """Why the flow is held for an operator, with the error and its id; None if it is not."""
        if self._end is not None:
            return None
        return self._control.why_held(self.id)

    # --- waiting ------------------------------------------------------------------------------

    def result(self, timeout: float | None = None) -> R_co:
        """Return the flow's result, or raise its error.

        Raises `ResultNotReady`, a TimeoutError, after ``timeout`` seconds; the flow goes on. Raises
        `NodeStopped` when the node stops; the flow goes on when it is back.
        """
        if not self.wait(timeout):
            raise ResultNotReady(f"flow {self.id} ({self.name}) is {self.status}: no result yet")
        assert self._end is not None
        return self._end.value()  # type: ignore[return-value]

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end, however the flow ends; False if it has not after ``timeout`` seconds.

        Raises `NodeStopped` when the node stops; the flow goes on when it is back.
        """
        timeout = checks.wait_seconds(timeout, "timeout")
        if self._end is None and self._cut_off is None:
            self._refuse_in_flow("wait for")
            loop = self._control.loop
            try:
                is_over = loop.in_loop(lambda: self._wait(timeout), timeout_seconds=timeout)
            except TimeoutError:
                return False
            if not is_over:
                return False
        if self._end is None:
            assert self._cut_off is not None
            raise self._cut_off
        return True

    def _wait(self, timeout: float | None) -> bool:
        if self._end is None and self._cut_off is None:
            if self._signal is None:
                self._signal = self._control.loop.signal()
            return self._signal.wait(timeout)
        return True

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` from the loop when the flow is over, at once if it is."""
        if self._end is None:
            self._watchers.append(callback)
        else:
            callback()

    # --- intervening --------------------------------------------------------------------------

    def kill(self) -> bool:
        """End the flow as `FlowKilled` and tell its peers; returns when that is durable.

        False if it had ended before. Raises `NodeStopped` if the node has stopped.
        """
        if self._end is not None:
            return False
        self._check_control("kill")
        return self._control.loop.in_loop(lambda: self._control.kill(self.id))

    def retry(self) -> None:
        """Run the flow, which is held, again from its journal.

        Raises `MisuseError` if it is not held, `UnknownFlow` if its code is still missing,
        `UndecodableEvent` if its journal still can't be read, `NodeStopped`.
        """
        self._check_control("retry")
        self._control.loop.in_loop(lambda: self._control.retry(self.id))

    def _check_control(self, verb: str) -> None:
        self._refuse_in_flow(verb)
        if self._cut_off is not None:
            raise self._cut_off

    def _refuse_in_flow(self, verb: str) -> None:
        if driver_or_none() is not None:
            raise InFlow(
                f"a flow can't {verb} another flow through its handle; to have its result, call "
                "it as a sub-flow"
            )

    # --- for the engine -----------------------------------------------------------------------

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
