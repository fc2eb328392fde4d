"""How many durable steps a node does in a second, beside what LMDB alone does with their records.

    python -m benchmarks.steps [--flows N] [--steps 10] [--json] [--no-fsync] [--profile]

One node with its real database; N flows at once, started in one commit, each of so many default
steps. The time runs until the last result is there. Waves of flows follow one another until a run
has taken ``--seconds``.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from benchmarks import flows, limits, machine
from benchmarks.networks import network
from benchmarks.options import Options, middle, shared
from benchmarks.profiler import MICRO, Profiler, show_profile
from benchmarks.report import Result, Settings, percentile_ms, show
from runtime import Flow
from runtime.node import Node, tune_process

FLOWS: Final = (1, 100, 1_000, 10_000)
STEPS: Final = 10
LATENCIES: Final = 500
"""A run of its own goes on until it has so many."""

KEY_BYTES: Final = 20
"""Of a row in the journal: the flow's id (16) and the number of the event (4)."""

LIMIT_RECORDS_MIN: Final = 20_000
LIMIT_COMMITS_MAX: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run has taken."""

    steps: int
    seconds: float
    cpu_seconds: float
    commits: int

    @property
    def steps_per_second(self) -> float:
        """Return the figure."""
        return self.steps / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What LMDB or a file alone does: records a second, and how long each commit took."""

    records_per_second: float
    commit_seconds: list[float]


def measure(count: int, steps: int, options: Options) -> list[Result]:
    """Measure ``count`` flows at once; return the figure, and the second limit beside the first."""
    tune_process()
    with (
        network(options.folder, nodes=1) as (place,),
        Node(place.directory, apps=(flows,), sync=options.fsync) as node,
    ):
        run_once(node, count, steps, seconds=0.0)
        value = b"v" * event_bytes(node, steps)
        runs: list[Run] = []
        databases: list[Limit] = []
        files: list[Limit] = []
        for _ in range(options.repeat):
            runs.append(run_once(node, count, steps, seconds=options.seconds))
            databases.append(database_limit(count, steps, value, options))
            files.append(file_limit(count, steps, value, options))
        latencies = sample_latencies(node, count, steps)
    run = middle(runs, key=lambda each: each.steps_per_second)
    database = middle(databases, key=lambda each: each.records_per_second)
    file = middle(files, key=lambda each: each.records_per_second)
    described = machine.describe(options.folder)
    settings: Settings = {
        "flows": count,
        "steps": steps,
        "repeat": options.repeat,
        "record_bytes": KEY_BYTES + len(value),
    }
    observed: Settings = {
        "cpu_us_per_step": round(run.cpu_seconds / run.steps * MICRO, 2),
        "steps_per_commit": round(run.steps / run.commits, 1),
        "commits": run.commits,
    }
    return [
        Result(
            name="steps",
            settings=settings | observed,
            value=run.steps_per_second,
            unit="steps/s",
            limit=database.records_per_second,
            p50_ms=percentile_ms(latencies, 50),
            p99_ms=percentile_ms(latencies, 99),
            fsync=options.fsync,
            machine=described,
        ),
        Result(
            name="file alone",
            settings=settings,
            value=file.records_per_second,
            unit="records/s",
            limit=database.records_per_second,
            p50_ms=percentile_ms(file.commit_seconds, 50),
            p99_ms=percentile_ms(file.commit_seconds, 99),
            fsync=options.fsync,
            machine=described,
        ),
    ]


def run_once(node: Node, count: int, steps: int, *, seconds: float) -> Run:
    """Run waves of flows until ``seconds`` are over; one at least."""
    done = 0
    commits = node.commits
    cpu = time.process_time()
    began = time.perf_counter()
    while True:
        wave(node, flows.some_steps, count, steps)
        done += count * steps
        passed = time.perf_counter() - began
        if passed >= seconds:
            break
    return Run(
        steps=done,
        seconds=passed,
        cpu_seconds=time.process_time() - cpu,
        commits=node.commits - commits,
    )


def wave(node: Node, flow: Flow[[int], int], count: int, steps: int) -> None:
    """Start ``count`` flows at once and wait for all; checks what they return."""
    expected = sum(range(steps))
    for handle in [node.begin_flow(flow, steps) for _ in range(count)]:
        assert handle.result() == expected


def sample_latencies(node: Node, count: int, steps: int) -> list[float]:
    """Return the seconds from one step of a flow to its next, with ``count`` flows at once."""
    assert steps > 1, "a latency is the time between two steps"
    flows.step_seconds.clear()
    while len(flows.step_seconds) < LATENCIES:
        wave(node, flows.sampled_steps, count, steps)
    return list(flows.step_seconds)


def event_bytes(node: Node, steps: int) -> int:
    """Return how large a step's event is in the journal, the value of its row without the key.

    The flow that it is read from waits on: nothing but the node's end takes it away.
    """
    handle = node.start_flow(flows.steps_then_wait, steps)
    sizes: list[int] = []
    while len(sizes) < steps:
        # Another flow's start and its commit give this one its turns.
        wave(node, flows.some_steps, 1, steps)
        rows = node.operations.journal(handle.id, 0, steps + 1)
        sizes = [row.size for row in rows if row.kind == "Stepped"]
    return round(sum(sizes) / len(sizes))


def database_limit(count: int, steps: int, value: bytes, options: Options) -> Limit:
    """Measure LMDB with one commit for each step of all flows, a record for each flow."""
    rounds = limit_rounds(count, steps)
    commits = limits.interleaved(flows=count, rounds=rounds, value=value, key_bytes=KEY_BYTES)
    seconds = limits.commit_seconds(options.folder, commits, fsync=options.fsync)
    return Limit(records_per_second=count * rounds / sum(seconds), commit_seconds=seconds)


def file_limit(count: int, steps: int, value: bytes, options: Options) -> Limit:
    """Measure a file that is written and synced with the same bytes, once for each commit."""
    rounds = limit_rounds(count, steps)
    size = count * (KEY_BYTES + len(value))
    seconds = limits.write_seconds(
        options.folder, writes=rounds, write_bytes=size, fsync=options.fsync
    )
    return Limit(records_per_second=count * rounds / sum(seconds), commit_seconds=seconds)


def limit_rounds(count: int, steps: int) -> int:
    """Return how many commits a limit is measured with."""
    return max(steps, min(LIMIT_COMMITS_MAX, LIMIT_RECORDS_MIN // count))


def profile(count: int, steps: int, options: Options) -> None:
    """Print what a step's CPU time is spent on."""
    with (
        network(options.folder, nodes=1) as (place,),
        Node(place.directory, apps=(flows,), sync=options.fsync) as node,
    ):
        run_once(node, count, steps, seconds=0.0)
        with Profiler() as profiler:
            run = run_once(node, count, steps, seconds=options.seconds)
    each = run.cpu_seconds / run.steps * MICRO
    title = f"steps, {count} flows, {each:.1f} µs of CPU time a step, {profiler.samples} samples"
    show_profile(title, profiler.rows(run.cpu_seconds, run.steps))


def figures(counts: tuple[int, ...], options: Options, steps: int = STEPS) -> list[Result]:
    """Measure each of ``counts`` on a node of its own."""
    return [result for count in counts for result in measure(count, steps, options)]


@click.command()
@click.option(
    "--flows",
    "counts",
    type=click.IntRange(1),
    multiple=True,
    default=FLOWS,
    show_default=True,
    help="How many at once; may be given several times.",
)
@click.option("--steps", type=click.IntRange(2), default=STEPS, show_default=True)
@click.option("--profile", "is_profiled", is_flag=True, help="Show costs of functions instead.")
@shared
def main(
    counts: tuple[int, ...],
    steps: int,
    is_profiled: bool,
    as_json: bool,
    fsync: bool,
    folder: Path,
    repeat: int,
    seconds: float,
) -> None:
    """Measure durable steps a second of one node."""
    options = Options(folder=folder, fsync=fsync, repeat=repeat, seconds=seconds)
    if is_profiled:
        for count in counts:
            profile(count, steps, options)
    else:
        show(figures(counts, options, steps), as_json=as_json)


if __name__ == "__main__":
    main()
