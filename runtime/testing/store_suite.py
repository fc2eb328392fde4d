"""What the suites for stores are made of: a harness, and a few things to do with a store."""

from collections.abc import Callable, Iterator
from typing import Final, Protocol

import pytest

from runtime.ports import Batch, Space, Store

FLOWS: Final = Space("flows")
JOURNAL: Final = Space("journal", write_once=True)
OTHER: Final = Space("other")


class StoreHarness(Protocol):
    """What the suite needs to know about a kind of store."""

    def open(self) -> Store:
        """Return the store with all that is durable; the one opened before is closed."""

    def wait(self, start: Callable[[Callable[[], None]], None]) -> None:
        """Call ``start`` with a function, run the loop, and return once that was called."""

    def rest(self, store: Store) -> None:
        """Run the loop until the store has no work of its own left, such as merging."""


def put(space: Space, rows: dict[bytes, bytes | None]) -> Batch:
    """Return a batch of these writes to one space."""
    return Batch({space: rows})


def rows_of(store: Store, space: Space) -> list[tuple[bytes, bytes]]:
    """Return all rows of a space."""
    return list(store.scan(space, b"", None))


def ignore() -> None:
    """Do nothing when a batch is durable."""


class StoreSuite:
    """The base of all suites; a test class inherits from it and defines the fixture ``harness``."""

    @pytest.fixture
    def store(self, harness: StoreHarness) -> Iterator[Store]:
        """Open a store for one test."""
        store = harness.open()
        yield store
        store.close()

    def submit(self, harness: StoreHarness, store: Store, batch: Batch) -> None:
        """Submit ``batch`` and wait until it is durable."""
        harness.wait(lambda done: store.submit(batch, done))

    def settle(self, harness: StoreHarness, store: Store) -> None:
        """Wait until everything submitted is durable."""
        self.submit(harness, store, Batch())

    def reopen(self, harness: StoreHarness, store: Store) -> Store:
        """Close the store and open it again."""
        store.close()
        return harness.open()
