"""What is no value of a registered type, or not of the type asked for, is refused and named."""

import datetime
import enum
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import msgspec
import pytest

from runtime.codec import (
    Packed,
    encode,
    message,
    pack,
    unpack,
    unpack_any,
    wire_name,
)
from runtime.errors import BadMessage, MisuseError, UnexpectedMessage, UnserialisableMessage
from runtime.limits import MESSAGE_BYTES_MAX


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
    number: int
    names: set[str]
    at: datetime.datetime
    amount: Decimal
    offers: dict[int, Offer]


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


def show(value: object) -> str:
    return type(value).__name__


@pytest.mark.parametrize(
    ("value", "expected", "text"),
    [
        (3, Offer, f"expected {__name__}.Offer, got int"),
        (Refusal("a"), Offer, f"expected {__name__}.Offer, got {__name__}.Refusal"),
        (Offer("a"), BindingOffer, "BindingOffer, got"),
        (True, int, "expected int, got bool"),
        (1, bool, "expected bool, got int"),
        (1.5, int, "expected int, got float"),
        ("1", int, "expected int, got str"),
        ("1", bytes, "expected bytes, got str"),
        ([1], tuple[int, ...], "expected tuple[int, ...], got list"),
        ((1,), list, "expected list, got tuple"),
        ([1], list[str], "expected list[str], got list (Expected `str`, got `int` - at `$[0]`)"),
        ([2**70], list[str], "expected list[str], got list"),
        ([Refusal("a")], list[Offer], "got list"),
        ([1, "a"], dict[str, object] | Offer, "got list"),
        ({"a": 1}, dict[int, object], "got dict"),
        ("c", Literal["a"], "got str"),
        ("red", Colour, "got str"),
        (None, Offer, "got None"),
        (datetime.date(2024, 1, 1), datetime.datetime, "expected datetime, got date"),
        (3, Offer | None, f"expected {__name__}.Offer | None, got int"),
    ],
    ids=show,
)
def test_a_value_of_another_type_is_unexpected(value: object, expected: object, text: str) -> None:
    with pytest.raises(UnexpectedMessage) as caught:
        unpack(pack(value), expected)

    assert text in str(caught.value)


def test_unexpected_says_what_was_expected_what_came_and_why() -> None:
    with pytest.raises(UnexpectedMessage) as caught:
        unpack(Packed(wire_name(Offer), encode({"asset": 3})), Offer)

    assert caught.value.expected == wire_name(Offer)
    assert caught.value.got == wire_name(Offer)
    assert caught.value.where == "(Expected `str`, got `int` - at `$.asset`)"


@pytest.mark.parametrize(
    "packed",
    [
        Packed("no.Such", b"\x01"),
        Packed("", b"\x01"),
        Packed("object", b"\x01"),
        Packed("runtime.codec.Packed", b"\x92\xa1a\xc4\x00"),
        Packed("x" * 10_000, b"\x01"),
        Packed("int", b""),
        Packed("int", b"\x01\x01"),
        Packed("int", b"\xc1"),
        Packed("str", b"\xa1\xff"),
        Packed("list", b"\x91" * 100_000),
        Packed("list", b"\xdd\xff\xff\xff\xff"),
        Packed("list", b"\xa1a"),
        Packed("dict", b"\x90"),
        Packed("tuple", b"\x80"),
        Packed("set", b"\x91\x90"),
        Packed("dict", b"\x81\x91\x80\x01"),
        Packed("dict", b"\x81\x91\xa1$\x01"),
        Packed("dict", b"\xdf\xff\xff\xff\xff"),
        Packed("bytes", b"\xc6\xff\xff\xff\xff"),
        Packed("list", b"\x91\xd4\x63\x00"),
        Packed("list", b"\x91\xd4\x01\x01"),
        Packed("list", b"\x91\xd4\x02\x01"),
        Packed("list", b"\x91\xd4\x05\x90"),
        Packed("list", b"\x91\xd5\x07\x91\x01"),
        Packed("list", encode([{"$": "no.Such"}])),
        Packed("list", encode([{"$": 3}])),
        Packed("list", encode([{"$": wire_name(Colour)}])),
        Packed("list", encode([{"$": wire_name(Offer)}])),
        Packed("list", encode([msgspec.Raw(b"\xc7\x06\x06\x92\xa3x.Y\x01")])),
        Packed("list", msgspec.msgpack.encode([msgspec.msgpack.Ext(4, b"\x01" * 70_000)])),
    ],
    ids=lambda packed: f"{packed.type[:30]} {packed.body[:20]!r}",
)
def test_bytes_that_are_no_value_are_bad(packed: Packed) -> None:
    with pytest.raises(BadMessage) as caught:
        unpack_any(packed)

    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "expected", [object, list, dict, list[int], dict[str, int], Offer, Basket, Everything, int]
)
def test_no_typed_receiver_takes_hostile_bytes(expected: object) -> None:
    hostile = [
        b"",
        b"\xc1",
        b"\x91" * 100_000,
        b"\x81\xa1a" * 100_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\x7f\xff\xff\xff\x01",
        b"\x81\xa5first" * 5_000,
        b"\xa1\xff",
    ]
    for kind in ["list", "dict", "int", *map(wire_name, (Offer, Basket, Everything))]:
        for body in hostile:
            with pytest.raises((BadMessage, UnexpectedMessage)):
                unpack(Packed(kind, body), expected)


def test_whatever_a_post_init_raises_is_about_the_message() -> None:
    @message
    class Picky:
        x: int

        def __post_init__(self) -> None:
            if self.x:
                raise KeyError(self.x)

    with pytest.raises(BadMessage):
        unpack(Packed(wire_name(Picky), encode({"x": 1})), Picky)
    with pytest.raises(BadMessage):
        unpack_any(Packed(wire_name(Picky), encode({"x": 1})))


@dataclass
class Secret:
    x: int


class Row(NamedTuple):
    x: int


class Bare(msgspec.Struct):
    x: int


class Shade(enum.Enum):
    DARK = "dark"


class Text(str):
    __slots__ = ()


class Numbers(list[int]):
    pass


@message
class HoldsDataclass:
    secret: list[Secret]


@message
class HoldsHolder:
    inner: dict[str, "HoldsDataclass | None"]


@message
class HoldsFunction:
    call: Callable[[int], int]


def cyclic() -> list[object]:
    inner: list[object] = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(
    ("value", "path", "type_name"),
    [
        (Secret(1), "Secret", f"{__name__}.Secret"),
        (Bare(1), "Bare", f"{__name__}.Bare"),
        (Row(1), "Row", f"{__name__}.Row"),
        (Shade.DARK, "Shade", f"{__name__}.Shade"),
        (Text("a"), "Text", f"{__name__}.Text"),
        (Numbers([1]), "Numbers", f"{__name__}.Numbers"),
        (object(), "object", "object"),
        (Secret, "type", "type"),
        (bytearray(b"a"), "bytearray", "bytearray"),
        (HoldsDataclass([Secret(1)]), "HoldsDataclass.secret[]", f"{__name__}.Secret"),
        (HoldsHolder({}), "HoldsDataclass.secret[]", f"{__name__}.Secret"),
        ([1, Secret(1)], "list[1]", f"{__name__}.Secret"),
        ({"a": (1, [object()])}, "dict['a'][1][0]", "object"),
        ({object(): 1}, "dict.keys()", "object"),
        ({Secret}, "set{}", "type"),
        ([Shade.DARK], "list[0]", f"{__name__}.Shade"),
        ([Row(1)], "list[0]", f"{__name__}.Row"),
        ([Bare(1)], "list[0]", f"{__name__}.Bare"),
        ((Offer("a", object()),), "tuple[0].price", "object"),  # type: ignore[arg-type]
        (Offer(object()), "Offer.asset", "object"),  # type: ignore[arg-type]
        (Basket(Offer("a"), [Offer("b", object())]), "Basket.rest[0].price", "object"),  # type: ignore[arg-type]
        (Offer("\ud800"), "Offer.asset", "str"),
        ("\ud800", "str", "str"),
        (
            datetime.datetime(1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=3))),
            "datetime",
            "datetime",
        ),
        (Loose({"a": Decimal(1)}), "Loose.about", "dict"),
        (Loose(parts=[(1,)]), "Loose.parts", "list"),
        (cyclic(), "list" + "[0]" * 65 + "[...", "value in a value in a value"),
    ],
    ids=show,
)
def test_what_can_not_be_encoded_is_named_with_its_path(
    value: object, path: str, type_name: str
) -> None:
    with pytest.raises(UnserialisableMessage) as caught:
        pack(value)

    assert (caught.value.path, caught.value.type_name) == (path, type_name)


def test_encode_refuses_as_pack_does() -> None:
    with pytest.raises(UnserialisableMessage, match=r"Offer\.asset"):
        encode(Offer(object()))  # type: ignore[arg-type]
    with pytest.raises(UnserialisableMessage, match="Secret"):
        encode(Secret(1))
    with pytest.raises(UnserialisableMessage, match=r"Loose\.about"):
        encode(Loose({"a": (1,)}))


def test_a_class_that_nobody_can_send_is_the_authors_mistake() -> None:
    for expected in (
        Secret,
        HoldsDataclass,
        list[Secret],
        Callable[[int], int],
        Shade,
        HoldsFunction,
    ):
        with pytest.raises(MisuseError):
            unpack(pack(3), expected)
    with pytest.raises(MisuseError):
        unpack(pack([1]), list[int] | list[str])
    with pytest.raises(BadMessage):
        unpack_any(Packed(wire_name(HoldsDataclass), b"\x80"))


@pytest.mark.parametrize("expected", [[Offer], "Offer", 3, list[3], {}])  # type: ignore[valid-type]
def test_what_is_no_type_can_not_be_received(expected: object) -> None:
    with pytest.raises(MisuseError):
        unpack(pack([1]), expected)


def test_an_annotation_that_names_nothing_is_the_authors_mistake() -> None:
    @message
    class Lost:
        x: "NoSuchClass"  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(MisuseError, match="NoSuchClass"):
        pack(Lost(1))


def test_messages_in_messages_are_bounded_where_an_extension_is_inside() -> None:
    tree: object = msgspec.msgpack.Ext(4, b"\x01" * 20)
    for _ in range(150):
        tree = {"$": wire_name(Nested), "inner": tree}

    with pytest.raises(UnexpectedMessage):
        unpack(Packed(wire_name(Nested), msgspec.msgpack.encode(tree)), Nested)


@message
class Nested:
    inner: "Nested | int"


def test_a_value_beyond_the_limit_is_refused_on_the_way_out() -> None:
    for value in (b"x" * MESSAGE_BYTES_MAX, [b"x" * MESSAGE_BYTES_MAX]):
        with pytest.raises(UnserialisableMessage, match="in chunks"):
            pack(value)
    with pytest.raises(UnserialisableMessage, match="in chunks"):
        encode(b"x" * MESSAGE_BYTES_MAX)
    assert unpack(pack(b"x" * (MESSAGE_BYTES_MAX - 5)), bytes)


def test_the_shortest_value_that_nests_too_deeply_is_refused() -> None:
    nest: list[object] = []
    for _ in range(201):
        nest = [nest]

    assert len(encode(nest)) == 202
    with pytest.raises(UnserialisableMessage, match="levels may nest"):
        encode([nest])


def test_the_shortest_list_that_nests_too_deeply_to_be_packed_is_refused() -> None:
    nest: list[object] = []
    for _ in range(100):
        nest = [nest]

    assert len(pack(nest).body) == 101
    with pytest.raises(UnserialisableMessage, match="levels may nest"):
        pack([nest])


@pytest.mark.parametrize("value", [b"\x91" * 70_000, "\x11" * 70_000])
def test_what_looks_like_a_nest_inside_of_one_value_is_none(value: object) -> None:
    assert unpack(pack(value), type(value)) == value
    assert unpack_any(pack([value])) == [value]
