"""Kill a node at each of its commits in turn; started again, it must finish the job as if nothing.

    scenario = Scenario(nodes=("alice", "bob"), asked="alice", job=play, checks=(is_right,))
    matrix = CrashMatrix(network, saved, scenario)
    matrix.run(Case("bob", "after", 3))            True: it was killed, and all was well
    matrix.run_all("bob", "after")                 at commits 1, 2, 3, ... until none is left

A case costs two to three seconds: the network's data is copied from what was saved once, all nodes
start at the same time, and only the one that was killed starts again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar

import gevent

from runtime.core.events import JOURNAL
from runtime.edge.lmdb_store import LmdbStore
from runtime.edge.rpc_client import RpcClient
from runtime.engine.inbox import INBOX
from runtime.engine.outbox import OUTBOX
from runtime.engine.results import HELD
from runtime.operations import FlowResult, NodeInfo
from runtime.ports import Space
from runtime.rpc_messages import NodeUnreachable
from runtime.testing.driver import NetworkDriver, NodeProcess, NodeProcessFailed

Moment = Literal["before", "after"]
T = TypeVar("T")

Check = Callable[[NetworkDriver, FlowResult], None]
StoreCheck = Callable[[str, LmdbStore, FlowResult], None]
"""Of one node: its short name, its store, what the job returned."""

SECONDS_MAX: Final = 40
COMMITS_MAX: Final = 500
SIGKILLED: Final = -9

MOMENTS: Final[tuple[Moment, ...]] = ("before", "after")


@dataclass(frozen=True, slots=True)
class Case:
    """Who is killed, and when: right before or right after its n-th commit."""

    victim: str
    moment: Moment
    commit: int

    def __str__(self) -> str:
        return f"{self.victim}-{self.moment}-{self.commit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A job, who takes part, and what must be so after it.

    ``job`` is given a client of the node that is ``asked``, of which the connection may be lost and
    come back; so it starts its flow with a client id. ``checks`` see the network when it has come
    to rest, and may ask it; ``store_checks`` see each node's store when all are down. Of every
    store ``spaces`` must be empty, on top of those of the runtime.
    """

    nodes: tuple[str, ...]
    asked: str
    job: Callable[[RpcClient], FlowResult]
    checks: tuple[Check, ...] = ()
    store_checks: tuple[StoreCheck, ...] = ()
    spaces: tuple[Space, ...] = ()


class CrashMatrix:
    """Runs the cases of one scenario, one after another, in one network."""

    def __init__(self, network: NetworkDriver, saved: Path, scenario: Scenario) -> None:
        self._network = network
        self._saved = saved
        self._scenario = scenario

    def run(self, case: Case) -> bool:
        """Do the job and check everything; return whether the node was killed on the way."""
        self._network.restore(self._saved)
        try:
            return _Run(self._network, self._scenario, case).run()
        except BaseException as error:
            error.add_note(f"--- the case was {case}")
            self._network.explain(error)
            raise
        finally:
            self._network.kill()

    def run_all(self, victim: str, moment: Moment) -> int:
        """Run the cases of every commit, until one goes by without a kill; return how many."""
        for commit in range(1, COMMITS_MAX):
            if not self.run(Case(victim, moment, commit)):
                return commit - 1
        raise AssertionError(f"{victim} makes commits without end")


class _Run:
    """One case."""

    def __init__(self, network: NetworkDriver, scenario: Scenario, case: Case) -> None:
        self._network = network
        self._scenario = scenario
        self._case = case
        self._nodes = [network.node(name) for name in scenario.nodes]
        self._victim = network.node(case.victim)
        self._kills = 0

    def run(self) -> bool:
        for node in self._nodes:
            is_victim = node is self._victim
            crash_at = f"{self._case.moment}:{self._case.commit}" if is_victim else None
            node.launch(crash_at=crash_at)
        reviver = gevent.spawn(self._revive)
        result = self._wait_for(gevent.spawn(self._do_job), "done the job")
        self._rest()
        reviver.kill()
        if self._kills == 0:
            self._stop()  # That writes, too.
            if self._kills == 0:
                self._look_at_stores(result)
                return False
            for node in self._nodes:
                node.launch()
            self._rest()
        for check in self._scenario.checks:
            check(self._network, result)
        self._rest()
        self._stop()
        self._look_at_stores(result)
        return True

    def _revive(self) -> None:
        """Start the victim again as soon as it is dead."""
        victim = self._victim
        code = victim.wait_for_exit(SECONDS_MAX)
        assert code == SIGKILLED, f"{victim.short_name} ended by itself:\n{victim.output()}"
        self._kills += 1
        victim.launch()

    def _do_job(self) -> FlowResult:
        with self._network.node(self._scenario.asked).connect(connect_seconds=SECONDS_MAX) as rpc:
            return self._scenario.job(rpc)

    def _wait_for(self, job: "gevent.Greenlet[[], T]", meaning: str) -> T:
        for _ in range(SECONDS_MAX):
            job.join(1.0)
            if job.ready():
                return job.get()
            holding = [node.short_name for node in self._nodes if holds_a_flow(node)]
            assert holding == [], f"the network has not {meaning}: nodes hold flows"
        raise AssertionError(f"the network has not {meaning} within {SECONDS_MAX} s")

    def _rest(self) -> None:
        """Wait until no flow lives anywhere and every message is acknowledged."""
        self._wait_for(gevent.spawn(self._until_idle), "come to rest")

    def _until_idle(self) -> None:
        while not all(is_idle(node) for node in self._nodes):
            gevent.sleep(0.02)

    def _stop(self) -> None:
        for node in self._nodes:
            node.ask_to_stop()
        for node in self._nodes:
            code = node.wait_for_exit(SECONDS_MAX)
            if code == SIGKILLED and node is self._victim and self._kills == 0:
                self._kills += 1
            else:
                assert code == 0, f"{node.short_name} ended with {code}:\n{node.output()}"

    def _look_at_stores(self, result: FlowResult) -> None:
        spaces = (*RUNTIME_SPACES, *self._scenario.spaces)
        for node in self._nodes:
            with node.store() as store:
                left = {
                    space.name: sum(1 for _ in store.scan(space, b"", None)) for space in spaces
                }
                assert left == dict.fromkeys(left, 0), f"{node.short_name} has something left"
                for check in self._scenario.store_checks:
                    check(node.short_name, store, result)


RUNTIME_SPACES: Final = (JOURNAL, OUTBOX, INBOX, HELD)


def is_idle(node: NodeProcess) -> bool:
    """Tell whether the node is up, has no flow and waits for no acknowledgement."""
    info = info_of(node)
    return info is not None and info.flows_live == 0 and info.unacknowledged == 0


def holds_a_flow(node: NodeProcess) -> bool:
    """Tell whether a flow is held for the operator, where nobody is; the others would wait long."""
    info = info_of(node)
    return info is not None and info.flows_held > 0


def info_of(node: NodeProcess) -> NodeInfo | None:
    """Ask the node; None if it was just killed and is about to be started again."""
    try:
        node.wait_until_up()
        return node.rpc.info()
    except NodeUnreachable:
        return None
    except NodeProcessFailed:
        if node.exit_code == SIGKILLED:
            return None
        raise
