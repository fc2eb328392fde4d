"""The view that an atomic function has of the store: its own writes over everything written."""

from collections.abc import Callable, Iterator
from typing import Final

from runtime import checks
from runtime.engine.commits import Commits, overlaid
from runtime.errors import ArgumentInvalid
from runtime.host import Host
from runtime.ports import KEY_BYTES_MAX, Space

# What the engine writes, and nobody else.
_ENGINES_OWN: Final = frozenset(
    {"journal", "inbox", "outbox", "tombstones", "client_ids", "results", "result_index", "held"}
)


class OpenTxn:
    """Implements `runtime.atomic.StoreTxn`; nothing reaches the open batch before `apply`."""

    def __init__(self, commits: Commits, host: Host) -> None:
        self._commits = commits
        self._host = host
        self._writes: dict[Space, dict[bytes, bytes | None]] = {}
        self._callbacks: list[Callable[[], None]] = []

    @property
    def host(self) -> Host:
        """See `runtime.atomic.StoreTxn`."""
        return self._host

    def get(self, space: Space, key: bytes) -> bytes | None:
        """See `runtime.atomic.StoreTxn`."""
        rows = self._writes.get(space)
        if rows is not None and key in rows:
            return rows[key]
        return self._commits.get(space, key)

    def scan(self, space: Space, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """See `runtime.atomic.StoreTxn`."""
        rows = {
            key: value
            for key, value in self._writes.get(space, {}).items()
            if key >= start and (end is None or key < end)
        }
        return overlaid(self._commits.scan(space, start, end), rows)

    def put(self, space: Space, key: bytes, value: bytes) -> None:
        """See `runtime.atomic.StoreTxn`."""
        _check_space(space)
        checks.instance(key, bytes, "put(key)", "bytes")
        checks.instance(value, bytes, "put(value)", "bytes")
        if not 0 < len(key) <= KEY_BYTES_MAX:
            raise ValueError(f"a key has 1 to {KEY_BYTES_MAX} bytes, this one {len(key)}")
        self._writes.setdefault(space, {})[key] = value

    def delete(self, space: Space, key: bytes) -> None:
        """See `runtime.atomic.StoreTxn`."""
        _check_space(space)
        checks.instance(key, bytes, "delete(key)", "bytes")
        if not 0 < len(key) <= KEY_BYTES_MAX:
            return
        self._writes.setdefault(space, {})[key] = None

    def on_durable(self, callback: Callable[[], None]) -> None:
        """See `runtime.atomic.StoreTxn`."""
        self._callbacks.append(callback)

    def apply(self) -> None:
        """Move the writes into the open batch."""
        for space, rows in self._writes.items():
            for key, value in rows.items():
                if value is None:
                    self._commits.delete(space, key)
                else:
                    self._commits.put(space, key, value)
        for callback in self._callbacks:
            self._commits.after(callback)
        if self._writes:
            self._commits.wake()


def _check_space(space: object) -> None:
    checks.instance(space, Space, "put(space)", 'a space, like Space("trades")')
    if isinstance(space, Space) and space.name in _ENGINES_OWN:
        raise ArgumentInvalid("put(space)", f"is {space}, the engine's own", "Use one of yours")
