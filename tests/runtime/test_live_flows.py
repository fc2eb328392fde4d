"""What operators see of a flow that lives, and what they do with it: details, journal, watch."""

import pytest

from runtime import (
    FlowException,
    Party,
    Session,
    flow,
    initiate,
    message,
    progress,
    responder,
    step,
)
from runtime import sleep as nap
from runtime.errors import FlowKilled, UnknownFlow, UnknownParty
from runtime.flow import Flow
from runtime.ids import FlowId, UserName
from runtime.node_operations import EngineOperations
from runtime.operations import Arguments, FlowFilter, JournalRow
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.test_node_operations import nothing


@message(name="ops.Question")
class Question:
    text: str


class NoAnswer(FlowException):
    """The responder does not want to answer."""


@step
def count_letters(text: str) -> int:
    return len(text)


@step
def fail(text: str) -> int:
    raise LookupError(text)


@flow(name="ops.ask", progress=("Asking", "Waiting"))
def ask(other: Party, text: str) -> str:
    """Ask another node, then wait.

    For as long as it takes.
    """
    progress("Asking")
    session = initiate(other)
    answer = session.exchange(Question(text), str).unwrap(lambda given: given)
    count_letters(answer)
    try:
        fail(answer)
    except LookupError:
        progress("Waiting")
    nap(1e6)
    return answer


@responder(ask)
def answer(session: Session) -> None:
    question = session.receive(Question).unwrap(lambda asked: asked)
    if question.text == "why?":
        raise NoAnswer("because")
    session.send("x" * 500 if question.text == "how long?" else question.text.upper())
    nap(1e6)


@flow(name="ops.ask_in_vain", version=2)
def ask_in_vain(other: Party, text: str) -> None:
    session = initiate(other)
    try:
        session.exchange(Question(text), str)
    except Exception:
        nap(1e6)


@responder(ask_in_vain)
def stay_silent(session: Session) -> None:
    question = session.receive(Question).unwrap(lambda asked: asked)
    if question.text == "why?":
        raise NoAnswer("because")


@flow(name="ops.ask_nobody")
def ask_nobody(other: Party) -> None:
    try:
        initiate(other).receive(str)
    except Exception:
        nap(1e6)


@pytest.fixture
def network() -> SimulatedNetwork:
    return SimulatedNetwork()


@pytest.fixture
def alice(network: SimulatedNetwork) -> SimulatedNode:
    return network.node("Alice", apps=[ask, answer, ask_in_vain, stay_silent, ask_nobody])


@pytest.fixture
def bob(network: SimulatedNetwork) -> SimulatedNode:
    return network.node("Bob", apps=[ask, answer, ask_in_vain, stay_silent])


def asked(
    network: SimulatedNetwork, alice: SimulatedNode, kind: Flow[..., object], *words: str
) -> tuple[EngineOperations, FlowId]:
    """Start a flow as an operator does, and run until it waits for what does not come soon."""
    found = alice.operations
    flow_id = found.start_flow(UserName("ann"), kind.name, Arguments([*words]), None)
    network.run_for(5)
    return found, flow_id


def journal(found: EngineOperations, flow_id: FlowId) -> list[JournalRow]:
    return found.journal(flow_id, 0, 100)


def test_a_flow_that_waits_says_for_what_and_shows_its_sessions_and_progress(
    network: SimulatedNetwork, alice: SimulatedNode, bob: SimulatedNode
) -> None:
    found, flow_id = asked(network, alice, ask, "Bob", "text=who?")

    detail = found.flow(flow_id)

    assert detail.wait is not None
    assert (detail.row.status, detail.row.user, detail.wait.woken_by) == ("waiting", "ann", "time")
    assert [row.label for row in detail.progress] == ["Asking", "Waiting"]
    ((session),) = detail.sessions
    assert (session.peer, session.state, session.protocol) == (bob.party.name, "open", "ops.ask")
    assert (session.sent, session.received, session.unacknowledged) == (1, 2, 0)
    assert detail.events == len(journal(found, flow_id))
    assert detail.error == ""


def test_a_flow_that_waits_for_a_peer_names_it(
    network: SimulatedNetwork, alice: SimulatedNode, bob: SimulatedNode
) -> None:
    bob.crash()
    found, flow_id = asked(network, alice, ask, "Bob", "text=who?")

    wait = found.flow(flow_id).wait

    assert wait is not None
    assert (wait.whom, wait.woken_by) == (bob.party.name, "a message")


def test_a_journal_reads_as_the_story_of_its_flow(
    network: SimulatedNetwork, alice: SimulatedNode, bob: SimulatedNode
) -> None:
    found, flow_id = asked(network, alice, ask, "Bob", "text=who?")
    rows = journal(found, flow_id)
    values = {row.kind: row.value for row in rows}
    (at_bob,) = [FlowId(row.id) for row in bob.flows(FlowFilter(statuses=["waiting"]))]

    assert [row.index for row in rows] == list(range(len(rows)))
    assert values["Started"].startswith("ops.ask version 1, ")
    assert "O=Bob" in values["Started"]
    assert {row.peer for row in rows if row.kind in ("Opened", "Received")} == {bob.party.name}
    assert [row.value for row in rows if row.kind == "Received"] == ["str 'WHO?'"]
    steps = [row.value for row in rows if row.kind == "Stepped"]
    assert steps[0].endswith("-> 4")
    assert "-> failed: " in steps[1]
    assert journal(bob.operations, at_bob)[0].peer == alice.party.name
    assert found.journal(flow_id, 1, 1) == [rows[1]]


def test_a_long_value_is_cut(
    network: SimulatedNetwork, alice: SimulatedNode, bob: SimulatedNode
) -> None:
    found, flow_id = asked(network, alice, ask, "Bob", "text=how long?")

    (received,) = [row for row in journal(found, flow_id) if row.kind == "Received"]

    assert received.value.endswith("xxx...")
    assert len(received.value) == 203


@pytest.mark.parametrize(
    ("text", "end"), [("why?", "the peer's flow failed, error id "), ("x", "the peer's flow ended")]
)
def test_how_the_peer_ended_stands_in_the_journal(
    network: SimulatedNetwork, alice: SimulatedNode, bob: SimulatedNode, text: str, end: str
) -> None:
    found, flow_id = asked(network, alice, ask_in_vain, "Bob", f"text={text}")

    (received,) = [row for row in journal(found, flow_id) if row.kind == "Received"]

    assert received.value.startswith(end)
    assert found.flow(flow_id).row.version == 2


def test_a_refusal_stands_in_the_journal_with_its_reason(
    network: SimulatedNetwork, alice: SimulatedNode
) -> None:
    carol = network.node("Carol", apps=[ask_nobody])
    found, flow_id = asked(network, alice, ask_nobody, "Carol")

    (received,) = [row for row in journal(found, flow_id) if row.kind == "Received"]

    assert received.value.startswith("refused: ")
    assert received.peer == carol.party.name


def test_a_watcher_is_told_of_every_change_until_it_closes(
    network: SimulatedNetwork, alice: SimulatedNode, bob: SimulatedNode
) -> None:
    bob.crash()
    found, flow_id = asked(network, alice, ask, "Bob", "text=who?")
    heard: list[str] = []
    watch = found.watch(flow_id, lambda: heard.append(watch.detail().row.waits_for))
    bob.start()
    network.run_for(60)
    so_far = list(heard)

    for _ in range(2):
        watch.close()
    found.kill(flow_id)

    assert so_far
    assert watch.detail().row.status == "killed"
    assert heard == so_far


def test_a_flow_that_was_killed_is_listed_and_its_result_raises(
    network: SimulatedNetwork, alice: SimulatedNode, bob: SimulatedNode
) -> None:
    found, flow_id = asked(network, alice, ask, "Bob", "text=who?")

    assert found.kill(flow_id)

    assert not found.kill(flow_id)
    assert [row.id for row in found.flows(FlowFilter(statuses=["killed"])).rows] == [flow_id]
    with pytest.raises(FlowKilled):
        found.result(flow_id, 0)
    alice.host.run_atomic(nothing)


def test_a_result_that_is_not_there_yet_is_a_timeout(
    network: SimulatedNetwork, alice: SimulatedNode, bob: SimulatedNode
) -> None:
    found, flow_id = asked(network, alice, ask, "Bob", "text=who?")

    with pytest.raises(TimeoutError):
        found.result(flow_id, 0)


def test_parties_are_found_by_name_or_organisation_and_others_are_explained(
    network: SimulatedNetwork, alice: SimulatedNode, bob: SimulatedNode
) -> None:
    found = alice.operations

    assert found.party(bob.party.name) == found.party("bob") == bob.party
    with pytest.raises(UnknownParty, match="'Dave' is no party of this network; it has: "):
        found.party("Dave")
    with pytest.raises(UnknownFlow):
        found.start_flow(UserName("ann"), "ops.nothing", Arguments(), None)


def test_a_node_tells_what_can_be_started_and_how_it_does(
    network: SimulatedNetwork, alice: SimulatedNode, bob: SimulatedNode
) -> None:
    found, _ = asked(network, alice, ask, "Bob", "text=who?")

    kinds = {kind.name: kind for kind in found.flow_names()}
    found.drain(is_on=True)
    info = found.info()

    assert kinds["ops.ask"].doc == "Ask another node, then wait."
    assert kinds["ops.ask"].signature == "(other: Party, text: str) -> str"
    assert kinds["ops.ask_in_vain"].version == 2
    assert (info.flows_live, info.flows_held, info.is_draining) == (1, 0, True)
    assert info.uptime_ms == 5_000
