"""Semantics 2: each wait can be bounded, durably."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import pytest

from runtime import (
    FlowTimeout,
    Party,
    PeerTimedOut,
    Retry,
    Session,
    critical,
    flow,
    initiate,
    receive_all,
    responder,
    sleep,
    sleep_until,
    step,
    timeout,
)
from runtime.testing.network import SimulatedNetwork
from runtime.testing.simulated_loop import EPOCH_MS
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


def test_a_timeout_that_escapes_is_not_taken_for_one_of_the_peers_own(
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
            with timeout(1_000):
                session.receive(str)
        except FlowTimeout:
            heard.clear()
        except PeerTimedOut as error:
            heard.append(error)

    alice, bob = pair(network, give_up, fall_silent)

    assert isinstance(outcome(alice.start_flow(give_up, bob.party)), FlowTimeout)
    network.run()
    assert heard
    assert not isinstance(heard[0], TimeoutError)


MEGABYTE: Final = 1024 * 1024


@flow
def pour(peer: Party, seconds: int) -> str:
    session = initiate(peer)
    sent = 0
    try:
        with timeout(seconds):
            while True:
                session.send(b"x" * MEGABYTE)
                sent += 1
    except FlowTimeout:
        session.send("no more")
    with timeout(10_000):
        return session.receive(str).unwrap(same)


@responder(pour)
def drink_late(session: Session) -> None:
    count = 0
    sleep(1_000)
    while isinstance(session.receive(bytes | str).unwrap(same), bytes):
        count += 1
    session.send(f"{count} came")


def test_a_timeout_bounds_a_send_that_waits_for_room_and_then_nothing_was_sent(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, pour, drink_late)
    bob.crash()
    handle = alice.start_flow(pour, bob.party, 30)
    network.run_for(31)
    sent = kinds(alice, handle.id).count("Sent")
    assert "TimedOut" in kinds(alice, handle.id)

    # The replay knows that it was the send that timed out, and not the receive behind it.
    alice.restart()
    bob.start()

    # What timed out was not sent, and "no more" has waited for room.
    assert alice.handle(handle.id).result() == f"{sent} came"


def test_a_timeout_bounds_the_back_off_of_a_step(network: SimulatedNetwork) -> None:
    attempts: list[int] = []

    @step(retry=Retry(attempts=100, first_delay=20, factor=1, jitter=False))
    def try_hard() -> None:
        attempts.append(1)
        raise OSError("away")

    @flow
    def give_it_a_minute() -> str:
        try:
            with timeout(50):
                try_hard()
        except FlowTimeout:
            sleep(10)
            return "gave up"
        return "done"

    alice = network.node("Alice", apps=[give_it_a_minute])
    handle = alice.start_flow(give_it_a_minute)
    network.run_for(30)
    alice.restart()
    network.run_for(21)
    assert kinds(alice, handle.id).count("StepAttempted") == len(attempts) == 3
    alice.restart()

    assert alice.handle(handle.id).result() == "gave up"
    assert len(attempts) == 3


def test_timeouts_that_are_left_in_another_order_leave_the_right_one(
    network: SimulatedNetwork,
) -> None:
    def bounded(seconds: int) -> Iterator[None]:
        with timeout(seconds):
            yield

    @flow
    def leave_the_outer_first() -> str:
        long, short = bounded(1_000), bounded(10)
        next(long)
        next(short)
        long.close()  # type: ignore[attr-defined]
        try:
            sleep(100)
        except FlowTimeout:
            pass
        else:
            return "the short one was left"
        short.close()  # type: ignore[attr-defined]
        sleep(5_000)
        return "the short one stayed"

    alice = network.node("Alice", apps=[leave_the_outer_first])

    assert alice.start_flow(leave_the_outer_first).result() == "the short one stayed"


AT_MOST_TEN: Final = timeout(10)


@flow
def wait_for(*seconds: int) -> list[int]:
    """Sleep within a timeout that all flows share, one after the other and one in the other."""
    slept = []
    for each in seconds:
        try:
            with AT_MOST_TEN:
                sleep(each)
                slept.append(each)
                with AT_MOST_TEN:
                    sleep(1)
                sleep(each)
        except FlowTimeout:
            slept.append(-each)
    sleep(1_000)
    return slept


def test_one_timeout_may_be_entered_again_nested_and_by_several_flows(
    network: SimulatedNetwork,
) -> None:
    alice = network.node("Alice", apps=[wait_for])
    short = alice.start_flow(wait_for, 3, 8, 3)
    long = alice.start_flow(wait_for, 8, 20)
    network.run_for(5)
    alice.restart()

    assert alice.handle(short.id).result() == [3, 8, -8, 3]
    assert alice.handle(long.id).result() == [8, -8, -20]


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), -1, 10**18])
def test_no_wait_is_without_end(network: SimulatedNetwork, seconds: float) -> None:
    refused: list[str] = []

    @flow
    def wait_without_end() -> None:
        for wait in (sleep, lambda it: timeout(it).__enter__()):
            try:
                wait(seconds)
            except ValueError as error:
                refused.append(str(error))

    alice = network.node("Alice", apps=[wait_without_end])
    alice.start_flow(wait_without_end).result()

    assert [text.split()[0] for text in refused] == ["sleep", "timeout"]
    assert all(str(seconds) in text for text in refused)


@pytest.mark.parametrize("wrong", ["5", None, timedelta(seconds=5)])
def test_what_is_no_number_of_seconds_is_refused_by_name(
    network: SimulatedNetwork, wrong: Any
) -> None:
    refused: list[str] = []

    @flow
    def wait_for_something() -> None:
        for wait in (sleep, lambda it: timeout(it).__enter__(), sleep_until):
            try:
                wait(wrong)
            except TypeError as error:
                refused.append(str(error))

    alice = network.node("Alice", apps=[wait_for_something])
    alice.start_flow(wait_for_something).result()

    kind = type(wrong).__name__
    assert refused == [
        f"sleep takes a number of seconds, not {kind}",
        f"timeout takes a number of seconds, not {kind}",
        f"sleep_until takes a datetime, not {kind}",
    ]


def test_a_timeout_never_ends_a_critical_flow(network: SimulatedNetwork) -> None:
    @flow
    def pay() -> None:
        with timeout(10):
            critical()
            sleep(100)

    alice = network.node("Alice", apps=[pay])
    handle = alice.start_flow(pay)
    network.run_for(20)
    status = handle.status
    alice.restart()

    assert status == alice.handle(handle.id).status == "held"


def test_a_critical_flow_may_catch_a_timeout_and_go_on(network: SimulatedNetwork) -> None:
    @flow
    def pay_patiently() -> str:
        critical()
        try:
            with timeout(10):
                sleep(100)
        except FlowTimeout:
            return "asked again"
        return "paid"

    alice = network.node("Alice", apps=[pay_patiently])

    assert alice.start_flow(pay_patiently).result() == "asked again"


HOUR_MS: Final = 3_600_000


@pytest.mark.parametrize("how", ["sleep", "receive", "step"])
def test_a_clock_that_is_set_back_does_not_stretch_a_short_wait(
    network: SimulatedNetwork, how: str
) -> None:
    @step(retry=Retry(attempts=2, first_delay=20, factor=1, jitter=False))
    def try_twice() -> None:
        raise OSError("away")

    @flow
    def wait_a_little(peer: Party, how: str) -> str:
        try:
            if how == "sleep":
                sleep(20)
            elif how == "step":
                try_twice()
            else:
                with timeout(20):
                    initiate(peer).receive(str)
        except (OSError, FlowTimeout):
            pass
        return "went on"

    @responder(wait_a_little)
    def accept(session: Session) -> None:
        pass

    alice, bob = pair(network, wait_a_little, accept)
    bob.crash()
    handle = alice.start_flow(wait_a_little, bob.party, how)
    network.run_for(10)
    alice.move_clock(-HOUR_MS)
    network.run_for(10.5)
    bob.start()

    assert handle.result() == "went on"
    assert network.clock.now_ms() - EPOCH_MS < 60_000


def test_after_a_restart_a_short_wait_is_at_most_its_own_length_away(
    network: SimulatedNetwork,
) -> None:
    @flow
    def doze() -> str:
        sleep(20)
        return "awake"

    alice = network.node("Alice", apps=[doze])
    handle = alice.start_flow(doze)
    network.run_for(10)
    alice.move_clock(-HOUR_MS)
    alice.restart()

    assert alice.handle(handle.id).result() == "awake"
    assert network.clock.now_ms() - EPOCH_MS <= 30_000


def test_a_long_wait_goes_by_a_clock_that_was_set_right_again(network: SimulatedNetwork) -> None:
    @flow
    def wait_long() -> None:
        sleep(600)

    alice = network.node("Alice", apps=[wait_long])
    handle = alice.start_flow(wait_long)
    network.run_for(10)
    alice.move_clock(-HOUR_MS)
    network.run_for(200)
    alice.move_clock(HOUR_MS)
    handle.result()

    assert network.clock.now_ms() - EPOCH_MS <= 661_000
