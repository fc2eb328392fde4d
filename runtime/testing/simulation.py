"""Whole histories of a network under faults, from one seed each, and what must hold after them.

A scenario is a function that sets up a world. For flows of your own it looks like this:

    from runtime.testing.simulation import simulate
    from runtime.testing.world import World, either, raised, returned

    def sell_bonds(world: World) -> None:
        alice = world.node("Alice", apps=[my_flows])
        bob = world.node("Bob", apps=[my_flows])
        for price in range(90, 110):
            request = world.request(alice, sell, bob.party, "bond", price)
            request.after(world.random.uniform(0, 5))
            request.expect(returned("bought bond") if price <= 100 else raised(TooExpensive))

    @pytest.mark.parametrize("seed", range(100))
    def test_bonds_are_sold_whatever_happens(seed: int) -> None:
        simulate(seed, sell_bonds)

The seed decides everything: ids, keys, delays, the order of callbacks, and which faults there are.
Frames are lost, late, doubled and reordered, links are cut, nodes crash around their commits or at
any time and come back, clocks jump, a stranger forges messages. After a while all is mended and the
history runs until nothing is left to do. Then every flow must have ended as expected, once; both
ends of each session must have seen the same messages; and no node may have anything left.

A history that fails raises `HistoryFailed` with the one command that repeats it. To hunt for more:

    python -m runtime.testing.simulation --seeds 10000 --scenario my_tests.scenarios:sell_bonds
"""

import importlib
import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import click

from runtime.core import envelopes
from runtime.core.envelopes import Ack
from runtime.errors import SennitError
from runtime.ports import Batch
from runtime.testing import checks
from runtime.testing.faults import Fate, Fault, FaultPlan
from runtime.testing.memory_store import MemoryStore
from runtime.testing.memory_transport import Delivery, Link
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from runtime.testing.recorder import Recorder
from runtime.testing.simulated_loop import NothingLeft
from runtime.testing.stranger import Stranger
from runtime.testing.world import World

Scenario = Callable[[World], None]

CALLBACKS_MAX = 300_000
"""A history that takes more never ends."""


class HistoryFailed(SennitError, AssertionError):
    """Something did not hold after a simulated history."""

    def __init__(self, report: str, history: "History") -> None:
        super().__init__(report, history)
        self.report = report
        self.history = history

    def __str__(self) -> str:
        return self.report


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What has happened, in figures. The same seed and scenario have the same ``digest``."""

    seed: int
    faults: str
    digest: str
    callbacks: int
    commits: int
    frames: int
    crashes: int
    simulated_seconds: float
    trace: Sequence[str]


def simulate(
    seed: int,
    scenario: Scenario,
    *,
    faults: Sequence[Fault] | None = None,
    is_traced: bool = False,
) -> History:
    """Run one history and check it; raises `HistoryFailed`.

    ``faults`` are the kinds that there are, instead of those that the seed draws.
    """
    simulation = Simulation(seed, faults, is_traced=is_traced)
    with _quiet_log(is_loud=is_traced):
        problems = simulation.run(scenario)
    history = simulation.history()
    if problems:
        raise HistoryFailed(_report(seed, scenario, history, problems), history)
    return history


def repeat_command(seed: int, scenario: Scenario) -> str:
    """Return the command that runs one history again, and shows it event by event."""
    name = f"{scenario.__module__}:{scenario.__qualname__}"
    return f"python -m runtime.testing.simulation --seed {seed} --scenario {name} --trace"


class Simulation:
    """One history while it happens. Implements `runtime.testing.network.Disk`."""

    def __init__(self, seed: int, faults: Sequence[Fault] | None, *, is_traced: bool) -> None:
        self.seed = seed
        self.plan = FaultPlan(seed, faults)
        self.network = SimulatedNetwork(
            seed,
            policy=self._carry,
            shuffle=Fault.SHUFFLE in self.plan.kinds,
            disk=self,
            is_replay_checked=Fault.REPLAY in self.plan.kinds,
        )
        self.clock = self.network.clock
        self.loop = self.network.loop
        self.loop.thread_ms = self.plan.thread_ms
        self.recorder = Recorder(self.clock, is_traced=is_traced)
        self.world = World(self.network, self.plan, self.recorder)
        self.stranger = Stranger(self.network, self.plan.random)
        self.crashes = 0
        self._late: checks.LateMessages | None = None
        self._began_ms = self.clock.now_ms()

    def run(self, scenario: Scenario) -> list[str]:
        """Let it happen; return what does not hold afterwards."""
        self.recorder.note(f"seed {self.seed}: {self.plan.describe()}")
        try:
            scenario(self.world)
            self.world.begin()
            self._run_disturbed()
            self._heal()
            self._run_until_idle()
            # What is wrong already makes much else wrong that would say less.
            for problem in self._check() if not self.recorder.problems else ():
                self.recorder.problem(problem)
        except NothingLeft as error:
            self.recorder.problem(str(error))
            for problem in checks.nothing_left(self.network):
                self.recorder.problem(problem)
        except Exception as error:  # whatever it is, the command that repeats it must be told
            self.recorder.problem("".join(traceback.format_exception(error)))
        return self.recorder.problems

    def history(self) -> History:
        """Return the figures."""
        return History(
            seed=self.seed,
            faults=self.plan.describe(),
            digest=self.recorder.digest,
            callbacks=self.loop.callbacks,
            commits=self.recorder.commits,
            frames=self.recorder.frames,
            crashes=self.crashes,
            simulated_seconds=(self.clock.now_ms() - self._began_ms) / 1000,
            trace=self.recorder.trace,
        )

    # --- the two halves of a history ------------------------------------------------------------

    def _run_disturbed(self) -> None:
        until = self._began_ms + self.plan.duration_ms
        while self.clock.now_ms() < until and not self.recorder.problems:
            fault = self.plan.strike()
            if fault is not None:
                self._strike(fault)
            if not self.loop.step(until):
                return

    def _heal(self) -> None:
        self.recorder.note("all is mended")
        self.plan.end()
        self.loop.random = None
        self.network.links.mend_all()
        for node in self.network.nodes.values():
            self._start(node)

    def _run_until_idle(self) -> None:
        for _ in range(CALLBACKS_MAX):
            if not self.loop.step() or self.recorder.problems:
                return
        raise NothingLeft(f"the network is not idle after {CALLBACKS_MAX} callbacks")

    def _check(self) -> Iterator[str]:
        yield from checks.steps_answered_once(self.recorder)
        yield from checks.sessions_agree(self.recorder)
        yield from checks.effects_have_one_id(self.world)
        yield from self._check_state()
        for node in self.network.nodes.values():
            self.crash(node)
            self._start(node)
        self._run_until_idle()
        yield from self._check_state()
        for check in self.world.checks:
            try:
                check()
            except AssertionError as error:
                yield f"{check.__qualname__}: {error}"
        self._late = checks.LateMessages(self.network, self.recorder)
        yield from self._late.check()
        yield from checks.results_forgotten(self.world)
        self._run_until_idle()
        yield from checks.nothing_left(self.network)

    def _check_state(self) -> Iterator[str]:
        yield from checks.requests_ended(self.world)
        self._run_until_idle()
        yield from checks.nothing_left(self.network)

    # --- faults -----------------------------------------------------------------------------------

    def _strike(self, fault: Fault) -> None:
        node = self.plan.random.choice(list(self.network.nodes.values()))
        match fault:
            case Fault.CRASH:
                if node.is_up and self.plan.crashes_left > 0:
                    self.crash(node)
            case Fault.STOP:
                if node.is_up and self.plan.crashes_left > 0:
                    self._take_down(node, "stops", node.stop)
            case Fault.CUT:
                self._cut(node)
            case Fault.CLOCK:
                jump_ms = self.plan.jump_ms()
                self.recorder.note(f"{node.name}: clock jumps by {jump_ms} ms")
                node.set_clock_forward(jump_ms)
            case _:
                self.stranger.strike()

    def crash(self, node: SimulatedNode) -> None:
        """Crash a node; it comes back later."""
        self._take_down(node, "crashes", node.crash)

    def _take_down(self, node: SimulatedNode, how: str, take_down: Callable[[], None]) -> None:
        self.recorder.note(f"{node.name} {how}")
        self.crashes += 1
        self.plan.crashes_left -= 1
        take_down()
        if not self.plan.is_over:
            back_ms = self.clock.now_ms() + self.plan.down_ms()
            self.loop.call_at(back_ms, partial(self._start, node))

    def _start(self, node: SimulatedNode) -> None:
        if not node.is_up:
            self.recorder.note(f"{node.name} starts")
            node.start()
            self.world.restarted(node)

    def _cut(self, node: SimulatedNode) -> None:
        others = [other for other in self.network.nodes.values() if other is not node]
        if others:
            one, other = node.party.name, self.plan.random.choice(others).party.name
            self.recorder.note(f"cut {one} from {other}")
            self.network.links.cut(one, other)
            mended_ms = self.clock.now_ms() + self.plan.down_ms()
            self.loop.call_at(mended_ms, lambda: self.network.links.mend(one, other))

    # --- links and disks --------------------------------------------------------------------------

    def _carry(self, link: Link, frame: list[bytes]) -> list[Delivery]:
        if link.source == self.stranger.name:
            return [Delivery(frame)]
        self.stranger.overhear(link, frame)
        self.recorder.carried(link, frame)
        if self._late is not None:
            self._answered(self._late, link, frame)
        return self.plan.frame(self.clock.now_ms(), frame)

    def _answered(self, late: checks.LateMessages, link: Link, frame: list[bytes]) -> None:
        for encoded in frame:
            envelope = envelopes.decode(encoded)
            if isinstance(envelope, Ack):
                late.acknowledged(link, envelope)

    def submitted(self, node: SimulatedNode, batch: Batch) -> None:
        """See `runtime.testing.network.Disk`."""
        due = self.clock.now_ms() + self.plan.commit_ms()
        self.loop.call_at(due, partial(self._commit, node, node.store))

    def landed(self, node: SimulatedNode, batch: Batch) -> None:
        """See `runtime.testing.network.Disk`."""
        self.recorder.landed(node, batch)

    def _commit(self, node: SimulatedNode, store: MemoryStore) -> None:
        if node.store is not store or not store.waiting:
            return
        fate = self.plan.commit()
        if fate is Fate.CRASH_BEFORE:
            self.crash(node)
            return
        store.make_durable(1)
        if fate is Fate.CRASH_AFTER:
            self.crash(node)


@contextmanager
def _quiet_log(*, is_loud: bool) -> Iterator[None]:
    """Keep what nodes log in a history to itself: they fail all the time, on purpose."""
    log = logging.getLogger("sennit")
    level = log.level
    if not is_loud:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _report(seed: int, scenario: Scenario, history: History, problems: list[str]) -> str:
    lines = [f"seed {seed} ({history.faults}): {len(problems)} problems", *problems[:20]]
    return "\n  ".join([*lines, f"repeat it: {repeat_command(seed, scenario)}"])


# --- the command ---------------------------------------------------------------------------------


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option("--scenario", "names", required=True, multiple=True, metavar="MODULE:FUNCTION")
@click.option("--seeds", default=1_000, help="How many seeds to run.")
@click.option("--first", default=0, help="The first of them.")
@click.option("--seed", type=int, help="Run this one only.")
@click.option("--trace", is_flag=True, help="Show a history event by event.")
@click.option("--failures", default=10, help="Stop after so many that failed.")
def main(
    names: tuple[str, ...], seeds: int, first: int, seed: int | None, trace: bool, failures: int
) -> None:
    """Hunt for seeds that fail."""
    scenarios = [_find(name) for name in names]
    chosen = range(first, first + seeds) if seed is None else [seed]
    began = time.monotonic()
    failed = 0
    count = 0
    for each in chosen:
        for scenario in scenarios:
            count += 1
            failed += not _survives(each, scenario, is_traced=trace)
        if failed >= failures:
            break
    seconds = time.monotonic() - began
    click.echo(f"{count} histories, {failed} failed, {count / seconds * 60:,.0f} a minute")
    sys.exit(1 if failed else 0)


def _survives(seed: int, scenario: Scenario, *, is_traced: bool) -> bool:
    try:
        history = simulate(seed, scenario, is_traced=is_traced)
    except HistoryFailed as error:
        click.echo("\n".join([*error.history.trace, str(error)]))
        return False
    if is_traced:
        click.echo("\n".join(history.trace))
    return True


def _find(name: str) -> Scenario:
    module, _, function = name.partition(":")
    found: Scenario = getattr(importlib.import_module(module), function)
    return found


if __name__ == "__main__":
    main()
