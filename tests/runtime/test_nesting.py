"""How deeply bytes nest is found out without a decoder."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.msgpack import Ext

from runtime.nesting import nests_deeper

encode = msgspec.msgpack.encode

NESTS = (
    lambda levels: b"\x91" * levels + b"\xc0",
    lambda levels: b"\xdc\0\1" * levels + b"\xc0",
    lambda levels: b"\x81\xa1k" * levels + b"\xc0",
    lambda levels: b"\x81\xa1k\x91" * (levels // 2) + b"\x91" * (levels % 2) + b"\xc0",
    # In the key of a map, and behind other parts.
    lambda levels: b"\x81" * levels + b"\xc0" * (levels + 1),
    lambda levels: (b"\x93\xc4\x02\x91\x91\xa3odd" * levels) + b"\xc0",
)


@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.parametrize("padding", [0, 40_000])
def test_each_level_counts_and_nothing_else(nest: object, padding: int) -> None:
    assert callable(nest)
    for levels in (1, 7, 100, 1_000):
        body = b"\x92" + encode(b"\x91" * padding) + nest(levels)

        assert nests_deeper(body, levels)
        assert not nests_deeper(body, levels + 1)


def test_an_extension_of_ours_stands_for_the_array_in_it() -> None:
    tree: object = None
    for _ in range(50):
        tree = Ext(1, encode([tree]))

    assert nests_deeper(encode(tree), 49)
    assert not nests_deeper(encode(tree), 50)


def test_a_nest_of_any_depth_is_no_recursion() -> None:
    assert nests_deeper(b"\x91" * 1_000_000 + b"\xc0", 500_000)


trees = st.recursive(
    st.none() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda parts: st.lists(parts) | st.dictionaries(st.text() | st.integers(0, 9), parts),
)


def depth(tree: object) -> int:
    match tree:
        case list():
            return 1 + max(map(depth, tree), default=0)
        case dict():
            return 1 + max(map(depth, tree.values()), default=0)
        case _:
            return 0


@given(trees)
def test_the_depth_of_any_value_is_found(tree: object) -> None:
    levels, body = depth(tree), encode(tree)

    assert not nests_deeper(body, levels)
    assert levels == 0 or len(body) <= levels or nests_deeper(body, levels - 1)


@given(st.binary(max_size=300), st.integers(0, 5))
def test_bytes_that_are_nothing_do_no_harm(body: bytes, levels: int) -> None:
    nests_deeper(body, levels)
