"""Scenarios of trades: what clients of a trading floor want, and what must come of it."""

from typing import Final

from ledger.errors import (
    ContractRejected,
    LedgerError,
    NotaryConflict,
    SignatureRejected,
    StatesNotAvailable,
)
from ledger.states import StateRef
from ledger.transactions import SignedTransaction
from runtime.testing.network import SimulatedNode
from runtime.testing.simulation import Scenario
from runtime.testing.world import World
from samples.trade.terms import NotTheSellers, UnacceptablePrice
from tests.ledger.flows.deals import agree
from tests.simulation.floor import KILLED, SHORT, Client, Floor, Script, Wish, cash_of, papers_of
from tests.simulation.rogues import (
    NotOwned,
    churn,
    counterfeit,
    pay_without_lock,
    sell_with_forged_signature,
    sell_without_lock,
)


def trade(world: World) -> None:
    """Cash against a paper, between two."""
    floor = Floor(world)
    buyer, seller = floor.trader("Buyer"), floor.trader("Seller")

    def script() -> Script[None]:
        yield from floor.issue_cash(buyer, 100)
        paper = yield from floor.issue_paper(seller)
        yield from floor.sell(seller, buyer, 95, paper)

    def check() -> None:
        assert (cash_of(buyer), cash_of(seller)) == (5, 95)
        assert (papers_of(buyer), papers_of(seller)) == (1, 0)

    floor.client(script())
    world.check(check)


def watched_trade(world: World) -> None:
    """Each sells to and pays the other, all at once; the spectator has seen enough to judge."""
    floor = Floor(world)
    alice, bob = floor.trader("Alice"), floor.trader("Bob")

    def script(one: SimulatedNode, other: SimulatedNode) -> Script[None]:
        yield from floor.issue_cash(one, 100)
        paper = yield from floor.issue_paper(one)
        yield from floor.sell(one, other, 30, paper)
        yield from floor.pay(one, other, 20)

    def check() -> None:
        assert [cash_of(node) for node in (alice, bob)] == [100, 100]
        assert [papers_of(node) for node in (alice, bob)] == [1, 1]
        # Four issues, two sales and two payments; the last of them, at least, left it quiet.
        assert floor.spectator.final == 8
        assert floor.spectator.quiescent_points > 0

    floor.client(script(alice, bob))
    floor.client(script(bob, alice))
    world.check(check)


def market(world: World) -> None:
    """Several sales at once, two by each seller and two to each buyer, with little cash about."""
    floor = Floor(world)
    sellers = [floor.trader("Seller"), floor.trader("Salesman")]
    buyers = [floor.trader("Buyer"), floor.trader("Purchaser")]

    def cash_for(quantities: list[int], buyer: int) -> Script[None]:
        for quantity in quantities:
            yield from floor.issue_cash(buyers[buyer], quantity)

    def sale(seller: int, buyer: int) -> Script[None]:
        paper = yield from floor.issue_paper(sellers[seller])
        yield from floor.sell(sellers[seller], buyers[buyer], 50, paper)

    def check() -> None:
        assert [cash_of(node) for node in (*buyers, *sellers)] == [10, 10, 100, 100]
        assert [papers_of(node) for node in (*buyers, *sellers)] == [2, 2, 0, 0]

    for buyer in range(2):
        floor.client(cash_for(world.random.choice(([110], [60, 50], [40, 30, 40])), buyer))
        for seller in range(2):
            floor.client(sale(seller, buyer), after=world.random.random() * 5)
    world.check(check)


def payments(world: World) -> None:
    """Everybody pays everybody, out of what they had at first and what they got."""
    floor = Floor(world)
    traders = [floor.trader(name) for name in ("Alice", "Bob", "Carol")]
    balances = dict.fromkeys(range(3), 100)
    plans: dict[int, list[tuple[int, int]]] = {payer: [] for payer in range(3)}
    for payer in plans:
        for payee in world.random.sample([other for other in range(3) if other != payer], k=2):
            quantity = world.random.randint(1, 50)
            plans[payer].append((payee, quantity))
            balances[payer] -= quantity
            balances[payee] += quantity

    def client(payer: int) -> Script[None]:
        yield from floor.issue_cash(traders[payer], 100)
        for payee, quantity in plans[payer]:
            yield from floor.pay(traders[payer], traders[payee], quantity)

    def check() -> None:
        found = {number: cash_of(trader) for number, trader in enumerate(traders)}
        assert found == balances, f"{found}, expected was {balances}"

    for payer in plans:
        floor.client(client(payer))
    world.check(check)


def long_history(world: World) -> None:
    """A paper that has a long way behind it."""
    floor = Floor(world)
    buyer, seller = floor.trader("Buyer"), floor.trader("Seller")

    def script() -> Script[None]:
        yield from floor.issue_cash(buyer, 100)
        paper = yield from floor.issue_paper(seller)
        # In several flows: some histories run all of a flow again each time that it has waited.
        for _ in range(5):
            outcome = yield Wish(seller, churn, (paper, 6))
            assert isinstance(outcome.value, StateRef)
            paper = outcome.value
        yield from floor.sell(seller, buyer, 95, paper)

    def check() -> None:
        assert (cash_of(buyer), cash_of(seller)) == (5, 95)
        assert (papers_of(buyer), papers_of(seller)) == (1, 0)

    floor.client(script())
    world.check(check)


def double_sale(world: World) -> None:
    """A seller who cheats sells the same paper to two buyers at once."""
    floor = Floor(world)
    seller = floor.trader("Seller")
    buyers = [floor.trader("Buyer"), floor.trader("Purchaser")]
    sales: list[Client] = []

    def script() -> Script[None]:
        for buyer in buyers:
            yield from floor.issue_cash(buyer, 100)
        paper = yield from floor.issue_paper(seller)
        for buyer in buyers:
            sale = floor.sell(
                seller,
                buyer,
                95,
                paper,
                flow=sell_without_lock,
                accepted=(NotaryConflict, NotOwned),
            )
            sales.append(floor.client(_only(sale)))

    def check() -> None:
        winners = [sale.answers[-1].error is None for sale in sales]
        assert sorted(winners) == [False, True], f"{sum(winners)} of {len(winners)} sales settled"
        for has_won, buyer in zip(winners, buyers, strict=True):
            expected = (5, 1) if has_won else (100, 0)
            assert (cash_of(buyer), papers_of(buyer)) == expected
        assert cash_of(seller) == 95

    floor.client(script())
    world.check(check)


def double_sale_by_mistake(world: World) -> None:
    """An honest seller is asked to sell the same paper to two buyers at once."""
    floor = Floor(world)
    seller = floor.trader("Seller")
    buyers = [floor.trader("Buyer"), floor.trader("Purchaser")]
    sales: list[Client] = []

    def script() -> Script[None]:
        for buyer in buyers:
            yield from floor.issue_cash(buyer, 100)
        paper = yield from floor.issue_paper(seller)
        for buyer in buyers:
            sale = floor.sell(
                seller, buyer, 95, paper, accepted=(NotTheSellers, StatesNotAvailable)
            )
            sales.append(floor.client(_only(sale), after=world.random.choice((0, 0.2, 5))))

    def check() -> None:
        winners = [sale.answers[-1].error is None for sale in sales]
        assert sum(winners) <= 1, "the same paper was sold twice"
        for has_won, buyer in zip(winners, buyers, strict=True):
            expected = (5, 1) if has_won else (100, 0)
            assert (cash_of(buyer), papers_of(buyer)) == expected
        assert cash_of(seller) == 95 * sum(winners)

    floor.client(script())
    world.check(check)


def double_payment(world: World) -> None:
    """A payer who cheats pays two payees with the same coins at once."""
    floor = Floor(world)
    payer, payees = floor.trader("Payer"), [floor.trader("Payee"), floor.trader("Creditor")]
    clients: list[Client] = []

    def script() -> Script[None]:
        yield from floor.issue_cash(payer, 100)
        for payee in payees:
            payment = floor.pay(
                payer, payee, 60, flow=pay_without_lock, accepted=(NotaryConflict, ValueError)
            )
            clients.append(floor.client(_only(payment)))

    def check() -> None:
        winners = [client.answers[-1].error is None for client in clients]
        assert sorted(winners) == [False, True], f"{sum(winners)} payments settled"
        assert [cash_of(payee) for payee in payees] == [60 if has_won else 0 for has_won in winners]
        assert cash_of(payer) == 40

    floor.client(script())
    world.check(check)


def forged_signature(world: World) -> None:
    """A seller who cheats does not sign; a buyer who is content with that loses nothing yet."""
    floor = Floor(world)
    seller, buyer = floor.trader("Seller"), floor.trader("Buyer")

    def script() -> Script[None]:
        yield from floor.issue_cash(buyer, 100)
        paper = yield from floor.issue_paper(seller)
        yield from floor.sell(
            seller,
            buyer,
            95,
            paper,
            flow=sell_with_forged_signature,
            accepted=(SignatureRejected,),
        )

    def check() -> None:
        assert (cash_of(buyer), papers_of(buyer)) == (100, 0)
        assert (cash_of(seller), papers_of(seller)) == (0, 1)

    floor.client(script())
    world.check(check)


def counterfeit_cash(world: World) -> None:
    """A payer pays with cash that it has made; the notary has not looked, the payee does."""
    floor = Floor(world, "non-validating")
    payer, payee = floor.crook("Payer"), floor.trader("Payee")

    def script() -> Script[None]:
        yield from floor.issue_cash(payer, 100)
        yield Wish(payer, counterfeit, (floor.notary.party, 10))
        yield from floor.pay(payer, payee, 500, accepted=(ContractRejected,))

    def check() -> None:
        assert cash_of(payee) == 0

    floor.client(script())
    world.check(check)


def same_cash(world: World) -> None:
    """Two sellers sell to one buyer, who has the cash for one of them only."""
    floor = Floor(world)
    sellers, buyer = [floor.trader("Seller"), floor.trader("Salesman")], floor.trader("Buyer")
    sales: list[Client] = []

    def script() -> Script[None]:
        yield from floor.issue_cash(buyer, 100)
        papers = []
        for seller in sellers:
            papers.append((yield from floor.issue_paper(seller)))
        for seller, paper in zip(sellers, papers, strict=True):
            sale = floor.sell(
                seller,
                buyer,
                95,
                paper,
                again=SHORT[:1],
                accepted=(StatesNotAvailable, UnacceptablePrice),
            )
            sales.append(floor.client(_only(sale)))

    def check() -> None:
        winners = [sale.answers[-1].error is None for sale in sales]
        assert sum(winners) <= 1, "the same cash was paid twice"
        assert (cash_of(buyer), papers_of(buyer)) == (100 - 95 * sum(winners), sum(winners))
        for has_won, seller in zip(winners, sellers, strict=True):
            assert (cash_of(seller), papers_of(seller)) == ((95, 0) if has_won else (0, 1))

    floor.client(script())
    world.check(check)


def killed_trade(world: World) -> None:
    """Operators kill flows of a trade; others recover what has become of it."""
    floor = Floor(world)
    buyer, seller = floor.trader("Buyer"), floor.trader("Seller")
    sales: list[Client] = []

    def script() -> Script[None]:
        yield from floor.issue_cash(buyer, 100)
        paper = yield from floor.issue_paper(seller)
        sale = floor.sell(seller, buyer, 95, paper, accepted=(*KILLED, LedgerError))
        sales.append(floor.client(_only(sale)))
        _kill_and_tidy(floor)

    def check() -> None:
        cash, papers = (cash_of(buyer), cash_of(seller)), (papers_of(buyer), papers_of(seller))
        assert (cash, papers) in (((5, 95), (1, 0)), ((100, 0), (0, 1)))
        if sales[0].answers[-1].error is None:
            assert papers == (1, 0)

    floor.client(script())
    world.check(check)


def killed_payment(world: World) -> None:
    """Operators kill flows of a payment; others recover what has become of it."""
    floor = Floor(world)
    payer, payee = floor.trader("Payer"), floor.trader("Payee")

    def script() -> Script[None]:
        yield from floor.issue_cash(payer, 100)
        floor.client(_only(floor.pay(payer, payee, 60, accepted=(*KILLED, LedgerError))))
        _kill_and_tidy(floor)

    def check() -> None:
        assert (cash_of(payer), cash_of(payee)) in ((40, 60), (100, 0))

    floor.client(script())
    world.check(check)


def killed_deal(world: World) -> None:
    """Operators kill flows of deals between three, one after the other; others recover them."""
    floor = Floor(world)
    alice, *others = (floor.trader(name) for name in ("Alice", "Bob", "Carol"))
    parties = [other.party for other in others]

    def script() -> Script[None]:
        outcome = yield Wish(alice, agree, (parties, "first", floor.notary.party))
        assert isinstance(outcome.value, SignedTransaction)
        first = outcome.value.transaction.output_ref(0)
        for other in others:
            yield from floor.arrived(other, outcome.value.id)
        deal = (parties, "second", floor.notary.party, first)
        floor.client(_only(_wished(Wish(alice, agree, deal, accepted=(*KILLED, LedgerError)))))
        _kill_and_tidy(floor)

    floor.client(script())


def _kill_and_tidy(floor: Floor) -> None:
    random = floor.world.random
    for _ in range(random.randint(1, 3)):
        floor.world.after_commits(random.randint(1, 60), floor.kill_somebody)
    floor.tidy_up()


def _wished(wish: Wish) -> Script[object]:
    return (yield wish)


def _only(wanted: Script[object]) -> Script[None]:
    yield from wanted


SCENARIOS: Final[tuple[Scenario, ...]] = (
    trade,
    watched_trade,
    market,
    payments,
    long_history,
    double_sale,
    double_sale_by_mistake,
    double_payment,
    same_cash,
    forged_signature,
    counterfeit_cash,
    killed_trade,
    killed_payment,
    killed_deal,
)
