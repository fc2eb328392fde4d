"""Take part in the finality of a transaction that a peer has initiated; get it back if it got lost.

After `Held` was sent, the transaction may be final, whether we hear of it or not. So from there on
the flow is never failed away, and the transaction stays, un-notarised, until somebody knows.
"""

from collections.abc import Callable

from ledger.errors import (
    FinalityAborted,
    LedgerError,
    NotaryConflict,
    NotaryError,
    ProposalRejected,
    TransactionUnknown,
)
from ledger.flows.finality import (
    NOTARYS_KINDS,
    PEER_ERRORS,
    FinalityNews,
    Held,
    NotarySignature,
    Refusal,
    participants_of,
)
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
from runtime.context import critical, me
from runtime.flow import flow, responder
from runtime.session import Session, initiate

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


@message(name="ledger.FoundSignature")
class FoundSignature:
    """The notary's signature; nothing if it is not here."""

    signature: TransactionSignature | None


@flow(name="ledger.recover")
def recover(tx_id: SecureHash) -> SignedTransaction:
    """Make a transaction final whose notary signature never came, and record it.

    Asks the initiator, and, if that has none or is us, the notary, which grants again what it has
    granted. Raises `TransactionUnknown` if no such transaction waits here, and `NotaryError` if the
    notary refuses; then the transaction is forgotten.
    """
    waiting = waiting_transaction(tx_id)
    if waiting is None:
        raise TransactionUnknown(f"no transaction {tx_id} waits for its notary here")
    critical()
    signature = _of_initiator(waiting) or _of_notary(waiting)
    final = waiting.signed.with_signatures(signature)
    final.verify_signatures()
    record_transaction(final)
    return final


@responder(recover)
def answer_recovery(session: Session) -> None:
    """Hand out the notary's signature of a transaction to those who take part in it."""
    lost = session.receive(LostSignature).unwrap(lambda asked: asked)
    signed = verified_or_none(lost.tx_id)
    if signed is None or session.counterparty not in participants_of(resolved(signed)):
        session.send(FoundSignature(None))
        return
    notary = signed.transaction.notary
    found = (s for s in signed.signatures if notary and s.key == notary.key)
    session.send(FoundSignature(next(found, None)))


def _of_initiator(waiting: Waiting) -> TransactionSignature | None:
    if waiting.about.initiator == me():
        return None
    signed, notary = waiting.signed, waiting.signed.transaction.notary

    def check(found: FoundSignature) -> TransactionSignature | None:
        signature = found.signature
        if signature is None or notary is None or signature.key != notary.key:
            return None
        return signature if signature.is_valid(signed.id) else None

    try:
        session = initiate(waiting.about.initiator)
        return session.exchange(LostSignature(signed.id), FoundSignature).unwrap(check)
    except PEER_ERRORS:
        return None


def _of_notary(waiting: Waiting) -> TransactionSignature:
    try:
        return notarise(waiting.signed)
    except NotaryError:
        forget_unnotarised(waiting.signed.id)
        raise
