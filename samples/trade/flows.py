"""A trade between two parties, delivery versus payment: both change hands, or neither does.

seller                                   buyer
the asset, and its history     ─────>    verify
TradeInfo(price, payee)        ─────>    check; build, with cash in; sign
                               <─────    identities in the proposal that the seller lacks
verify, sign                   <─────>   collect the seller's signature
record                         <─────>   finality: notarise, record, tell
"""

from datetime import timedelta
from typing import Final

from ledger.amounts import Amount
from ledger.builder import TransactionBuilder
from ledger.flows.collect_signatures import collect_signatures
from ledger.flows.finality import finalise
from ledger.flows.identities import receive_identities, send_identities
from ledger.flows.keys import (
    fresh_identity,
    fresh_salt,
    keys_of_ours,
    known_owners,
    register_identity,
    sign_transaction_with,
)
from ledger.flows.receive_finality import receive_finality
from ledger.flows.resolve import receive_states, send_states
from ledger.flows.sign_transaction import sign_transaction
from ledger.hashing import SecureHash
from ledger.ledger_transaction import LedgerTransaction
from ledger.states import ContractState, StateAndRef, StateRef, as_type
from ledger.time_window import TimeWindow
from ledger.transactions import SignedTransaction
from ledger.vault import find_states, lock_states, reserve
from runtime import Party, Session, flow, initiate, me, now, progress, responder, service, sleep
from runtime.codec import wire_name
from runtime.party import AbstractParty
from samples.finance.cash import CashState, coin_request, generate_spend, paid_to
from samples.finance.commercial_paper import CommercialPaper, generate_move
from samples.trade.terms import (
    AssetMismatch,
    NotTheSellers,
    Terms,
    TradeInfo,
    UnacceptablePrice,
    WrongPayment,
)

WINDOW: Final = timedelta(seconds=30)

AWAITING: Final = "Awaiting transaction proposal"
VERIFYING: Final = "Verifying and signing transaction proposal"

WAITING: Final = "Waiting for seller trading info"
CHECKING: Final = "Verifying seller assets"
PROPOSING: Final = "Generating and signing transaction proposal"
COLLECTING: Final = "Collecting signatures from other parties"
RECORDING: Final = "Recording completed transaction"


def _enter(label: str) -> None:
    """Show where the flow is, and let those who watch see it."""
    progress(label)
    pause_seconds = service(Terms).pause_seconds
    if pause_seconds:
        sleep(pause_seconds)


# --- the seller ---------------------------------------------------------------------------------


@flow(name="trade.sell", progress=(AWAITING, VERIFYING))
def sell(
    buyer: Party, price: Amount, asset: StateRef | None = None, anonymous: bool = False
) -> SecureHash:
    """Sell a commercial paper for cash; return the id of the transaction that settled it.

    Without ``asset``, the first paper that this node owns. Raises `UnacceptablePrice` and
    `AssetMismatch` as the buyer does.
    """
    offered = _asset(asset)
    lock_states(offered.ref)
    session = initiate(buyer)
    _enter(AWAITING)
    send_states(session, [offered])
    payee = fresh_identity() if anonymous else me()
    session.send(TradeInfo(price, payee, anonymous))
    receive_identities(session)
    _enter(VERIFYING)
    signed = sign_transaction(session, lambda proposal: _check_payment(proposal, price))
    return receive_finality(session, expected=signed.id).id


def _asset(wanted: StateRef | None) -> StateAndRef[CommercialPaper]:
    papers = find_states(CommercialPaper)
    for paper in papers:
        if wanted is None or paper.ref == wanted:
            return paper
    raise NotTheSellers(f"{me()} owns no commercial paper" + (f" {wanted}" if wanted else ""))


def _check_payment(proposal: LedgerTransaction, price: Amount) -> None:
    outputs = [state.data for state in proposal.outputs]
    participants = [party for state in outputs for party in state.participants]
    known_owners(participants)
    mine = frozenset(keys_of_ours(tuple(party.key for party in participants)))
    if paid_to(outputs, mine, price.product) != price.without_issuer():
        raise WrongPayment("Transaction is not sending us the right amount of cash")


# --- the buyer ----------------------------------------------------------------------------------


@responder(sell, progress=(WAITING, CHECKING, PROPOSING, COLLECTING, RECORDING))
def buy(session: Session) -> SecureHash:
    """Buy what a seller offers, if it is what our `Terms` say and the price is right."""
    _enter(WAITING)
    offered = receive_states(session)
    info = session.receive(TradeInfo).unwrap(lambda told: told)
    _enter(CHECKING)
    asset = _check_asset(session, offered)
    payee = _check_payee(session, info)
    if info.price.without_issuer().quantity > _price_max(info.price):
        raise UnacceptablePrice(info.price)
    _enter(PROPOSING)
    signed = _propose(asset, payee, info)
    send_identities(session, signed.transaction)
    _enter(COLLECTING)
    signed = collect_signatures(signed, [session])
    _enter(RECORDING)
    return finalise(signed, [session]).id


def _check_asset(
    session: Session, offered: list[StateAndRef[ContractState]]
) -> StateAndRef[CommercialPaper]:
    expected = service(Terms).asset_type
    actual = wire_name(type(offered[0].data))
    if len(offered) != 1 or actual != expected:
        raise AssetMismatch(expected, actual)
    asset = as_type(offered[0], CommercialPaper)
    if known_owners([asset.data.owner]) != [session.counterparty]:
        raise NotTheSellers(f"{session.counterparty} does not own the asset that it offers")
    return asset


def _check_payee(session: Session, info: TradeInfo) -> AbstractParty:
    if not isinstance(info.payee, Party):
        return register_identity(info.payee, expected=session.counterparty)
    if info.payee != session.counterparty:
        raise NotTheSellers(f"{info.payee} is to be paid, and is not the seller")
    return info.payee


def _price_max(price: Amount) -> int:
    price_max = service(Terms).price_max
    return price_max.quantity if price_max.product == price.product else 0


def _propose(
    asset: StateAndRef[CommercialPaper], payee: AbstractParty, info: TradeInfo
) -> SignedTransaction:
    """Build and sign: cash in, cash to the seller and change out; asset in, asset to us out."""
    ours: AbstractParty = fresh_identity().anonymous if info.is_anonymous else me()
    coins = reserve(CashState, coin_request(info.price, notary=asset.state.notary))
    builder = TransactionBuilder(asset.state.notary)
    keys = generate_spend(builder, coins, info.price, to=payee, change_to=ours)
    generate_move(builder, asset, to=ours)
    builder.time_window = TimeWindow.with_tolerance(now(), WINDOW)
    return sign_transaction_with(SignedTransaction(builder.to_wire(fresh_salt()).encoded), keys)
