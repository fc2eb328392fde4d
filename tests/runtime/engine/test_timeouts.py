"""Semantics 2: each wait can be bounded, durably."""

from typing import Final

import pytest

from runtime import (
    FlowTimeout,
    Party,
    Session,
    flow,
    initiate,
    receive_all,
    responder,
    sleep,
    timeout,
)
from runtime.testing.network import SimulatedNetwork
from tests.runtime.engine.scenes import kinds, outcome, pair, same


@flow
def wait_at_most(peer: Party, how: str, seconds: int) -> str:
    session = initiate(peer)
    try:
        with timeout(seconds):
            match how:
                case "receive":
                    session.receive(str)
                case "exchange":
                    session.exchange("x", str)
                case "receive_all":
                    receive_all([session, initiate(peer)], str)
                case "sleep":
                    sleep(10_000)
                case _:
                    _ = session.peer
    except FlowTimeout:
        sleep(1)
        return "timed out"
    return "in time"


@responder(wait_at_most)
def never_answer(session: Session) -> None:
    sleep(1_000)


WAITS: Final = ("receive", "exchange", "receive_all", "sleep", "peer")


@pytest.mark.parametrize("how", WAITS)
def test_each_wait_can_be_bounded(network: SimulatedNetwork, how: str) -> None:
    alice, bob = pair(network, wait_at_most, never_answer)
    bob.crash()
    started = network.clock.now_ms()

    handle = alice.start_flow(wait_at_most, bob.party, how, 30)
    network.run_for(29)
    assert "TimedOut" not in kinds(alice, handle.id)
    network.run_for(1.5)

    assert "TimedOut" in kinds(alice, handle.id)
    bob.start()
    assert handle.result() == "timed out"
    assert network.clock.now_ms() - started < 120_000


@pytest.mark.parametrize("how", WAITS)
def test_a_restart_does_not_extend_a_timeout(network: SimulatedNetwork, how: str) -> None:
    alice, bob = pair(network, wait_at_most, never_answer)
    bob.crash()
    handle = alice.start_flow(wait_at_most, bob.party, how, 30)
    network.run_for(20)
    alice.crash()
    network.run_for(15)

    alice.start()
    network.run_for(0.5)
    assert "TimedOut" in kinds(alice, handle.id)
    alice.restart()
    bob.start()

    assert alice.handle(handle.id).result() == "timed out"


def test_of_nested_timeouts_the_earliest_counts(network: SimulatedNetwork) -> None:
    @flow
    def nest() -> list[str]:
        seen = []
        with timeout(100):
            try:
                with timeout(10):
                    sleep(50)
            except FlowTimeout:
                seen.append("inner")
            try:
                with timeout(1_000):
                    sleep(500)
            except FlowTimeout:
                seen.append("outer")
        return seen

    alice = network.node("Alice", apps=[nest])
    started = network.clock.now_ms()

    assert alice.start_flow(nest).result() == ["inner", "outer"]
    assert network.clock.now_ms() - started == 100_000


def test_what_has_arrived_is_taken_though_the_time_is_up(network: SimulatedNetwork) -> None:
    @flow
    def look_late(peer: Party) -> str:
        session = initiate(peer)
        session.send("hello")
        sleep(10)
        with timeout(0):
            return session.receive(str).unwrap(same)

    @responder(look_late)
    def answer_soon(session: Session) -> None:
        session.send("in time")

    alice, bob = pair(network, look_late, answer_soon)

    assert alice.start_flow(look_late, bob.party).result() == "in time"


def test_a_timeout_that_escapes_reaches_the_peer_as_what_it_is(
    network: SimulatedNetwork,
) -> None:
    @flow
    def give_up(peer: Party) -> None:
        session = initiate(peer)
        session.exchange("hello", str)
        with timeout(10):
            session.receive(str)

    heard: list[BaseException] = []

    @responder(give_up)
    def fall_silent(session: Session) -> None:
        session.send(session.receive(str).unwrap(same))
        try:
            session.receive(str)
        except FlowTimeout as error:
            heard.append(error)

    alice, bob = pair(network, give_up, fall_silent)

    assert isinstance(outcome(alice.start_flow(give_up, bob.party)), FlowTimeout)
    network.run()
    assert heard
