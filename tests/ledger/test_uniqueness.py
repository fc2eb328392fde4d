"""The notary's decision: each state once, the same transaction as often as it asks."""

import pytest

from ledger.errors import NotaryConflict
from ledger.hashing import SecureHash
from ledger.states import StateRef
from ledger.time_window import TimeWindow
from ledger.uniqueness import (
    STATES_MAX,
    Conflict,
    ConsumedState,
    ConsumerHash,
    Granted,
    OutsideWindow,
    Refused,
    UniquenessClaim,
    consumer_hash,
    decide,
)
from runtime.codec import pack, unpack

TX, OTHER = SecureHash.of(b"tx"), SecureHash.of(b"other")
A, B = StateRef(SecureHash.of(b"a"), 0), StateRef(SecureHash.of(b"b"), 1)
WINDOW = TimeWindow(100, 200)


def nothing_consumed(ref: StateRef) -> ConsumerHash | None:
    return None


def a_consumed(ref: StateRef) -> ConsumerHash | None:
    return consumer_hash(OTHER) if ref == A else None


def test_unspent_states_inside_the_window_are_granted() -> None:
    claim = UniquenessClaim(TX, (A,), (B,), WINDOW)

    decision = decide(claim, now_ms=150, was_granted=False, consumer_of=nothing_consumed)

    assert decision == Granted(again=False)


def test_the_same_transaction_is_granted_again_even_when_its_window_has_passed() -> None:
    claim = UniquenessClaim(TX, (A,), (), WINDOW)

    decision = decide(claim, now_ms=999, was_granted=True, consumer_of=a_consumed)

    assert decision == Granted(again=True)


@pytest.mark.parametrize("now_ms", [99, 200])
def test_outside_the_window_nothing_is_granted(now_ms: int) -> None:
    claim = UniquenessClaim(TX, (A,), (), WINDOW)

    decision = decide(claim, now_ms=now_ms, was_granted=False, consumer_of=nothing_consumed)

    assert decision == OutsideWindow(now_ms, WINDOW)


@pytest.mark.parametrize(
    ("claim", "kind"),
    [
        (UniquenessClaim(TX, (B, A)), "INPUT"),
        (UniquenessClaim(TX, (B,), (A,)), "REFERENCE"),
    ],
)
def test_a_conflict_names_the_state_and_only_the_hash_of_its_consumer(
    claim: UniquenessClaim, kind: str
) -> None:
    decision = decide(claim, now_ms=0, was_granted=False, consumer_of=a_consumed)

    assert decision == Conflict(TX, (ConsumedState(A, SecureHash.of(OTHER.digest), kind),))
    assert OTHER.digest not in pack(decision).body


def test_a_conflict_comes_before_a_missed_window() -> None:
    claim = UniquenessClaim(TX, (A,), (), WINDOW)

    decision = decide(claim, now_ms=999, was_granted=False, consumer_of=a_consumed)

    assert isinstance(decision, Conflict)


def test_too_many_states_are_refused_before_any_is_looked_up() -> None:
    def never(ref: StateRef) -> ConsumerHash | None:
        raise AssertionError(ref)

    claim = UniquenessClaim(TX, (A,) * STATES_MAX, (B,))

    decision = decide(claim, now_ms=0, was_granted=False, consumer_of=never)

    assert isinstance(decision, Refused)
    assert "10001" in decision.reason


def test_a_conflict_crosses_as_an_error_with_all_it_says() -> None:
    conflict = Conflict(TX, (ConsumedState(A, consumer_hash(OTHER), "INPUT"),))

    error = NotaryConflict(unpack(pack(conflict), Conflict))

    assert error.conflict == conflict
    assert f"INPUT {A}" in str(error)


@pytest.mark.parametrize(("inputs", "references"), [((A, B, A), ()), ((A,), (A,)), ((), (B, B))])
def test_a_state_that_is_asked_for_twice_is_refused_in_words(
    inputs: tuple[StateRef, ...], references: tuple[StateRef, ...]
) -> None:
    claim = UniquenessClaim(TX, inputs, references)

    decision = decide(claim, now_ms=150, was_granted=False, consumer_of=nothing_consumed)

    assert isinstance(decision, Refused)
    assert "asked for twice" in decision.reason
