"""Values survive the way to bytes and back."""

import collections.abc
import datetime
import enum
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType
from uuid import UUID

import pytest

from runtime.codec import (
    Packed,
    decode,
    encode,
    fingerprint,
    message,
    pack,
    unpack,
    unpack_any,
)
from runtime.errors import BadMessage, UnserialisableMessage
from runtime.limits import FINGERPRINT_BYTES_INLINE_MAX

Price = NewType("Price", int)


@message
class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@message
class Offer:
    asset: str
    price: int = 0


@message
class BindingOffer(Offer):
    until: datetime.date = datetime.date(2030, 1, 1)


@message
class Refusal:
    reason: str


@message
class Everything:
    none: None
    flag: bool
    number: int
    ratio: float
    text: str
    raw: bytes
    numbers: list[int]
    pair: tuple[int, str]
    row: tuple[int, ...]
    by_number: dict[int, Decimal]
    by_name: dict[str, Offer]
    names: set[str]
    frozen: frozenset[int]
    at: datetime.datetime
    local: datetime.datetime
    day: datetime.date
    hour: datetime.time
    span: datetime.timedelta
    amount: Decimal
    id: UUID
    colour: Colour
    maybe: Offer | Refusal | None
    choice: Literal["a", "b"]
    packed: Packed
    price: Price
    sequence: collections.abc.Sequence[int]


@message
class Loose:
    about: dict[str, object] = {}
    parts: list[Any] = []


@message
class Basket:
    first: Offer
    rest: list[Offer] = []
    named: dict[str, Offer | None] = {}
    by_number: dict[int, tuple[Offer, ...]] = {}


EVERYTHING = Everything(
    none=None,
    flag=True,
    number=2**70,
    ratio=1.5,
    text="€",
    raw=b"\x00\xff",
    numbers=[1, -(2**65)],
    pair=(1, "a"),
    row=(1, 2, 3),
    by_number={3: Decimal("1.50"), 1: Decimal(2)},
    by_name={"x": Offer("a")},
    names={"z", "a"},
    frozen=frozenset({2, 1}),
    at=datetime.datetime(2024, 1, 1, 12, 30, 1, 5, tzinfo=datetime.UTC),
    local=datetime.datetime(2024, 1, 1, 12, 30, 1, 5),
    day=datetime.date(2024, 2, 29),
    hour=datetime.time(23, 59, 59, 999999),
    span=datetime.timedelta(days=-3, microseconds=1),
    amount=Decimal("-0.10"),
    id=UUID(int=7),
    colour=Colour.BLUE,
    maybe=Refusal("no"),
    choice="b",
    packed=pack(Offer("inside")),
    price=Price(3),
    sequence=[1, 2],
)

VALUES = [
    None,
    True,
    0,
    200,
    -200,
    2**31,
    2**64 - 1,
    2**64,
    -(2**63),
    -(2**63) - 1,
    1.5,
    float("inf"),
    "",
    "text €",
    b"",
    b"bytes",
    [],
    [1, "a", None, [2.5, {"b": b"c"}]],
    (),
    (1, 2),
    {"a": 1},
    {1: 2, "a": 3, None: 4, b"k": 5},
    {(1, 2): 3, Decimal(4): 5},
    {"$": "no message"},
    [{"$": 1}, {"x": {"$": Offer("a")}}],
    {1, 2},
    {"a", 1, None},
    {(1, 2), (3,)},
    frozenset({1}),
    frozenset({frozenset({Decimal(1)})}),
    datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    datetime.datetime(2024, 1, 1),
    datetime.date(2024, 1, 1),
    datetime.time(3, 4),
    datetime.timedelta(seconds=3),
    Decimal("1.50"),
    Decimal("-Infinity"),
    UUID(int=7),
    Colour.RED,
    Offer("bond", 95),
    BindingOffer("bond", 95),
    EVERYTHING,
    Loose({"a": [1, None, {"b": 2.5}]}, [b"x"]),
    [Offer("a"), Refusal("b"), Colour.RED],
    [Loose({"a": 1})],
    (Decimal("1.5"), datetime.date(2024, 1, 1), UUID(int=1), [datetime.time(1)], (1, (2,))),
    [datetime.datetime(2024, 1, 1), datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)],
    {"x": (EVERYTHING, {2**80}), "y": Basket(BindingOffer("b"))},
    Basket(BindingOffer("a"), [Offer("b"), BindingOffer("c")], {"n": None, "o": BindingOffer("d")}),
    Basket(Offer("a", 2**90), by_number={3: (BindingOffer("e"), Offer("f", 2**70))}),
]


def show(value: object) -> str:
    # Only the type: the order of a set and the address of an object differ between processes.
    return type(value).__name__


@pytest.mark.parametrize("value", VALUES, ids=show)
def test_every_value_survives_the_round_trip_without_its_type_being_known(value: object) -> None:
    arrived = unpack_any(pack(value))

    assert arrived == value
    assert type(arrived) is type(value)


@pytest.mark.parametrize("value", VALUES, ids=show)
def test_every_value_arrives_where_its_class_or_object_is_asked_for(value: object) -> None:
    packed = pack(value)

    assert unpack(packed, type(value)) == value
    assert unpack(packed, object) == value
    assert unpack(packed, Any) == value


@pytest.mark.parametrize("value", VALUES, ids=show)
def test_the_same_value_gives_the_same_bytes_after_the_round_trip(value: object) -> None:
    packed = pack(value)

    assert pack(unpack_any(packed)) == packed


def test_not_a_number_survives() -> None:
    assert str(unpack_any(pack([float("nan")]))) == "[nan]"


@pytest.mark.parametrize(
    ("value", "expected", "arrives"),
    [
        ([Offer("a")], list[Offer], [Offer("a")]),
        ([Offer("a"), None], list[Offer | None], [Offer("a"), None]),
        ([BindingOffer("a")], list[Offer], [BindingOffer("a")]),
        ([(BindingOffer("a"),)], list[tuple[Offer, ...]], [(BindingOffer("a"),)]),
        ({"x": Offer("a")}, dict[str, Offer], {"x": Offer("a")}),
        ({1: Decimal(2)}, dict[int, Decimal], {1: Decimal(2)}),
        ({(1, 2): 3}, dict[tuple[int, int], int], {(1, 2): 3}),
        ((1, Decimal("2.5")), tuple[int, Decimal], (1, Decimal("2.5"))),
        ((Offer("a"), [2**80]), tuple[Offer, list[int]], (Offer("a"), [2**80])),
        ({Colour.RED}, set[Colour], {Colour.RED}),
        ({"a": [Decimal(1), None]}, dict[str, object], {"a": [Decimal(1), None]}),
        ([1, (Offer("a"),)], list[Any], [1, (Offer("a"),)]),
        ([[1], [2**70]], collections.abc.Sequence[list[int]], [[1], [2**70]]),
        ((1, 2), collections.abc.Sequence[int], (1, 2)),
        ([1, 2], collections.abc.Iterable[int], [1, 2]),
        ({1, 2}, collections.abc.Set[int], {1, 2}),
        ({"a": 1}, collections.abc.Mapping[str, int], {"a": 1}),
        ((1, "a"), collections.abc.Collection[Any], (1, "a")),
        (Offer("a"), Offer | Refusal, Offer("a")),
        (Refusal("a"), Offer | Refusal | None, Refusal("a")),
        (None, Offer | None, None),
        (None, None, None),
        (BindingOffer("a"), Offer, BindingOffer("a")),
        (BindingOffer("a"), Offer | int, BindingOffer("a")),
        (3, Offer | int, 3),
        (3, float, 3.0),
        (2**70, float, float(2**70)),
        (Decimal(1), Decimal | str, Decimal(1)),
        ("1", Decimal | str, "1"),
        (Colour.RED, Colour | str, Colour.RED),
        ("red", Colour | str, "red"),
        ("a", Literal["a", "b"], "a"),
        (1, Literal["a", 1], 1),
        (3, Price, 3),
        (3, Annotated[int, "whatever"], 3),
        ([1], int | list[int], [1]),
    ],
    ids=show,
)
def test_a_value_arrives_as_what_is_asked_for(
    value: object, expected: object, arrives: object
) -> None:
    arrived = unpack(pack(value), expected)

    assert arrived == arrives
    assert type(arrived) is type(arrives)


def test_a_part_without_declared_type_may_hold_what_message_pack_has() -> None:
    @message
    class Mixed:
        about: object
        pair: tuple[Offer, object] = (Offer("p"), 1)
        steps: collections.abc.Sequence[int] = ()
        ratio: float = float("nan")

    for about in (float("nan"), [1, {"a": None}], {"b": [b"x", 1.5]}):
        value = Mixed(about, steps=(1, 2))
        assert repr(unpack(pack(value), Mixed)) == repr(Mixed(about, steps=[1, 2]))
    lossy: list[object] = [(1,), Decimal(1), Offer("a"), {"a": {1}}, Colour.RED, [True, (2,)]]
    for part in lossy:
        with pytest.raises(UnserialisableMessage, match=r"Mixed\.about"):
            pack(Mixed(part))


def test_bytes_like_fields_are_bytes_on_the_wire() -> None:
    @message
    class Blob:
        data: bytearray
        by_number: dict[int, int] = {}

    assert unpack(pack(Blob(bytearray(b"x"), {2: 1, 1: 2})), Blob).data == b"x"


def test_dicts_and_sets_are_canonical() -> None:
    assert encode({"b": 1, "a": 2}) == encode({"a": 2, "b": 1})
    assert encode({2: 1, 10: 2}) == encode({10: 2, 2: 1})
    assert pack({(2,): 1, (1,): 2}) == pack({(1,): 2, (2,): 1})
    assert pack({"a", 1, None}) == pack({None, 1, "a"})
    assert encode(Basket(Offer("a"), by_number={2: (), 1: ()})) == encode(
        Basket(Offer("a"), by_number={1: (), 2: ()})
    )


@pytest.mark.parametrize("value", [{"b": 1, "a": 2}, {3: {"b": 1, "a": (1,)}, 1: 2}])
def test_dicts_can_keep_their_order(value: dict[object, object]) -> None:
    arrived = unpack_any(pack(value, keep_order=True))

    assert isinstance(arrived, dict)
    assert list(arrived) == list(value)
    assert list(decode(encode(value, keep_order=True), dict)) == list(value)
    assert pack(Offer("a"), keep_order=True) == pack(Offer("a"))


def test_the_typed_form_is_read_by_who_knows_the_type() -> None:
    assert decode(encode((1, Decimal(2))), tuple[int, Decimal]) == (1, Decimal(2))
    assert decode(encode(EVERYTHING), Everything) == EVERYTHING
    assert decode(encode(BindingOffer("a")), Offer) == BindingOffer("a")
    assert decode(encode([BindingOffer("a")]), list[Offer]) == [BindingOffer("a")]
    assert decode(encode(BindingOffer("a")), Offer | Refusal) == BindingOffer("a")
    assert decode(encode(2**70), int) == 2**70
    assert decode(encode([Offer("a")]), object) == [Offer("a")]
    assert decode(encode(pack(3)), Packed) == pack(3)
    for body, expected in ((b"\xa1a", int), (b"", Offer), (encode(Refusal("a")), Offer)):
        with pytest.raises(BadMessage):
            decode(body, expected)


def test_a_short_body_is_its_own_fingerprint_and_a_long_one_has_a_digest() -> None:
    short, long = b"x" * FINGERPRINT_BYTES_INLINE_MAX, b"x" * (FINGERPRINT_BYTES_INLINE_MAX + 1)

    assert fingerprint(short) == short
    assert len(fingerprint(long)) == 17
    assert fingerprint(long).startswith(b"\xc1")
    assert fingerprint(long) != fingerprint(long + b"x")
