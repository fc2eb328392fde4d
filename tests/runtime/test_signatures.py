"""Arguments and results of functions as bytes: typed where declared, describing themselves else."""

import collections.abc
import datetime
import functools
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NewType, Protocol, TypeVar

import msgspec
import pytest

from runtime.codec import Packed, decode, encode, message, pack
from runtime.errors import BadMessage, UnserialisableMessage
from runtime.signatures import Arguments

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]

T = TypeVar("T")
Amount = NewType("Amount", int)


@message
class Offer:
    asset: str
    price: Decimal = Decimal(0)


@message
class BindingOffer(Offer):
    until: datetime.date = datetime.date(2030, 1, 1)


class Named(Protocol):
    @property
    def asset(self) -> str: ...


def sell(buyer: str, price: int = 3, *, limit: Decimal | None = None) -> str:
    return f"{buyer} {price} {limit}"


def untyped(a, b=(1, Decimal(2)), *rest, key=None, **more):  # type: ignore[no-untyped-def]
    return (a, b, rest, key, more)


def every(
    offer: Offer,
    offers: list[Offer],
    named: Named,
    anything: Any,
    bare: list,  # type: ignore[type-arg]
    one: "Offer | None",
    amount: Amount,
    row: tuple[int, ...],
    either: Decimal | str,
    generic: object = None,
) -> list[Offer]:
    return [offer]


def spread(first: int, /, *rest: Decimal, last: str = "l", **more: Offer) -> None:
    return None


def test_bound_values_survive_the_round_trip() -> None:
    arguments = Arguments(sell)

    values = arguments.bind(("bank",), {"limit": Decimal("1.5")})

    assert values == ("bank", 3, Decimal("1.5"))
    assert arguments.decode(arguments.encode(values)) == values
    assert arguments.call(values) == "bank 3 1.5"


def test_values_that_fit_are_bound_as_they_are() -> None:
    values = (1, "a")

    def plain(a: int, b: str) -> None: ...

    assert Arguments(plain).bind(values, {}) is values


def test_values_without_a_declared_type_describe_themselves() -> None:
    arguments = Arguments(untyped)

    values = arguments.bind(
        (Offer("a"), {1: (2,)}, Decimal(3), {4}), {"key": b"x", "z": Offer("q")}
    )

    assert arguments.decode(arguments.encode(values)) == values
    assert arguments.call(values) == (
        Offer("a"),
        {1: (2,)},
        (Decimal(3), {4}),
        b"x",
        {"z": Offer("q")},
    )


def test_typed_and_untyped_parameters_may_stand_side_by_side() -> None:
    arguments = Arguments(every)
    values = (
        BindingOffer("a"),
        [Offer("b"), BindingOffer("c")],
        Offer("n"),
        {"k": (Decimal(1),)},
        [Decimal(2), Offer("l")],
        None,
        2**70,
        (1, 2),
        Decimal("1.0"),
        datetime.date(2024, 1, 1),
    )

    assert arguments.bind(values, {}) == values
    assert arguments.decode(arguments.encode(values)) == values


def test_rest_parameters_are_one_value_each() -> None:
    arguments = Arguments(spread)

    values = arguments.bind((1, Decimal(2), Decimal(3)), {"x": Offer("a")})

    assert values == (1, (Decimal(2), Decimal(3)), "l", {"x": Offer("a")})
    assert arguments.decode(arguments.encode(values)) == values
    assert arguments.call(values) is None


def test_a_function_without_parameters_has_an_empty_array() -> None:
    def nothing() -> None: ...

    arguments = Arguments(nothing)

    assert arguments.encode(arguments.bind((), {})) == b"\x90"
    assert arguments.decode(b"\x90") == ()
    assert arguments.text == "() -> None"


def test_first_parameters_can_be_skipped() -> None:
    def answer(session: object, price: int = 3) -> int:
        return price

    arguments = Arguments(answer, skip=1)

    assert arguments.bind((), {}) == (3,)
    assert arguments.call((4,), object()) == 4
    assert arguments.text == "(price: int = 3) -> int"


def test_the_same_arguments_have_the_same_bytes() -> None:
    def mapped(a: dict[str, int], b: set[str], c: object) -> None: ...

    arguments = Arguments(mapped)

    one = arguments.encode(({"x": 1, "y": 2}, {"p", "q"}, {"m": 1, "n": 2}))
    two = arguments.encode(({"y": 2, "x": 1}, {"q", "p"}, {"n": 2, "m": 1}))

    assert one == two


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {}, "missing a required argument: 'buyer'"),
        (("a", 1, 2), {}, "too many positional arguments"),
        (("a",), {"prise": 3}, "unexpected keyword argument 'prise'"),
        (("a",), {"buyer": "b"}, "multiple values"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_the_signature(
    args: tuple[object, ...], kwargs: dict[str, object], problem: str
) -> None:
    with pytest.raises(TypeError) as caught:
        Arguments(sell).bind(args, kwargs)

    text = "sell(buyer: str, price: int = 3, *, limit: Decimal | None = None) -> str"
    assert str(caught.value).startswith(text)
    assert problem in str(caught.value)


def test_the_signature_is_shown_as_it_stands_in_the_source() -> None:
    def shown(  # type: ignore[no-untyped-def, empty-body]
        a: Offer,
        /,
        b: list[Offer] | None,
        c: collections.abc.Mapping[str, "Offer"],
        *rest: int,
        d: Callable[[int], str],
        e: Amount = Amount(3),
        f=None,
        **more: Any,
    ) -> tuple[int, ...]: ...

    assert Arguments(shown).text == (
        "(a: Offer, /, b: list[Offer] | None, c: Mapping[str, Offer], *rest: int, "
        "d: Callable[[int], str], e: Amount = 3, f = None, **more: Any) -> tuple[int, ...]"
    )


@pytest.mark.parametrize(
    ("values", "path"),
    [
        (("a", object(), None), "sell(price=...)"),
        (("\ud800", 1, None), "sell(buyer=...)"),
    ],
)
def test_an_argument_that_can_not_be_encoded_is_named(
    values: tuple[object, ...], path: str
) -> None:
    with pytest.raises(UnserialisableMessage) as caught:
        Arguments(sell).encode(values)

    assert caught.value.path == path


def test_the_path_into_an_argument_is_named() -> None:
    arguments = Arguments(untyped)

    with pytest.raises(UnserialisableMessage) as caught:
        arguments.encode(arguments.bind(([1, {"k": object()}],), {}))

    assert caught.value.path == "untyped(a=...)[1]['k']"


def test_arguments_that_are_too_large_together_are_refused() -> None:
    def two(a: bytes, b: bytes) -> None: ...

    with pytest.raises(UnserialisableMessage, match="in chunks"):
        Arguments(two).encode((b"x" * 6_000_000, b"x" * 6_000_000))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 3),
        (int, 2**70),
        (None, None),
        (str, "x"),
        (Offer, Offer("a")),
        (Offer, BindingOffer("a")),
        (Offer | None, None),
        (list[Offer], [Offer("a"), BindingOffer("b")]),
        (dict[str, Decimal], {"b": Decimal(1), "a": Decimal(2)}),
        (dict, {"b": 1, "a": (2,)}),
        (object, [(1, Decimal(2))]),
        (Any, Offer("a")),
        (Named, Offer("a")),
        (T, {1}),
        (Decimal | str, Decimal(1)),
        (list[int] | tuple[int, ...], (1, 2)),
    ],
    ids=str,
)
def test_a_result_survives_the_round_trip(annotation: object, value: object) -> None:
    def function() -> Any: ...

    function.__annotations__["return"] = annotation
    arguments = Arguments(function)

    result = arguments.decode_result(arguments.recorded_result(value)[1])

    assert result == value
    assert type(result) is type(value)
    if isinstance(value, dict):
        assert list(arguments.decode_result(arguments.recorded_result(value)[1])) == list(value)


def test_a_result_without_annotation_describes_itself() -> None:
    arguments = Arguments(untyped)

    for value in (None, (1, {2}), Offer("a"), {"b": 1, "a": 2}):
        assert arguments.decode_result(arguments.recorded_result(value)[1]) == value


@pytest.mark.parametrize("value", [object(), [Offer(object())]])  # type: ignore[arg-type]
def test_a_result_that_can_not_be_encoded_names_the_function(value: object) -> None:
    for function in (sell, untyped, every):
        with pytest.raises(UnserialisableMessage, match=f"the result of {function.__qualname__}"):
            Arguments(function).recorded_result(value)


@pytest.mark.parametrize("value", [3, None, Offer("a"), ["x"]])
def test_a_result_of_another_type_than_declared_is_refused(value: object) -> None:
    with pytest.raises(UnserialisableMessage, match="it is declared to be str"):
        Arguments(sell).recorded_result(value)


def test_annotations_for_the_type_checker_only_and_later_classes_are_no_hindrance() -> None:
    def late(a: "Unknown", b: "Later") -> "Unknown": ...

    arguments = Arguments(late)
    values = (Offer("a"), Later(3))

    assert arguments.decode(arguments.encode(values)) == values
    assert arguments.decode_result(arguments.recorded_result((1,))[1]) == (1,)


@message
class Later:
    x: int


def test_a_wrapped_function_is_known_by_its_own_signature() -> None:
    @functools.wraps(sell)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return "wrapped"

    arguments = Arguments(wrapper)

    assert arguments.bind(("a",), {}) == ("a", 3, None)


def changed(before: Callable[..., object], after: Callable[..., object], *args: object) -> object:
    """Return what ``after`` reads of what was written for ``before``."""
    arguments = Arguments(before)
    return Arguments(after).decode(arguments.encode(arguments.bind(args, {})))


def test_bytes_of_before_are_read_after_an_annotation_came_or_went() -> None:
    def bare(a, b):  # type: ignore[no-untyped-def]
        ...

    def typed(a: int, b: Offer) -> None: ...

    def wider(a: int | str, b: Offer | None, c: str = "c") -> None: ...

    assert changed(bare, typed, 3, Offer("a")) == (3, Offer("a"))
    assert changed(typed, bare, 3, Offer("a")) == (3, Offer("a"))
    assert changed(typed, wider, 3, BindingOffer("a")) == (3, BindingOffer("a"), "c")
    assert changed(bare, wider, "x", None) == ("x", None, "c")


def test_bytes_of_before_are_read_after_parameters_with_defaults_were_added() -> None:
    def before(a: int) -> None: ...

    def after(a: int, b: str = "b", *rest: int, c: list[int] = [], **more: int) -> None: ...  # noqa: B006

    assert changed(before, after, 3) == (3, "b", (), [], {})


def test_bytes_that_do_not_fit_any_more_say_where() -> None:
    def before(a: int, b: str) -> None: ...

    def fewer(a: int) -> None: ...

    def more(a: int, b: str, c: str) -> None: ...

    def other(a: int, b: Offer) -> None: ...

    with pytest.raises(BadMessage, match=r"2 values for .*fewer\(a: int\)"):
        changed(before, fewer, 3, "x")
    with pytest.raises(BadMessage, match="no value for c of"):
        changed(before, more, 3, "x")
    with pytest.raises(BadMessage, match=r"other\(b=...\)"):
        changed(before, other, 3, "x")
    with pytest.raises(BadMessage):
        Arguments(before).decode(b"\xc1")


def test_a_result_of_before_is_read_after_its_annotation_came_or_went() -> None:
    def bare():  # type: ignore[no-untyped-def]
        ...

    def typed() -> Offer:
        return Offer("x")

    assert Arguments(typed).decode_result(Arguments(bare).recorded_result(Offer("a"))[1]) == Offer(
        "a"
    )
    assert Arguments(bare).decode_result(Arguments(typed).recorded_result(Offer("a"))[1]) == Offer(
        "a"
    )
    with pytest.raises(BadMessage):
        Arguments(typed).decode_result(encode(3))


def test_the_array_of_arguments_is_plain_message_pack() -> None:
    body = Arguments(sell).encode(("bank", 3, Decimal("1.5")))

    assert msgspec.msgpack.decode(body) == ["bank", 3, "1.5"]
    assert decode(Arguments(untyped).encode((1, 2, (), None, {})), list[Packed])[0] == pack(1)


@pytest.mark.parametrize("count", range(6))
def test_a_function_is_called_with_as_many_values_as_it_has_parameters(count: int) -> None:
    # Breaks when one of the ways that avoid unpacking drops or swaps a value.
    names = ", ".join(f"p{number}" for number in range(count))
    scope: dict[str, Callable[..., object]] = {}
    exec(f"def together({names}):\n    return [{names}]", scope)

    values = tuple(range(count))

    assert Arguments(scope["together"]).call(values) == list(values)


@pytest.mark.parametrize(
    "values", [(3, "a", 2.5, True), (2**70, "a", 2.5, False), (3, "a", 2, True)]
)
def test_arguments_that_are_checked_quickly_are_written_as_any_others(
    values: tuple[object, ...],
) -> None:
    def work(number: int, text: str, share: float, is_urgent: bool) -> None: ...

    arguments = Arguments(work)

    assert arguments.encode_checked(values, {}) == arguments.encode(values)
    assert arguments.decode(arguments.encode_checked(values, {})) == values
