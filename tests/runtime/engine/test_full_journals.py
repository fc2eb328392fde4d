"""A flow that has as many events as it may have is held, and nothing of it is lost."""

from collections.abc import Callable

import pytest

from runtime import (
    Party,
    Retry,
    Session,
    UnexpectedFlowEnd,
    atomic,
    flow,
    initiate,
    now,
    responder,
    sleep,
    step,
    timeout,
)
from runtime.atomic import StoreTxn
from runtime.errors import JournalFull
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import assert_nothing_is_left, journal, only_flow, pair, same

LIMIT = 40
# The operation that is under way is finished, and an acceptance is no operation.
OVER = 3
ROUNDS = 60


@step(kind="pure")
def pure() -> int:
    return 1


@step
def act() -> int:
    return 1


@step(kind="at_most_once")
def act_once() -> int:
    return 1


@step(thread=True)
def act_slowly() -> int:
    return 1


@atomic
def write(txn: StoreTxn) -> int:
    return 1


@step(retry=Retry(attempts=ROUNDS + 1, first_delay=1, factor=1, jitter=False))
def act_in_vain() -> int:
    raise ConnectionError("nobody is there")


@flow
def small() -> int:
    return pure()


def be_patient() -> int:
    with timeout(1_000):
        return 1


def rest() -> int:
    sleep(0)
    return 1


WORK: dict[str, Callable[[], int]] = {
    "pure steps": pure,
    "steps": act,
    "steps at most once": act_once,
    "steps in a thread": act_slowly,
    "atomic changes": write,
    "sub-flows": small,
    "time": lambda: int(now().timestamp() > 0),
    "timeouts": be_patient,
    "sleep": rest,
}


@flow
def work(kind: str) -> int:
    return sum(WORK[kind]() for _ in range(ROUNDS))


@flow
def listen(peer: Party) -> list[int]:
    session = initiate(peer)
    session.send(ROUNDS)
    return [session.receive(int).unwrap(same) for _ in range(ROUNDS)]


@responder(listen)
def talk(session: Session) -> None:
    for number in range(session.receive(int).unwrap(same)):
        session.send(number)
    try:
        session.receive(int)
    except UnexpectedFlowEnd:
        return


@flow
def insist() -> int:
    try:
        return act_in_vain()
    except ConnectionError:
        return 0


APPS = (work, listen, talk, small, insist)


def limit(node: SimulatedNode, events: int) -> None:
    node.running.manager.journal_events_max = events


@pytest.mark.parametrize("kind", WORK)
def test_a_flow_with_a_full_journal_is_held_and_goes_on_with_a_higher_limit(
    network: SimulatedNetwork, kind: str
) -> None:
    # Breaks when some operation can be repeated without end.
    alice = network.node("Alice", apps=APPS)
    limit(alice, LIMIT)
    handle = alice.start_flow(work, kind)
    network.run_for(10)

    run = only_flow(alice)
    assert (run.status_text(), run.hold_reason) == ("held", "journal full")
    assert isinstance(run.error, JournalFull)
    assert LIMIT <= len(journal(alice, handle.id)) < LIMIT + OVER
    assert "journal_events_max" in str(run.error)

    limit(alice, 10_000)
    alice.retry(handle.id)
    assert handle.result() == ROUNDS
    network.run()
    assert_nothing_is_left(network)


def test_a_step_that_fails_again_and_again_is_held_between_two_attempts(
    network: SimulatedNetwork,
) -> None:
    alice = network.node("Alice", apps=APPS)
    limit(alice, LIMIT)
    handle = alice.start_flow(insist)
    network.run_for(1_000)
    assert isinstance(only_flow(alice).error, JournalFull)
    assert len(journal(alice, handle.id)) < LIMIT + OVER

    limit(alice, 10_000)
    alice.retry(handle.id)

    assert handle.result() == 0


def test_a_flow_with_a_full_journal_that_is_retried_is_held_again(
    network: SimulatedNetwork,
) -> None:
    alice = network.node("Alice", apps=APPS)
    limit(alice, LIMIT)
    handle = alice.start_flow(work, "pure steps")
    network.run_for(10)
    before = journal(alice, handle.id)

    alice.retry(handle.id)
    network.run_for(10)

    assert only_flow(alice).status_text() == "held"
    assert journal(alice, handle.id) == before


def test_messages_for_a_flow_with_a_full_journal_are_kept_over_a_restart(
    network: SimulatedNetwork,
) -> None:
    # Breaks when one is taken from the inbox that is not journaled.
    alice, bob = pair(network, *APPS)
    limit(alice, LIMIT)
    handle = alice.start_flow(listen, bob.party)
    network.run_for(100)
    assert only_flow(alice).status_text() == "held"
    assert len(journal(alice, handle.id)) < LIMIT + OVER
    assert not bob.info().unacknowledged

    alice.restart()
    assert only_flow(alice).status_text() == "held"
    alice.retry(handle.id)

    assert alice.handle(handle.id).result() == list(range(ROUNDS))
    network.run()
    assert_nothing_is_left(network)


def test_a_flow_that_ends_just_below_the_limit_is_not_held(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=APPS)
    limit(alice, ROUNDS + 1)

    assert alice.start_flow(work, "pure steps").result() == ROUNDS
