"""What to do with a flow that failed: (error, history) -> decision. The first rule decides.

a time-out that escapes a critical flow     hold: it may have finalised a transaction
FlowException, its own or a peer's          fail, tell the peers
RetryLater                                  retry with back-off, for ever
HoldForOperator anywhere in the cause chain hold
diverged, undecodable, missing flow         hold
journal full                                hold
anything else in a critical flow            hold: it may have finalised a transaction
any other exception                         fail, tell the peers (or hold, by configuration)
"""

import msgspec

from runtime.errors import (
    Diverged,
    FlowException,
    FlowTimeout,
    HoldForOperator,
    JournalFull,
    PeerTimedOut,
    RetryLater,
    UndecodableEvent,
    UnknownFlow,
    UnknownParty,
    causes,
)
from runtime.limits import RETRY_MS_FIRST, RETRY_MS_MAX


class Fail(msgspec.Struct, frozen=True):
    """The flow ends with the error; its peers are told."""


class Hold(msgspec.Struct, frozen=True):
    """The flow is kept intact until an operator decides."""

    reason: str


class RetryAfter(msgspec.Struct, frozen=True):
    """The flow is rebuilt from its journal after ``delay_ms`` and tries again."""

    delay_ms: int


Decision = Fail | Hold | RetryAfter


def triage(
    error: BaseException,
    *,
    retries: int,
    chance: float,
    is_critical: bool,
    hold_unexpected: bool,
) -> Decision:
    """Return the decision for ``error``, after ``retries`` without progress in between.

    ``chance`` in [0, 1) is the jitter of the back-off.
    """
    if is_critical and isinstance(error, FlowTimeout | PeerTimedOut):
        return Hold("timed out after it may have finalised a transaction")
    if isinstance(error, FlowException):
        return Fail()
    if any(isinstance(cause, RetryLater) for cause in causes(error)):
        return RetryAfter(back_off_ms(retries, chance))
    if any(isinstance(cause, HoldForOperator) for cause in causes(error)):
        return Hold("the flow asked for it")
    if isinstance(error, Diverged):
        return Hold("diverged")
    if isinstance(error, JournalFull):
        return Hold("journal full")
    if isinstance(error, UndecodableEvent):
        return Hold("undecodable event")
    if isinstance(error, UnknownFlow | UnknownParty):
        return Hold("not installed or not listed here")
    if is_critical:
        return Hold("failed after it may have finalised a transaction")
    if hold_unexpected:
        return Hold("unexpected error")
    return Fail()


def is_for_hospital(error: BaseException) -> bool:
    """Tell whether ``error`` asks that the flow runs again from here, once something has changed.

    No code of the flow gets to see it: what that would make of it could not be taken back.
    """
    return not isinstance(error, FlowException) and any(
        isinstance(cause, RetryLater | HoldForOperator) for cause in causes(error)
    )


def back_off_ms(retries: int, chance: float) -> int:
    """Return the delay before retry number ``retries + 1``: doubling, capped, with jitter."""
    delay: int = min(RETRY_MS_MAX, RETRY_MS_FIRST << min(retries, 20))
    return round(delay * (0.5 + chance / 2))
