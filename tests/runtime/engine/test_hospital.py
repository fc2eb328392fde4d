"""Semantics 6: what becomes of flows that failed, and what an operator can do."""

import pytest

from runtime import (
    FlowException,
    FlowKilled,
    HoldForOperator,
    Party,
    RetryLater,
    Session,
    UnexpectedFlowEnd,
    atomic,
    critical,
    flow,
    initiate,
    responder,
    sleep,
    step,
)
from runtime.atomic import StoreTxn
from runtime.errors import MisuseError
from runtime.flow import Flow
from runtime.ports import Space
from runtime.testing.network import SimulatedNetwork
from tests.runtime.engine.scenes import (
    assert_nothing_is_left,
    kinds,
    only_flow,
    outcome,
    pair,
    rows,
    same,
)


class World:
    """What is outside of the nodes; tests make it good or bad."""

    def __init__(self) -> None:
        self.is_up = False
        self.calls = 0


world = World()


@pytest.fixture(autouse=True)
def _fresh_world() -> None:
    world.__init__()  # type: ignore[misc]


# --- retry --------------------------------------------------------------------------------


@step
def call_world() -> str:
    world.calls += 1
    if not world.is_up:
        raise RetryLater("the world is away")
    return "answer"


@flow
def rely_on_step() -> str:
    sleep(1)
    return call_world()


@flow
def rely_on_code() -> str:
    sleep(1)
    world.calls += 1
    if not world.is_up:
        raise RetryLater("the world is away")
    return "answer"


@flow
def rely_and_catch_all() -> str:
    try:
        return call_world()
    except Exception:
        return "caught"


@pytest.mark.parametrize("how", [rely_on_step, rely_on_code], ids=["step", "code"])
def test_retry_later_is_retried_with_back_off_for_ever(
    network: SimulatedNetwork, how: Flow[[], str]
) -> None:
    alice = network.node("Alice", apps=[rely_on_step, rely_on_code])
    handle = alice.begin_flow(how)
    network.run_for(20)
    early = world.calls
    network.run_for(3_600)
    late = world.calls - early

    assert early >= 4
    assert 3_600 / 120 <= late <= 3_600 / 60 + 1
    assert handle.status == "waiting"
    world.is_up = True
    assert handle.result() == "answer"
    assert_nothing_is_left(network)


def test_a_step_that_asks_for_a_retry_is_not_answered_by_the_flow(
    network: SimulatedNetwork,
) -> None:
    # Breaks when `except Exception` in a flow turns a passing trouble into an outcome.
    alice = network.node("Alice", apps=[rely_and_catch_all])
    handle = alice.start_flow(rely_and_catch_all)
    network.run_for(100)

    world.is_up = True

    assert handle.result() == "answer"


def test_progress_resets_the_back_off(network: SimulatedNetwork) -> None:
    gates = {"first": False, "second": False}

    @flow
    def pass_two_gates() -> str:
        if not gates["first"]:
            raise RetryLater("first")
        sleep(1)
        if not gates["second"]:
            raise RetryLater("second")
        return "through"

    alice = network.node("Alice", apps=[pass_two_gates])
    handle = alice.start_flow(pass_two_gates)
    network.run_for(600)
    run = only_flow(alice)
    assert run.retries > 5
    gates["first"] = True
    network.run_for(130)

    assert 0 < run.retries <= 8
    gates["second"] = True
    assert handle.result() == "through"


def test_a_flow_under_retry_goes_on_at_once_after_a_restart(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[rely_on_step])
    handle = alice.start_flow(rely_on_step)
    network.run_for(600)
    world.is_up = True
    alice.restart()
    started = network.clock.now_ms()

    assert alice.handle(handle.id).result() == "answer"
    assert network.clock.now_ms() - started < 1_100


def test_a_flow_under_retry_can_be_killed(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[rely_on_step])
    handle = alice.start_flow(rely_on_step)
    network.run_for(600)

    assert alice.kill(handle.id)

    assert isinstance(outcome(handle), FlowKilled)
    network.run()
    assert_nothing_is_left(network)


# --- hold ---------------------------------------------------------------------------------


class Cautious(Exception):
    """Wraps what a person has to look at."""


@flow
def ask_operator(how: str) -> str:
    sleep(1)
    if world.is_up:
        return "went on"
    match how:
        case "plain":
            raise HoldForOperator("please look")
        case "cause":
            raise Cautious("wrapped") from HoldForOperator("please look")
        case _:
            try:
                raise HoldForOperator("please look")
            except HoldForOperator:
                raise Cautious("in a context")  # noqa: B904


@pytest.mark.parametrize("how", ["plain", "cause", "context"])
def test_hold_for_operator_anywhere_in_the_cause_chain_holds(
    network: SimulatedNetwork, how: str
) -> None:
    alice = network.node("Alice", apps=[ask_operator])
    handle = alice.start_flow(ask_operator, how)
    network.run_for(10)

    assert handle.status == "held"
    assert only_flow(alice).hold_reason == "the flow asked for it"
    assert rows(alice, "held") == 1
    world.is_up = True
    network.run_for(10_000)
    assert handle.status == "held"

    alice.retry(handle.id)
    assert handle.result() == "went on"
    assert_nothing_is_left(network)


def test_a_held_flow_stays_held_over_a_restart_with_its_error(
    network: SimulatedNetwork,
) -> None:
    alice = network.node("Alice", apps=[ask_operator])
    handle = alice.start_flow(ask_operator, "plain")
    network.run_for(10)
    before = only_flow(alice)
    world.is_up = True

    alice.restart()
    network.run_for(100)

    after = only_flow(alice)
    assert alice.handle(handle.id).status == "held"
    assert (after.hold_reason, after.error_id) == (before.hold_reason, before.error_id)
    assert "please look" in str(after.error)
    alice.retry(handle.id)
    assert alice.handle(handle.id).result() == "went on"
    assert rows(alice, "held") == 0


def test_the_peers_of_a_held_flow_just_wait(network: SimulatedNetwork) -> None:
    @flow
    def ask(peer: Party) -> str:
        return initiate(peer).exchange("hello", str).unwrap(same)

    @responder(ask)
    def hold_first(session: Session) -> None:
        word = session.receive(str).unwrap(same)
        if not world.is_up:
            raise HoldForOperator("please look")
        session.send(word.upper())

    alice, bob = pair(network, ask, hold_first)
    handle = alice.start_flow(ask, bob.party)
    network.run_for(100)
    assert handle.status == "waiting"
    bob.restart()
    alice.restart()
    network.run_for(100)
    world.is_up = True

    bob.retry(only_flow(bob).flow_id)

    assert alice.handle(handle.id).result() == "HELLO"
    network.run()
    assert_nothing_is_left(network)


def test_a_held_flow_keeps_what_its_peers_send_meanwhile(network: SimulatedNetwork) -> None:
    @flow
    def send_three(peer: Party) -> str:
        session = initiate(peer)
        for word in ("one", "two", "three"):
            session.send(word)
            sleep(10)
        return session.receive(str).unwrap(same)

    @responder(send_three)
    def hold_and_read(session: Session) -> None:
        if not world.is_up:
            raise HoldForOperator("please look")
        session.send(" ".join(session.receive(str).unwrap(same) for _ in range(3)))

    alice, bob = pair(network, send_three, hold_and_read)
    handle = alice.start_flow(send_three, bob.party)
    network.run_for(100)
    assert rows(bob, "inbox") == 3
    bob.restart()
    world.is_up = True

    bob.retry(only_flow(bob).flow_id)

    assert handle.result() == "one two three"


def test_only_a_held_flow_can_be_retried(network: SimulatedNetwork) -> None:
    @flow
    def sleep_long() -> None:
        sleep(1_000)

    alice = network.node("Alice", apps=[sleep_long])
    handle = alice.start_flow(sleep_long)

    with pytest.raises(MisuseError, match="is waiting; only a held flow"):
        alice.retry(handle.id)
    handle.result()
    with pytest.raises(MisuseError, match="is completed; only a held flow"):
        alice.retry(handle.id)


def test_a_held_flow_can_be_killed(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[ask_operator])
    handle = alice.start_flow(ask_operator, "plain")
    network.run_for(10)

    assert alice.kill(handle.id)

    assert isinstance(outcome(handle), FlowKilled)
    assert_nothing_is_left(network)


# --- a critical flow ----------------------------------------------------------------------


@flow
def finalise(how: str) -> str:
    critical()
    sleep(1)
    if world.is_up:
        return "finalised"
    if how == "bug":
        raise ValueError("a bug after the notary has signed")
    raise FlowException("an answer")


def test_an_unexpected_error_of_a_critical_flow_is_held(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[finalise])
    handle = alice.start_flow(finalise, "bug")
    network.run_for(10)

    assert handle.status == "held"
    world.is_up = True
    alice.retry(handle.id)
    assert handle.result() == "finalised"


def test_an_answer_of_a_critical_flow_is_its_result(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[finalise])

    assert isinstance(outcome(alice.start_flow(finalise, "answer")), FlowException)


SPACE = Space("hospital")


@atomic
def record(txn: StoreTxn, text: str) -> str:
    txn.put(SPACE, b"key", text.encode())
    world.calls += 1
    if not world.is_up:
        raise ValueError("a bug in an atomic function")
    return text


@flow
def record_critically(text: str) -> str:
    critical()
    sleep(1)
    try:
        return record(text)
    except Exception:
        return "swallowed"


def test_an_unexpected_error_of_an_atomic_function_goes_to_the_hospital(
    network: SimulatedNetwork,
) -> None:
    # Not into the flow: it would not be there at the replay, when the function has been fixed.
    alice = network.node("Alice", apps=[record_critically])
    handle = alice.start_flow(record_critically, "x")
    network.run_for(10)

    assert handle.status == "held"
    assert alice.host.get(SPACE, b"key") is None
    world.is_up = True
    alice.retry(handle.id)
    assert handle.result() == "x"
    assert alice.host.get(SPACE, b"key") == b"x"


@flow(name="other")
def other() -> str:
    sleep(50)
    return "other"


# --- the rest -----------------------------------------------------------------------------


def test_any_other_exception_fails_the_flow(network: SimulatedNetwork) -> None:
    @flow
    def has_a_bug() -> None:
        raise KeyError("bug")

    alice = network.node("Alice", apps=[has_a_bug])

    assert isinstance(outcome(alice.start_flow(has_a_bug)), KeyError)


def test_a_peers_end_that_is_not_caught_fails_the_flow(network: SimulatedNetwork) -> None:
    @flow
    def expect_more(peer: Party) -> None:
        initiate(peer).exchange("x", str)

    @responder(expect_more)
    def say_nothing(session: Session) -> None:
        session.receive(str)

    alice, bob = pair(network, expect_more, say_nothing)

    assert isinstance(outcome(alice.start_flow(expect_more, bob.party)), UnexpectedFlowEnd)


def test_an_error_of_the_engine_itself_holds_one_flow_and_the_others_go_on(
    network: SimulatedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    @flow
    def end_badly() -> str:
        sleep(1)
        return "ended"

    alice = network.node("Alice", apps=[end_badly, other])
    manager = alice.running.manager
    completed = manager.completed
    with monkeypatch.context() as patch:
        patch.setattr(manager, "completed", lambda *_: 1 / 0)
        handle = alice.start_flow(end_badly)
        network.run_for(10)
        assert handle.status == "held"
        assert handle.id in manager.runs

    assert manager.completed == completed
    assert alice.start_flow(other).result() == "other"
    assert manager.retry(handle.id)
    assert handle.result() == "ended"
    assert kinds(alice, handle.id) == []
