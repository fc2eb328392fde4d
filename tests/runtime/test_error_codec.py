"""Errors survive the way to a peer, without their stacks."""

import functools
import sys
import types
from decimal import Decimal
from importlib.machinery import ModuleSpec
from typing import Any, ClassVar

import pytest

from runtime.codec import Packed, decode, encode, message, pack
from runtime.core.envelopes import Error
from runtime.core.envelopes import decode as decode_envelope
from runtime.core.envelopes import encode as encode_envelope
from runtime.error_codec import (
    PackedError,
    decode_error,
    pack_error,
    unpack_error,
)
from runtime.errors import (
    BadMessage,
    FlowException,
    error_id_of,
    flow_exceptions,
    original_class_of,
    peer_of,
)
from runtime.ids import ErrorId, SessionId
from runtime.limits import ERROR_BYTES_MAX, ERROR_CHARACTERS_MAX
from runtime.outcome_codec import decode_step_error, encode_outcome

PEER = "O=Bank,L=London,C=GB"


@message
class Price:
    amount: Decimal


class TooExpensive(FlowException):
    def __init__(self, price: Price, limit: int = 3) -> None:
        super().__init__(price, limit)
        self.price = price
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.price.amount} is more than {self.limit}"


class Worded(FlowException):
    """Its args are not those of its constructor."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class Two(FlowException):
    def __init__(self, first: int, second: int) -> None:
        super().__init__("two")


class Declined(FlowException):
    def __init__(self, *, code: int) -> None:
        super().__init__()
        self.code = code

    def __str__(self) -> str:
        return f"declined: {self.code}"


class Wanting(FlowException):
    def __init__(self, what: object, *, reason: str) -> None:
        super().__init__(what)
        self.reason = reason

    def __str__(self) -> str:
        return f"wanting: {self.reason}"


class Counted(FlowException):
    made = 0

    def __new__(cls, *args: object) -> "Counted":
        Counted.made += 1
        return super().__new__(cls, *args)


class Slotted(FlowException):
    __slots__ = ("place",)

    def __init__(self, *, place: int) -> None:
        super().__init__("at", place)
        self.place = place


class Missing(FlowException, FileNotFoundError):
    pass


class Undecodable(FlowException, UnicodeDecodeError):
    pass


class Unparsable(FlowException, SyntaxError):
    pass


class Several(FlowException, ExceptionGroup[Exception]):
    pass


class Guarded(FlowException):
    """Has all that a name may stand for."""

    __slots__ = ("place",)
    place: object
    limit = 3
    was_set: ClassVar[list[object]] = []

    class Part:
        pass

    @property
    def text(self) -> str:
        return "its own"

    @text.setter
    def text(self, value: object) -> None:
        self.was_set.append(value)

    @functools.cached_property
    def cached(self) -> str:
        return "its own"

    @classmethod
    def made_of(cls) -> None:
        """Be a name."""

    def add_note(self, note: str, /) -> None:
        self.was_set.append(note)

    def shout(self) -> str:
        return f"{self.args[0]}!".upper()


def test_a_flow_exception_crosses_with_its_class_args_and_attributes() -> None:
    raised = TooExpensive(Price(Decimal("9.5")))
    raised.extra = (1, [Price(Decimal(1))])  # type: ignore[attr-defined]

    arrived = unpack_error(pack_error(raised), PEER, "0123abcd")

    assert type(arrived) is TooExpensive
    assert arrived.args == raised.args
    assert vars(arrived).items() >= vars(raised).items()
    assert str(arrived) == "9.5 is more than 3"
    assert peer_of(arrived) == PEER
    assert original_class_of(arrived) is None
    assert arrived.__notes__ == [f"It was raised by the flow of {PEER} (error id 0123abcd)."]
    assert arrived.__traceback__ is None


def test_a_packed_error_survives_encoding() -> None:
    packed = pack_error(TooExpensive(Price(Decimal(1))))

    assert decode(encode(packed), PackedError) == packed


def test_attributes_put_right_what_the_constructor_makes_of_the_args() -> None:
    arrived = unpack_error(pack_error(Worded(7)))

    assert type(arrived) is Worded
    assert (arrived.code, str(arrived)) == (7, "code 7")
    assert not hasattr(arrived, "__notes__")


def test_a_class_that_is_not_known_here_becomes_a_flow_exception_that_names_it() -> None:
    packed = PackedError("trade.NoSuch", "too late", [pack(1)], {"code": pack(7)})

    arrived = unpack_error(packed, PEER)

    assert type(arrived) is FlowException
    assert arrived.args == ("too late",)
    assert original_class_of(arrived) == "trade.NoSuch"
    assert arrived.code == 7  # type: ignore[attr-defined]


def test_an_error_of_any_constructor_keeps_its_class() -> None:
    raised: list[Any] = [Two(1, 2), Declined(code=51), Wanting(1, reason="no"), Counted(3)]
    made_before = Counted.made

    arrived: list[Any] = [unpack_error(pack_error(error), PEER) for error in raised]

    assert [type(error) for error in arrived] == [type(error) for error in raised]
    assert [error.args for error in arrived] == [error.args for error in raised]
    assert [str(error) for error in arrived] == [str(error) for error in raised]
    assert [original_class_of(error) for error in arrived] == [None] * 4
    assert arrived[1].code == 51
    assert arrived[2].reason == "no"
    assert Counted.made == made_before


def test_what_stands_in_slots_crosses_too() -> None:
    slotted = unpack_error(pack_error(Slotted(place=4)))
    missing = unpack_error(pack_error(Missing(2, "No such file", "a.txt")))

    assert isinstance(slotted, Slotted)
    assert (slotted.place, vars(slotted)) == (4, {})
    assert isinstance(missing, Missing)
    assert (missing.errno, missing.strerror, missing.filename) == (2, "No such file", "a.txt")
    assert str(missing) == "[Errno 2] No such file: 'a.txt'"


def test_a_peer_can_not_make_us_raise_anything_but_flow_exceptions() -> None:
    for name in (
        "SystemExit",
        "ValueError",
        "runtime.errors.Diverged",
        "runtime.errors.FlowUnwound",
    ):
        arrived = unpack_error(PackedError(name, "m", []))

        assert type(arrived) is FlowException
        assert original_class_of(arrived) == name


def test_a_peer_can_not_set_what_is_ours_to_set() -> None:
    hostile = {
        "_sennit_peer": pack("O=Somebody else"),
        "_sennit_original_class": pack("x"),
        "_sennit_error_id": pack("x"),
        "__class__": pack(1),
        "_private": pack(1),
        "add_note": pack(1),
        "with_traceback": pack(1),
        "broken": Packed("list", b"\xc1"),
        "unknown": Packed("no.Such", b"\x01"),
    }

    arrived = unpack_error(PackedError("runtime.errors.FlowException", "m", [], hostile), PEER)

    assert vars(arrived).keys() == {"_sennit_peer", "__notes__"}
    assert peer_of(arrived) == PEER
    assert original_class_of(arrived) is None
    assert error_id_of(arrived) is None


def test_a_peer_can_not_reach_the_code_of_a_class() -> None:
    claims = ["args", "text", "shout", "made_of", "Part", "cached", "__dict__", "_hidden"]
    claimed = {name: pack(1) for name in claims} | {"limit": pack(9), "place": pack("x")}
    name = f"{__name__}.{Guarded.__qualname__}"

    arrived: Any = unpack_error(PackedError(name, "m", [pack("a")], claimed), PEER)

    assert type(arrived) is Guarded
    assert Guarded.was_set == []
    assert arrived.__notes__ == [f"It was raised by the flow of {PEER}."]
    assert vars(arrived).keys() == {"limit", "_sennit_peer", "__notes__"}
    assert arrived.limit == 9
    assert (arrived.place, arrived.args) == ("x", ("a",))
    assert (arrived.text, arrived.cached, arrived.shout(), arrived.Part) == (
        "its own",
        "its own",
        "A!",
        Guarded.Part,
    )
    assert (Guarded.limit, Guarded.place) == (3, vars(Guarded)["place"])


def test_a_peer_can_not_reach_what_code_in_c_trusts() -> None:
    # Out of bounds, the text of it would be memory of ours; with such an offset, all of it.
    undecodable = {"object": pack(b"x"), "start": pack(-9), "end": pack(-8), "reason": pack(3)}
    unparsable = {"lineno": pack(1), "text": pack("x"), "offset": pack(1), "end_offset": pack(9)}
    interrupted = {"characters_written": pack(5), "errno": pack([1]), "filename": pack({})}
    given = [(Undecodable, undecodable), (Unparsable, unparsable), (Missing, interrupted)]

    arrived: list[Any] = [
        unpack_error(PackedError(f"{__name__}.{cls.__qualname__}", "m", [pack(1)], claims))
        for cls, claims in given
    ]

    assert [type(error) for error in arrived] == [cls for cls, _ in given]
    assert [str(error) for error in arrived] == ["", "None", "[Errno [1]] None: {}"]
    assert (arrived[0].object, arrived[1].end_offset) == (None, None)
    assert not hasattr(arrived[2], "characters_written")
    assert (arrived[2].errno, arrived[2].filename) == ([1], {})


@pytest.mark.parametrize("args", [[], [pack("m")], [pack("m"), pack(1)], [pack(1), pack(2)]])
def test_a_group_that_a_peer_makes_up_is_none(args: list[Packed]) -> None:
    arrived = unpack_error(PackedError(f"{__name__}.{Several.__qualname__}", "m", args))

    assert type(arrived) is FlowException
    assert original_class_of(arrived) == f"{__name__}.Several"


def test_attributes_of_an_author_may_have_any_name_that_is_public() -> None:
    raised = FlowException("text")
    given = {"peer": 5, "error_id": ["no", "text"], "original_class": None}
    vars(raised).update(given)

    crossed = unpack_error(pack_error(raised), PEER, "77")
    kept = decode_step_error(encode_outcome(crossed))

    for arrived in (crossed, kept):
        assert {name: vars(arrived)[name] for name in given} == given
        assert peer_of(arrived) == PEER
    assert error_id_of(crossed) == "77"


@pytest.mark.parametrize(
    "raised",
    [
        FlowException(*range(60_000)),
        FlowException(*[Decimal(1)] * 10_000),
        FlowException("x" * 200_000),
        type("Long" * 100_000, (FlowException,), {})(),
    ],
    ids=["many arguments", "long types", "a long text", "a long class"],
)
def test_an_error_of_any_size_is_an_envelope_that_can_be_read_again(raised: FlowException) -> None:
    vars(raised).update({f"attribute_{number}": number for number in range(20_000)})
    vars(raised)["n" * 200_000] = 1
    vars(raised)["odd\ud800"] = 1
    vars(raised)[5] = 1  # type: ignore[index]

    error = Error(SessionId(bytes(16)), 1, encode(pack_error(raised)), ErrorId(""))

    assert decode_envelope(encode_envelope(error)) == error
    assert isinstance(decode_error(encode(pack_error(raised)), peer=PEER), FlowException)


def test_what_can_not_be_encoded_is_left_out() -> None:
    raised = FlowException("text", object())
    raised.lock = object()  # type: ignore[attr-defined]
    raised.code = 3  # type: ignore[attr-defined]

    packed = pack_error(raised)
    arrived = unpack_error(packed)

    assert packed.args is None
    assert packed.attributes == {"code": pack(3)}
    assert (type(arrived), arrived.args) == (FlowException, (packed.message,))
    assert original_class_of(arrived) is None
    assert arrived.code == 3  # type: ignore[attr-defined]


def test_what_is_too_large_is_left_out() -> None:
    large = FlowException("x" * ERROR_BYTES_MAX)
    large.small = "kept"  # type: ignore[attr-defined]
    large.blob = b"x" * ERROR_BYTES_MAX  # type: ignore[attr-defined]

    packed = pack_error(large)

    assert packed.args is None
    assert packed.attributes == {"small": pack("kept")}
    assert packed.message == "x" * ERROR_CHARACTERS_MAX + "..."
    assert len(encode(packed)) < 2 * ERROR_BYTES_MAX


def test_an_error_whose_text_fails_still_crosses() -> None:
    class Mute(FlowException):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    assert pack_error(Mute()).message == "(its __str__ raised RuntimeError)"
    assert type(unpack_error(pack_error(Mute()))) is Mute
    assert pack_error(FlowException("\ud800")).message == "\\ud800"


def test_an_error_whose_args_can_not_cross_keeps_its_class_and_text() -> None:
    arrived = unpack_error(pack_error(Wanting(object(), reason="no")))

    assert type(arrived) is Wanting
    assert arrived.args == ("wanting: no",)
    assert arrived.reason == "no"


def test_a_class_that_nobody_can_make_an_object_of_becomes_one_that_names_it() -> None:
    class Meta(type):
        @property
        def __flags__(cls) -> int:
            raise RuntimeError("no")

    class Sealed(FlowException, metaclass=Meta):
        __slots__ = ("place",)
        place: int

    name = f"{__name__}.{Sealed.__qualname__}"
    raised = Sealed("x")
    raised.place = 3

    arrived = unpack_error(pack_error(raised))
    claimed = unpack_error(PackedError(name, "m", [], {"place": pack(3)}))

    assert type(arrived) is type(claimed) is FlowException
    assert (str(arrived), original_class_of(arrived)) == ("x", name)


def test_an_error_of_a_script_is_known_by_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    script = types.ModuleType("__main__")
    script.__spec__ = ModuleSpec("samples.hello", None)
    monkeypatch.setitem(sys.modules, "__main__", script)
    scripted = type("Late", (FlowException,), {"__module__": "__main__", "__qualname__": "Late"})
    monkeypatch.setitem(flow_exceptions, "__main__.Late", scripted)

    packed = pack_error(scripted("x"))

    assert packed.cls_name == "samples.hello.Late"
    assert type(unpack_error(packed)) is scripted


@pytest.mark.parametrize("body", [b"", b"\x91\xa1a", b"\x80", b"\xc1", encode(["a", 3])])
def test_bytes_that_are_no_error(body: bytes) -> None:
    arrived = decode_error(body, peer=PEER)

    assert isinstance(arrived, BadMessage)
    assert PEER in str(arrived)
