"""A trade with somebody who cheats: the honest side keeps all it has, and says what was wrong."""

import pytest

from ledger.amounts import Amount
from ledger.errors import ProposalRejected, SessionMissing, StatesNotAvailable
from ledger.query import Paging, Query, of_type
from ledger.states import ContractState, StateAndRef, StateRef
from ledger.stores.locks import LOCKS
from ledger.vault import Vault
from runtime import peer_of
from samples.finance.cash import CashState
from samples.finance.cash_flows import issue_cash, pay_cash
from samples.finance.commercial_paper import CommercialPaper
from samples.finance.paper_flows import issue_paper, move_paper
from samples.trade.flows import sell
from samples.trade.holdings import holdings
from samples.trade.terms import AssetMismatch, NotTheSellers, Terms, UnacceptablePrice
from tests.samples import trade_cheats
from tests.samples.test_trade import MATURITY, PRICE, Market, cash_of, open_market, papers_of

ONE_PAPER = Query(of_type(CommercialPaper), paging=Paging(page=1, size=1))


def market_with_loot() -> tuple[Market, list[StateAndRef[ContractState]]]:
    """Return a market whose seller owns cash and a second paper that the buyer knows of."""
    market = open_market()
    buyer, seller, bank = market.buyer, market.seller, market.bank
    bank.start_flow(
        issue_paper, buyer.party, Amount(100, "USD"), MATURITY, market.notary.party
    ).result()
    market.network.run()
    (second,) = buyer.host.service(Vault).states(CommercialPaper)
    buyer.start_flow(move_paper, second, seller.party).result()
    bank.start_flow(issue_cash, PRICE, buyer.party, market.notary.party).result()
    market.network.run()
    buyer.start_flow(pay_cash, PRICE, seller.party).result()
    market.network.run()
    known = seller.host.service(Vault)
    cash = [*known.states(CashState)]
    papers = [p for p in known.states(CommercialPaper) if p.data.face_value.quantity == 100]
    return market, [*cash, *papers]


@pytest.mark.parametrize("name", trade_cheats.BUYERS)
def test_a_seller_signs_nothing_but_what_was_agreed(name: str) -> None:
    build, reason = trade_cheats.BUYERS[name]
    market, loot = market_with_loot()
    cheat = trade_cheats.cheating_buyer(build, loot)
    market.buyer.host.registry.responders[sell.name] = cheat
    offered = next(
        p.ref for p in market.seller.host.service(Vault).states(CommercialPaper) if p not in loot
    )
    before = holdings_of(market)

    handle = market.seller.start_flow(sell, market.buyer.party, PRICE, offered)

    with pytest.raises(ProposalRejected, match=reason) as caught:
        handle.result()
    assert peer_of(caught.value) is None, "the seller itself refuses, before it signs"
    market.network.run()
    assert holdings_of(market) == before
    assert list(market.seller.host.scan(LOCKS, b"", None)) == []


def holdings_of(market: Market) -> tuple[int, int]:
    return cash_of(market.seller), len(papers_of(market.seller))


def market_of_cheats() -> Market:
    market = open_market(papers=0)
    for node in (market.bank, market.seller):
        node.host.register(
            trade_cheats.issue_to_myself, trade_cheats.issue_many, trade_cheats.accept_many
        )
    return market


def all_papers(market: Market) -> list[StateAndRef[CommercialPaper]]:
    return market.seller.host.service(Vault).states(CommercialPaper)


@pytest.mark.parametrize("forges_token", [False, True], ids=["issuer", "promised money"])
def test_a_buyer_buys_no_paper_of_a_bank_that_is_none(forges_token: bool) -> None:
    market = market_of_cheats()
    market.seller.start_flow(
        trade_cheats.issue_to_myself, market.bank.party, market.notary.party, forges_token
    ).result()

    handle = market.seller.start_flow(sell, market.buyer.party, PRICE.issued_by(market.bank.party))

    with pytest.raises(SessionMissing, match="nobody here knows who O=Bank of Breakfast"):
        handle.result()
    market.network.run()
    assert cash_of(market.buyer) == 10_000


@pytest.mark.parametrize("forges_token", [False, True], ids=["issuer", "promised money"])
def test_a_seller_does_not_find_out_whether_the_buyer_knows_a_one_time_key(
    forges_token: bool,
) -> None:
    market = market_of_cheats()
    market.seller.start_flow(
        trade_cheats.issue_to_myself, market.bank.party, market.notary.party, forges_token, True
    ).result()

    handle = market.seller.start_flow(sell, market.buyer.party, PRICE.issued_by(market.bank.party))

    with pytest.raises(NotTheSellers, match="stays anonymous"):
        handle.result()


def test_a_seller_does_not_find_out_how_much_the_buyer_has() -> None:
    market = open_market()
    market.buyer.host.provide(Terms, Terms(price_max=Amount(10**9, "USD")))

    handle = market.seller.start_flow(sell, market.buyer.party, Amount(10**6, "USD"))

    with pytest.raises(UnacceptablePrice) as caught:
        handle.result()
    assert caught.value.price.quantity == 10**6
    assert "missing" not in str(caught.value)


def test_a_buyer_buys_no_encumbered_paper() -> None:
    market = market_of_cheats()
    market.bank.start_flow(
        trade_cheats.issue_many, market.seller.party, market.notary.party, 2, True
    ).result()
    market.network.run()

    with pytest.raises(NotTheSellers, match="encumbered"):
        market.seller.start_flow(sell, market.buyer.party, PRICE).result()
    market.network.run()

    assert cash_of(market.buyer) == 10_000


def test_a_buyer_looks_at_one_asset_at_a_time() -> None:
    market = open_market(papers=2)

    handle = market.seller.start_impostor(
        trade_cheats.sell_badly, market.buyer.party, all_papers(market), PRICE
    )

    with pytest.raises(AssetMismatch):
        handle.result()


def test_a_buyer_buys_only_what_the_seller_owns() -> None:
    market = open_market()

    handle = market.bank.start_impostor(
        trade_cheats.sell_badly, market.buyer.party, all_papers(market), PRICE
    )

    with pytest.raises(NotTheSellers, match="does not own the asset"):
        handle.result()


def test_a_buyer_pays_nobody_but_the_seller() -> None:
    market = open_market()

    handle = market.seller.start_impostor(
        trade_cheats.sell_badly, market.buyer.party, all_papers(market), PRICE, market.bank.party
    )

    with pytest.raises(NotTheSellers, match="is not the seller"):
        handle.result()


def test_a_price_in_claims_on_somebody_else_is_not_paid_with_what_is_there() -> None:
    market = open_market()

    handle = market.seller.start_flow(
        sell, market.buyer.party, PRICE.issued_by(market.bank.party, b"another deposit")
    )

    with pytest.raises(UnacceptablePrice):
        handle.result()
    market.network.run()
    assert holdings_of(market) == (0, 1)


def test_a_seller_of_hundreds_of_papers_can_sell_one() -> None:
    market = market_of_cheats()
    market.bank.start_flow(
        trade_cheats.issue_many, market.seller.party, market.notary.party, 300
    ).result()
    market.network.run()
    last = StateRef(market.seller.host.service(Vault).query(ONE_PAPER).states[0].ref.txhash, 299)

    market.seller.start_flow(sell, market.buyer.party, Amount(10, "USD")).result()
    market.seller.start_flow(sell, market.buyer.party, Amount(20, "USD"), last).result()
    market.network.run()

    assert cash_of(market.seller) == 30
    assert market.seller.start_flow(holdings).result().papers == 298


def test_a_paper_of_others_is_not_ours_to_sell() -> None:
    market = open_market()
    ref = all_papers(market)[0].ref

    with pytest.raises(NotTheSellers):
        market.bank.start_flow(sell, market.buyer.party, PRICE, ref).result()


def test_a_paper_that_is_being_sold_is_not_offered_to_another() -> None:
    market = open_market()
    ref = all_papers(market)[0].ref
    market.buyer.stop()
    market.seller.begin_flow(sell, market.buyer.party, PRICE, ref)
    market.network.run_for(10)

    for asset, error in ((ref, StatesNotAvailable), (None, NotTheSellers)):
        with pytest.raises(error):
            market.seller.start_flow(sell, market.bank.party, PRICE, asset).result()
