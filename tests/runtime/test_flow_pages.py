"""Lists of flows, page by page: what a page shows, and that it reads little more than that."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from runtime import HoldForOperator, flow
from runtime.cli.matching import FLOWS_SHOWN, first_id_after
from runtime.engine.flow_ids import flow_id_at, new_key
from runtime.engine.result_index import RESULT_INDEX, keep_result
from runtime.engine.results import RESULTS, Result, encode_row
from runtime.errors import FlowException, UnknownFlow
from runtime.ids import ErrorId, UserName
from runtime.node_operations import EngineOperations
from runtime.operations import FlowFilter
from runtime.outcome_codec import encode_outcome
from runtime.ports import Batch, Space, Store, StoreStatus
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.test_node_operations import add, linger, start

KEPT = 5_000
ROWS_READ_BESIDE = 300
NO_RESULT = encode_outcome(FlowException("no"), ErrorId("e1"))


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

    def status(self) -> StoreStatus:
        return self._store.status()

    def close(self) -> None:
        self._store.close()


class RecordingStore(CountingStore):
    """A store that remembers what is written."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.batches: list[Batch] = []

    def submit(self, batch: Batch, on_durable: Callable[[], None]) -> None:
        self.batches.append(batch)
        super().submit(batch, on_durable)


S = TypeVar("S", bound=CountingStore)


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
        user = "bea" if number % 1_000 == 7 else "ann"
        status = "failed" if number % 1_000 == 9 else "completed"
        kept = Result(name, 1, user, str(number), 1_000 + number, 2_000, status, NO_RESULT, None)
        keep_result(batch, key, kept)
    node.store.submit(batch, lambda: None)
    network.run()
    return node


@flow(name="ops.give_up")
def give_up() -> None:
    raise HoldForOperator("look at it")


@flow(name="ops.give_up")
def give_up_no_more() -> None:
    """Return at once."""


def count_of(node: SimulatedNode, space: Space) -> int:
    return sum(1 for _ in node.host.scan(space, b"", None))


def watch_store(node: SimulatedNode, kind: type[S]) -> S:
    """Have the engine of a node read and write by a store that counts or records."""
    commits = node.running.commits
    commits.store = store = kind(commits.store)
    return store


def counted(node: SimulatedNode) -> tuple[EngineOperations, CountingStore]:
    return node.operations, watch_store(node, CountingStore)


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
    assert store.rows_read < 3 * limit + ROWS_READ_BESIDE


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
    assert store.rows_read < 3 * KEPT


FILTERS = {
    "a name": (FlowFilter(name="ops.rare"), [2, 1, 0]),
    "a pattern of names": (FlowFilter(name="*.r*"), [2, 1, 0]),
    "a user": (FlowFilter(user="bea"), [4_007, 3_007, 2_007, 1_007, 7]),
    "a status": (FlowFilter(statuses=["failed"]), [4_009, 3_009, 2_009, 1_009, 9]),
    "statuses": (FlowFilter(statuses=["failed", "held"]), [4_009, 3_009, 2_009, 1_009, 9]),
    "a user and a status": (FlowFilter(user="bea", statuses=["failed"]), []),
    "a name and a status": (FlowFilter(name="ops.rare", statuses=["failed"]), []),
    "a name and a user": (FlowFilter(name="*often", user="bea", limit=2), [4_007, 3_007]),
    "a time": (FlowFilter(user="bea", since_ms=1_000 + 3_000), [4_007, 3_007]),
    "only a time": (FlowFilter(since_ms=1_000 + KEPT - 2), [KEPT - 1, KEPT - 2]),
    "what nobody has": (FlowFilter(user="carl"), []),
    "what no name fits": (FlowFilter(name="*.other"), []),
    "a page before": (
        FlowFilter(user="bea", before=flow_id_at(new_key(2_500, bytes(10)))),
        [1_007, 7],
    ),
}


@pytest.mark.parametrize("case", FILTERS)
def test_a_filter_finds_all_that_fits_at_once_and_reads_little_else(
    node: SimulatedNode, case: str
) -> None:
    wanted, found = FILTERS[case]
    asked, store = counted(node)

    page = asked.flows(wanted)

    assert [row.id for row in page.rows] == [kept_id(number) for number in found]
    assert store.rows_read < ROWS_READ_BESIDE


def test_held_flows_are_found_behind_thousands_of_newer_ones(
    network: SimulatedNetwork, node: SimulatedNode
) -> None:
    node.host.register(give_up)
    held = node.begin_flow(give_up).id
    network.run_for(1)
    for _ in range(3_000):
        node.begin_flow(linger)
    network.run_for(1)

    asked = node.operations
    by_status = asked.flows(FlowFilter(statuses=["held"]))
    by_name = asked.flows(FlowFilter(name="*.give_up"))
    by_other = asked.flows(FlowFilter(name="*.give_up", statuses=["waiting", "completed"]))

    assert [row.id for row in by_status.rows] == [row.id for row in by_name.rows] == [held]
    assert (by_status.rest_before, by_name.rest_before, by_other.rows) == (None, None, [])


def test_a_flow_that_is_held_no_more_is_listed_as_what_it_is(
    network: SimulatedNetwork, node: SimulatedNode
) -> None:
    node.host.register(give_up)
    ids = [node.begin_flow(give_up).id for _ in range(3)]
    network.run_for(1)
    asked = node.operations

    asked.kill(ids[0])
    node.restart(apps=[add, linger])
    asked = node.operations
    node.host.register(give_up_no_more)
    asked.retry(ids[1])
    network.run_for(1)

    held = [row.id for row in asked.flows(FlowFilter(statuses=["held"])).rows]
    assert held == [ids[2]]
    assert asked.info().flows_held == 1


def test_what_is_forgotten_leaves_no_row_of_the_index(node: SimulatedNode) -> None:
    before = count_of(node, RESULT_INDEX)
    flow_id = start(node, add, 1, 2, client_id="once")
    between = count_of(node, RESULT_INDEX)
    user = UserName(node.flow(flow_id).row.user)

    node.operations.forget(user, "once")

    assert (between - before, count_of(node, RESULT_INDEX)) == (2, before)


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


def test_a_result_and_its_index_come_and_go_in_the_same_batch(node: SimulatedNode) -> None:
    store = watch_store(node, RecordingStore)
    flow_id = start(node, add, 1, 2, client_id="once")
    user = UserName(node.flow(flow_id).row.user)

    node.operations.forget(user, "once")

    written = [
        tuple(len(batch.writes.get(space, {})) for space in (RESULTS, RESULT_INDEX))
        for batch in store.batches
        if RESULTS in batch.writes or RESULT_INDEX in batch.writes
    ]
    assert written == [(1, 2), (1, 2)]


def test_the_beginning_of_an_id_is_found_behind_any_number_of_newer_flows(
    node: SimulatedNode,
) -> None:
    asked = node.operations
    oldest = flow_id_at(new_key(1_000, bytes(10)))
    after = first_id_after(oldest[:-6])

    rows = asked.flows(FlowFilter(limit=FLOWS_SHOWN, before=after)).rows

    assert [row.id for row in rows] == [oldest]
