"""The rules of the journal, one test or more for each, named after it."""

import pytest

from runtime import (
    Party,
    Session,
    atomic,
    current_flow,
    durable,
    flow,
    initiate,
    me,
    now,
    progress,
    responder,
    rng,
    sleep,
    step,
    timeout,
    uuid4,
)
from runtime.atomic import StoreTxn
from runtime.core.envelopes import Data
from runtime.core.events import JOURNAL
from runtime.ports import Batch, Space
from runtime.testing.memory_transport import Link
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import (
    HeldDisk,
    Wire,
    assert_nothing_is_left,
    journal,
    kinds,
    only_flow,
    pair,
    same,
    turn,
)

SPACE = Space("rules")
effects: list[str] = []


@pytest.fixture(autouse=True)
def _no_effects() -> None:
    effects.clear()


@step
def affect(what: str) -> str:
    effects.append(what)
    return what


@atomic
def write(txn: StoreTxn, text: str) -> None:
    txn.put(SPACE, b"key", text.encode())


@atomic
def write_and_tell(txn: StoreTxn, text: str) -> None:
    txn.put(SPACE, b"key", text.encode())
    txn.on_durable(lambda: effects.append("committed"))


# --- rule 1: log what is not deterministic ------------------------------------------------


@flow
def do_everything(peer: Party) -> str:
    session = initiate(peer)
    session.send("hello")
    with timeout(100):
        word = session.receive(str).unwrap(same)
    affect(word)
    write(word)
    now()
    sleep(1)
    _ = session.peer
    session.close()
    sub()
    sleep(1_000)
    return word


@flow
def sub() -> None:
    affect("sub")


@responder(do_everything)
def do_little(session: Session) -> None:
    session.send(session.receive(str).unwrap(same).upper())
    sleep(10)


def test_rule_1_an_event_is_written_for_everything_that_is_not_deterministic(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, do_everything, do_little, sub)
    handle = alice.start_flow(do_everything, bob.party)
    network.run_for(50)

    facts = ("Accepted", "SessionOver")
    events = [kind for kind in kinds(alice, handle.id) if kind not in facts]

    assert events == [
        "Started",
        "Opened",
        "Sent",
        "DeadlineSet",
        "Received",
        "Stepped",
        "Stepped",
        "Clocked",
        "Slept",
        "PeerRead",
        "Closed",
        "Entered",
        "Stepped",
        "Left",
        "Slept",
    ]
    assert [kinds(alice, handle.id).count(fact) for fact in facts] == [1, 1]


def test_rule_1_what_is_deterministic_leaves_no_event(network: SimulatedNetwork) -> None:
    @flow(progress=("thinking",))
    def think(peer: Party) -> None:
        progress("thinking")
        session = initiate(peer)
        for _ in range(10):
            uuid4()
            rng().random()
            me()
            current_flow()
            _ = session.counterparty
        durable()
        sleep(1_000)

    alice, bob = pair(network, think)
    handle = alice.start_flow(think, bob.party)
    network.run_for(10)

    assert kinds(alice, handle.id) == ["Started", "Slept"]


def test_rule_1_replaying_the_events_gives_the_stack_back(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, do_everything, do_little, sub)
    handle = alice.start_flow(do_everything, bob.party)
    network.run_for(50)
    events = journal(alice, handle.id)

    alice.restart()
    network.run_for(50)

    assert journal(alice, handle.id) == events
    assert effects == ["HELLO", "sub"]
    assert alice.handle(handle.id).result() == "HELLO"


# --- rule 2: nothing leaves before what it depends on is durable ----------------------------


@flow
def consume_and(peer: Party, how: str) -> str:
    session = initiate(peer)
    session.send("go")
    word = session.receive(str).unwrap(same)
    match how:
        case "send":
            session.send(word)
        case "step":
            affect(word)
        case "atomic":
            write_and_tell(word)
        case _:
            return word
    sleep(1_000)
    return word


@responder(consume_and)
def feed(session: Session) -> None:
    session.receive(str)
    session.send("word")
    sleep(10_000)


def links_of(wire: Wire, kind: type) -> list[Link]:
    return [link for link, envelope in wire.envelopes if isinstance(envelope, kind)]


@pytest.mark.parametrize("how", ["send", "step", "atomic", "result", "acknowledge"])
def test_rule_2_nothing_leaves_before_what_it_depends_on_is_durable(how: str) -> None:
    disk = HeldDisk()
    network = SimulatedNetwork(disk=disk)
    wire = Wire(network)
    alice, bob = pair(network, consume_and, feed)
    handle = alice.begin_flow(consume_and, bob.party, how)

    def has_left() -> bool:
        match how:
            case "send":
                return any(link.source == alice.party.name for link in links_of(wire, Data))
            case "step":
                return bool(effects)
            case "atomic":
                return "committed" in effects
            case "acknowledge":
                return any(ack.up_to == 1 for _, ack in wire.acknowledgements)
            case _:
                return handle.is_ended

    # Everything is durable up to the word's arrival at alice.
    while not links_of(wire, Data):
        alice.store.make_durable()
        bob.store.make_durable()
        turn(network)
    assert disk.waiting(alice) == 1
    network.run_for(100)

    assert not has_left()
    alice.store.make_durable()
    turn(network)
    assert has_left()


def test_rule_2_a_flow_runs_ahead_of_the_disk_as_long_as_nothing_leaves() -> None:
    seen: list[int] = []

    @step(kind="pure")
    def compute(number: int) -> int:
        seen.append(number)
        return number

    @flow
    def run_ahead() -> None:
        for number in range(50):
            compute(number)
        affect("out")

    network = SimulatedNetwork(disk=HeldDisk())
    alice = network.node("Alice", apps=[run_ahead])
    alice.begin_flow(run_ahead)
    turn(network)

    assert len(seen) == 50
    assert effects == []


# --- rule 3: one commit for all -------------------------------------------------------------


@flow
def wake_and_write(number: int) -> int:
    sleep(10)
    affect(str(number))
    return number


def test_rule_3_one_commit_for_all_that_is_ready_in_one_turn() -> None:
    network = SimulatedNetwork()
    alice = network.node("Alice", apps=[wake_and_write])
    for number in range(100):
        alice.begin_flow(wake_and_write, number)
    network.run_for(5)
    assert alice.commits == 1

    network.run_for(10)

    # They all woke in one turn: one commit for 100 steps and the 100 ends behind them.
    assert len(effects) == 100
    assert alice.commits == 2
    assert_nothing_is_left(network)


def test_rule_3_an_idle_node_makes_no_commits_and_polls_nothing(
    network: SimulatedNetwork,
) -> None:
    @flow
    def wait_for_ever(peer: Party) -> None:
        initiate(peer).receive(str)

    @responder(wait_for_ever)
    def say_nothing(session: Session) -> None:
        session.receive(str)

    alice, bob = pair(network, wait_for_ever, say_nothing)
    for _ in range(10):
        alice.start_flow(wait_for_ever, bob.party)
    network.run_for(60)
    commits = [node.commits for node in (alice, bob)]
    callbacks = network.loop.callbacks

    network.run_for(30 * 86_400)

    assert [node.commits for node in (alice, bob)] == commits
    assert network.loop.callbacks == callbacks


def test_rule_3_the_next_batch_grows_while_one_is_written_and_starts_when_it_has_landed() -> None:
    disk = HeldDisk()
    network = SimulatedNetwork(disk=disk)
    alice = network.node("Alice", apps=[wake_and_write])
    for number in range(10):
        alice.begin_flow(wake_and_write, number)
        turn(network)
        assert disk.waiting(alice) == 1

    alice.store.make_durable()
    turn(network)

    # The nine that were started meanwhile are in the second batch, at once.
    assert disk.waiting(alice) == 1
    ((_, batch),) = disk.batches
    assert len({key[:16] for key in batch.writes[JOURNAL]}) == 9


def test_rule_3_no_flow_can_keep_others_from_their_commit() -> None:
    network = SimulatedNetwork()
    alice = network.node("Alice", apps=[wake_and_write])
    sleepers = [alice.begin_flow(wake_and_write, number) for number in range(3)]
    quick = alice.begin_flow(wake_and_write, 99)

    assert quick.result() == 99
    assert [handle.result() for handle in sleepers] == [0, 1, 2]


# --- rule 4: progress and effects are one transaction -----------------------------------------


class Recorder:
    """A disk that keeps what every batch wrote, by space."""

    def __init__(self) -> None:
        self.batches: list[tuple[SimulatedNode, dict[str, list[bytes]]]] = []

    def submitted(self, node: SimulatedNode, batch: Batch) -> None:
        rows = {space.name: list(rows) for space, rows in batch.writes.items()}
        for space, deleted in batch.deleted_series.items():
            rows.setdefault(space.name, []).extend(prefix for prefix, _ in deleted)
        self.batches.append((node, rows))
        node.loop.call_soon(node.store.make_durable)

    def landed(self, node: SimulatedNode, batch: Batch) -> None:
        pass


def test_rule_3_a_flow_that_ends_in_its_first_turn_writes_no_journal() -> None:
    # Breaks when rows that were never on the disk are deleted there.
    @flow
    def nothing() -> None:
        """End at once."""

    disk = HeldDisk()
    network = SimulatedNetwork(disk=disk)
    alice = network.node("Alice", apps=[nothing])
    alice.begin_flow(nothing)
    alice.options(client_id="a result, so that something is written").begin_flow(nothing)

    turn(network)

    ((_, batch),) = disk.batches
    assert batch.writes[JOURNAL] == {}


def test_rule_4_progress_and_effects_are_one_transaction() -> None:
    recorder = Recorder()
    network = SimulatedNetwork(disk=recorder)

    @flow
    def receive_write_send(peer: Party) -> None:
        session = initiate(peer)
        session.send("go")
        write(session.receive(str).unwrap(same))
        session.send("written")
        sleep(1_000)

    @responder(receive_write_send)
    def feed_once(session: Session) -> None:
        session.receive(str)
        sleep(10)
        session.send("word")
        session.receive(str)
        sleep(1_000)

    alice, bob = pair(network, receive_write_send, feed_once)
    alice.begin_flow(receive_write_send, bob.party)
    network.run_for(60)

    writing = [rows for node, rows in recorder.batches if node is alice and "rules" in rows]
    (batch,) = writing
    # The message consumed, the write, the message sent and the sleep: all or nothing.
    assert len(batch["journal"]) == 4
    assert len(batch["outbox"]) == 1
    run = only_flow(alice)
    key = run.key + (run.machine.index_next - 4).to_bytes(4, "big")
    assert key in batch["journal"]


def test_rule_4_the_end_of_a_flow_its_result_and_its_messages_are_one_transaction() -> None:
    recorder = Recorder()
    network = SimulatedNetwork(disk=recorder)
    alice, bob = pair(network, consume_and, feed)
    alice.options(client_id="one").begin_flow(consume_and, bob.party, "result")
    network.run_for(60)

    (batch,) = [rows for node, rows in recorder.batches if node is alice and "results" in rows]

    assert len(batch["outbox"]) >= 1
    assert len(batch["tombstones"]) == 1
    assert batch["journal"]
