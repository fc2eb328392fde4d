"""Take part in the finality of a transaction that a peer has initiated; get it back if it got lost.

After `Held` was sent, the transaction may be final, whether we hear of it or not. So from there on
the flow is never failed away, and the transaction stays, un-notarised, until somebody knows.
"""

from collections.abc import Callable
from enum import Enum
from typing import Final

from ledger.errors import (
    FinalityAborted,
    FinalityUndecided,
    LedgerError,
    NotaryConflict,
    NotaryError,
    ProposalRejected,
    SignatureRejected,
    TransactionUnknown,
)
from ledger.flows.finality import (
    NOTARYS_KINDS,
    PEER_ERRORS,
    FinalityNews,
    Held,
    NotarySignature,
    Refusal,
    parties_of,
)
from ledger.flows.keys import owners_of
from ledger.flows.notarise import notarise
from ledger.flows.resolve import receive_transaction
from ledger.flows.storing import (
    Waiting,
    forget_unnotarised,
    record_transaction,
    record_unnotarised,
    resolved,
    verified_or_none,
    verify_transaction,
    waiting_transaction,
)
from ledger.hashing import SecureHash
from ledger.ledger_transaction import LedgerTransaction
from ledger.signatures import TransactionSignature
from ledger.stores.recording import StatesToRecord
from ledger.transactions import SignedTransaction
from runtime.codec import message
from runtime.context import critical, me, timeout
from runtime.flow import flow, responder
from runtime.party import Party
from runtime.session import Session, initiate

# Of a recovery: an initiator that takes longer may be gone for good.
ANSWER_SECONDS: Final = 60.0

Check = Callable[[LedgerTransaction], None]
"""Raises what the initiator is to be told, if we don't want to hold the transaction."""


def accept_all(transaction: LedgerTransaction) -> None:
    """Hold whatever is valid."""


def receive_finality(
    session: Session,
    *,
    expected: SecureHash | None = None,
    states: StatesToRecord = StatesToRecord.ONLY_RELEVANT,
    check: Check = accept_all,
) -> SignedTransaction:
    """Receive, verify and record a transaction that the peer finalises; return it, final.

    ``expected`` is the id that we have signed. Raises the `NotaryError` if the notary has refused.
    """
    signed = receive_transaction(session)
    if expected is not None and signed.id != expected:
        raise ProposalRejected(f"transaction {signed.id} came instead of {expected}")
    notary = signed.transaction.notary
    waits_for_notary = not signed.is_notarised
    transaction = verify_transaction(signed, (notary.key,) if notary and waits_for_notary else ())
    check(transaction)
    if not waits_for_notary:
        record_transaction(signed, states)
        session.send(Held(signed.id))
        session.receive(FinalityNews).unwrap(lambda told: told)
        return signed
    record_unnotarised(signed, session.counterparty)
    critical()
    session.send(Held(signed.id))
    news = session.receive(FinalityNews).unwrap(lambda told: _about(signed, told))
    return _conclude(signed, news, states)


def _about(signed: SignedTransaction, news: FinalityNews) -> FinalityNews:
    if not isinstance(news, NotarySignature | Refusal) or news.tx_id != signed.id:
        raise ProposalRejected(f"the peer tells nothing of transaction {signed.id}")
    return news


def _conclude(
    signed: SignedTransaction, news: FinalityNews, states: StatesToRecord
) -> SignedTransaction:
    match news:
        case NotarySignature(signature=signature):
            final = signed if signature is None else signed.with_signatures(signature)
            final.verify_signatures()
            record_transaction(final, states)
            return final
        case Refusal():
            forget_unnotarised(signed.id)
            raise _error_of(news)
        case _:
            raise ProposalRejected(f"the peer tells nothing of transaction {signed.id}")


def _error_of(refusal: Refusal) -> LedgerError:
    if refusal.conflict is not None:
        return NotaryConflict(refusal.conflict)
    if not refusal.is_notarys:
        return FinalityAborted(refusal.reason)
    return NOTARYS_KINDS.get(refusal.kind, NotaryError)(refusal.reason)


# --- recovery ---------------------------------------------------------------------------------


@message(name="ledger.LostSignature")
class LostSignature:
    """I hold this transaction, un-notarised; do you have the notary's signature?"""

    tx_id: SecureHash


@message(name="ledger.Fate")
class Fate(Enum):
    """What the initiator knows of a transaction."""

    UNKNOWN = "unknown"
    """Nothing: it was never there, or the finality was given up."""

    COLLECTING = "collecting"
    """Not all who take part hold it, and the notary has not been asked."""

    HELD = "held"
    """All hold it: it is the notary's to decide, or was decided."""


@message(name="ledger.FoundSignature")
class FoundSignature:
    """The notary's signature, nothing if it is not here; and what else is known."""

    signature: TransactionSignature | None
    fate: Fate = Fate.UNKNOWN


@flow(name="ledger.recover")
def recover(tx_id: SecureHash) -> SignedTransaction:
    """Make a transaction final whose notary signature never came, and record it; again is no error.

    Asks the initiator, and, if that has none or is us, the notary, which grants again what it has
    granted. The notary is asked to grant it for the first time only if all who take part hold the
    transaction, which the initiator knows; else one of them could be left without it.

    Raises `TransactionUnknown` if no such transaction waits here, `NotaryError` if the notary
    refuses and `FinalityAborted` if the initiator has given it up; then the transaction is
    forgotten. `FinalityUndecided` says that it is too early, or that the initiator does not answer.
    If the notary knows what an initiator that is away could not tell, the transaction is recorded
    at once; the flow itself, like all flows, ends when its question has arrived.
    """
    waiting = waiting_transaction(tx_id)
    if waiting is None:
        recorded = verified_or_none(tx_id)
        if recorded is not None:
            return recorded
        raise TransactionUnknown(f"no transaction {tx_id} waits for its notary here")
    critical()
    found = _of_initiator(waiting)
    signature = found.signature if found is not None else None
    if signature is None:
        signature = _of_notary(waiting, None if found is None else found.fate)
    final = waiting.signed.with_signatures(signature)
    record_transaction(final)
    return final


@responder(recover)
def answer_recovery(session: Session) -> None:
    """Hand out the notary's signature of a transaction to those who take part in it."""
    lost = session.receive(LostSignature).unwrap(lambda asked: asked)
    signed = verified_or_none(lost.tx_id)
    if signed is None:
        waiting = waiting_transaction(lost.tx_id)
        session.send(FoundSignature(None, _fate(waiting)))
    elif session.counterparty not in _known_participants(resolved(signed)):
        session.send(FoundSignature(None, Fate.HELD))
    else:
        notary = signed.transaction.notary
        found = (s for s in signed.signatures if notary and s.key == notary.key)
        session.send(FoundSignature(next(found, None), Fate.HELD))


def _known_participants(transaction: LedgerTransaction) -> list[Party | None]:
    # Whoever asks must not hear which of the others we don't know.
    return owners_of(tuple(dict.fromkeys(parties_of(transaction))))


def _fate(waiting: Waiting | None) -> Fate:
    if waiting is None:
        return Fate.UNKNOWN
    return Fate.HELD if waiting.about.collector is None else Fate.COLLECTING


def _of_initiator(waiting: Waiting) -> FoundSignature | None:
    """Return what the initiator knows, which may be us; None if it does not answer."""
    if waiting.about.initiator == me():
        return FoundSignature(None, _fate(waiting))
    signed, notary = waiting.signed, waiting.signed.transaction.notary

    def check(found: FoundSignature) -> FoundSignature:
        signature = found.signature
        if signature is None or (notary is not None and signature.key == notary.key):
            if signature is not None:
                signature.verify_notarys(signed.id)
            return found
        raise SignatureRejected(str(signed.id), "what the initiator sent is not the notary's")

    try:
        session = initiate(waiting.about.initiator)
        with timeout(ANSWER_SECONDS):
            return session.exchange(LostSignature(signed.id), FoundSignature).unwrap(check)
    except PEER_ERRORS:
        return None


def _of_notary(waiting: Waiting, fate: Fate | None) -> TransactionSignature:
    """Return what the notary has granted; ask it to grant it if the initiator was about to."""
    signed = waiting.signed
    if fate is Fate.HELD:
        try:
            return notarise(signed)
        except NotaryError:
            forget_unnotarised(signed.id)
            raise
    try:
        return notarise(signed, only_if_granted=True)
    except NotaryError as error:
        if fate is not Fate.UNKNOWN:
            raise FinalityUndecided(f"{signed.id} may become final later: {error}") from error
        forget_unnotarised(signed.id)
        raise FinalityAborted(f"its initiator knows nothing of {signed.id}, and {error}") from error
