"""The store on disk in daily life: callbacks, the event loop, merging, growing, closing."""

import gc
import os
import stat
import threading
import time
from pathlib import Path

import gevent
import pytest
from gevent.hub import Waiter

from runtime.edge.lmdb_store import LmdbStore
from runtime.edge.lmdb_writer import QueuedBatch
from runtime.errors import StoreError
from runtime.ports import Batch, Space
from tests.runtime.edge.power_cut import recorded_syncs
from tests.runtime.edge.store_helpers import (
    FLOWS,
    JOURNAL,
    all_rows,
    commit,
    finish_merging,
    ignore,
    rows,
    run_python,
    trees_of,
    wait_for,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


def numbered(start: int, stop: int, value: bytes = b"v") -> dict[bytes, bytes | None]:
    return {b"%08d" % number: value for number in range(start, stop)}


def test_files_and_directory_are_for_their_owner_only(path: Path) -> None:
    with LmdbStore(path, owner="A"):
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()}

    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert set(modes) == {"data.mdb", "lock.mdb", "log.0", "log.1", "log.marks", "store.lock"}
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("sync", [True, False])
def test_the_database_is_synced_at_each_commit_unless_one_says_no(path: Path, sync: bool) -> None:
    # Breaks when a power cut takes rows whose log was written over since.
    with LmdbStore(path, owner="A", sync=sync) as store:
        trees = trees_of(store)
        trees.reopen()
        flags = trees.environment.flags()

    assert (flags["sync"], flags["metasync"]) == (sync, sync)


def test_a_new_store_survives_a_power_cut_with_all_its_directories(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = path / "in" / "deep"
    with recorded_syncs(monkeypatch) as synced, LmdbStore(deep, owner="A"):
        lost = synced.lost(path)

    # LMDB syncs its file itself, unseen; locks are made anew.
    expected = {"data.mdb", "lock.mdb", "store.lock"}
    assert {Path(name).name for name in lost} == expected
    assert synced.names(deep) >= {"data.mdb", "log.0", "log.1", "log.marks"}


def test_many_batches_share_a_commit(path: Path) -> None:
    with LmdbStore(path, owner="A") as store:
        for number in range(500):
            store.submit(rows(FLOWS, {b"%d" % number: b"v"}), ignore)
        commit(store, Batch())

        assert store.statistics.batches == 500
        assert store.commits < 100


def test_an_idle_store_makes_no_commits(path: Path) -> None:
    with LmdbStore(path, owner="A") as store:
        commit(store, rows(FLOWS, {b"a": b"1"}))
        before = store.commits
        gevent.sleep(0.05)

        assert store.commits == before == 1


def test_an_empty_batch_is_durable_after_those_before_it_without_a_commit_of_its_own(
    path: Path,
) -> None:
    called: list[str] = []
    with LmdbStore(path, owner="A") as store:
        commit(store, Batch())
        alone = store.commits
        store.submit(rows(FLOWS, {b"a": b"1"}), lambda: called.append("rows"))
        store.submit(Batch({FLOWS: {}}), lambda: called.append("empty"))
        commit(store, Batch())

    assert alone == 0
    assert called == ["rows", "empty"]
    assert store.commits == 1


def test_a_failing_callback_does_not_cost_the_others_their_call(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[int] = []

    def fail() -> None:
        raise LookupError("mine")

    with LmdbStore(path, owner="A") as store:
        store.submit(rows(FLOWS, {b"a": b"1"}), fail)
        store.submit(rows(FLOWS, {b"b": b"1"}), lambda: called.append(1))
        commit(store, Batch())

    assert called == [1]
    assert "a callback of the store failed" in caplog.text
    assert "mine" in caplog.text


def test_something_that_unwinds_the_hub_does_not_cost_the_others_their_call(path: Path) -> None:
    # Break it: without `finally` in `_hear`, the second callback waits for the next commit.
    called: list[int] = []

    def unwind() -> None:
        raise gevent.GreenletExit

    with LmdbStore(path, owner="A") as store:
        store.submit(rows(FLOWS, {b"a": b"1"}), unwind)
        store.submit(rows(FLOWS, {b"b": b"1"}), lambda: called.append(1))
        wait_for(called)  # type: ignore[arg-type]

    assert called == [1]


def test_rows_of_short_lived_flows_never_reach_the_tree(path: Path) -> None:
    with LmdbStore(path, owner="A", merge_bytes=20_000) as store:
        for number in range(300):
            key = b"%08d" % number
            store.submit(rows(JOURNAL, {key: b"v" * 100}), ignore)
            store.submit(rows(JOURNAL, {key: None}), ignore)
        commit(store, Batch())
        finish_merging(store)

        assert store.statistics.merges >= 1
        # A freeze may fall between a put and its delete.
        assert store.statistics.merged_rows <= store.statistics.merges
        assert all_rows(store, JOURNAL) == {}


def test_a_merge_empties_the_log_and_keeps_the_rows(path: Path) -> None:
    with LmdbStore(path, owner="A", merge_rows=1_000) as store:
        for number in range(0, 5_000, 100):
            commit(store, rows(JOURNAL, numbered(number, number + 100)))
            finish_merging(store)
        merges = store.statistics.merges
    with LmdbStore(path, owner="A") as store:
        replayed = store.rows_unmerged

        assert merges == 4
        assert replayed == 1_000
        assert len(all_rows(store, JOURNAL)) == 5_000


def test_rows_that_have_vanished_again_are_no_reason_to_merge(path: Path) -> None:
    # Breaks when all that was ever written counts: flows that end soon would fill the trees.
    with LmdbStore(path, owner="A", merge_rows=1_000) as store:
        for number in range(0, 5_000, 500):
            written = numbered(number, number + 500)
            commit(store, rows(JOURNAL, written))
            commit(store, rows(JOURNAL, dict.fromkeys(written)))
        finish_merging(store)

        assert store.statistics.merges == 0


def test_a_merge_gives_way_to_commits(path: Path) -> None:
    with LmdbStore(path, owner="A", merge_rows=20_000) as store:
        commit(store, rows(JOURNAL, numbered(0, 20_000)))
        for number in range(20_000, 20_010):
            commit(store, rows(JOURNAL, {b"%08d" % number: b"v"}))
        still_merging = store.is_merging
        finish_merging(store)

        assert still_merging
        assert store.statistics.merged_rows == 20_000
        assert len(all_rows(store, JOURNAL)) == 20_010


def test_a_merge_that_was_cut_off_is_made_good_at_the_next_start(path: Path) -> None:
    with LmdbStore(path, owner="A", merge_rows=20_000) as store:
        commit(store, rows(JOURNAL, numbered(0, 20_000)))
        commit(store, rows(JOURNAL, {b"%08d" % number: None for number in range(100)}))
        was_merging = store.is_merging
    expected = {b"%08d" % number: b"v" for number in range(100, 20_000)}
    with LmdbStore(path, owner="A") as store:
        is_merging = store.is_merging
        during = all_rows(store, JOURNAL)
        finish_merging(store)
        after = all_rows(store, JOURNAL)
    with LmdbStore(path, owner="A", merge_rows=1) as store:
        commit(store, rows(FLOWS, {b"a": b"1"}))
        finish_merging(store)
        merged_too = all_rows(store, JOURNAL)

    assert was_merging
    assert is_merging
    assert during == after == merged_too == expected


def test_what_is_written_beside_a_merge_that_is_made_good_stays(path: Path) -> None:
    # Breaks when the log of the newest generation is begun afresh at the start.
    with LmdbStore(path, owner="A", merge_rows=20_000) as store:
        commit(store, rows(JOURNAL, numbered(0, 20_000)))
        commit(store, rows(FLOWS, {b"before": b"1"}))
        was_merging = store.is_merging
    with LmdbStore(path, owner="A") as store:
        commit(store, rows(FLOWS, {b"after": b"1"}))
        finish_merging(store)
    with LmdbStore(path, owner="A") as store:
        assert was_merging
        assert all_rows(store, FLOWS) == {b"before": b"1", b"after": b"1"}


def test_what_the_log_has_is_synced_before_anybody_reads_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A process that was killed may have left its last record in the system's memory only.
    with LmdbStore(path, owner="A") as store:
        commit(store, rows(FLOWS, {b"a": b"1"}))
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    store = LmdbStore(path, owner="A")
    at_once = len(synced)
    store.close()

    assert at_once == 2


def test_the_map_grows_by_itself_while_scans_are_open(path: Path) -> None:
    with LmdbStore(path, owner="A", map_bytes_first=65_536, merge_rows=500) as store:
        first = store.map_bytes
        commit(store, rows(JOURNAL, numbered(0, 1_000, b"v" * 200)))
        commit(store, rows(FLOWS, {b"a": b"1"}))
        finish_merging(store)
        scans = [store.scan(JOURNAL, b"", None) for _ in range(10)]
        seen = [[next(scan)] for scan in scans]
        for number in range(1_000, 20_000, 1_000):
            store.submit(rows(JOURNAL, numbered(number, number + 1_000, b"v" * 200)), ignore)
        commit(store, rows(JOURNAL, {b"z": b"v" * 3_000_000}))
        for begun, scan in zip(seen, scans, strict=True):
            begun += scan

        assert first < 1_000_000 < store.map_bytes
        assert [len(begun) for begun in seen] == [1_000] * 10
        assert len(all_rows(store, JOURNAL)) == 20_001
    with LmdbStore(path, owner="A", map_bytes_first=65_536) as store:
        assert len(all_rows(store, JOURNAL)) == 20_001


def test_abandoned_scans_hold_no_transaction_and_are_forgotten(path: Path) -> None:
    with LmdbStore(path, owner="A", merge_rows=100) as store:
        commit(store, rows(JOURNAL, numbered(0, 1_000)))
        commit(store, rows(FLOWS, {b"a": b"1"}))
        finish_merging(store)
        scans = [store.scan(JOURNAL, b"", None) for _ in range(500)]
        for scan in scans:
            next(scan)
        held = store.scans_open
        readers = trees_of(store).environment.info()["num_readers"]
        del scan, scans
        gc.collect()

        assert held == 500
        assert store.scans_open == 0
        assert readers < 3


def test_a_space_created_long_after_the_others_is_found_again(path: Path) -> None:
    with LmdbStore(path, owner="A", merge_rows=1) as store:
        for name in ("one", "two", "three"):
            commit(store, rows(Space(name), {b"k": name.encode()}))
            finish_merging(store)
    with LmdbStore(path, owner="A") as store:
        found = [store.get(Space(name), b"k") for name in ("one", "two", "three")]

    assert found == [b"one", b"two", b"three"]


def test_a_closed_store_takes_nothing(path: Path) -> None:
    store = LmdbStore(path, owner="A")
    store.close()

    with pytest.raises(StoreError, match="closed"):
        store.submit(rows(FLOWS, {b"a": b"1"}), ignore)


def test_a_closed_store_says_so_to_those_who_still_read(path: Path) -> None:
    with LmdbStore(path, owner="A", merge_rows=1) as store:
        for key in (b"a", b"b"):
            commit(store, rows(FLOWS, {key: b"1"}))
        finish_merging(store)
        scan = store.scan(FLOWS, b"", None)

    with pytest.raises(StoreError, match="closed"):
        store.get(FLOWS, b"a")
    with pytest.raises(StoreError, match="closed"):
        list(scan)


def test_close_in_a_greenlet_calls_what_is_due_and_lets_others_run(path: Path) -> None:
    called: list[int] = []
    ran: list[str] = []
    store = LmdbStore(path, owner="A")
    for number in range(100):
        store.submit(
            rows(FLOWS, {b"%d" % number: b"v"}),
            lambda number=number: called.append(number),  # type: ignore[misc]
        )
    gevent.spawn(ran.append, "other")
    store.close()

    assert called == list(range(100))
    assert ran == ["other"]


def test_close_from_the_hub_waits_for_the_disk(path: Path) -> None:
    closed: list[bool] = []
    store = LmdbStore(path, owner="A")
    store.submit(rows(FLOWS, {b"a": b"1"}), ignore)

    def close() -> None:
        store.close()
        closed.append(True)

    gevent.get_hub().loop.run_callback(close)
    wait_for(closed)  # type: ignore[arg-type]
    with LmdbStore(path, owner="A") as again:
        assert again.get(FLOWS, b"a") == b"1"


def test_close_from_another_thread_waits_for_the_disk(path: Path) -> None:
    store = LmdbStore(path, owner="A")
    store.submit(rows(FLOWS, {b"a": b"1"}), ignore)
    thread = threading.Thread(target=store.close)
    thread.start()
    thread.join()
    gevent.sleep(0)

    with LmdbStore(path, owner="A") as again:
        assert again.get(FLOWS, b"a") == b"1"


def test_a_store_works_in_the_hub_of_another_thread(path: Path) -> None:
    seen: list[dict[bytes, bytes]] = []

    def work() -> None:
        with LmdbStore(path, owner="A", merge_rows=10) as store:
            for number in range(0, 100, 5):
                commit(store, rows(FLOWS, numbered(number, number + 5)))
            seen.append(all_rows(store, FLOWS))
        gevent.get_hub().destroy(destroy_loop=True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [numbered(0, 100)]


def test_a_store_keeps_the_loop_alive_only_while_something_is_on_its_way(path: Path) -> None:
    seen: list[object] = []

    def work() -> None:
        # In a thread of its own, because everything else in a hub keeps it alive too.
        store = LmdbStore(path, owner="A")
        seen.append(gevent.wait(timeout=20))
        store.submit(rows(FLOWS, {b"a": b"1"}), lambda: seen.append("durable"))
        seen.append(gevent.wait(timeout=20))
        store.close()
        gevent.get_hub().destroy(destroy_loop=True)

    started = time.monotonic()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [True, "durable", True]
    assert time.monotonic() - started < 10


def test_a_writer_that_dies_of_a_bug_says_so(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str | None] = []
    store = LmdbStore(path, owner="A", on_alarm=heard.append)
    store._queue.put(QueuedBatch(0, None, 0))  # type: ignore[arg-type]
    wait_for(heard)  # type: ignore[arg-type]
    store.close()

    assert heard[0] is not None
    assert "died of a bug" in heard[0]
    assert "Restart the node" in caplog.text


PATCHED = """
import sys, threading
{patch}
import gevent
from pathlib import Path
from gevent.hub import Waiter
from runtime.edge.lmdb_store import LmdbStore
from runtime.ports import Batch, Space
flows = Space("flows")
ticks = []
def tick():
    while True:
        ticks.append(1)
        gevent.sleep(0.001)
gevent.spawn(tick)
with LmdbStore(Path(sys.argv[1]), owner="A", merge_rows=100) as store:
    for number in range(300):
        waiter = Waiter()
        store.submit(Batch({{flows: {{b"%d" % number: b"v"}}}}), lambda: waiter.switch(None))
        waiter.get()
    print(len(list(store.scan(flows, b"", None))), store.statistics.merges > 0, len(ticks) > 9)
with LmdbStore(Path(sys.argv[1]), owner="A") as store:
    print(len(list(store.scan(flows, b"", None))))
"""


@pytest.mark.parametrize(
    "patch", ["", "from gevent import monkey; monkey.patch_all()"], ids=["plain", "patched"]
)
@pytest.mark.parametrize("loop", ["libev-cext", "libev-cffi", "libuv-cffi"])
def test_a_store_works_with_and_without_monkey_patching_on_every_loop(
    path: Path, patch: str, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEVENT_LOOP", loop)

    done = run_python(PATCHED.format(patch=patch), str(path))

    assert (done.stdout, done.stderr) == ("300 True True\n300\n", "")


def test_a_process_may_end_without_closing(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from runtime.edge.lmdb_store import LmdbStore; "
        "store = LmdbStore(Path(sys.argv[1]), owner='A'); print('opened')"
    )

    done = run_python(code, str(path))

    assert (done.returncode, done.stdout, done.stderr) == (0, "opened\n", "")


def test_reads_are_not_disturbed_by_a_thread_that_opens_and_closes_files(path: Path) -> None:
    # LMDB's own lock is lost when any descriptor of its lock file is closed; ours is not.
    with LmdbStore(path, owner="A"):
        for name in ("store.lock", "data.mdb"):
            os.close(os.open(path / name, os.O_RDONLY))
        code = (
            "import sys; from pathlib import Path; from runtime.edge.lmdb_store import LmdbStore; "
            "LmdbStore(Path(sys.argv[1]), owner='A')"
        )
        done = run_python(code, str(path))

    assert "in use by process" in done.stderr


def test_waiting_batches_are_counted_in_order_when_a_callback_submits(path: Path) -> None:
    called: list[str] = []
    with LmdbStore(path, owner="A") as store:
        waiter: Waiter[None] = Waiter()

        def again() -> None:
            called.append("first")
            store.submit(Batch(), lambda: called.append("third"))
            store.submit(rows(FLOWS, {b"b": b"1"}), lambda: waiter.switch(None))

        store.submit(rows(FLOWS, {b"a": b"1"}), again)
        store.submit(Batch(), lambda: called.append("second"))
        waiter.get()

    assert called == ["first", "second", "third"]
