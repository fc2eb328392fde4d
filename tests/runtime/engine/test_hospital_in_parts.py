"""The hospital and the parts of a flow: sub-flows and steps that ask for it are not over."""

from contextlib import suppress

import pytest

from runtime import (
    HoldForOperator,
    Party,
    RetryLater,
    SennitError,
    Session,
    SessionClosed,
    critical,
    flow,
    initiate,
    responder,
    sleep,
    step,
)
from runtime.testing.network import SimulatedNetwork
from tests.runtime.engine.scenes import Wire, assert_nothing_is_left, pair, same

away: list[type[SennitError]] = []


@flow
def outer(peer: Party) -> str:
    try:
        return inner(peer)
    except Exception:
        return "swallowed"


@flow
def inner(peer: Party) -> str:
    session = initiate(peer)
    answer = session.exchange("first", str).unwrap(same)
    if away:
        raise away.pop()("not now")
    return answer + session.exchange("second", str).unwrap(same)


@responder(inner)
def answer_twice(session: Session) -> None:
    session.send(session.receive(str).unwrap(same) + ", ")
    session.send(session.receive(str).unwrap(same))


def test_a_sub_flow_that_asks_to_be_held_is_not_over(network: SimulatedNetwork) -> None:
    wire = Wire(network)
    alice, bob = pair(network, outer, inner, answer_twice)
    away.append(HoldForOperator)
    handle = alice.begin_flow(outer, bob.party)
    network.run()
    assert handle.status == "held"
    assert wire.trace() == ["open(first)", "accept", "data first, "]

    alice.retry(handle.id)
    network.run()

    assert handle.result() == "first, second"
    assert_nothing_is_left(network)


def test_a_sub_flow_that_is_retried_later_goes_on_where_it_was(network: SimulatedNetwork) -> None:
    wire = Wire(network)
    alice, bob = pair(network, outer, inner, answer_twice)
    away.extend([RetryLater] * 3)

    assert alice.start_flow(outer, bob.party).result() == "first, second"

    network.run()
    assert [type(each).__name__ for _, each in wire.envelopes].count("Error") == 0
    assert_nothing_is_left(network)


class Broken(SennitError):
    """Something outside does not work."""


@step
def call_outside() -> str:
    if away:
        raise Broken("no answer") from away.pop()("later")
    return "done"


@flow
def call() -> str:
    try:
        return call_outside()
    except Broken:
        return "swallowed"


@pytest.mark.parametrize("asked", [HoldForOperator, RetryLater])
def test_a_step_whose_error_comes_from_one_that_asks_for_the_hospital_runs_again(
    network: SimulatedNetwork, asked: type[SennitError]
) -> None:
    alice, _ = pair(network, call)
    away.append(asked)
    handle = alice.begin_flow(call)
    network.run()
    if asked is HoldForOperator:
        alice.retry(handle.id)

    assert handle.result() == "done"


# --- errors on their way ----------------------------------------------------------------------

is_broken: list[bool] = []


@flow
def settle_up(peer: Party) -> str:
    critical()
    return middle(peer)


@flow
def middle(peer: Party) -> str:
    return f"{unlucky(peer)}!"


@flow
def unlucky(peer: Party) -> str:
    session = initiate(peer)
    answer = session.exchange("first", str).unwrap(same)
    if is_broken:
        raise ZeroDivisionError
    return answer + session.exchange("second", str).unwrap(same)


@responder(unlucky)
def answer_the_unlucky(session: Session) -> None:
    answer_twice.function(session)


def test_a_mistake_in_a_sub_flow_of_a_critical_flow_can_be_repaired(
    network: SimulatedNetwork,
) -> None:
    wire = Wire(network)
    alice, bob = pair(network, settle_up, middle, unlucky, answer_the_unlucky)
    is_broken.append(True)
    handle = alice.begin_flow(settle_up, bob.party)
    network.run()
    alice.restart()
    network.run()
    assert alice.handle(handle.id).status == "held"
    is_broken.clear()

    alice.retry(handle.id)
    network.run()

    assert wire.trace()[-4:] == ["data second", "data second", "end", "end"]
    assert_nothing_is_left(network)


@flow
def forgive(peer: Party, how: str) -> str:
    try:
        middle(peer)
    except ZeroDivisionError:
        if how == "go on":
            sleep(1)
        if how == "fail":
            raise ValueError("of the caller") from None
    return how


@pytest.mark.parametrize("how", ["go on", "return", "fail"])
def test_the_peers_of_a_sub_flow_hear_of_its_error_when_the_caller_has_caught_it(
    network: SimulatedNetwork, how: str
) -> None:
    wire = Wire(network)
    alice, bob = pair(network, forgive, middle, unlucky, answer_the_unlucky)
    is_broken.append(True)
    handle = alice.begin_flow(forgive, bob.party, how)

    network.run()
    is_broken.clear()

    assert handle.status == ("failed" if how == "fail" else "completed")
    assert wire.trace() == ["open(first)", "accept", "data first, ", "error", "error"]
    assert_nothing_is_left(network)


@flow
def use_a_lost_session(peer: Party, how: str) -> str:
    lent.clear()
    with suppress(ZeroDivisionError):
        lend(peer)
    try:
        if how == "send":
            lent[0].send("more")
        else:
            lent[0].receive(str)
    except SessionClosed:
        return "closed"
    return "open"


lent: list[Session] = []


@flow
def lend(peer: Party) -> None:
    session = initiate(peer)
    session.exchange("first", str)
    lent.append(session)
    raise ZeroDivisionError


@responder(lend)
def answer_the_lender(session: Session) -> None:
    answer_twice.function(session)


@pytest.mark.parametrize("how", ["send", "receive"])
def test_the_sessions_of_a_failed_sub_flow_are_closed_for_its_caller(
    network: SimulatedNetwork, how: str
) -> None:
    alice, bob = pair(network, use_a_lost_session, lend, answer_the_lender)

    assert alice.start_flow(use_a_lost_session, bob.party, how).result() == "closed"

    network.run()
    assert_nothing_is_left(network)
