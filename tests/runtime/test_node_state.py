"""What an operator is told of peers: who can be reached, and what waits for whom."""

from runtime import Party, flow, initiate, sleep
from runtime.testing.network import SimulatedNetwork


@flow(name="state.tell")
def tell(peer: Party) -> None:
    session = initiate(peer)
    session.send("one")
    session.send("two")
    sleep(1e6)


def test_peers_are_listed_with_what_waits_for_them_the_most_first() -> None:
    network = SimulatedNetwork()
    alice, bob, carol = (network.node(name, apps=[tell]) for name in ("Alice", "Bob", "Carol"))
    bob.crash()
    network.links.down(bob.party.name)
    alice.begin_flow(tell, bob.party)
    alice.begin_flow(tell, bob.party)
    network.run_for(10)

    first, second = alice.operations.peers()

    assert (first.peer, first.status, first.sessions) == (bob.party.name, "unreachable", 2)
    assert first.messages >= 2
    assert (second.peer, second.status, second.messages) == (carol.party.name, "not tried", 0)
    assert alice.operations.info().peers_unreachable == 1
