"""Scenarios on the ledger: whatever fails, cash and paper change hands both or not at all."""

from datetime import UTC, datetime
from typing import Final

from ledger.amounts import Amount
from ledger.stores.locks import LOCKS
from ledger.stores.transactions import unnotarised_transactions
from ledger.vault import Vault
from runtime.testing.network import SimulatedNode
from runtime.testing.simulation import Scenario
from runtime.testing.world import Request, World, ended, succeeded
from samples import trade
from samples.finance import cash_flows
from samples.finance.cash import CashState
from samples.finance.cash_flows import issue_cash, pay_cash
from samples.finance.commercial_paper import CommercialPaper
from samples.finance.paper_flows import issue_paper
from samples.trade.flows import sell

CASH: Final = Amount(10_000, "USD")
PRICE: Final = Amount(9_500, "USD")
MATURITY: Final = datetime(2027, 6, 1, tzinfo=UTC)


class Market:
    """A notary, a bank, a buyer with cash, a seller with a paper, in a world of faults."""

    def __init__(self, world: World) -> None:
        self.world = world
        role = world.random.choice(("validating", "non-validating"))
        self.notary = world.node("Notary", install=trade.install, notary=role)
        self.bank = self.node("Bank")
        self.buyer = self.node("Buyer")
        self.seller = self.node("Seller")

    def node(self, name: str) -> SimulatedNode:
        return self.world.node(name, apps=[trade, cash_flows], install=trade.install)

    def issue_cash(self, owner: SimulatedNode) -> Request:
        request = self.world.request(self.bank, issue_cash, CASH, owner.party, self.notary.party)
        return request.expect(succeeded)

    def issue_paper(self) -> Request:
        request = self.world.request(
            self.bank,
            issue_paper,
            self.seller.party,
            CASH.issued_by(self.bank.party),
            MATURITY,
            self.notary.party,
            b"what the paper promises",
            b"\1",
        )
        return request.expect(ended)

    def holdings(self, node: SimulatedNode) -> tuple[int, int]:
        """Return cash and number of papers of a node."""
        vault = node.host.service(Vault)
        return vault.balance(CashState, "USD").quantity, len(vault.states(CommercialPaper))

    def assert_clean(self) -> None:
        for node in (self.notary, self.bank, self.buyer, self.seller):
            assert not list(node.host.scan(LOCKS, b"", None)), f"locks are left at {node.name}"
            assert not list(unnotarised_transactions(node.host)), f"{node.name} waits for a notary"


def two_party_trade(world: World) -> None:
    market = Market(world)
    cash, paper = market.issue_cash(market.buyer), market.issue_paper()
    is_anonymous = world.random.random() < 0.5
    request = world.request(market.seller, sell, market.buyer.party, PRICE, None, is_anonymous)
    request.follows(cash, paper).expect(ended)
    world.check(lambda: _both_or_neither(market, paper, request))
    world.check(market.assert_clean)


def _both_or_neither(market: Market, paper: Request, request: Request) -> None:
    buyer, seller = market.holdings(market.buyer), market.holdings(market.seller)
    assert paper.outcome is not None
    assert request.outcome is not None
    if request.outcome.error is None:
        expected = ((500, 1), (9_500, 0))
    else:
        # It fails if its time window has passed before the notary gets to see it.
        expected = ((10_000, 0), (0, 1 if succeeded(paper.outcome) else 0))
    assert (buyer, seller) == expected, f"{buyer}, {seller} after {request.outcome}"


def payments(world: World) -> None:
    market = Market(world)
    issued = [market.issue_cash(market.buyer), market.issue_cash(market.seller)]
    for _ in range(4):
        payer, payee = world.random.sample([market.buyer, market.seller], 2)
        amount = Amount(world.random.randrange(1, 6_000), "USD")
        request = world.request(
            payer, pay_cash, amount, payee.party, None, world.random.random() < 0.5
        )
        request.follows(*issued).after(world.random.random()).expect(ended)
    world.check(lambda: _no_money_is_made_or_lost(market))
    world.check(market.assert_clean)


def _no_money_is_made_or_lost(market: Market) -> None:
    total = sum(market.holdings(node)[0] for node in (market.buyer, market.seller))
    assert total == 2 * CASH.quantity, f"there are {total} USD"


MARKETS: Final[tuple[Scenario, ...]] = (two_party_trade, payments)
