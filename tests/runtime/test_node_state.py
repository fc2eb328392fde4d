"""What an operator is told of peers: who can be reached, what waits for whom, what went wrong."""

import pytest

from runtime import FlowException, Party, flow, initiate, sleep
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


@flow(name="state.answer")
def answer(question: str) -> str:
    if question != "ready?":
        raise FlowException(question)
    return "yes"


def test_flows_are_counted_since_the_start_of_the_node() -> None:
    alice = SimulatedNetwork().node("Alice", apps=[answer, tell])
    alice.start_flow(answer, "ready?")
    with pytest.raises(FlowException):
        alice.start_flow(answer, "why?").result()
    alice.kill(alice.start_flow(tell, alice.party).id)
    alice.start_flow(tell, alice.party)

    info = alice.info()
    alice.restart()
    after_restart = alice.info()

    assert (info.flows_started, info.flows_completed, info.flows_failed) == (4, 1, 2)
    assert (after_restart.flows_started, after_restart.flows_live) == (0, 1)


def test_messages_that_are_sent_again_or_not_taken_are_counted() -> None:
    network = SimulatedNetwork()
    alice, bob = (network.node(name, apps=[tell]) for name in ("Alice", "Bob"))
    network.links.down(bob.party.name)
    alice.start_flow(tell, bob.party)

    alice.frame_arrives(bob.party.name, [b"\xc1", b"\x91", b"\xc1"])
    before = alice.info()
    network.run_for(30)
    after = alice.info()

    assert (before.messages_dropped, before.messages_resent) == ({"malformed": 3}, 0)
    assert after.messages_resent > 0
