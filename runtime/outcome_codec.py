"""How a flow or a step of this node failed, as bytes for its own journal, whatever the class.

An outcome is the array ``[classes, message, args, state, error id]``. ``classes`` are the names of
the exception's class and of its bases, see `runtime.class_names`. Each of the args, and each value
of the state (attributes and slots, private ones too), is a `Packed`; one of the kind ``$exception``
is an exception again. What can't be written stands there as text in the args, as None in the state.

An exception is made anew without a call of its constructor, which may want other arguments: a blank
object of the class gets the args and the state. If its class is gone, or lets nobody make a blank
object, something stands in: a `StepFailed` for a step, a `FlowFailed` for a flow. Nothing here is
for bytes that come from a peer; those are for `runtime.error_codec`.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from runtime.blank_errors import DESCRIPTORS, args_of, made_blank, slots_of
from runtime.class_names import exception_class, name_for_people, recorded_name
from runtime.codec import Packed, decode, encode, pack, unpack_any
from runtime.error_codec import message_of
from runtime.errors import (
    ERROR_ID_ATTRIBUTE,
    BadMessage,
    FlowException,
    FlowFailed,
    SennitError,
    StepFailed,
    UndecodableEvent,
    causes,
    note_origin,
)
from runtime.limits import ERROR_BYTES_MAX
from runtime.value_tree import plumbing_structs

_EXCEPTION_KIND: Final = "$exception"
_NESTED_LEVELS_MAX: Final = 4
_EXCEPTIONS_MAX: Final = 50
_ARGS_MAX: Final = 1_000
_CLASSES_MAX: Final = 30
_NAME_CHARACTERS_MAX: Final = 255
_TEXT_CHARACTERS_MAX: Final = 200
_NOTED_CAUSES_MAX: Final = 5
_OVERHEAD_BYTES: Final = 16

_NONE: Final = pack(None)
# The slots themselves: a class of groups may have properties of these names, which may raise.
_message_of_group: Final[Any] = vars(BaseExceptionGroup)["message"]
_errors_of_group: Final[Any] = vars(BaseExceptionGroup)["exceptions"]
_AS_BUILTIN: Final[dict[type, Callable[[Any], object]]] = {
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    bytes: lambda value: bytes(memoryview(value)),
}


class PackedOutcome(msgspec.Struct, array_like=True, frozen=True):
    """An exception in the journal, without its stack."""

    classes: list[str]
    message: str
    args: list[Packed]
    state: dict[str, Packed]
    error_id: str = ""


plumbing_structs.add(PackedOutcome)


def encode_outcome(error: BaseException, error_id: str = "", *, with_causes: bool = False) -> bytes:
    """Return the bytes of how a flow or step failed; every exception has some.

    Causes are not kept; ``with_causes`` says in notes what they were.
    """
    outcome = _packed(error, _Room(), 0, error_id)
    if with_causes and (notes := _notes_of_causes(error)):
        written = getattr(error, "__notes__", ())
        own = [str(note) for note in written] if isinstance(written, list) else []
        outcome.state["__notes__"] = pack([*own, *notes])
    return encode(outcome)


def decode_flow_error(body: bytes) -> Exception:
    """Return how a flow failed: the exception, or `FlowFailed` in its place.

    Raises `UndecodableEvent` if the bytes are no outcome. Imports nothing.
    """
    outcome = _outcome_in(body)
    made = _made_anew(outcome, may_import=False)
    if made is None:
        return FlowFailed(outcome.error_id, name_for_people(outcome.classes[0]), outcome.message)
    note_origin(made, error_id=outcome.error_id or None)
    return made


def decode_step_error(body: bytes) -> Exception:
    """Return what a step raised: the exception, or `StepFailed` in its place.

    Raises `UndecodableEvent` if the bytes are no outcome. May import the module of the class.
    """
    return _step_error(_outcome_in(body), may_import=True)


# --- to bytes -------------------------------------------------------------------------------------


class _Room:
    """What is left of the bounds of one outcome."""

    def __init__(self) -> None:
        self.bytes = ERROR_BYTES_MAX
        self.exceptions = _EXCEPTIONS_MAX

    def take(self, part: Packed, name: str = "") -> bool:
        """Tell whether there was room for ``part``."""
        size = len(part.body) + len(part.type) + 4 * len(name) + _OVERHEAD_BYTES
        if size > self.bytes:
            return False
        self.bytes -= size
        return True


def _packed(error: BaseException, room: _Room, level: int, error_id: str = "") -> PackedOutcome:
    classes = [
        recorded_name(cls)
        for cls in type(error).__mro__
        if issubclass(cls, BaseException) and cls not in (BaseException, Exception)
    ]
    args = args_of(error)
    state = _state_of(error)
    if isinstance(error, BaseExceptionGroup):
        args = (_message_of_group.__get__(error), *_errors_of_group.__get__(error))
    message = message_of(error)
    if isinstance(error, StepFailed) and error.classes:
        # As if it were what it stands for.
        classes, message = list(error.classes), error.message
        state = ((name, value) for name, value in state if name not in StepFailed.OWN)
    return PackedOutcome(
        classes[:_CLASSES_MAX] or [recorded_name(type(error))],
        message,
        [_packed_arg(arg, room, level, alone=len(args) == 1) for arg in args[:_ARGS_MAX]],
        _packed_state(state, room, level),
        error_id,
    )


def _packed_state(
    state: Iterable[tuple[str, object]], room: _Room, level: int
) -> dict[str, Packed]:
    packed: dict[str, Packed] = {}
    for name, value in state:
        part = _packed_or_none(value, room, level, name)
        if part is not None:
            packed[name] = part
        elif room.take(_NONE, name):
            packed[name] = _NONE
    return packed


def _state_of(error: BaseException) -> Iterator[tuple[str, object]]:
    """Yield attributes, and what the class keeps elsewhere, as the errno of an OSError."""
    for name, value in vars(error).items():
        if name != ERROR_ID_ATTRIBUTE and _is_name(name):
            yield name, value
    yield from slots_of(error, lambda name, _: name != "args" and name[:2] != "__")


def _notes_of_causes(error: BaseException) -> list[str]:
    found = itertools.islice(causes(error), 1, _NOTED_CAUSES_MAX + 1)
    return [f"It was raised from {type(c).__name__}: {message_of(c)[:1000]}" for c in found]


def _is_name(name: object) -> bool:
    # A dict of attributes may have keys of any kind.
    return isinstance(name, str) and len(name) <= _NAME_CHARACTERS_MAX and name.isprintable()


def _packed_arg(arg: object, room: _Room, level: int, *, alone: bool) -> Packed:
    packed = _packed_or_none(arg, room, level)
    if packed is not None:
        return packed
    # The text of an exception is that of its only argument, or has all of them by their repr.
    try:
        text = str(arg) if alone else repr(arg)
    except Exception:
        text = f"a {type(arg).__name__}"
    short = text[:_TEXT_CHARACTERS_MAX].encode("utf-8", "backslashreplace").decode()
    return _packed_or_none(short, room, level) or _NONE


def _packed_or_none(value: object, room: _Room, level: int, name: str = "") -> Packed | None:
    try:
        if isinstance(value, BaseException):
            if level >= _NESTED_LEVELS_MAX or room.exceptions == 0:
                return None
            room.exceptions -= 1
            packed = Packed(_EXCEPTION_KIND, encode(_packed(value, room, level + 1)))
        else:
            packed = pack(value)
    except SennitError:
        return _packed_as_scalar(value, room, name)
    # It may be an object of any class, whose methods may raise anything.
    except Exception:
        return None
    return packed if room.take(packed, name) else None


def _packed_as_scalar(value: object, room: _Room, name: str) -> Packed | None:
    """Write an object of a subclass of a builtin, as `http.HTTPStatus`, as the builtin."""
    for cls, as_builtin in _AS_BUILTIN.items():
        if isinstance(value, cls) and type(value) not in _AS_BUILTIN:
            return _packed_or_none(as_builtin(value), room, 0, name)
    return None


# --- from bytes -----------------------------------------------------------------------------------


def _outcome_in(body: bytes) -> PackedOutcome:
    try:
        outcome: PackedOutcome = decode(body, PackedOutcome)
    except BadMessage as error:
        raise UndecodableEvent(f"an error in the journal can't be read: {error}") from error
    if not outcome.classes:
        raise UndecodableEvent("an error in the journal has no class")
    return outcome


def _step_error(outcome: PackedOutcome, *, may_import: bool) -> Exception:
    return _made_anew(outcome, may_import=may_import) or _stand_in(outcome, may_import=may_import)


def _made_anew(outcome: PackedOutcome, *, may_import: bool) -> Exception | None:
    """Return the exception itself; of a `FlowException`, at least one of its kind."""
    cls = exception_class(outcome.classes[0], may_import=may_import)
    made = _made(cls, outcome, may_import)
    if made is None and recorded_name(FlowException) in outcome.classes:
        for base in _bases_found(outcome, may_import):
            made = _made(base, outcome, may_import)
            if isinstance(made, FlowException):
                note_origin(made, original_class=name_for_people(outcome.classes[0]))
                break
    return made


def _stand_in(outcome: PackedOutcome, *, may_import: bool) -> StepFailed:
    for base in _bases_found(outcome, may_import):
        made = _made(_stand_in_class(base), outcome, may_import)
        if made is not None:
            break
    else:
        made = _made(StepFailed, outcome, may_import)
    assert isinstance(made, StepFailed)
    made.stand_for(outcome.classes, name_for_people(outcome.classes[0]), outcome.message)
    return made


def _stand_in_class(base: type[BaseException]) -> type[BaseException] | None:
    """Return a `StepFailed` that ``except base`` catches too."""
    if not issubclass(base, Exception):
        return None
    names = {"__module__": StepFailed.__module__, "__qualname__": StepFailed.__qualname__}
    try:
        return type(StepFailed.__name__, (StepFailed, base), names)
    # A base may refuse to be one.
    except Exception:
        return None


def _bases_found(outcome: PackedOutcome, may_import: bool) -> Iterator[type[BaseException]]:
    for name in outcome.classes[1:]:
        cls = exception_class(name, may_import=may_import)
        if cls is not None:
            yield cls


def _made(
    cls: type[BaseException] | None, outcome: PackedOutcome, may_import: bool
) -> Exception | None:
    """Return an object of ``cls`` with the args and the state; None if that can't be."""
    if cls is None or not issubclass(cls, Exception):
        return None
    args = tuple(_value_of(part, may_import) for part in outcome.args)
    try:
        error = made_blank(cls, args)
        for name, part in outcome.state.items():
            _set(error, name, _value_of(part, may_import))
    # The classes are anybody's.
    except Exception:
        return None
    return error


def _set(error: Exception, name: str, value: object) -> None:
    for cls in type(error).__mro__:
        descriptor = vars(cls).get(name)
        if isinstance(descriptor, DESCRIPTORS):
            # One that can't be set is made of something that is there.
            with contextlib.suppress(AttributeError, TypeError):
                descriptor.__set__(error, value)
            return
    vars(error)[name] = value


def _value_of(part: Packed, may_import: bool) -> object:
    """Return an argument or an attribute; what can't be read any more is None."""
    try:
        if part.type == _EXCEPTION_KIND:
            return _step_error(_outcome_in(part.body), may_import=may_import)
        return unpack_any(part)
    except SennitError:
        return None
