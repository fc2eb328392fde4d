"""Flows in memory as operators see them: a row in a list, and all that is known of one."""

import msgspec

from runtime.codec import pack
from runtime.core.flow_machine import Status
from runtime.engine.error_ids import words_of
from runtime.engine.flow_run import FlowRun
from runtime.engine.journal_view import readable, shortened
from runtime.engine.standing import operation_of, source_of, step_of
from runtime.engine.status import COMPLETED, RUNNING, status_of
from runtime.engine.waits import COMMIT
from runtime.error_codec import well_formed
from runtime.flow import Flow
from runtime.operations import FlowDetail, FlowResult, FlowRow, SessionRow, StepRow, Wait

SESSIONS_SHOWN_MAX = 100
RESULT_CHARACTERS_MAX = 2_000


def row_of_run(run: FlowRun) -> FlowRow:
    """Return the row of a flow in memory."""
    started = run.machine.started
    return FlowRow(
        id=run.flow_id,
        name=run.info.name,
        version=run.info.version,
        status=status_of(run),
        started_ms=started.time,
        ended_ms=run.ended_ms,
        user=started.user,
        client_id=started.client_id,
        waits_for="" if run.wait is None else run.wait.on,
        error=_error(run),
    )


def detail_of_run(run: FlowRun) -> FlowDetail:
    """Return all that is known of a flow in memory."""
    sessions = [_session(run, number) for number in sorted(run.sessions)]
    error = _error(run)
    step = step_of(run)
    if run.hold_reason:
        error = f"held, {run.hold_reason}: {error}"
    return FlowDetail(
        row=row_of_run(run),
        arguments=_arguments(run),
        place="" if run.machine.status is Status.ENDED else operation_of(run),
        source=source_of(run),
        step=None if step is None else StepRow(step.name, step.attempt),
        wait=_wait(run),
        sessions=sessions[:SESSIONS_SHOWN_MAX],
        sessions_total=len(sessions),
        progress=run.tree.snapshot(),
        error=error,
        error_id=run.error_id if error else None,
        result=result_of(run.value) if status_of(run) == COMPLETED else None,
        events=run.machine.index_next,
    )


def result_of(value: object) -> FlowResult:
    """Return what a flow returned as it crosses to users."""
    text = _readable(value)
    if len(text) > RESULT_CHARACTERS_MAX:
        text = f"{text[:RESULT_CHARACTERS_MAX]}..."
    try:
        packed = pack(value)
    # It may be an object of any class.
    except Exception:
        packed = pack(text)
    return FlowResult(value=packed, text=text)


def _arguments(run: FlowRun) -> str:
    """Return what a flow was started with, as its author would write it."""
    body, definition = run.machine.started.arguments, run.definition
    if not body or not isinstance(definition, Flow):
        return readable(body)
    try:
        values = definition.arguments.decode(body)
        named = zip(definition.arguments.parameters, values, strict=True)
        return shortened(", ".join(f"{it.name}={_readable(value)}" for it, value in named))
    # Its app has changed since, or a class of its author's can't be shown.
    except Exception:
        return readable(body)


def _error(run: FlowRun) -> str:
    if run.error is None or status_of(run) == RUNNING:
        return ""
    return words_of(run.error)


def _session(run: FlowRun, number: int) -> SessionRow:
    machine = run.sessions[number]
    view = run.views.get(number)
    return SessionRow(
        id=machine.sid.hex(),
        peer=machine.peer,
        state=machine.status.value,
        protocol="" if view is None else view.flow,
        sent=machine.out_next,
        received=machine.in_next,
        unacknowledged=run.manager.outbox.count(machine.sid),
    )


def _peer(run: FlowRun, number: int) -> str:
    # A flow that waits for room has not opened the session yet.
    machine = run.sessions.get(number)
    return run.views[number].peer if machine is None else machine.peer


def _wait(run: FlowRun) -> Wait | None:
    wait = run.wait
    if wait is None:
        return None
    if wait is COMMIT:
        since_ms = run.commits.flying_since_ms or run.now()
        return Wait(what=wait.on, since_ms=since_ms, woken_by="the disk")
    wakers = ["a message"] if wait.sessions else []
    if wait.until is not None:
        wakers.append("time")
    return Wait(
        what=wait.on,
        since_ms=wait.since,
        until_ms=wait.until,
        whom=", ".join(_peer(run, number) for number in wait.sessions),
        woken_by=" or ".join(wakers),
    )


def _readable(value: object) -> str:
    """Return the text that a message class has for people, if it has one, and else the repr."""
    cls = type(value)
    try:
        if isinstance(value, msgspec.Struct) and cls.__str__ is not msgspec.Struct.__str__:
            return well_formed(str(value))
        return well_formed(repr(value))
    except Exception as error:
        return f"a {cls.__name__} that can't be shown: {words_of(error)}"
