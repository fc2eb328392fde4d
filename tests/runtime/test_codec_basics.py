"""A first look at the codec: values survive the way to bytes and back."""

import datetime
import enum
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import pytest

from runtime.codec import message, pack, registered, unpack, unpack_any, wire_name
from runtime.errors import BadMessage, UnexpectedMessage, UnserialisableMessage


@message
class Money:
    """An amount."""

    quantity: int
    currency: str = "GBP"

    def doubled(self) -> "Money":
        return Money(self.quantity * 2, self.currency)

    @property
    def text(self) -> str:
        return f"{self.quantity} {self.currency}"

    @classmethod
    def none(cls) -> "Money":
        return cls(0)

    def describe(self) -> str:
        return "money"


@message(name="tests.Taxed")
class Taxed(Money):
    rate: Decimal = Decimal("0.2")
    marks: list[str] = []

    def describe(self) -> str:
        return "taxed " + super().describe()


@message
class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        2**70,
        -(2**70),
        1.5,
        "text",
        b"bytes",
        [1, 2],
        (1, 2),
        {"a": 1},
        {1, 2},
        frozenset({1}),
        datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
        datetime.datetime(2024, 1, 1),
        datetime.date(2024, 1, 1),
        datetime.time(3, 4),
        datetime.timedelta(seconds=3),
        Decimal("1.50"),
        UUID(int=7),
        Colour.RED,
        Money(3, "EUR"),
        Taxed(3, marks=["x"]),
    ],
)
def test_every_kind_of_value_survives_the_round_trip(value: object) -> None:
    packed = pack(value)

    assert unpack_any(packed) == value
    assert unpack(packed, type(value)) == value


def test_methods_properties_and_super_work_on_a_message() -> None:
    assert Money(2).doubled() == Money(4)
    assert Money(2).text == "2 GBP"
    assert Money.none() == Money(0)
    assert Taxed(2).describe() == "taxed money"
    assert Taxed(2).marks == []


def test_a_message_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Money(1).quantity = 2  # type: ignore[misc]


def test_a_subclass_is_accepted_where_its_base_is_asked_for() -> None:
    assert unpack(pack(Taxed(1)), Money) == Taxed(1)


def test_another_type_is_unexpected_and_an_unknown_one_is_bad() -> None:
    with pytest.raises(UnexpectedMessage, match="Money"):
        unpack(pack(3), Money)
    with pytest.raises(BadMessage):
        unpack(type(pack(3))("no.Such", b"\x01"), Money)


def test_wire_names() -> None:
    assert wire_name(Taxed) == "tests.Taxed"
    assert registered("tests.Taxed") is Taxed


def test_an_unregistered_class_is_refused() -> None:
    @dataclass
    class Secret:
        x: int

    with pytest.raises(UnserialisableMessage):
        pack(Secret(1))
