"""Steps and atomic functions of a flow: answered from the journal, or run and journaled."""

import contextvars
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn

from greenlet import getcurrent

from runtime.atomic import AtomicFunction
from runtime.copying import UNCHANGEABLE, apart
from runtime.core.events import StepAttempted, StepIntended, Stepped
from runtime.core.flow_machine import Differs, StepEvent
from runtime.core.triage import is_for_hospital
from runtime.driver import Driver, FlowGreenlet, driver_in_thread
from runtime.engine.error_ids import words_of
from runtime.engine.marks import arguments_differ, arguments_to_record
from runtime.engine.step_scope import StepScope, ThreadScope
from runtime.engine.store_txn import OpenTxn
from runtime.engine.timing import pause, raise_timeout
from runtime.engine.unwinding import TAKEN_DOWN, refuse_all
from runtime.errors import (
    FlowException,
    FlowUnwound,
    SessionError,
    StepInterrupted,
    UndecodableEvent,
    UnserialisableMessage,
)
from runtime.evolution import DIGEST_FIRST
from runtime.outcome_codec import decode_step_error, encode_outcome
from runtime.step import Kind, StepFunction

if TYPE_CHECKING:
    from runtime.engine.flow_run import FlowRun

log = logging.getLogger("sennit.flow")

_PURE: Final = Kind.PURE
_NOT_OF_THE_STEP: Final = (FlowUnwound, KeyboardInterrupt)


def run_step(
    run: "FlowRun", step: StepFunction[..., object], arguments: tuple[object, ...]
) -> object:
    """Return the outcome of a step."""
    # What most flows do most of the time: few calls, and none of them twice.
    mark = step.arguments.mark(arguments)
    machine, frame = run.machine, run.frame
    assert frame is not None
    path = frame.path  # to ask for it ends sub-flows that failed; see `Failing`
    if machine.cursor < len(machine.recorded):
        return _replay(run, step, arguments, mark)
    if machine.index_next >= run.ahead_until:
        run.give_way()
    if step.kind is not _PURE and run.batch_number > run.commits.durable:
        run.await_commit()
    if mark[0] == DIGEST_FIRST and not step.is_loose:
        mark = arguments_to_record(run, step.name, step.arguments, arguments, mark)
    run.step_number = machine.index_next - machine.facts  # its place, for nothing is recorded
    if not step.is_simple:
        return _run_slowly(run, step, arguments, mark, attempt=1)
    current = run.greenlet
    assert current is not None
    scope: Driver = run.step_scope  # type: ignore[assignment]  # as far as a step needs one
    current.driver = scope
    given = arguments
    for argument in arguments:
        if type(argument) not in UNCHANGEABLE:
            given = apart(arguments)
            break
    try:
        value = step.function(*given)
    except BaseException as error:  # a failed attempt is a value to the retry policy
        _leave_scope(run, current, error)
        if isinstance(error, _NOT_OF_THE_STEP):
            raise
        failed = error
    else:
        if current.driver is not scope:
            raise FlowUnwound(TAKEN_DOWN)
        current.driver = run
        scalar = step.arguments.scalar_result(value)
        if scalar is None:
            return _succeeded(run, step, mark, value)
        run.append(Stepped(run.now(), path, step.name, mark, scalar))
        return value
    try:  # out of the handler, or what is raised would have a context that no replay gives it
        _attempt_failed(run, step, mark, 1, failed)
    finally:
        del failed  # whose traceback has this frame
    return _run_slowly(run, step, arguments, mark, attempt=2)


def run_atomic(
    run: "FlowRun", atomic: AtomicFunction[..., object], arguments: tuple[object, ...]
) -> object:
    """Return the outcome of an atomic function."""
    mark = atomic.arguments.mark(arguments)
    path = run.path
    run.give_way()
    differs = arguments_differ(run, atomic.name, atomic.arguments, arguments, mark)
    event = run.machine.step(
        path=path, name=atomic.name, arguments=mark, is_loose=False, differs=differs
    )
    if event is not None:
        if isinstance(event, Stepped):
            return _outcome(run, event, atomic.arguments.decode_result)
        raise run.machine.mismatch(path=path, asked=f"atomic {atomic.name}")
    mark = arguments_to_record(run, atomic.name, atomic.arguments, arguments, mark)
    txn = OpenTxn(run.commits, run.host)
    try:
        value = _scoped(run, atomic.arguments.call, apart(arguments), txn)
        value, encoded = atomic.arguments.recorded_result(value)
    except (FlowUnwound, KeyboardInterrupt):
        raise
    except FlowException as error:
        refused = error
    except BaseException as error:  # for the hospital; its writes are discarded with it
        run.put_aside(error)
    else:
        txn.apply()
        run.append(Stepped(run.now(), path, atomic.name, mark, encoded))
        return value
    try:
        _raise_outcome(run, atomic.name, mark, refused)
    finally:
        del refused


def _replay(
    run: "FlowRun", step: StepFunction[..., object], arguments: tuple[object, ...], mark: bytes
) -> object:
    path = run.path
    run.step_number = run.machine.place
    differs = arguments_differ(run, step.name, step.arguments, arguments, mark)
    event = _next(run, step, mark, differs)
    attempt = 1
    while True:
        match event:
            case Stepped():
                return _outcome(run, event, step.arguments.decode_result)
            case StepAttempted():
                attempt = event.attempt + 1
                if not run.machine.is_replaying:
                    _wait_for_attempt(run, step, event)
                    break
                if run.deadlines and run.machine.times_out(path=path):
                    raise_timeout(run, _next_attempt(step))
            case StepIntended():
                if not run.machine.is_replaying:
                    _interrupted(run, step, mark)
            case None:
                break
        event = _next(run, step, mark, differs)
    run.await_commit()
    return _run_slowly(run, step, arguments, mark, attempt=attempt)


def _next(
    run: "FlowRun", step: StepFunction[..., object], mark: bytes, differs: Differs
) -> StepEvent | None:
    return run.machine.step(
        path=run.path, name=step.name, arguments=mark, is_loose=step.is_loose, differs=differs
    )


def _interrupted(run: "FlowRun", step: StepFunction[..., object], mark: bytes) -> NoReturn:
    """Raise that an at-most-once step was cut off; journaled, so that it stays so."""
    error = StepInterrupted(
        f"step {step.name} was running when the node went down; nobody knows whether it took effect"
    )
    _raise_outcome(run, step.name, mark, error)


def _run_slowly(
    run: "FlowRun",
    step: StepFunction[..., object],
    arguments: tuple[object, ...],
    mark: bytes,
    *,
    attempt: int,
) -> object:
    """Run attempts until one succeeds or the policy is used up."""
    while True:
        if step.kind is Kind.AT_MOST_ONCE:
            run.append(StepIntended(run.now(), run.path, step.name, mark))
            run.await_commit()
        try:
            value = _call(run, step, arguments)
        except (FlowUnwound, KeyboardInterrupt):
            raise
        except BaseException as error:  # a failed attempt is a value to the retry policy
            failed = error
        else:
            return _succeeded(run, step, mark, value)
        try:
            _attempt_failed(run, step, mark, attempt, failed)
        finally:
            del failed
        attempt += 1


def _succeeded(
    run: "FlowRun", step: StepFunction[..., object], mark: bytes, value: object
) -> object:
    try:
        value, encoded = step.arguments.recorded_result(value)
    except UnserialisableMessage as error:
        refused = error
    else:
        run.append(Stepped(run.now(), run.path, step.name, mark, encoded))
        return value
    try:
        _raise_outcome(run, step.name, mark, refused)
    finally:
        del refused


def _attempt_failed(
    run: "FlowRun", step: StepFunction[..., object], mark: bytes, attempt: int, error: BaseException
) -> None:
    """Return when the next attempt is due; raise if there is none."""
    if is_for_hospital(error):
        # Nothing is journaled: when the flow runs again, so does the step.
        run.put_aside(error)
    if attempt >= step.retry.attempts or isinstance(error, step.retry.final):
        _raise_outcome(run, step.name, mark, error)
    now = run.now()
    retry_at = now + step.retry.delay_ms(attempt, run.manager.chance())
    text = words_of(error)[:1000]
    log.warning(
        "step failed, will be tried again",
        extra={"flow_id": run.flow_id, "step": step.name, "attempt": attempt, "error": text},
    )
    event = StepAttempted(now, run.path, step.name, mark, attempt, text, retry_at)
    run.append(event)
    _wait_for_attempt(run, step, event)


def _raise_outcome(run: "FlowRun", name: str, mark: bytes, error: BaseException) -> NoReturn:
    """Journal that a step failed for good, and raise what every replay will raise."""
    encoded = encode_outcome(error, with_causes=True)
    run.append(Stepped(run.now(), run.path, name, mark, encoded, failed=True))
    # Without its causes, which a replay does not have either.
    raise decode_step_error(encoded).with_traceback(error.__traceback__) from None


def _wait_for_attempt(
    run: "FlowRun", step: StepFunction[..., object], failed: StepAttempted
) -> None:
    pause(run, _next_attempt(step), failed.time, failed.retry_at)
    run.await_commit()


def _next_attempt(step: StepFunction[..., object]) -> str:
    return f"next attempt at {step.name}"


def _call(run: "FlowRun", step: StepFunction[..., object], arguments: tuple[object, ...]) -> object:
    arguments = apart(arguments)
    if not step.in_thread:
        return _scoped(run, step.arguments.call, arguments)
    context = contextvars.copy_context()
    scope: Driver = ThreadScope(run)  # type: ignore[assignment]  # as far as a step needs one

    def body() -> object:
        driver_in_thread.set(scope)
        return step.arguments.call(arguments)

    what = f"step {step.name} of flow {run.flow_id} ({run.info.name})"
    try:
        value = run.manager.loop.run_in_thread(lambda: context.run(body), what)
    except KeyboardInterrupt as error:
        current = getcurrent()
        assert isinstance(current, FlowGreenlet)
        _interrupted_by(run, current, error)
        raise
    run.check_alive()
    return value


def _scoped(run: "FlowRun", body: Callable[..., object], *arguments: object) -> object:
    """Run the code of a step or an atomic function, which may not ask for operations."""
    current = run.greenlet
    assert current is not None
    scope: Driver = run.step_scope  # type: ignore[assignment]  # as far as a step needs one
    current.driver = scope
    try:
        value = body(*arguments)
    except BaseException as error:  # whatever it is, the scope ends here
        _leave_scope(run, current, error)
        raise
    if current.driver is not scope:
        raise FlowUnwound(TAKEN_DOWN)
    current.driver = run
    return value


def _leave_scope(run: "FlowRun", current: FlowGreenlet, error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt):
        _interrupted_by(run, current, error)
    elif isinstance(current.driver, StepScope):
        current.driver = run
    else:
        # Taken down, whatever the code made of that: nothing of it is an outcome of the step.
        raise FlowUnwound(TAKEN_DOWN) from error


def _interrupted_by(run: "FlowRun", current: FlowGreenlet, error: KeyboardInterrupt) -> None:
    """Let the flow do nothing any more: no replay would raise what is meant for the process."""
    if run.greenlet is current:
        run.set_aside = error
    refuse_all(current)


def _outcome(run: "FlowRun", event: Stepped, decode_result: Callable[[bytes], object]) -> object:
    try:
        outcome = decode_step_error(event.value) if event.failed else decode_result(event.value)
    except (SessionError, UndecodableEvent) as error:
        run.put_aside(UndecodableEvent(f"the recorded result of {event.name}: {error}"), error)
    if event.failed:
        assert isinstance(outcome, Exception)
        raise outcome
    return outcome
