"""A notary's side of notarisation: validating or not, one signature for all of one commit.

The grant and the event that leads to the answer are in one commit, so the answer can be lost, but
never the grant that it tells of. Requests whose grants became durable together are signed together,
by one signature over a Merkle tree of their ids.
"""

from typing import Final

from ledger.components import Group
from ledger.errors import TornOffWrong, TransactionVerificationError
from ledger.flows.notarise import (
    ConflictRefusal,
    InvalidRefusal,
    NotarisationRequest,
    Notarised,
    NotaryAnswer,
    NotGranted,
    RequestRefusal,
    WholeWanted,
    WindowRefusal,
    claim_of,
    notarise,
    request_content,
)
from ledger.flows.resolve import receive_transaction
from ledger.flows.storing import verify_transaction
from ledger.hashing import SecureHash
from ledger.signatures import BATCH_MAX, Sign, TransactionSignature, sign_many
from ledger.stores.notary import claim_states, grant_of
from ledger.tearoff import NOTARY_GROUPS, FilteredTransaction
from ledger.uniqueness import (
    Conflict,
    Decision,
    Granted,
    OutsideWindow,
    Refused,
    UniquenessClaim,
)
from runtime.atomic import StoreTxn, atomic
from runtime.codec import encode
from runtime.context import durable, me, service
from runtime.flow import responder
from runtime.keys import PublicKey
from runtime.party import Party
from runtime.session import Session
from runtime.step import step

VALIDATING: Final = "validating"
NON_VALIDATING: Final = "non-validating"


class Notary:
    """What a notary node knows of itself, and the signatures that wait for each other."""

    def __init__(self, key: PublicKey, sign: Sign, *, is_validating: bool) -> None:
        self.is_validating = is_validating
        self._key = key
        self._sign = sign
        self._waiting: dict[SecureHash, None] = {}
        self._signed: dict[SecureHash, TransactionSignature] = {}

    def await_signature(self, tx_id: SecureHash) -> None:
        """Note that a grant is about to become durable; the signature will be asked for then."""
        self._waiting[tx_id] = None

    def signature(self, tx_id: SecureHash) -> TransactionSignature:
        """Return the signature of a grant that is durable, signing what else is waiting with it."""
        ready = self._signed.pop(tx_id, None)
        if ready is not None:
            return ready
        self._waiting.pop(tx_id, None)
        others = list(self._waiting)[: BATCH_MAX - 1]
        for other in others:
            del self._waiting[other]
        first, *rest = sign_many([tx_id, *others], self._key, self._sign)
        self._signed.update(zip(others, rest, strict=True))
        return first


@responder(notarise)
def notary_service(session: Session) -> None:
    """Answer one request."""
    request = session.receive(NotarisationRequest).unwrap(lambda asked: asked)
    answer = _refusal(session, request)
    if answer is None and request.only_if_granted:
        answer = _look_up(request)
    elif answer is None and service(Notary).is_validating:
        answer = _validate(session, request.filtered.id)
    if answer is None:
        answer = _decide(request)
    session.send(answer)


def _refusal(session: Session, request: NotarisationRequest) -> NotaryAnswer | None:
    """Return why the request is not looked at further, if so."""
    try:
        _check_visible(request.filtered, me())
        claim = claim_of(request.filtered)
    except TornOffWrong as error:
        return InvalidRefusal(str(error))
    content = request_content(request.filtered.id, claim)
    if request.client != session.counterparty:
        return RequestRefusal(f"{session.counterparty} can't ask for {request.client}")
    if not request.client.key.is_valid(request.signature, content):
        return RequestRefusal("the signature does not fit the request")
    return None


def _check_visible(filtered: FilteredTransaction, notary: Party) -> None:
    filtered.verify()
    for group in sorted(NOTARY_GROUPS):
        filtered.check_all_components_visible(Group(group))
    if filtered.notary != notary:
        raise TornOffWrong(f"the transaction's notary is {filtered.notary}, not {notary}")


def _validate(session: Session, tx_id: SecureHash) -> NotaryAnswer | None:
    """Have the whole transaction sent and verify it; return the refusal if it is wrong."""
    session.send(WholeWanted())
    try:
        signed = receive_transaction(session)
        if signed.id != tx_id:
            return InvalidRefusal(f"transaction {signed.id} was sent instead of {tx_id}")
        verify_transaction(signed, (me().key,))
    except TransactionVerificationError as error:
        return InvalidRefusal(str(error))
    return None


def _look_up(request: NotarisationRequest) -> NotaryAnswer | None:
    """Return that there is nothing to be signed again, if so."""
    return None if _was_granted(request.filtered.id) else NotGranted()


@atomic
def _was_granted(txn: StoreTxn, tx_id: SecureHash) -> bool:
    return grant_of(txn, tx_id) is not None


def _decide(request: NotarisationRequest) -> NotaryAnswer:
    decision = _claim(claim_of(request.filtered), request)
    match decision:
        case Granted():
            # Everybody whose grant is in this commit waits here, and is signed for together.
            durable()
            return Notarised(_signature(request.filtered.id))
        case Conflict():
            return ConflictRefusal(decision)
        case OutsideWindow():
            return WindowRefusal(decision)
        case Refused(reason):
            return InvalidRefusal(reason)


@atomic
def _claim(txn: StoreTxn, claim: UniquenessClaim, request: NotarisationRequest) -> Decision:
    decision = claim_states(txn, claim, request=encode(request), now_ms=txn.host.clock.now_ms())
    if isinstance(decision, Granted):
        txn.host.service(Notary).await_signature(claim.tx_id)
    return decision


@step(kind="pure", name="ledger.notary_signature")
def _signature(tx_id: SecureHash) -> TransactionSignature:
    return service(Notary).signature(tx_id)
