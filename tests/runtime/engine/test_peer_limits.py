"""What peers make a node keep is bounded, for each and in sum; honest traffic waits and goes on."""

import logging
import tracemalloc

import pytest

from runtime import Party, Session, flow, initiate, responder, sleep
from runtime.codec import pack
from runtime.core.envelopes import (
    SESSION_ID_BYTES,
    Accept,
    AnyEnvelope,
    Data,
    End,
    Gone,
    Open,
    encode,
)
from runtime.core.quota import kept_bytes
from runtime.engine import delivery as delivery_module
from runtime.ids import SessionId
from runtime.limits import KEPT_OVERHEAD_BYTES, MIB, TOMBSTONE_MS, PeerLimits
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import (
    Wire,
    answer,
    ask,
    assert_nothing_is_left,
    pair,
    rows,
    same,
    used,
)

WORD = "x" * 1_000
WORD_COST = len(WORD) + KEPT_OVERHEAD_BYTES


@flow
def pour(peer: Party, words: int) -> int:
    """Send many words to a flow that reads them late."""
    session = initiate(peer)
    for _ in range(words):
        session.send(WORD)
    return session.receive(int).unwrap(same)


@responder(pour)
def drink_late(session: Session) -> None:
    sleep(1_000)
    count = 0
    for _ in range(20):
        count += len(session.receive(str).unwrap(same))
    session.send(count)


@flow
def gather(peer: Party) -> str:
    """Read one session only when another one has answered."""
    first, second = initiate(peer), initiate(peer)
    first.send("go")
    second.send("go")
    sleep(100)
    last = second.receive(str).unwrap(same)
    while first.receive(str).unwrap(same) != "end":
        pass
    return last


@responder(gather)
def flood_or_finish(session: Session) -> None:
    session.receive(str)
    for _ in range(30):
        session.send(WORD)
    session.send("end")


def sid_of(number: int) -> SessionId:
    return SessionId(number.to_bytes(SESSION_ID_BYTES, "big"))


def arrive(node: SimulatedNode, sender: SimulatedNode, *envelopes: AnyEnvelope) -> None:
    """Let messages of a peer arrive, in one frame."""
    node.frame_arrives(sender.party.name, [encode(envelope) for envelope in envelopes])


def an_open(number: int, flow_name: str = "mallory.flow", payload: str = "") -> Open:
    packed = pack(payload)
    return Open(sid_of(number), flow_name, 1, "app", "1", b"", packed.type, packed.body)


def unread(node: SimulatedNode) -> int:
    return used(node, "unread_bytes_max")


def counted(node: SimulatedNode) -> list[int]:
    """Return what a node counts of what its peers have sent."""
    limits = ("unread_bytes_max", "received_bytes_max", "sessions_of_peers_max")
    return [used(node, limit) for limit in limits]


# --- unread messages ----------------------------------------------------------------------------


def test_unread_words_of_one_peer_are_bounded_over_its_sessions_and_all_arrive_in_the_end(
    network: SimulatedNetwork,
) -> None:
    # Breaks when each session has a bound, and a peer may have very many sessions.
    network.peer_limits = PeerLimits(unread_bytes_per_peer_max=30 * WORD_COST)
    alice, bob = pair(network, pour, drink_late)
    handles = [alice.start_flow(pour, bob.party, 20) for _ in range(10)]
    network.run_for(500)

    assert 20 * WORD_COST < unread(bob) <= 30 * WORD_COST
    assert 20 <= rows(bob, "inbox") <= 30
    assert [handle.result() for handle in handles] == [20_000] * 10
    network.run()
    assert_nothing_is_left(network)


def test_one_greedy_peer_leaves_room_for_others(network: SimulatedNetwork) -> None:
    network.peer_limits = PeerLimits(
        unread_bytes_per_peer_max=60 * WORD_COST, unread_bytes_max=60 * WORD_COST
    )
    mallory, bob = pair(network, pour, drink_late)
    carol = network.node("Carol", apps=[ask, pour])
    bob.add_apps(answer)
    for _ in range(10):
        mallory.start_flow(pour, bob.party, 20)
    network.run_for(100)

    assert unread(bob) <= 30 * WORD_COST
    assert carol.start_flow(ask, bob.party).result() == "well"
    assert carol.start_flow(pour, bob.party, 20).result() == 20_000
    network.run()
    assert_nothing_is_left(network)


def test_a_flow_gets_what_it_waits_for_though_the_peer_has_used_up_its_room(
    network: SimulatedNetwork,
) -> None:
    # Breaks when the message that would empty the other session finds no room: a deadlock.
    network.peer_limits = PeerLimits(unread_bytes_per_peer_max=10 * WORD_COST)
    alice, bob = pair(network, gather, flood_or_finish)

    handles = [alice.start_flow(gather, bob.party) for _ in range(5)]

    assert [handle.result() for handle in handles] == [WORD] * 5
    network.run()
    assert_nothing_is_left(network)


def test_what_is_kept_is_counted_again_after_a_restart(network: SimulatedNetwork) -> None:
    network.peer_limits = PeerLimits(unread_bytes_per_peer_max=30 * WORD_COST)
    alice, bob = pair(network, pour, drink_late)
    handles = [alice.start_flow(pour, bob.party, 20) for _ in range(10)]
    network.run_for(500)
    before = counted(bob)

    bob.restart()

    assert before[0] > 0
    assert before[2] > 0
    assert counted(bob) == before
    assert [handle.result() for handle in handles] == [20_000] * 10
    network.run()
    assert_nothing_is_left(network)


def test_an_open_message_with_a_payload_waits_for_room(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, ask, answer)
    cost = kept_bytes(encode(an_open(1, ask.name, WORD)))
    started = []
    for room in (cost - 1, cost):
        network.peer_limits = PeerLimits(unread_bytes_per_peer_max=room)
        bob.restart()

        arrive(bob, alice, an_open(1, ask.name, WORD))
        started.append(bob.info().flows_started)

    assert started == [0, 1]


# --- sessions -----------------------------------------------------------------------------------


def test_a_session_counts_until_the_peer_has_acknowledged_its_end(
    network: SimulatedNetwork,
) -> None:
    # Breaks when a peer that acknowledges nothing leaves an end in our outbox for each session.
    network.peer_limits = PeerLimits(sessions_per_peer_max=3)
    wire = Wire(network)
    alice, bob = pair(network, ask, answer)
    wire.loses = lambda link, envelope: link.target == alice.party.name
    for number in range(10):
        arrive(bob, alice, an_open(number, ask.name, "how?"))
        network.run_for(1)

    assert bob.info().unacknowledged == 3 * 3
    assert rows(bob, "outbox") == 3 * 3
    assert rows(bob, "tombstones") == 3 * 2
    assert used(bob, "sessions_of_peers_max") == 3
    bob.restart()
    assert used(bob, "sessions_of_peers_max") == 3


def test_refusals_that_nobody_acknowledges_are_bounded(network: SimulatedNetwork) -> None:
    network.peer_limits = PeerLimits(sessions_per_peer_max=5)
    alice, bob = network.node("Alice"), network.node("Bob", apps=[ask])
    network.links.policy = lambda link, frame: []

    for number in range(100):
        arrive(bob, alice, an_open(number, ask.name))

    assert bob.info().unacknowledged == 5
    assert used(bob, "sessions_of_peers_max") == 5


def test_many_sessions_leave_few_tombstones(network: SimulatedNetwork) -> None:
    # Breaks when each session of a busy peer leaves something for a day.
    network.peer_limits = PeerLimits(tombstones_per_peer_max=10)
    alice, bob = pair(network, ask, answer)

    for _ in range(40):
        assert alice.start_flow(ask, bob.party).result() == "well"

    network.run()
    assert rows(alice, "tombstones") <= 11
    assert rows(bob, "tombstones") <= 2 * 11


def test_tombstones_of_a_peer_that_stays_away_go_when_others_have_sessions(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, ask, answer)
    carol = network.node("Carol", apps=[ask])
    for _ in range(5):
        carol.start_flow(ask, bob.party).result()
    network.run()
    network.run_for(TOMBSTONE_MS / 1000 + 1)

    alice.start_flow(ask, bob.party).result()

    network.run()
    assert rows(bob, "tombstones") == 2


def test_a_tombstone_stays_while_something_is_under_way_and_goes_after_that(
    network: SimulatedNetwork,
) -> None:
    # Breaks when the tombstone is swept: the peer's open message would start a second responder.
    network.peer_limits = PeerLimits(tombstones_per_peer_max=1)
    wire = Wire(network)
    alice, bob = pair(network, ask, answer)
    wire.loses = lambda link, envelope: link.target == alice.party.name
    handles = [alice.begin_flow(ask, bob.party) for _ in range(5)]
    network.run_for(2 * TOMBSTONE_MS / 1000)

    assert rows(bob, "tombstones") == 2 * 5
    assert bob.info().flows_started == 5
    bob.restart()
    network.run_for(100)
    assert rows(bob, "tombstones") == 2 * 5
    wire.loses = lambda link, envelope: False
    assert [handle.result() for handle in handles] == ["well"] * 5
    network.run()
    alice.start_flow(ask, bob.party).result()
    network.run()
    assert rows(bob, "tombstones") <= 2 * 2
    assert_nothing_is_left(network)


# --- flows that are not installed ----------------------------------------------------------------


def test_of_an_open_message_for_an_unknown_flow_only_the_head_is_kept(
    network: SimulatedNetwork,
) -> None:
    alice, bob = network.node("Alice"), network.node("Bob")
    payload = "x" * MIB
    tracemalloc.start()

    for number in range(100):
        arrive(bob, alice, an_open(number, payload=payload))

    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(bob.operations.unclaimed()) == 100
    assert kept < 2 * MIB


def test_open_messages_for_unknown_flows_are_bounded_for_each_peer_and_in_sum(
    network: SimulatedNetwork,
) -> None:
    network.peer_limits = PeerLimits(unclaimed_per_peer_max=10, unclaimed_max=30)
    alice, bob = network.node("Alice"), network.node("Bob")
    carol = network.node("Carol")
    for number in range(100):
        arrive(bob, alice, an_open(number))
    for number in range(100, 200):
        arrive(bob, carol, an_open(number))

    assert len(bob.operations.unclaimed()) == 20
    assert bob.operations.drop_unclaimed("mallory.flow") == 20
    assert bob.operations.unclaimed() == []
    arrive(bob, alice, an_open(300))
    assert len(bob.operations.unclaimed()) == 1


# --- answers and log lines ----------------------------------------------------------------------


def test_answers_to_messages_of_unknown_sessions_are_bounded_in_each_commit(
    network: SimulatedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "DENIALS_PER_PEER_MAX", 7)
    wire = Wire(network)
    alice, bob = network.node("Alice"), network.node("Bob")

    arrive(bob, alice, *(Data(sid_of(number), 1, "int", b"\x01") for number in range(100)))
    network.run()

    assert len(wire.of(Gone)) == 7
    assert bob.info().messages_dropped["of no session"] == 100
    arrive(bob, alice, End(sid_of(1), 1))
    network.run()
    assert len(wire.of(Gone)) == 8


def test_the_garbage_of_one_peer_costs_few_lines_and_another_one_still_gets_its_own(
    network: SimulatedNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    alice, bob = network.node("Alice"), network.node("Bob", apps=[ask])
    carol = network.node("Carol")
    with caplog.at_level(logging.DEBUG):
        for number in range(300):
            alice_name = alice.party.name
            bob.frame_arrives(alice_name, [b"\xc1", b"", b"\x91" * 50, bytes(20_000)])
            arrive(
                bob,
                alice,
                an_open(number),
                an_open(1_000 + number, ask.name),
                Data(sid_of(5_000 + number), 1, "int", b""),
                Accept(sid_of(6_000 + number), sid_of(number), 1, "", ""),
            )
        lines = [record for record in caplog.records if "Carol" not in record.getMessage()]
        caplog.clear()
        arrive(bob, carol, Data(sid_of(9), 1, "int", b""))

    assert len(lines) <= 3 * delivery_module.LINES_PER_PEER
    assert sum(len(record.getMessage()) for record in lines) < 20_000
    assert "of no session" in caplog.text
