"""Finality in two phases: everybody holds the transaction before the notary is asked for it.

    initiator                              each participant (`ledger.flows.receive_finality`)
    record un-notarised
    Offer, and its history      ─────>     verify, record un-notarised
                                <─────     Held
    have it notarised
    record
    NotarySignature             ─────>     record

If a participant does not hold it or the notary refuses, it is `Refusal` instead, and everybody
forgets the transaction; so does the initiator if its flow ends in any other way before all hold
it. Without anything to notarise there is one phase: record, and send. From before the notary is
asked, the flow is never failed away: an operator decides, or the node restarts and it goes on.
"""

import logging
from collections.abc import Sequence
from typing import Final

from ledger.errors import (
    FinalityAborted,
    NotaryConflict,
    NotaryError,
    SessionMissing,
    TimeWindowInvalid,
    TransactionInvalid,
)
from ledger.flows.keys import known_owners
from ledger.flows.notarise import notarise
from ledger.flows.resolve import send_transaction
from ledger.flows.storing import (
    forget_unnotarised,
    note_held_by_all,
    record_own_unnotarised,
    record_transaction,
    verify_transaction,
)
from ledger.hashing import SecureHash
from ledger.ledger_transaction import LedgerTransaction
from ledger.signatures import TransactionSignature
from ledger.stores.recording import StatesToRecord
from ledger.transactions import SignedTransaction
from ledger.uniqueness import Conflict
from runtime.codec import message
from runtime.context import critical, me
from runtime.errors import FlowException, SessionError, UnexpectedFlowEnd
from runtime.party import AbstractParty, Party
from runtime.session import Session

log = logging.getLogger("sennit.flow")

NOTARYS_KINDS: Final = {cls.__name__: cls for cls in (TimeWindowInvalid, TransactionInvalid)}
"""Refusals that everybody who takes part is told by their class: some are worth another try."""

PEER_ERRORS: Final = (FlowException, UnexpectedFlowEnd, SessionError)
"""How a session tells that its peer has ended, failed or talks nonsense."""


@message(name="ledger.Held")
class Held:
    """I have verified the transaction and hold it, un-notarised."""

    tx_id: SecureHash


@message(name="ledger.FinalityNews")
class FinalityNews:
    """How it went with the notary."""


@message(name="ledger.NotarySignature")
class NotarySignature(FinalityNews):
    """The transaction is final. Nothing if it needed no notary."""

    tx_id: SecureHash
    signature: TransactionSignature | None


@message(name="ledger.Refusal")
class Refusal(FinalityNews):
    """It will not become final: forget it. ``is_notarys``: the notary has said so.

    ``kind`` is the name of the class in `NOTARYS_KINDS` that the notary's refusal is of, if it is.
    """

    tx_id: SecureHash
    reason: str
    is_notarys: bool
    conflict: Conflict | None = None
    kind: str = ""


def finalise(
    signed: SignedTransaction,
    sessions: Sequence[Session],
    states: StatesToRecord = StatesToRecord.ONLY_RELEVANT,
) -> SignedTransaction:
    """Return the transaction, final: notarised, recorded here, and on its way to ``sessions``.

    Everybody but the notary has signed. There must be a session for every other participant; more
    of them are observers. Raises `SessionMissing` or a `TransactionVerificationError` before
    anything is recorded, and `NotaryError` after it was forgotten everywhere. One peer that has
    ended does not keep the others from hearing.
    """
    notary = signed.transaction.notary
    waits_for_notary = not signed.is_notarised
    allowed = (notary.key,) if notary and waits_for_notary else ()
    resolved = verify_transaction(signed, allowed)
    _check_sessions(resolved, sessions)
    if waits_for_notary:
        _hold_everywhere(signed, sessions)
        critical()
        signed = _notarised(signed, sessions)
        record_transaction(signed, states)
    else:
        record_transaction(signed, states)
        sessions = _send_to_all(signed, sessions)
    signature = next((s for s in signed.signatures if notary and s.key == notary.key), None)
    _tell(sessions, NotarySignature(signed.id, signature))
    return signed


def _hold_everywhere(signed: SignedTransaction, sessions: Sequence[Session]) -> None:
    record_own_unnotarised(signed)
    holding: list[Session] = []
    try:
        for session in sessions:
            _hold_at(session, signed)
            holding.append(session)
    except PEER_ERRORS as error:
        forget_unnotarised(signed.id)
        _tell(holding, Refusal(signed.id, str(error), is_notarys=False))
        raise
    note_held_by_all(signed.id)


def _send_to_all(signed: SignedTransaction, sessions: Sequence[Session]) -> list[Session]:
    """Send what is final already, and return the sessions of those who have it."""
    reached = []
    for session in sessions:
        try:
            _hold_at(session, signed)
            reached.append(session)
        except PEER_ERRORS as error:
            _warn(session, error)
    return reached


def _hold_at(session: Session, signed: SignedTransaction) -> None:
    def check(held: Held) -> None:
        if held.tx_id != signed.id:
            raise FinalityAborted(f"{session.counterparty} holds {held.tx_id}, not {signed.id}")

    send_transaction(session, signed)
    session.receive(Held).unwrap(check)


def _notarised(signed: SignedTransaction, sessions: Sequence[Session]) -> SignedTransaction:
    try:
        return signed.with_signatures(notarise(signed))
    except NotaryError as error:
        forget_unnotarised(signed.id)
        _tell(sessions, _refusal(signed.id, error))
        raise


def _refusal(tx_id: SecureHash, error: NotaryError) -> Refusal:
    name = type(error).__name__
    return Refusal(
        tx_id,
        str(error),
        is_notarys=True,
        conflict=error.conflict if isinstance(error, NotaryConflict) else None,
        kind=name if name in NOTARYS_KINDS else "",
    )


def _tell(sessions: Sequence[Session], news: FinalityNews) -> None:
    for session in sessions:
        try:
            session.send(news)
        except PEER_ERRORS as error:
            # It holds the transaction and can ask for the signature; the others shall hear now.
            _warn(session, error)


def _warn(session: Session, error: Exception) -> None:
    log.warning(
        "a peer ended before it heard that a transaction is final",
        extra={"peer": session.counterparty.name, "error": str(error)},
    )


def _check_sessions(transaction: LedgerTransaction, sessions: Sequence[Session]) -> None:
    told = {session.counterparty for session in sessions}
    for party in participants_of(transaction):
        if party != me() and party not in told:
            raise SessionMissing(f"{party} takes part in the transaction and has no session")


def participants_of(transaction: LedgerTransaction) -> list[Party]:
    """Return the well-known parties that take part; raises `SessionMissing` if one is unknown."""
    return known_owners(parties_of(transaction))


def parties_of(transaction: LedgerTransaction) -> list[AbstractParty]:
    """Return the parties that take part in what is consumed or made, as they stand there."""
    states = (
        *(state.data for state in transaction.inputs),
        *(state.data for state in transaction.outputs),
    )
    return [party for state in states for party in state.participants]
