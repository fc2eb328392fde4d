"""Flows of the tests that ask a notary for strange things, and notaries that answer strangely."""

from ledger.builder import TransactionBuilder
from ledger.errors import NotaryError, TransactionInvalid
from ledger.flows.keys import fresh_salt, sign_content
from ledger.flows.notarise import (
    BusyRefusal,
    ConflictRefusal,
    InvalidRefusal,
    NotarisationRequest,
    Notarised,
    NotaryAnswer,
    RequestRefusal,
    WholeWanted,
    claim_of,
    notarise,
    request_content,
)
from ledger.flows.resolve import send_transaction
from ledger.hashing import SecureHash
from ledger.signatures import TransactionSignature, notarise_many
from ledger.states import StateAndRef, StateRef
from ledger.tearoff import for_notary
from ledger.transactions import SignedTransaction
from ledger.uniqueness import Conflict, ConsumedState
from ledger.vault import find_states
from runtime import Party, Session, flow, initiate, me, responder, sleep, timeout
from runtime.flow import Responder
from runtime.keys import PrivateKey
from samples.finance.cash import CashState, MoveCash
from tests.ledger.flows.deals import sign_with_us
from tests.ledger.parties import Deal, Do, linear_id


@flow(name=notarise.name)
def ask(notary: Party, request: NotarisationRequest) -> NotaryAnswer:
    """Send a request as it is and return the first answer."""
    return initiate(notary).exchange(request, NotaryAnswer).unwrap(lambda answer: answer)


@flow(name=notarise.name)
def ask_and_say_no_more(notary: Party, request: NotarisationRequest) -> None:
    """Have a validating notary wait for the transaction."""
    initiate(notary).exchange(request, WholeWanted).unwrap(lambda wanted: wanted)
    sleep(3_600)


@flow(name="tests.nap")
def nap(seconds: float) -> None:
    """Do nothing for a while."""
    sleep(seconds)


@flow(name=notarise.name)
def push(notary: Party, asked: SignedTransaction, sent: SignedTransaction) -> None:
    """Ask for one transaction and send another."""
    filtered = for_notary(asked.transaction)
    signature = sign_content(request_content(filtered.id, claim_of(filtered)))
    session = initiate(notary)
    request = NotarisationRequest(filtered, me(), signature)
    answer = session.exchange(request, NotaryAnswer).unwrap(lambda given: given)
    if not isinstance(answer, WholeWanted):
        raise NotaryError("it is not validating")
    send_transaction(session, sent)
    answer = session.receive(NotaryAnswer).unwrap(lambda given: given)
    if isinstance(answer, InvalidRefusal):
        raise TransactionInvalid(answer.reason)


@flow(name="tests.build_unsigned")
def build_unsigned(other: Party, notary: Party, replaces: StateAndRef[Deal]) -> SignedTransaction:
    """Return a deal that ``other`` had to sign and has not."""
    builder = TransactionBuilder(notary)
    builder.add_input(replaces)
    builder.add_output(Deal(linear_id=linear_id(1), parties=(me(), other)))
    builder.add_command(Do(), me().key, other.key)
    assert fresh_salt() != fresh_salt()
    return sign_with_us(builder)


CONSUMED = ConsumedState(StateRef(SecureHash.of(b"other"), 0), SecureHash.of(b"x"), "INPUT")


def falling_silent(session: Session) -> None:
    """Take a request and never answer."""
    session.receive(NotarisationRequest).unwrap(lambda asked: asked)
    sleep(10_000_000)


@flow(name="tests.spend_in_secret")
def spend_in_secret(notary: Party) -> SignedTransaction:
    """Have all our cash notarised away and forget it, as a node does that is restored."""
    builder = TransactionBuilder(notary)
    for coin in find_states(CashState):
        builder.add_input(coin)
        builder.add_output(coin.data)
        builder.add_command(MoveCash(), coin.data.owner.key)
    signed = sign_with_us(builder)
    return signed.with_signatures(notarise(signed))


@flow(name="tests.notarise_within")
def notarise_within(signed: SignedTransaction, seconds: float) -> TransactionSignature:
    """Have a transaction notarised, or give up."""
    with timeout(seconds):
        return notarise(signed)


def answering(what: str) -> Responder:
    """Return a notary that always answers ``what``."""

    def answer(session: Session) -> None:
        request = session.receive(NotarisationRequest).unwrap(lambda asked: asked)
        other = PrivateKey.from_seed(b"5" * 32)
        if what == "broken":
            raise RuntimeError("out of order")
        answers: dict[str, NotaryAnswer] = {
            "refuse request": RequestRefusal("no"),
            "invalid": InvalidRefusal("no"),
            "busy": BusyRefusal(30),
            "conflict about nothing": ConflictRefusal(Conflict(request.filtered.id, ())),
            "conflict about others": ConflictRefusal(Conflict(request.filtered.id, (CONSUMED,))),
            "conflict of another": ConflictRefusal(
                Conflict(CONSUMED.consumer_hash, _as_consumed(request))
            ),
            "nonsense": NotaryAnswer(),
            "forged": Notarised(TransactionSignature(me().key, bytes(64))),
            "other key": Notarised(
                *notarise_many(
                    [request.filtered.id], other.public, lambda _, content: other.sign(content)
                )
            ),
        }
        session.send(answers[what])

    return responder(notarise)(answer)


def _as_consumed(request: NotarisationRequest) -> tuple[ConsumedState, ...]:
    refs = claim_of(request.filtered).inputs
    return tuple(ConsumedState(ref, CONSUMED.consumer_hash, CONSUMED.kind) for ref in refs)


def sending_away(wait_seconds: float) -> Responder:
    """Return a notary that is always busy and says for how long."""

    def answer(session: Session) -> None:
        session.receive(NotarisationRequest).unwrap(lambda asked: asked)
        session.send(BusyRefusal(wait_seconds))

    return responder(notarise)(answer)
