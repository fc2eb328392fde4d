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

    def run_step(self, step: "StepFunction[..., object]", arguments: tuple[object, ...]) -> object:
        """Run a step as a part of the one that calls it."""
        return step.arguments.call(arguments)

    def __getattr__(self, name: str) -> object:
        raise MisuseError(
            f"{name} is an operation of a flow and can't be called inside a step or an atomic "
            "function, which a replay passes over; call it before or after, in the flow itself"
        )
