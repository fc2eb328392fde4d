"""Reading through the open batch: what is written, or deleted, and not submitted yet."""

import pytest

from runtime.core.events import JOURNAL
from runtime.engine.commits import Commits
from runtime.ports import Space, keys_of
from runtime.testing.network import SimulatedNetwork

KEEP, END = b"keep" * 4, b"end!" * 4


@pytest.fixture
def commits() -> Commits:
    """Two series of three rows, durable; in the open batch one of them is deleted."""
    network = SimulatedNetwork()
    commits = network.node("Alice").running.commits
    for prefix in (KEEP, END):
        for key in keys_of((prefix, 3)):
            commits.put(JOURNAL, key, b"v")
    network.run()
    commits.batch.delete_series(JOURNAL, END, 3)
    return commits


def test_a_series_that_the_open_batch_deletes_is_gone_at_once(commits: Commits) -> None:
    # Breaks when a flow that has ended is found again before its end is submitted.
    kept = [(key, b"v") for key in keys_of((KEEP, 3))]

    assert [commits.get(JOURNAL, key) for key in keys_of((END, 3))] == [None] * 3
    assert list(commits.scan(JOURNAL, b"", None)) == kept
    assert commits.latest(JOURNAL, None, 9) == kept[::-1]


def test_the_rest_is_there(commits: Commits) -> None:
    commits.put(JOURNAL, KEEP + b"\0\0\0\3", b"new")

    assert commits.get(JOURNAL, KEEP + b"\0\0\0\0") == b"v"
    assert commits.get(JOURNAL, KEEP + b"\0\0\0\3") == b"new"
    assert [key for key, _ in commits.scan(JOURNAL, b"", None)] == keys_of((KEEP, 4))


def test_a_durable_row_that_is_put_and_deleted_in_one_batch_is_gone() -> None:
    # Breaks when the two cancel each other: then the older row is back.
    network = SimulatedNetwork()
    commits = network.node("Alice").running.commits
    space = Space("rewritten")
    commits.put(space, b"key", b"older")
    network.run()
    commits.put(space, b"key", b"newer")
    commits.delete(space, b"key")

    before = commits.get(space, b"key")
    commits.wake()
    network.run()

    assert before is None
    assert commits.get(space, b"key") is None
    assert commits.store.get(space, b"key") is None
