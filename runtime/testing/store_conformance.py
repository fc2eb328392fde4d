"""The tests that every `runtime.ports.Store` must pass, real or fake.

Subclass `StoreConformance` in a test module and give it a fixture ``harness``::

    class TestMyStore(StoreConformance):
        @pytest.fixture
        def harness(self, tmp_path: Path) -> StoreHarness:
            return MyHarness(tmp_path)
"""

# ruff: noqa: D102  the names of the tests are sentences

import random
from collections.abc import Callable, Iterator

import pytest

from runtime.errors import KeyPresentError
from runtime.ports import KEY_BYTES_MAX, Batch, Space, Store
from runtime.testing.store_suite import FLOWS, OTHER, StoreHarness, ignore, put, rows_of
from runtime.testing.write_once_conformance import WriteOnceConformance


class StoreConformance(WriteOnceConformance):
    """Inherit from it and define the fixture ``harness``."""

    # Reading what was written

    def test_a_new_store_is_empty(self, store: Store) -> None:
        assert store.get(FLOWS, b"a") is None
        assert rows_of(store, FLOWS) == []

    def test_a_write_is_seen_at_once_and_after_it_is_durable(
        self, harness: StoreHarness, store: Store
    ) -> None:
        store.submit(put(FLOWS, {b"a": b"1"}), ignore)
        at_once = store.get(FLOWS, b"a")
        self.settle(harness, store)

        assert at_once == b"1"
        assert store.get(FLOWS, b"a") == b"1"

    def test_its_status_counts_what_was_written_and_finds_no_trouble(
        self, harness: StoreHarness, store: Store
    ) -> None:
        before = store.status().batches
        self.submit(harness, store, put(FLOWS, {b"a": b"1"}))

        status = store.status()

        assert status.batches == before + 1
        assert (status.batches_waiting, status.trouble) == (0, "")

    def test_the_last_write_to_a_key_wins(self, harness: StoreHarness, store: Store) -> None:
        batch = Batch()
        batch.put(FLOWS, b"a", b"1")
        batch.put(FLOWS, b"a", b"2")
        store.submit(batch, ignore)
        store.submit(put(FLOWS, {b"a": b"3"}), ignore)
        self.settle(harness, store)

        assert rows_of(store, FLOWS) == [(b"a", b"3")]

    def test_spaces_are_apart(self, store: Store) -> None:
        store.submit(put(FLOWS, {b"a": b"1"}), ignore)
        store.submit(put(OTHER, {b"a": b"2", b"b": b"3"}), ignore)

        assert rows_of(store, FLOWS) == [(b"a", b"1")]
        assert rows_of(store, OTHER) == [(b"a", b"2"), (b"b", b"3")]

    def test_an_equal_space_is_the_same_space(self, store: Store) -> None:
        store.submit(put(FLOWS, {b"a": b"1"}), ignore)

        assert store.get(Space("flows"), b"a") == b"1"

    def test_an_empty_value_is_a_value(self, harness: StoreHarness, store: Store) -> None:
        self.submit(harness, store, put(FLOWS, {b"a": b""}))
        store = self.reopen(harness, store)

        assert store.get(FLOWS, b"a") == b""
        assert rows_of(store, FLOWS) == [(b"a", b"")]
        store.close()

    def test_a_deleted_key_is_gone_and_can_be_put_again(
        self, harness: StoreHarness, store: Store
    ) -> None:
        seen = []
        for value in (b"1", None, b"2", None):
            store.submit(put(FLOWS, {b"a": value}), ignore)
            seen.append((store.get(FLOWS, b"a"), rows_of(store, FLOWS)))
            self.settle(harness, store)
            seen.append((store.get(FLOWS, b"a"), rows_of(store, FLOWS)))

        assert [value for value, _ in seen] == [b"1", b"1", None, None, b"2", b"2", None, None]
        assert [bool(rows) for _, rows in seen] == [True, True, False, False] * 2

    def test_a_durable_key_that_one_batch_puts_and_deletes_is_gone(
        self, harness: StoreHarness, store: Store
    ) -> None:
        self.submit(harness, store, put(FLOWS, {b"a": b"older"}))
        self.settle(harness, store)
        batch = Batch()
        batch.put(FLOWS, b"a", b"newer")
        batch.delete(FLOWS, b"a")
        self.submit(harness, store, batch)
        at_once = store.get(FLOWS, b"a")
        self.settle(harness, store)
        store = self.reopen(harness, store)

        assert at_once is None
        assert rows_of(store, FLOWS) == []
        store.close()

    def test_deleting_what_is_not_there_is_no_error(
        self, harness: StoreHarness, store: Store
    ) -> None:
        self.submit(harness, store, put(FLOWS, {b"a": None}))

        assert rows_of(store, FLOWS) == []

    def test_a_large_value_comes_back(self, harness: StoreHarness, store: Store) -> None:
        value = random.Random(1).randbytes(3_000_000)
        self.submit(harness, store, put(FLOWS, {b"a": value}))
        store = self.reopen(harness, store)

        assert store.get(FLOWS, b"a") == value
        store.close()

    # Keys

    def test_keys_are_ordered_as_bytes(self, harness: StoreHarness, store: Store) -> None:
        keys = [b"\0", b"\0\0", b"a", b"a\0", b"aa", b"a\xff", b"b", b"\xff", b"\xff\xff"]
        shuffled = random.Random(2).sample(keys, len(keys))
        for key in shuffled:
            store.submit(put(FLOWS, {key: key}), ignore)
        at_once = [key for key, _ in rows_of(store, FLOWS)]
        self.settle(harness, store)

        assert at_once == keys
        assert [key for key, _ in rows_of(store, FLOWS)] == keys

    def test_the_longest_key_fits(self, harness: StoreHarness, store: Store) -> None:
        key = b"\xff" * KEY_BYTES_MAX
        self.submit(harness, store, put(FLOWS, {key: b"1"}))

        assert store.get(FLOWS, key) == b"1"
        assert rows_of(store, FLOWS) == [(key, b"1")]

    @pytest.mark.parametrize("length", [0, KEY_BYTES_MAX + 1])
    def test_a_key_of_impossible_length_is_refused_with_its_batch(
        self, store: Store, length: int
    ) -> None:
        batch = put(FLOWS, {b"a": b"1"})
        batch.put(OTHER, b"k" * length, b"2")

        with pytest.raises(ValueError, match="key"):
            store.submit(batch, ignore)

        assert store.get(FLOWS, b"a") is None

    # Scans

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            (b"", None, b"a ab abc b c"),
            (b"a", b"b", b"a ab abc"),
            (b"ab", b"ac", b"ab abc"),
            (b"a\0", b"abc", b"ab"),
            (b"abc", b"abc\0", b"abc"),
            (b"abcd", b"b", b""),
            (b"b", None, b"b c"),
            (b"d", None, b""),
            (b"c", b"a", b""),
            (b"", b"a", b""),
            (b"", b"", b""),
        ],
    )
    def test_a_scan_gives_start_to_end_without_end(
        self,
        harness: StoreHarness,
        store: Store,
        start: bytes,
        end: bytes | None,
        expected: bytes,
    ) -> None:
        for key in (b"c", b"ab", b"b", b"abc", b"a"):
            store.submit(put(FLOWS, {key: b"v" + key}), ignore)
        at_once = list(store.scan(FLOWS, start, end))
        self.settle(harness, store)
        later = list(store.scan(FLOWS, start, end))

        assert at_once == later == [(key, b"v" + key) for key in expected.split()]

    def test_a_scan_does_not_see_later_writes(self, harness: StoreHarness, store: Store) -> None:
        rows = [(b"%04d" % number, b"old") for number in range(0, 3_000, 2)]
        self.submit(harness, store, put(FLOWS, dict(rows)))
        self.submit(harness, store, put(OTHER, {b"a": b"1"}))
        harness.rest(store)
        scan = store.scan(FLOWS, b"", None)
        unstarted = store.scan(FLOWS, b"", None)
        seen = [next(scan)]

        for number in range(0, 3_000, 3):
            writes: dict[bytes, bytes | None] = {
                b"%04d" % number: b"new",
                b"%04d" % (number + 1): None,
            }
            store.submit(put(FLOWS, writes), ignore)
        self.settle(harness, store)
        harness.rest(store)
        seen += scan

        assert seen == rows
        assert list(unstarted) == rows

    def test_a_scan_left_halfway_harms_nobody(self, harness: StoreHarness, store: Store) -> None:
        self.submit(harness, store, put(FLOWS, {b"%04d" % n: b"v" for n in range(1_000)}))
        scans = [store.scan(FLOWS, b"", None) for _ in range(300)]
        for scan in scans:
            next(scan)
        del scans[::2]
        for n in range(50):
            self.submit(harness, store, put(FLOWS, {b"%04d" % n: None}))

        assert len(rows_of(store, FLOWS)) == 950

    @pytest.mark.parametrize("seed", range(5))
    def test_scans_of_different_ages_each_see_their_own_moment(
        self, harness: StoreHarness, store: Store, seed: int
    ) -> None:
        chance = random.Random(seed)
        model: dict[bytes, bytes] = {}
        open_scans: list[tuple[Iterator[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]] = []
        for number in range(120):
            writes: dict[bytes, bytes | None] = {}
            for _ in range(chance.randrange(40)):
                key = b"%03d" % chance.randrange(500)
                writes[key] = None if chance.random() < 0.3 else b"%d" % number
            store.submit(put(FLOWS, writes), ignore)
            for key, value in writes.items():
                if value is None:
                    model.pop(key, None)
                else:
                    model[key] = value
            open_scans.append((store.scan(FLOWS, b"", None), sorted(model.items())))
            chance.choice([self.settle, lambda _, store: harness.rest(store), _nothing])(
                harness, store
            )
            scan, rest = open_scans[chance.randrange(len(open_scans))]
            for _ in range(min(chance.randrange(200), len(rest))):
                assert next(scan) == rest.pop(0)

        assert [list(scan) for scan, _ in open_scans] == [rest for _, rest in open_scans]

    @pytest.mark.parametrize(
        ("before", "count", "expected"),
        [
            (None, 9, b"c b abc ab a"),
            (None, 2, b"c b"),
            (b"c", 2, b"b abc"),
            (b"bb", 1, b"b"),
            (b"d", 9, b"c b abc ab a"),
            (b"a", 9, b""),
            (None, 0, b""),
        ],
    )
    def test_the_latest_rows_come_last_first(
        self,
        harness: StoreHarness,
        store: Store,
        before: bytes | None,
        count: int,
        expected: bytes,
    ) -> None:
        assert store.latest(FLOWS, before, count) == []
        for key in (b"c", b"ab", b"b", b"abc", b"a"):
            store.submit(put(FLOWS, {key: b"v" + key}), ignore)
        at_once = store.latest(FLOWS, before, count)
        self.settle(harness, store)
        harness.rest(store)

        later = store.latest(FLOWS, before, count)
        assert at_once == later == [(key, b"v" + key) for key in expected.split()]

    @pytest.mark.parametrize("seed", range(5))
    def test_the_latest_rows_are_those_of_all_batches(
        self, harness: StoreHarness, store: Store, seed: int
    ) -> None:
        chance = random.Random(seed)
        model: dict[bytes, bytes] = {}
        for number in range(60):
            writes: dict[bytes, bytes | None] = {}
            for _ in range(chance.randrange(40)):
                key = b"%03d" % chance.randrange(300)
                writes[key] = None if chance.random() < 0.4 else b"%d" % number
            store.submit(put(FLOWS, writes), ignore)
            model |= {key: value for key, value in writes.items() if value is not None}
            model = {key: value for key, value in model.items() if writes.get(key, b"") is not None}
            chance.choice([self.settle, lambda _, store: harness.rest(store), _nothing])(
                harness, store
            )
            before = chance.choice([None, b"%03d" % chance.randrange(300)])
            count = chance.randrange(60)

            found = store.latest(FLOWS, before, count)

            fitting = {k: v for k, v in model.items() if before is None or k < before}
            assert found == sorted(fitting.items(), reverse=True)[:count]

    def test_rows_of_many_batches_are_neither_lost_nor_doubled(
        self, harness: StoreHarness, store: Store
    ) -> None:
        expected: dict[bytes, bytes] = {}
        chance = random.Random(3)
        for number in range(300):
            key = b"%03d" % chance.randrange(200)
            if chance.random() < 0.3:
                store.submit(put(FLOWS, {key: None}), ignore)
                expected.pop(key, None)
            else:
                store.submit(put(FLOWS, {key: b"%d" % number}), ignore)
                expected[key] = b"%d" % number
            if number % 50 == 0:
                self.settle(harness, store)
            assert rows_of(store, FLOWS) == sorted(expected.items())

    # Demands

    def test_a_batch_is_refused_whole_if_a_demanded_key_exists(
        self, harness: StoreHarness, store: Store
    ) -> None:
        self.submit(harness, store, put(FLOWS, {b"a": b"1"}))
        batch = put(OTHER, {b"x": b"1"})
        batch.require_absent(FLOWS, b"b")
        batch.require_absent(FLOWS, b"a")

        with pytest.raises(KeyPresentError) as caught:
            store.submit(batch, _fail)
        self.settle(harness, store)

        assert (caught.value.space, caught.value.key) == ("flows", b"a")
        assert store.get(OTHER, b"x") is None

    def test_a_demand_sees_batches_that_are_not_durable_yet(self, store: Store) -> None:
        store.submit(put(FLOWS, {b"a": b"1"}), ignore)
        batch = put(FLOWS, {b"a": b"2"})
        batch.require_absent(FLOWS, b"a")

        with pytest.raises(KeyPresentError):
            store.submit(batch, _fail)

        assert store.get(FLOWS, b"a") == b"1"

    def test_a_demand_is_met_by_a_deleted_key(self, harness: StoreHarness, store: Store) -> None:
        self.submit(harness, store, put(FLOWS, {b"a": b"1"}))
        store.submit(put(FLOWS, {b"a": None}), ignore)
        batch = put(FLOWS, {b"a": b"2"})
        batch.require_absent(FLOWS, b"a")
        self.submit(harness, store, batch)

        assert store.get(FLOWS, b"a") == b"2"

    def test_a_demand_does_not_look_at_its_own_batch(
        self, harness: StoreHarness, store: Store
    ) -> None:
        batch = put(FLOWS, {b"a": b"1"})
        batch.require_absent(FLOWS, b"a")
        self.submit(harness, store, batch)

        assert store.get(FLOWS, b"a") == b"1"

    # Durability

    def test_callbacks_come_in_order_once_each_and_never_inside_submit(
        self, harness: StoreHarness, store: Store
    ) -> None:
        called: list[int] = []
        for number in range(200):
            batch = put(FLOWS, {b"%03d" % number: b"v"}) if number % 3 else Batch()
            store.submit(batch, lambda number=number: called.append(number))  # type: ignore[misc]
        inside = list(called)
        self.settle(harness, store)

        assert inside == []
        assert called == list(range(200))

    def test_a_callback_may_submit(self, harness: StoreHarness, store: Store) -> None:
        def chain(done: Callable[[], None], left: int) -> None:
            batch = put(FLOWS, {b"%03d" % left: b"v"})
            store.submit(batch, lambda: chain(done, left - 1) if left else done())

        harness.wait(lambda done: chain(done, 20))

        assert len(rows_of(store, FLOWS)) == 21

    def test_what_was_durable_is_there_after_reopening(
        self, harness: StoreHarness, store: Store
    ) -> None:
        self.submit(harness, store, put(FLOWS, {b"a": b"1", b"b": b"2"}))
        self.submit(harness, store, put(FLOWS, {b"a": None, b"c": b"3"}))
        store = self.reopen(harness, store)

        assert rows_of(store, FLOWS) == [(b"b", b"2"), (b"c", b"3")]
        store.close()

    def test_closing_makes_durable_what_was_submitted(
        self, harness: StoreHarness, store: Store
    ) -> None:
        for number in range(100):
            store.submit(put(FLOWS, {b"%03d" % number: b"v"}), ignore)
        store = self.reopen(harness, store)

        assert len(rows_of(store, FLOWS)) == 100
        store.close()

    def test_closing_twice_does_nothing(self, store: Store) -> None:
        store.close()
        store.close()


def _nothing(_harness: StoreHarness, _store: Store) -> None:
    pass


def _fail() -> None:
    raise AssertionError("a refused batch was reported durable")
