"""The driver of code inside a step or an atomic function: it knows who it is, and may ask nothing.

What such code does is not replayed, so an operation of the flow in there would be journaled once
and be missing at the next replay. A step that calls another step just runs it, as a part of itself.
"""

from typing import TYPE_CHECKING

from runtime.driver import FlowInfo
from runtime.errors import MisuseError
from runtime.host import Host
from runtime.party import Party

if TYPE_CHECKING:
    from runtime.engine.flow_run import FlowRun
    from runtime.step import StepFunction


class StepScope:
    """Stands in for `runtime.driver.Driver`."""

    __slots__ = ("_run",)

    def __init__(self, run: "FlowRun") -> None:
        self._run = run

    @property
    def info(self) -> FlowInfo:
        """See `runtime.driver.Driver`."""
        return self._run.info

    @property
    def host(self) -> Host:
        """See `runtime.driver.Driver`."""
        return self._run.host

    def step_id(self) -> str:
        """See `runtime.driver.Driver`."""
        return self._run.step_id()

    def counterparty(self, session: int) -> Party:
        """See `runtime.driver.Driver`."""
        return self._run.counterparty(session)

    def progress(self, label: str) -> None:
        """See `runtime.driver.Driver`."""
        self._run.progress(label)

    def run_step(self, step: "StepFunction[..., object]", arguments: tuple[object, ...]) -> object:
        """Run a step as a part of the one that calls it."""
        return step.arguments.call(arguments)

    def __getattr__(self, name: str) -> object:
        raise MisuseError(
            f"{name} is an operation of a flow and can't be called inside a step or an atomic "
            "function, which a replay passes over; call it before or after, in the flow itself"
        )


class ThreadScope(StepScope):
    """The same for code in a native thread, which may outlive its flow, and is not the loop's."""

    __slots__ = ("_greenlet", "_step_id")

    def __init__(self, run: "FlowRun") -> None:
        super().__init__(run)
        self._greenlet = run.greenlet
        self._step_id = run.step_id()

    def step_id(self) -> str:
        """See `runtime.driver.Driver`."""
        return self._step_id

    def progress(self, label: str) -> None:
        """See `runtime.driver.Driver`."""
        self._run.manager.loop.call_from_thread(lambda: self._show(label))

    def _show(self, label: str) -> None:
        if self._greenlet is not None and self._run.greenlet is self._greenlet:
            self._run.progress(label)
