"""The outside world as Protocols: the only way from the engine to disk, network, time and chance.

Each promise is checked by `runtime.testing.conformance` for every adapter, real or fake.
Nothing above the store may assume that it is the only process; nothing here blocks the loop.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol, TypeVar

import greenlet

from runtime import checks
from runtime.ids import FlowId, PeerName

T = TypeVar("T")


class Space:
    """A named ordered map of byte keys to byte values inside a store.

    In a ``write_once`` space a key is put at most once, deleted at most once and never used again;
    a store may use that to forget the key altogether when both happen soon after another. There a
    series, rows that are numbered below a prefix, can be deleted as one.

    Equal spaces are one object: every write looks one up, and identity is the fastest hash.
    """

    __slots__ = ("name", "write_once")
    _known: ClassVar[dict[tuple[str, bool], "Space"]] = {}

    name: str
    write_once: bool

    def __new__(cls, name: str, write_once: bool = False) -> "Space":
        """Return the space of this name."""
        checks.name(name, "Space(name)")
        checks.truth(write_once, "Space(write_once=...)")
        known = cls._known.get((name, write_once))
        if known is None:
            known = super().__new__(cls)
            known.name = name
            known.write_once = write_once
            cls._known[name, write_once] = known
        return known

    def __repr__(self) -> str:
        return f"Space({self.name!r}, write_once={self.write_once})"


Series = tuple[bytes, int]
"""A prefix of keys, and how many keys there are: the prefix and a number each, from 0 on."""


NUMBER_BYTES: Final = 4
"""Of a number in a key of a series, big-endian."""


NUMBERS: Final = tuple(number.to_bytes(NUMBER_BYTES, "big") for number in range(256))
"""The first numbers, as they stand in keys: most series are short."""


def keys_of(series: Series) -> list[bytes]:
    """Return the keys of all rows of a series."""
    prefix, count = series
    if count <= len(NUMBERS):
        return [prefix + number for number in NUMBERS[:count]]
    return [prefix + number.to_bytes(NUMBER_BYTES, "big") for number in range(count)]


@dataclass(slots=True)
class Batch:
    """Writes that become durable together or not at all. The last write to a key wins.

    What is in a deleted series is not written by the same batch.
    """

    writes: dict[Space, dict[bytes, bytes | None]] = field(default_factory=dict)
    absent: list[tuple[Space, bytes]] = field(default_factory=list)
    deleted_series: dict[Space, list[Series]] = field(default_factory=dict)

    def put(self, space: Space, key: bytes, value: bytes) -> None:
        """Write ``value``; an earlier one is replaced."""
        self.writes.setdefault(space, {})[key] = value

    def delete(self, space: Space, key: bytes) -> None:
        """Remove ``key``; it is no error if it does not exist."""
        self.writes.setdefault(space, {})[key] = None

    def delete_series(self, space: Space, prefix: bytes, count: int) -> None:
        """Remove the first ``count`` rows of a series, of a write-once space, as one."""
        assert space.write_once
        self.deleted_series.setdefault(space, []).append((prefix, count))

    def require_absent(self, space: Space, key: bytes) -> None:
        """Refuse the whole batch if ``key`` exists in what was submitted before."""
        self.absent.append((space, key))

    def __bool__(self) -> bool:
        return any(self.writes.values()) or bool(self.deleted_series)


KEY_BYTES_MAX: Final = 500
"""LMDB is built with 511; a little less is left for an adapter's own prefix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatus:
    """How a store does. ``size_bytes`` is what it takes of its disk, ``free_bytes`` what is left.

    Without a disk, or if it does not tell, they are None. ``trouble`` says why nothing can be
    written just now, and ``trouble_ms`` for how long that has been; it is tried again.
    """

    batches: int
    batches_waiting: int = 0
    size_bytes: int | None = None
    free_bytes: int | None = None
    synced_ms_ago: int | None = None
    trouble: str = ""
    trouble_ms: int = 0


class Store(Protocol):
    """Ordered maps of byte keys, written by atomic batches."""

    def get(self, space: Space, key: bytes) -> bytes | None:
        """Return the value as of all batches submitted so far, durable or not."""

    def scan(self, space: Space, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs with ``start <= key < end`` (``None``: to the last) in order of the keys.

        It sees all batches submitted before the call, and is not disturbed by later ones.
        """

    def latest(self, space: Space, before: bytes | None, count: int) -> list[tuple[bytes, bytes]]:
        """Return the last ``count`` pairs with ``key < before`` (``None``: of all), last first.

        As of all batches submitted so far; it reads little more than it returns.
        """

    def submit(self, batch: Batch, on_durable: Callable[[], None]) -> None:
        """Take ``batch``; call ``on_durable`` from the loop once it will survive a crash.

        Batches become durable in the order of their submission. Raises `KeyPresentError` (and
        takes nothing) if a key that must be absent exists; a key longer than `KEY_BYTES_MAX` is a
        ValueError. A passing failure of the device is retried for ever and reported as an alarm.
        The caller must not change the batch afterwards.
        """

    def status(self) -> StoreStatus:
        """Return how it does."""

    def close(self) -> None:
        """Wait until everything submitted is durable (its callbacks may be dropped), and let go."""


class Receiver(Protocol):
    """What a transport calls, from the loop, never from inside `Transport.send`."""

    def frame_arrived(self, peer: PeerName, envelopes: list[bytes]) -> None:
        """Take envelopes that ``peer``, authenticated by the link, has sent."""

    def peer_reachable(self, peer: PeerName) -> None:
        """Learn that a link to ``peer`` has come up or come back; what was sent may be lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """Whether a peer that something was sent to can be reached, and for how long that has been.

    ``for_ms`` is None if the transport has no clock.
    """

    peer: PeerName
    is_up: bool
    for_ms: int | None = None


class Transport(Protocol):
    """Links to peers. Best effort: it may lose, repeat or reorder frames, never alter them."""

    def start(self, receiver: Receiver) -> None:
        """Begin to listen and to deliver to ``receiver``."""

    def send(self, peer: PeerName, envelopes: list[bytes]) -> None:
        """Send towards ``peer``, in few frames; never blocks. Unknown or absent peers lose it."""

    def links(self) -> list[LinkState]:
        """Return the state of each link to a peer."""

    def close(self) -> None:
        """Stop delivering and let go of every link."""


class Timer(Protocol):
    """A pending call."""

    def cancel(self) -> None:
        """Make sure that the call does not happen (any more)."""


class Signal(Protocol):
    """A one-time occurrence that greenlets can wait for."""

    def set(self) -> None:
        """Let all waiters go on, now and later."""

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Block the calling greenlet (no flow, not the hub) until set; False on time-out."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A flow that was running at the last ``deaths`` ends, with so many events in its journal."""

    key: bytes
    deaths: int
    events: int


class RunNote(Protocol):
    """What is remembered of who had the loop, whatever ends the process; a flow is named by key."""

    suspicion: Suspicion | None
    """Kept for the next start."""

    @property
    def running(self) -> bytes | None:
        """The flow that was entered last and not left."""

    def enter(self, key: bytes) -> None:
        """Note that this flow has the loop now. Fast; any thread may call it."""

    def leave(self) -> None:
        """Note that no flow has it any more."""

    def close(self) -> None:
        """Let go of it; what is noted afterwards is forgotten. Idempotent."""


@dataclass(frozen=True, slots=True)
class Occupant:
    """What runs in a native thread, and for how long. ``is_left``: nobody waits for it any more."""

    what: str
    for_ms: int
    is_left: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadUse:
    """How many steps run in native threads at the most, how many wait, and which run."""

    threads_max: int = 0
    waiting: int = 0
    occupants: list[Occupant] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What the thread of the loop was seen to do: in words, and of which flow, if of one."""

    words: str
    flow_id: FlowId | None
    flow: str | None


class Loop(Protocol):
    """The event loop that flows live on. `hub` is the greenlet to switch to when a flow waits."""

    @property
    def hub(self) -> greenlet.greenlet:
        """Return the greenlet that runs the loop."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call once, from the hub, in a later turn of the loop."""

    def call_after(self, delay_ms: int, callback: Callable[[], None]) -> Timer:
        """Call once, from the hub, ``delay_ms`` from now, whatever the wall clock does."""

    def call_at(self, time_ms: int, callback: Callable[[], None]) -> Timer:
        """Call once, from the hub, when the wall clock has reached ``time_ms``; soon if it has.

        A clock that is set while this waits is noticed within `WALL_CLOCK_LOOK_MS`. A wait that is
        not longer than that does not look at it any more.
        """

    def signal(self) -> Signal:
        """Return a new signal, not set."""

    def in_loop(self, function: Callable[[], T], timeout_seconds: float | None = None) -> T:
        """Call ``function`` in a greenlet of the loop's thread and return its result.

        In that thread it is just called. Another thread waits; after ``timeout_seconds`` it raises
        TimeoutError, and the call goes on.
        """

    def run_in_thread(self, function: Callable[[], object], what: str = "") -> object:
        """Run ``function`` in a native thread; only the calling greenlet waits for its result.

        ``what`` says in words what runs there, for `threads` and for the log. If there is no thread
        for it, it waits for one. A greenlet that is taken down does not wait for the thread.
        """

    def threads(self) -> ThreadUse:
        """Return what the threads do."""

    def call_from_thread(self, callback: Callable[[], None]) -> None:
        """Call once, from the hub; any thread may ask for it."""


class Clock(Protocol):
    """Wall time, which people and programs set, and steady time, which nobody does."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970 UTC."""

    def steady_ms(self) -> int:
        """Return milliseconds since some instant of this process's life; it never goes back.

        For lengths of time only: it means nothing to another process, or after a restart.
        """


class Entropy(Protocol):
    """Randomness."""

    def random_bytes(self, size: int) -> bytes:
        """Return ``size`` unpredictable bytes."""
