"""Messages that come late, again or from a stranger, and messages that are sent again."""

import pytest

from runtime import (
    FlowException,
    Party,
    Session,
    UnexpectedFlowEnd,
    flow,
    initiate,
    me,
    responder,
    sleep,
)
from runtime.core.envelopes import (
    Accept,
    Ack,
    AnyEnvelope,
    Data,
    End,
    Error,
    Open,
    Refuse,
    encode,
)
from runtime.engine.outbox import RESEND_ENVELOPES_MAX
from runtime.engine.tombstones import TOMBSTONES
from runtime.ids import ErrorId, PeerName, SessionId
from runtime.limits import TOMBSTONE_MS
from runtime.operations import LIVE, FlowFilter
from runtime.testing.memory_transport import Link
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import (
    Wire,
    answer,
    ask,
    assert_nothing_is_left,
    open_sessions,
    pair,
    rows,
    same,
    turn,
)

DAY_SECONDS = 24 * 60 * 60
MALLORY = PeerName("O=Mallory,L=Nowhere,C=XX")


@flow
def greet(peer: Party) -> None:
    """Send, and don't wait for the end of the peer."""
    initiate(peer).send("hello")


@responder(greet)
def ponder(session: Session) -> None:
    session.receive(str)
    sleep(3 * DAY_SECONDS)


@flow
def fail_at_once(peer: Party) -> None:
    initiate(peer).send("hello")
    raise FlowException("never mind")


@responder(fail_at_once)
def listen(session: Session) -> None:
    session.receive(str)
    session.receive(str)


@flow
def chat(peer: Party, rounds: int) -> None:
    session = initiate(peer)
    for number in range(rounds):
        session.exchange(number, int)
        sleep(0.1)


@responder(chat)
def chat_back(session: Session) -> None:
    try:
        while True:
            session.send(session.receive(int).unwrap(same))
    except UnexpectedFlowEnd:
        return


@flow
def ask_for_the_unknown(peer: Party) -> None:
    initiate(peer).receive(str)


# --- tombstones -------------------------------------------------------------------------------


def test_an_end_that_comes_days_later_is_still_answered(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, greet, ponder, ask, answer)
    alice.start_flow(greet, bob.party)
    network.run_for(2 * DAY_SECONDS)
    for _ in range(20):
        alice.start_flow(ask, bob.party).result()
    alice.restart()

    network.run_for(2 * DAY_SECONDS)

    assert_nothing_is_left(network)


def test_a_node_that_was_away_for_days_gets_its_old_messages_answered(
    network: SimulatedNetwork,
) -> None:
    wire = Wire(network)
    wire.loses = lambda link, envelope: isinstance(envelope, Ack) and envelope.up_to > 0
    alice, bob = pair(network, ask, answer)
    handle = alice.begin_flow(ask, bob.party)
    network.run_for(10)
    assert handle.is_ended
    alice.crash()
    network.run_for(3 * DAY_SECONDS)
    wire.loses = lambda link, envelope: False

    alice.start()
    network.run()

    assert len(wire.of(Accept)) == 1
    assert_nothing_is_left(network)


def test_tombstones_go_when_they_have_served_their_time(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, ask, answer)
    for _ in range(30):
        alice.start_flow(ask, bob.party).result()
    network.run()
    assert (rows(alice, "tombstones"), rows(bob, "tombstones")) == (30, 60)
    network.run_for(TOMBSTONE_MS / 1000 + 1)

    for _ in range(10):
        alice.start_flow(ask, bob.party).result()
        network.run_for(2)

    assert (rows(alice, "tombstones"), rows(bob, "tombstones")) == (10, 20)


def test_a_node_with_nothing_to_do_makes_no_commits(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, ask, answer)
    alice.start_flow(ask, bob.party).result()
    network.run()
    before = alice.commits

    network.run_for(10 * DAY_SECONDS)

    assert alice.commits == before


def test_a_flow_killed_while_it_opens_a_session_to_its_own_node_is_heard_there(
    network: SimulatedNetwork,
) -> None:
    @flow
    def mutter() -> None:
        initiate(me()).exchange("hello", str)

    heard: list[str] = []

    @responder(mutter)
    def overhear(session: Session) -> None:
        try:
            session.receive(str)
            session.receive(str)
        except UnexpectedFlowEnd as error:
            heard.append(error.reason)

    alice = network.node("Alice", apps=[mutter, overhear])
    handle = alice.begin_flow(mutter)
    turn_until_opened(network, alice)

    alice.kill(handle.id)
    network.run()

    assert heard == ["the flow of the peer failed"]
    assert_nothing_is_left(network)


def turn_until_opened(network: SimulatedNetwork, node: SimulatedNode) -> None:
    """Let things happen until the flow has opened its session and nobody has heard of it yet."""
    while not node.info().unacknowledged:
        network.loop.step()


def test_a_flow_that_fails_before_it_is_accepted_is_heard_by_the_peer(
    network: SimulatedNetwork,
) -> None:
    wire = Wire(network)
    alice, bob = pair(network, fail_at_once, listen)
    network.links.cut(alice.party.name, bob.party.name)
    alice.begin_flow(fail_at_once, bob.party)
    network.run_for(3 * DAY_SECONDS)
    alice.restart()
    network.run_for(3 * DAY_SECONDS)

    network.links.mend(alice.party.name, bob.party.name)
    network.run()

    assert wire.trace() == ["open(hello)", "accept", "error", "error"]
    assert_nothing_is_left(network)


# --- strangers --------------------------------------------------------------------------------


def forgeries(sid: SessionId) -> list[AnyEnvelope]:
    own = SessionId(bytes(16))
    return [
        Accept(sid, own, 1, "forged", ""),
        Refuse(sid, own, "forged", ErrorId("")),
        Data(sid, 1, "str", b"\xa6forged"),
        Error(sid, 1, None, ErrorId("")),
        End(sid, 1),
        Ack(sid, 5),
    ]


def test_a_stranger_has_no_effect_on_a_session_that_lives(network: SimulatedNetwork) -> None:
    wire = Wire(network)
    alice, bob = pair(network, ask, answer)
    network.links.cut(alice.party.name, bob.party.name)
    handle = alice.begin_flow(ask, bob.party)
    turn(network)
    network.links.mend(alice.party.name, bob.party.name)
    (opened,) = open_sessions(alice, handle.id)

    send_as_stranger(alice, forgeries(opened))
    network.run()

    assert handle.result() == "well"
    assert wire.trace() == ["open(how?)", "accept", "data well", "end", "end"]
    assert alice.info().messages_dropped["not of this session"] == 6


def test_a_stranger_has_no_effect_on_a_session_that_is_over(network: SimulatedNetwork) -> None:
    wire = Wire(network)
    wire.loses = lambda link, envelope: isinstance(envelope, Accept)
    alice, bob = pair(network, fail_at_once, listen)
    alice.begin_flow(fail_at_once, bob.party)
    network.run_for(1)
    ((sid, _),) = alice.host.scan(TOMBSTONES, b"", None)

    send_as_stranger(alice, forgeries(SessionId(sid)))
    network.run_for(1)
    wire.loses = lambda link, envelope: False
    network.run()

    assert wire.trace()[-2:] == ["error", "error"]
    assert alice.info().messages_dropped["not of this session"] == 6
    assert_nothing_is_left(network)


def send_as_stranger(node: SimulatedNode, forged: list[AnyEnvelope]) -> None:
    encoded = [encode(envelope) for envelope in forged]
    node.frame_arrives(MALLORY, encoded)


def test_a_stranger_who_opens_anothers_session_is_dropped(network: SimulatedNetwork) -> None:
    wire = Wire(network)
    alice, bob = pair(network, ask, answer)
    alice.start_flow(ask, bob.party).result()
    network.run()
    started = bob.info().flows_started

    send_as_stranger(bob, [*wire.of(Open)])
    network.run()

    assert bob.info().flows_started == started
    assert bob.info().messages_dropped["not of this session"] == 1


# --- sending again ----------------------------------------------------------------------------


class LosesOneOpen:
    """Loses the first open message of a flow."""

    def __init__(self, flow_name: str) -> None:
        self.flow_name = flow_name
        self.has_lost = False

    def __call__(self, link: Link, envelope: AnyEnvelope) -> bool:
        is_lost = (
            isinstance(envelope, Open) and envelope.flow == self.flow_name and not self.has_lost
        )
        self.has_lost |= is_lost
        return is_lost


def test_a_lost_message_is_sent_again_while_others_of_the_link_pass(
    network: SimulatedNetwork,
) -> None:
    wire = Wire(network)
    wire.loses = loses = LosesOneOpen(ask.name)
    alice, bob = pair(network, ask, answer, chat, chat_back)
    alice.begin_flow(chat, bob.party, 1_000)
    network.run_for(1)

    handle = alice.begin_flow(ask, bob.party)
    network.run_for(2)

    assert loses.has_lost
    assert handle.is_ended


def test_what_waits_for_an_app_to_be_installed_does_not_hold_up_the_rest(
    network: SimulatedNetwork,
) -> None:
    alice = network.node("Alice", apps=[ask, ask_for_the_unknown])
    bob = network.node("Bob", apps=[ask, answer])
    for _ in range(RESEND_ENVELOPES_MAX + 10):
        alice.begin_flow(ask_for_the_unknown, bob.party)
    network.run_for(1)
    bob.crash()
    alice.begin_flow(ask, bob.party)
    network.run_for(100)
    alice.restart()

    bob.start()
    network.run_for(3)

    assert alice.flows(FlowFilter(name=ask.name, statuses=sorted(LIVE))) == []


def test_messages_for_a_peer_that_is_away_are_sent_again_ever_more_rarely(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, ask, answer)
    network.links.cut(alice.party.name, bob.party.name)
    alice.begin_flow(ask, bob.party)

    network.run_for(60 * 60)

    assert 100 < alice.info().messages_resent < 140


@pytest.mark.parametrize("outage_seconds", [1, 1_000])
def test_after_an_outage_the_first_loss_costs_no_long_delay(
    network: SimulatedNetwork, outage_seconds: int
) -> None:
    wire = Wire(network)
    alice, bob = pair(network, ask, answer)
    wire.loses = lambda link, envelope: True
    alice.begin_flow(ask, bob.party)
    network.run_for(outage_seconds)
    wire.loses = lambda link, envelope: False
    network.run()

    wire.loses = LosesOneOpen(ask.name)
    handle = alice.begin_flow(ask, bob.party)
    network.run_for(1)

    assert handle.is_ended
