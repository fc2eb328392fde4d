"""Are these inputs unspent? The pure decision of a notary.

A claim that was granted once is granted again, whatever the time; everything else is checked
before anything is committed. A conflict tells by which transaction a state was consumed only as
the *hash* of that transaction's id: enough to recognise one's own, useless for tracking others'.

    claim                                         decision
    already granted to this transaction id        Granted(again=True)
    more than STATES_MAX inputs and references    Refused
    some state asked for twice                    Refused
    some input or reference consumed by another   Conflict
    window does not contain now                   OutsideWindow
    else                                          Granted(again=False)
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

from ledger.hashing import SecureHash
from ledger.states import StateRef
from ledger.time_window import TimeWindow
from runtime.codec import message

# One request must not keep the others waiting; the largest honest transaction is far smaller.
STATES_MAX: Final = 10_000

INPUT: Final = "INPUT"
REFERENCE: Final = "REFERENCE"


@message(name="ledger.UniquenessClaim")
class UniquenessClaim:
    """What a transaction wants: its inputs for itself, its references unspent, a time stamp."""

    tx_id: SecureHash
    inputs: tuple[StateRef, ...]
    references: tuple[StateRef, ...] = ()
    window: TimeWindow | None = None


@message(name="ledger.ConsumedState")
class ConsumedState:
    """A state that was asked for and is gone. ``kind`` says how it was asked for."""

    ref: StateRef
    consumer_hash: SecureHash
    kind: str


@message(name="ledger.Granted")
class Granted:
    """The states are the transaction's. ``again``: they were already."""

    again: bool


@message(name="ledger.Conflict")
class Conflict:
    """Some of the states were consumed by other transactions."""

    tx_id: SecureHash
    consumed: tuple[ConsumedState, ...]


@message(name="ledger.OutsideWindow")
class OutsideWindow:
    """The notary's clock is not inside the transaction's time window."""

    now_ms: int
    window: TimeWindow


@message(name="ledger.Refused")
class Refused:
    """The claim can't be looked at."""

    reason: str


Decision = Granted | Conflict | OutsideWindow | Refused

ConsumerHash = SecureHash
"""SHA-256 of the id of a consuming transaction."""


def decide(
    claim: UniquenessClaim,
    *,
    now_ms: int,
    was_granted: bool,
    consumer_of: Callable[[StateRef], ConsumerHash | None],
) -> Decision:
    """Return what the notary has to answer; a first grant must be committed."""
    if was_granted:
        return Granted(again=True)
    surplus = too_many(len(claim.inputs) + len(claim.references))
    if surplus is not None:
        return Refused(surplus)
    asked = (*claim.inputs, *claim.references)
    if len(set(asked)) != len(asked):
        twice = next(ref for ref, times in Counter(asked).items() if times > 1)
        return Refused(f"state {twice} is asked for twice, as input or reference")
    consumed = (
        *_consumed(claim.inputs, INPUT, consumer_of),
        *_consumed(claim.references, REFERENCE, consumer_of),
    )
    if consumed:
        return Conflict(claim.tx_id, consumed)
    if claim.window is not None and not claim.window.contains_ms(now_ms):
        return OutsideWindow(now_ms, claim.window)
    return Granted(again=False)


def too_many(count: int) -> str | None:
    """Return what is wrong with so many inputs and references, if something is."""
    if count <= STATES_MAX:
        return None
    return f"{count} inputs and references; one request may have {STATES_MAX}"


def consumer_hash(tx_id: SecureHash) -> ConsumerHash:
    """Return what a conflict shows of the transaction that consumed a state."""
    return SecureHash.of(tx_id.digest)


def _consumed(
    refs: tuple[StateRef, ...],
    kind: str,
    consumer_of: Callable[[StateRef], ConsumerHash | None],
) -> tuple[ConsumedState, ...]:
    found = ((ref, consumer_of(ref)) for ref in refs)
    return tuple(ConsumedState(ref, consumer, kind) for ref, consumer in found if consumer)
