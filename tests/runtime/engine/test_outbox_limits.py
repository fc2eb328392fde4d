"""What is kept until peers acknowledge it is bounded for each and in sum; others go on beside."""

import pytest

from runtime import (
    FlowException,
    FlowTimeout,
    Party,
    Session,
    flow,
    initiate,
    responder,
    send_all,
    timeout,
)
from runtime.core.envelopes import Accept, Ack, encode
from runtime.engine import room_queue
from runtime.errors import UnexpectedFlowEnd
from runtime.ids import SessionId
from runtime.limits import KEPT_OVERHEAD_BYTES, PeerLimits
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import (
    Wire,
    answer,
    ask,
    assert_nothing_is_left,
    kinds,
    live,
    open_sessions,
    outcome,
    pair,
    rows,
    same,
    used,
)
from tests.runtime.engine.test_peer_limits import an_open, arrive

BOOK = "x" * 10_000
# A book in its envelope; and an acceptance, an end, an error or an open message.
BOOK_COST = len(BOOK) + 100 + KEPT_OVERHEAD_BYTES
SMALL_COST = 300 + KEPT_OVERHEAD_BYTES
FIVE_BOOKS = PeerLimits(unacknowledged_bytes_per_peer_max=5 * BOOK_COST)


@flow
def borrow(peer: Party) -> int:
    """Ask for a book."""
    return len(initiate(peer).exchange("please", str).unwrap(same))


@responder(borrow)
def lend(session: Session) -> None:
    session.receive(str)
    session.send(BOOK)


@flow
def donate(peer: Party) -> int:
    """Send a book that nobody asked for."""
    return initiate(peer).exchange(BOOK, int).unwrap(same)


@responder(donate)
def weigh(session: Session) -> None:
    session.send(len(session.receive(str).unwrap(same)))


@flow
def donate_three(peer: Party) -> int:
    session = initiate(peer)
    for _ in range(3):
        session.send(BOOK)
    return session.receive(int).unwrap(same)


@responder(donate_three)
def weigh_three(session: Session) -> None:
    session.send(sum(len(session.receive(str).unwrap(same)) for _ in range(3)))


@flow
def publish(one: Party, other: Party) -> int:
    """Send a book to two peers at once."""
    sessions = [initiate(one), initiate(other)]
    send_all(sessions, BOOK)
    return sum(session.receive(int).unwrap(same) for session in sessions)


@responder(publish)
def weigh_published(session: Session) -> None:
    session.send(len(session.receive(str).unwrap(same)))


@flow
def borrow_two(peer: Party) -> str:
    return initiate(peer).exchange("please", str).unwrap(same)


@responder(borrow_two)
def lend_two_within_a_minute(session: Session) -> None:
    session.receive(str)
    try:
        with timeout(60):
            session.send(BOOK)
            session.send(BOOK)
    except FlowTimeout:
        raise FlowException("you don't read") from None


def unacknowledged(node: SimulatedNode) -> int:
    return used(node, "unacknowledged_bytes_max")


def deafened(network: SimulatedNetwork, node: SimulatedNode) -> Wire:
    """Have nothing reach a node: it acknowledges nothing, and what it says arrives."""
    wire = Wire(network)
    wire.loses = lambda link, envelope: link.target == node.party.name
    return wire


# --- a peer that acknowledges nothing -----------------------------------------------------------


def test_a_peer_that_acknowledges_nothing_and_opens_sessions_without_end_fills_no_node(
    network: SimulatedNetwork,
) -> None:
    # Breaks when each session has a bound, and a peer may have very many sessions.
    network.peer_limits = FIVE_BOOKS
    mallory, bob = pair(network, borrow, lend)
    carol = network.node("Carol", apps=[borrow])
    deafened(network, mallory)
    at_once = 10
    bound = 6 * BOOK_COST + at_once * 2 * SMALL_COST
    for first in range(0, 200, at_once):
        opens = [an_open(first + each, borrow.name, "please") for each in range(at_once)]
        arrive(bob, mallory, *opens)
        network.run_for(5)
        assert unacknowledged(bob) <= bound
    # Of those that came together, and no later ones.
    assert bob.info().flows_started == at_once
    assert rows(bob, "outbox") <= 3 * at_once
    before = unacknowledged(bob)

    assert carol.start_flow(borrow, bob.party).result() == len(BOOK)
    # Carol's acknowledgement of the end arrives, and what she has is gone from the disk.
    network.run_for(5)
    bob.restart()
    assert unacknowledged(bob) == before
    for number in range(200, 300):
        arrive(bob, mallory, an_open(number, borrow.name, "please"))
    network.run_for(100)

    assert bob.info().flows_started == 0
    assert unacknowledged(bob) <= bound
    assert carol.start_flow(borrow, bob.party).result() == len(BOOK)


def test_peers_that_acknowledge_nothing_share_the_room_of_the_node(
    network: SimulatedNetwork,
) -> None:
    network.peer_limits = PeerLimits(unacknowledged_bytes_max=12 * BOOK_COST)
    mallory, bob = pair(network, borrow, lend)
    eve, carol = network.node("Eve", apps=[borrow]), network.node("Carol", apps=[borrow])
    wire = Wire(network)
    deaf = (mallory.party.name, eve.party.name)
    wire.loses = lambda link, envelope: link.target in deaf
    for number in range(0, 100, 2):
        arrive(bob, mallory, an_open(number, borrow.name, "please"))
        arrive(bob, eve, an_open(number + 1, borrow.name, "please"))
        network.run_for(1)

    most = used(bob, "unacknowledged_bytes_per_peer_max")
    assert most <= 6 * BOOK_COST
    assert most + 3 * BOOK_COST <= unacknowledged(bob) <= 12 * BOOK_COST
    assert carol.start_flow(borrow, bob.party).result() == len(BOOK)


def test_one_message_may_go_to_a_peer_to_which_nothing_is_under_way(
    network: SimulatedNetwork,
) -> None:
    # Breaks when a message that is larger than the bound waits for ever, or others' lack of room
    # keeps a peer from ever having any.
    network.peer_limits = PeerLimits(
        unacknowledged_bytes_per_peer_max=BOOK_COST // 2, unacknowledged_bytes_max=1
    )
    alice, bob = pair(network, donate, weigh)

    handles = [alice.start_flow(donate, bob.party) for _ in range(5)]

    assert [handle.result() for handle in handles] == [len(BOOK)] * 5
    network.run()
    assert_nothing_is_left(network)


# --- peers that acknowledge in the end ----------------------------------------------------------


@pytest.mark.parametrize("restarts", [False, True])
def test_flows_that_waited_for_room_go_on_when_the_peer_acknowledges(
    network: SimulatedNetwork, restarts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_queue, "WOKEN_AT_ONCE", 2)
    network.peer_limits = FIVE_BOOKS
    alice, bob = pair(network, borrow, lend)
    wire = deafened(network, alice)
    handles = [alice.begin_flow(borrow, bob.party) for _ in range(20)]
    network.run_for(20)
    assert bob.info().flows_without_room > 5
    if restarts:
        bob.restart()
        network.run_for(20)
        assert bob.info().flows_without_room > 5

    wire.loses = lambda link, envelope: False

    assert [handle.result() for handle in handles] == [len(BOOK)] * 20
    network.run()
    assert unacknowledged(bob) == unacknowledged(alice) == 0
    assert bob.info().flows_without_room == 0
    assert_nothing_is_left(network)


def test_flows_of_ones_own_wait_for_room_at_a_peer_that_is_away(network: SimulatedNetwork) -> None:
    network.peer_limits = FIVE_BOOKS
    alice, bob = pair(network, donate, weigh)
    bob.crash()
    handles = [alice.begin_flow(donate, bob.party) for _ in range(20)]
    network.run_for(50)
    assert rows(alice, "outbox") == 5 + 1
    waits = [alice.flow(row.id).wait for row in live(alice)]
    assert sum(wait is not None and wait.what == "room at the peer" for wait in waits) == 14

    bob.start()

    assert [handle.result() for handle in handles] == [len(BOOK)] * 20
    network.run()
    assert_nothing_is_left(network)


def test_messages_that_leave_together_wait_for_room_at_the_slowest_peer(
    network: SimulatedNetwork,
) -> None:
    network.peer_limits = FIVE_BOOKS
    alice, bob = pair(network, donate, weigh, publish, weigh_published)
    carol = network.node("Carol", apps=[publish, weigh_published])
    bob.crash()
    for _ in range(10):
        alice.begin_flow(donate, bob.party)
    network.run_for(10)

    handle = alice.begin_flow(publish, carol.party, bob.party)
    network.run_for(10)
    assert "Opened" not in kinds(alice, handle.id)
    bob.start()

    assert handle.result() == 2 * len(BOOK)


def test_errors_are_let_out_though_there_is_no_room_and_a_replay_tells_the_same(
    network: SimulatedNetwork,
) -> None:
    network.peer_limits = FIVE_BOOKS
    alice, bob = pair(network, borrow_two, lend_two_within_a_minute)
    wire = deafened(network, alice)
    handles = [alice.begin_flow(borrow_two, bob.party) for _ in range(10)]
    network.run_for(50)
    bob.restart()
    network.run_for(100)
    assert bob.info().flows_live == 0
    assert bob.info().flows_without_room == 0

    wire.loses = lambda link, envelope: False

    outcomes = [outcome(handle) for handle in handles]
    told = [end.args for end in outcomes if isinstance(end, FlowException)]
    assert set(told) == {("you don't read",)}
    assert outcomes.count(BOOK) == 10 - len(told) > 0
    network.run()
    assert unacknowledged(bob) == 0
    assert_nothing_is_left(network)


def test_a_flow_that_is_killed_while_it_waits_for_room_waits_no_more(
    network: SimulatedNetwork,
) -> None:
    network.peer_limits = FIVE_BOOKS
    alice, bob = pair(network, donate, weigh, ask, answer)
    bob.crash()
    handles = [alice.begin_flow(donate, bob.party) for _ in range(8)]
    network.run_for(10)
    assert alice.info().flows_without_room == 2

    for handle in handles:
        alice.kill(handle.id)
    network.run_for(10)

    assert alice.info().flows_without_room == 0
    bob.start()
    assert alice.start_flow(ask, bob.party).result() == "well"


def test_one_acknowledgement_of_a_part_wakes_who_waits_for_room(network: SimulatedNetwork) -> None:
    network.peer_limits = FIVE_BOOKS
    alice, bob = pair(network, donate, weigh, donate_three, weigh_three)
    bob.crash()
    slow = alice.begin_flow(donate_three, bob.party)
    others = [alice.begin_flow(donate, bob.party) for _ in range(6)]
    network.run_for(10)
    assert alice.info().flows_without_room == 3
    (sid,) = open_sessions(alice, slow.id)

    # It acknowledges the open message. Of the three that wait, one finds room.
    alice.frame_arrives(bob.party.name, [encode(Accept(sid, SessionId(bytes(16)), 1, "", ""))])
    network.run_for(0.1)

    assert alice.info().flows_without_room == 2
    assert alice.flow(slow.id).sessions[0].unacknowledged > 0
    assert len(others) == 6


def test_what_a_peer_refuses_is_no_longer_kept_for_it_and_wakes_who_waits_for_room(
    network: SimulatedNetwork,
) -> None:
    network.peer_limits = FIVE_BOOKS
    wire = Wire(network)
    alice, bob = pair(network, donate_three)
    wire.loses = lambda link, envelope: isinstance(envelope, Ack)

    handles = [alice.begin_flow(donate_three, bob.party) for _ in range(10)]

    assert {type(outcome(handle)) for handle in handles} == {UnexpectedFlowEnd}
    assert unacknowledged(alice) == 0
