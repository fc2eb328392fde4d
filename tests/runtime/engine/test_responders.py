"""Semantics 4: how a responder is found and started, and whose messages it gets."""

import logging

import pytest

from runtime import Party, Session, UnexpectedFlowEnd, flow, initiate, responder, sleep
from runtime.core.envelopes import SESSION_ID_BYTES, Accept, Ack, Data, Open, decode, encode
from runtime.engine.outbox import OUTBOX
from runtime.errors import ConfigurationError
from runtime.ids import SessionId
from runtime.limits import PeerLimits
from runtime.testing.memory_transport import Delivery, Link, deliver_all
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import (
    HeldDisk,
    Wire,
    assert_nothing_is_left,
    journal,
    only_flow,
    open_sessions,
    pair,
    rows,
    same,
    turn,
)


@flow(version=2)
def greet(peer: Party, word: str) -> str:
    return initiate(peer).exchange(word, str).unwrap(same)


@responder(greet)
def greet_back(session: Session) -> None:
    session.send(session.receive(str).unwrap(same).upper())


@responder(greet, version=1)
def greet_back_of_old(session: Session) -> None:
    session.send("old")


# --- lookup -------------------------------------------------------------------------------


def test_an_unknown_flow_is_kept_and_served_once_its_app_is_installed(
    network: SimulatedNetwork,
) -> None:
    alice = network.node("Alice", apps=[greet])
    bob = network.node("Bob")
    handle = alice.start_flow(greet, bob.party, "hello")
    network.run_for(300)
    assert [row.flow for row in bob.operations.unclaimed()] == [greet.name]
    assert not handle.is_ended

    bob.restart(apps=[greet, greet_back])

    assert handle.result() == "HELLO"
    assert bob.operations.unclaimed() == []


def test_an_app_may_be_installed_without_a_restart(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[greet])
    bob = network.node("Bob")
    handle = alice.start_flow(greet, bob.party, "hello")
    network.run_for(300)

    bob.host.register(greet_back)

    assert handle.result() == "HELLO"
    assert bob.operations.unclaimed() == []


def test_an_operator_may_drop_a_request_for_an_unknown_flow(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[greet])
    bob = network.node("Bob")
    handle = alice.start_flow(greet, bob.party, "hello")
    network.run_for(300)
    assert bob.operations.drop_unclaimed("other.flow") == 0

    assert bob.operations.drop_unclaimed(greet.name) == 1

    with pytest.raises(UnexpectedFlowEnd, match="the operator does not want"):
        handle.result()
    network.run()
    assert bob.operations.unclaimed() == []
    assert_nothing_is_left(network)


def test_a_request_that_nobody_repeats_any_more_is_forgotten(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[greet])
    bob = network.node("Bob")
    alice.start_flow(greet, bob.party, "hello")
    network.run_for(300)
    (before,) = bob.operations.unclaimed()
    network.run_for(300)
    (after,) = bob.operations.unclaimed()
    assert after.since_ms == before.since_ms
    assert after.heard_ms > before.heard_ms

    alice.crash()
    network.run_for(3_600)

    assert bob.operations.unclaimed() == []


def test_a_known_flow_without_a_responder_is_refused_at_once(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[greet])
    bob = network.node("Bob", apps=[greet])
    started = network.clock.now_ms()

    with pytest.raises(UnexpectedFlowEnd, match="has no responder here"):
        alice.start_flow(greet, bob.party, "hello").result()

    assert network.clock.now_ms() - started < 1_000


def test_another_version_is_refused_at_once_and_both_are_named(
    network: SimulatedNetwork,
) -> None:
    alice = network.node("Alice", apps=[greet])
    bob = network.node("Bob", apps=[greet_back_of_old])

    with pytest.raises(UnexpectedFlowEnd, match="version 2 was asked for, version 1"):
        alice.start_flow(greet, bob.party, "hello").result()


def test_the_error_id_of_a_refusal_stands_in_both_logs(
    network: SimulatedNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    alice = network.node("Alice", apps=[greet])
    bob = network.node("Bob", apps=[greet])

    with caplog.at_level(logging.WARNING), pytest.raises(UnexpectedFlowEnd) as caught:
        alice.start_flow(greet, bob.party, "hello").result()

    error_id = caught.value.error_id
    told = {record.name for record in caplog.records if str(error_id) in record.getMessage()}
    assert told == {"sennit.delivery", "sennit.flow"}


def test_a_responder_can_name_its_flow_where_that_is_not_at_hand(
    network: SimulatedNetwork,
) -> None:
    @responder(greet.name, version=2)
    def greet_by_name(session: Session) -> None:
        session.send("by name")

    alice = network.node("Alice", apps=[greet])
    bob = network.node("Bob", apps=[greet_by_name])

    assert alice.start_flow(greet, bob.party, "hello").result() == "by name"


def test_two_responders_to_one_flow_stop_the_node_at_its_start(
    network: SimulatedNetwork,
) -> None:
    with pytest.raises(ConfigurationError, match="two responders answer it"):
        network.node("Bob", apps=[greet_back, greet_back_of_old])


def test_too_many_open_sessions_of_one_peer_wait_until_others_are_over(
    network: SimulatedNetwork,
) -> None:
    network.peer_limits = PeerLimits(sessions_per_peer_max=2)

    @flow
    def stay(peer: Party) -> str:
        return initiate(peer).exchange("stay", str).unwrap(same)

    @responder(stay)
    def stay_too(session: Session) -> None:
        sleep(1_000)
        session.send("done")

    alice, bob = pair(network, stay, stay_too)
    handles = [alice.start_flow(stay, bob.party) for _ in range(5)]
    network.run_for(100)

    assert bob.info().flows_live == 2
    assert rows(bob, "tombstones") == 0
    assert [handle.result() for handle in handles] == ["done"] * 5
    network.run()
    assert_nothing_is_left(network)


@flow
def take_two(peer: Party) -> list[str]:
    session = initiate(peer)
    session.send("go")
    return [session.receive(str).unwrap(same) for _ in range(2)]


@responder(take_two)
def give_two(session: Session) -> None:
    session.receive(str)
    session.send("one")
    sleep(10)
    session.send("two")


# --- start --------------------------------------------------------------------------------


def test_the_open_message_the_new_flow_and_its_first_event_are_one_commit() -> None:
    disk = HeldDisk()
    network = SimulatedNetwork(disk=disk)
    alice, bob = pair(network, take_two, give_two)
    alice.begin_flow(take_two, bob.party)
    turn(network)
    while not disk.waiting(bob):
        alice.store.make_durable()
        turn(network)

    first = next(batch for node, batch in disk.batches if node is bob)

    rows = {space.name: list(rows) for space, rows in first.writes.items()}
    assert rows["outbox"]
    assert rows["journal"]


@pytest.mark.parametrize("lost", range(1, 6))
def test_a_crash_before_or_after_the_acceptance_gives_the_same_acceptance(
    network: SimulatedNetwork, lost: int
) -> None:
    # The responder's node crashes after each of its first commits in turn.
    wire = Wire(network)
    wire.loses = lambda link, envelope: isinstance(envelope, Accept)

    @flow
    def say_and_wait(peer: Party) -> str:
        return initiate(peer).exchange("hello", str).unwrap(same)

    @responder(say_and_wait)
    def answer_late(session: Session) -> None:
        sleep(50)
        session.send("late")

    alice, bob = pair(network, say_and_wait, answer_late)
    handle = alice.start_flow(say_and_wait, bob.party)
    network.run_for(lost / 10)
    bob.restart()
    network.run_for(5)
    wire.loses = lambda link, envelope: False

    assert handle.result() == "late"
    assert len({accepted.sid for accepted in wire.of(Accept)}) == 1
    assert bob.info().flows_started <= 1
    network.run()
    assert_nothing_is_left(network)


def test_an_open_message_that_comes_again_starts_nothing(network: SimulatedNetwork) -> None:
    wire = Wire(network)
    # Without acknowledgements everything is sent again and again.
    wire.loses = lambda link, envelope: isinstance(envelope, Ack)
    alice, bob = pair(network, greet, greet_back)

    alice.start_flow(greet, bob.party, "hello").result()
    network.run_for(600)

    assert bob.info().flows_started == 1
    assert alice.info().messages_resent > 3
    wire.loses = lambda link, envelope: False
    network.run()
    assert_nothing_is_left(network)


def test_a_stopping_node_answers_no_open_message_and_serves_it_when_it_is_back(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, greet, greet_back)
    opens: list[bytes] = []

    def intercept(link: Link, frame: list[bytes]) -> list[Delivery]:
        opens.extend(frame)
        return []

    network.links.policy = intercept
    handle = alice.start_flow(greet, bob.party, "hello")
    started: list[int] = []

    def hear() -> None:
        bob.frame_arrives(alice.party.name, opens)
        started.append(bob.info().flows_started)

    bob.host.on_stop(hear)

    bob.stop()
    network.links.policy = deliver_all
    bob.start()

    assert opens
    assert started == [0]
    assert handle.result() == "HELLO"


# --- the sender ---------------------------------------------------------------------------


class Mallory:
    """A node that knows the ids of other people's sessions and speaks into them."""

    def __init__(self, network: SimulatedNetwork) -> None:
        self.node = network.node("Mallory")
        self.wire = Wire(network)

    def say(self, to: SimulatedNode, envelope: Data | Ack | Accept) -> None:
        to.frame_arrives(self.node.party.name, [encode(envelope)])


def test_a_message_whose_sender_is_not_the_sessions_party_is_dropped_and_counted(
    network: SimulatedNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    mallory = Mallory(network)
    alice, bob = pair(network, take_two, give_two)
    handle = alice.start_flow(take_two, bob.party)
    network.run_for(1)
    (sid,) = open_sessions(alice, handle.id)

    mallory.say(alice, Data(sid, 2, "str", b"\xa5false"))
    network.run_for(1)

    assert alice.info().messages_dropped["not of this session"] == 1
    assert "message dropped" in caplog.text
    assert handle.result() == ["one", "two"]


def test_an_acknowledgement_of_a_stranger_is_dropped(network: SimulatedNetwork) -> None:
    mallory = Mallory(network)
    alice, bob = pair(network, take_two, give_two)
    bob.crash()
    handle = alice.start_flow(take_two, bob.party)
    network.run_for(1)
    (sid,) = open_sessions(alice, handle.id)

    mallory.say(alice, Ack(sid, 0))
    network.run_for(1)

    assert alice.info().messages_dropped["not of this session"] == 1
    bob.start()
    assert handle.result() == ["one", "two"]


def test_an_acceptance_of_a_stranger_after_the_end_is_dropped(network: SimulatedNetwork) -> None:
    @flow
    def fail_early(peer: Party) -> None:
        initiate(peer).send("hello")
        raise ValueError("bug")

    seen: list[BaseException] = []

    @responder(fail_early)
    def see_it_fail(session: Session) -> None:
        session.receive(str)
        try:
            session.receive(str)
        except UnexpectedFlowEnd as error:
            seen.append(error)

    mallory = Mallory(network)
    alice, bob = pair(network, fail_early, see_it_fail)
    bob.crash()
    alice.start_flow(fail_early, bob.party)
    network.run_for(1)
    assert mallory.wire.of(Open) == []
    assert alice.info().unacknowledged == 2
    # Each row of the outbox begins with its session.
    sid = SessionId(next(alice.store.scan(OUTBOX, b"", None))[0][:SESSION_ID_BYTES])

    mallory.say(alice, Accept(sid, SessionId(b"m" * 16), 1, "", ""))
    network.run_for(1)

    assert alice.info().messages_dropped["not of this session"] == 1
    bob.start()
    network.run()
    assert seen
    assert_nothing_is_left(network)


def test_a_message_of_no_session_is_dropped(network: SimulatedNetwork) -> None:
    mallory = Mallory(network)
    alice = network.node("Alice")

    mallory.say(alice, Data(SessionId(b"?" * 16), 1, "str", b""))
    network.run()

    assert alice.info().messages_dropped == {"of no session": 1}


def test_bytes_that_are_no_message_are_dropped(network: SimulatedNetwork) -> None:
    alice = network.node("Alice")
    mallory = network.node("Mallory")

    alice.frame_arrives(mallory.party.name, [b"\xff", b"", b"\x91\x00"])
    network.run()

    assert alice.info().messages_dropped == {"malformed": 3}


def test_a_message_out_of_turn_is_dropped_and_the_session_goes_on(
    network: SimulatedNetwork,
) -> None:
    # A second payload takes the number that belongs to the acceptance.
    def policy(link: Link, encoded: list[bytes]) -> list[Delivery]:
        before = []
        for each in encoded:
            envelope = decode(each)
            if isinstance(envelope, Accept):
                before.append(encode(Data(envelope.to, 0, "str", b"\xa1x")))
        return [Delivery([*before, *encoded])]

    network.links.policy = policy
    alice, bob = pair(network, take_two, give_two)

    assert alice.start_flow(take_two, bob.party).result() == ["one", "two"]
    assert alice.info().messages_dropped["out of turn"] >= 1


def test_a_responder_knows_the_authenticated_party(network: SimulatedNetwork) -> None:
    seen: list[Party] = []

    @flow
    def knock(peer: Party) -> None:
        initiate(peer).exchange("x", str)

    @responder(knock)
    def look_who(session: Session) -> None:
        seen.append(session.counterparty)
        assert session.peer.party == session.counterparty
        session.send("x")

    alice, bob = pair(network, knock, look_who)

    alice.start_flow(knock, bob.party).result()

    assert set(seen) == {alice.party}


def test_a_responders_journal_names_its_origin(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, take_two, give_two)
    alice.start_flow(take_two, bob.party)
    network.run_for(1)

    started = journal(bob, only_flow(bob).flow_id)[0]

    assert started.origin is not None  # type: ignore[union-attr]
    assert started.origin.peer == alice.party.name  # type: ignore[union-attr]
    assert str(only_flow(bob).info.user) == alice.party.name
