"""Steps and atomic functions of a flow: answered from the journal, or run and journaled."""

import contextvars
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from runtime.atomic import AtomicFunction
from runtime.codec import fingerprint
from runtime.core.events import StepAttempted, StepIntended, Stepped
from runtime.core.flow_machine import StepEvent
from runtime.engine.store_txn import OpenTxn
from runtime.engine.waits import Wait
from runtime.error_codec import decode_error, encode_error
from runtime.errors import FlowException, FlowUnwound, StepInterrupted
from runtime.step import Kind, StepFunction, running_in_thread

if TYPE_CHECKING:
    from runtime.engine.flow_run import FlowRun

log = logging.getLogger("sennit.flow")


def run_step(
    run: "FlowRun", step: StepFunction[..., object], arguments: tuple[object, ...]
) -> object:
    """Return the outcome of a step."""
    mark = fingerprint(step.arguments.encode(arguments))
    machine = run.machine
    path = run.path
    place = machine.index_next
    if machine.cursor < len(machine.recorded):
        return _replay(run, step, arguments, mark)
    if step.kind is not Kind.PURE and run.batch_number > run.commits.durable:
        run.await_commit()
    if step.kind is Kind.AT_MOST_ONCE or step.in_thread:
        return _run_slowly(run, step, arguments, mark, attempt=1, place=place)
    run.step_place = f"{path}{place}"
    try:
        value = step.arguments.call(arguments)
    except FlowUnwound:
        raise
    except Exception as error:  # a failed attempt is a value to the retry policy
        return _attempt_failed(run, step, arguments, mark, attempt=1, place=place, error=error)
    run.append(Stepped(run.now(), path, step.name, mark, step.arguments.encode_result(value)))
    return value


def run_atomic(
    run: "FlowRun", atomic: AtomicFunction[..., object], arguments: tuple[object, ...]
) -> object:
    """Return the outcome of an atomic function."""
    mark = fingerprint(atomic.arguments.encode(arguments))
    path = run.path
    event = run.machine.step(path=path, name=atomic.name, arguments=mark, is_loose=False)
    if event is not None:
        assert isinstance(event, Stepped)
        return _outcome(event, atomic.arguments.decode_result)
    txn = OpenTxn(run.commits, run.host)
    try:
        value = atomic.arguments.call(arguments, txn)
        encoded = atomic.arguments.encode_result(value)
    except FlowException as error:
        run.append(Stepped(run.now(), path, atomic.name, mark, encode_error(error), failed=True))
        raise
    txn.apply()
    run.append(Stepped(run.now(), path, atomic.name, mark, encoded))
    if run.host.commit_callbacks:
        run.manager.announce_commit()
    return value


def _replay(
    run: "FlowRun", step: StepFunction[..., object], arguments: tuple[object, ...], mark: bytes
) -> object:
    place = run.machine.position()
    event = run.machine.step(path=run.path, name=step.name, arguments=mark, is_loose=step.is_loose)
    attempt = 1
    while True:
        match event:
            case Stepped():
                return _outcome(event, step.arguments.decode_result)
            case StepAttempted():
                attempt = event.attempt + 1
                if not run.machine.is_replaying:
                    _wait_for_attempt(run, step, event.retry_at)
                    break
            case StepIntended():
                if not run.machine.is_replaying:
                    return _interrupted(run, step, mark)
            case None:
                break
        event = _next(run, step, mark)
    run.await_commit()
    return _run_slowly(run, step, arguments, mark, attempt=attempt, place=place)


def _next(run: "FlowRun", step: StepFunction[..., object], mark: bytes) -> StepEvent | None:
    return run.machine.step(path=run.path, name=step.name, arguments=mark, is_loose=step.is_loose)


def _interrupted(run: "FlowRun", step: StepFunction[..., object], mark: bytes) -> object:
    """Raise that an at-most-once step was cut off; journaled, so that it stays so."""
    error = StepInterrupted(
        f"step {step.name} was running when the node went down; nobody knows whether it took effect"
    )
    run.append(Stepped(run.now(), run.path, step.name, mark, encode_error(error), failed=True))
    raise error


def _run_slowly(
    run: "FlowRun",
    step: StepFunction[..., object],
    arguments: tuple[object, ...],
    mark: bytes,
    *,
    attempt: int,
    place: int,
) -> object:
    """Run attempts until one succeeds or the policy is used up."""
    run.step_place = f"{run.path}{place}"
    while True:
        if step.kind is Kind.AT_MOST_ONCE:
            run.append(StepIntended(run.now(), run.path, step.name, mark))
            run.await_commit()
        try:
            value = _call(run, step, arguments)
        except FlowUnwound:
            raise
        except Exception as error:  # a failed attempt is a value to the retry policy
            if _is_final(step, attempt, error):
                return _give_up(run, step, mark, error)
            _journal_attempt(run, step, mark, attempt, error)
            attempt += 1
            continue
        encoded = step.arguments.encode_result(value)
        run.append(Stepped(run.now(), run.path, step.name, mark, encoded))
        return value


def _attempt_failed(
    run: "FlowRun",
    step: StepFunction[..., object],
    arguments: tuple[object, ...],
    mark: bytes,
    *,
    attempt: int,
    place: int,
    error: Exception,
) -> object:
    if _is_final(step, attempt, error):
        return _give_up(run, step, mark, error)
    _journal_attempt(run, step, mark, attempt, error)
    return _run_slowly(run, step, arguments, mark, attempt=attempt + 1, place=place)


def _is_final(step: StepFunction[..., object], attempt: int, error: Exception) -> bool:
    return attempt >= step.retry.attempts or isinstance(error, step.retry.final)


def _give_up(
    run: "FlowRun", step: StepFunction[..., object], mark: bytes, error: Exception
) -> object:
    run.append(Stepped(run.now(), run.path, step.name, mark, encode_error(error), failed=True))
    raise error


def _journal_attempt(
    run: "FlowRun", step: StepFunction[..., object], mark: bytes, attempt: int, error: Exception
) -> None:
    now = run.now()
    retry_at = now + step.retry.delay_ms(attempt, run.manager.chance())
    text = f"{type(error).__name__}: {error}"[:1000]
    log.warning(
        "step failed, will be tried again",
        extra={"flow_id": run.flow_id, "step": step.name, "attempt": attempt, "error": text},
    )
    run.append(StepAttempted(now, run.path, step.name, mark, attempt, text, retry_at))
    _wait_for_attempt(run, step, retry_at)


def _wait_for_attempt(run: "FlowRun", step: StepFunction[..., object], retry_at: int) -> None:
    run.wait_for(Wait(on=f"next attempt at {step.name}", since=run.now()), wake_at=retry_at)
    run.await_commit()


def _call(run: "FlowRun", step: StepFunction[..., object], arguments: tuple[object, ...]) -> object:
    if not step.in_thread:
        return step.arguments.call(arguments)
    context = contextvars.copy_context()
    step_id = run.step_id()

    def body() -> object:
        running_in_thread.set(step_id)
        return step.arguments.call(arguments)

    return run.manager.loop.run_in_thread(lambda: context.run(body))


def _outcome(event: Stepped, decode_result: Callable[[bytes], object]) -> object:
    if event.failed:
        raise decode_error(event.value)
    return decode_result(event.value)
