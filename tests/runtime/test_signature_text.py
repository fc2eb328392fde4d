"""Arguments that a person typed become values, or an error that says what would be right."""

import collections.abc
import datetime
import enum
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, TypeVar

import pytest

from runtime.codec import message, pack, wire_name
from runtime.errors import BadArguments, UnknownParty
from runtime.signatures import Arguments


@message(fallback="UNKNOWN")
class Side(enum.Enum):
    UNKNOWN = "unknown"
    BUY = "buy"


@message
class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@message
class Owner:
    name: str


@message
class Offer:
    asset: str
    price: Decimal = Decimal(0)
    due: datetime.date | None = None
    side: Side = Side.BUY
    owner: Owner | None = None


@message
class Refusal:
    reason: str


@message
class Route:
    start: str
    end: str

    @classmethod
    def parse(cls, text: str) -> "Route":
        start, arrow, end = text.partition(">")
        if not arrow:
            raise ValueError(f"{text!r} is no route: give START>END")
        return cls(start, end)


def owner_named(annotation: object, text: str) -> object:
    """Find an owner by name, as a node finds parties in its directory."""
    if annotation is not Owner:
        return NotImplemented
    if text == "nobody":
        raise UnknownParty("nobody is not in the directory")
    return Owner(f"found {text}")


def arguments_for(annotation: object) -> Arguments:
    def function(it: Any) -> None: ...

    function.__annotations__["it"] = annotation
    return Arguments(function)


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (str, "5 pm", "5 pm"),
        (str, "", ""),
        (str, "a=b", "a=b"),
        (int, " 42 ", 42),
        (int, "-7", -7),
        (int, str(2**70), 2**70),
        (float, "1.5", 1.5),
        (float, "3", 3.0),
        (bool, "true", True),
        (bool, "No", False),
        (bool, "1", True),
        (Decimal, "9.990", Decimal("9.990")),
        (bytes, "aGk=", b"hi"),
        (datetime.date, "2024-05-31", datetime.date(2024, 5, 31)),
        (datetime.time, "17:00:00", datetime.time(17)),
        (datetime.datetime, "2024-05-31T17:00:00", datetime.datetime(2024, 5, 31, 17)),
        (datetime.timedelta, "PT1H", datetime.timedelta(hours=1)),
        (uuid.UUID, str(uuid.UUID(int=5)), uuid.UUID(int=5)),
        (None, "none", None),
        (int | None, "none", None),
        (int | None, "NULL", None),
        (int | None, "", None),
        (int | None, "3", 3),
        (str | None, "", ""),
        (str | None, "none", None),
        (int | str, "3", 3),
        (str | int, "3", 3),
        (int | str, "x", "x"),
        (Decimal | str | None, "1.5", Decimal("1.5")),
        (Side, "BUY", Side.BUY),
        (Side, "buy", Side.BUY),
        (Level, "HIGH", Level.HIGH),
        (Level, "2", Level.HIGH),
        (Literal["a", 1], "a", "a"),
        (Literal["a", 1], "1", 1),
        (list[int], "[1, 2]", [1, 2]),
        (list[Decimal], '[9.99, 1, "2.50"]', [Decimal("9.99"), Decimal(1), Decimal("2.50")]),
        (list[float], "[9.99, 1]", [9.99, 1.0]),
        (tuple[int, ...], "[1, 2]", (1, 2)),
        (tuple[int, str], '[1, "a"]', (1, "a")),
        (set[str], '["a", "a"]', {"a"}),
        (frozenset[int], "[1]", frozenset({1})),
        (collections.abc.Sequence[int], "[1]", [1]),
        (list, "[1]", [1]),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (dict[int, list[Decimal]], '{"1": [2.5]}', {1: [Decimal("2.5")]}),
        (Mapping[str, Side], '{"a": "BUY"}', {"a": Side.BUY}),
        (Offer, '{"asset": "bond"}', Offer("bond")),
        (
            Offer,
            '{"asset": "bond", "price": 9.99, "due": "2024-05-31", "side": "BUY"}',
            Offer("bond", Decimal("9.99"), datetime.date(2024, 5, 31)),
        ),
        (Offer, '{"asset": "a", "due": null}', Offer("a")),
        (Offer | None, '{"asset": "a"}', Offer("a")),
        (Offer | Refusal, f'{{"$": "{wire_name(Refusal)}", "reason": "r"}}', Refusal("r")),
        (list[Offer | None], '[null, {"asset": "a"}]', [None, Offer("a")]),
        (Owner, "me", Owner("found me")),
        (Owner | None, "me", Owner("found me")),
        (list[Owner], '["a", {"name": "b"}]', [Owner("found a"), Owner("b")]),
        (Offer, '{"asset": "a", "owner": "me"}', Offer("a", owner=Owner("found me"))),
        (object, "3", 3),
        (Any, '{"a": [1.5]}', {"a": [1.5]}),
        (Any, "plain text", "plain text"),
    ],
    ids=str,
)
def test_text_is_read_by_the_annotation(annotation: object, text: str, value: object) -> None:
    (read,) = arguments_for(annotation).from_text([text], convert=owner_named)

    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("annotation", "text", "expected"),
    [
        (int, "x", "it must be int, not 'x': invalid literal"),
        (int, "1.5", "for example it=42."),
        (float, "x", "for example it=1.5."),
        (bool, "maybe", "it is true or false"),
        (Decimal, "x", "for example it=9.99."),
        (bytes, "?", "base64"),
        (datetime.date, "tomorrow", "for example it=2024-05-31."),
        (uuid.UUID, "x", "it must be UUID"),
        (Side, "hold", "it is one of UNKNOWN, BUY"),
        (Literal["a", 1], "b", "it is one of a, 1"),
        (None, "x", "it is none"),
        (int | None, "x", "it must be int | None, not 'x'"),
        (list[int], "1, 2", "it is no JSON"),
        (list[int], "{}", "it is a JSON array"),
        (list[int], '["x"]', "invalid literal"),
        (list[int], "[1.5]", "for example it='[42]'."),
        (tuple[int, str], "[1]", "it has 2 parts"),
        (dict[str, int], "[1]", "it is a JSON object"),
        (dict[str, int], "x", "for example it='{\"key\": 42}'."),
        (Offer, "bond", "it is no JSON"),
        (Offer, "[]", "it is a JSON object"),
        (Offer, '{"prise": 3}', "Offer has no field 'prise', but asset, price, due, side, owner"),
        (Offer, "{}", "Missing required argument 'asset'"),
        (Offer, '{"asset": 3}', "it is a JSON string"),
        (Offer, '{"$": "no.Such"}', f"it is no {wire_name(Offer)}"),
        (Offer | Refusal, '{"asset": "a"}', 'say which it is, with "$": '),
        (Owner, "nobody", "nobody is not in the directory"),
        (
            Offer,
            "x",
            'for example it=\'{"asset": "text", "price": "9.99", "due": "2024-05-31", '
            '"side": "UNKNOWN", "owner": {"name": "text"}}\'.',
        ),
    ],
    ids=str,
)
def test_text_that_does_not_fit_is_refused_with_an_example(
    annotation: object, text: str, expected: str
) -> None:
    arguments = arguments_for(annotation)

    with pytest.raises(BadArguments) as caught:
        arguments.from_text([text], convert=owner_named)

    assert expected in str(caught.value)
    assert str(caught.value).endswith(f"Signature: {arguments.name}{arguments.text}")


def sell(buyer: Owner, asset: str, price: int = 3, *, urgent: bool = False) -> str:
    return asset


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["me", "bond", "95", "urgent=yes"], {}),
        (["asset=bond", "me", "95", "urgent=yes"], {}),
        (["urgent=yes", "price=95", "asset=bond", "buyer=me"], {}),
        (["me", "bond"], {"price": "95", "urgent": "true"}),
        ({"buyer": "me", "asset": "bond", "price": 95, "urgent": True}, {}),
        ({"buyer": {"name": "found me"}, "asset": "bond"}, {"price": "95", "urgent": True}),
        ([pack(Owner("found me")), "bond", pack(95)], {"urgent": pack(True)}),
        ([pack("me"), pack("bond"), pack("95")], {"urgent": pack("yes")}),
    ],
)
def test_arguments_are_given_by_position_or_by_name(
    given: list[object] | dict[str, object], named: dict[str, object]
) -> None:
    values = Arguments(sell).from_text(given, named, convert=owner_named)

    assert values == (Owner("found me"), "bond", 95, True)


def test_defaults_fill_what_is_not_given() -> None:
    assert Arguments(sell).from_text(["me", "bond"], convert=owner_named)[2:] == (3, False)


def test_an_equals_sign_in_a_positional_value_is_no_name() -> None:
    values = Arguments(sell).from_text(["O=Bank A,C=GB", "asset=a=b"], convert=owner_named)

    assert values[:2] == (Owner("found O=Bank A,C=GB"), "a=b")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], "buyer is missing; for example buyer="),
        (["me"], "asset is missing; for example asset=text."),
        (["me", "a", "1", "yes"], "'yes' is one argument too many."),
        (["me", "a", "1", "rush=yes"], "'rush=yes' is one argument too many."),
        (["asset=a", "asset=b", "me"], "asset is given twice."),
        ({"buyer": "me", "asset": "a", "rush": True}, "there is no parameter 'rush'."),
        ({"buyer": "me", "asset": 3}, "asset must be str, not 3: it is a JSON string"),
        ({"buyer": "me", "asset": pack(3)}, "asset must be str, not 3: "),
        ({"buyer": "me", "asset": "a", "price": "x" * 500}, "price must be int, not 'xxx"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_the_signature(
    given: list[object] | dict[str, object], expected: str
) -> None:
    with pytest.raises(BadArguments) as caught:
        Arguments(sell).from_text(given, convert=owner_named)

    text = str(caught.value)
    assert expected in text
    assert text.endswith(
        "Signature: sell(buyer: Owner, asset: str, price: int = 3, *, urgent: bool = False) -> str"
    )


def test_rest_parameters_take_what_is_left() -> None:
    def many(first: int, *rest: Decimal, last: str = "l", **more: int) -> None: ...

    arguments = Arguments(many)

    assert arguments.from_text(["1", "2.5", "3", "x=4", "last=z"]) == (
        1,
        (Decimal("2.5"), Decimal(3)),
        "z",
        {"x": 4},
    )
    assert arguments.from_text({"first": 1, "rest": [2.5], "y": "5"}) == (
        1,
        (Decimal("2.5"),),
        "l",
        {"y": 5},
    )
    assert arguments.from_text(["1"]) == (1, (), "l", {})


def test_parameters_without_annotation_take_json_or_text() -> None:
    def bare(a, *rest, **more):  # type: ignore[no-untyped-def]
        ...

    assert Arguments(bare).from_text(["[1, 2]", "text", 'k={"x": null}']) == (
        [1, 2],
        ("text",),
        {"k": {"x": None}},
    )


def test_an_example_of_a_type_that_can_be_anything_is_text() -> None:
    for annotation in (Any, TypeVar("T")):
        with pytest.raises(BadArguments, match="it is missing; for example it=text"):
            arguments_for(annotation).from_text([])


def test_an_example_of_a_deep_or_generic_type_is_cut_short() -> None:
    deep = list[dict[str, list[list[list[int]]]]]

    with pytest.raises(BadArguments, match=r"it='\[\{\"key\": \[\[\.\.\.\]\]\}\]'"):
        arguments_for(deep).from_text(["x"])
    with pytest.raises(BadArguments, match="for example it='\\[\"text\"\\]'"):
        arguments_for(list).from_text(["x"])


def test_a_message_class_may_read_its_own_text() -> None:
    assert arguments_for(Route).from_text(["a>b"], {}) == (Route("a", "b"),)
    assert arguments_for(Route | None).from_text(["a>b"], {}) == (Route("a", "b"),)
    assert arguments_for(Route).from_text(['{"start": "a", "end": "b"}'], {}) == (Route("a", "b"),)
    with pytest.raises(BadArguments, match="give START>END"):
        arguments_for(Route).from_text(["a"], {})


def test_packed_text_is_read_as_a_persons_where_something_else_is_wanted() -> None:
    given = [pack("me"), pack("a=b"), pack("95")]

    values = Arguments(sell).from_text(given, {"urgent": pack("true")}, convert=owner_named)

    assert values == (Owner("found me"), "a=b", 95, True)
    with pytest.raises(BadArguments, match="price must be int"):
        Arguments(sell).from_text([*given[:2], pack("dear")], convert=owner_named)
    with pytest.raises(BadArguments, match="price must be int"):
        Arguments(sell).from_text([*given[:2], pack(1.5)], convert=owner_named)
