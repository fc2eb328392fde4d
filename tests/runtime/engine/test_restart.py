"""Semantics 8: the state at a crash decides what happens afterwards; a crash at every point."""

from collections import Counter

import pytest

from runtime import (
    FlowException,
    Party,
    Session,
    UnexpectedFlowEnd,
    atomic,
    durable,
    flow,
    initiate,
    responder,
    rng,
    sleep,
    sleep_until,
    step,
    step_id,
    timeout,
    uuid4,
)
from runtime.atomic import StoreTxn
from runtime.context import now
from runtime.core.envelopes import Ack
from runtime.errors import UnknownFlow
from runtime.ports import Batch, Space
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import (
    HeldDisk,
    Wire,
    assert_nothing_is_left,
    kinds,
    only_flow,
    outcome,
    pair,
    rows,
    same,
    turn,
)

SPACE = Space("restart")
done: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()


@step
def pay(amount: int) -> str:
    done[step_id()] += 1
    return f"paid {amount}"


# --- rows of the table ----------------------------------------------------------------------


def test_a_start_that_was_not_durable_never_was() -> None:
    disk = HeldDisk()
    network = SimulatedNetwork(disk=disk)
    alice = network.node("Alice", apps=[pay_twice])
    handle = alice.options(client_id="order-17").begin_flow(pay_twice)
    turn(network)

    alice.restart()

    assert alice.info().flows_live == 0
    with pytest.raises(UnknownFlow):
        alice.handle(handle.id)
    again = alice.options(client_id="order-17").begin_flow(pay_twice)
    assert again.id != handle.id


@flow
def pay_twice() -> str:
    return pay(1) + pay(2)


def test_a_start_that_was_durable_runs(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[pay_twice])
    handle = alice.start_flow(pay_twice)

    alice.restart()

    assert alice.handle(handle.id).result() == "paid 1paid 2"


@flow
def ask(peer: Party) -> str:
    return initiate(peer).exchange("hello", str).unwrap(same)


@responder(ask)
def answer_late(session: Session) -> None:
    word = session.receive(str).unwrap(same)
    sleep(100)
    session.send(word.upper())


def test_a_flow_that_waits_for_a_message_waits_again(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, ask, answer_late)
    handle = alice.start_flow(ask, bob.party)
    network.run_for(10)

    alice.restart()
    network.run_for(10)

    assert alice.handle(handle.id).status == "waiting"
    assert alice.handle(handle.id).result() == "HELLO"


def test_what_was_not_acknowledged_is_sent_again(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, ask, answer_late)
    handle = alice.start_flow(ask, bob.party)
    network.run_for(10)
    alice.crash()
    network.run_for(1_000)
    assert rows(bob, "outbox") > 0

    alice.start()

    assert alice.handle(handle.id).result() == "HELLO"
    network.run()
    assert_nothing_is_left(network)


@flow
def read_much_later(peer: Party) -> list[str]:
    session = initiate(peer)
    session.send("go")
    sleep(100)
    return [session.receive(str).unwrap(same) for _ in range(3)]


@responder(read_much_later)
def say_three(session: Session) -> None:
    session.receive(str)
    for word in ("one", "two", "three"):
        session.send(word)
    sleep(1_000)


def test_a_message_that_was_durable_and_not_consumed_is_consumed(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, read_much_later, say_three)
    handle = alice.start_flow(read_much_later, bob.party)
    network.run_for(10)
    assert rows(alice, "inbox") == 3
    assert rows(bob, "outbox") == 0
    bob.crash()

    alice.restart()
    network.run_for(200)

    assert alice.handle(handle.id).result() == ["one", "two", "three"]


def test_a_step_that_was_cut_off_runs_again_with_the_same_id() -> None:
    disk = HeldDisk()
    network = SimulatedNetwork(disk=disk)
    alice = network.node("Alice", apps=[pay_twice])
    alice.begin_flow(pay_twice)
    turn(network)
    alice.store.make_durable()
    turn(network)
    assert len(done) == 1

    alice.restart()
    turn(network)

    assert list(done.values()) == [2]


@pytest.mark.parametrize("crash_at", [5, 90])
def test_a_sleeper_wakes_at_the_original_time(network: SimulatedNetwork, crash_at: int) -> None:
    @flow
    def sleep_long() -> None:
        sleep(100)

    alice = network.node("Alice", apps=[sleep_long])
    started = network.clock.now_ms()
    handle = alice.start_flow(sleep_long)
    network.run_for(crash_at)

    alice.restart()
    alice.handle(handle.id).result()

    assert network.clock.now_ms() - started == 100_000


def test_a_sleeper_wakes_at_once_if_the_time_is_past(network: SimulatedNetwork) -> None:
    @flow
    def sleep_to_a_time(seconds: int) -> str:
        until = now().fromtimestamp(now().timestamp() + seconds, now().tzinfo)
        sleep_until(until)
        sleep_until(until)
        return "awake"

    alice = network.node("Alice", apps=[sleep_to_a_time])
    handle = alice.start_flow(sleep_to_a_time, 100)
    network.run_for(1)
    alice.crash()
    network.run_for(1_000)
    restarted = network.clock.now_ms()

    alice.start()

    assert alice.handle(handle.id).result() == "awake"
    assert network.clock.now_ms() == restarted


def test_what_was_sent_and_not_durable_is_sent_again_with_the_same_number() -> None:
    disk = HeldDisk()
    network = SimulatedNetwork(disk=disk)
    wire = Wire(network)

    @flow
    def sleep_and_send(peer: Party) -> str:
        sleep(1)
        session = initiate(peer)
        session.send("hello")
        session.send("again")
        return session.receive(str).unwrap(same)

    alice, bob = pair(network, sleep_and_send)
    alice.begin_flow(sleep_and_send, bob.party)
    turn(network)
    alice.store.make_durable()
    network.run_for(2)
    before = only_flow(alice).sessions[1]
    assert (before.out_next, disk.waiting(alice)) == (2, 1)

    alice.restart()
    turn(network)
    assert wire.trace() == []
    alice.store.make_durable()
    network.run_for(1)

    after = only_flow(alice).sessions[1]
    assert (after.sid, after.out_next) == (before.sid, before.out_next)
    assert wire.trace() == ["open(hello)"]


@pytest.mark.parametrize("fails", [True, False])
def test_a_result_kept_for_a_client_id_answers_after_a_restart(
    network: SimulatedNetwork, fails: bool
) -> None:
    @flow
    def end_somehow(fails: bool) -> str:
        if fails:
            raise FlowException("no", 7)
        return "yes"

    alice = network.node("Alice", apps=[end_somehow])
    handle = alice.options(client_id="order-17").begin_flow(end_somehow, fails)
    first = outcome(handle)

    alice.restart()
    again = alice.options(client_id="order-17").begin_flow(end_somehow, fails)

    assert again.id == handle.id
    assert again.status == ("failed" if fails else "completed")
    if fails:
        error = outcome(again)
        assert isinstance(error, FlowException)
        assert error.args == ("no", 7)
    else:
        assert outcome(again) == first == "yes"


def test_a_flow_of_a_node_that_is_stopped_in_good_order_goes_on(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, ask, answer_late)
    handle = alice.start_flow(ask, bob.party)
    network.run_for(10)
    alice.stop()
    bob.stop()

    bob.start()
    alice.start()

    assert alice.handle(handle.id).result() == "HELLO"
    network.run()
    assert_nothing_is_left(network)


# --- time and chance ------------------------------------------------------------------------


def test_time_and_chance_are_the_same_after_a_restart(network: SimulatedNetwork) -> None:
    seen: list[tuple[object, ...]] = []

    @flow
    def look_around() -> None:
        first = (now(), uuid4(), rng().random())
        sleep(10)
        seen.append((*first, now(), uuid4(), rng().random()))
        sleep(10)

    alice = network.node("Alice", apps=[look_around])
    handle = alice.start_flow(look_around)
    network.run_for(15)
    alice.restart()
    alice.handle(handle.id).result()

    assert len(seen) >= 2
    assert len(set(seen)) == 1
    assert len(set(seen[0])) == 6


def test_chance_differs_from_flow_to_flow(network: SimulatedNetwork) -> None:
    @flow
    def draw() -> list[str]:
        return [str(uuid4()), str(rng().random())]

    alice = network.node("Alice", apps=[draw])

    drawn = [value for _ in range(5) for value in alice.start_flow(draw).result()]

    assert len(set(drawn)) == 10


# --- a crash at every point of a small flow ---------------------------------------------------


@atomic
def count(txn: StoreTxn, what: str) -> int:
    number = int(txn.get(SPACE, what.encode()) or b"0") + 1
    txn.put(SPACE, what.encode(), str(number).encode())
    return number


@flow
def everything(peer: Party, words: int) -> list[str]:
    first = uuid4()
    session = initiate(peer)
    heard = [session.exchange(f"word {n}", str).unwrap(same) for n in range(words)]
    pay(7)
    count("alice")
    sleep(5)
    heard.append(sub(peer))
    with timeout(50):
        session.receive(str)
    durable()
    session.close()
    assert first != uuid4()
    return heard


@flow
def sub(peer: Party) -> str:
    session = initiate(peer)
    session.send("sub")
    return session.receive(str).unwrap(same)


@responder(sub)
def sub_answer(session: Session) -> None:
    session.send(session.receive(str).unwrap(same).upper())


@responder(everything)
def everything_else(session: Session) -> None:
    try:
        while True:
            word = session.receive(str).unwrap(same)
            count("bob")
            pay(3)
            session.send(word.upper())
            if word == "word 1":
                session.send("one more")
    except UnexpectedFlowEnd:
        count("end")


EXPECTED = ["WORD 0", "WORD 1", "SUB"]
APPS = (everything, everything_else, sub, sub_answer)


class Crasher:
    """Crashes one node before or after its n-th commit lands, and starts it again soon after."""

    def __init__(self, victim: str, at: int, *, is_durable: bool) -> None:
        self.victim = victim
        self.at = at
        self.is_durable = is_durable
        self.count = 0
        self.network: SimulatedNetwork
        self.has_struck = False

    def submitted(self, node: SimulatedNode, batch: Batch) -> None:
        loop = self.network.loop
        loop.call_soon(lambda: self._land(node, node.lives))

    def _land(self, node: SimulatedNode, life: int) -> None:
        if node.lives != life or not node.is_up:
            return
        if node.name == self.victim:
            self.count += 1
            if self.count == self.at and not self.has_struck:
                self.has_struck = True
                if self.is_durable:
                    node.store.make_durable(1)
                node.crash()
                self.network.loop.call_at(self.network.clock.now_ms() + 700, node.start)
                return
        node.store.make_durable(1)

    def landed(self, node: SimulatedNode, batch: Batch) -> None:
        pass


def crashing(victim: str, at: int, *, is_durable: bool, is_replay_checked: bool) -> Crasher:
    crasher = Crasher(victim, at, is_durable=is_durable)
    network = SimulatedNetwork(disk=crasher, is_replay_checked=is_replay_checked)
    crasher.network = network
    alice, bob = pair(network, *APPS)
    handle = alice.options(client_id="all").begin_flow(everything, bob.party, 2)
    network.run()
    if not alice.flows():
        # The crash undid the start, and nobody was told otherwise.
        assert crasher.at == 1
        handle = alice.options(client_id="all").begin_flow(everything, bob.party, 2)
        network.run()
    assert alice.options(client_id="all").begin_flow(everything, bob.party, 2).result() == EXPECTED
    assert handle is not None
    counts = [node.host.get(SPACE, key) for node, key in ((alice, b"alice"), (bob, b"bob"))]
    assert counts == [b"1", b"2"]
    assert bob.host.get(SPACE, b"end") == b"1"
    # A step whose outcome was lost ran again under its id; the world can tell that it is the same.
    assert len(done) == 3
    network.run()
    assert_nothing_is_left(network)
    return crasher


@pytest.mark.parametrize("victim", ["Alice", "Bob"])
@pytest.mark.parametrize("is_durable", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("is_replay_checked", [True, False], ids=["rebuilt", "resident"])
def test_a_crash_at_every_commit_changes_nothing(
    victim: str, is_durable: bool, is_replay_checked: bool
) -> None:
    at = 1
    while True:
        done.clear()
        crasher = crashing(victim, at, is_durable=is_durable, is_replay_checked=is_replay_checked)
        if not crasher.has_struck:
            break
        at += 1

    assert at > 8


def test_acknowledged_and_released_depend_on_durable_things_only() -> None:
    # Nothing crosses a wire before the commit that it depends on.
    disk = HeldDisk()
    network = SimulatedNetwork(disk=disk)
    wire = Wire(network)
    alice, bob = pair(network, *APPS)
    alice.begin_flow(everything, bob.party, 2)
    for _ in range(40):
        turn(network)
        crossed = len(wire.envelopes) + len(wire.acknowledgements)
        network.run_for(0.01)
        assert len(wire.envelopes) + len(wire.acknowledgements) == crossed
        for node in (alice, bob):
            node.store.make_durable(1)
    assert len(wire.envelopes) > 5
    assert all(isinstance(ack, Ack) for _, ack in wire.acknowledgements)


def test_a_journal_has_no_event_twice(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, ask, answer_late)
    handle = alice.start_flow(ask, bob.party)
    for _ in range(5):
        network.run_for(10)
        alice.restart()

    assert kinds(alice, handle.id) == ["Started", "Opened", "Sent", "Accepted"]
