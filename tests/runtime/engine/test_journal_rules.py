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
    receive_all,
    responder,
    rng,
    send_all,
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

    events = [kind for kind in kinds(alice, handle.id) if kind != "Accepted"]

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
    assert kinds(alice, handle.id).count("Accepted") == 1


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
            write(word)
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
    committed: list[str] = []
    alice.host.on_commit(lambda: committed.append("committed"))
    handle = alice.begin_flow(consume_and, bob.party, how)

    def has_left() -> bool:
        match how:
            case "send":
                return any(link.source == alice.party.name for link in links_of(wire, Data))
            case "step":
                return bool(effects)
            case "atomic":
                return bool(committed)
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
    assert alice.running.commits.commits == 1

    network.run_for(10)

    # They all woke in one turn: one commit for 100 steps and the 100 ends behind them.
    assert len(effects) == 100
    assert alice.running.commits.commits == 2
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
    commits = [node.running.commits.commits for node in (alice, bob)]
    callbacks = network.loop.callbacks

    network.run_for(30 * 86_400)

    assert [node.running.commits.commits for node in (alice, bob)] == commits
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
        self.batches.append((node, rows))
        node.loop.call_soon(node.store.make_durable)

    def landed(self, node: SimulatedNode, batch: Batch) -> None:
        pass


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
    alice.begin_flow(consume_and, bob.party, "result", client_id="one")
    network.run_for(60)

    (batch,) = [rows for node, rows in recorder.batches if node is alice and "results" in rows]

    assert len(batch["outbox"]) >= 1
    assert len(batch["tombstones"]) == 1
    assert batch["journal"]


# --- rule 5: replay proves itself -----------------------------------------------------------


@step(name="charge")
def charge(amount: int) -> str:
    return f"charged {amount}"


@step(name="charge", loose=True)
def charge_loosely(amount: int) -> str:
    return f"charged {amount}"


@step(name="refund")
def refund(amount: int) -> str:
    return f"refunded {amount}"


@flow(name="rule 5")
def original(peer: Party, other: Party) -> str:
    session = initiate(peer)
    receipt = charge(10)
    session.send("pay")
    session.receive(str)
    sleep(1_000)
    return receipt


@responder("rule 5")
def counterpart(session: Session) -> None:
    session.send(session.receive(object).unwrap(str))


@flow(name="rule 5")
def step_name(peer: Party, other: Party) -> str:
    session = initiate(peer)
    receipt = refund(10)
    session.send("pay")
    session.receive(str)
    sleep(1_000)
    return receipt


@flow(name="rule 5")
def step_argument(peer: Party, other: Party) -> str:
    session = initiate(peer)
    receipt = charge(11)
    session.send("pay")
    session.receive(str)
    sleep(1_000)
    return receipt


@flow(name="rule 5")
def message_content(peer: Party, other: Party) -> str:
    session = initiate(peer)
    receipt = charge(10)
    session.send("pay!")
    session.receive(str)
    sleep(1_000)
    return receipt


@flow(name="rule 5")
def message_type(peer: Party, other: Party) -> str:
    session = initiate(peer)
    receipt = charge(10)
    session.send(7)
    session.receive(str)
    sleep(1_000)
    return receipt


@flow(name="rule 5")
def other_peer(peer: Party, other: Party) -> str:
    session = initiate(other)
    receipt = charge(10)
    session.send("pay")
    session.receive(str)
    sleep(1_000)
    return receipt


@flow(name="rule 5")
def order(peer: Party, other: Party) -> str:
    session = initiate(peer)
    session.send("pay")
    receipt = charge(10)
    session.receive(str)
    sleep(1_000)
    return receipt


@flow(name="rule 5")
def missing_operation(peer: Party, other: Party) -> str:
    session = initiate(peer)
    session.send("pay")
    session.receive(str)
    sleep(1_000)
    return "charged 10"


@flow(name="rule 5")
def extra_operation(peer: Party, other: Party) -> str:
    session = initiate(peer)
    receipt = charge(10)
    now()
    session.send("pay")
    session.receive(str)
    sleep(1_000)
    return receipt


@flow(name="rule 5")
def send_for_receive(peer: Party, other: Party) -> str:
    session = initiate(peer)
    receipt = charge(10)
    session.send("pay")
    session.send("more")
    sleep(1_000)
    return receipt


@flow(name="rule 5")
def end_too_early(peer: Party, other: Party) -> str:
    session = initiate(peer)
    receipt = charge(10)
    session.send("pay")
    return receipt


@flow(name="rule 5")
def error_too_early(peer: Party, other: Party) -> str:
    raise KeyError(str(peer) + str(other))


@flow(name="rule 5")
def sub_flow_for_step(peer: Party, other: Party) -> str:
    sub()
    return original.function(peer, other)


@flow(name="rule 5")
def timeout_around(peer: Party, other: Party) -> str:
    with timeout(5):
        return original.function(peer, other)


CHANGES = {
    step_name: ("step charge(10)", "step refund(10)"),
    step_argument: ("step charge(10)", "step charge(11)"),
    message_content: ("send str ('pay') in session 1", "send str ('pay!') in session 1"),
    message_type: ("send str ('pay') in session 1", "send int (7) in session 1"),
    other_peer: ("open session 1 to O=Bob", "open session 1 to O=Carol"),
    order: ("step charge(10)", "open session 1 to O=Bob"),
    missing_operation: ("step charge(10)", "open session 1 to O=Bob"),
    extra_operation: ("open session 1 to O=Bob", "now"),
    send_for_receive: ("receive in session 1", "send str ('more') in session 1"),
    end_too_early: ("receive in session 1", "the end of the flow"),
    error_too_early: ("step charge(10)", "the end of the flow by KeyError"),
    sub_flow_for_step: ("step charge(10)", f"sub-flow {sub.name}()"),
    timeout_around: ("step charge(10)", "timeout"),
}


def suspended(network: SimulatedNetwork) -> SimulatedNode:
    alice, bob = pair(network, original, counterpart)
    carol = network.node("Carol", apps=[original, counterpart])
    alice.begin_flow(original, bob.party, carol.party)
    network.run_for(10)
    return alice


@pytest.mark.parametrize("changed", CHANGES, ids=lambda each: each.__name__)
def test_rule_5_replay_proves_itself(network: SimulatedNetwork, changed: object) -> None:
    recorded, asked = CHANGES[changed]  # type: ignore[index]
    alice = suspended(network)
    flow_id = only_flow(alice).flow_id
    events = journal(alice, flow_id)

    alice.restart(apps=[changed, counterpart])  # type: ignore[list-item]
    network.run_for(10)

    run = only_flow(alice)
    assert run.hold_reason == "diverged"
    report = run.error
    assert report is not None
    assert report.recorded.startswith(recorded)  # type: ignore[attr-defined]
    assert report.asked.startswith(asked)  # type: ignore[attr-defined]
    assert report.source.startswith(f"{__file__}:")  # type: ignore[attr-defined]
    # Set aside intact: the right code goes on from there.
    assert journal(alice, flow_id) == events
    alice.restart(apps=[original, counterpart])
    assert alice.handle(flow_id).result() == "charged 10"
    network.run()
    assert_nothing_is_left(network)


@flow(name="rule 5")
def loose(peer: Party, other: Party) -> str:
    session = initiate(peer)
    receipt = charge_loosely(11)
    session.send("pay")
    session.receive(str)
    sleep(1_000)
    return receipt


@flow(name="rule 5")
def moved_lines(peer: Party, other: Party) -> str:
    """Do the same, on other lines and in other words."""
    theirs = initiate(peer)

    paid = charge(
        10,
    )
    theirs.exchange("pay", str)
    if paid:
        sleep(1_000)

    return paid


@flow(name="rule 5")
def changed_behind(peer: Party, other: Party) -> str:
    session = initiate(peer)
    receipt = charge(10)
    session.send("pay")
    session.receive(str)
    sleep(1_000)
    refund(3)
    return receipt


@pytest.mark.parametrize("changed", [loose, moved_lines, changed_behind])
def test_rule_5_a_change_that_replays_the_same_is_no_divergence(
    network: SimulatedNetwork, changed: object
) -> None:
    alice = suspended(network)
    flow_id = only_flow(alice).flow_id

    alice.restart(apps=[changed, counterpart])  # type: ignore[list-item]

    assert alice.handle(flow_id).result() == "charged 10"


def test_rule_5_code_that_is_not_deterministic_is_found_by_the_replay_check() -> None:
    counter = iter(range(100))

    @flow
    def not_deterministic() -> None:
        charge(next(counter))
        sleep(1)

    network = SimulatedNetwork()
    alice = network.node("Alice", apps=[not_deterministic])
    alice.start_flow(not_deterministic)
    network.run_for(10)

    assert only_flow(alice).hold_reason == "diverged"


@flow(name="both")
def receive_both(peer: Party) -> list[str]:
    first, second = initiate(peer), initiate(peer)
    send_all({first: "first", second: "second"})
    words = [each.unwrap(same) for each in receive_all([first, second], str)]
    sleep(1_000)
    return words


@flow(name="both")
def receive_both_the_other_way(peer: Party) -> list[str]:
    first, second = initiate(peer), initiate(peer)
    send_all({first: "first", second: "second"})
    words = [each.unwrap(same) for each in receive_all([second, first], str)]
    sleep(1_000)
    return words


@responder("both")
def say_it(session: Session) -> None:
    session.send(session.receive(str).unwrap(same))


def test_rule_5_the_order_of_the_sessions_in_receive_all_is_proved(
    network: SimulatedNetwork,
) -> None:
    # Breaks when what one peer has said is taken for what another one has said.
    alice, bob = pair(network, receive_both, say_it)
    handle = alice.start_flow(receive_both, bob.party)
    network.run_for(10)

    alice.restart(apps=[receive_both_the_other_way, say_it])
    network.run_for(10)

    assert only_flow(alice).hold_reason == "diverged"
    alice.restart(apps=[receive_both, say_it])
    assert alice.handle(handle.id).result() == ["first", "second"]
