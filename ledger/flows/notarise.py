"""Have a transaction notarised: the client's side. Safe to repeat; the notary grants it once.

client                                              notary (`ledger.flows.notary_service`)
NotarisationRequest(filtered, signature)   ─────>
                                           <─────   WholeWanted      only a validating one
Offer, and its history                     ─────>
                                           <─────   Notarised(signatures) or NotaryRefusal(...)

A busy notary answers the request with `BusyRefusal` at once; it is sent again after that time.

content signed by the client = "sennit notarisation request" 00 || msgpack of
                               [id, inputs in order, references in order]
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from ledger.errors import (
    LedgerError,
    NotaryConflict,
    NotaryError,
    NotaryUnavailable,
    RequestSignatureInvalid,
    TimeWindowInvalid,
    TransactionInvalid,
)
from ledger.flows.keys import sign_content
from ledger.flows.resolve import send_transaction
from ledger.hashing import SecureHash
from ledger.signatures import TransactionSignature
from ledger.stores.coins import set_aside
from ledger.stores.vault import UNCONSUMED, vault_row
from ledger.tearoff import FilteredTransaction, for_notary
from ledger.transactions import SignedTransaction
from ledger.uniqueness import Conflict, OutsideWindow, UniquenessClaim
from runtime.atomic import StoreTxn, atomic
from runtime.codec import encode, message
from runtime.context import me, now, progress, sleep, timeout
from runtime.errors import FlowTimeout, UnexpectedFlowEnd
from runtime.flow import flow
from runtime.limits import RETRY_MS_FIRST, RETRY_MS_MAX
from runtime.party import Party
from runtime.session import Session, initiate

# So long an answer may take at first; then longer, as the notary may be away, or slow.
ANSWER_SECONDS: Final = 60.0

# A notary that says it needs longer is asked again after this, in case it has become faster.
PATIENCE_SECONDS: Final = 600.0

REQUEST_PREFIX: Final = b"sennit notarisation request\0"


@message(name="ledger.NotarisationRequest")
class NotarisationRequest:
    """What a non-validating notary needs, and the client's signature that it has asked for it.

    ``only_if_granted``: answer with what was granted before, but grant nothing.
    """

    filtered: FilteredTransaction
    client: Party
    signature: bytes
    only_if_granted: bool = False


@message(name="ledger.NotaryAnswer")
class NotaryAnswer:
    """What a notary answers."""


@message(name="ledger.WholeWanted")
class WholeWanted(NotaryAnswer):
    """I am a validating notary: send the whole transaction."""


@message(name="ledger.Notarised")
class Notarised(NotaryAnswer):
    """The inputs are the transaction's, and this proves it."""

    signature: TransactionSignature


@message(name="ledger.ConflictRefusal")
class ConflictRefusal(NotaryAnswer):
    """Some of the states are consumed."""

    conflict: Conflict


@message(name="ledger.WindowRefusal")
class WindowRefusal(NotaryAnswer):
    """It is not the time that the transaction's window demands."""

    window: OutsideWindow


@message(name="ledger.NotGranted")
class NotGranted(NotaryAnswer):
    """Nobody has had it granted so far."""


@message(name="ledger.InvalidRefusal")
class InvalidRefusal(NotaryAnswer):
    """The transaction, or what was shown of it, is wrong."""

    reason: str


@message(name="ledger.RequestRefusal")
class RequestRefusal(NotaryAnswer):
    """The request is not signed by whoever sent it."""

    reason: str


@message(name="ledger.BusyRefusal")
class BusyRefusal(NotaryAnswer):
    """Not now: ask again after this time."""

    wait_seconds: float


def request_content(tx_id: SecureHash, claim: UniquenessClaim) -> bytes:
    """Return what the client signs."""
    return REQUEST_PREFIX + encode([tx_id, list(claim.inputs), list(claim.references)])


def claim_of(filtered: FilteredTransaction) -> UniquenessClaim:
    """Return what a transaction asks of its notary."""
    return UniquenessClaim(filtered.id, filtered.inputs, filtered.references, filtered.time_window)


@flow(name="ledger.notarise", progress=("Requesting the notary's signature",))
def notarise(signed: SignedTransaction, only_if_granted: bool = False) -> TransactionSignature:
    """Return the notary's signature; all others are there already.

    Waits as long as the notary is away or busy, and asks anew when one that has taken the request
    falls silent; `runtime.timeout` bounds that. States that it refuses as consumed are no coins of
    ours any more. Raises a
    `NotaryError` if it refuses: then it has consumed nothing for this transaction, and never will,
    unless it is asked again. With ``only_if_granted`` it is asked only for what it has granted
    already, to somebody else perhaps, and `NotaryError` says that it has not.
    """
    notary = signed.transaction.notary
    if notary is None:
        raise NotaryError("the transaction has no notary")
    signed.verify_signatures_except({notary.key})
    filtered = for_notary(signed.transaction)
    content = request_content(signed.id, claim_of(filtered))
    request = NotarisationRequest(filtered, me(), sign_content(content), only_if_granted)
    progress("Requesting the notary's signature")
    delay_seconds = RETRY_MS_FIRST / 1000
    patience = _Patience()
    while True:
        try:
            return _ask(initiate(notary), signed, request, patience)
        except _FellSilent:
            continue
        except NotaryConflict as refusal:
            _set_aside(refusal.conflict)
            raise
        except NotaryUnavailable as busy:
            # In this order, a wait that is no number is passed over.
            wait_seconds = min(max(delay_seconds, busy.wait_seconds), PATIENCE_SECONDS)
            sleep(wait_seconds * _stretch(signed.id))
        except NotaryError:
            raise
        except LedgerError as error:
            # It could not get, or would not take, the history; so it has granted nothing.
            raise TransactionInvalid(str(error)) from error
        except UnexpectedFlowEnd:
            # Something went wrong there that is no verdict; it may have granted it or not.
            sleep(delay_seconds)
        delay_seconds = min(2 * delay_seconds, RETRY_MS_MAX / 1000)


def _stretch(tx_id: SecureHash) -> float:
    """Return 1 to 1.5, so that not all who were told the same come back at the same time."""
    return 1 + tx_id.digest[0] / 510


class _FellSilent(Exception):
    """The notary has taken a request and does not answer: it is asked anew, and grants again."""


@dataclass
class _Patience:
    """How long to wait for an answer; longer each time, as the notary may only be slow."""

    seconds: float = ANSWER_SECONDS


def _ask(
    session: Session,
    signed: SignedTransaction,
    request: NotarisationRequest,
    patience: _Patience,
) -> TransactionSignature:
    """Ask once; raises `NotaryUnavailable` or `_FellSilent` if it has to be asked again."""
    session.send(request)
    while True:
        until = now() + timedelta(seconds=patience.seconds)
        try:
            with timeout(patience.seconds):
                answer = _answer(session, signed)
            return _signature_in(answer, signed)
        except FlowTimeout:
            if now() < until:
                raise  # our caller's time is up, not the notary's
        # While the notary is away, the request waits for it; there is no need for another.
        asked = now()
        _ = session.peer
        if now() == asked:
            session.close()
            patience.seconds = min(2 * patience.seconds, PATIENCE_SECONDS)
            raise _FellSilent


def _answer(session: Session, signed: SignedTransaction) -> NotaryAnswer:
    answer = session.receive(NotaryAnswer).unwrap(lambda given: given)
    if isinstance(answer, WholeWanted):
        send_transaction(session, signed)
        answer = session.receive(NotaryAnswer).unwrap(lambda given: given)
    return answer


def _signature_in(answer: NotaryAnswer, signed: SignedTransaction) -> TransactionSignature:
    match answer:
        case Notarised(signature):
            return _checked(signed, signature)
        case ConflictRefusal(conflict):
            raise NotaryConflict(_checked_conflict(signed, conflict))
        case WindowRefusal(outside):
            raise TimeWindowInvalid(
                f"the notary's time {outside.now_ms} ms is outside {outside.window}"
            )
        case InvalidRefusal(reason):
            raise TransactionInvalid(reason)
        case NotGranted():
            raise NotaryError("the notary has not granted it")
        case RequestRefusal(reason):
            raise RequestSignatureInvalid(reason)
        case BusyRefusal(wait_seconds):
            raise NotaryUnavailable(wait_seconds)
        case _:
            raise NotaryError(f"the notary answered {type(answer).__name__}, which is no answer")


def _checked_conflict(signed: SignedTransaction, conflict: Conflict) -> Conflict:
    wire = signed.transaction
    asked = {*wire.inputs, *wire.references}
    consumed = {state.ref for state in conflict.consumed}
    if conflict.tx_id != wire.id or not consumed or not consumed <= asked:
        raise NotaryError(f"{wire.notary} refused states that nobody asked it for")
    return conflict


@atomic
def _set_aside(txn: StoreTxn, conflict: Conflict) -> None:
    for state in conflict.consumed:
        row = vault_row(txn, state.ref)
        if row is not None and row.status == UNCONSUMED:
            set_aside(txn, state.ref, row, state.consumer_hash)


def _checked(signed: SignedTransaction, signature: TransactionSignature) -> TransactionSignature:
    notary = signed.transaction.notary
    assert notary is not None
    if signature.key != notary.key or not signature.is_valid_notarys(signed.id):
        raise NotaryError(f"what {notary} sent is not its signature of the transaction")
    return signature
