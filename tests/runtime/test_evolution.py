"""Marks of content, and what they say of content that has grown or changed."""

import random

import msgspec
import pytest

from runtime.codec import encode, fingerprint, message, pack
from runtime.evolution import (
    arguments_difference,
    content_of,
    message_difference,
    shape_in,
    shape_of,
    shape_of_message,
)
from runtime.signatures import Arguments


@message(name="tests.grown.Bolt")
class Bolt:
    size: int
    head: str = "hexagonal, as most of them are"


@message(name="tests.grown.Nut")
class Nut:
    size: int
    kind: str = "a self-locking one with nylon"


def buy(bolt: Bolt, count: int = 1) -> None:
    """Have parameters."""


def test_a_digest_may_be_followed_by_a_shape() -> None:
    digest = fingerprint(pack(Bolt(3)).body)
    shape = shape_of(Bolt)

    assert (content_of(digest + shape), shape_in(digest + shape)) == (digest, shape)
    assert (content_of(b"\x01"), shape_in(b"\x01"), shape_in(digest)) == (b"\x01", b"", b"")


def test_a_shape_names_the_fields_of_all_classes() -> None:
    fields = {"tests.grown.Bolt": ["size", "head"], "tests.grown.Nut": ["size", "kind"]}

    assert msgspec.msgpack.decode(shape_of(dict[str, list[Bolt | Nut]])) == fields


def test_the_shape_of_a_list_has_what_was_in_lists_before() -> None:
    # Otherwise a flow that sends the one and the other in turn would record shapes without end.
    bolts, nuts = pack([Bolt(3)]), pack([(Nut(3), "x")])

    first = shape_of_message(bolts, b"")
    both = shape_of_message(nuts, first)

    assert msgspec.msgpack.decode(both).keys() == {"tests.grown.Bolt", "tests.grown.Nut"}
    assert shape_of_message(bolts, both) == both
    assert shape_of_message(pack(["x"]), both) == both


def test_a_field_with_its_default_that_was_not_there_makes_no_difference() -> None:
    before = fingerprint(encode_as({"$": "tests.grown.Bolt", "size": 3} | PADDING))
    shape = msgspec.msgpack.encode({"tests.grown.Bolt": ["size", *PADDING]})
    packed = pack(Bolt(3))

    assert message_difference(encode_as({"$": "tests.grown.Bolt", "size": 3}), packed, b"") == ""
    assert "had a field 'padding'" in message_difference(before, packed, shape)
    assert "'head' of tests.grown.Bolt is new" in message_difference(
        before, pack(Bolt(3, "round")), shape
    )


PADDING = {"padding": "so that it is too long to stand there itself"}


def encode_as(tree: object) -> bytes:
    return msgspec.msgpack.encode(tree)


def test_a_last_argument_with_its_default_makes_no_difference() -> None:
    arguments = Arguments(buy)
    before = fingerprint(encode([Bolt(3)]))

    assert arguments_difference(before, arguments, (Bolt(3), 1), b"") == ""
    assert arguments_difference(before, arguments, (Bolt(3), 2), b"") == "the content differs"
    assert arguments_difference(before, arguments, (Bolt(4), 1), b"") == "the content differs"


@pytest.mark.parametrize("seed", range(200))
def test_bytes_that_are_no_mark_differ(seed: int) -> None:
    recorded = bytes([seed]) + random.Random(seed).randbytes(20)
    arguments = Arguments(buy)

    assert arguments_difference(recorded, arguments, (Bolt(3), 1), b"")
    assert message_difference(recorded, pack(Bolt(3)), b"")
    assert message_difference(b"\xc1" + recorded, pack(Bolt(3)), recorded)
