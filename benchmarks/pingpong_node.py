"""A node in a process of its own, driven by lines of JSON: one side of `benchmarks.pingpong`.

    python -m benchmarks.pingpong_node DIRECTORY [--no-fsync]

It answers each line on standard input, an object with ``do``, by one line on standard output, and
ends when its standard input does.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import click
from gevent.socket import wait_read

from benchmarks import flows
from benchmarks.profiler import Profiler
from benchmarks.report import percentile_ms
from runtime.node import Node, tune_process

Answer = dict[str, Any]


class Driver:
    """Does what the lines ask for."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.profiler: Profiler | None = None

    def answer(self, command: Answer) -> Answer:
        """Return the answer to one line."""
        match command["do"]:
            case "run":
                return self.run(command["peer"], command["pairs"], command["rounds"])
            case "usage":
                return {"cpu_seconds": time.process_time(), "commits": self.node.commits}
            case "size":
                return {"bytes": self.message_bytes(command["peer"])}
            case "profile":
                self.profiler = Profiler()
                self.profiler.start()
                return {}
            case "profiled":
                assert self.profiler is not None
                self.profiler.stop()
                return {
                    "samples": self.profiler.samples,
                    "rows": self.profiler.rows(command["seconds"], command["count"]),
                }
            case other:
                raise ValueError(f"{other!r} is no command")

    def run(self, peer: str, pairs: int, rounds: int) -> Answer:
        """Run ``pairs`` sessions at once, each of ``rounds`` exchanges."""
        party = self.node.party(peer)
        flows.round_trip_seconds.clear()
        began = time.perf_counter()
        for handle in [self.node.begin_flow(flows.ping, party, rounds) for _ in range(pairs)]:
            answered = handle.result()
            assert answered == rounds, f"{answered} of {rounds} balls came back"
        seconds = time.perf_counter() - began
        samples = flows.round_trip_seconds
        return {
            "seconds": seconds,
            "p50_ms": percentile_ms(samples, 50),
            "p99_ms": percentile_ms(samples, 99),
        }

    def message_bytes(self, peer: str) -> int:
        """Return how large a message is that the peer has sent, with what the journal adds."""
        handle = self.node.start_flow(flows.ping_then_wait, self.node.party(peer))
        received: list[int] = []
        while not received:
            self.run(peer, 1, 1)
            rows = self.node.operations.journal(handle.id, 0, 100)
            received = [row.size for row in rows if row.kind == "Received"]
        return received[0]


def serve(driver: Driver) -> None:
    """Answer until there are no more lines."""
    while True:
        wait_read(sys.stdin.fileno())
        line = sys.stdin.readline()
        if not line:
            return
        print(json.dumps(driver.answer(json.loads(line))), flush=True)


@click.command()
@click.argument("directory", type=click.Path(exists=True, path_type=Path))
@click.option("--fsync/--no-fsync", default=True)
def main(directory: Path, fsync: bool) -> None:
    """Run the node of DIRECTORY until standard input is closed."""
    tune_process()
    with Node(directory, apps=(flows,), sync=fsync) as node:
        print(json.dumps({"name": node.me.name}), flush=True)
        serve(Driver(node))


if __name__ == "__main__":
    main()
