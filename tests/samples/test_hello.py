"""The hello sample."""

from runtime.testing.network import SimulatedNetwork
from samples import hello


def test_ping_gets_a_higher_number_back_each_round() -> None:
    network = SimulatedNetwork()
    alice, bob = network.node("Alice", apps=[hello]), network.node("Bob", apps=[hello])

    result = alice.start_flow(hello.ping, bob.party, 5).result()

    assert result == 5
