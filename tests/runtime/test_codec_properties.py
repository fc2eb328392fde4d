"""Properties of the codec over generated values, and over bytes that nobody has encoded."""

import datetime
import enum
import random
import tracemalloc
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.codec import Packed, decode, encode, message, pack, unpack, unpack_any, wire_name
from runtime.errors import BadMessage, UnexpectedMessage


@message
class Suit(enum.Enum):
    HEARTS = "hearts"
    SPADES = "spades"


@message
class Card:
    suit: Suit
    rank: int = 1
    marks: dict[int, str] = {}


@message
class Joker(Card):
    wild: bool = True


@message
class Hand:
    cards: list[Card]
    worth: Decimal | None = None
    at: datetime.datetime | None = None
    names: set[str] = set()
    seen: tuple[UUID, ...] = ()
    extra: dict[str, tuple[int, bytes]] = {}


utc = st.just(datetime.UTC)
cards = st.builds(
    Card, st.sampled_from(Suit), st.integers(), st.dictionaries(st.integers(), st.text())
)
jokers = st.builds(Joker, st.sampled_from(Suit), st.integers(), st.just({}), st.booleans())
hands = st.builds(
    Hand,
    st.lists(cards | jokers, max_size=3),
    st.none() | st.decimals(allow_nan=False),
    st.none() | st.datetimes(timezones=utc),
    st.sets(st.text()),
    st.lists(st.uuids()).map(tuple),
    st.dictionaries(st.text(), st.tuples(st.integers(), st.binary())),
)
hashable = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.just("$")
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.datetimes()
    | st.datetimes(timezones=utc)
    | st.sampled_from(Suit)
)


@st.composite
def _key(draw: st.DrawFn) -> object:
    match draw(st.integers(0, 3)):
        case 0:
            return (draw(hashable), (draw(hashable),))
        case 1:
            return draw(st.frozensets(hashable, max_size=2))
        case _:
            return draw(hashable)


keys = _key()
values = st.recursive(
    hashable | hands,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.sets(keys, max_size=4)
        | st.frozensets(keys, max_size=4)
    ),
    max_leaves=20,
)


def typed_equal(left: object, right: object) -> bool:
    """Equality that tells True from 1 and 1 from 1.0, at every depth that keeps an order."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(typed_equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(typed_equal(left[k], right[k]) for k in left)
    return left == right


@settings(max_examples=300, deadline=None)
@given(values)
def test_what_is_packed_is_what_is_unpacked(value: object) -> None:
    packed = pack(value)

    assert typed_equal(unpack_any(packed), value)
    assert typed_equal(unpack(packed, object), value)
    assert typed_equal(unpack(packed, type(value)), value)


@settings(max_examples=200, deadline=None)
@given(values)
def test_the_bytes_are_canonical_also_after_a_round_trip(value: object) -> None:
    packed = pack(value)

    assert pack(unpack_any(packed)) == packed


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(keys, values, max_size=5), st.randoms())
def test_the_order_of_a_dict_does_not_show_in_its_bytes(
    value: dict[object, object], chance: random.Random
) -> None:
    entries = list(value.items())
    chance.shuffle(entries)

    assert pack(dict(entries)) == pack(value)
    assert list(unpack(pack(value, keep_order=True), dict)) == list(value)


@settings(max_examples=200, deadline=None)
@given(hands)
def test_a_message_survives_in_the_typed_form(hand: Hand) -> None:
    assert decode(encode(hand), Hand) == hand
    assert decode(encode([hand]), list[Hand]) == [hand]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20) | st.sampled_from(["list", "dict", "int", "set"]), st.binary())
def test_no_bytes_raise_anything_but_message_errors(kind: str, body: bytes) -> None:
    receive_everywhere(Packed(kind, body))


TARGETS: list[object] = [
    object,
    int,
    float,
    str,
    list,
    dict,
    set,
    list[int],
    list[Card],
    dict[str, Hand],
    dict[str, object],
    tuple[int, ...],
    tuple[Any, ...],
    Card,
    Hand,
    Suit,
    Card | Hand | None,
    Decimal,
    datetime.datetime,
    UUID,
]


def receive_everywhere(packed: Packed) -> int:
    """Return how many receivers took it; any other error than those of a message escapes."""
    taken = 0
    for target in TARGETS:
        try:
            unpack(packed, target)
            taken += 1
        except (BadMessage, UnexpectedMessage) as error:
            assert len(str(error)) < 2_000  # noqa: PT017
    return taken


SAMPLES: list[object] = [
    Hand(
        [Card(Suit.HEARTS, 2**70, {3: "x"}), Joker(Suit.SPADES)],
        Decimal("1.5"),
        datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
        {"a", "b"},
        (UUID(int=3),),
        {"k": (2**65, b"raw")},
    ),
    [(1, Decimal(2)), {"$": 1}, {(1,): {2, 3}}, Suit.HEARTS, Card(Suit.SPADES), 2**80],
    {"x": [Card(Suit.SPADES)], "y": frozenset({datetime.date(2024, 1, 1)})},
    (datetime.timedelta(1), datetime.time(3), datetime.datetime(2024, 1, 1), UUID(int=1)),
    Suit.SPADES,
    2**100,
]


def damaged(body: bytes, chance: random.Random) -> bytes:
    """Return ``body`` with a few bytes changed, cut out, repeated or moved."""
    data = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[at : at + chance.randint(1, 5)]
            case 2:
                data[at:at] = data[at : at + chance.randint(1, 20)]
            case 3:
                data[at:at] = bytes([chance.choice((0x81, 0x91, 0xC1, 0xC7, 0xD4, 0xDD, 0xDF))])
            case _:
                data[at:at] = encode(chance.choice(("$", wire_name(Card), "no.Such", 2**64 - 1)))
    return bytes(data)


@pytest.mark.parametrize("seed", range(20))
def test_damaged_bytes_are_message_errors_or_other_values(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(100):
        packed = pack(chance.choice(SAMPLES))

        receive_everywhere(Packed(packed.type, damaged(packed.body, chance)))


@pytest.mark.parametrize("seed", range(5))
def test_a_body_of_another_type_is_a_message_error_or_another_value(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(50):
        kind, body = pack(chance.choice(SAMPLES)).type, pack(chance.choice(SAMPLES)).body

        receive_everywhere(Packed(kind, body))


@pytest.mark.parametrize(
    "head", [b"\xdd\x7f\xff\xff\xff", b"\xdf\x7f\xff\xff\xff", b"\xc6\x7f\xff\xff\xff"]
)
def test_a_length_that_is_a_lie_costs_no_memory(head: bytes) -> None:
    bodies = [head * 20, head + b"\x01" * 50, b"\x91" * 50 + head]
    tracemalloc.start()
    try:
        for kind in ("list", "dict", "bytes", wire_name(Hand)):
            for body in bodies:
                receive_everywhere(Packed(kind, body))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 2_000_000


def test_nested_extensions_are_bounded() -> None:
    body = b"\x90"
    for _ in range(2_000):
        body = msgspec.msgpack.encode([msgspec.msgpack.Ext(1, body)])

    assert receive_everywhere(Packed("list", body)) == 0
