"""Flows of the tests that break the protocols of the library, to see the other side notice."""

from ledger.flows.collect_signatures import (
    SignatureAnswer,
    SignatureRequest,
    collect_signature,
)
from ledger.flows.finality import FinalityNews, Held
from ledger.flows.receive_finality import (
    FoundSignature,
    LostSignature,
    receive_finality,
    recover,
)
from ledger.flows.resolve import receive_transaction, send_transaction
from ledger.flows.sign_transaction import sign_transaction
from ledger.hashing import SecureHash
from ledger.signatures import TransactionSignature
from ledger.transactions import SignedTransaction
from runtime import Party, Session, flow, initiate, me, message, responder
from runtime.keys import PrivateKey, PublicKey
from tests.ledger.flows import deals


@flow(name="tests.ask_for")
def ask_for(signed: SignedTransaction, signer: Party, keys: list[PublicKey]) -> None:
    """Ask for signatures of whichever keys."""
    session = initiate(signer)
    send_transaction(session, signed)
    session.exchange(SignatureRequest(tuple(keys)), SignatureAnswer).unwrap(lambda answer: answer)


@responder(ask_for)
def sign_anything(session: Session) -> None:
    """Sign by the rules."""
    sign_transaction(session, lambda _: None)


@message(name="tests.Way")
class Way:
    """How to answer."""

    name: str


@flow(name="tests.be_fooled")
def be_fooled(signed: SignedTransaction, signer: Party, way: str) -> None:
    """Ask somebody who answers with something else."""
    session = initiate(signer)
    session.send(Way(way))
    collect_signature(signed, session, [signer.key])


@responder(be_fooled)
def fool(session: Session) -> None:
    """Answer with something else."""
    way = session.receive(Way).unwrap(lambda asked: asked.name)
    receive_transaction(session)
    session.receive(SignatureRequest).unwrap(lambda asked: asked)
    other = PrivateKey.from_seed(b"7" * 32)
    answers = {
        "other key": (TransactionSignature(other.public, other.sign(b"")),),
        "other content": (TransactionSignature(me().key, bytes(64)),),
        "nothing": (),
    }
    session.send(SignatureAnswer(answers[way]))


@flow(name=deals.finish.name)
def tell_nonsense(signed: SignedTransaction, other: Party, news: FinalityNews) -> None:
    """Have a transaction held, and then tell whatever."""
    session = initiate(other)
    send_transaction(session, signed)
    session.receive(Held).unwrap(lambda held: held)
    session.send(news)


def holding_something_else(session: Session) -> None:
    """Hold another transaction than the one that came."""
    receive_transaction(session)
    session.send(Held(SecureHash.of(b"another")))


def leaving_early(session: Session) -> None:
    """Hold what came and don't wait for what becomes of it."""
    signed = receive_transaction(session)
    session.send(Held(signed.id))
    session.close()


def expecting_another(session: Session) -> None:
    """Expect the finality of another transaction."""
    receive_finality(session, expected=SecureHash.of(b"another"))


@flow(name=recover.name)
def ask_signature(holder: Party, tx_id: SecureHash) -> bool:
    """Ask for the notary's signature of a transaction; tell whether it came."""
    session = initiate(holder)
    found = session.exchange(LostSignature(tx_id), FoundSignature).unwrap(lambda answer: answer)
    return found.signature is not None
