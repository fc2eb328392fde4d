"""Journal events and their bytes: round trip, damaged bytes, golden bytes, descriptions."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Final, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runtime.codec import encode as encode_value
from runtime.codec import fingerprint
from runtime.core.events import AnyEvent, Left, Stepped, decode, describe, encode
from runtime.errors import UndecodableEvent
from tests.runtime.core.samples import EVENTS

GOLDEN: Final = Path(__file__).parents[2] / "golden" / "events.json"


def test_there_is_a_sample_of_every_kind() -> None:
    assert {type(event) for event in EVENTS.values()} == set(get_args(AnyEvent))


@pytest.mark.parametrize("name", EVENTS)
def test_what_was_encoded_is_decoded(name: str) -> None:
    assert decode(encode(EVENTS[name])) == EVENTS[name]


@pytest.mark.parametrize("name", EVENTS)
def test_the_bytes_of_the_first_version_are_still_written_and_read(name: str) -> None:
    # Breaks when a field is moved, removed or renamed, or a kind gets another number.
    golden = json.loads(GOLDEN.read_text())

    assert encode(EVENTS[name]).hex() == golden[name]
    assert decode(bytes.fromhex(golden[name])) == EVENTS[name]


def test_an_event_written_before_a_field_was_added_is_still_read() -> None:
    # 0x95: an array of five, without the error id that came later.
    before = bytes([0x95]) + encode(Left(5, "3/", "f", True))[1:-1]

    assert decode(before) == Left(5, "3/", "f", True)


@example(b"\x96\x01\x00\xa1\x80")  # a str that is no UTF-8
@given(st.binary(max_size=60))
def test_damaged_bytes_are_an_event_or_undecodable(data: bytes) -> None:
    with suppress(UndecodableEvent):
        decode(data)


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_can_be_described(name: str) -> None:
    assert describe(EVENTS[name])


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (encode_value((1, "x")), "step s(1, 'x')"),
        (encode_value("x"), "step s('x')"),
        (fingerprint(encode_value("x" * 100)), "step s(digest "),
        (b"\xff\xff", "step s(ffff)"),
    ],
)
def test_arguments_are_shown_as_far_as_they_are_there(arguments: bytes, shown: str) -> None:
    assert describe(Stepped(0, "", "s", arguments, b"")).startswith(shown)
