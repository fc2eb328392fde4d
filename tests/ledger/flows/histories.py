"""Flows of the tests that send and receive histories, and break the rules of both sides."""

from ledger.errors import ResolutionFailed
from ledger.flows.resolve import (
    AttachmentBatch,
    FetchAttachments,
    FetchTransactions,
    HistoryDone,
    HistoryRequest,
    Offer,
    TransactionBatch,
    receive_states,
    receive_transaction,
    send_states,
    send_transaction,
)
from ledger.flows.storing import import_attachment, stored_transaction
from ledger.hashing import SecureHash
from ledger.states import ContractState, StateAndRef
from ledger.transactions import SignedTransaction
from runtime import Party, Session, flow, initiate, responder


@flow(name="tests.send")
def send(signed: SignedTransaction, to: Party) -> None:
    """Send a transaction with its history."""
    send_transaction(initiate(to), signed)


@responder(send)
def take(session: Session) -> None:
    """Receive it."""
    receive_transaction(session)


@flow(name="tests.show_states")
def show_states(states: list[StateAndRef[ContractState]], to: Party) -> int:
    """Show states and return how many the other side believes."""
    session = initiate(to)
    send_states(session, states)
    return session.receive(int).unwrap(lambda count: count)


@responder(show_states)
def see_states(session: Session) -> None:
    """Look at states and tell how many of them are as they were shown."""
    session.send(len(receive_states(session)))


@flow(name="tests.attach")
def attach(content: bytes) -> SecureHash:
    """Keep an attachment."""
    return import_attachment(content)


@flow(name="tests.ask_history")
def ask_history(vendor: Party, requests: list[HistoryRequest]) -> list[int]:
    """Make a vendor serve whatever it offers, and return how many items each answer had."""
    session = initiate(vendor)
    session.send(True)
    session.receive(Offer).unwrap(lambda offer: offer)
    counts = []
    for request in requests:
        if isinstance(request, FetchTransactions):
            batch = session.exchange(request, TransactionBatch).unwrap(lambda answer: answer)
            counts.append(len(batch.transactions))
        elif isinstance(request, FetchAttachments):
            contents = session.exchange(request, AttachmentBatch).unwrap(lambda answer: answer)
            counts.append(len(contents.contents))
    session.send(HistoryDone())
    return counts


OFFERED: list[SecureHash] = []
"""What a vendor offers to `ask_history`."""


@responder(ask_history)
def offer(session: Session) -> None:
    """Offer the transactions that a test has chosen."""
    session.receive(bool).unwrap(lambda asked: asked)
    send_transaction(session, stored_transaction(OFFERED[0]))


@flow(name="tests.mislead")
def mislead(to: Party, first: Offer, answers: list[TransactionBatch | AttachmentBatch]) -> None:
    """Offer something and answer every request with what was prepared."""
    session = initiate(to)
    session.send(first)
    for answer in answers:
        session.receive(HistoryRequest).unwrap(lambda request: request)
        session.send(answer)
    last = session.receive(HistoryRequest).unwrap(lambda request: request)
    if not isinstance(last, HistoryDone):
        raise ResolutionFailed("it wants more")


@responder(mislead)
def be_misled(session: Session) -> None:
    """Receive a transaction or states, whatever is offered."""
    receive_transaction(session)
