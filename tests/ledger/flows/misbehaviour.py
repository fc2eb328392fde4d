"""Flows of the tests that break the protocols of the library, to see the other side notice."""

from ledger.flows.collect_signatures import (
    SignatureAnswer,
    SignatureRequest,
    collect_signature,
)
from ledger.flows.resolve import receive_transaction, send_transaction
from ledger.flows.sign_transaction import sign_transaction
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
    sign_transaction(session, deals.ANY_DEAL)


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
