"""A node with nothing to do makes no commits, polls nothing and hardly wakes up (rule 3)."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from runtime.operations import Arguments
from runtime.testing.driver import NetworkDriver, NodeProcess
from tests.e2e.crash_matrix import is_idle
from tests.e2e.networks import EMBEDDED

WATCHED_SECONDS: Final = 2.0
CPU_SECONDS_MAX: Final = 0.03
# All threads together, those of ZeroMQ and of gevent too.
WAKEUPS_MAX: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What a process has used since it was started."""

    cpu_seconds: float
    wakeups: int

    def since(self, earlier: "Use") -> "Use":
        return Use(
            cpu_seconds=self.cpu_seconds - earlier.cpu_seconds,
            wakeups=self.wakeups - earlier.wakeups,
        )


def use_of(process: int) -> Use:
    """Read it from the kernel, over all threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    user_ticks, system_ticks = int(fields[11]), int(fields[12])
    wakeups = 0
    for thread in Path(f"/proc/{process}/task").iterdir():
        for line in (thread / "status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "voluntary_ctxt_switches":
                wakeups += int(value)
    ticks_per_second = os.sysconf("SC_CLK_TCK")
    return Use(cpu_seconds=(user_ticks + system_ticks) / ticks_per_second, wakeups=wakeups)


@pytest.fixture
def node() -> Iterator[NodeProcess]:
    """A node that has worked, has flows that wait for a peer and for time, and is asked nothing."""
    with NetworkDriver.create(EMBEDDED) as network:
        network.start()
        alice, bob = network.node("alice"), network.node("bob")
        started = (
            alice.rpc.options().start_text("tests.e2e.flows.greet", Arguments(["Bob", "Alice"])).id
        )
        alice.rpc.result(started, 30.0)
        alice.wait_until(lambda: is_idle(alice) and is_idle(bob), "come to rest", 30.0)
        for name, arguments in (("sleep_a_week", []), ("await_peer", ["Bob"])):
            alice.rpc.options().start_text(f"tests.e2e.flows.{name}", Arguments([*arguments]))
        alice.wait_until(lambda: alice.rpc.info().unacknowledged == 0, "been heard", 30.0)
        yield alice


def test_rule_3_an_idle_node_makes_no_commits_and_polls_nothing(node: NodeProcess) -> None:
    time.sleep(1.0)  # What may still be tidied up lazily is, within a quarter of a second.
    commits = node.rpc.info().commits
    node.disconnect()
    before = use_of(node.pid)
    time.sleep(WATCHED_SECONDS)
    used = use_of(node.pid).since(before)

    with node.connect() as rpc:
        assert rpc.info().commits == commits
    assert used.cpu_seconds <= CPU_SECONDS_MAX
    assert used.wakeups <= WAKEUPS_MAX
