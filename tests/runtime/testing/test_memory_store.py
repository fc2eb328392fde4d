"""What the store in memory can do beyond the suite: wait for permission, and crash."""

import gevent
import pytest

from runtime.edge.gevent_loop import GeventLoop
from runtime.edge.system_clock import SystemClock
from runtime.errors import StoreError
from runtime.ports import Batch, Space
from runtime.testing.memory_store import MemoryStore

FLOWS = Space("flows")
JOURNAL = Space("journal", write_once=True)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(GeventLoop(SystemClock()), manual=True)


def submit(store: MemoryStore, called: list[int], count: int) -> None:
    for number in range(count):
        store.submit(
            Batch({FLOWS: {b"%d" % number: b"v"}}),
            lambda number=number: called.append(number),  # type: ignore[misc]
        )


def test_batches_wait_for_permission_in_order(store: MemoryStore) -> None:
    called: list[int] = []
    submit(store, called, 4)
    gevent.sleep(0)
    before = list(called)
    store.make_durable(1)
    inside = list(called)
    gevent.sleep(0)
    one = list(called)
    store.make_durable()
    gevent.sleep(0)

    assert (before, inside, one, called) == ([], [], [0], [0, 1, 2, 3])
    assert store.waiting == 0


def test_a_crash_loses_exactly_what_is_not_durable(store: MemoryStore) -> None:
    submit(store, [], 4)
    store.make_durable(2)
    survivor = store.crash()

    assert [key for key, _ in survivor.scan(FLOWS, b"", None)] == [b"0", b"1"]
    assert survivor.get(FLOWS, b"2") is None


def test_a_crash_takes_the_callbacks_with_it(store: MemoryStore) -> None:
    called: list[int] = []
    submit(store, called, 4)
    store.make_durable(2)
    store.crash()
    gevent.sleep(0)

    assert called == []
    with pytest.raises(StoreError, match="closed"):
        store.submit(Batch(), lambda: None)


def test_a_crash_of_a_store_that_needs_no_permission_takes_the_callbacks_with_it() -> None:
    called: list[int] = []
    store = MemoryStore(GeventLoop(SystemClock()))
    submit(store, called, 2)
    survivor = store.crash()
    gevent.sleep(0)

    assert called == []
    assert list(survivor.scan(FLOWS, b"", None)) == []


def test_a_survivor_can_crash_again(store: MemoryStore) -> None:
    store.submit(Batch({JOURNAL: {b"a": b"1", b"b": b"2"}}), lambda: None)
    store.make_durable()
    second = store.crash()
    second.submit(Batch({JOURNAL: {b"a": None}}), lambda: None)
    second.make_durable()
    second.submit(Batch({JOURNAL: {b"b": None}}), lambda: None)
    third = second.crash()

    assert list(third.scan(JOURNAL, b"", None)) == [(b"b", b"2")]
    assert third.waiting == 0


def test_deletions_take_no_room(store: MemoryStore) -> None:
    for number in range(10):
        store.submit(Batch({FLOWS: {b"%d" % number: b"v"}}), lambda: None)
        store.submit(Batch({FLOWS: {b"%d" % number: None}}), lambda: None)

    assert store._rows.row_count() == 0
