"""What a flow can ask of its runtime besides sessions and steps: time, randomness, identity."""

from contextlib import ContextDecorator
from datetime import UTC, datetime
from random import Random
from typing import TypeVar
from uuid import UUID

from greenlet import getcurrent, greenlet

from runtime import checks
from runtime.driver import Driver, FlowInfo, driver
from runtime.limits import WAIT_SECONDS_MAX
from runtime.party import Party

T = TypeVar("T")


def now() -> datetime:
    """Return the time in UTC, to the millisecond; the same at every replay. Does not suspend."""
    return datetime.fromtimestamp(driver("now").now_ms() / 1000, UTC)


def sleep(seconds: float) -> None:
    """Suspend for ``seconds``, counted from now, over restarts; a thousand years at most."""
    driver("sleep").sleep_until(None, _milliseconds(seconds, "sleep"))


def sleep_until(time: datetime) -> None:
    """Suspend until ``time`` (aware), over restarts; returns at once if it is past."""
    if not isinstance(time, datetime):
        raise TypeError(f"sleep_until takes a datetime, not {type(time).__name__}")
    if time.tzinfo is None:
        raise ValueError("sleep_until needs a datetime with a time zone")
    driver("sleep_until").sleep_until(round(time.timestamp() * 1000), 0)


def rng() -> Random:
    """Return the flow's random generator: unpredictable, and the same at every replay."""
    return driver("rng").kept(b"rng", Random)


def uuid4() -> UUID:
    """Return a new random UUID, the same at every replay. Does not suspend."""
    return UUID(bytes=driver("uuid4").derive(b"uuid"), version=4)


class timeout(ContextDecorator):  # noqa: N801  used like a function
    """Bound every wait for a peer or for time inside the block; `FlowTimeout` is raised there.

    That is each wait for a message, for acceptance, for room at a peer that is far behind, for the
    end of a sleep or for the next attempt at a step. A message that waits for room is on its way
    all the same. A step that runs is not interrupted. The deadline is journaled, so a restart does
    not extend it. Blocks nest; the earliest counts. A flow that is `critical` never ends by it: if
    nobody catches the `FlowTimeout`, the flow is held.

    It may be entered again, also inside itself and by other flows: each block has a deadline of
    its own, counted from its beginning.
    """

    def __init__(self, seconds: float) -> None:
        self._delay_ms = _milliseconds(seconds, "timeout")
        self._entered: list[tuple[greenlet, Driver, object]] = []

    def __enter__(self) -> None:
        current = driver("timeout")
        due = current.enter_deadline(self._delay_ms)
        self._entered.append((getcurrent(), current, due))

    def __exit__(self, *raised: object) -> None:
        here = getcurrent()
        own = [index for index, entered in enumerate(self._entered) if entered[0] is here]
        _, current, due = self._entered.pop(own[-1] if own else -1)
        current.leave_deadline(due)


def durable() -> None:
    """Suspend until everything that this flow did and consumed so far would survive a crash."""
    driver("durable").durable()


def critical() -> None:
    """From here on, hold this flow for an operator if it fails unexpectedly; never fail it away.

    Call it before a step whose effect others will rely on, e.g. having a transaction notarised.
    Not journaled: a replay passes here again.
    """
    driver("critical").critical()


def progress(label: str) -> None:
    """Show ``label`` as the step of the flow that is under way. Not journaled; costs little."""
    current = driver("progress")
    checks.instance(label, str, "progress(label)", "a text")
    current.progress(label)


def me() -> Party:
    """Return the identity of the node that runs this flow."""
    return driver("me").host.me


def current_flow() -> FlowInfo:
    """Return id, name, version, user and client id of this flow."""
    return driver("current_flow").info


def service(kind: type[T]) -> T:
    """Return the object that this node's host offers for ``kind``."""
    current = driver("service")
    checks.instance(kind, type, "service(kind)", "a class")
    return current.host.service(kind)


def _milliseconds(seconds: float, asked: str) -> int:
    if not isinstance(seconds, int | float):
        raise TypeError(f"{asked} takes a number of seconds, not {type(seconds).__name__}")
    if not 0 <= seconds <= WAIT_SECONDS_MAX:
        raise ValueError(
            f"{asked} takes a number of seconds from 0 to {WAIT_SECONDS_MAX:,}, not {seconds}"
        )
    return round(seconds * 1000)
