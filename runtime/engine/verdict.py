"""What a flow failed of in truth, whatever its code made of that."""

import inspect
from collections.abc import Callable

from runtime.core.flow_machine import FlowMachine
from runtime.engine.error_ids import words_of
from runtime.errors import Diverged, FlowDiverged


def interrupt_in(
    error: BaseException | None, set_aside: BaseException | None
) -> KeyboardInterrupt | None:
    """Return an interrupt that is meant for the process; the flow runs again from its journal."""
    if isinstance(set_aside, KeyboardInterrupt):
        return set_aside
    return error if isinstance(error, KeyboardInterrupt) else None


def verdict(
    machine: FlowMachine,
    set_aside: BaseException | None,
    error: BaseException | None,
    *,
    function: Callable[..., object],
) -> BaseException | None:
    """Return why a flow ends that ``error`` escaped from, or that returned (None)."""
    if set_aside is not None:
        return set_aside
    if machine.divergence is not None:
        return _located(machine.divergence.report, machine.divergence, function)
    if error is None or not machine.is_replaying:
        return error
    # The journal says that the code once went on from here.
    try:
        machine.ended(f"the end of the flow by {words_of(error)}")
    except FlowDiverged as diverged:
        report = _located(diverged.report, error, function)
        report.__cause__ = error
        return report
    return error


def _located(report: Diverged, error: BaseException, function: Callable[..., object]) -> Diverged:
    """Add the source line of the flow that ``error`` came through last, or where it begins."""
    trace = error.__traceback__
    code = inspect.unwrap(function).__code__
    source = f"{code.co_filename}:{code.co_firstlineno}"
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        if module != "contextlib" and not module.startswith("runtime."):
            source = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return Diverged(report.place, report.recorded, report.asked, source)
