"""Steps: three kinds, retries, ids that stay, commits that are shared."""

from collections.abc import Callable

import pytest

from runtime import (
    FlowException,
    NotInFlow,
    Retry,
    StepInterrupted,
    UnserialisableMessage,
    flow,
    now,
    sleep,
    step,
    step_id,
    uuid4,
)
from runtime.core.events import StepAttempted
from runtime.flow import Flow
from runtime.testing.network import SimulatedNetwork
from tests.runtime.engine.scenes import (
    HeldDisk,
    journal,
    kinds,
    outcome,
    turn,
)

calls: list[str] = []
broken: list[str] = []


@pytest.fixture(autouse=True)
def _fresh_world() -> None:
    calls.clear()
    broken.clear()


def work(what: str) -> str:
    calls.append(step_id())
    if broken:
        raise ConnectionError(broken.pop())
    return what.upper()


plain = step(name="plain")(work)
at_most_once = step(name="at_most_once", kind="at_most_once")(work)
pure = step(name="pure", kind="pure")(work)
in_thread = step(name="in_thread", thread=True)(work)
stubborn = step(
    name="stubborn", retry=Retry(attempts=4, first_delay=10, factor=3, ceiling=60, jitter=False)
)(work)

KINDS = [plain, at_most_once, pure, in_thread, stubborn]


@flow
def plain_flow() -> str:
    value = plain("x")
    sleep(10)
    return value


@flow
def at_most_once_flow() -> str:
    try:
        value = at_most_once("x")
    except StepInterrupted:
        value = "interrupted"
    sleep(10)
    return value


@flow
def pure_flow() -> str:
    value = pure("x")
    sleep(10)
    return value


@flow
def in_thread_flow() -> str:
    value = in_thread("x")
    sleep(10)
    return value


@flow
def stubborn_flow() -> str:
    value = stubborn("x")
    sleep(10)
    return value


FLOWS = [plain_flow, at_most_once_flow, pure_flow, in_thread_flow, stubborn_flow]


@pytest.mark.parametrize("how", FLOWS, ids=lambda each: each.__name__)
def test_a_step_runs_once_and_is_answered_from_the_journal_after_that(
    network: SimulatedNetwork, how: Flow[[], str]
) -> None:
    alice = network.node("Alice", apps=FLOWS)
    handle = alice.begin_flow(how)
    for _ in range(3):
        network.run_for(2)
        alice.restart()

    assert alice.handle(handle.id).result() == "X"
    assert len(calls) == 1


@pytest.mark.parametrize("each", KINDS, ids=lambda each: each.__name__)
def test_outside_of_a_flow_a_step_just_runs_and_says_so_once(
    each: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    @step(name="test.shout")
    def shout(what: str) -> str:
        return what.upper()

    assert shout("x") == shout("x") == "X"
    assert [record.getMessage()[:51] for record in caplog.records] == [
        "step test.shout runs outside of a flow, as a plain "
    ]
    with pytest.raises(NotInFlow):
        each("x")


# --- at least once ------------------------------------------------------------------------


def test_a_step_starts_when_what_the_flow_consumed_is_durable() -> None:
    network = SimulatedNetwork(disk=HeldDisk())
    alice = network.node("Alice", apps=FLOWS)
    alice.begin_flow(plain_flow)
    turn(network)

    assert calls == []
    alice.store.make_durable()
    turn(network)
    assert len(calls) == 1


def test_a_step_that_was_cut_off_has_the_same_id_again_and_every_step_its_own() -> None:
    @flow
    def two_steps() -> None:
        now()
        plain("a")
        uuid4()
        plain("b")

    network = SimulatedNetwork(disk=HeldDisk())
    alice = network.node("Alice", apps=[two_steps])
    handle = alice.begin_flow(two_steps)
    for _ in range(3):
        turn(network)
        alice.store.make_durable()
        turn(network)
        alice.restart()
    network.run_for(1)
    alice.store.make_durable()
    turn(network)

    assert len(calls) > 2
    assert len(set(calls)) == 2
    assert all(each.startswith(handle.id) for each in calls)


# --- retries ------------------------------------------------------------------------------


def test_a_failed_attempt_is_tried_again_by_the_policy_and_attempts_are_visible(
    network: SimulatedNetwork,
) -> None:
    broken.extend(["third", "second", "first"])
    alice = network.node("Alice", apps=FLOWS)
    started = network.clock.now_ms()
    handle = alice.start_flow(stubborn_flow)
    network.run_for(101)

    attempts = [each for each in journal(alice, handle.id) if isinstance(each, StepAttempted)]
    assert [(each.attempt, each.error) for each in attempts] == [
        (1, "ConnectionError: first"),
        (2, "ConnectionError: second"),
        (3, "ConnectionError: third"),
    ]
    assert [each.retry_at - started for each in attempts] == [10_000, 40_000, 100_000]
    assert handle.result() == "X"
    assert len(set(calls)) == 1
    assert len(calls) == 4


def test_attempts_and_back_off_survive_a_restart(network: SimulatedNetwork) -> None:
    broken.extend(["third", "second", "first"])
    alice = network.node("Alice", apps=FLOWS)
    started = network.clock.now_ms()
    handle = alice.start_flow(stubborn_flow)
    for _ in range(9):
        network.run_for(10.5)
        alice.restart()

    assert alice.handle(handle.id).result() == "X"
    assert network.clock.now_ms() - started == 110_000
    assert len(calls) == 4
    assert len(set(calls)) == 1


def test_an_attempt_that_is_due_while_the_node_is_down_is_made_at_the_start(
    network: SimulatedNetwork,
) -> None:
    broken.append("first")
    alice = network.node("Alice", apps=FLOWS)
    alice.start_flow(stubborn_flow)
    network.run_for(1)
    alice.crash()
    network.run_for(1_000)

    alice.start()
    network.run_for(0.1)

    assert len(calls) == 2


def test_out_of_retries_the_last_error_is_raised_into_the_flow_at_every_replay(
    network: SimulatedNetwork,
) -> None:
    @flow
    def catch() -> list[str]:
        seen = []
        try:
            stubborn("x")
        except ConnectionError as error:
            seen.append(f"{type(error).__name__}: {error}")
        sleep(10)
        return seen

    broken.extend(["fourth", "third", "second", "first"])
    alice = network.node("Alice", apps=[catch])
    handle = alice.start_flow(catch)
    network.run_for(105)
    alice.restart()

    assert alice.handle(handle.id).result() == ["ConnectionError: fourth"]
    assert len(calls) == 4


def test_a_step_error_that_escapes_fails_the_flow(network: SimulatedNetwork) -> None:
    broken.append("down")
    alice = network.node("Alice", apps=FLOWS)

    assert isinstance(outcome(alice.start_flow(plain_flow)), ConnectionError)


def test_a_final_error_is_not_tried_again(network: SimulatedNetwork) -> None:
    class Refused(FlowException):
        pass

    @step(retry=Retry(attempts=10, final=(Refused,)))
    def refuse() -> None:
        calls.append("refuse")
        raise Refused("no")

    @flow
    def be_refused() -> str:
        try:
            refuse()
        except Refused as error:
            sleep(1)
            return f"{type(error).__name__} {error}"
        return "fine"

    alice = network.node("Alice", apps=[be_refused])

    assert alice.start_flow(be_refused).result() == "Refused no"
    assert len(calls) == 1


class PickyError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class AppError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("v"), "ValueError"),
        (AppError("a"), "AppError"),
        (FlowException("f"), "FlowException"),
        (PickyError(1, 2), "PickyError"),
        (SystemExit(3), "StepFailed"),
    ],
)
def test_a_flow_sees_the_same_error_when_it_runs_and_when_it_is_replayed(
    network: SimulatedNetwork, error: BaseException, expected: str
) -> None:
    # Breaks when an `except` clause of a flow matches the live error only.
    seen: list[str] = []

    @step
    def break_down() -> None:
        raise error

    @flow
    def see_it() -> None:
        try:
            break_down()
        except BaseException as caught:
            seen.append(type(caught).__name__)
        sleep(10)
        sleep(10)

    alice = network.node("Alice", apps=[see_it])
    handle = alice.start_flow(see_it)
    network.run_for(1)
    alice.restart()
    alice.handle(handle.id).result()

    assert set(seen) == {expected}
    assert len(seen) >= 2


def test_a_result_that_can_not_be_encoded_fails_the_step_the_same_way_at_every_replay(
    network: SimulatedNetwork,
) -> None:
    @step
    def make_nonsense() -> object:
        calls.append("nonsense")
        return object()

    @flow
    def take_nonsense() -> str:
        try:
            make_nonsense()
        except UnserialisableMessage as error:
            sleep(10)
            return error.path
        return "fine"

    alice = network.node("Alice", apps=[take_nonsense])
    handle = alice.start_flow(take_nonsense)
    network.run_for(1)
    alice.restart()

    assert "the result of" in str(alice.handle(handle.id).result())
    assert len(calls) == 1


# --- at most once ---------------------------------------------------------------------------


def test_the_intent_of_an_at_most_once_step_is_durable_before_it_runs() -> None:
    network = SimulatedNetwork(disk=HeldDisk())
    alice = network.node("Alice", apps=FLOWS)
    handle = alice.begin_flow(at_most_once_flow)
    turn(network)
    alice.store.make_durable()
    turn(network)

    assert calls == []
    assert kinds(alice, handle.id) == ["Started", "StepIntended"]
    alice.store.make_durable()
    turn(network)
    assert len(calls) == 1


def test_an_interrupted_at_most_once_step_says_so_and_stays_so() -> None:
    disk = HeldDisk()
    network = SimulatedNetwork(disk=disk)
    alice = network.node("Alice", apps=FLOWS)
    handle = alice.begin_flow(at_most_once_flow)
    for _ in range(2):
        turn(network)
        alice.store.make_durable()
    turn(network)
    assert len(calls) == 1

    # It ran, and its outcome was not durable.
    alice.restart()
    disk.let_go(alice)
    for _ in range(3):
        network.run_for(2)
        alice.restart()

    assert alice.handle(handle.id).result() == "interrupted"
    assert len(calls) == 1


def test_an_at_most_once_step_is_not_run_if_its_intent_was_not_durable() -> None:
    network = SimulatedNetwork(disk=HeldDisk())
    alice = network.node("Alice", apps=FLOWS)
    alice.begin_flow(at_most_once_flow)
    turn(network)
    alice.store.make_durable()
    turn(network)
    assert calls == []

    alice.restart()
    turn(network)
    for _ in range(2):
        alice.store.make_durable()
        turn(network)

    assert len(calls) == 1


def test_an_at_most_once_step_may_be_retried_after_a_known_failure(
    network: SimulatedNetwork,
) -> None:
    @step(kind="at_most_once", retry=Retry(attempts=3, jitter=False))
    def try_once_each() -> str:
        return work("x")

    @flow
    def try_it() -> str:
        value = try_once_each()
        sleep(5)
        return value

    broken.extend(["second", "first"])
    alice = network.node("Alice", apps=[try_it])
    handle = alice.start_flow(try_it)
    network.run_for(4)

    assert kinds(alice, handle.id)[1:-1] == [
        "StepIntended",
        "StepAttempted",
        "StepIntended",
        "StepAttempted",
        "StepIntended",
        "Stepped",
    ]
    alice.restart()
    assert alice.handle(handle.id).result() == "X"
    assert len(calls) == 3


# --- pure ---------------------------------------------------------------------------------


def count_steps(
    network: SimulatedNetwork, each: Callable[[str], str], steps: int
) -> tuple[int, int]:
    """Return how many commits a flow of so many steps takes, and how many of them start it."""

    @flow(name=f"count {steps}")
    def many() -> None:
        for n in range(steps):
            each(str(n))

    node = network.node("Counter", apps=[many])
    handle = node.start_flow(many)
    started = node.commits
    handle.result()
    return node.commits - started, len(calls)


def test_pure_steps_share_commits() -> None:
    commits, ran = count_steps(SimulatedNetwork(), pure, 100)

    assert ran == 100
    assert commits <= 2


def test_steps_with_effects_have_a_commit_each() -> None:
    commits, ran = count_steps(SimulatedNetwork(), plain, 100)

    assert ran == 100
    assert commits == 100


def test_a_flow_of_many_pure_steps_lets_others_have_their_turn() -> None:
    # Breaks when a flow that never waits fills the memory and keeps everybody else waiting.
    order: list[str] = []

    @step(kind="pure")
    def note(who: str) -> None:
        order.append(who)

    @flow
    def busy(who: str, steps: int) -> None:
        for _ in range(steps):
            note(who)

    network = SimulatedNetwork()
    alice = network.node("Alice", apps=[busy])
    long = alice.begin_flow(busy, "long", 20_000)
    short = alice.begin_flow(busy, "short", 10)
    short.result()

    assert order.count("long") <= 5_000
    long.result()
    assert order.count("long") == 20_000
