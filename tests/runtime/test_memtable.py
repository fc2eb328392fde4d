"""Rows in memory: sorted keys, generations, and what a reader sees through them."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.memtable import (
    BLOCK_KEYS_MAX,
    Generation,
    SortedKeys,
    Table,
    check_keys,
    merge,
    overlay,
)
from runtime.ports import KEY_BYTES_MAX, Batch, Space

KEYS = st.binary(max_size=3)


@given(st.lists(KEYS), st.lists(KEYS), KEYS, st.none() | KEYS)
def test_sorted_keys_give_each_key_in_range_once(
    first: list[bytes], added: list[bytes], start: bytes, end: bytes | None
) -> None:
    keys = SortedKeys(set(first))
    for key in added:
        keys.add(key)

    expected = sorted({*first, *added})
    assert list(keys.between(b"", None)) == expected
    assert len(keys) == len(expected)
    assert list(keys.between(start, end)) == [
        key for key in expected if start <= key and (end is None or key < end)
    ]


def test_sorted_keys_split_their_blocks() -> None:
    chance = random.Random(1)
    numbers = chance.sample(range(100_000), 4 * BLOCK_KEYS_MAX)
    keys = SortedKeys([])
    for number in numbers:
        keys.add(b"%06d" % number)

    assert list(keys.between(b"", None)) == [b"%06d" % number for number in sorted(numbers)]
    lengths = [len(block) for block in keys._blocks]
    assert max(lengths) <= BLOCK_KEYS_MAX
    assert len(lengths) > 4
    assert list(keys.between(b"050000", b"050100")) == [
        b"%06d" % number for number in sorted(numbers) if 50_000 <= number < 50_100
    ]


def test_a_table_remembers_deletions() -> None:
    table = Table(write_once=False)
    table.apply({b"a": b"1", b"b": b"2"})
    table.apply({b"a": None, b"c": None})

    assert table.between(b"", None) == [(b"a", None), (b"b", b"2"), (b"c", None)]


def test_a_write_once_table_forgets_what_was_put_and_deleted_in_it() -> None:
    table = Table(write_once=True)
    table.apply({b"a": b"1", b"b": b"2"})
    seen = table.between(b"", None)
    table.apply({b"a": None, b"older": None, b"d": b"4"})

    assert seen == [(b"a", b"1"), (b"b", b"2")]
    assert table.between(b"", None) == [(b"b", b"2"), (b"d", b"4"), (b"older", None)]
    assert table.rows == {b"b": b"2", b"d": b"4", b"older": None}


def test_keys_that_vanish_do_not_pile_up_in_the_order() -> None:
    table = Table(write_once=True)
    for number in range(2_000):
        table.apply({b"%06d" % number: b"v"})
        table.between(b"", None)
        table.apply({b"%06d" % number: None})

    assert table.rows == {}
    order = table._sorted
    assert order is not None
    assert len(order) < 200


def test_batches_that_nobody_scans_do_not_pile_up() -> None:
    table = Table(write_once=False)
    table.apply({b"a": b"1"})
    table.between(b"", None)
    for number in range(1_000):
        table.apply({b"%06d" % number: b"v"})

    assert len(table._unsorted) < 100
    assert len(table.between(b"", None)) == 1_001


@given(
    st.lists(
        st.tuples(
            st.dictionaries(KEYS, st.none() | st.binary(max_size=2), max_size=5), st.booleans()
        )
    ),
    KEYS,
    st.none() | KEYS,
)
def test_a_table_that_is_scanned_now_and_then_is_a_dictionary(
    batches: list[tuple[dict[bytes, bytes | None], bool]], start: bytes, end: bytes | None
) -> None:
    table = Table(write_once=False)
    model: dict[bytes, bytes | None] = {}
    for writes, is_scanned in batches:
        table.apply(writes)
        model.update(writes)
        if is_scanned:
            assert table.between(b"", None) == sorted(model.items())

    assert table.between(start, end) == sorted(
        (key, value) for key, value in model.items() if start <= key and (end is None or key < end)
    )


def generation(number: int, rows: dict[bytes, bytes | None]) -> Generation:
    made = Generation(number)
    made.apply("s", rows, write_once=False)
    return made


def test_the_newest_generation_covers_the_older_ones() -> None:
    newer = generation(1, {b"a": b"new", b"b": None})
    older = generation(0, {b"a": b"old", b"b": b"old", b"c": b"old"})

    assert overlay((newer, older), "s", b"", None) == [
        (b"a", b"new"),
        (b"b", None),
        (b"c", b"old"),
    ]
    assert overlay((newer, older), "s", b"c", None) == [(b"c", b"old")]
    assert overlay((newer, older), "other", b"", None) == []
    assert newer.row_count() == 2


@given(
    st.dictionaries(KEYS, st.none() | st.just(b"new")),
    st.dictionaries(KEYS, st.just(b"old")),
    st.integers(1, 4),
)
def test_a_merge_prefers_the_newer_rows(
    newer: dict[bytes, bytes | None], older: dict[bytes, bytes], chunk_rows: int
) -> None:
    rows = sorted(older.items())
    chunks = [rows[at : at + chunk_rows] for at in range(0, len(rows), chunk_rows)]

    merged = list(merge(sorted(newer.items()), chunks))

    assert merged == sorted(
        (key, value) for key, value in {**older, **newer}.items() if value is not None
    )


def test_a_merge_takes_one_chunk_at_a_time() -> None:
    taken: list[int] = []

    def chunks() -> Iterator[list[tuple[bytes, bytes]]]:
        for number in range(3):
            taken.append(number)
            yield [(b"%d" % number, b"v")]

    merged = merge([(b"00", b"n")], chunks())
    next(merged)

    assert taken == [0]


def test_keys_are_counted_and_measured() -> None:
    space = Space("s")
    good = Batch({space: {b"a": b"1", b"k" * KEY_BYTES_MAX: None}, Space("t"): {b"b": b"2"}})

    assert check_keys(good) == 3
    for key in (b"", b"k" * (KEY_BYTES_MAX + 1)):
        with pytest.raises(ValueError, match=f"a key of {len(key)} bytes in space 's'"):
            check_keys(Batch({space: {key: b"v"}}))
