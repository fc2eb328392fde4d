"""What the handles of a node's flows ask of its engine."""

from typing import TYPE_CHECKING

from runtime.core.flow_machine import Status
from runtime.engine.error_ids import words_of
from runtime.errors import MisuseError
from runtime.ids import FlowId
from runtime.ports import Loop

if TYPE_CHECKING:
    from runtime.engine.manager import FlowManager


class HandleControl:
    """Implements `runtime.handle.FlowControl`."""

    def __init__(self, manager: "FlowManager") -> None:
        self._manager = manager

    @property
    def loop(self) -> Loop:
        """See `runtime.handle.FlowControl`."""
        return self._manager.loop

    def kill(self, flow_id: FlowId) -> bool:
        """See `runtime.handle.FlowControl`."""
        was_alive = self._manager.kill(flow_id)
        if was_alive:
            self._manager.wait_durable()
        return was_alive

    def retry(self, flow_id: FlowId) -> None:
        """See `runtime.handle.FlowControl`."""
        if not self._manager.retry(flow_id):
            status = self._manager.handle(flow_id).status
            raise MisuseError(f"flow {flow_id} is {status}; only a held flow can be retried")

    def why_held(self, flow_id: FlowId) -> str | None:
        """See `runtime.handle.FlowControl`."""
        run = self._manager.runs.get(flow_id)
        if run is None or run.machine.status is not Status.HELD or run.error is None:
            return None
        return f"{run.hold_reason}: {words_of(run.error)} (error id {run.error_id})"
