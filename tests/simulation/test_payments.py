"""Payments under loss, repetition, reordering and crashes: money is neither made nor lost."""

from random import Random

import pytest

from ledger.amounts import Amount
from runtime.testing.memory_transport import Delivery, Link
from runtime.testing.network import SimulatedNode
from samples.finance import cash_flows
from tests.ledger.flows.net import Net, balance, locks, waiting

PAYMENTS = 4


class Weather:
    """Loses, repeats and delays frames, as a seed decides, until it clears up."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.net: Net | None = None
        self.is_clear = False

    def __call__(self, link: Link, envelopes: list[bytes]) -> list[Delivery]:
        if self.is_clear or self.net is None:
            return [Delivery(envelopes)]
        now_ms = self.net.network.clock.now_ms()
        chance = self.random.random()
        if chance < 0.1:
            return []
        if chance < 0.2:
            return [Delivery(envelopes), Delivery(envelopes, at_ms=now_ms + 20)]
        if chance < 0.4:
            return [Delivery(envelopes, at_ms=now_ms + self.random.randrange(1, 50))]
        return [Delivery(envelopes)]


@pytest.mark.parametrize("seed", range(40))
def test_money_is_neither_made_nor_lost(seed: int) -> None:
    weather = Weather(seed)
    net = Net(
        notary=("validating", "non-validating")[seed % 2],
        seed=seed,
        policy=weather,
        shuffle=True,
        is_replay_checked=seed % 4 == 0,
    )
    net.issue(net.alice, 100)
    net.issue(net.bob, 100)
    weather.net = net

    for _ in range(PAYMENTS):
        _begin_payment(net, weather.random)
        net.network.run_for(weather.random.random() / 20)
        _crash_somebody(net, weather.random)
    weather.is_clear = True
    net.network.run()

    assert balance(net.alice) + balance(net.bob) == 200
    for node in net.nodes:
        assert not waiting(node)
        assert not locks(node)
        assert node.info().flows_live == 0


def _begin_payment(net: Net, random: Random) -> None:
    payer, payee = random.sample([net.alice, net.bob], 2)
    payer.begin_flow(
        cash_flows.pay_cash,
        Amount(random.randrange(1, 60), "USD"),
        payee.party,
        None,
        random.random() < 0.5,
    )


def _crash_somebody(net: Net, random: Random) -> None:
    victim: SimulatedNode = random.choice(net.nodes)
    if random.random() < 0.7:
        victim.crash()
        net.network.run_for(random.random())
        victim.start()
