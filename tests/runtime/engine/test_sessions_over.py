"""A session that both sides have ended leaves memory, also in a flow that lives on."""

import gc
from contextlib import suppress

import pytest

from runtime import (
    FlowException,
    Party,
    Session,
    SessionClosed,
    flow,
    initiate,
    receive_all,
    responder,
    sleep,
)
from runtime.core.envelopes import Accept, End, Gone, encode
from runtime.core.session_machine import SessionMachine
from runtime.engine.session_views import SessionView
from runtime.errors import UnexpectedFlowEnd
from runtime.handle import FlowHandle
from runtime.ids import ErrorId, FlowId, SessionId
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import (
    Wire,
    assert_nothing_is_left,
    kinds,
    open_sessions,
    pair,
    same,
    used,
)
from tests.runtime.engine.test_peer_limits import arrive


@flow
def greet(peer: Party, name: str) -> str:
    return initiate(peer).exchange(name, str).unwrap(same)


@responder(greet)
def greet_back(session: Session) -> None:
    session.send("hello " + session.receive(str).unwrap(same))


@flow
def meet_many(peer: Party, count: int) -> int:
    """Use sessions one after the other, in all ways, and rest before the last one."""
    versions = 0
    for number in range(count):
        if number == count - 1:
            sleep(1_000)
        session = initiate(peer)
        if number % 2:
            versions += session.peer.flow_version
        session.exchange(str(number), str)
        versions += session.peer.flow_version
        session.close()
    sleep(1_000)
    return versions


@responder(meet_many)
def be_met(session: Session) -> None:
    session.send(session.receive(str).unwrap(same))


@flow
def greet_many(peer: Party, count: int) -> str:
    """The same in sub-flows."""
    last = ""
    for number in range(count):
        last = greet(peer, str(number))
    sleep(1_000)
    return last


@flow
def keep_one(peer: Party) -> list[str]:
    """Hold a session for long after it is over, and use it."""
    kept, other = initiate(peer), initiate(peer)
    kept.send("kept")
    receive_all([kept, other], str)
    told: list[str] = [str(kept.peer.flow_version)]
    kept.close()
    sleep(100)
    other.close()
    del other
    sleep(100)
    kept.close()
    told += [repr(kept), kept.counterparty.name, str(kept.peer.flow_version)]
    try:
        kept.send("too late")
    except SessionClosed as error:
        told.append(str(error))
    sleep(100)
    return told


@responder(keep_one)
def be_kept(session: Session) -> None:
    session.send("well")


@flow
def close_first(peer: Party) -> str:
    """Close before the peer has ended, which then takes its time."""
    session = initiate(peer)
    word = session.receive(str).unwrap(same)
    session.close()
    sleep(1_000)
    return f"{word} {session.peer.flow_version}"


@flow
def fail_while_opening(peer: Party) -> None:
    initiate(peer).send("x")
    raise FlowException("no")


@flow
def give_up(peer: Party) -> str:
    """Have a sub-flow fail whose session is not accepted yet, and live on."""
    with suppress(FlowException):
        fail_while_opening(peer)
    sleep(100)
    sleep(1_000)
    return "well"


@flow
def close_at_once(peer: Party) -> None:
    with suppress(UnexpectedFlowEnd):
        initiate(peer).receive(str)


@responder(close_first)
def end_late(session: Session) -> None:
    session.send("well")
    sleep(100)


@responder(close_at_once)
def close_and_live_on(session: Session) -> None:
    session.close()
    sleep(1_000)


APPS = (
    greet,
    greet_back,
    meet_many,
    be_met,
    greet_many,
    keep_one,
    be_kept,
    close_first,
    end_late,
    fail_while_opening,
    give_up,
    close_at_once,
    close_and_live_on,
)


def in_memory(node: SimulatedNode, flow_id: FlowId) -> tuple[int, int, int]:
    """Return how many sessions and views a flow has, and how many sessions are delivered to."""
    manager = node.running.manager
    run = manager.runs[flow_id]
    return len(run.sessions), len(run.views), len(manager.delivery.sessions)


def alive(kind: type) -> int:
    gc.collect()
    return sum(type(each) is kind for each in gc.get_objects())


@pytest.mark.parametrize("is_in_subflows", [False, True])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_flow_that_has_sessions_one_after_the_other_does_not_grow(
    network: SimulatedNetwork, is_in_subflows: bool, restarts: bool
) -> None:
    # Breaks when what is over stays until the flow ends: it may have 100,000 sessions.
    alice, bob = pair(network, *APPS)
    machines, views = alive(SessionMachine), alive(SessionView)
    handle: FlowHandle[int] | FlowHandle[str]
    if is_in_subflows:
        handle = alice.begin_flow(greet_many, bob.party, 40)
    else:
        handle = alice.begin_flow(meet_many, bob.party, 40)
    network.run_for(500)
    if restarts:
        alice.restart()
        network.run_for(1)

    assert in_memory(alice, handle.id) == (0, 0, 0)
    assert alive(SessionMachine) == machines
    # A frame may still refer to the last one.
    assert alive(SessionView) <= views + 1
    run = alice.running.manager.runs[handle.id]
    assert run.frame is not None
    assert not run.frame.sessions
    assert alice.handle(handle.id).result() == ("hello 39" if is_in_subflows else 60)
    network.run()
    assert_nothing_is_left(network)


def test_what_is_known_of_a_session_stays_as_long_as_the_code_has_it(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, *APPS)
    undisturbed = alice.start_flow(keep_one, bob.party).result()
    handle = alice.begin_flow(keep_one, bob.party)
    for _ in range(3):
        network.run_for(80)
        alice.restart()

    told = alice.handle(handle.id).result()

    assert told == undisturbed
    assert told[0] == told[3] == "1"
    assert told[1] == f"Session(session 1 with {bob.party.name}, message 1)"
    assert told[2] == bob.party.name
    assert told[4].endswith("has closed session 1 with " + bob.party.name + ", message 1")


def test_a_peer_that_ends_after_us_frees_memory_when_it_does(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, *APPS)
    handle = alice.begin_flow(close_first, bob.party)
    network.run_for(50)
    before = in_memory(alice, handle.id)
    network.run_for(100)
    after = in_memory(alice, handle.id)
    alice.restart()

    assert before == (1, 1, 1)
    assert after == (0, 0, 0)
    assert in_memory(alice, handle.id)[::2] == (0, 0)
    assert kinds(alice, handle.id).count("SessionOver") == 1
    assert not alice.handle(handle.id).is_ended
    assert alice.handle(handle.id).result() == "well 1"


def test_a_peer_that_ends_while_the_flow_is_held_frees_memory_and_a_retry_answers_the_same(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, *APPS)
    handle = alice.begin_flow(close_first, bob.party)
    network.run_for(50)
    manager = alice.running.manager
    run = manager.runs[handle.id]
    run.unwind()
    manager.hospital.hold(run, RuntimeError("for a test"), "a test")
    network.run_for(100)
    assert in_memory(alice, handle.id)[::2] == (0, 0)

    alice.retry(handle.id)
    network.run_for(10)

    assert in_memory(alice, handle.id) == (0, 0, 0)
    assert alice.handle(handle.id).result() == "well 1"


def test_what_a_flow_has_read_counts_until_the_flow_ends(network: SimulatedNetwork) -> None:
    # Breaks when a session that is over counts no more, while its messages are in the journal.
    alice, bob = pair(network, *APPS)
    handle = alice.begin_flow(greet_many, bob.party, 10)
    network.run_for(50)
    before = used(alice, "received_bytes_max")
    alice.restart()
    after = used(alice, "received_bytes_max")

    assert before == after > 10 * 512
    assert alice.handle(handle.id).result() == "hello 9"
    assert used(alice, "received_bytes_max") == 0


def test_late_messages_of_a_session_that_is_over_are_answered_and_change_nothing(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, *APPS)
    wire = Wire(network)
    handle = alice.begin_flow(greet_many, bob.party, 5)
    network.run_for(50)
    before = kinds(alice, handle.id)
    late = [encode(each) for link, each in wire.envelopes if link.target == alice.party.name]
    acknowledged = len(wire.acknowledgements)

    alice.frame_arrives(bob.party.name, late)
    network.run_for(1)

    assert len(late) == 5 * 3
    assert len(wire.acknowledgements) > acknowledged
    assert wire.of(Gone) == []
    assert kinds(alice, handle.id) == before
    assert not alice.info().messages_dropped


def test_a_peer_that_ends_before_a_restarted_flow_has_begun_frees_memory_too(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, *APPS)
    handle = alice.begin_flow(close_first, bob.party)
    network.run_for(50)
    bob.crash()
    alice.restart()
    (session,) = alice.flow(handle.id).sessions

    arrive(alice, bob, End(SessionId(bytes.fromhex(session.id)), session.received))
    assert in_memory(alice, handle.id) == (0, 0, 0)
    network.run_for(10)

    assert in_memory(alice, handle.id) == (0, 0, 0)
    assert alice.handle(handle.id).result() == "well 1"


def test_a_session_that_a_peer_has_lost_leaves_memory_if_it_was_closed(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, *APPS)
    wire = Wire(network)
    wire.loses = lambda link, envelope: isinstance(envelope, End)
    handle = alice.begin_flow(close_first, bob.party)
    network.run_for(50)
    (sid,) = open_sessions(alice, handle.id)
    ((accept,),) = [wire.of(Accept)]
    assert alice.info().unacknowledged == 1

    arrive(alice, bob, Gone(sid, accept.sid, ErrorId("e" * 16)))
    network.run_for(1)

    assert in_memory(alice, handle.id) == (0, 0, 0)
    assert alice.info().unacknowledged == 0
    assert alice.handle(handle.id).result() == "well 1"


def test_a_session_that_was_refused_after_its_sub_flow_had_failed_does_no_harm(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, *APPS)
    handle = alice.begin_flow(give_up, bob.party)
    network.run_for(50)
    alice.restart()
    network.run_for(1)

    assert not alice.handle(handle.id).is_ended
    assert alice.handle(handle.id).result() == "well"
    network.run()
    assert_nothing_is_left(network)


def test_a_responder_that_has_closed_its_session_and_lives_on_counts_for_its_peer(
    network: SimulatedNetwork,
) -> None:
    # Breaks when a peer may have any number of flows here whose sessions are over.
    alice, bob = pair(network, *APPS)
    for _ in range(3):
        alice.begin_flow(close_at_once, bob.party)
    network.run_for(50)
    assert alice.info().flows_live == 0

    before = used(bob, "sessions_of_peers_max")
    bob.restart()

    assert before == used(bob, "sessions_of_peers_max") == 3
