"""Flows of the tests that go under the names of others; start them, but never register them."""

from ledger.flows.finality import FinalityNews, Held
from ledger.flows.notarise import NotarisationRequest
from ledger.flows.receive_finality import (
    Fate,
    FoundSignature,
    LostSignature,
    receive_finality,
    recover,
)
from ledger.flows.resolve import HistoryRequest, Offer, receive_transaction, send_transaction
from ledger.hashing import SecureHash
from ledger.signatures import TransactionSignature
from ledger.transactions import SignedTransaction
from runtime import Party, Session, flow, initiate, service, step
from runtime.host import Host
from tests.ledger.flows import deals, histories


@flow(name=deals.finish.name)
def tell_nonsense(signed: SignedTransaction, other: Party, news: FinalityNews) -> None:
    """Have a transaction held, and then tell whatever."""
    session = initiate(other)
    send_transaction(session, signed)
    session.receive(Held).unwrap(lambda held: held)
    session.send(news)


@flow(name=histories.show_states.name)
def show_offer(other: Party, offer: Offer) -> None:
    """Show whatever is offered where states are wanted."""
    session = initiate(other)
    session.send(offer)
    session.receive(HistoryRequest).unwrap(lambda asked: asked)


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


def forging(session: Session) -> None:
    """Make up the signature of the notary."""
    session.receive(LostSignature).unwrap(lambda asked: asked)
    forged = TransactionSignature(stored_notary().key, bytes(64))
    session.send(FoundSignature(forged, Fate.HELD))


@step(kind="pure")
def stored_notary() -> Party:
    """Return the network's notary."""
    return service(Host).directory.notaries()[0]


def babbling(session: Session) -> None:
    """Answer with something that is no message of the protocol."""
    session.receive(NotarisationRequest).unwrap(lambda asked: asked)
    session.send("hello")
