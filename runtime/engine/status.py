"""The status of a flow as everybody sees it: handle, list, RPC, command, simulation."""

from typing import TYPE_CHECKING, Final

from runtime.core.flow_machine import Status
from runtime.engine.waits import COMMIT
from runtime.errors import FlowKilled

if TYPE_CHECKING:
    from runtime.engine.flow_run import FlowRun

RUNNING: Final = "running"
WAITING: Final = "waiting"
HELD: Final = "held"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
KILLED: Final = "killed"


def status_of(run: "FlowRun") -> str:
    """Return the status of a flow that is in memory.

    A flow that the hospital will try again is waiting; one that only waits for the disk is running.
    """
    match run.machine.status:
        case Status.ENDED:
            # Before that is durable, nobody may rely on it.
            return end_status(run.error) if run.handle.is_ended else RUNNING
        case Status.HELD:
            return HELD
        case _ if run.wait is not None and run.wait is not COMMIT:
            return WAITING
        case _:
            return RUNNING


def end_status(error: BaseException | None) -> str:
    """Return the status of a flow that has ended so."""
    if error is None:
        return COMPLETED
    return KILLED if isinstance(error, FlowKilled) else FAILED
