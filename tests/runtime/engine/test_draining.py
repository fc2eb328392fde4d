"""A node that drains lets in what its own flows wait for, and nothing else."""

import pytest

from runtime import Party, Session, flow, initiate, responder, sleep
from runtime.core.envelopes import Open, encode
from runtime.engine.conversing import BESIDE_LOOKED_AT_MAX
from runtime.errors import NodeStopped
from runtime.ids import SessionId
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import Wire, assert_nothing_is_left, outcome, pair, same


@flow
def borrow(peer: Party) -> str:
    session = initiate(peer)
    session.send("please")
    return session.receive(str).unwrap(same)


@flow
def vouch(peer: Party) -> str:
    return initiate(peer).exchange("who are you?", str).unwrap(same)


@responder(vouch)
def introduce(session: Session) -> None:
    session.receive(str)
    session.send("an honest flow")


@responder(borrow)
def lend(session: Session) -> None:
    session.receive(str)
    sleep(10)
    session.send(f"here, to {vouch(session.counterparty)}")


@flow
def borrow_twice(peer: Party) -> list[str]:
    first, second = initiate(peer), initiate(peer)
    first.send("please")
    sleep(10)
    second.send("please")
    return [session.receive(str).unwrap(same) for session in (first, second)]


@responder(borrow_twice)
def lend_twice(session: Session) -> None:
    session.receive(str)
    sleep(30)
    session.send("here")


@flow
def open_many(peer: Party, other: Party, count: int) -> None:
    initiate(peer).send("first")
    for _ in range(count):
        initiate(other).send("x")
    initiate(peer).send("last")


@responder(open_many)
def stay(session: Session) -> None:
    session.receive(str)
    sleep(100)


APPS = (borrow, lend, vouch, introduce, borrow_twice, lend_twice, open_many, stay)


def drain(*nodes: SimulatedNode) -> None:
    for node in nodes:
        node.drain()


def test_two_nodes_that_drain_do_not_wait_for_each_other(network: SimulatedNetwork) -> None:
    # Breaks when the flow that ours waits for is kept out: neither drain would ever end.
    alice, bob = pair(network, *APPS)
    handle = alice.start_flow(borrow, bob.party)
    network.run_for(1)

    drain(alice, bob)

    assert handle.result() == "here, to an honest flow"
    network.run()
    assert_nothing_is_left(network)


def test_another_session_of_a_flow_that_has_one_is_let_in(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, *APPS)
    handle = alice.start_flow(borrow_twice, bob.party)
    network.run_for(1)

    drain(bob)

    assert handle.result() == ["here", "here"]


def test_a_session_that_was_not_accepted_yet_counts_too(network: SimulatedNetwork) -> None:
    # Its id is the opener's, which both ends know from the start.
    wire = Wire(network)
    alice, bob = pair(network, *APPS)
    bob.crash()
    alice.start_flow(borrow_twice, bob.party)
    network.run_for(20)
    bob.start()
    network.run_for(1)

    first, second = wire.of(Open)

    assert (first.beside, second.beside) == (b"", first.sid)


def test_a_flow_that_is_new_to_a_draining_node_waits(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, *APPS)
    alice.start_flow(borrow, bob.party)
    network.run_for(1)
    drain(bob)

    other = alice.start_flow(vouch, bob.party)
    network.run_for(1_000)

    assert not other.is_ended
    assert bob.info().flows_live == 0
    bob.drain(is_on=False)
    assert other.result() == "an honest flow"


@pytest.mark.parametrize(
    "claim", ["an id of nobody", "a session of another party", "one that is over"]
)
def test_a_claim_that_is_not_true_lets_nobody_in(network: SimulatedNetwork, claim: str) -> None:
    # Breaks when the field is believed as it comes.
    wire = Wire(network)
    alice, bob = pair(network, *APPS)
    mallory = network.node("Mallory")
    alice.start_flow(vouch, bob.party).result()
    network.run()
    (over,) = wire.of(Open)
    alice.start_flow(borrow, bob.party)
    network.run_for(1)
    living = wire.of(Open)[-1]
    drain(bob)
    sender, beside = {
        "an id of nobody": (alice, SessionId(b"?" * 16)),
        "a session of another party": (mallory, living.sid),
        "one that is over": (alice, over.sid),
    }[claim]
    opened = Open(SessionId(b"n" * 16), vouch.name, 1, "", "", b"", "", b"", beside)
    before = bob.info().flows_started

    bob.frame_arrives(sender.party.name, [encode(opened)])
    network.run_for(1)

    assert bob.info().flows_started == before


def test_a_flow_with_very_many_sessions_names_its_first_one(network: SimulatedNetwork) -> None:
    wire = Wire(network)
    alice, bob = pair(network, *APPS)
    carol = network.node("Carol", apps=APPS)

    alice.start_flow(open_many, bob.party, carol.party, 3 * BESIDE_LOOKED_AT_MAX).result()

    to_bob = [each for link, each in wire.envelopes if link.target == bob.party.name]
    first, last = [each for each in to_bob if isinstance(each, Open)]
    assert last.beside == first.sid


def test_a_known_client_id_is_answered_by_a_draining_node(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, *APPS)
    handle = alice.options(client_id="mine").begin_flow(borrow, bob.party)
    drain(alice, bob)

    again = alice.options(client_id="mine").begin_flow(borrow, bob.party)

    assert again.id == handle.id
    with pytest.raises(NodeStopped, match="draining"):
        alice.options(client_id="another").begin_flow(borrow, bob.party)
    bob.drain(is_on=False)
    assert outcome(again) == "here, to an honest flow"
