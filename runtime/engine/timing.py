"""Time in a flow: the clock that it sees, its sleeps, and the deadlines of its waits."""

from typing import TYPE_CHECKING, Final, NoReturn

from runtime.core.events import Clocked, DeadlineSet, Slept, TimedOut
from runtime.engine.waits import Due, Wait
from runtime.errors import FlowTimeout

if TYPE_CHECKING:
    from runtime.engine.flow_run import FlowRun

SLEEP: Final = "sleep"
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
    pause(run, SLEEP, event.time, event.until)


def pause(run: "FlowRun", on: str, set_ms: int, until_ms: int) -> None:
    """Suspend until an instant that was set before has come, or raise a journaled time-out."""
    ends_by = deadline(run)
    if ends_by is not None and ends_by.until_ms < until_ms:
        _wait_for(run, on, ends_by)
        raise_timeout(run, on)
    _wait_for(run, on, _due(run, set_ms, until_ms))


def _wait_for(run: "FlowRun", on: str, due: Due) -> None:
    """Suspend until it has come, unless the replay already goes on behind it."""
    since = run.now()
    while not run.machine.is_replaying and not due.has_come:
        run.suspend(Wait(on=on, since=since, until=due.until_ms), due)


def wait_or_time_out(run: "FlowRun", on: str, sessions: tuple[int, ...]) -> None:
    """Suspend until something arrives in one of the sessions, or raise a journaled time-out."""
    ends_by = deadline(run)
    if ends_by is None:
        run.suspend(Wait(on=on, since=run.now(), sessions=sessions))
        return
    if ends_by.has_come:
        raise_timeout(run, on)
    run.suspend(Wait(on=on, since=run.now(), sessions=sessions, until=ends_by.until_ms), ends_by)


def raise_timeout(run: "FlowRun", on: str) -> NoReturn:
    """Journal that a wait timed out, or match that it did, and raise it."""
    if run.machine.timed_out(path=run.path) is None:
        ends_by = deadline(run)
        assert ends_by is not None
        run.append(TimedOut(run.now(), run.path, ends_by.until_ms, on))
    raise FlowTimeout(_TIMED_OUT)


def raise_recorded_timeout(run: "FlowRun", asked: str) -> NoReturn:
    """Raise a time-out that was just matched; there must be a deadline that it can have."""
    if not run.deadlines:
        raise run.machine.mismatch(path=run.path, asked=asked)
    raise FlowTimeout(_TIMED_OUT)


def deadline(run: "FlowRun") -> Due | None:
    """Return the earliest deadline that bounds a wait now."""
    return min(run.deadlines, key=_until_ms) if run.deadlines else None


def enter_deadline(run: "FlowRun", delay_ms: int) -> Due:
    """Bound all waits by a deadline, counted from the first time that this is asked."""
    run.give_way()
    event = run.machine.deadline_set(path=run.path)
    if event is None:
        now = run.now()
        event = DeadlineSet(now, run.path, now + delay_ms)
        run.append(event)
    due = _due(run, event.time, event.until)
    run.deadlines.append(due)
    return due


def leave_deadline(run: "FlowRun", due: object) -> None:
    """Bound waits by this deadline no more, whichever others were entered since."""
    # A greenlet that was taken down may leave late, when the deadlines are those of the next one.
    run.deadlines = [other for other in run.deadlines if other is not due]


def _due(run: "FlowRun", set_ms: int, until_ms: int) -> Due:
    """Return the instant; the one that the flow waited for last, if it is that and ran again."""
    last = run.due
    if last is not None and (last.set_ms, last.until_ms) == (set_ms, until_ms):
        return last
    return Due(run.manager.clock, set_ms, until_ms)


def _until_ms(due: Due) -> int:
    return due.until_ms
