"""The two-party trade, row by row of what it promises, on the simulated network."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import pytest

from ledger.amounts import Amount
from ledger.states import StateRef
from ledger.stores.attachments import attachment
from ledger.stores.transactions import verified_transaction
from ledger.vault import Vault
from runtime.errors import peer_of
from runtime.host import Host
from runtime.operations import FlowFilter
from runtime.progress_tree import ProgressRow
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from runtime.testing.simulated_loop import NothingLeft
from samples import trade
from samples.finance.cash import CashState
from samples.finance.cash_flows import issue_cash
from samples.finance.commercial_paper import CommercialPaper
from samples.finance.paper_flows import issue_paper
from samples.trade.flows import sell
from samples.trade.terms import AssetMismatch, NotTheSellers, Terms, UnacceptablePrice

CASH: Final = Amount(10_000, "USD")
PRICE: Final = Amount(9_500, "USD")
MATURITY: Final = datetime(2026, 6, 1, tzinfo=UTC)
PROSPECTUS: Final = b"what the paper promises"


@dataclass
class Market:
    """Four nodes: a notary, a bank, a buyer with cash, a seller with a paper."""

    network: SimulatedNetwork
    notary: SimulatedNode
    bank: SimulatedNode
    buyer: SimulatedNode
    seller: SimulatedNode


def open_market(
    terms: Terms | None = None, *, notary: str = "non-validating", papers: int = 1
) -> Market:
    network = SimulatedNetwork()

    def install(host: Host) -> None:
        trade.install(host)
        if terms is not None:
            host.provide(Terms, terms)

    def node(name: str, role: str | None = None) -> SimulatedNode:
        return network.node(name, apps=[trade], install=install, notary=role)

    market = Market(
        network, node("Notary", notary), node("Bank of Breakfast"), node("Buyer"), node("Seller")
    )
    bank, notary_party = market.bank, market.notary.party
    bank.start_flow(issue_cash, CASH, market.buyer.party, notary_party).result()
    for number in range(papers):
        bank.start_flow(
            issue_paper,
            market.seller.party,
            CASH.issued_by(bank.party),
            MATURITY,
            notary_party,
            PROSPECTUS,
            bytes([number + 1]),
        ).result()
    network.run()
    return market


def cash_of(node: SimulatedNode) -> int:
    return node.host.service(Vault).balance(CashState, "USD").quantity


def papers_of(node: SimulatedNode) -> list[CommercialPaper]:
    return [paper.data for paper in node.host.service(Vault).states(CommercialPaper)]


def assert_nothing_is_left(market: Market) -> None:
    for node in (market.bank, market.buyer, market.seller, market.notary):
        assert node.info().flows_live == 0, node.party
        assert node.info().unacknowledged == 0, node.party


@pytest.mark.parametrize("notary", ["non-validating", "validating"])
@pytest.mark.parametrize("anonymous", [False, True], ids=["named", "anonymous"])
def test_paper_and_cash_change_hands_and_both_sides_hold_the_same_transaction(
    anonymous: bool, notary: str
) -> None:
    market = open_market(notary=notary)

    tx_id = market.seller.start_flow(sell, market.buyer.party, PRICE, None, anonymous).result()
    market.network.run()

    assert (cash_of(market.buyer), cash_of(market.seller)) == (500, 9_500)
    assert (len(papers_of(market.buyer)), len(papers_of(market.seller))) == (1, 0)
    for node in (market.buyer, market.seller):
        signed = verified_transaction(node.host, tx_id)
        assert signed is not None
        assert signed.id == tx_id
    assert_nothing_is_left(market)


def test_an_anonymous_trade_names_neither_side_in_its_states() -> None:
    market = open_market()

    tx_id = market.seller.start_flow(sell, market.buyer.party, PRICE, None, True).result()

    signed = verified_transaction(market.seller.host, tx_id)
    assert signed is not None
    owners = {party for out in signed.transaction.outputs for party in out.data.participants}
    assert not owners & {market.buyer.party, market.seller.party}


def test_the_buyer_gets_the_prospectus_with_the_papers_history() -> None:
    market = open_market()

    market.seller.start_flow(sell, market.buyer.party, PRICE).result()
    market.network.run()

    issued = papers_issued(market.buyer)
    assert issued == [PROSPECTUS]


def papers_issued(node: SimulatedNode) -> list[bytes]:
    contents = []
    for state in node.host.service(Vault).states(CommercialPaper):
        signed = verified_transaction(node.host, state.ref.txhash)
        assert signed is not None
        for ref in signed.transaction.inputs:
            before = verified_transaction(node.host, ref.txhash)
            assert before is not None
            contents += [attachment(node.host, n).content for n in before.transaction.attachments]
    return contents


def test_a_price_above_the_buyers_limit_is_unacceptable_price_at_the_seller() -> None:
    market = open_market(Terms(price_max=Amount(9_000, "USD")))

    handle = market.seller.start_flow(sell, market.buyer.party, PRICE)

    with pytest.raises(UnacceptablePrice) as raised:
        handle.result()
    assert raised.value.price == PRICE.issued_by(market.bank.party)
    assert peer_of(raised.value) == market.buyer.party.name
    market.network.run()
    assert_unchanged(market)


def test_a_currency_that_the_buyer_does_not_pay_in_is_an_unacceptable_price() -> None:
    market = open_market()

    handle = market.seller.start_flow(sell, market.buyer.party, Amount(1, "EUR"))

    with pytest.raises(UnacceptablePrice):
        handle.result()


def test_another_asset_than_the_buyer_wants_is_asset_mismatch_at_the_seller() -> None:
    market = open_market(Terms(asset_type="finance.Bond"))

    handle = market.seller.start_flow(sell, market.buyer.party, PRICE)

    with pytest.raises(AssetMismatch) as raised:
        handle.result()
    assert (raised.value.expected, raised.value.actual) == (
        "finance.Bond",
        "finance.CommercialPaper",
    )
    market.network.run()
    assert_unchanged(market)


def test_a_seller_without_the_asset_sells_nothing() -> None:
    market = open_market()
    nowhere = StateRef(papers_ref(market.seller).txhash, 7)

    handle = market.seller.start_flow(sell, market.buyer.party, PRICE, nowhere)

    with pytest.raises(NotTheSellers):
        handle.result()


def papers_ref(node: SimulatedNode) -> StateRef:
    return node.host.service(Vault).states(CommercialPaper)[0].ref


def assert_unchanged(market: Market) -> None:
    assert (cash_of(market.buyer), cash_of(market.seller)) == (10_000, 0)
    assert (len(papers_of(market.buyer)), len(papers_of(market.seller))) == (0, 1)
    assert_nothing_is_left(market)


def test_two_sales_for_the_same_cash_settle_once_and_leave_nothing_locked() -> None:
    market = open_market(papers=2)
    refs = [paper.ref for paper in market.seller.host.service(Vault).states(CommercialPaper)]

    handles = [
        market.seller.begin_flow(sell, market.buyer.party, PRICE, ref, False) for ref in refs
    ]
    market.network.run()

    outcomes = [handle.status for handle in handles]
    assert sorted(outcomes) == ["completed", "failed"]
    assert cash_of(market.seller) == 9_500
    assert_nothing_is_left(market)
    # The paper that was not sold can be sold again, so its lock is gone.
    left = papers_of(market.seller)
    assert len(left) == 1


def test_progress_labels_are_those_of_the_sample_on_both_sides() -> None:
    market = open_market()
    seen: list[list[ProgressRow]] = []

    handle = market.seller.start_flow(sell, market.buyer.party, PRICE)
    handle.progress.watch(lambda _: seen.append(handle.progress.snapshot()))
    handle.result()
    market.network.run()

    assert top_labels(handle.progress.snapshot) == [
        "Awaiting transaction proposal",
        "Verifying and signing transaction proposal",
    ]
    (buyers,) = market.buyer.flows(FlowFilter(name="*buy"))
    assert top_labels(market.buyer.handle(buyers.id).progress.snapshot) == [
        "Waiting for seller trading info",
        "Verifying seller assets",
        "Generating and signing transaction proposal",
        "Collecting signatures from other parties",
        "Recording completed transaction",
    ]
    assert len(seen) > 1


def top_labels(snapshot: Callable[[], list[ProgressRow]]) -> list[str]:
    return [row.label for row in snapshot() if row.depth == 0]


@pytest.mark.parametrize("victim", ["Notary", "Buyer", "Seller"])
def test_a_crash_at_any_moment_of_the_trade_changes_nothing_in_its_outcome(victim: str) -> None:
    calm = open_market()
    before = calm.network.loop.callbacks
    calm.seller.start_flow(sell, calm.buyer.party, PRICE).result()
    calm.network.run()
    moments = calm.network.loop.callbacks - before

    for moment in range(0, moments, 7):
        market = open_market()
        handle = market.seller.options(client_id="t").begin_flow(sell, market.buyer.party, PRICE)
        run_callbacks(market.network, moment)
        market.network.nodes[victim].restart()
        again = market.seller.options(client_id="t").begin_flow(sell, market.buyer.party, PRICE)
        market.network.run()

        tx_id = again.result()
        assert (cash_of(market.buyer), cash_of(market.seller)) == (500, 9_500), moment
        for node in (market.buyer, market.seller):
            signed = verified_transaction(node.host, tx_id)
            assert signed is not None, moment
        assert_nothing_is_left(market)
        assert handle.id == again.id or victim == "Seller"


def run_callbacks(network: SimulatedNetwork, count: int) -> None:
    until = network.loop.callbacks + count
    with contextlib.suppress(NothingLeft):
        network.loop.run(lambda: network.loop.callbacks >= until)
