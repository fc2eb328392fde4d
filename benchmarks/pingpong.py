"""How many session messages two nodes exchange in a second, beside what ZeroMQ and LMDB do alone.

    python -m benchmarks.pingpong [--pairs N] [--rounds R] [--json] [--no-fsync] [--profile]

Two processes, a node each, CURVE between them over the loopback interface. N flows of one node have
a session each with a responder of its own at the other, and make R exchanges in it, all at once.
Each message is durable at both ends before anything that depends on it leaves.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from benchmarks import limits, machine
from benchmarks.networks import network
from benchmarks.options import Options, middle, shared
from benchmarks.profiler import MICRO, show_profile
from benchmarks.report import Result, show
from runtime.network_bootstrap import CreatedNode

PAIRS: Final = (1, 100, 1_000)
ROUNDS: Final = 20
ROUNDS_OF_ONE_PAIR: Final = 200
COMMITS_A_ROUND_TRIP: Final = 2
"""One at each end: what arrived, and the answer to it, become durable together."""

LIMIT_MESSAGES: Final = 20_000


class Side:
    """A process with a node in it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.name: str = self._read()["name"]

    def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        """Have one line answered."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a node of the benchmark has ended; its last words stand above")
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run has taken; of lists, the first is of the side that starts the flows."""

    messages: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: list[float]
    commits: list[int]

    @property
    def messages_per_second(self) -> float:
        """Return the figure."""
        return self.messages / self.seconds


@contextmanager
def side(place: CreatedNode, *, fsync: bool) -> Iterator[Side]:
    """Start the process of one node, and end it afterwards."""
    command = [sys.executable, "-m", "benchmarks.pingpong_node", str(place.directory)]
    with subprocess.Popen(
        [*command, "--fsync" if fsync else "--no-fsync"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Side(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


@contextmanager
def two_sides(options: Options) -> Iterator[tuple[Side, Side]]:
    """Start two nodes, and let their link come up."""
    with (
        network(options.folder, nodes=2) as (ping, pong),
        side(ping, fsync=options.fsync) as left,
        side(pong, fsync=options.fsync) as right,
    ):
        left.ask("run", peer=right.name, pairs=10, rounds=10)
        yield left, right


def measure(pairs: int, rounds: int, options: Options) -> Result:
    """Measure ``pairs`` sessions at once."""
    runs: list[Run] = []
    bounds: list[float] = []
    with two_sides(options) as (left, right):
        size = left.ask("size", peer=right.name)["bytes"]
        for _ in range(options.repeat):
            runs.append(run_once(left, right, pairs, rounds))
            bounds.append(limit_of(pairs, size, options))
    run = middle(runs, key=lambda each: each.messages_per_second)
    cpu = [round(seconds / run.messages * MICRO, 1) for seconds in run.cpu_seconds]
    return Result(
        name="pingpong",
        settings={
            "pairs": pairs,
            "rounds": rounds,
            "repeat": options.repeat,
            "message_bytes": size,
            "ping_cpu_us_per_message": cpu[0],
            "pong_cpu_us_per_message": cpu[1],
            "ping_commits": run.commits[0],
            "pong_commits": run.commits[1],
        },
        value=run.messages_per_second,
        unit="messages/s",
        limit=middle(bounds, key=float),
        p50_ms=run.p50_ms,
        p99_ms=run.p99_ms,
        fsync=options.fsync,
        machine=machine.describe(options.folder),
    )


def run_once(left: Side, right: Side, pairs: int, rounds: int) -> Run:
    """Let all pairs play once."""
    sides = (left, right)
    before = [each.ask("usage") for each in sides]
    answer = left.ask("run", peer=right.name, pairs=pairs, rounds=rounds)
    after = [each.ask("usage") for each in sides]
    used = list(zip(before, after, strict=True))
    return Run(
        messages=2 * pairs * rounds,
        seconds=answer["seconds"],
        p50_ms=answer["p50_ms"],
        p99_ms=answer["p99_ms"],
        cpu_seconds=[end["cpu_seconds"] - start["cpu_seconds"] for start, end in used],
        commits=[end["commits"] - start["commits"] for start, end in used],
    )


def limit_of(pairs: int, size: int, options: Options) -> float:
    """Return the messages a second that the libraries alone would allow.

    For one pair: a round trip of two messages takes two synced commits and a bare round trip. For
    many: bare ZeroMQ messages both ways in sum, as many under way as there are pairs, no disk.
    """
    if pairs > 1:
        return limits.messages_per_second(at_once=pairs, messages=LIMIT_MESSAGES, body_bytes=size)
    commits_ms = COMMITS_A_ROUND_TRIP * limits.commit_ms(options.folder, fsync=options.fsync)
    return 2_000 / (commits_ms + limits.round_trip_ms())


def profile(pairs: int, rounds: int, options: Options) -> None:
    """Print what a message's CPU time is spent on at both sides."""
    with two_sides(options) as (left, right):
        for each in (left, right):
            each.ask("profile")
        runs = [run_once(left, right, pairs, rounds)]
        while sum(run.seconds for run in runs) < options.seconds:
            runs.append(run_once(left, right, pairs, rounds))
        messages = sum(run.messages for run in runs)
        for number, each in enumerate((left, right)):
            seconds = sum(run.cpu_seconds[number] for run in runs)
            answer = each.ask("profiled", seconds=seconds, count=messages)
            cpu_us = seconds / messages * MICRO
            title = f"{each.name}, {pairs} pairs, {cpu_us:.1f} µs of CPU time a message"
            show_profile(f"{title}, {answer['samples']} samples", answer["rows"])


def figures(counts: tuple[int, ...], options: Options, rounds: int | None = None) -> list[Result]:
    """Measure each of ``counts`` between two fresh nodes."""
    return [measure(pairs, rounds or rounds_of(pairs), options) for pairs in counts]


def rounds_of(pairs: int) -> int:
    """Return how many exchanges a session has unless somebody says otherwise."""
    return ROUNDS_OF_ONE_PAIR if pairs == 1 else ROUNDS


@click.command()
@click.option(
    "--pairs",
    "counts",
    type=click.IntRange(1),
    multiple=True,
    default=PAIRS,
    show_default=True,
    help="How many sessions at once; may be given several times.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    help=f"Exchanges in each session.  [default: {ROUNDS}, of one pair {ROUNDS_OF_ONE_PAIR}]",
)
@click.option("--profile", "is_profiled", is_flag=True, help="Show costs of functions instead.")
@shared
def main(
    counts: tuple[int, ...],
    rounds: int | None,
    is_profiled: bool,
    as_json: bool,
    fsync: bool,
    folder: Path,
    repeat: int,
    seconds: float,
) -> None:
    """Measure session messages a second between two nodes."""
    options = Options(folder=folder, fsync=fsync, repeat=repeat, seconds=seconds)
    if is_profiled:
        for pairs in counts:
            profile(pairs, rounds or rounds_of(pairs), options)
    else:
        show(figures(counts, options, rounds), as_json=as_json)


if __name__ == "__main__":
    main()
