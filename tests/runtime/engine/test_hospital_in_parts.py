"""The hospital and the parts of a flow: sub-flows and steps that ask for it are not over."""

import pytest

from runtime import (
    HoldForOperator,
    Party,
    RetryLater,
    SennitError,
    Session,
    flow,
    initiate,
    responder,
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

    alice.running.manager.hospital.retry(handle.id)
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
    alice.running.manager.hospital.retry(handle.id)

    assert handle.result() == "done"
