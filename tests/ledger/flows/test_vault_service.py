"""The vault as flows and embedding programs see it: queries, locks, feeds, restarts."""

from datetime import UTC, datetime

import pytest

from ledger.amounts import Amount
from ledger.errors import StatesNotAvailable
from ledger.query import (
    PRODUCT,
    QUANTITY,
    Page,
    Paging,
    Query,
    Sort,
    Status,
    custom,
    of_type,
)
from ledger.states import ContractState, StateAndRef, StateRef
from ledger.vault import (
    Update,
    find_states,
    lock_states,
    query_vault,
    release_states,
    reserve,
)
from runtime import flow, sleep
from runtime.testing.network import SimulatedNode
from samples.finance import cash_flows, paper_flows
from samples.finance.cash import CashState, coin_request
from samples.finance.commercial_paper import CommercialPaper
from tests.ledger.flows.net import Net, amounts, balance, coins, locks, states, vault


@flow(name="tests.count")
def count_cash() -> int:
    """Return how many coins there are, asked twice."""
    page: Page[ContractState] = query_vault(Query(of_type(CashState), paging=Paging(1, 10)))
    found = find_states(CashState, QUANTITY.greater_than(0) & PRODUCT.equals("USD"))
    assert len(found) == page.total
    return page.total


@flow(name="tests.hold")
def hold(quantity: int, seconds: float) -> list[StateAndRef[CashState]]:
    """Reserve cash, wait, and end."""
    reserved = reserve(CashState, coin_request(Amount(quantity, "USD")))
    sleep(seconds)
    return reserved


@flow(name="tests.lock")
def lock_and_release(refs: list[StateRef]) -> None:
    """Lock states, let one go, and wait for ever with the rest."""
    lock_states(*refs)
    release_states(refs[0])
    sleep(10**9)


@flow(name="tests.fail")
def fail_holding(quantity: int) -> None:
    """Reserve cash and fail."""
    reserve(CashState, coin_request(Amount(quantity, "USD")))
    raise RuntimeError("out of order")


def test_a_query_in_a_flow_sees_what_is_there() -> None:
    net = Net(count_cash)
    net.issue(net.alice, 10)
    net.issue(net.alice, 20)

    assert net.alice.start_flow(count_cash).result() == 2


def test_locks_go_when_the_flow_ends_and_not_before() -> None:
    net = Net(hold)
    net.issue(net.alice, 10)

    handle = net.alice.start_flow(hold, 5, 60.0)
    net.network.run_for(30)
    assert locks(net.alice) == [handle.id]
    net.network.run_for(31)

    assert [coin.data.amount.quantity for coin in handle.result()] == [10]
    assert locks(net.alice) == []


@pytest.mark.parametrize("end", ["killed", "failed"])
def test_locks_go_however_the_flow_ends(end: str) -> None:
    net = Net(hold, fail_holding)
    net.issue(net.alice, 10)

    if end == "killed":
        handle = net.alice.start_flow(hold, 5, 10**6)
        net.network.run_for(1)
        handle.kill()
    else:
        net.alice.start_flow(fail_holding, 5)
    net.network.run_for(1)

    assert locks(net.alice) == []
    assert len(coins(net.alice)) == 1


def test_locks_survive_a_restart() -> None:
    net = Net(hold)
    net.issue(net.alice, 10)
    handle = net.alice.start_flow(hold, 5, 60.0)
    net.network.run_for(30)

    net.alice.restart()
    assert locks(net.alice) == [handle.id]
    net.network.run_for(60)

    assert locks(net.alice) == []


def test_states_can_be_locked_one_by_one() -> None:
    net = Net(lock_and_release)
    net.issue(net.alice, 10)
    net.issue(net.alice, 20)
    first, second = (coin.ref for coin in coins(net.alice))

    handle = net.alice.start_flow(lock_and_release, [first, second])
    net.network.run_for(1)

    assert locks(net.alice) == [handle.id]
    page = vault(net.alice).query(Query(of_type(CashState)))
    assert [facts.lock for facts in page.facts] == [None, handle.id]
    with pytest.raises(StatesNotAvailable, match="locked by flow"):
        net.alice.start_flow(lock_and_release, [first, second]).result()


def test_a_page_tells_what_became_of_each_state() -> None:
    net = Net()
    net.issue(net.alice, 100)
    paid = net.pay(net.alice, net.bob, 95)

    page = vault(net.alice).query(
        Query(of_type(CashState), Status.ALL, sort=(Sort("quantity", is_descending=True),))
    )

    assert amounts([state.data for state in page.states]) == [5, 100]
    spent, change = page.facts
    assert (spent.status, spent.consumer) == (Status.CONSUMED, paid)
    assert (change.status, change.consumer, change.is_relevant) == (Status.UNCONSUMED, None, True)
    assert spent.consumed_ms == change.recorded_ms


def watched(node: SimulatedNode, query: Query) -> tuple[list[Update], Page[ContractState]]:
    updates: list[Update] = []
    tracking = vault(node).track(query, updates.append)
    return updates, tracking.snapshot


def test_a_feed_begins_exactly_where_its_snapshot_ends() -> None:
    net = Net()
    net.issue(net.alice, 100)

    updates, snapshot = watched(net.alice, Query(of_type(CashState)))
    paid = net.pay(net.alice, net.bob, 95)

    assert amounts([state.data for state in snapshot.states]) == [100]
    (update,) = [u for u in updates if u.tx_id == paid]
    assert update.position > snapshot.position
    assert amounts([state.data for state in update.consumed]) == [100]
    assert amounts([state.data for state in update.produced]) == [5]


def test_a_feed_tells_only_of_what_it_was_asked_for() -> None:
    net = Net()
    updates, _ = watched(net.alice, Query(of_type(CommercialPaper)))

    net.issue(net.alice, 100)

    assert updates == []


def test_a_feed_can_be_stopped_and_others_go_on() -> None:
    net = Net()
    first: list[Update] = []
    second: list[Update] = []
    tracking = vault(net.alice).track(Query(), first.append)
    other = vault(net.alice).track(Query(), second.append)
    net.issue(net.alice, 1)

    tracking.stop()
    tracking.stop()
    net.issue(net.alice, 2)
    other.stop()
    net.issue(net.alice, 3)

    assert [amounts([s.data for s in u.produced]) for u in first] == [[1]]
    assert [amounts([s.data for s in u.produced]) for u in second] == [[1], [2]]


def test_a_feed_tells_nothing_that_a_crash_can_take_back() -> None:
    net = Net()
    net.issue(net.alice, 100)
    updates, _ = watched(net.alice, Query(of_type(CashState)))
    for after_ms in range(30):
        net.alice.begin_flow(cash_flows.pay_cash, Amount(1, "USD"), net.bob.party, None, False)
        net.network.run_for(after_ms / 1_000)
        told = {state.ref for update in updates for state in update.produced}
        net.alice.restart()
        known = {state.ref for state in vault(net.alice).query(Query(status=Status.ALL)).states}
        assert told <= known
        updates, _ = watched(net.alice, Query(of_type(CashState)))


def test_paper_is_issued_with_its_prospectus_and_found_by_its_terms() -> None:
    net = Net()
    handle = net.bank.start_flow(
        paper_flows.issue_paper,
        net.alice.party,
        Amount(100, "USD").issued_by(net.bank.party),
        datetime(2027, 1, 1, tzinfo=UTC),
        net.notary.party,
        b"prospectus",
    )
    signed = handle.result()
    net.network.run()

    found = vault(net.alice).states(CommercialPaper, custom("face_value").equals(100))
    assert [paper.ref for paper in found] == [StateRef(signed.id, 0)]
    assert balance(net.alice) == 0
    moved = net.alice.start_flow(paper_flows.move_paper, found[0], net.bob.party).result()
    net.network.run()
    assert [paper.ref.txhash for paper in vault(net.bob).states(CommercialPaper)] == [moved.id]
    assert states(net.alice) == []
