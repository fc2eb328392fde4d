"""Where a flow stands, read from the stack of its greenlet: the line of its code, its step.

Nothing is noted while flows run, so that to be able to tell it costs them nothing.
"""

from types import FrameType
from typing import Final, NamedTuple

from runtime.engine import steps
from runtime.engine.flow_run import FlowRun
from runtime.engine.subflows import Failing
from runtime.places import place_of, place_of_error
from runtime.step import StepFunction

_RUN_STEP: Final = steps.run_step.__code__
_HAVE_ATTEMPTS: Final = frozenset(
    {_RUN_STEP, steps._run_slowly.__code__, steps._replay.__code__}  # noqa: SLF001  its frames
)
_HAS_FAILED: Final = steps._attempt_failed.__code__  # noqa: SLF001


class StepNow(NamedTuple):
    """The step that a flow is in, and its attempt that runs, or is waited for."""

    name: str
    attempt: int


def source_of(run: FlowRun) -> str:
    """Return the line of its author's code that a flow waits in, or failed in."""
    frame = _frame(run)
    if frame is not None:
        return place_of(frame)
    if run.error is not None:
        return place_of_error(run.error)
    return "" if run.wait is None else run.wait.source


def operation_of(run: FlowRun) -> str:
    """Return the place in the journal of what a flow asks for: numbers, of sub-flows first."""
    frame = run.frame
    # To ask a failing one for its place would end it.
    path = "" if frame is None or isinstance(frame, Failing) else frame.path
    return f"{path}{run.machine.place}"


def step_of(run: FlowRun) -> StepNow | None:
    """Return the step that a flow is in, also while it waits for the next attempt at it."""
    frame = _frame(run)
    attempt = failed = 0
    while frame is not None:
        code = frame.f_code
        if code is _HAS_FAILED:
            failed = 1
        elif code in _HAVE_ATTEMPTS:
            attempt = attempt or frame.f_locals.get("attempt", 1) + failed
            if code is _RUN_STEP:
                step = frame.f_locals["step"]
                assert isinstance(step, StepFunction)
                return StepNow(step.name, attempt)
        frame = frame.f_back
    return None


def _frame(run: FlowRun) -> FrameType | None:
    return None if run.greenlet is None else run.greenlet.gr_frame
