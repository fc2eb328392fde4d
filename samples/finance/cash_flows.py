"""Flows that issue cash and pay with it."""

from ledger.amounts import Amount
from ledger.builder import TransactionBuilder
from ledger.flows.finality import finalise
from ledger.flows.identities import swap_identities
from ledger.flows.keys import fresh_identity, fresh_salt, sign_transaction_with
from ledger.flows.receive_finality import receive_finality
from ledger.transactions import SignedTransaction
from ledger.vault import reserve
from runtime import Party, Session, flow, initiate, me, message, progress, responder
from runtime.party import AbstractParty
from samples.finance.cash import CashState, coin_request, generate_issue, generate_spend


@message(name="finance.HowToPay")
class HowToPay:
    """How the payer begins: with an exchange of one-time identities or without."""

    is_anonymous: bool


@flow(name="finance.issue_cash", progress=("Issuing", "Finalising"))
def issue_cash(amount: Amount, owner: Party, notary: Party) -> SignedTransaction:
    """Bring ``amount``, a bare one, into being as a claim on us, in the hands of ``owner``."""
    progress("Issuing")
    builder = TransactionBuilder(notary)
    generate_issue(builder, amount.issued_by(me()), owner=owner)
    signed = sign_transaction_with(
        SignedTransaction(builder.to_wire(fresh_salt()).encoded), builder.signers
    )
    progress("Finalising")
    sessions = [] if owner == me() else [initiate(owner)]
    return finalise(signed, sessions)


@responder(issue_cash)
def accept_cash(session: Session) -> None:
    """Take cash that its issuer hands out."""
    receive_finality(session)


@flow(name="finance.pay_cash", progress=("Exchanging identities", "Spending", "Finalising"))
def pay_cash(
    amount: Amount, payee: Party, notary: Party | None = None, anonymous: bool = False
) -> SignedTransaction:
    """Pay ``amount`` to ``payee``; `InsufficientBalance` if we have not as much, unlocked."""
    session = initiate(payee)
    session.send(HowToPay(anonymous))
    to: AbstractParty = payee
    change_to: AbstractParty = me()
    if anonymous:
        progress("Exchanging identities")
        to = swap_identities(session).theirs
        change_to = fresh_identity().anonymous
    progress("Spending")
    coins = reserve(CashState, coin_request(amount, notary=notary))
    builder = TransactionBuilder()
    keys = generate_spend(builder, coins, amount, to=to, change_to=change_to)
    signed = sign_transaction_with(SignedTransaction(builder.to_wire(fresh_salt()).encoded), keys)
    progress("Finalising")
    return finalise(signed, [session])


@responder(pay_cash)
def take_payment(session: Session) -> None:
    """Take a payment."""
    how = session.receive(HowToPay).unwrap(lambda told: told)
    if how.is_anonymous:
        swap_identities(session)
    receive_finality(session)
