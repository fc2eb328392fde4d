"""Cash from its issue over payments, anonymous ones too, to what each node holds in the end."""

import pytest

from ledger.errors import InsufficientBalance
from ledger.query import Status
from ledger.stores.transactions import VERIFIED
from runtime.party import AnonymousParty
from samples.finance.cash import CashState
from tests.ledger.flows.net import Net, amounts, balance, coins, locks, row, states, waiting


def test_issued_cash_is_in_its_owners_vault_and_in_nobody_elses() -> None:
    net = Net()

    tx_id = net.issue(net.alice, 100)

    assert balance(net.alice) == 100
    assert balance(net.bank) == balance(net.bob) == 0
    for node in (net.alice, net.bank):
        stored = row(node, tx_id)
        assert stored is not None
        assert stored.status == VERIFIED


@pytest.mark.parametrize("notary", ["validating", "non-validating"])
def test_a_payment_moves_cash_and_returns_the_change(notary: str) -> None:
    net = Net(notary=notary)
    net.issue(net.alice, 100)

    tx_id = net.pay(net.alice, net.bob, 95)

    assert (balance(net.alice), balance(net.bob)) == (5, 95)
    assert amounts(states(net.alice, Status.CONSUMED)) == [100]
    for node in (net.alice, net.bob):
        stored = row(node, tx_id)
        assert stored is not None
        assert stored.status == VERIFIED
        stored.signed.verify_signatures()
        assert not waiting(node)
        assert not locks(node)


def test_an_anonymous_payment_shows_one_time_keys_only() -> None:
    net = Net()
    net.issue(net.alice, 100)

    tx_id = net.pay(net.alice, net.bob, 95, anonymous=True)

    stored = row(net.bob, tx_id)
    assert stored is not None
    owners = [
        state.data.owner
        for state in stored.signed.transaction.outputs
        if isinstance(state.data, CashState)
    ]
    assert all(isinstance(owner, AnonymousParty) for owner in owners)
    assert (balance(net.alice), balance(net.bob)) == (5, 95)


def test_anonymous_cash_can_be_spent_after_a_restart() -> None:
    net = Net()
    net.issue(net.alice, 100)
    net.pay(net.alice, net.bob, 95, anonymous=True)
    net.bob.restart()
    net.network.run()

    net.pay(net.bob, net.alice, 90, anonymous=True)

    assert (balance(net.alice), balance(net.bob)) == (95, 5)


def test_a_payment_beyond_the_balance_locks_and_changes_nothing() -> None:
    net = Net()
    net.issue(net.alice, 100)

    with pytest.raises(InsufficientBalance, match="1 USD"):
        net.pay(net.alice, net.bob, 101)

    assert locks(net.alice) == []
    assert balance(net.alice) == 100


def test_cash_travels_through_many_hands_with_its_history() -> None:
    net = Net(notary="validating")
    net.issue(net.alice, 100)
    for _ in range(3):
        net.pay(net.alice, net.bob, 100)
        net.pay(net.bob, net.alice, 100)
    carol = net.node("Carol")

    net.pay(net.alice, carol, 60)

    assert balance(carol) == 60
    assert [coin.data.amount.quantity for coin in coins(carol)] == [60]
    assert balance(net.alice) == 40
