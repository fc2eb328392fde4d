"""What is done with a failed flow: the table of the hospital, row by row."""

from typing import Final

import pytest

from runtime.core.triage import Decision, Fail, Hold, RetryAfter, back_off_ms, triage
from runtime.errors import (
    Diverged,
    FlowException,
    FlowTimeout,
    HoldForOperator,
    JournalFull,
    PeerTimedOut,
    RetryLater,
    StepInterrupted,
    UndecodableEvent,
    UnexpectedFlowEnd,
    UnknownFlow,
    UnknownParty,
    causes,
)
from runtime.limits import RETRY_MS_FIRST, RETRY_MS_MAX


def decide(
    error: BaseException, *, is_critical: bool = False, hold_unexpected: bool = False
) -> Decision:
    return triage(
        error, retries=0, chance=0.0, is_critical=is_critical, hold_unexpected=hold_unexpected
    )


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


FAILING: Final = [
    FlowException("no"),
    FlowTimeout("late"),
    UnexpectedFlowEnd("Bob", "ended"),
    StepInterrupted("cut off"),
    ValueError("bug"),
    KeyboardInterrupt(),
    raised_from(FlowException("an answer"), HoldForOperator("not for the operator then")),
]
HOLDING: Final = [
    HoldForOperator("please look"),
    raised_from(ValueError("wrapped"), HoldForOperator("please look")),
    Diverged("event 3", "sleep", "now"),
    UndecodableEvent("event 3"),
    JournalFull(1_000_000),
    UnknownFlow("gone"),
    UnknownParty("gone"),
]
RETRYING: Final = [
    RetryLater("notary away"),
    raised_from(ValueError("wrapped"), RetryLater("notary away")),
    raised_from(Diverged("event 3", "sleep", "the end"), RetryLater("notary away")),
]


@pytest.mark.parametrize("error", FAILING, ids=repr)
def test_it_fails_and_tells_its_peers(error: BaseException) -> None:
    assert decide(error) == Fail()


@pytest.mark.parametrize("error", HOLDING, ids=repr)
def test_it_is_held(error: BaseException) -> None:
    assert isinstance(decide(error), Hold)


@pytest.mark.parametrize("error", [FlowTimeout("late"), PeerTimedOut("late")], ids=repr)
def test_a_time_out_holds_a_flow_that_may_have_finalised_a_transaction(error: Exception) -> None:
    assert isinstance(decide(error, is_critical=True), Hold)
    assert decide(error) == Fail()


@pytest.mark.parametrize("error", RETRYING, ids=repr)
@pytest.mark.parametrize("is_critical", [False, True])
def test_it_is_retried(error: BaseException, is_critical: bool) -> None:
    assert isinstance(decide(error, is_critical=is_critical), RetryAfter)


def test_an_unexpected_error_of_a_critical_flow_is_held_and_never_failed_away() -> None:
    # Breaks when a flow that may have finalised a transaction can be lost.
    assert isinstance(decide(ValueError("bug"), is_critical=True), Hold)


def test_an_answer_of_a_critical_flow_is_an_answer() -> None:
    assert decide(FlowException("refused"), is_critical=True) == Fail()


def test_unexpected_errors_are_held_if_the_node_is_configured_so() -> None:
    assert isinstance(decide(ValueError("bug"), hold_unexpected=True), Hold)
    assert decide(FlowException("no"), hold_unexpected=True) == Fail()


def test_the_back_off_doubles_from_a_second_to_two_minutes() -> None:
    delays = [back_off_ms(retries, 1.0) for retries in range(12)]

    assert delays[0] == RETRY_MS_FIRST
    assert delays[:4] == [1000, 2000, 4000, 8000]
    assert delays[-1] == RETRY_MS_MAX


def test_the_jitter_takes_off_up_to_a_half() -> None:
    assert back_off_ms(0, 0.0) == RETRY_MS_FIRST // 2
    assert back_off_ms(1_000_000, 0.5) == RETRY_MS_MAX * 3 // 4


def test_causes_go_through_causes_and_contexts_and_end_in_a_circle() -> None:
    first, second, third = ValueError("1"), ValueError("2"), ValueError("3")
    first.__cause__ = second
    second.__context__ = third
    third.__context__ = first

    assert list(causes(first)) == [first, second, third]
    assert list(causes(None)) == []


def test_a_context_that_was_suppressed_is_no_cause() -> None:
    error = ValueError("1")
    error.__context__ = RetryLater("handled")
    error.__suppress_context__ = True

    assert list(causes(error)) == [error]
