"""`@message` gives a frozen value class that behaves like the class that was written."""

import dataclasses
import enum
import importlib
import sys
import types
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Generic, Protocol, TypeVar, assert_type

import msgspec
import pytest

from runtime.class_names import public_module
from runtime.codec import decode, encode, message, pack, registered, replaced, unpack, wire_name
from runtime.errors import MisuseError, UnserialisableMessage

T = TypeVar("T")


@message
class Asset:
    """What is traded."""

    NAMES: ClassVar[list[str]] = ["bond"]
    kind = "asset"

    name: str
    amount: int = 1
    marks: list[str] = []
    notes: dict[str, int] = dataclasses.field(default_factory=lambda: {"first": 1})
    rank: int = dataclasses.field(default=7)
    code: str = msgspec.field(default="x", name="c")
    sign: str = dataclasses.field(default="+", repr=False)

    @property
    def double(self) -> int:
        """Twice the amount."""
        return self.amount * 2

    @classmethod
    def empty(cls) -> "Asset":
        return cls("empty", 0)

    @staticmethod
    def unit() -> str:
        return "pieces"

    def text(self) -> str:
        return f"{self.amount} {self.name}"

    def __str__(self) -> str:
        return f"<{self.text()}>"


@message
class Bond(Asset):
    rate: int = 3
    amount: int = 5
    legs: list[int] = []
    tail: str = msgspec.field(default="t", name="z")

    def text(self) -> str:
        return f"{super().text()} at {self.rate}"

    @property
    def double(self) -> int:
        return super().double + 1

    @classmethod
    def empty(cls) -> "Bond":
        made = super().empty()
        assert isinstance(made, cls)
        return made

    def deferred(self) -> Callable[[], str]:
        return lambda: super(Bond, self).text() + __class__.__name__  # type: ignore[name-defined]


def test_the_constructor_is_known_to_the_type_checker_and_takes_names_or_positions() -> None:
    bond = Bond("gilt", 2, rate=4)

    assert_type(bond.rate, int)
    assert bond == Bond(name="gilt", amount=2, rate=4)
    with pytest.raises(TypeError):
        Asset(1, 2, 3, 4, 5, 6, 7, 8)  # type: ignore[call-arg, arg-type]


def test_a_message_keeps_its_methods_properties_and_class_attributes() -> None:
    assert Asset("a").double == 2
    assert Asset.empty() == Asset("empty", 0)
    assert Asset.unit() == "pieces"
    assert str(Asset("a", 3)) == "<3 a>"
    assert Asset.__doc__ == "What is traded."
    assert Asset.__module__ == __name__
    assert Asset.__qualname__ == "Asset"
    assert Asset.NAMES == ["bond"]
    assert Asset.kind == "asset"


def test_super_without_arguments_works_in_methods_properties_and_classmethods() -> None:
    assert Bond("gilt").text() == "5 gilt at 3"
    assert Bond("gilt").double == 11
    assert isinstance(Bond.empty(), Bond)
    assert Bond("gilt").deferred()() == "5 giltBond"


def test_mutable_defaults_are_made_anew_for_each_message() -> None:
    first, second = Bond("a"), Bond("b")

    first.marks.append("m")
    first.legs.append(1)
    first.notes["second"] = 2

    assert (second.marks, second.legs, second.notes) == ([], [], {"first": 1})


def test_field_options_survive_in_base_and_subclass() -> None:
    value = Bond("a", code="q", tail="w")

    tree = msgspec.msgpack.decode(encode(value))

    assert tree["c"] == "q"
    assert tree["z"] == "w"
    assert (Asset("a").rank, Asset("a").code) == (7, "x")
    assert decode(encode(value), Bond) == value


def test_fields_with_options_but_no_default_are_required() -> None:
    @message
    class First:
        a: int = dataclasses.field(repr=False)
        b: int = msgspec.field(name="bee")

    @message
    class Second(First):
        c: int = msgspec.field(name="see")
        d: int

    assert msgspec.msgpack.decode(encode(Second(1, 2, 3, 4))) == {
        "$": wire_name(Second),
        "a": 1,
        "bee": 2,
        "see": 3,
        "d": 4,
    }
    with pytest.raises(TypeError, match="Missing required argument 'c'"):
        Second(1, 2, d=4)  # type: ignore[call-arg]


def test_methods_may_refer_to_names_that_are_not_bound_yet() -> None:
    @message
    class Early:
        x: int

        def later(self) -> int:
            return self.x + offset

    offset = 2

    assert Early(1).later() == 3


def test_a_message_is_frozen_hashable_and_compared_by_value() -> None:
    @message
    class Point:
        x: int

    assert Point(1) == Point(1) != Point(2)
    assert len({Point(1), Point(1)}) == 1
    assert repr(Point(1)) == "Point(x=1)"
    with pytest.raises(AttributeError, match="immutable"):
        Point(1).x = 2  # type: ignore[misc]


def test_a_copy_can_differ_in_some_fields() -> None:
    assert replaced(Asset("a", 2), amount=3) == Asset("a", 3)


def test_post_init_runs_in_the_constructor_and_after_decoding() -> None:
    seen: list[int] = []

    @message
    class Checked:
        x: int

        def __post_init__(self) -> None:
            seen.append(self.x)

    decode(encode(Checked(4)), Checked)

    assert seen == [4, 4]


def test_a_message_can_have_abstract_and_plain_bases() -> None:
    class State(ABC):
        @abstractmethod
        def owner(self) -> str: ...

        def shout(self) -> str:
            return self.owner().upper()

    class Mixin:
        def twice(self) -> str:
            return self.owner() * 2  # type: ignore[attr-defined, no-any-return]

    @message
    class Cash(State, Mixin):
        holder: str

        def owner(self) -> str:
            return self.holder

    @message
    class Coin(Cash):
        worth: int = 1

    @message
    class Loose(State):
        x: int = 0

    assert Cash("me").shout() == "ME"
    assert Coin("me").twice() == "meme"
    assert isinstance(Coin("me"), State)
    assert unpack(pack(Coin("me")), Cash) == Coin("me")
    with pytest.raises(TypeError, match="abstract"):
        Loose()  # type: ignore[abstract]


def test_a_message_can_be_generic() -> None:
    @message
    class Box(Generic[T]):
        content: T

    assert unpack(pack(Box(3)), Box[int]) == Box(3)
    assert Box[int].__origin__ is Box  # type: ignore[attr-defined]


def test_forward_references_to_itself_are_resolved() -> None:
    assert unpack(pack(Tree([Tree([])])), Tree) == Tree([Tree([])])


@message
class Tree:
    branches: list["Tree"]


def test_the_wire_name_is_module_and_qualified_name_or_what_was_given() -> None:
    @message(name="tests.wire.Given")
    class Given:
        x: int = 0

    assert wire_name(Asset) == f"{__name__}.Asset"
    assert wire_name(Given) == "tests.wire.Given"
    assert registered("tests.wire.Given") is Given
    assert registered("tests.wire.None") is None
    assert wire_name(int) == "int"
    with pytest.raises(MisuseError, match="@message"):
        wire_name(object)


@pytest.mark.parametrize("name", ["", "list", "no dot", "a." + "x" * 300, "a.\n"])
def test_an_unfit_wire_name_is_refused(name: str) -> None:
    with pytest.raises(MisuseError, match="wire name"):

        @message(name=name)
        class Unfit:
            x: int


def test_two_classes_with_one_name_are_refused_with_both_places() -> None:
    @message(name="tests.wire.Twice")
    class First:
        x: int

    with pytest.raises(MisuseError, match="First") as caught:

        @message(name="tests.wire.Twice")
        class Second:
            x: int

    assert "Second" in str(caught.value)
    assert str(caught.value).count("test_message_class.py:") == 2


def test_a_module_that_is_imported_again_registers_its_classes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reloaded_app.py").write_text(
        "from runtime.codec import message\n@message\nclass Offer:\n    x: int\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("reloaded_app")
    before = module.Offer

    importlib.reload(module)

    again = module.Offer
    assert again is not before
    assert unpack(pack(before(1)), again) == again(1)
    assert registered("reloaded_app.Offer") is again


def test_a_script_is_known_by_its_module_not_as_main(monkeypatch: pytest.MonkeyPatch) -> None:
    script = types.ModuleType("__main__")
    script.__spec__ = importlib.machinery.ModuleSpec("samples.hello", None)
    monkeypatch.setitem(sys.modules, "__main__", script)

    assert public_module("__main__") == "samples.hello"
    assert public_module("trade") == "trade"


def test_a_script_without_a_module_stays_main(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))

    assert public_module("__main__") == "__main__"


def test_a_class_with_its_own_init_is_refused() -> None:
    with pytest.raises(MisuseError, match="__post_init__"):

        @message
        class Own:
            def __init__(self) -> None:
                pass


def test_what_msgspec_can_not_build_is_refused_with_its_reason() -> None:
    class Named(Protocol):
        def name(self) -> str: ...

    with pytest.raises(MisuseError, match=r"Labelled can't be a message: .*__init__"):

        @message
        class Labelled(Named):
            label: str

            def name(self) -> str:
                return self.label


def test_a_dataclass_is_refused() -> None:
    with pytest.raises(MisuseError, match="remove"):

        @message
        @dataclasses.dataclass
        class Both:
            x: int


def test_an_enum_stays_itself_and_is_registered() -> None:
    @message(name="tests.wire.Side")
    class Side(enum.Enum):
        BUY = "buy"
        SELL = "sell"

    assert Side("buy") is Side.BUY
    assert registered("tests.wire.Side") is Side
    assert unpack(pack(Side.SELL), Side) is Side.SELL
    with pytest.raises(ValueError):
        Side("hold")


def test_an_enum_of_other_values_than_all_str_or_all_int_is_refused() -> None:
    with pytest.raises(MisuseError, match="all str or all int"):

        @message
        class Mixed(enum.Enum):
            A = 1
            B = "b"


def test_a_flag_is_refused() -> None:
    with pytest.raises(MisuseError, match="is a Flag"):

        @message
        class Rights(enum.Flag):
            READ = 1


def test_a_fallback_must_be_a_member_and_the_only_rule() -> None:
    with pytest.raises(MisuseError, match="no member 'NOPE'"):

        @message(fallback="NOPE")
        class Bare(enum.Enum):
            A = 1

    with pytest.raises(MisuseError, match="keep one"):

        @message(fallback="A")
        class Both(enum.Enum):
            A = 1

            @classmethod
            def _missing_(cls, value: object) -> "Both":
                return cls.A

    with pytest.raises(MisuseError, match="no enum"):

        @message(fallback="A")
        class Plain:
            x: int


def test_a_subclass_that_was_not_marked_is_not_a_message() -> None:
    class Unmarked(Asset):
        extra: int = 0

    with pytest.raises(UnserialisableMessage, match="@message"):
        pack(Unmarked("a"))


@dataclasses.dataclass(frozen=True)
class Refused:
    fields: dict[str, object]
    why: str
    bases: tuple[type, ...] = ()


class Plain:
    def __init__(self) -> None: ...


@pytest.mark.parametrize(
    "refused",
    [
        Refused({"__annotations__": {"a": int, "b": str}, "a": 1}, "field 'b' has no default"),
        Refused({"__annotations__": {"a": list}, "a": [1]}, "the default of field 'a' is a list"),
        Refused({"__annotations__": {"a": dict}, "a": {1: 2}}, "field 'a' is a dict that all"),
        Refused({"__annotations__": {"a": int}}, "its base Plain has an __init__", (Plain,)),
        Refused({"__annotations__": {"a": int}}, "its base dict has an __init__", (dict,)),
    ],
    ids=lambda refused: refused.why,
)
def test_a_class_that_can_be_no_message_is_told_what_to_change(refused: Refused) -> None:
    cls = type("Order", refused.bases, {"__module__": "trades", **refused.fields})

    with pytest.raises(MisuseError, match="Order can't be a message: ") as caught:
        message(cls)

    assert refused.why in str(caught.value)
    assert "kw_only" not in str(caught.value)
