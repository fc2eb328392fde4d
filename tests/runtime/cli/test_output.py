"""Values as text and as JSON."""

import datetime

import msgspec
import pytest

from runtime.cli.output import duration_text, exact_time_text, packed_as_builtins, time_text
from runtime.codec import Packed, message, pack


@message
class Deal:
    """A value with everything in it that JSON lacks."""

    paper: str
    secret: bytes
    at: datetime.datetime


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_500, "1 s"),
        (61_000, "1 min 1 s"),
        (3_600_000, "1 h"),
        (3_661_000, "1 h 1 min"),
        (90_000_000, "1 d 1 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(milliseconds: int, expected: str) -> None:
    assert duration_text(milliseconds) == expected


def test_a_time_is_shown_to_the_second_or_to_the_millisecond() -> None:
    noon = int(datetime.datetime(2024, 5, 31, 12, 0, 0, 123_000).astimezone().timestamp() * 1000)

    assert time_text(noon) == "2024-05-31 12:00:00"
    assert exact_time_text(noon) == "2024-05-31 12:00:00.123"
    assert time_text(None) == ""


def test_a_value_is_readable_without_its_class() -> None:
    at = datetime.datetime(2024, 5, 31, tzinfo=datetime.UTC)
    packed = pack(Deal("bond", b"\x00\xff", at))

    assert packed_as_builtins(Packed("trade.Unknown", packed.body)) == {
        "$": f"{__name__}.Deal",
        "paper": "bond",
        "secret": "00ff",
        "at": "2024-05-31T00:00:00+00:00",
    }


def test_a_value_of_a_strange_kind_is_still_readable() -> None:
    body = msgspec.msgpack.encode([None, True, 1.5, msgspec.msgpack.Ext(7, b"x")])

    shown = packed_as_builtins(Packed("list", body))

    assert isinstance(shown, list)
    assert shown[:3] == [None, True, 1.5]
    assert isinstance(shown[3], str)
