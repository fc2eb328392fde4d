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

from ledger.amounts import Amount, Issued
from ledger.builder import TransactionBuilder
from ledger.effect import Expected
from ledger.errors import InsufficientBalance, ProposalRejected
from ledger.flows.collect_signatures import collect_signatures
from ledger.flows.finality import finalise
from ledger.flows.identities import receive_identities, send_identities
from ledger.flows.keys import (
    fresh_identity,
    fresh_salt,
    known_owners,
    owners_of,
    register_identity,
    sign_transaction_with,
)
from ledger.flows.receive_finality import receive_finality
from ledger.flows.resolve import receive_states, send_states
from ledger.flows.sign_transaction import sign_transaction
from ledger.hashing import SecureHash
from ledger.ledger_transaction import LedgerTransaction
from ledger.query import IS_OWNED, Paging, Query, of_type, unlocked
from ledger.states import ContractState, StateAndRef, StateRef, as_type
from ledger.time_window import TimeWindow
from ledger.transactions import SignedTransaction
from ledger.vault import find_state, lock_states, query_vault, reserve
from runtime import Party, Session, flow, initiate, me, now, progress, responder, service, sleep
from runtime.codec import wire_name
from runtime.party import AbstractParty
from samples.finance.cash import CashState, coin_request, generate_spend
from samples.finance.commercial_paper import CommercialPaper, MovePaper, generate_move
from samples.trade.terms import (
    AssetMismatch,
    NotTheSellers,
    Terms,
    TradeInfo,
    UnacceptablePrice,
)

WINDOW: Final = timedelta(seconds=30)

# The buyer's clock may be wrong by some minutes. What it has not done by then, it can't do later.
PATIENCE: Final = timedelta(minutes=5)

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
    due = _due(offered.data, price)
    session = initiate(buyer)
    _enter(AWAITING)
    send_states(session, [offered])
    payee = fresh_identity() if anonymous else me()
    session.send(TradeInfo(due, payee, anonymous))
    receive_identities(session)
    _enter(VERIFYING)
    agreed = Expected(
        gives=[offered.ref], gets=[(CashState, due)], signs=[MovePaper], within=PATIENCE
    )
    signed = sign_transaction(session, agreed, lambda proposal: _between_us(session, proposal))
    return receive_finality(session, expected=signed.id).id


def _asset(wanted: StateRef | None) -> StateAndRef[CommercialPaper]:
    found = _first_paper() if wanted is None else find_state(CommercialPaper, wanted)
    if found is None:
        raise NotTheSellers(f"{me()} owns no commercial paper" + (f" {wanted}" if wanted else ""))
    return found


def _first_paper() -> StateAndRef[CommercialPaper] | None:
    ours = of_type(CommercialPaper) & IS_OWNED.equals(True) & unlocked()
    page = query_vault(Query(ours, paging=Paging(page=1, size=1)))
    return as_type(page.states[0], CommercialPaper) if page.states else None


def _due(paper: CommercialPaper, price: Amount) -> Amount:
    """Return the price as a claim on somebody: on whom the paper itself promises, if left open."""
    promised = paper.face_value.token
    if isinstance(price.token, Issued) or not isinstance(promised, Issued):
        return price
    return price.issued_by(promised.issuer, promised.reference)


def _between_us(session: Session, proposal: LedgerTransaction) -> None:
    """Refuse what is for others, known or not: a buyer could find out whom we know."""
    parties = [party for state in proposal.outputs for party in state.data.participants]
    if not set(owners_of(tuple(dict.fromkeys(parties)))) <= {me(), session.counterparty}:
        raise ProposalRejected("it makes a state for somebody who is neither seller nor buyer")


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
    actual = ", ".join(wire_name(type(each.data)) for each in offered[:2])
    if actual != expected:
        raise AssetMismatch(expected, actual)
    asset = as_type(offered[0], CommercialPaper)
    # One answer whether we know the owner or not: it is not for the seller to find out.
    if owners_of((asset.data.owner,)) != [session.counterparty]:
        raise NotTheSellers(f"{session.counterparty} does not own the asset that it offers")
    if asset.state.encumbrance is not None:
        raise NotTheSellers("the asset is encumbered, so that it can't change hands alone")
    # Whoever calls itself by a bank's name, and has another key, is not that bank.
    promised = asset.data.face_value.token
    assert isinstance(promised, Issued)
    issuers = [asset.data.issuer, promised.issuer]
    if not all(isinstance(issuer, Party) for issuer in issuers):
        raise NotTheSellers("the asset is a promise of somebody who stays anonymous")
    known_owners(issuers)
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
    try:
        coins = reserve(CashState, coin_request(info.price, notary=asset.state.notary))
    except InsufficientBalance:
        # How much we lack is not for the seller to know.
        raise UnacceptablePrice(info.price) from None
    builder = TransactionBuilder(asset.state.notary)
    keys = generate_spend(builder, coins, info.price, to=payee, change_to=ours)
    generate_move(builder, asset, to=ours)
    builder.time_window = TimeWindow.with_tolerance(now(), WINDOW)
    return sign_transaction_with(SignedTransaction(builder.to_wire(fresh_salt()).encoded), keys)
