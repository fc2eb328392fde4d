"""What a flow or a step raised comes back from the journal as what it was, whatever its class."""

import http
import json
import re
import socket
import subprocess
import sys
import types
import urllib.error
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any

import pytest
import sqlalchemy
import sqlalchemy.exc

from runtime.class_names import exception_class, recorded_name
from runtime.codec import encode
from runtime.error_codec import PackedError, unpack_error
from runtime.errors import (
    Diverged,
    FlowException,
    FlowFailed,
    FlowTimeout,
    FlowUnwound,
    SennitError,
    StepFailed,
    UndecodableEvent,
    UnexpectedFlowEnd,
    UnserialisableMessage,
    original_class_of,
    peer_of,
)
from runtime.limits import ERROR_BYTES_MAX
from runtime.outcome_codec import (
    PackedOutcome,
    decode_flow_error,
    decode_step_error,
    encode_outcome,
)

PEER = "O=Bank,L=London,C=GB"


class AppError(Exception):
    pass


class PickyError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Declined(AppError):
    """Like many of today: keyword-only, and a text of its own."""

    def __init__(self, *, code: int, reason: str) -> None:
        super().__init__()
        self.code = code
        self._reason = reason

    def __str__(self) -> str:
        return f"{self.code} {self._reason}"


class Slotted(ValueError):
    __slots__ = ("place",)

    def __init__(self, *, place: int) -> None:
        super().__init__("at", place)
        self.place = place


class TransportError(OSError):
    """As those of the library "requests" are: the request is no value."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.request = kwargs.pop("request", None)
        self.response = kwargs.pop("response", None)
        super().__init__(*args, **kwargs)


class ConnectFailed(TransportError):
    pass


def _raised_by(function: Callable[[], object]) -> Exception:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("it raised nothing")


def _from_database() -> Exception:
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("create table t (a integer unique)"))
        insert = sqlalchemy.text("insert into t values (:a)")
        connection.execute(insert, {"a": 1})
        return _raised_by(lambda: connection.execute(insert, {"a": 1}))


def _local_error() -> Exception:
    class LocalError(Exception):
        pass

    return LocalError("x")


def _noted() -> Exception:
    error = ValueError("x")
    error.add_note("while counting")
    return error


ERRORS = [
    ValueError("no", 3),
    KeyError("k"),
    ZeroDivisionError(),
    FileNotFoundError(2, "No such file", "a.txt"),
    OSError("without a number"),
    ConnectionResetError(104, "reset"),
    TimeoutError("late"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    StopIteration(3),
    ImportError("no module", name="x", path="y"),
    Exception("plain"),
    FlowTimeout("after 3 s"),
    Diverged("1.2", "send", "receive", "a.py:3"),
    UnexpectedFlowEnd(PEER, "failed", "0123"),
    UnserialisableMessage("Offer.x", "object"),
    SennitError("base"),
    AppError("x", 3),
    PickyError(1, 2),
    Declined(code=51, reason="no funds"),
    Slotted(place=4),
    ConnectFailed("refused"),
    _local_error(),
    _noted(),
    _from_database(),
    _raised_by(lambda: json.loads('{"a": ')),
    _raised_by(lambda: re.compile("(")),
    urllib.error.URLError(socket.gaierror(-2, "Name or service not known")),
    urllib.error.HTTPError("http://x", http.HTTPStatus.NOT_FOUND, "Not Found", None, None),  # type: ignore[arg-type]
    subprocess.CalledProcessError(3, ["ls"], b"out", b"err"),
]


@pytest.mark.parametrize("decoded", [decode_step_error, decode_flow_error])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_outcome_comes_back_as_what_it_was(
    error: Exception, decoded: Callable[[bytes], Exception]
) -> None:
    arrived = decoded(encode_outcome(error, "0123abcd"))

    assert type(arrived) is type(error)
    assert repr(arrived.args) == repr(error.args)
    assert str(arrived) == str(error)
    assert vars(arrived).keys() - {"_sennit_error_id"} == vars(error).keys()


def test_what_the_class_keeps_beside_its_attributes_comes_back() -> None:
    missing = _arrived(FileNotFoundError(2, "No such file", "a.txt"))
    slotted = _arrived(Slotted(place=4))
    broken = _arrived(_raised_by(lambda: json.loads('{"a": ')))

    assert (missing.errno, missing.strerror, missing.filename) == (2, "No such file", "a.txt")
    assert slotted.place == 4
    assert (broken.doc, broken.pos) == ('{"a": ', 6)


def test_exceptions_inside_an_exception_come_back_as_what_they_were() -> None:
    failed = _arrived(_from_database())
    unreached = _arrived(urllib.error.URLError(socket.gaierror(-2, "not known")))

    assert recorded_name(type(failed.orig)) == "sqlite3:IntegrityError"
    assert failed.params == (1,)
    assert isinstance(unreached.reason, socket.gaierror)
    assert unreached.reason.errno == -2


def test_a_group_comes_back_with_its_parts() -> None:
    group = ExceptionGroup("several", [ValueError("a"), ExceptionGroup("more", [KeyError("b")])])

    arrived = _arrived(group)

    assert repr(arrived) == repr(group)
    matched, rest = arrived.split(KeyError)
    assert repr(rest) == repr(ExceptionGroup("several", [ValueError("a")]))
    assert matched is not None


def test_what_can_not_be_written_is_text_among_the_args_and_none_among_the_attributes() -> None:
    error = ConnectFailed("refused", request=object())
    error.response = {"a": [object()]}
    several = ValueError("a", int)

    arrived = _arrived(error)

    assert type(arrived) is ConnectFailed
    assert (arrived.request, arrived.response) == (None, None)
    assert str(_arrived(ValueError(int))) == "<class 'int'>"
    assert _arrived(several).args == ("a", "<class 'int'>")


def test_an_object_whose_methods_raise_does_no_harm() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("never")

    assert _arrived(ValueError(Broken())).args == ("a Broken",)


def test_what_is_too_large_is_cut_off_and_the_class_stays() -> None:
    large = "x" * (ERROR_BYTES_MAX + 1)
    error = AppError(large, "kept")
    vars(error)["document"] = large

    body = encode_outcome(error)
    arrived: Any = decode_step_error(body)

    assert len(body) < 2 * ERROR_BYTES_MAX
    assert recorded_name(type(arrived)) == recorded_name(AppError)
    assert arrived.args[1] == "kept"
    assert arrived.args[0].strip("'").strip("x") == ""
    assert arrived.document is None


@pytest.mark.parametrize(
    "error",
    [
        AppError(*range(60_000)),
        AppError(*["x" * 1000] * 10_000),
        type("Long" * 100_000, (AppError,), {})(),
    ],
    ids=["many arguments", "long ones", "a long class"],
)
def test_the_outcome_of_any_error_is_bounded(error: AppError) -> None:
    vars(error).update({f"attribute_{number}": number for number in range(20_000)})
    vars(error).update({f"object_{number}": object() for number in range(20_000)})

    body = encode_outcome(error)

    assert len(body) < 2 * ERROR_BYTES_MAX
    assert isinstance(decode_step_error(body), AppError)


def test_an_error_that_refers_to_itself_ends() -> None:
    error: Any = AppError("x")
    error.one = error.two = error.three = error

    arrived = _arrived(error)

    assert type(arrived.one.two) is AppError


def test_attributes_with_strange_names_do_no_harm() -> None:
    error = AppError("x")
    vars(error).update({"a\ud800": 1, "n" * 1000: 2})
    vars(error)[3] = 3  # type: ignore[index]

    assert vars(_arrived(error)) == {}


class Refusing(type):
    """Of classes that nobody can make a blank object of, as some of C and Rust are."""

    @property
    def __flags__(cls) -> int:
        raise RuntimeError("no")


class Sealed(ValueError, metaclass=Refusing):
    pass


def test_one_that_can_not_be_made_anew_is_told_apart_and_caught_by_its_base() -> None:
    error = Sealed("bad", 3)

    arrived = decode_step_error(encode_outcome(error))

    assert isinstance(arrived, StepFailed)
    assert isinstance(arrived, ValueError)
    assert arrived.is_a(Sealed)
    assert arrived.is_a(ValueError)
    assert not arrived.is_a(KeyError)
    assert arrived.class_name == f"{__name__}.Sealed"
    assert arrived.arguments == ("bad", 3)
    assert arrived.message == str(error)
    assert str(arrived) == f"{__name__}.Sealed: ('bad', 3)"


def test_one_whose_class_is_gone_is_caught_by_the_base_that_is_left() -> None:
    gone = PackedOutcome(
        ["no.such.module:Gone", "no.such:Base", recorded_name(ConnectFailed), "builtins:OSError"],
        "refused",
        [],
        {},
    )

    arrived = decode_step_error(encode(gone))

    assert isinstance(arrived, StepFailed)
    assert isinstance(arrived, ConnectFailed)
    assert arrived.is_a(OSError)
    assert arrived.class_name == "no.such.module.Gone"


def test_what_stands_in_stays_what_it_is_when_it_is_recorded_again() -> None:
    once = decode_step_error(encode_outcome(Sealed("bad")))

    again = decode_step_error(encode_outcome(once))
    of_a_flow = decode_flow_error(encode_outcome(once, "77"))

    assert isinstance(again, StepFailed)
    assert again.is_a(Sealed)
    assert str(again) == str(once)
    assert isinstance(of_a_flow, FlowFailed)
    assert of_a_flow.original_class == f"{__name__}.Sealed"


def test_a_stand_in_that_an_author_raises_names_no_class_to_look_for() -> None:
    arrived = decode_step_error(encode_outcome(StepFailed("wave:Error", "hm", 3)))

    assert isinstance(arrived, StepFailed)
    assert (arrived.class_name, arrived.message, arrived.arguments) == ("wave:Error", "hm", (3,))


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), FlowUnwound("x")])
def test_what_is_no_exception_never_comes_back_as_that(error: BaseException) -> None:
    body = encode_outcome(error, "0123abcd")
    of_a_flow, of_a_step = decode_flow_error(body), decode_step_error(body)

    assert isinstance(of_a_flow, FlowFailed)
    assert of_a_flow.error_id == "0123abcd"
    assert of_a_flow.message == str(error)
    assert isinstance(of_a_step, StepFailed)
    assert of_a_step.is_a(type(error))


def test_an_own_flow_exception_whose_class_is_gone_keeps_its_kind() -> None:
    body = encode(PackedOutcome(["a:Gone", recorded_name(FlowException)], "late", [], {}))

    arrived = decode_step_error(body)

    assert type(arrived) is FlowException
    assert original_class_of(arrived) == "a.Gone"


def test_the_outcome_of_a_peers_error_keeps_where_it_came_from() -> None:
    first = unpack_error(PackedError("trade.NoSuch", "too late"), PEER)

    again = decode_step_error(encode_outcome(first))

    assert isinstance(again, FlowException)
    assert (peer_of(again), original_class_of(again), str(again)) == (
        PEER,
        "trade.NoSuch",
        "too late",
    )


def test_causes_are_told_in_notes() -> None:
    error = AppError("x")
    error.__cause__ = ConnectFailed("refused")
    error.__cause__.__context__ = KeyError("k")
    error.add_note("my own")

    arrived = decode_step_error(encode_outcome(error, with_causes=True))

    assert arrived.__cause__ is None
    assert arrived.__notes__ == [
        "my own",
        "It was raised from ConnectFailed: refused",
        "It was raised from KeyError: 'k'",
    ]
    assert error.__notes__ == ["my own"]


def test_a_class_is_found_again_in_a_module_that_is_not_loaded_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As after a restart: a step has imported it, and the step does not run again.
    body = encode(PackedOutcome(["this_is_late:Late", "builtins:KeyError"], "x", [], {}))
    monkeypatch.setattr(sys, "meta_path", [_Finder(), *sys.meta_path])

    of_a_flow = decode_flow_error(body)

    assert isinstance(of_a_flow, FlowFailed)
    assert "this_is_late" not in sys.modules

    of_a_step = decode_step_error(body)
    late = sys.modules.pop("this_is_late")

    assert type(of_a_step) is late.Late


class _Finder:
    """Finds a module that raises the second time it is imported, as any module may."""

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name == "this_is_late" else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Have the default."""

    def exec_module(self, module: types.ModuleType) -> None:
        late = type("Late", (KeyError,), {"__module__": "this_is_late", "__qualname__": "Late"})
        vars(module)["Late"] = late


@pytest.mark.parametrize(
    "name", ["", "os", "os:", ":x", "os:path", "builtins:int", "a b:c", "..:x"]
)
def test_names_of_no_exception_are_no_class(name: str) -> None:
    assert exception_class(name, may_import=True) is None


def test_an_error_of_a_script_is_found_without_running_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = types.ModuleType("__main__")
    script.__spec__ = ModuleSpec("this", None)  # a module with an effect when it is imported
    scripted = type("Late", (ValueError,), {"__module__": "__main__", "__qualname__": "Late"})
    vars(script)["Late"] = scripted
    monkeypatch.setitem(sys.modules, "__main__", script)

    arrived = decode_step_error(encode_outcome(scripted("x")))

    assert type(arrived) is scripted
    assert "this" not in sys.modules


@pytest.mark.parametrize("body", [b"", b"\x91\xa1a", b"\x80", b"\xc1", encode(["a", 3])])
def test_bytes_that_are_no_outcome(body: bytes) -> None:
    with pytest.raises(UndecodableEvent):
        decode_step_error(body)


def test_an_error_of_a_peer_imports_nothing() -> None:
    arrived = unpack_error(PackedError("this.Zen", "x"), PEER)

    assert type(arrived) is FlowException
    assert "this" not in sys.modules


def test_an_error_whose_args_raise_is_recorded() -> None:
    assert type(_arrived(ArgsRaise("x"))) is ArgsRaise


class ArgsRaise(Exception):
    """One whose property hides the args, and fails."""

    @property
    def args(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no args")


def _arrived(error: Exception) -> Any:
    return decode_step_error(encode_outcome(error))
