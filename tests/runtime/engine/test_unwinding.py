"""Taking greenlets down: kill, rebuild, stop, crash; what a flow tries on the way has no effect."""

import contextlib
import gc
import weakref
from collections.abc import Callable

import pytest

from runtime import (
    FlowException,
    FlowKilled,
    Party,
    Session,
    UnexpectedFlowEnd,
    atomic,
    flow,
    initiate,
    me,
    now,
    responder,
    rng,
    sleep,
    step,
    timeout,
    uuid4,
)
from runtime.atomic import StoreTxn
from runtime.errors import NodeStopped
from runtime.ports import Space
from runtime.starting import StartOptions
from runtime.testing.checks import nothing_left
from runtime.testing.network import SimulatedNetwork
from runtime.testing.simulated_loop import NothingLeft
from tests.runtime.engine.scenes import (
    Wire,
    assert_nothing_is_left,
    journal,
    outcome,
    pair,
    same,
)

SPACE = Space("unwinding")
done: list[str] = []
raised: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()
    raised.clear()


@step
def affect(what: str) -> None:
    done.append(what)


@atomic
def write(txn: StoreTxn, what: str) -> None:
    done.append(what)
    txn.put(SPACE, b"key", what.encode())


@flow
def sub() -> None:
    done.append("sub")


@flow
def clean_up(peer: Party) -> str:
    session = initiate(peer)
    session.send("hello")
    operations: list[Callable[[], object]] = [
        lambda: session.send("bye"),
        lambda: session.receive(str),
        lambda: session.close(),
        lambda: session.counterparty,
        lambda: initiate(peer),
        lambda: affect("step"),
        lambda: write("atomic"),
        lambda: sub(),
        lambda: sleep(1),
        now,
        uuid4,
        rng,
        me,
    ]
    try:
        sleep(1_000)
    finally:
        for operation in operations:
            try:
                operation()
            except Exception:
                raised.append("caught by except Exception")
            except BaseException as error:
                raised.append(type(error).__name__)
    return "slept"


@responder(clean_up)
def hear(session: Session) -> None:
    try:
        while True:
            done.append(session.receive(str).unwrap(same))
    except UnexpectedFlowEnd:
        done.append("end")


def test_what_a_flow_tries_while_it_is_killed_raises_again_and_writes_nothing(
    network: SimulatedNetwork,
) -> None:
    wire = Wire(network)
    alice, bob = pair(network, clean_up, hear, sub)
    handle = alice.start_flow(clean_up, bob.party)
    network.run_for(10)

    assert alice.kill(handle.id)
    network.run()

    assert isinstance(outcome(handle), FlowKilled)
    assert raised == ["FlowUnwound"] * 13
    assert set(done) == {"hello", "end"}
    assert wire.trace() == ["open(hello)", "accept", "error", "end"]
    assert_nothing_is_left(network)


def test_what_a_flow_tries_while_its_node_stops_raises_again_and_writes_nothing(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, clean_up, hear, sub)
    handle = alice.start_flow(clean_up, bob.party)
    network.run_for(10)
    events = journal(alice, handle.id)

    alice.stop()

    assert set(raised) == {"FlowUnwound"}
    alice.start()
    assert journal(alice, handle.id) == events
    assert alice.kill(handle.id)


@flow
def stubborn() -> str:
    while len(done) < 5:
        try:
            sleep(1_000)
        except BaseException as error:
            done.append(type(error).__name__)
    return "survived"


def test_a_flow_that_swallows_everything_is_killed_all_the_same(
    network: SimulatedNetwork,
) -> None:
    alice = network.node("Alice", apps=[stubborn])
    handle = alice.start_flow(stubborn)
    network.run_for(10)

    assert alice.kill(handle.id)

    assert isinstance(outcome(handle), FlowKilled)
    network.run()
    assert done == ["FlowUnwound"] * 5
    assert alice.info().flows_completed == 0
    assert_nothing_is_left(network)


def test_a_sub_flow_that_swallows_everything_leaves_nothing_behind(
    network: SimulatedNetwork,
) -> None:
    @flow
    def swallow() -> str:
        with contextlib.suppress(BaseException):
            sleep(1_000)
        return "swallowed"

    @flow
    def call() -> str:
        with timeout(500):
            return swallow()

    alice = network.node("Alice", apps=[swallow, call])
    handle = alice.start_flow(call)
    network.run_for(10)

    alice.kill(handle.id)

    assert isinstance(outcome(handle), FlowKilled)
    network.run()
    assert_nothing_is_left(network)


@pytest.mark.parametrize("when", ["before it began", "waiting", "ended"])
def test_a_flow_can_be_killed_at_any_time_once(network: SimulatedNetwork, when: str) -> None:
    @flow
    def sleep_long() -> None:
        sleep(100)

    alice = network.node("Alice", apps=[sleep_long])
    handle = alice.begin_flow(sleep_long)
    if when == "waiting":
        network.run_for(10)
    if when == "ended":
        network.run()

    assert alice.kill(handle.id) == (when != "ended")
    assert not alice.kill(handle.id)
    network.run()
    assert handle.status == ("completed" if when == "ended" else "killed")
    assert_nothing_is_left(network)


def test_a_kill_is_durable_with_its_message_to_the_peer(network: SimulatedNetwork) -> None:
    wire = Wire(network)
    alice, bob = pair(network, clean_up, hear, sub)
    handle = alice.start_flow(clean_up, bob.party)
    network.run_for(10)
    bob.crash()

    alice.kill(handle.id)
    network.run_for(1)
    alice.restart()
    bob.start()
    network.run()

    assert wire.trace() == ["open(hello)", "accept", "error", "end"]
    assert_nothing_is_left(network)


def test_a_flow_may_suspend_in_its_finally_blocks(network: SimulatedNetwork) -> None:
    @flow
    def compensate(peer: Party) -> None:
        session = initiate(peer)
        session.send("begin")
        try:
            sleep(10)
            raise FlowException("changed my mind")
        finally:
            session.send("sorry")
            sleep(10)
            affect("compensated")

    @responder(compensate)
    def listen(session: Session) -> None:
        hear.function(session)

    alice, bob = pair(network, compensate, listen)
    handle = alice.start_flow(compensate, bob.party)
    network.run_for(15)
    alice.restart()

    assert isinstance(outcome(alice.handle(handle.id)), FlowException)
    network.run()
    assert "compensated" in done


def test_an_error_in_a_finally_block_does_not_keep_a_flow_from_being_taken_down(
    network: SimulatedNetwork,
) -> None:
    @flow
    def fail_on_the_way() -> None:
        try:
            sleep(1_000)
        finally:
            raise ValueError("on the way out")

    alice = network.node("Alice", apps=[fail_on_the_way])
    handle = alice.start_flow(fail_on_the_way)
    network.run_for(10)

    assert alice.kill(handle.id)

    assert isinstance(outcome(handle), FlowKilled)


# --- memory -------------------------------------------------------------------------------


class Heavy:
    """Something on a flow's stack."""


heavy: list[weakref.ref[Heavy]] = []


@flow
def carry(how: str) -> None:
    burden = Heavy()
    heavy.append(weakref.ref(burden))
    rng()
    sleep(1_000 if how == "kill" else 1)
    if how == "fail":
        raise FlowException("done with it")


@pytest.mark.parametrize("how", ["complete", "kill", "fail"])
def test_an_ended_flow_keeps_nothing_of_its_stack(network: SimulatedNetwork, how: str) -> None:
    heavy.clear()
    alice = network.node("Alice", apps=[carry])
    handle = alice.start_flow(carry, how)
    network.run_for(10)
    if how == "kill":
        alice.kill(handle.id)
    network.run()
    run = alice.running.manager.ended[handle.id]
    if how == "fail":
        # The exception is the result, with its stack, as long as somebody may ask for it.
        alice.running.manager.ended.clear()
        del run, handle
    else:
        assert run.greenlet is None
        assert run.machine.recorded == []
        assert run.kept_values == {}
    gc.collect()

    assert [each() for each in heavy] == [None] * len(heavy)


def test_of_ended_flows_only_the_latest_are_remembered(
    network: SimulatedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.engine.manager.ENDED_REMEMBERED_MAX", 3)

    @flow
    def quick() -> None:
        pass

    alice = network.node("Alice", apps=[quick])
    handles = [alice.start_flow(quick) for _ in range(5)]
    network.run()

    assert {row.id for row in alice.flows()} == {handle.id for handle in handles[2:]}


def test_a_crowd_of_flows_leaves_nothing(network: SimulatedNetwork) -> None:
    @flow
    def chat(peer: Party) -> None:
        session = initiate(peer)
        for word in ("one", "two", "three"):
            session.send(word)
            sleep(1)

    @responder(chat)
    def listen(session: Session) -> None:
        hear.function(session)

    alice, bob = pair(network, chat, listen)
    for _ in range(50):
        alice.begin_flow(chat, bob.party)
    network.run()

    assert list(nothing_left(network)) == []
    assert_nothing_is_left(network)


# --- the node goes ------------------------------------------------------------------------


def test_who_waits_for_a_result_when_the_node_stops_is_told(network: SimulatedNetwork) -> None:
    @flow
    def sleep_long() -> str:
        sleep(1_000)
        return "slept"

    alice = network.node("Alice", apps=[sleep_long])
    handle = alice.start_flow(sleep_long)
    network.loop.call_at(network.clock.now_ms() + 500, alice.stop)

    with pytest.raises(NodeStopped, match="goes on when the node is started again"):
        handle.result()

    assert not handle.is_ended
    with pytest.raises(NodeStopped):
        handle.result()
    alice.start()
    assert alice.handle(handle.id).result() == "slept"


def test_a_stopping_node_starts_no_flows(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[stubborn])
    engine = alice.running
    alice.stop()
    engine.stop()

    with pytest.raises(NodeStopped):
        engine.start_flow(stubborn, (), {}, StartOptions(user="anna"), is_awaited=False)


def test_a_result_that_never_comes_is_a_time_out_of_the_caller(
    network: SimulatedNetwork,
) -> None:
    @flow
    def sleep_long() -> str:
        sleep(1_000)
        return "slept"

    alice = network.node("Alice", apps=[sleep_long])
    handle = alice.start_flow(sleep_long)
    ended: list[str] = []
    handle.on_end(lambda: ended.append(handle.status))

    with pytest.raises(TimeoutError, match="waiting: no result yet"):
        handle.result(timeout=5)

    assert handle.result() == "slept"
    handle.on_end(lambda: ended.append("again"))
    assert ended == ["completed", "again"]
    assert repr(handle).endswith("completed>")


def test_a_simulation_in_which_nothing_can_happen_any_more_says_so(
    network: SimulatedNetwork,
) -> None:
    @flow
    def wait_for_ever(peer: Party) -> None:
        initiate(peer).receive(str)

    @responder(wait_for_ever)
    def wait_too(session: Session) -> None:
        session.receive(str)

    alice, bob = pair(network, wait_for_ever, wait_too)

    with pytest.raises(NothingLeft):
        alice.start_flow(wait_for_ever, bob.party).result()


def test_flows_that_are_resident_are_not_rebuilt() -> None:
    entries: list[str] = []

    @flow
    def enter() -> None:
        entries.append("entered")
        sleep(1)
        sleep(1)

    for is_replay_checked, expected in ((False, 1), (True, 3)):
        entries.clear()
        network = SimulatedNetwork(is_replay_checked=is_replay_checked)
        network.node("Alice", apps=[enter]).start_flow(enter).result()
        assert len(entries) == expected
