"""A notary's side of notarisation: validating or not, one signature for all of one commit.

The grant and the event that leads to the answer are in one commit, so the answer can be lost, but
never the grant that it tells of. Requests whose grants became durable together are signed together,
by one signature over a Merkle tree of their ids. A request that would have to wait for long is sent
away with an estimate before anything is done for it.
"""

from typing import Final

from ledger.components import Group
from ledger.errors import TornOffWrong, TransactionVerificationError
from ledger.flows.notarise import (
    BusyRefusal,
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
from ledger.notary_queue import NotaryQueue
from ledger.signatures import BATCH_MAX, Sign, TransactionSignature, notarise_many
from ledger.stores.notary import claim_states, grant_of
from ledger.tearoff import NOTARY_GROUPS, FilteredTransaction
from ledger.uniqueness import (
    Conflict,
    Decision,
    Granted,
    OutsideWindow,
    Refused,
    UniquenessClaim,
    too_many,
)
from runtime.atomic import StoreTxn, atomic
from runtime.codec import encode
from runtime.context import current_flow, durable, me, service
from runtime.flow import responder
from runtime.ids import FlowId
from runtime.keys import PublicKey
from runtime.party import Party
from runtime.ports import Clock
from runtime.session import Session
from runtime.step import step

VALIDATING: Final = "validating"
NON_VALIDATING: Final = "non-validating"

STATE_GROUPS: Final = (Group.INPUTS, Group.REFERENCES)


class Notary:
    """What a notary node knows of itself, its queue, and signatures that wait for each other."""

    def __init__(self, key: PublicKey, sign: Sign, clock: Clock, *, is_validating: bool) -> None:
        self.is_validating = is_validating
        self.queue = NotaryQueue()
        self._clock = clock
        self._key = key
        self._sign = sign
        self._waiting: dict[SecureHash, None] = {}
        self._signed: dict[SecureHash, TransactionSignature] = {}

    def take(self, flow_id: FlowId) -> None:
        """Count a request that can be answered as soon as it is its turn."""
        self.queue.take(flow_id, self._clock.steady_ms())

    def wait_for_client(self, flow_id: FlowId) -> None:
        """Count a request that waits for its client to send more; see `NotaryQueue`."""
        self.queue.wait_for_client(flow_id, self._clock.steady_ms())

    def send_away(self) -> float:
        """Return after how many seconds a request shall come again, 0 if it is to be taken now."""
        return self.queue.send_away(self._clock.steady_ms())

    def answered(self, flow_id: FlowId) -> None:
        """Count a request no more, and learn how long it took."""
        self.queue.answered(flow_id, self._clock.steady_ms())

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
        first, *rest = notarise_many([tx_id, *others], self._key, self._sign)
        self._signed.update(zip(others, rest, strict=True))
        return first


@responder(notarise)
def notary_service(session: Session) -> None:
    """Answer one request."""
    request = session.receive(NotarisationRequest).unwrap(lambda asked: asked)
    # Nothing is consumed for who only asks what was; the answer costs less than sending it away.
    wait_seconds = 0.0 if request.only_if_granted else _wait_seconds()
    if wait_seconds:
        session.send(BusyRefusal(wait_seconds))
        return
    notary, flow_id = service(Notary), current_flow().id
    notary.take(flow_id)
    session.send(_answer(session, request))
    notary.answered(flow_id)


def leave_queue(txn: StoreTxn, flow_id: FlowId) -> None:
    """Count the request of a flow no more, however the flow ends."""
    txn.host.service(Notary).queue.leave(flow_id)


@step(kind="pure", name="ledger.notary_wait")
def _wait_seconds() -> float:
    return service(Notary).send_away()


def _answer(session: Session, request: NotarisationRequest) -> NotaryAnswer:
    answer = _refusal(session, request)
    if answer is None and request.only_if_granted:
        answer = _look_up(request)
    elif answer is None and service(Notary).is_validating:
        answer = _validate(session, request.filtered.id)
    return _decide(request) if answer is None else answer


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
    """Refuse a request that hides too much, or shows too much: it is kept for good."""
    for shown in filtered.groups:
        if shown.group not in NOTARY_GROUPS:
            raise TornOffWrong(f"{Group(shown.group).name} is not for a notary to see or keep")
    # Before any of them is hashed or decoded.
    surplus = too_many(sum(len(filtered.components(group)) for group in STATE_GROUPS))
    if surplus is not None:
        raise TornOffWrong(surplus)
    filtered.verify()
    for group in sorted(NOTARY_GROUPS):
        filtered.check_all_components_visible(Group(group))
    if filtered.notary != notary:
        raise TornOffWrong(f"the transaction's notary is {filtered.notary}, not {notary}")


def _validate(session: Session, tx_id: SecureHash) -> NotaryAnswer | None:
    """Have the whole transaction sent and verify it; return the refusal if it is wrong."""
    session.send(WholeWanted())
    notary, flow_id = service(Notary), current_flow().id
    notary.wait_for_client(flow_id)
    try:
        signed = receive_transaction(session)
        notary.take(flow_id)
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
