"""Rows in memory, with the promises of a `StoreTxn`, for tests of the ledger's stores."""

from collections.abc import Iterator

from runtime.ports import Space


class MemoryRows:
    def __init__(self) -> None:
        self.spaces: dict[str, dict[bytes, bytes]] = {}

    def get(self, space: Space, key: bytes) -> bytes | None:
        return self.spaces.get(space.name, {}).get(key)

    def scan(self, space: Space, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        rows = self.spaces.get(space.name, {})
        found = sorted(key for key in rows if start <= key and (end is None or key < end))
        return iter([(key, rows[key]) for key in found])

    def put(self, space: Space, key: bytes, value: bytes) -> None:
        self.spaces.setdefault(space.name, {})[key] = value

    def delete(self, space: Space, key: bytes) -> None:
        self.spaces.get(space.name, {}).pop(key, None)

    def count(self, space: Space) -> int:
        return len(self.spaces.get(space.name, {}))
