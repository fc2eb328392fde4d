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

It shares the work between as many processes as ``--jobs`` says, ends after ``--minutes``, and names
the seed that took longest: one that takes far longer than others is worth a look, too.
"""

import importlib
import logging
import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import click

from runtime.errors import SennitError
from runtime.testing.faults import CrashAt, Fate, Fault, FaultPlan
from runtime.testing.history import Simulation
from runtime.testing.world import World

Scenario = Callable[[World], None]


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
    commits: Mapping[str, int]
    """By node; in the time in which there may be faults."""
    frames: int
    crashes: int
    simulated_seconds: float
    trace: Sequence[str]


def simulate(
    seed: int,
    scenario: Scenario,
    *,
    faults: Sequence[Fault] | None = None,
    crash: CrashAt | None = None,
    is_traced: bool = False,
) -> History:
    """Run one history and check it; raises `HistoryFailed`.

    Args:
        seed: Decides everything that the others leave open.
        scenario: Sets up the world.
        faults: The kinds of fault that there are, instead of those that the seed draws.
        crash: A crash at one commit of one node; if it is given, there is nothing else.
        is_traced: Whether the history remembers all that has happened, for people.
    """
    simulation = Simulation(seed, FaultPlan(seed, faults, crash=crash), is_traced=is_traced)
    with _quiet_log(is_loud=is_traced):
        problems = simulation.run(scenario)
    history = History(
        seed=seed,
        faults=simulation.plan.describe(),
        digest=simulation.recorder.digest,
        callbacks=simulation.loop.callbacks,
        commits=simulation.plan.commits,
        frames=simulation.recorder.frames,
        crashes=simulation.crashes,
        simulated_seconds=simulation.simulated_seconds,
        trace=simulation.recorder.trace,
    )
    if problems:
        raise HistoryFailed(_report(scenario, history, problems, crash), history)
    return history


def crash_points(seed: int, scenario: Scenario) -> list[CrashAt]:
    """Return a crash before and after each commit that the quiet history of a scenario has.

    The matrix of `simulate` over all of them is exhaustive where seeds are not.
    """
    quiet = simulate(seed, scenario, faults=())
    return [
        CrashAt(node=node, commit=number, fate=fate)
        for node, count in quiet.commits.items()
        for number in range(1, count + 1)
        for fate in (Fate.CRASH_BEFORE, Fate.CRASH_AFTER)
    ]


def repeat_command(seed: int, scenario: Scenario, crash: CrashAt | None = None) -> str:
    """Return the command that runs one history again, and shows it event by event."""
    name = f"{scenario.__module__}:{scenario.__qualname__}"
    at = f" --crash {crash}" if crash else ""
    return f"python -m runtime.testing.simulation --seed {seed} --scenario {name}{at} --trace"


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


def _report(
    scenario: Scenario, history: History, problems: list[str], crash: CrashAt | None
) -> str:
    lines = [f"seed {history.seed} ({history.faults}): {len(problems)} problems", *problems[:20]]
    return "\n  ".join([*lines, f"repeat it: {repeat_command(history.seed, scenario, crash)}"])


# --- the command ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Task:
    """One history to be run, perhaps in another process."""

    name: str
    seed: int
    crash: CrashAt | None
    is_traced: bool


@dataclass(frozen=True, slots=True)
class _Done:
    """How it went: what to show of it, and how long it took."""

    task: _Task
    lines: Sequence[str]
    has_failed: bool
    seconds: float


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option("--scenario", "names", required=True, multiple=True, metavar="MODULE:FUNCTION")
@click.option("--seeds", type=click.IntRange(1), default=1_000, help="How many seeds to run.")
@click.option("--first", default=0, help="The first of them.")
@click.option("--seed", type=int, help="Run this one only.")
@click.option("--crash", type=CrashAt.parse, help="A crash at one commit: NODE:COMMIT:FATE.")
@click.option("--trace", is_flag=True, help="Show a history event by event.")
@click.option("--failures", default=10, help="Stop after so many that failed.")
@click.option("--minutes", type=float, help="Stop after so long, however many there are left.")
@click.option(
    "--jobs", type=click.IntRange(1), default=1, help="How many processes share the work."
)
def main(
    names: tuple[str, ...],
    seeds: int,
    first: int,
    seed: int | None,
    crash: CrashAt | None,
    trace: bool,
    failures: int,
    minutes: float | None,
    jobs: int,
) -> None:
    """Hunt for seeds that fail."""
    for name in names:
        _find(name)
    chosen = range(first, first + seeds) if seed is None else [seed]
    tasks = [_Task(name, each, crash, trace) for each in chosen for name in names]
    until = math.inf if minutes is None else time.monotonic() + 60 * minutes
    began = time.monotonic()
    count = failed = 0
    slowest: _Done | None = None
    with _workers(jobs) as run_all:
        for each in run_all(tasks):
            count += 1
            failed += each.has_failed
            if slowest is None or each.seconds > slowest.seconds:
                slowest = each
            if each.lines:
                click.echo("\n".join(each.lines))
            if failed >= failures or time.monotonic() > until:
                break
    missing = f" of {len(tasks):,}" if count < len(tasks) else ""
    rate = count / (time.monotonic() - began) * 60
    click.echo(f"{count}{missing} histories, {failed} failed, {rate:,.0f} a minute")
    if slowest is not None:
        name = slowest.task.name.partition(":")[2]
        click.echo(f"the slowest took {slowest.seconds:.1f} s: seed {slowest.task.seed} of {name}")
    sys.exit(1 if failed else 0)


@contextmanager
def _workers(jobs: int) -> Iterator[Callable[[Sequence[_Task]], Iterator[_Done]]]:
    """Give a function that runs tasks, in order, in ``jobs`` processes; one job: in this one."""
    if jobs == 1:
        yield lambda tasks: map(_run, tasks)
        return
    # Not forked: a process may not be copied with its greenlets and open databases.
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield lambda tasks: pool.map(_run, tasks)
    finally:
        pool.shutdown(cancel_futures=True)


def _run(task: _Task) -> _Done:
    began = time.monotonic()
    scenario = _find(task.name)
    lines: Sequence[str]
    try:
        history = simulate(task.seed, scenario, crash=task.crash, is_traced=task.is_traced)
    except HistoryFailed as error:
        lines = [*error.history.trace, str(error)]
        return _Done(task, lines, has_failed=True, seconds=time.monotonic() - began)
    lines = history.trace if task.is_traced else ()
    return _Done(task, lines, has_failed=False, seconds=time.monotonic() - began)


def _find(name: str) -> Scenario:
    module, _, function = name.partition(":")
    found: Scenario = getattr(importlib.import_module(module), function)
    return found


if __name__ == "__main__":
    main()
