"""Flows of those who cheat, or only want a long history; they lock nothing of what they spend."""

from collections.abc import Iterable

from ledger.amounts import Amount
from ledger.builder import TransactionBuilder
from ledger.effect import FOREVER, Expected
from ledger.flows.collect_signatures import SignatureAnswer, SignatureRequest
from ledger.flows.finality import finalise
from ledger.flows.identities import receive_identities
from ledger.flows.keys import fresh_salt, sign_transaction_with
from ledger.flows.notarise import notarise
from ledger.flows.receive_finality import receive_finality
from ledger.flows.resolve import receive_transaction, send_states
from ledger.flows.sign_transaction import sign_transaction
from ledger.flows.storing import record_own_unnotarised, record_transaction, verified_or_none
from ledger.hashing import SecureHash
from ledger.signatures import TransactionSignature
from ledger.states import StateAndRef, StateRef, changed
from ledger.transactions import SignedTransaction
from ledger.vault import find_states
from runtime import FlowException, Party, Session, flow, initiate, me, responder
from runtime.keys import SIGNATURE_BYTES, PublicKey
from samples.finance.cash import CashState, MoveCash, generate_spend
from samples.finance.commercial_paper import CommercialPaper, MovePaper, generate_move
from samples.trade.flows import buy
from samples.trade.terms import TradeInfo


class NotOwned(FlowException):
    """A transaction has not arrived; a state is not in the vault, or not any more."""


@flow(name="rogue.knows")
def knows(tx_id: SecureHash) -> None:
    """Find out whether a transaction has arrived; raises `NotOwned` if not."""
    if verified_or_none(tx_id) is None:
        raise NotOwned(f"{me()} does not have {tx_id}")


@flow(name="rogue.sell")
def sell_without_lock(
    buyer: Party, price: Amount, asset: StateRef, anonymous: bool = False
) -> SecureHash:
    """Sell a paper, whoever else it is being sold to."""
    session = initiate(buyer)
    send_states(session, [_paper(asset)])
    session.send(TradeInfo(price, me(), anonymous))
    receive_identities(session)
    wanted = Expected(gives=[asset], gets=[CashState], signs=[MovePaper], within=FOREVER)
    signed = sign_transaction(session, wanted)
    return receive_finality(session, expected=signed.id).id


@responder(sell_without_lock, progress=buy.labels)
def buy_in_good_faith(session: Session) -> SecureHash:
    """Buy as from an honest seller."""
    return _bought(session)


@flow(name="rogue.forge")
def sell_with_forged_signature(
    buyer: Party, price: Amount, asset: StateRef, anonymous: bool = False
) -> SecureHash:
    """Sell a paper, and give the buyer something else for a signature."""
    session = initiate(buyer)
    send_states(session, [_paper(asset)])
    session.send(TradeInfo(price, me(), anonymous))
    receive_identities(session)
    signed = receive_transaction(session)
    keys = session.receive(SignatureRequest).unwrap(lambda asked: asked.keys)
    forged = (TransactionSignature(key, bytes(SIGNATURE_BYTES)) for key in keys)
    session.send(SignatureAnswer(tuple(forged)))
    return receive_finality(session, expected=signed.id).id


@responder(sell_with_forged_signature, progress=buy.labels)
def buy_from_forger(session: Session) -> SecureHash:
    """Buy as from an honest seller."""
    return _bought(session)


def _bought(session: Session) -> SecureHash:
    bought = buy.function(session)
    assert isinstance(bought, SecureHash)
    return bought


@flow(name="rogue.counterfeit")
def counterfeit(notary: Party, times: int) -> SignedTransaction:
    """Make more cash out of what we have; a notary that does not validate can't know."""
    coins = find_states(CashState)
    builder = TransactionBuilder(notary)
    builder.add_input(*coins)
    for coin in coins:
        amount = Amount(coin.data.amount.quantity * times, coin.data.amount.token)
        builder.add_output(changed(coin.data, amount=amount))
    builder.add_command(MoveCash(), me().key)
    signed = _signed(builder, builder.signers)
    record_own_unnotarised(signed)
    signed = signed.with_signatures(notarise(signed))
    record_transaction(signed)
    return signed


@flow(name="rogue.pay")
def pay_without_lock(
    amount: Amount, payee: Party, notary: Party, anonymous: bool = False
) -> SignedTransaction:
    """Pay with the first coins that suffice, whoever else is paid with them."""
    coins = find_states(CashState)
    builder = TransactionBuilder(notary)
    keys = generate_spend(builder, coins, amount, to=payee, change_to=me())
    return finalise(_signed(builder, keys), [initiate(payee)])


@responder(pay_without_lock)
def take_in_good_faith(session: Session) -> None:
    """Take a payment."""
    receive_finality(session)


@flow(name="rogue.churn")
def churn(asset: StateRef, times: int) -> StateRef:
    """Hand a paper from us to us, again and again; return what it is then."""
    paper = _paper(asset)
    for _ in range(times):
        builder = TransactionBuilder()
        generate_move(builder, paper, to=me())
        signed = finalise(_signed(builder, builder.signers), [])
        moved = signed.transaction.output_ref(0)
        paper = StateAndRef(moved.state, moved.ref)
    return paper.ref


def _paper(ref: StateRef) -> StateAndRef[CommercialPaper]:
    for paper in find_states(CommercialPaper):
        if paper.ref == ref:
            return paper
    raise NotOwned(f"{me()} does not own {ref}")


def _signed(builder: TransactionBuilder, keys: Iterable[PublicKey]) -> SignedTransaction:
    return sign_transaction_with(SignedTransaction(builder.to_wire(fresh_salt()).encoded), keys)
