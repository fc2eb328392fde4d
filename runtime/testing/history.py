"""One history of a network under faults, while it happens. See `runtime.testing.simulation`."""

import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from runtime.core import envelopes
from runtime.core.envelopes import Answer
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

CALLBACKS_MAX: Final = 300_000
"""A history that takes more never ends."""


class Simulation:
    """Implements `runtime.testing.network.Disk`."""

    def __init__(self, seed: int, plan: FaultPlan, *, is_traced: bool) -> None:
        self.seed = seed
        self.plan = plan
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

    def run(self, scenario: Callable[[World], None]) -> list[str]:
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
        finally:
            self.world.close()
        return self.recorder.problems

    @property
    def simulated_seconds(self) -> float:
        """How long it took the nodes."""
        return (self.clock.now_ms() - self._began_ms) / 1000

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
        self.world.mended()

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
        self._late = checks.LateMessages(self.network, self.recorder)
        yield from self._late.check()
        yield from checks.results_forgotten(self.world)
        self._run_until_idle()
        yield from checks.nothing_left(self.network)

    def _check_state(self) -> Iterator[str]:
        yield from checks.requests_ended(self.world)
        self._run_until_idle()
        yield from checks.nothing_left(self.network)
        for check in self.world.checks:
            try:
                check()
            except AssertionError as error:
                yield f"{getattr(check, '__qualname__', check)}: {error}"

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
                node.move_clock(jump_ms)
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
            if isinstance(envelope, Answer):
                late.was_answered(link, envelope)

    def submitted(self, node: SimulatedNode, batch: Batch) -> None:
        """See `runtime.testing.network.Disk`."""
        due = self.clock.now_ms() + self.plan.commit_ms()
        self.loop.call_at(due, partial(self._commit, node, node.store))

    def landed(self, node: SimulatedNode, batch: Batch) -> None:
        """See `runtime.testing.network.Disk`."""
        self.recorder.landed(node, batch)
        self.world.landed(node, batch)

    def _commit(self, node: SimulatedNode, store: MemoryStore) -> None:
        if node.store is not store or not store.waiting:
            return
        fate = self.plan.commit(node.name)
        if fate is Fate.CRASH_BEFORE:
            self.crash(node)
            return
        store.make_durable(1)
        if fate is Fate.CRASH_AFTER:
            self.crash(node)
