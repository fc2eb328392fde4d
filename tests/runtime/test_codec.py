"""Values survive the way to bytes and back, and everything else is told apart from them."""

import collections.abc
import datetime
import enum
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NewType
from uuid import UUID

import msgspec
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
    wire_name,
)
from runtime.errors import BadMessage, MisuseError, UnexpectedMessage, UnserialisableMessage
from runtime.limits import FINGERPRINT_BYTES_INLINE_MAX, MESSAGE_BYTES_MAX

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
    return f"{type(value).__name__} {value!r}"[:40]


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


def test_dicts_and_sets_are_canonical() -> None:
    assert encode({"b": 1, "a": 2}) == encode({"a": 2, "b": 1})
    assert encode({2: 1, 10: 2}) == encode({10: 2, 2: 1})
    assert pack({(2,): 1, (1,): 2}) == pack({(1,): 2, (2,): 1})
    assert pack({"a", 1, None}) == pack({None, 1, "a"})
    assert encode(Basket(Offer("a"), by_number={2: (), 1: ()})) == encode(
        Basket(Offer("a"), by_number={1: (), 2: ()})
    )


def test_the_bytes_do_not_depend_on_the_process() -> None:
    script = (
        "from runtime.codec import pack;"
        "print(pack({'abc', 'def', 'ghi', 1, (2, 'x')}), pack({('b',): {'y', 'x'}, ('a',): 1}))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(outputs) == 1


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
