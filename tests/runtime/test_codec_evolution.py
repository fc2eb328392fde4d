"""Message classes change between versions of an app; messages of before are still understood."""

import enum
from collections.abc import Mapping

import msgspec
import pytest

from runtime.codec import Packed, decode, encode, message, pack, unpack, unpack_any
from runtime.errors import UnexpectedMessage

OFFER = "tests.evolution.Offer"
ORDER = "tests.evolution.Order"


@message(name="tests.evolution.Status", fallback="UNKNOWN")
class Status(enum.Enum):
    UNKNOWN = "unknown"
    OPEN = "open"


@message(name="tests.evolution.Level", fallback="LOW")
class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@message(name="tests.evolution.Strict")
class Strict(enum.Enum):
    A = "a"


@message(name=OFFER)
class Offer:
    asset: str
    price: int = 0
    status: Status = Status.OPEN


@message(name=ORDER)
class Order:
    offers: list[Offer] = []
    by_status: dict[Status, int] = {}
    level: Level | None = None
    strict: Strict = Strict.A


def of_another_version(name: str, fields: Mapping[str, object]) -> Packed:
    return Packed(name, msgspec.msgpack.encode({"$": name, **fields}))


def test_a_field_that_was_added_has_its_default() -> None:
    assert unpack(of_another_version(OFFER, {"asset": "bond"}), Offer) == Offer("bond")


def test_a_field_that_is_not_known_is_ignored() -> None:
    newer = of_another_version(
        OFFER, {"asset": "bond", "currency": "GBP", "extra": {"$": "no.Such", "deep": [1]}}
    )

    assert unpack(newer, Offer) == Offer("bond")
    assert unpack_any(newer) == Offer("bond")


def test_a_field_that_was_removed_is_tolerated_in_nested_messages() -> None:
    older = {"$": OFFER, "asset": "bond", "removed": 3}

    assert unpack(of_another_version(ORDER, {"offers": [older]}), Order) == Order([Offer("bond")])


def test_a_required_field_that_is_missing_is_named() -> None:
    with pytest.raises(UnexpectedMessage, match="missing required field `asset`"):
        unpack(of_another_version(OFFER, {"price": 3}), Offer)


def test_the_order_of_fields_does_not_matter() -> None:
    body = msgspec.msgpack.encode({"price": 3, "asset": "bond", "$": OFFER})

    assert unpack(Packed(OFFER, body), Offer) == Offer("bond", 3)


def test_an_unknown_value_of_an_enum_becomes_its_fallback_wherever_it_stands() -> None:
    newer = of_another_version(
        ORDER,
        {
            "offers": [{"$": OFFER, "asset": "a", "status": "settled"}],
            "by_status": {"settled": 3},
            "level": 7,
        },
    )

    assert unpack(newer, Order) == Order(
        [Offer("a", status=Status.UNKNOWN)], {Status.UNKNOWN: 3}, Level.LOW
    )
    assert unpack(Packed("tests.evolution.Status", encode("settled")), Status) is Status.UNKNOWN
    assert decode(encode(["open", "settled"]), list[Status]) == [Status.OPEN, Status.UNKNOWN]


def test_an_unknown_value_of_an_enum_without_fallback_is_unexpected() -> None:
    with pytest.raises(UnexpectedMessage, match="Invalid enum value 'z'"):
        unpack(of_another_version(ORDER, {"strict": "z"}), Order)


def test_an_enum_value_of_another_kind_is_no_unknown_value() -> None:
    with pytest.raises(UnexpectedMessage, match="Expected `str`"):
        unpack(of_another_version(OFFER, {"asset": "a", "status": 3}), Offer)


def test_a_field_may_become_a_union_with_what_it_was() -> None:
    @message(name="tests.evolution.Wider")
    class Wider:
        who: str | int | None = None
        what: list[Offer] | Offer | None = None

    older = of_another_version(
        "tests.evolution.Wider", {"who": "me", "what": {"$": OFFER, "asset": "a"}}
    )

    assert unpack(older, Wider) == Wider("me", Offer("a"))


def test_enums_as_keys_and_in_bare_containers_come_back_as_members() -> None:
    order = Order(by_status={Status.OPEN: 1}, level=Level.HIGH)

    assert unpack(pack(order), Order) == order
    assert unpack_any(pack({"s": Status.OPEN})) == {"s": Status.OPEN}
    assert unpack_any(pack({Status.OPEN: [Strict.A]})) == {Status.OPEN: [Strict.A]}
