"""Messages out of turn, and of sessions that are not there: none of them is sent for ever."""

import pytest

from runtime import (
    Party,
    Session,
    UnexpectedFlowEnd,
    flow,
    initiate,
    responder,
    sleep,
)
from runtime.core.envelopes import (
    SESSION_ID_BYTES,
    Accept,
    Ack,
    AnyEnvelope,
    Data,
    End,
    Gone,
    Open,
    Refuse,
    encode,
)
from runtime.core.events import JOURNAL
from runtime.core.session_machine import SessionMachine
from runtime.engine.tombstones import TOMBSTONES
from runtime.ids import ErrorId, SessionId
from runtime.testing.memory_store import MemoryStore
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import (
    Wire,
    answer,
    ask,
    assert_nothing_is_left,
    only_flow,
    outcome,
    pair,
    rows,
    same,
    write,
)


@flow
def linger(peer: Party) -> str:
    """Be there for long after the peer has ended."""
    session = initiate(peer)
    word = session.exchange("how?", str).unwrap(same)
    sleep(1_000)
    return word


@responder(linger)
def answer_and_go(session: Session) -> None:
    session.receive(str)
    session.send("well")


@flow
def pour(peer: Party, words: int) -> str:
    """Send now and then; the peer never says anything."""
    session = initiate(peer)
    for number in range(words):
        session.send(number)
        sleep(10)
    return session.receive(str).unwrap(same)


@responder(pour)
def drink(session: Session) -> None:
    while True:
        session.receive(int)


@flow
def ask_in_vain(peer: Party) -> None:
    try:
        initiate(peer).receive(str)
    except UnexpectedFlowEnd:
        sleep(1_000)


@responder(ask_in_vain, version=2)
def not_wanted(session: Session) -> None:
    """Nobody asks for this version."""


@flow
def enter(peer: Party) -> None:
    initiate(peer).send("hello")


@responder(enter)
def wait_for_more(session: Session) -> None:
    session.receive(str)
    session.receive(str)


def arrive(node: SimulatedNode, sender: SimulatedNode, *envelopes: AnyEnvelope) -> None:
    """Let messages of a peer arrive, in one frame."""
    frame = [encode(envelope) for envelope in envelopes]
    node.frame_arrives(sender.party.name, frame)


def only_session(node: SimulatedNode) -> SessionMachine:
    """Return the only session of the only flow of a node."""
    (machine,) = only_flow(node).sessions.values()
    return machine


def answers(wire: Wire) -> list[Ack | Gone]:
    return [ack for _, ack in wire.acknowledgements] + wire.of(Gone)


def forget(node: SimulatedNode) -> None:
    """Forget all sessions that are over, as a node does after a day."""
    write(node, TOMBSTONES, {key: None for key, _ in node.store.scan(TOMBSTONES, b"", None)})


def lose_everything(node: SimulatedNode, network: SimulatedNetwork) -> None:
    """Let a node come back with an empty store."""
    node.crash()
    node.store = MemoryStore(network.loop)
    node.start()


# --- out of turn --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2, 3, 9])
def test_what_a_peer_sends_after_its_end_is_acknowledged_and_counted(
    network: SimulatedNetwork, number: int
) -> None:
    # Breaks when it is only dropped: the peer would send it again for ever.
    wire = Wire(network)
    alice, bob = pair(network, linger, answer_and_go)
    handle = alice.start_flow(linger, bob.party)
    network.run_for(1)
    machine = only_session(alice)
    assert machine.is_over_for_peer
    arrive(alice, bob, Data(machine.sid, 3 + number, "", b""), End(machine.sid, 4 + number))
    network.run_for(1)

    assert machine.peer_sid is not None
    assert Ack(machine.peer_sid, 4 + number) in answers(wire)
    assert alice.info().messages_dropped == {"out of turn": 2}
    assert handle.result() == "well"
    network.run()
    assert_nothing_is_left(network)


def test_what_came_before_the_end_that_it_follows_is_acknowledged_when_it_comes_again(
    network: SimulatedNetwork,
) -> None:
    wire = Wire(network)
    alice, bob = pair(network, linger, answer_and_go)
    wire.loses = lambda link, envelope: isinstance(envelope, Data) and envelope.number == 1
    alice.start_flow(linger, bob.party)
    network.run_for(1)
    machine = only_session(alice)
    out_of_turn = Data(machine.sid, 3, "str", b"\xa1x")
    arrive(alice, bob, out_of_turn)
    wire.loses = lambda link, envelope: False
    network.run_for(10)
    assert machine.is_over_for_peer
    assert not machine.gap

    arrive(alice, bob, out_of_turn)
    network.run_for(1)

    assert machine.peer_sid is not None
    assert Ack(machine.peer_sid, 3) in answers(wire)


def test_a_second_acceptance_is_denied_and_the_first_one_counts(network: SimulatedNetwork) -> None:
    # Breaks when it is acknowledged: its responder would wait for ever for what it asks.
    wire = Wire(network)
    alice, bob = pair(network, linger, answer_and_go)
    handle = alice.start_flow(linger, bob.party)
    network.run_for(1)
    machine = only_session(alice)
    second = SessionId(b"2" * SESSION_ID_BYTES)
    arrive(alice, bob, Accept(machine.sid, second, 1, "", ""))
    network.run_for(1)

    ((gone,),) = [wire.of(Gone)]
    assert (gone.to, gone.sid) == (second, machine.sid)
    assert not [ack for ack in answers(wire) if ack.to == second and isinstance(ack, Ack)]
    assert handle.result() == "well"


def test_a_second_acceptance_is_denied_when_the_first_session_is_over(
    network: SimulatedNetwork,
) -> None:
    wire = Wire(network)
    alice, bob = pair(network, ask, answer)
    alice.start_flow(ask, bob.party).result()
    network.run()
    ((opened,),) = [wire.of(Open)]
    second = SessionId(b"2" * SESSION_ID_BYTES)
    arrive(alice, bob, Accept(opened.sid, second, 1, "", ""))
    network.run()

    assert [(gone.to, gone.sid) for gone in wire.of(Gone)] == [(second, opened.sid)]


@pytest.mark.parametrize("is_over", [False, True])
def test_what_a_peer_says_in_a_session_that_it_has_refused_is_denied(
    network: SimulatedNetwork, is_over: bool
) -> None:
    wire = Wire(network)
    alice, bob = pair(network, ask_in_vain, not_wanted)
    alice.start_flow(ask_in_vain, bob.party)
    network.run_for(2_000 if is_over else 1)
    ((refused,),) = [wire.of(Refuse)]
    assert bool(alice.info().flows_live) is not is_over

    arrive(alice, bob, Data(refused.to, 1, "str", b"\xa1x"))
    network.run_for(1)

    assert [(gone.to, gone.sid) for gone in wire.of(Gone)] == [(b"", refused.to)]


def test_an_end_that_overtakes_the_acceptance_of_a_session_that_is_over_is_not_denied(
    network: SimulatedNetwork,
) -> None:
    # Breaks when its sender lets the acceptance go, for which our own error waits.
    wire = Wire(network)
    alice, bob = pair(network, ask, answer)
    wire.loses = lambda link, envelope: isinstance(envelope, Accept)
    handle = alice.begin_flow(ask, bob.party)
    network.run_for(1)
    alice.kill(handle.id)
    network.run_for(100)
    assert wire.of(End)
    wire.loses = lambda link, envelope: False

    network.run()

    assert wire.of(Gone) == []
    assert_nothing_is_left(network)


# --- of no session ------------------------------------------------------------------------------


def test_messages_of_no_session_are_denied_once_a_frame(network: SimulatedNetwork) -> None:
    wire = Wire(network)
    alice, bob = pair(network)
    unknown = SessionId(b"?" * SESSION_ID_BYTES)
    arrive(alice, bob, *(Data(unknown, number, "str", b"") for number in range(100)))
    network.run()

    assert [(gone.to, gone.sid) for gone in wire.of(Gone)] == [(b"", unknown)]
    assert alice.info().messages_dropped == {"of no session": 100}
    assert rows(alice, "outbox") == 0


def test_an_end_that_comes_when_its_session_is_forgotten_is_not_sent_for_ever(
    network: SimulatedNetwork,
) -> None:
    # Breaks when what is of no session is dropped without an answer.
    wire = Wire(network)
    wire.loses = lambda link, envelope: isinstance(envelope, Ack) and envelope.up_to > 0
    alice, bob = pair(network, ask, answer)
    handle = alice.begin_flow(ask, bob.party)
    network.run_for(10)
    assert handle.is_ended
    assert alice.info().unacknowledged > 0
    assert bob.info().unacknowledged > 0
    wire.loses = lambda link, envelope: False
    forget(bob)
    forget(alice)
    bob.restart()

    network.run()

    assert_nothing_is_left(network)
    assert alice.info().unacknowledged == bob.info().unacknowledged == 0


def test_a_refusal_of_a_session_that_is_forgotten_is_not_sent_for_ever(
    network: SimulatedNetwork,
) -> None:
    wire = Wire(network)
    alice, bob = pair(network, ask_in_vain, not_wanted)
    wire.loses = lambda link, envelope: isinstance(envelope, Ack | Refuse)
    handle = alice.begin_flow(ask_in_vain, bob.party)
    network.run_for(10)
    alice.kill(handle.id)
    network.run_for(10)
    alice.crash()
    alice.store = MemoryStore(network.loop)
    wire.loses = lambda link, envelope: False

    alice.start()
    network.run()

    assert_nothing_is_left(network)


def test_a_flow_whose_peer_has_lost_its_store_learns_that_the_session_is_over(
    network: SimulatedNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    # Breaks when a session that the peer does not know goes on without it.
    alice, bob = pair(network, pour, drink)
    handle = alice.start_flow(pour, bob.party, 5)
    network.run_for(5)

    lose_everything(bob, network)

    error = outcome(handle)
    assert isinstance(error, UnexpectedFlowEnd)
    assert error.error_id
    assert any(error.error_id in getattr(record, "detail", "") for record in caplog.records)
    network.run()
    assert_nothing_is_left(network)


def test_the_end_of_a_session_that_the_peer_has_lost_survives_a_crash(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, pour, drink)
    handle = alice.start_flow(pour, bob.party, 5)
    network.run_for(15)
    lose_everything(bob, network)
    network.run_for(9)
    assert only_session(alice).is_over_for_peer
    assert not handle.is_ended

    alice.restart()
    network.run()

    assert rows(alice, "outbox") == 0
    assert_nothing_is_left(network)


def test_a_session_that_the_peer_has_lost_ends_only_when_there_is_room_for_its_end(
    network: SimulatedNetwork,
) -> None:
    # Breaks when the messages are dropped and the flow never hears why.
    alice, bob = pair(network, pour, drink)
    alice.start_flow(pour, bob.party, 4)
    network.run_for(5)
    bob.kill(only_flow(bob).flow_id)
    lose_everything(bob, network)
    machine = only_session(alice)
    account = machine.account
    assert account is not None
    unread_max, account.unread_per_session = account.unread_per_session, -1
    network.run_for(12)
    assert alice.info().unacknowledged > 0
    assert not machine.is_over_for_peer

    account.unread_per_session = unread_max
    network.run()

    assert_nothing_is_left(network)


def test_a_responder_to_an_open_message_that_came_a_day_too_late_ends(
    network: SimulatedNetwork,
) -> None:
    # Breaks when nobody tells it: it would wait for ever for what it asks.
    wire = Wire(network)
    alice, bob = pair(network, enter, wait_for_more)
    alice.start_flow(enter, bob.party)
    network.run()
    ((opened,),) = [wire.of(Open)]
    forget(alice)
    forget(bob)

    arrive(bob, alice, opened)
    network.run()

    assert bob.info().flows_started == 2
    assert_nothing_is_left(network)


def come_back_unreadable(
    network: SimulatedNetwork, broken: SimulatedNode, other: SimulatedNode
) -> tuple[bytes, bytes]:
    """Restart a node with a damaged start of its only flow, beside another that was down.

    Returns the damaged row's key and what it was.
    """
    ((key, value), *_) = list(broken.store.scan(JOURNAL, b"", None))
    write(broken, JOURNAL, {key: b"\x92\xcc\xc8\x00"})
    network.run_for(1)
    broken.restart()
    other.start()
    network.run_for(60)
    return key, value


def test_a_session_of_a_flow_whose_journal_cannot_be_read_is_not_denied(
    network: SimulatedNetwork,
) -> None:
    # Breaks when "nobody here knows it" is taken for "it is not here".
    alice, bob = pair(network, ask, answer)
    bob.crash()
    handle = alice.start_flow(ask, bob.party)
    network.run_for(1)
    key, value = come_back_unreadable(network, alice, bob)
    assert alice.journal(handle.id)[0].kind == "unreadable"
    assert alice.info().messages_dropped["of no session"] > 1
    write(alice, JOURNAL, {key: value})

    alice.retry(handle.id)

    assert alice.handle(handle.id).result() == "well"
    network.run()
    assert bob.info().flows_completed == 1
    assert_nothing_is_left(network)


def test_sessions_are_denied_once_a_flow_that_could_not_be_read_is_killed(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, enter, wait_for_more)
    bob.crash()
    handle = alice.begin_flow(enter, bob.party)
    network.run_for(1)
    come_back_unreadable(network, alice, bob)
    assert bob.info().unacknowledged == 1

    alice.kill(handle.id)
    network.run_for(60)

    assert bob.info().unacknowledged == 0
    assert bob.info().flows_live == 0


# --- who may say that a session is gone -----------------------------------------------------------


def test_a_stranger_cannot_end_a_session_by_denying_it(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, pour, drink)
    mallory = network.node("Mallory")
    alice.start_flow(pour, bob.party, 5)
    network.run_for(5)
    bob.crash()
    network.run_for(20)
    machine = only_session(alice)
    assert alice.info().unacknowledged > 0
    assert machine.peer_sid is not None

    arrive(
        alice,
        mallory,
        Gone(SessionId(b""), machine.peer_sid, ErrorId("")),
        Gone(machine.sid, machine.peer_sid, ErrorId("")),
    )
    network.run_for(1)

    assert not machine.is_over_for_peer
    assert alice.info().unacknowledged > 0
    assert alice.info().messages_dropped == {"not of this session": 1}


def test_a_denial_of_another_session_than_the_one_it_names_has_no_effect(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, pour, drink)
    alice.start_flow(pour, bob.party, 5)
    network.run_for(5)
    bob.crash()
    network.run_for(20)
    machine = only_session(alice)

    arrive(alice, bob, Gone(machine.sid, SessionId(b"?" * SESSION_ID_BYTES), ErrorId("")))
    network.run_for(1)

    assert not machine.is_over_for_peer
    assert alice.info().unacknowledged > 0


def test_a_denial_that_comes_again_has_no_effect(network: SimulatedNetwork) -> None:
    wire = Wire(network)
    alice, bob = pair(network, pour, drink)
    handle = alice.start_flow(pour, bob.party, 5)
    network.run_for(5)
    lose_everything(bob, network)
    outcome(handle)
    network.run()
    before = alice.commits

    arrive(alice, bob, *wire.of(Gone), *wire.of(Gone))
    network.run()

    assert alice.commits == before
    assert_nothing_is_left(network)
