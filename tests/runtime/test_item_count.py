"""Values are counted before they are made, and too many are refused."""

import tracemalloc
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.codec import Packed, decode, encode, pack, unpack, unpack_any
from runtime.errors import BadMessage, UnserialisableMessage
from runtime.item_count import has_too_many_items
from runtime.limits import MESSAGE_ITEMS_MAX, MIB

MANY_LISTS: Final = b"\xdd" + (10_000_000).to_bytes(4, "big") + b"\x90" * 10_000_000
IN_SMALL_LISTS: Final = b"\xdc\xff\xff" + (b"\xdc\x03\xe8" + b"\x90" * 1_000) * 10_000


def count(value: object) -> int:
    """Return how many values are in another one."""
    if isinstance(value, list):
        return sum(1 + count(item) for item in value)
    if isinstance(value, dict):
        return sum(1 + count(item) for item in value.values())
    return 0


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300)
    | st.sampled_from([b"x" * 32, b"x" * 64, b"x" * 70_000, "y" * 70_000])
    | st.builds(msgspec.msgpack.Ext, st.integers(1, 99), st.binary(max_size=40)),
    lambda inner: (
        st.lists(inner, max_size=40) | st.dictionaries(st.text(max_size=40), inner, max_size=40)
    ),
    max_leaves=60,
)


@given(VALUES)
def test_as_many_values_are_counted_as_there_are(value: object) -> None:
    body = msgspec.msgpack.encode(value)
    items = count(value)

    assert not has_too_many_items(body, items)
    assert items == 0 or has_too_many_items(body, items - 1)


def test_containers_of_every_size_are_counted() -> None:
    for size in (0, 1, 15, 16, 255, 256, 65_535, 65_536):
        for value in ([None] * size, dict.fromkeys(range(size))):
            body = msgspec.msgpack.encode([value])
            assert not has_too_many_items(body, size + 1)
            assert has_too_many_items(body, size)


@given(st.binary(max_size=200))
def test_any_bytes_are_looked_at_in_bounded_time_and_without_an_error(data: bytes) -> None:
    has_too_many_items(data * 5, 20)


@pytest.mark.parametrize("body", [MANY_LISTS, IN_SMALL_LISTS], ids=["flat", "nested"])
@pytest.mark.parametrize("expected", [list, list[list[int]], object])
def test_millions_of_empty_lists_are_refused_before_they_take_memory(
    body: bytes, expected: object
) -> None:
    for refuse in (
        lambda: unpack(Packed("list", body), expected),
        lambda: unpack_any(Packed("list", body)),
        lambda: decode(body, expected),
    ):
        tracemalloc.start()
        try:
            with pytest.raises(BadMessage, match="more than 1,000,000 parts"):
                refuse()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < MIB


@pytest.mark.parametrize("write", [encode, pack])
def test_a_value_of_too_many_parts_is_refused_at_the_sender(write: object) -> None:
    assert callable(write)

    with pytest.raises(UnserialisableMessage, match="more than 1,000,000 parts"):
        write([0] * (MESSAGE_ITEMS_MAX + 1))

    write([0] * MESSAGE_ITEMS_MAX)


def test_a_large_message_of_few_parts_passes() -> None:
    body = msgspec.msgpack.encode([bytes(5 * MIB), "x" * MIB])

    assert not has_too_many_items(body)
    assert decode(body, list) == [bytes(5 * MIB), "x" * MIB]


class Watched(bytes):
    """Bytes that count how often one of them is looked at."""

    looks = 0

    def __getitem__(self, at: Any) -> Any:
        self.looks += 1
        return super().__getitem__(at)


def test_what_stands_behind_a_value_is_not_looked_at() -> None:
    # Breaks when five million empty texts behind a short value take seconds.
    value = msgspec.msgpack.encode({"a": [1, 2]})
    body = Watched(value + b"\xc4\x00" * MESSAGE_ITEMS_MAX)

    assert not has_too_many_items(body)
    assert 0 < body.looks < 40


def test_a_value_may_have_less_parts_than_another_bound() -> None:
    body = msgspec.msgpack.encode([b""] * 100)

    assert not has_too_many_items(body, 100)
    assert has_too_many_items(body, 99)
