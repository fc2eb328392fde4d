"""Every store passes the one suite."""

from collections.abc import Callable
from pathlib import Path

import gevent
import pytest
from gevent.hub import Waiter

from runtime.edge.gevent_loop import GeventLoop
from runtime.edge.lmdb_store import LmdbStore
from runtime.edge.system_clock import SystemClock
from runtime.ports import Store
from runtime.testing.memory_store import MemoryStore
from runtime.testing.store_conformance import StoreConformance
from runtime.testing.store_suite import StoreHarness


class GeventHarness:
    def wait(self, start: Callable[[Callable[[], None]], None]) -> None:
        waiter: Waiter[None] = Waiter()
        start(lambda: waiter.switch(None))
        waiter.get()

    def rest(self, store: Store) -> None:
        while isinstance(store, LmdbStore) and store.is_merging:
            gevent.sleep(0.001)


class MemoryHarness(GeventHarness):
    def __init__(self) -> None:
        self._store = MemoryStore(GeventLoop(SystemClock()))

    def open(self) -> Store:
        self._store = self._store.crash()
        return self._store


class LmdbHarness(GeventHarness):
    def __init__(self, path: Path, merge_rows: int) -> None:
        self._path = path
        self._merge_rows = merge_rows

    def open(self) -> Store:
        return LmdbStore(
            self._path, owner="A", map_bytes_first=65_536, merge_rows=self._merge_rows, sync=False
        )


class TestMemoryStore(StoreConformance):
    @pytest.fixture
    def harness(self) -> StoreHarness:
        return MemoryHarness()


class TestLmdbStore(StoreConformance):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> StoreHarness:
        return LmdbHarness(tmp_path / "store", merge_rows=50_000)


class TestLmdbStoreThatMergesAllTheTime(StoreConformance):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> StoreHarness:
        return LmdbHarness(tmp_path / "store", merge_rows=1)


class TestLmdbStoreThatMergesSometimes(StoreConformance):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> StoreHarness:
        return LmdbHarness(tmp_path / "store", merge_rows=37)
