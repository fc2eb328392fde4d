"""Buyers and sellers that try to rob the other side of a trade."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from ledger.amounts import Amount
from ledger.builder import TransactionBuilder
from ledger.flows.collect_signatures import collect_signatures
from ledger.flows.finality import finalise
from ledger.flows.identities import receive_identities, send_identities
from ledger.flows.keys import fresh_salt, sign_transaction_with
from ledger.flows.receive_finality import receive_finality
from ledger.flows.resolve import receive_states, send_states
from ledger.hashing import SecureHash
from ledger.states import ContractState, StateAndRef, as_type, changed
from ledger.time_window import TimeWindow
from ledger.transactions import SignedTransaction
from ledger.vault import find_states
from runtime import Party, Session, flow, initiate, me, now, responder
from runtime.flow import Responder
from runtime.keys import PrivateKey
from runtime.party import AbstractParty, AnonymousParty
from samples.finance.cash import CashState, IssueCash, MoveCash, generate_issue, generate_spend
from samples.finance.commercial_paper import (
    CommercialPaper,
    IssuePaper,
    generate_move,
)
from samples.trade.flows import buy, sell
from samples.trade.terms import TradeInfo

FORGED = PrivateKey.from_seed(b"f" * 32)

Paper = StateAndRef[CommercialPaper]


@dataclass(frozen=True)
class Proposal:
    """What a cheat has to work with: the honest terms, and states of others that it has seen."""

    builder: TransactionBuilder
    paper: Paper
    info: TradeInfo
    loot: Sequence[StateAndRef[ContractState]]


Build = Callable[[Proposal], None]


def cheating_buyer(build: Build, loot: Sequence[StateAndRef[ContractState]]) -> Responder:
    """Return a buyer that proposes what ``build`` makes of the honest terms."""

    def cheat(session: Session) -> SecureHash:
        (offered,) = receive_states(session)
        info = session.receive(TradeInfo).unwrap(lambda told: told)
        paper = StateAndRef[CommercialPaper](offered.state, offered.ref)
        builder = TransactionBuilder(paper.state.notary)
        builder.time_window = TimeWindow.with_tolerance(now(), timedelta(seconds=30))
        build(Proposal(builder, paper, info, loot))
        signed = _signed(builder)
        send_identities(session, signed.transaction)
        signed = collect_signatures(signed, [session])
        return finalise(signed, [session]).id

    return responder(sell, progress=buy.labels)(cheat)


def _signed(builder: TransactionBuilder) -> SignedTransaction:
    wire = builder.to_wire(fresh_salt())
    return sign_transaction_with(SignedTransaction(wire.encoded), builder.signers)


def _pay(deal: Proposal, price: Amount | None = None) -> None:
    payee = deal.info.payee
    assert isinstance(payee, Party)
    coins = find_states(CashState)
    owned = [coin for coin in coins if coin.data.owner == me()]
    generate_spend(deal.builder, owned, price or deal.info.price, to=payee, change_to=me())


def pay_less(deal: Proposal) -> None:
    _pay(deal, Amount(deal.info.price.quantity - 1, deal.info.price.token))
    generate_move(deal.builder, deal.paper, to=me())


def pay_with_the_sellers_cash(deal: Proposal) -> None:
    assert isinstance(deal.info.payee, Party)
    for coin in deal.loot:
        if not isinstance(coin.data, CashState):
            continue
        deal.builder.add_input(coin)
        deal.builder.add_output(coin.data)
        deal.builder.add_command(MoveCash(), me().key, coin.data.owner.key)
    generate_move(deal.builder, deal.paper, to=me())


def take_a_second_paper(deal: Proposal) -> None:
    _pay(deal)
    generate_move(deal.builder, deal.paper, to=me())
    for other in deal.loot:
        if isinstance(other.data, CommercialPaper):
            generate_move(deal.builder, as_type(other, CommercialPaper), to=me())


def pay_with_printed_money(deal: Proposal) -> None:
    assert isinstance(deal.info.payee, Party)
    printed = deal.info.price.without_issuer().issued_by(me())
    generate_issue(deal.builder, printed, owner=deal.info.payee)
    generate_move(deal.builder, deal.paper, to=me())


def pay_in_an_encumbered_coin(deal: Proposal) -> None:
    assert isinstance(deal.info.payee, Party)
    coins = find_states(CashState)
    deal.builder.add_input(*coins)
    change = Amount(coins[0].data.amount.quantity - deal.info.price.quantity, deal.info.price.token)
    deal.builder.add_output(CashState(owner=deal.info.payee, amount=deal.info.price), encumbrance=1)
    deal.builder.add_output(CashState(owner=me(), amount=change), encumbrance=0)
    deal.builder.add_command(MoveCash(), me().key)
    generate_move(deal.builder, deal.paper, to=me())


def add_an_encumbered_coin(deal: Proposal) -> None:
    assert isinstance(deal.info.payee, Party)
    _pay(deal)
    generate_move(deal.builder, deal.paper, to=me())
    first = len(deal.builder.outputs)
    printed = Amount(1, "USD").issued_by(me())
    deal.builder.add_output(CashState(owner=deal.info.payee, amount=printed), encumbrance=first + 1)
    deal.builder.add_output(CashState(owner=me(), amount=printed), encumbrance=first)
    deal.builder.add_command(IssueCash(), me().key)


def hand_over_another_paper_too(deal: Proposal) -> None:
    """Have the seller hold something that it did not ask for."""
    assert isinstance(deal.info.payee, Party)
    _pay(deal)
    generate_move(deal.builder, deal.paper, to=me())
    deal.builder.add_output(
        CashState(owner=deal.info.payee, amount=Amount(5, "EUR").issued_by(me()))
    )
    deal.builder.add_command(IssueCash(), me().key)


def print_money_of_the_seller(deal: Proposal) -> None:
    assert isinstance(deal.info.payee, Party)
    _pay(deal)
    generate_move(deal.builder, deal.paper, to=me())
    generate_issue(deal.builder, Amount(1_000_000, "USD").issued_by(deal.info.payee), owner=me())


def leave_the_window_open(deal: Proposal) -> None:
    _pay(deal)
    generate_move(deal.builder, deal.paper, to=me())
    deal.builder.time_window = None


def begin_a_window_that_never_ends(deal: Proposal) -> None:
    _pay(deal)
    generate_move(deal.builder, deal.paper, to=me())
    deal.builder.time_window = TimeWindow.since(now())


def ask_for_a_window_of_a_year(deal: Proposal) -> None:
    _pay(deal)
    generate_move(deal.builder, deal.paper, to=me())
    deal.builder.time_window = TimeWindow.with_tolerance(now(), timedelta(days=365))


def stay_unknown(deal: Proposal) -> None:
    _pay(deal)
    generate_move(deal.builder, deal.paper, to=AnonymousParty(FORGED.public))


def call_oneself_a_bank(deal: Proposal) -> None:
    _pay(deal)
    assert isinstance(deal.paper.data.issuer, Party)
    generate_move(deal.builder, deal.paper, to=Party(deal.paper.data.issuer.name, FORGED.public))


def hand_the_paper_to_another(deal: Proposal) -> None:
    """Find out whether the seller knows somebody."""
    _pay(deal)
    generate_move(deal.builder, deal.paper, to=deal.paper.data.issuer)


BUYERS: dict[str, tuple[Build, str]] = {
    cheat.__name__: (cheat, reason)
    for cheat, reason in (
        (pay_less, "right amount"),
        (pay_with_the_sellers_cash, "which we do not give"),
        (take_a_second_paper, "which we do not give"),
        (pay_with_printed_money, "right amount"),
        (pay_in_an_encumbered_coin, "right amount"),
        (add_an_encumbered_coin, "encumbered"),
        (hand_over_another_paper_too, "right amount"),
        (print_money_of_the_seller, "IssueCash, which is not agreed"),
        (leave_the_window_open, "must end within"),
        (begin_a_window_that_never_ends, "must end within"),
        (ask_for_a_window_of_a_year, "must end within"),
        (stay_unknown, "neither seller nor buyer"),
        (call_oneself_a_bank, "neither seller nor buyer"),
        (hand_the_paper_to_another, "neither seller nor buyer"),
    )
}


# --- sellers


@flow(name="cheats.issue_to_myself")
def issue_to_myself(
    issuer: Party, notary: Party, forges_token: bool, is_anonymous: bool = False
) -> SignedTransaction:
    """Make a paper of a bank, or one that promises that bank's money, with a key of our own."""
    bank: AbstractParty = Party(issuer.name, FORGED.public)
    if is_anonymous:
        bank = AnonymousParty(FORGED.public)
    promised = Amount(10_000, "USD").issued_by(bank if forges_token else issuer)
    paper_issuer: AbstractParty = me() if forges_token else bank
    builder = TransactionBuilder(notary)
    builder.time_window = TimeWindow.with_tolerance(now(), timedelta(seconds=30))
    builder.add_output(_paper(paper_issuer, promised, b"\x01"))
    builder.add_command(IssuePaper(), paper_issuer.key)
    signed = _signed(builder)
    if not forges_token:
        signed = signed.signed_by([FORGED.public], lambda _, content: FORGED.sign(content))
    return finalise(signed, [])


@flow(name="cheats.issue_many")
def issue_many(owner: Party, notary: Party, count: int, encumbers: bool = False) -> SecureHash:
    """Issue many papers in one transaction; each may be encumbered by the next."""
    builder = TransactionBuilder(notary)
    builder.time_window = TimeWindow.with_tolerance(now(), timedelta(seconds=30))
    promised = Amount(10_000, "USD").issued_by(me())
    for number in range(count):
        paper = changed(_paper(me(), promised, b"%d" % number), owner=owner)
        builder.add_output(paper, encumbrance=(number + 1) % count if encumbers else None)
    builder.add_command(IssuePaper(), me().key)
    return finalise(_signed(builder), [initiate(owner)]).id


@responder(issue_many)
def accept_many(session: Session) -> None:
    """Take what comes."""
    receive_finality(session)


def _paper(issuer: AbstractParty, promised: Amount, reference: bytes) -> CommercialPaper:
    return CommercialPaper(
        owner=me(),
        issuer=issuer,
        reference=reference,
        face_value=promised,
        maturity=now() + timedelta(days=30),
    )


@flow(name=sell.name)
def sell_badly(
    buyer: Party,
    papers: list[StateAndRef[CommercialPaper]],
    price: Amount,
    payee: Party | None = None,
) -> None:
    """Offer whatever, for whom ever to be paid."""
    session = initiate(buyer)
    send_states(session, papers)
    session.send(TradeInfo(price, payee or me(), False))
    receive_identities(session)
