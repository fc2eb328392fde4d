"""Flows that issue commercial paper and hand it on."""

from datetime import datetime, timedelta
from typing import Final

from ledger.amounts import Amount, Issued
from ledger.builder import TransactionBuilder
from ledger.flows.finality import finalise
from ledger.flows.keys import fresh_salt, sign_transaction_with
from ledger.flows.receive_finality import receive_finality
from ledger.flows.storing import import_attachment
from ledger.states import StateAndRef
from ledger.time_window import TimeWindow
from ledger.transactions import SignedTransaction
from runtime import Party, Session, flow, initiate, me, now, progress, responder
from samples.finance.commercial_paper import CommercialPaper, generate_issue, generate_move

WINDOW: Final = timedelta(seconds=30)


@flow(name="finance.issue_paper", progress=("Issuing", "Finalising"))
def issue_paper(
    owner: Party,
    face_value: Amount,
    maturity: datetime,
    notary: Party,
    prospectus: bytes = b"",
    reference: bytes = b"\x01",
) -> SignedTransaction:
    """Issue a paper of this node, with its prospectus attached, in the hands of ``owner``.

    A bare ``face_value`` is owed as a claim on this node.
    """
    progress("Issuing")
    builder = TransactionBuilder(notary)
    builder.time_window = TimeWindow.with_tolerance(now(), WINDOW)
    if prospectus:
        builder.add_attachment(import_attachment(prospectus))
    if not isinstance(face_value.token, Issued):
        face_value = face_value.issued_by(me())
    paper = CommercialPaper(
        owner=owner, issuer=me(), reference=reference, face_value=face_value, maturity=maturity
    )
    generate_issue(builder, paper)
    signed = sign_transaction_with(
        SignedTransaction(builder.to_wire(fresh_salt()).encoded), builder.signers
    )
    progress("Finalising")
    return finalise(signed, [] if owner == me() else [initiate(owner)])


@responder(issue_paper)
def accept_paper(session: Session) -> None:
    """Take a paper that its issuer hands out."""
    receive_finality(session)


@flow(name="finance.move_paper")
def move_paper(paper: StateAndRef[CommercialPaper], buyer: Party) -> SignedTransaction:
    """Hand a paper of ours to ``buyer``, for nothing."""
    builder = TransactionBuilder()
    generate_move(builder, paper, to=buyer)
    signed = sign_transaction_with(
        SignedTransaction(builder.to_wire(fresh_salt()).encoded), builder.signers
    )
    return finalise(signed, [initiate(buyer)])


@responder(move_paper)
def take_paper(session: Session) -> None:
    """Take a paper."""
    receive_finality(session)
