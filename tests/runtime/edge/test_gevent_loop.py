"""The event loop of a node: callbacks, timers by the wall clock, work in threads."""

import threading
import time
from collections.abc import Callable

import gevent
import greenlet
import pytest
from gevent.hub import Waiter

from runtime.edge.gevent_loop import GeventLoop
from runtime.edge.system_clock import SystemClock, SystemEntropy


@pytest.fixture
def loop() -> GeventLoop:
    return GeventLoop(SystemClock())


def wait(start: Callable[[Callable[[], None]], object]) -> None:
    waiter: Waiter[None] = Waiter()
    start(lambda: waiter.switch(None))
    waiter.get()


def in_raw_greenlet(loop: GeventLoop, function: Callable[[], object]) -> object:
    """Run ``function`` in a greenlet whose parent is the hub, as flows are."""
    outcome: list[object] = []
    waiter: Waiter[None] = Waiter()

    def body() -> None:
        outcome.append(function())
        loop.call_soon(lambda: waiter.switch(None))

    loop.call_soon(greenlet.greenlet(body, parent=loop.hub).switch)
    waiter.get()
    return outcome[0]


def test_the_hub_is_the_hub_of_the_thread(loop: GeventLoop) -> None:
    assert loop.hub is gevent.get_hub()


def test_callbacks_run_in_order_from_the_hub_in_a_later_turn(loop: GeventLoop) -> None:
    called: list[tuple[int, bool]] = []
    for number in range(3):
        loop.call_soon(
            lambda number=number: called.append(  # type: ignore[misc]
                (number, greenlet.getcurrent() is loop.hub)
            )
        )
    at_once = list(called)
    wait(loop.call_soon)

    assert at_once == []
    assert called == [(0, True), (1, True), (2, True)]


def test_a_callback_that_calls_soon_does_not_starve_the_others(loop: GeventLoop) -> None:
    turns: list[int] = []

    def again() -> None:
        turns.append(1)
        if not done:
            loop.call_soon(again)

    done: list[bool] = []
    loop.call_soon(again)
    wait(lambda finish: loop.call_at(SystemClock().now_ms() + 20, finish))
    done.append(True)
    gevent.sleep(0)

    assert len(turns) > 1


def test_a_failing_callback_is_logged_and_goes_no_further(
    loop: GeventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise LookupError("mine")

    loop.call_soon(fail)
    loop.call_at(0, fail)
    wait(lambda finish: loop.call_at(SystemClock().now_ms() + 5, finish))

    assert [record.message for record in caplog.records] == [
        "a callback of the event loop failed"
    ] * 2
    assert "mine" in caplog.text


def test_a_timer_calls_once_when_its_time_has_come(loop: GeventLoop) -> None:
    called: list[int] = []
    due = SystemClock().now_ms() + 30
    loop.call_at(due, lambda: called.append(SystemClock().now_ms()))
    wait(lambda finish: loop.call_at(due + 20, finish))

    assert len(called) == 1
    assert called[0] >= due


def test_a_timer_of_the_past_calls_soon_but_not_at_once(loop: GeventLoop) -> None:
    called: list[int] = []
    loop.call_at(0, lambda: called.append(1))
    at_once = list(called)
    wait(lambda finish: loop.call_at(SystemClock().now_ms() + 1, finish))

    assert at_once == []
    assert called == [1]


def test_a_cancelled_timer_does_not_call(loop: GeventLoop) -> None:
    called: list[int] = []
    timer = loop.call_at(SystemClock().now_ms() + 5, lambda: called.append(1))
    timer.cancel()
    timer.cancel()
    wait(lambda finish: loop.call_at(SystemClock().now_ms() + 20, finish))
    timer.cancel()

    assert called == []


def test_a_timer_can_be_cancelled_after_it_has_called(loop: GeventLoop) -> None:
    timer = loop.call_at(0, lambda: None)
    wait(lambda finish: loop.call_at(SystemClock().now_ms() + 2, finish))

    timer.cancel()


def test_a_timer_may_cancel_itself(loop: GeventLoop) -> None:
    called: list[int] = []

    def call() -> None:
        called.append(1)
        timer.cancel()

    timer = loop.call_at(0, call)
    wait(lambda finish: loop.call_at(SystemClock().now_ms() + 2, finish))

    assert called == [1]


def test_a_signal_lets_those_who_wait_go_on(loop: GeventLoop) -> None:
    signal = loop.signal()
    went_on: list[bool] = []
    waiting = [gevent.spawn(lambda: went_on.append(signal.wait())) for _ in range(3)]
    too_early = signal.wait(0.001)
    loop.call_soon(signal.set)
    gevent.joinall(waiting)

    assert not too_early
    assert went_on == [True, True, True]
    assert signal.wait(10)


def test_a_thread_runs_while_others_go_on(loop: GeventLoop) -> None:
    ticks: list[int] = []
    gate = threading.Event()

    def work() -> int:
        gate.wait(10)
        return threading.get_ident()

    def release() -> None:
        ticks.append(1)
        gate.set()

    loop.call_at(SystemClock().now_ms() + 10, release)
    thread = in_raw_greenlet(loop, lambda: loop.run_in_thread(work))

    assert ticks == [1]
    assert thread != threading.get_ident()


def test_what_a_thread_raises_is_raised_where_it_was_called(
    loop: GeventLoop, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise LookupError("mine")

    def call() -> object:
        with pytest.raises(LookupError, match="mine"):
            loop.run_in_thread(fail)
        return "caught"

    assert in_raw_greenlet(loop, call) == "caught"
    assert capfd.readouterr() == ("", "")


def test_the_hub_itself_cannot_wait_for_a_thread(loop: GeventLoop) -> None:
    caught: list[Exception] = []

    def call() -> None:
        try:
            loop.run_in_thread(lambda: None)
        except RuntimeError as error:
            caught.append(error)

    loop.call_soon(call)
    wait(loop.call_soon)

    assert "can't be called from the hub" in str(caught[0])


def test_the_system_clock_is_near_the_systems_time() -> None:
    before = time.time()
    now = SystemClock().now_ms()
    after = time.time()

    assert before * 1000 - 1 <= now <= after * 1000


def test_chance_has_the_length_that_was_asked_for_and_differs() -> None:
    assert [len(SystemEntropy().random_bytes(size)) for size in (0, 1, 16)] == [0, 1, 16]
    assert SystemEntropy().random_bytes(16) != SystemEntropy().random_bytes(16)
