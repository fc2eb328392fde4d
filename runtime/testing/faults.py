"""`FaultPlan`: which faults a history has, how often, and when, all from one seed.

Swarm style: a seed first draws which kinds of fault exist in its history and how common each one
is. A history with every fault at once tends to find the same shallow mistakes again and again; one
with a single kind, very often, gets to places that the others never see.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final

from runtime.testing.memory_transport import Delivery

DAY_MS: Final = 24 * 60 * 60 * 1000


class Fault(Enum):
    """One kind of fault."""

    LOSS = "frames are lost"
    REPEAT = "frames arrive twice"
    DELAY = "frames are late"
    REORDER = "envelopes overtake each other"
    CUT = "links are cut"
    CRASH_BEFORE_COMMIT = "nodes crash just before a commit lands"
    CRASH_AFTER_COMMIT = "nodes crash just after a commit has landed"
    CRASH = "nodes crash at any time"
    STOP = "nodes are stopped in good order"
    LONG_OUTAGE = "nodes and links stay away for days"
    CLOCK = "clocks jump"
    SKEW = "clocks differ"
    SLOW_DISK = "disks are slow"
    SHUFFLE = "callbacks run in any order"
    REPLAY = "flows are rebuilt from their journals each time that they have waited"
    STRANGER = "a stranger repeats and forges messages"


class Fate(Enum):
    """What becomes of a commit."""

    LANDS = "lands"
    CRASH_BEFORE = "crash before it lands"
    CRASH_AFTER = "crash after it landed, before anybody hears of it"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashAt:
    """A crash of one node at one of its commits; the first has number 1."""

    node: str
    commit: int
    fate: Fate

    @classmethod
    def parse(cls, text: str) -> "CrashAt":
        """Read what `str` gives: ``Alice:5:CRASH_BEFORE``."""
        node, commit, fate = text.split(":")
        return cls(node=node, commit=int(commit), fate=Fate[fate])

    def __str__(self) -> str:
        return f"{self.node}:{self.commit}:{self.fate.name}"


STRIKES: Final = (Fault.CRASH, Fault.STOP, Fault.CUT, Fault.CLOCK, Fault.STRANGER)
"""Kinds that come between two callbacks of the loop."""


class FaultPlan:
    """Answers, again and again, what goes wrong now.

    ``kinds`` are there instead of those that the seed draws; if ``crash`` is given, it is all.
    """

    def __init__(
        self, seed: int, kinds: Sequence[Fault] | None = None, *, crash: CrashAt | None = None
    ) -> None:
        self.random = random = Random(f"faults {seed}")
        drawn = {kind for kind in Fault if random.random() < 0.45}
        if crash is not None:
            kinds = ()
        self.kinds: frozenset[Fault] = frozenset(drawn if kinds is None else kinds)
        self.crash = crash
        self.commits: Counter[str] = Counter()
        self._rates = {kind: 10 ** random.uniform(-2.0, -0.3) for kind in Fault}
        self._latency_ms = random.choice((0, 1, 5, 40))
        self._delay_ms_max = random.choice((20, 300, 5_000))
        self._commit_ms_max = random.choice((0, 2, 20))
        self._down_ms_mean = random.choice((10, 500, 20_000))
        self._strike_gap = 10 ** random.uniform(0.7, 2.3)
        self._until_strike = self._draw_gap()
        self._strikes = [kind for kind in STRIKES if kind in self.kinds]
        self.duration_ms = random.choice((2_000, 20_000, 200_000)) if self.kinds else DAY_MS
        self.crashes_left = random.choice((1, 3, 10, 30))
        self.is_over = False

    def describe(self) -> str:
        """Return the kinds of fault in words."""
        if self.crash is not None:
            return f"{self.crash.node} crashes at commit {self.crash.commit}"
        return ", ".join(kind.value for kind in Fault if kind in self.kinds) or "no faults"

    def end(self) -> None:
        """Let nothing go wrong any more."""
        self.is_over = True

    def frame(self, now_ms: int, envelopes: list[bytes]) -> list[Delivery]:
        """Return what arrives of a frame, and when."""
        if self.is_over:
            return [Delivery(envelopes)]
        if self._happens(Fault.LOSS):
            return []
        frames = [envelopes]
        if self._happens(Fault.REORDER):
            frames = [[envelope] for envelope in envelopes]
            self.random.shuffle(frames)
        if self._happens(Fault.REPEAT):
            frames += frames
        return [Delivery(frame, now_ms + self._transit_ms()) for frame in frames]

    def commit(self, node: str) -> Fate:
        """Return what becomes of the next commit of a node."""
        if self.is_over:
            return Fate.LANDS
        self.commits[node] += 1
        if self.crash is not None and self.crash.node == node:
            return self.crash.fate if self.crash.commit == self.commits[node] else Fate.LANDS
        if self.crashes_left > 0:
            if self._happens(Fault.CRASH_BEFORE_COMMIT):
                return Fate.CRASH_BEFORE
            if self._happens(Fault.CRASH_AFTER_COMMIT):
                return Fate.CRASH_AFTER
        return Fate.LANDS

    def commit_ms(self) -> int:
        """Return how long a commit takes."""
        if self._happens(Fault.SLOW_DISK):
            return self.random.randint(0, 5_000)
        return 0 if self.is_over else self.random.randint(0, self._commit_ms_max)

    def strike(self) -> Fault | None:
        """Return what happens before the next callback of the loop, if anything does."""
        self._until_strike -= 1
        if self._until_strike > 0 or self.is_over or not self._strikes:
            return None
        self._until_strike = self._draw_gap()
        return self.random.choice(self._strikes)

    def down_ms(self) -> int:
        """Return how long a node or a link stays away."""
        if self._happens(Fault.LONG_OUTAGE):
            return self.random.randint(0, 4 * DAY_MS)
        return round(self.random.expovariate(1 / self._down_ms_mean))

    def jump_ms(self) -> int:
        """Return how far a clock jumps: forward mostly, as one does that was off for a while.

        Less than a session is remembered, or what was under way could come to life again.
        """
        return self.random.choice((50, 5_000, 100_000, 1_000_000, -50, -5_000, -100_000))

    def skew_ms(self) -> int:
        """Return how much a new node's clock is ahead of the others."""
        return self.random.randint(0, 60_000) if Fault.SKEW in self.kinds else 0

    def thread_ms(self) -> int:
        """Return how long a native thread is busy with a step."""
        return self.random.randint(0, 50)

    def _transit_ms(self) -> int:
        if self._happens(Fault.DELAY) or self._happens(Fault.REORDER):
            return self.random.randint(0, self._delay_ms_max)
        return self._latency_ms

    def _happens(self, kind: Fault) -> bool:
        return not self.is_over and kind in self.kinds and self.random.random() < self._rates[kind]

    def _draw_gap(self) -> int:
        return 1 + round(self.random.expovariate(1 / self._strike_gap))
