"""Semantics 2: what each use of a session does in each of its states."""

import pytest

from runtime import (
    Party,
    Session,
    UnexpectedFlowEnd,
    flow,
    initiate,
    me,
    responder,
    sleep,
)
from runtime.core.envelopes import Accept, Data, Open
from runtime.errors import MisuseError, UnknownParty
from runtime.testing.network import SimulatedNetwork
from tests.runtime.engine.answering_sessions import follow
from tests.runtime.engine.scenes import (
    Wire,
    assert_nothing_is_left,
    kinds,
    pair,
    same,
)
from tests.runtime.engine.using_sessions import STATES, TABLE, USES, Sorry, use, use_it


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("how", USES)
def test_each_use_in_each_state(network: SimulatedNetwork, state: str, how: str) -> None:
    alice = network.node("Alice", apps=[use_it, follow])
    bob = network.node("Bob", apps=[use_it] if state == "refused" else [use_it, follow])
    if state == "opening":
        bob.crash()

    handle = alice.start_flow(use_it, bob.party, state, [how])
    network.run_for(120)
    if state == "opening":
        bob.start()

    assert handle.result() == [TABLE[state][how]]


@pytest.mark.parametrize("state", ["ended", "failed", "refused"])
@pytest.mark.parametrize("first", ["send", "receive", "exchange"])
def test_after_an_end_was_raised_every_later_use_raises_it_again(
    network: SimulatedNetwork, state: str, first: str
) -> None:
    alice = network.node("Alice", apps=[use_it, follow])
    bob = network.node("Bob", apps=[use_it] if state == "refused" else [use_it, follow])
    uses = [first, "send", "receive", "exchange", "receive", "close", "peer"]
    raised = TABLE[state]["send"]

    used = alice.start_flow(use_it, bob.party, state, uses).result()

    assert used == [raised] * 5 + ["closed", TABLE[state]["peer"]]


def test_a_raised_end_names_the_peer_the_reason_and_the_error_id(
    network: SimulatedNetwork,
) -> None:
    alice = network.node("Alice", apps=[use_it, follow])
    bob = network.node("Bob", apps=[use_it])

    with pytest.raises(UnexpectedFlowEnd) as caught:
        alice.start_flow(use_it, bob.party, "refused", []).result()

    assert caught.value.peer == bob.party.name
    assert "has no responder here" in caught.value.reason
    assert caught.value.error_id is not None


# --- receive --------------------------------------------------------------------------------


@flow
def read_late(peer: Party, count: int) -> list[str]:
    session = initiate(peer)
    session.send("go")
    sleep(10)
    return [use(session, "receive") for _ in range(count)]


@responder(read_late)
def say_two_words(session: Session) -> None:
    session.receive(str)
    session.send("one")
    session.send("two")
    raise Sorry("no more")


def test_unread_data_comes_first_and_then_the_end(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, read_late, say_two_words)

    words = alice.start_flow(read_late, bob.party, 4).result()

    assert words == ["one", "two", "Sorry", "Sorry"]


def test_a_send_after_the_peers_end_raises_though_data_is_unread(
    network: SimulatedNetwork,
) -> None:
    @flow
    def send_late(peer: Party) -> list[str]:
        session = initiate(peer)
        session.send("go")
        sleep(10)
        return [use(session, "send"), use(session, "receive")]

    @responder(send_late)
    def end_soon(session: Session) -> None:
        say_two_words.function(session)

    alice, bob = pair(network, send_late, end_soon)

    # The unread data is dropped: after an end was raised, every later use raises.
    assert alice.start_flow(send_late, bob.party).result() == ["Sorry", "Sorry"]
    network.run()
    assert_nothing_is_left(network)


# --- initiate -------------------------------------------------------------------------------


def test_each_initiate_is_a_new_session_with_a_new_responder(network: SimulatedNetwork) -> None:
    @flow
    def open_three(peer: Party) -> list[str]:
        sessions = [initiate(peer) for _ in range(3)]
        return [session.exchange("hello", str).unwrap(same) for session in sessions]

    @responder(open_three)
    def count_itself(session: Session) -> None:
        session.receive(str)
        session.send("hello")

    alice, bob = pair(network, open_three, count_itself)

    alice.start_flow(open_three, bob.party).result()

    assert bob.info().flows_started == 3


def test_a_party_that_the_network_does_not_list_is_refused_at_once(
    network: SimulatedNetwork,
) -> None:
    stranger = SimulatedNetwork(seed=5).node("Stranger").party

    @flow
    def try_to_open(peer: Party) -> str:
        try:
            initiate(peer)
        except UnknownParty as error:
            return str(error)
        return "opened"

    alice = network.node("Alice", apps=[try_to_open])

    assert "does not list it" in alice.start_flow(try_to_open, stranger).result()


# --- fire and forget ------------------------------------------------------------------------


@flow
def fire_and_forget(peer: Party, word: str) -> str:
    initiate(peer).send(word)
    return "fired"


@responder(fire_and_forget)
def be_hit(session: Session) -> None:
    if session.receive(str).unwrap(same) == "fail":
        raise Sorry("can't")


def test_a_fire_and_forget_flow_learns_of_a_refusal(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[fire_and_forget, be_hit])
    bob = network.node("Bob", apps=[fire_and_forget])

    with pytest.raises(UnexpectedFlowEnd, match="refused"):
        alice.start_flow(fire_and_forget, bob.party, "hello").result()


def test_a_flow_is_not_finished_while_a_session_is_opening(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, fire_and_forget, be_hit)
    bob.crash()
    handle = alice.start_flow(fire_and_forget, bob.party, "hello")
    network.run_for(60)

    assert handle.status == "waiting"
    bob.start()
    assert handle.result() == "fired"
    network.run()
    assert_nothing_is_left(network)


def test_a_flow_that_has_finished_does_not_care_for_later_errors(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, fire_and_forget, be_hit)

    assert alice.start_flow(fire_and_forget, bob.party, "fail").result() == "fired"
    network.run()
    assert_nothing_is_left(network)


# --- a node with itself ---------------------------------------------------------------------


def test_a_node_can_open_a_session_to_itself(network: SimulatedNetwork) -> None:
    @flow
    def talk_to_myself(words: list[str]) -> list[str]:
        session = initiate(me())
        return [session.exchange(word, str).unwrap(same) for word in words]

    @responder(talk_to_myself)
    def echo(session: Session) -> None:
        try:
            while True:
                session.send(session.receive(str).unwrap(same).upper())
        except UnexpectedFlowEnd:
            pass

    alice = network.node("Alice", apps=[talk_to_myself, echo])

    assert alice.start_flow(talk_to_myself, ["a", "b"]).result() == ["A", "B"]
    network.run()
    assert_nothing_is_left(network)


# --- strangers to a session -------------------------------------------------------------------


def test_a_session_belongs_to_one_flow(network: SimulatedNetwork) -> None:
    leaked: list[Session] = []

    @flow
    def leak(peer: Party) -> str:
        leaked.append(initiate(peer))
        sleep(100)
        return "done"

    @flow
    def steal() -> str:
        try:
            leaked[-1].send("mine")
        except MisuseError as error:
            return str(error)
        return "stolen"

    alice, bob = pair(network, leak, steal)
    alice.start_flow(leak, bob.party)
    network.run_for(1)

    assert "can't be shared between flows" in alice.start_flow(steal).result()


# --- back-pressure ----------------------------------------------------------------------------


def test_a_sender_waits_while_its_peer_is_far_behind(network: SimulatedNetwork) -> None:
    chunk = 8 * 1024 * 1024

    @flow
    def send_much(peer: Party, chunks: int) -> str:
        session = initiate(peer)
        for _ in range(chunks):
            session.send(bytes(chunk))
        return session.receive(str).unwrap(same)

    @responder(send_much)
    def take_all(session: Session) -> None:
        total = 0
        while total < 10 * chunk:
            total += session.receive(bytes).unwrap(len)
        session.send(f"{total:,}")

    wire = Wire(network)
    wire.loses = lambda link, envelope: isinstance(envelope, Accept)
    alice, bob = pair(network, send_much, take_all)
    handle = alice.start_flow(send_much, bob.party, 10)
    network.run_for(60)

    assert alice.flow(handle.id).wait is not None
    assert kinds(alice, handle.id).count("Sent") == 5
    wire.loses = lambda link, envelope: False

    assert handle.result() == f"{10 * chunk:,}"
    assert len(wire.of(Open)) + len(wire.of(Data)) == 11
