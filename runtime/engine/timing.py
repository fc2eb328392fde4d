"""Time in a flow: the clock that it sees, its sleeps, and the deadlines of its waits."""

from typing import TYPE_CHECKING, Final, NoReturn

from runtime.core.events import Clocked, DeadlineSet, Slept, TimedOut
from runtime.engine.waits import Wait
from runtime.errors import FlowTimeout

if TYPE_CHECKING:
    from runtime.engine.flow_run import FlowRun

_TIMED_OUT: Final = "a timeout ran out while the flow was waiting"


def now_ms(run: "FlowRun") -> int:
    """Return the time, journaled."""
    run.give_way()
    event = run.machine.clocked(path=run.path)
    if event is None:
        event = Clocked(run.now(), run.path)
        run.append(event)
    return event.time


def sleep_until(run: "FlowRun", time_ms: int | None, delay_ms: int) -> None:
    """Wait until a time, or for a delay counted from the first time that this is asked."""
    run.give_way()
    event = run.machine.slept(path=run.path)
    if event is None:
        now = run.now()
        event = Slept(now, run.path, now + delay_ms if time_ms is None else time_ms)
        run.append(event)
    ends_by = deadline(run)
    if ends_by is not None and ends_by < event.until:
        wait_until(run, "sleep", ends_by)
        raise_timeout(run)
    wait_until(run, "sleep", event.until)


def wait_until(run: "FlowRun", on: str, time_ms: int) -> None:
    """Suspend until a time has come, unless the replay already goes on behind it."""
    since = run.now()
    while not run.machine.is_replaying and run.now() < time_ms:
        run.suspend(Wait(on=on, since=since, until=time_ms))


def wait_or_time_out(run: "FlowRun", on: str, sessions: tuple[int, ...]) -> None:
    """Suspend until something arrives in one of the sessions, or raise a journaled time-out."""
    ends_by = deadline(run)
    if ends_by is not None and run.now() >= ends_by:
        raise_timeout(run)
    run.suspend(Wait(on=on, since=run.now(), sessions=sessions, until=ends_by))


def raise_timeout(run: "FlowRun") -> NoReturn:
    """Journal that a wait timed out, or match that it did, and raise it."""
    if run.machine.timed_out(path=run.path) is None:
        ends_by = deadline(run)
        assert ends_by is not None
        run.append(TimedOut(run.now(), run.path, ends_by))
    raise FlowTimeout(_TIMED_OUT)


def raise_recorded_timeout(run: "FlowRun", asked: str) -> NoReturn:
    """Raise a time-out that was just matched; there must be a deadline that it can have."""
    if not run.deadlines:
        raise run.machine.mismatch(path=run.path, asked=asked)
    raise FlowTimeout(_TIMED_OUT)


def deadline(run: "FlowRun") -> int | None:
    """Return the earliest deadline that bounds a wait now."""
    return min(run.deadlines) if run.deadlines else None


def enter_deadline(run: "FlowRun", delay_ms: int) -> None:
    """Bound all waits by a deadline, counted from the first time that this is asked."""
    run.give_way()
    event = run.machine.deadline_set(path=run.path)
    if event is None:
        now = run.now()
        event = DeadlineSet(now, run.path, now + delay_ms)
        run.append(event)
    run.deadlines.append(event.until)
