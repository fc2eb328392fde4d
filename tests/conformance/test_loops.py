"""Every loop, clock and source of randomness passes the one suite."""

import time
from collections.abc import Callable

import gevent
import pytest
from gevent.event import Event

from runtime.edge.gevent_loop import GeventLoop
from runtime.edge.system_clock import SystemClock, SystemEntropy
from runtime.limits import WALL_CLOCK_LOOK_MS
from runtime.ports import Entropy
from runtime.testing.loop_conformance import (
    ClockConformance,
    EntropyConformance,
    LoopConformance,
    LoopHarness,
)
from runtime.testing.node_loop import NodeClock, NodeLoop
from runtime.testing.simulated_loop import SeededEntropy, SimulatedClock, SimulatedLoop


class SettableClock(SystemClock):
    """The clock of the machine, as if somebody had set it."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


class GeventHarness:
    look_ms = 40

    def __init__(self) -> None:
        self.clock = SettableClock()
        self.loop = GeventLoop(self.clock, self.look_ms)

    def set_clock(self, ahead_ms: int) -> None:
        self.clock.ahead_ms += ahead_ms

    def run_until(self, is_done: Callable[[], bool]) -> None:
        ends_at = time.monotonic() + 60
        while not is_done():
            assert time.monotonic() < ends_at
            gevent.sleep(0.001)


class NodeHarness:
    look_ms = WALL_CLOCK_LOOK_MS

    def __init__(self) -> None:
        network_clock = SimulatedClock()
        self.network_loop = SimulatedLoop(network_clock)
        self.clock = NodeClock(network_clock)
        self.loop = NodeLoop(self.network_loop, self.clock)

    def set_clock(self, ahead_ms: int) -> None:
        self.clock.ahead_ms += ahead_ms
        self.loop.clock_was_set()

    def run_until(self, is_done: Callable[[], bool]) -> None:
        self.network_loop.run(is_done)


class TestGeventLoop(LoopConformance, ClockConformance):
    @pytest.fixture
    def harness(self) -> LoopHarness:
        return GeventHarness()

    def test_it_looks_at_the_clock_only_while_a_long_wait_is_under_way(self) -> None:
        looks: list[None] = []

        class WatchedClock(SettableClock):
            def now_ms(self) -> int:
                looks.append(None)
                return super().now_ms()

        loop = GeventLoop(WatchedClock(), 5)
        timer = loop.call_at(SystemClock().now_ms() + 60_000, lambda: None)
        seen = Event()
        while len(looks) < 6:
            gevent.sleep(0.001)
        timer.cancel()
        loop.call_after(20, seen.set)
        seen.wait()
        after_the_last_look = len(looks)
        seen.clear()
        loop.call_after(40, seen.set)
        seen.wait()

        assert len(looks) == after_the_last_look


class TestNodeLoop(LoopConformance, ClockConformance):
    @pytest.fixture
    def harness(self) -> LoopHarness:
        return NodeHarness()


class TestSystemEntropy(EntropyConformance):
    @pytest.fixture
    def entropy(self) -> Entropy:
        return SystemEntropy()


class TestSeededEntropy(EntropyConformance):
    @pytest.fixture
    def entropy(self) -> Entropy:
        return SeededEntropy(7)
