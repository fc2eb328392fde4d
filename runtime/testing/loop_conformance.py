"""What every loop, clock and source of randomness promises, as tests: subclass and give a harness.

    class TestMyLoop(LoopConformance):
        @pytest.fixture
        def harness(self) -> LoopHarness: ...

Tests wait for what they expect and not for time to pass.
"""
# ruff: noqa: D102  (the names of the tests are sentences)

from collections.abc import Callable
from itertools import pairwise
from typing import Final, Protocol

import greenlet
import pytest

from runtime.ports import Clock, Entropy, Loop

HOUR_MS: Final = 3_600_000


class LoopHarness(Protocol):
    """What the suite needs of an adapter."""

    @property
    def loop(self) -> Loop:
        """The loop."""

    @property
    def clock(self) -> Clock:
        """The clock that the loop goes by."""

    @property
    def look_ms(self) -> int:
        """How long it may take until the loop notices that the clock was set."""

    def set_clock(self, ahead_ms: int) -> None:
        """Set the wall clock forward, or back, by so much."""

    def run_until(self, is_done: Callable[[], bool]) -> None:
        """Run the loop until ``is_done``; fail after a time that no working loop takes."""


class LoopConformance:
    """The suite."""

    def test_callbacks_run_in_a_later_turn_and_from_the_hub(self, harness: LoopHarness) -> None:
        called: list[greenlet.greenlet] = []
        harness.loop.call_soon(lambda: called.append(greenlet.getcurrent()))
        at_once = list(called)
        harness.run_until(lambda: bool(called))

        assert at_once == []
        assert called == [harness.loop.hub]

    def test_timers_call_once_in_the_order_of_their_times(self, harness: LoopHarness) -> None:
        called: list[str] = []
        now_ms = harness.clock.now_ms()
        harness.loop.call_after(30, lambda: called.append("after 30"))
        harness.loop.call_at(now_ms + 15, lambda: called.append("at 15"))
        harness.loop.call_after(0, lambda: called.append("after 0"))
        harness.loop.call_at(0, lambda: called.append("at 0"))
        at_once = list(called)
        done: list[None] = []
        harness.loop.call_after(60, lambda: done.append(None))
        harness.run_until(lambda: bool(done))

        assert at_once == []
        assert sorted(called[:2]) == ["after 0", "at 0"]
        assert called[2:] == ["at 15", "after 30"]

    def test_a_steady_wait_lasts_as_long_as_it_says(self, harness: LoopHarness) -> None:
        began = harness.clock.steady_ms()
        ended: list[int] = []
        harness.loop.call_after(25, lambda: ended.append(harness.clock.steady_ms()))
        harness.run_until(lambda: bool(ended))

        # The loop rounds by a millisecond in its own way.
        assert ended[0] - began >= 24

    @pytest.mark.parametrize("is_at", [True, False])
    def test_a_cancelled_timer_does_not_call(self, harness: LoopHarness, is_at: bool) -> None:
        called: list[int] = []
        loop, far_ms = harness.loop, 10 * harness.look_ms
        for delay_ms in (5, far_ms):
            if is_at:
                at_ms = harness.clock.now_ms() + delay_ms
                timer = loop.call_at(at_ms, lambda: called.append(1))
            else:
                timer = loop.call_after(delay_ms, lambda: called.append(1))
            timer.cancel()
            timer.cancel()
        harness.set_clock(far_ms)
        done: list[None] = []
        loop.call_after(3 * harness.look_ms, lambda: done.append(None))
        harness.run_until(lambda: bool(done))

        assert called == []

    def test_a_timer_may_be_cancelled_while_and_after_it_calls(self, harness: LoopHarness) -> None:
        called: list[int] = []

        def call() -> None:
            called.append(1)
            timer.cancel()

        timer = harness.loop.call_at(0, call)
        harness.run_until(lambda: bool(called))
        timer.cancel()

        assert called == [1]

    @pytest.mark.parametrize("ahead_ms", [-HOUR_MS, HOUR_MS])
    def test_a_short_wait_does_not_mind_a_clock_that_is_set(
        self, harness: LoopHarness, ahead_ms: int
    ) -> None:
        called: list[str] = []
        delay_ms = harness.look_ms
        harness.loop.call_at(
            harness.clock.now_ms() + delay_ms, lambda: called.append("at its time")
        )
        harness.set_clock(ahead_ms)
        harness.loop.call_after(delay_ms // 2, lambda: called.append("before"))
        harness.run_until(lambda: "at its time" in called)

        assert called == ["before", "at its time"]

    def test_a_long_wait_follows_a_clock_that_is_set_forward(self, harness: LoopHarness) -> None:
        called: list[int] = []
        harness.loop.call_at(harness.clock.now_ms() + HOUR_MS, lambda: called.append(1))
        harness.set_clock(HOUR_MS + 1)
        harness.run_until(lambda: bool(called))

    def test_a_long_wait_follows_a_clock_that_is_set_back(self, harness: LoopHarness) -> None:
        called: list[str] = []
        loop, look_ms = harness.loop, harness.look_ms
        loop.call_at(harness.clock.now_ms() + 2 * look_ms, lambda: called.append("long"))
        harness.set_clock(-HOUR_MS)
        loop.call_after(4 * look_ms, lambda: called.append("set right"))
        harness.run_until(lambda: bool(called))
        harness.set_clock(HOUR_MS)
        loop.call_after(4 * look_ms, lambda: called.append("much later"))
        harness.run_until(lambda: "long" in called)

        assert called == ["set right", "long"]

    def test_a_signal_lets_those_who_wait_go_on(self, harness: LoopHarness) -> None:
        signal = harness.loop.signal()
        too_early = signal.wait(0.001)
        harness.loop.call_soon(signal.set)

        assert not too_early
        assert signal.wait(10)
        assert signal.wait(0)

    @pytest.mark.parametrize("fails", [False, True])
    def test_what_a_thread_returns_or_raises_comes_back(
        self, harness: LoopHarness, fails: bool
    ) -> None:
        outcome: list[object] = []

        def work() -> str:
            if fails:
                raise LookupError("mine")
            return "done"

        def ask() -> None:
            try:
                outcome.append(harness.loop.run_in_thread(work))
            except LookupError as error:
                outcome.append(error)

        harness.loop.call_soon(greenlet.greenlet(ask, parent=harness.loop.hub).switch)
        harness.run_until(lambda: bool(outcome))

        assert isinstance(outcome[0], LookupError) if fails else outcome == ["done"]


class ClockConformance:
    """The suite of clocks; a loop that moves the clock may have to run in between."""

    def test_steady_time_goes_on_whatever_happens_to_wall_time(self, harness: LoopHarness) -> None:
        clock = harness.clock
        seen = [clock.steady_ms()]
        for ahead_ms in (-HOUR_MS, 2 * HOUR_MS):
            before_ms = clock.now_ms()
            harness.set_clock(ahead_ms)
            assert abs(clock.now_ms() - before_ms - ahead_ms) < HOUR_MS // 2
            passed: list[None] = []
            harness.loop.call_after(5, lambda passed=passed: passed.append(None))  # type: ignore[misc]
            harness.run_until(lambda passed=passed: bool(passed))  # type: ignore[misc]
            seen.append(clock.steady_ms())

        assert all(0 < later - sooner < HOUR_MS for sooner, later in pairwise(seen))


class EntropyConformance:
    """The suite of sources of randomness."""

    def test_it_gives_as_many_bytes_as_asked_for_each_time_others(self, entropy: Entropy) -> None:
        assert [len(entropy.random_bytes(size)) for size in (0, 1, 16, 1000)] == [0, 1, 16, 1000]
        assert len({entropy.random_bytes(16) for _ in range(100)}) == 100
