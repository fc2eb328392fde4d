"""Commercial paper: a promise to pay a face value at maturity, that can be sold before.

Rules, for each issue of paper on its own:

    issue    nothing in, one out; the issuer signs; a face value; matures after the time window
    move     one in, one out, nothing changed but the owner; the owner signs
    redeem   one in, none out; matured before the time window; the owner gets the face value in
             cash; the owner signs
"""

from collections.abc import Sequence
from datetime import datetime

from ledger.amounts import Amount, Issued
from ledger.builder import TransactionBuilder
from ledger.contracts import belongs_to, contract, require
from ledger.ledger_transaction import Command, InOut, LedgerTransaction
from ledger.states import ColumnValue, OwnableState, StateAndRef
from ledger.time_window import milliseconds
from runtime.codec import message
from runtime.keys import PublicKey
from runtime.party import AbstractParty
from samples.finance.cash import CashState, generate_spend


@message(name="finance.IssuePaper")
class IssuePaper:
    """Brings a paper into being."""


@message(name="finance.MovePaper")
class MovePaper:
    """Hands a paper on."""


@message(name="finance.RedeemPaper")
class RedeemPaper:
    """Gives a paper back for its face value."""


@message(name="finance.PaperKey")
class PaperKey:
    """What makes two papers versions of one: everything but the owner."""

    issuer: AbstractParty
    reference: bytes
    face_value: Amount
    maturity: datetime


PaperCommand = Command[IssuePaper | MovePaper | RedeemPaper]


@contract(name="finance.CommercialPaper")
class CommercialPaperContract:
    """Issue, move and redemption of paper."""

    def verify(self, tx: LedgerTransaction) -> None:
        """Check every issue of paper on its own."""
        command: PaperCommand = tx.command(IssuePaper, MovePaper, RedeemPaper)
        unpaid = _unpaid(tx) if isinstance(command.data, RedeemPaper) else frozenset()
        for group in tx.group_states(CommercialPaper, CommercialPaper.identity):
            match command.data:
                case IssuePaper():
                    _verify_issue(tx, command, group)
                case MovePaper():
                    _verify_move(command, group)
                case RedeemPaper():
                    _verify_redeem(tx, command, group, unpaid)


@belongs_to(CommercialPaperContract)
@message(name="finance.CommercialPaper")
class CommercialPaper(OwnableState):
    """``issuer``, under its own ``reference``, owes ``face_value`` to the owner at ``maturity``."""

    issuer: AbstractParty
    reference: bytes
    face_value: Amount
    maturity: datetime

    def __post_init__(self) -> None:
        if self.maturity.tzinfo is None:
            raise ValueError("a maturity needs a time zone")
        if not isinstance(self.face_value.token, Issued):
            raise ValueError("a face value is issued by somebody: use Amount.issued_by(issuer)")

    def identity(self) -> PaperKey:
        """Return what stays the same whoever owns the paper."""
        return PaperKey(self.issuer, self.reference, self.face_value, self.maturity)

    def columns(self) -> dict[str, ColumnValue]:
        """Let the vault find papers by their terms."""
        return {
            "face_value": self.face_value.quantity,
            "currency": self.face_value.product,
            "maturity": milliseconds(self.maturity),
            "issuer": str(self.issuer),
        }


Papers = InOut[CommercialPaper, PaperKey]
Debt = tuple[AbstractParty, Issued | str]


def generate_issue(builder: TransactionBuilder, paper: CommercialPaper) -> None:
    """Add a new paper; its issuer has to sign, and the builder needs a time window."""
    builder.add_output(paper)
    builder.add_command(IssuePaper(), paper.issuer.key)


def generate_move(
    builder: TransactionBuilder, paper: StateAndRef[CommercialPaper], *, to: AbstractParty
) -> None:
    """Hand ``paper`` to another owner; the one it has must sign."""
    builder.add_input(paper)
    builder.add_output(paper.data.with_owner(to))
    builder.add_command(MovePaper(), paper.data.owner.key)


def generate_redeem(
    builder: TransactionBuilder,
    paper: StateAndRef[CommercialPaper],
    coins: Sequence[StateAndRef[CashState]],
    *,
    change_to: AbstractParty,
) -> tuple[PublicKey, ...]:
    """Give ``paper`` back for its face value out of ``coins``; return who must sign for these."""
    owner = paper.data.owner
    signers = generate_spend(builder, coins, paper.data.face_value, to=owner, change_to=change_to)
    builder.add_input(paper)
    builder.add_command(RedeemPaper(), owner.key)
    return signers


def _verify_issue(tx: LedgerTransaction, command: PaperCommand, group: Papers) -> None:
    require("an issue consumes no paper", not group.inputs)
    require("an issue makes one paper of its kind", len(group.outputs) == 1)
    paper = group.outputs[0]
    require("a paper promises more than nothing", paper.face_value)
    require("the issuer must sign the issue of paper", paper.issuer.key in command.signers)
    until_ms = tx.time_window.until_ms if tx.time_window else None
    require("an issue needs a time window with an end", until_ms is not None)
    assert until_ms is not None
    require("a paper matures after its issue", milliseconds(paper.maturity) >= until_ms)


def _verify_move(command: PaperCommand, group: Papers) -> None:
    require("a move changes nothing but the owner", len(group.inputs) == len(group.outputs) == 1)
    require("the owner must sign the move of paper", group.inputs[0].owner.key in command.signers)


def _verify_redeem(
    tx: LedgerTransaction, command: PaperCommand, group: Papers, unpaid: frozenset[Debt]
) -> None:
    require("a redemption consumes one paper of its kind", len(group.inputs) == 1)
    require("a redemption makes no paper", not group.outputs)
    paper = group.inputs[0]
    require("the owner must sign the redemption", paper.owner.key in command.signers)
    from_ms = tx.time_window.from_ms if tx.time_window else None
    require("a redemption needs a time window with a beginning", from_ms is not None)
    assert from_ms is not None
    require("a paper is redeemed after it matured", milliseconds(paper.maturity) <= from_ms)
    debt = (paper.owner, paper.face_value.token)
    require("the owner must get the face value in cash", debt not in unpaid)


def _unpaid(tx: LedgerTransaction) -> frozenset[Debt]:
    """Return to whom, and in which cash, less is paid than all its papers here promise."""
    balance: dict[Debt, int] = {}

    def add(owner: AbstractParty, amount: Amount, sign: int) -> None:
        debt = (owner, amount.token)
        balance[debt] = balance.get(debt, 0) + sign * amount.quantity

    for paper in tx.inputs_of(CommercialPaper):
        add(paper.owner, paper.face_value, -1)
    for cash in tx.inputs_of(CashState):
        add(cash.owner, cash.amount, -1)
    for cash in tx.outputs_of(CashState):
        add(cash.owner, cash.amount, 1)
    return frozenset(debt for debt, quantity in balance.items() if quantity < 0)
