"""Lists of flows, page by page: what a page shows, and that it reads little more than that."""

from collections.abc import Callable, Iterator

import pytest

from runtime.engine.flow_ids import flow_id_at, new_key
from runtime.engine.results import RESULTS, Result, encode_row
from runtime.errors import UnknownFlow
from runtime.node_operations import EngineOperations
from runtime.operations import FLOWS_EXAMINED_MAX, FlowFilter
from runtime.ports import Batch, Space, Store
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.test_node_operations import add, linger, operations, start

KEPT = 5_000


class CountingStore:
    """A store that counts the rows that are read from it."""

    def __init__(self, store: Store) -> None:
        self.rows_read = 0
        self._store = store

    def get(self, space: Space, key: bytes) -> bytes | None:
        self.rows_read += 1
        return self._store.get(space, key)

    def scan(self, space: Space, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        for row in self._store.scan(space, start, end):
            self.rows_read += 1
            yield row

    def latest(self, space: Space, before: bytes | None, count: int) -> list[tuple[bytes, bytes]]:
        rows = self._store.latest(space, before, count)
        self.rows_read += len(rows)
        return rows

    def submit(self, batch: Batch, on_durable: Callable[[], None]) -> None:
        self._store.submit(batch, on_durable)

    def close(self) -> None:
        self._store.close()


@pytest.fixture
def network() -> SimulatedNetwork:
    return SimulatedNetwork()


@pytest.fixture
def node(network: SimulatedNetwork) -> SimulatedNode:
    """Return a node that has kept the results of thousands of flows."""
    node = network.node("Alice", apps=[add, linger])
    batch = Batch()
    for number in range(KEPT):
        key = new_key(1_000 + number, bytes(10))
        name = "ops.rare" if number < 3 else "ops.often"
        kept = Result(name, 1, "ann", str(number), 1_000 + number, 2_000, "completed", b"", None)
        batch.put(RESULTS, key, encode_row(kept))
    node.store.submit(batch, lambda: None)
    network.run()
    return node


def counted(node: SimulatedNode) -> tuple[EngineOperations, CountingStore]:
    store = node.running.commits.store = CountingStore(node.running.commits.store)
    return operations(node), store


def kept_id(number: int) -> str:
    return flow_id_at(new_key(1_000 + number, bytes(10)))


@pytest.mark.parametrize("limit", [1, 50, 1_000])
def test_a_page_of_thousands_of_results_reads_what_it_shows_and_one_more(
    node: SimulatedNode, limit: int
) -> None:
    asked, store = counted(node)

    page = asked.flows(FlowFilter(limit=limit))

    assert [row.id for row in page.rows] == [kept_id(KEPT - 1 - i) for i in range(limit)]
    assert page.rest_before == page.rows[-1].id
    assert store.rows_read == limit + 1


def test_pages_follow_each_other_without_gap_or_overlap_to_the_end(
    network: SimulatedNetwork, node: SimulatedNode
) -> None:
    lately = start(node, add, 1, 2, client_id="lately")
    network.run_for(1)
    live = start(node, linger, client_id="live")
    asked, store = counted(node)
    seen: list[str] = []
    before: str | None = None
    while not seen or before is not None:
        page = asked.flows(FlowFilter(limit=700, before=before))
        seen += [row.id for row in page.rows]
        before = page.rest_before

    assert seen == [live, lately, *(kept_id(KEPT - 1 - i) for i in range(KEPT))]
    assert store.rows_read <= KEPT + 2 * (KEPT // 700 + 1)


def test_a_filter_that_hardly_anything_fits_is_bounded_and_can_go_on(node: SimulatedNode) -> None:
    asked, store = counted(node)
    pages = [asked.flows(FlowFilter(name="*.rare", limit=2))]
    assert pages[0].rows == []
    assert store.rows_read < FLOWS_EXAMINED_MAX + 3

    while pages[-1].rest_before is not None:
        pages.append(asked.flows(FlowFilter(name="*.rare", limit=2, before=pages[-1].rest_before)))

    assert [row.id for page in pages for row in page.rows] == [kept_id(2), kept_id(1), kept_id(0)]
    assert len(pages) == KEPT // FLOWS_EXAMINED_MAX + 2


def test_what_was_written_but_not_handed_to_the_store_is_listed(node: SimulatedNode) -> None:
    commits = node.running.commits
    newest, oldest = new_key(10**6, bytes(10)), new_key(1_000, bytes(10))
    commits.put(RESULTS, newest, encode_row(Result("x", 1, "", None, 1, 2, "completed", b"", None)))
    commits.delete(RESULTS, new_key(1_000 + KEPT - 1, bytes(10)))
    asked, _ = counted(node)

    page = asked.flows(FlowFilter(limit=2))
    rest = asked.flows(FlowFilter(limit=2, before=flow_id_at(oldest)))

    assert [row.id for row in page.rows] == [flow_id_at(newest), kept_id(KEPT - 2)]
    assert (rest.rows, rest.rest_before) == ([], None)


def test_a_page_before_what_is_no_id_is_refused(node: SimulatedNode) -> None:
    asked, _ = counted(node)

    with pytest.raises(UnknownFlow, match="is no flow id"):
        asked.flows(FlowFilter(before="yesterday"))
