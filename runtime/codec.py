"""Value <-> bytes: typed, canonical MessagePack, and nothing pickled.

A value on its way is a `Packed`: the array ``[type, body]``. ``type`` is the wire name of a
message class or registered enum, or the kind of a builtin value; ``body`` is MessagePack:

  None bool int float str bytes     as MessagePack has them
  datetime with a time zone         the timestamp extension (-1); it arrives in UTC
  datetime without, date, time      ISO 8601, as str; timedelta as ISO 8601 duration
  Decimal, UUID                     str
  list, tuple, set, frozenset       array; a set is sorted
  dict                              map, sorted by key
  message                           map: "$" is the wire name, then the fields by name
  enum                              the value of its member

This is the *typed form*: only its type tells a Decimal from a str. Parts that have no declared
type (those of a bare list or dict), and ints beyond 64 bits, are written as `runtime.value_tree`
describes. The same value gives the same bytes in every process.

Off the wire come only builtin values and registered classes, checked against the type that the
receiver asks for. A message may gain fields with defaults and lose fields; fields that are not
known are ignored; an enum may name the member that stands for values it does not know. Where a
message class is asked for, its registered subclasses are welcome.
"""

import dataclasses
import enum
import hashlib
import inspect
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar, cast, dataclass_transform, overload

import msgspec

from runtime import checks
from runtime.decoding import (
    TAG_BYTES,
    Plan,
    decode_plain,
    decoder_of_kind,
    typed_decoder,
)
from runtime.errors import BadMessage, MisuseError, UnexpectedMessage, UnserialisableMessage
from runtime.item_count import has_too_many_items
from runtime.limits import FINGERPRINT_BYTES_INLINE_MAX, MESSAGE_BYTES_MAX, MESSAGE_ITEMS_MAX
from runtime.message_class import class_named, message_class, message_enum, name_of
from runtime.nesting import nests_deeper
from runtime.schema import BUILTIN_KINDS, CONTAINERS, is_open, open_fields, sorts_partly, type_text
from runtime.value_tree import (
    NESTING_MAX,
    TOO_DEEP,
    TOO_DEEP_ADVICE,
    describing_tree,
    is_same,
    plumbing_structs,
    typed_tree,
)

T = TypeVar("T")
C = TypeVar("C", bound=type)

_TEXT_CHARACTERS_MAX: Final = 500

# An ArithmeticError, since a NaN among Decimals can't be compared.
_REFUSED: Final = (TypeError, ValueError, ArithmeticError, RecursionError)

# Containers on so many levels are written. A dict may take two levels of bytes for one of its own.
_LEVELS_WRITTEN_MAX: Final = NESTING_MAX + 1
_LEVELS_READ_MAX: Final = 2 * _LEVELS_WRITTEN_MAX

_SETS: Final = (set, frozenset)
# One part, whatever its length: nothing is in it that could be counted or nest.
_UNDIVIDED: Final = (str, bytes)

_encode_sorted: Final = msgspec.msgpack.Encoder(order="deterministic").encode
_encode_in_order: Final = msgspec.msgpack.Encoder().encode


class Packed(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A value on the wire or in the journal, with the name of its type."""

    type: str
    body: bytes


plumbing_structs.add(Packed)

# Types whose values the encoder writes without loss in the typed form; grows as types are seen.
_kind_by_type: Final[dict[type, str]] = {
    cls: kind for cls, kind in BUILTIN_KINDS.items() if cls not in CONTAINERS
}
_open_messages: Final[dict[type, str]] = {}
# Those whose sets the encoder would sort in another way in each process.
_partly_sorted: Final[dict[type, str]] = {}
_plans: Final[dict[object, Plan]] = {}


@overload
def message(cls: C, /) -> C: ...
@overload
def message(*, name: str | None = None, fallback: str | None = None) -> Callable[[C], C]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field, dataclasses.field))
def message(
    cls: C | None = None, /, *, name: str | None = None, fallback: str | None = None
) -> C | Callable[[C], C]:
    """Make a class a message: a frozen value that can be sent, journaled and recorded.

    Its annotations are its fields. It is known on the wire by ``name``, by default its module and
    qualified name. On an enum, it only registers it; ``fallback`` is the name of the member that
    stands for values that this version does not know.
    """
    place = _caller()
    if cls is not None:
        return cast(C, _register(cls, name, fallback, place))
    return lambda decorated: cast(C, _register(decorated, name, fallback, place))


def wire_name(cls: type) -> str:
    """Return the name of a message class, registered enum or builtin on the wire."""
    name = name_of(cls) or BUILTIN_KINDS.get(cls)
    if name is None:
        raise MisuseError(f"{type_text(cls)} is no message; mark the class with @message")
    return name


def registered(name: str) -> type | None:
    """Return the message class or enum of that wire name, if this node has it."""
    return class_named(name)


def replaced(value: T, **changes: object) -> T:
    """Return a copy of a message with some fields changed."""
    return cast(T, msgspec.structs.replace(cast(msgspec.Struct, value), **changes))


def pack(value: object, *, keep_order: bool = False) -> Packed:
    """Return ``value`` with the name of its type; raises `UnserialisableMessage`.

    ``keep_order`` leaves dicts in the order they have; the bytes are then not canonical.
    """
    cls = type(value)
    kind = _kind_by_type.get(cls)
    if kind is None or keep_order:
        return _pack_carefully(value, keep_order)
    try:
        body = _encode_sorted(value)
    except _REFUSED:
        body = _body_carefully(value, cls.__qualname__, keep_order)
    if len(body) > _LEVELS_READ_MAX:
        _checked(cls, body)
    return Packed(kind, body)


@overload
def unpack(packed: Packed, expected: type[T]) -> T: ...
@overload
def unpack(packed: Packed, expected: object) -> Any: ...
def unpack(packed: Packed, expected: object) -> object:
    """Return the value as ``expected``: a message class, a builtin, a generic of them, a union.

    Raises `UnexpectedMessage` if it is of another type, `BadMessage` if it is of none.
    """
    try:
        plan = _plans[expected]
    except (KeyError, TypeError):
        plan = _plan(expected)
    decoder = plan.by_kind.get(packed.type) or plan.learn(packed.type)
    body = packed.body
    if len(body) > _LEVELS_READ_MAX:
        _check_shape(packed.type, body)
    try:
        return decoder(body)
    except msgspec.ValidationError as error:
        raise UnexpectedMessage(plan.text, packed.type, f"({_reason(error)})") from error
    # Whatever a hostile body provokes, also in a __post_init__, is the peer's fault.
    except Exception as error:
        raise _bad(packed.type, error) from error


def check_expected(expected: object) -> None:
    """Raise `MisuseError` for what `unpack` can't return, whatever arrives."""
    if not isinstance(expected, Hashable) or expected not in _plans:
        _plan(expected)


def unpack_any(packed: Packed) -> object:
    """Return the value as what it says it is; raises `BadMessage` if it is not."""
    decoder = decoder_of_kind(packed.type)
    _check_shape(packed.type, packed.body)
    try:
        return decoder(packed.body)
    except Exception as error:
        raise _bad(packed.type, error) from error


def encode(value: object, *, keep_order: bool = False, carefully: bool = False) -> bytes:
    """Return the bytes of ``value`` in the typed form; raises `UnserialisableMessage`.

    They are canonical unless ``keep_order`` leaves dicts in the order they have. Who decodes them
    must know the type; `pack` is for those who don't. ``carefully`` is for a list, tuple or dict,
    whose type does not tell that in it are sets that only their bytes put into one order.
    """
    cls = type(value)
    if carefully or cls in _SETS:
        return _checked(cls, _body_carefully(value, cls.__qualname__, keep_order))
    if cls in _kind_by_type or cls in CONTAINERS or cls in plumbing_structs:
        return _body(value, cls.__qualname__, keep_order)
    _prepare(cls)
    body = _body(value, cls.__qualname__, keep_order)
    if cls in _open_messages:
        _check_nothing_is_lost(value, body)
    return body


@overload
def decode(body: bytes, expected: type[T]) -> T: ...
@overload
def decode(body: bytes, expected: object) -> Any: ...
def decode(body: bytes, expected: object) -> object:
    """Return the value that `encode` has written, as ``expected``; raises `BadMessage`."""
    decoder = typed_decoder(expected)
    if len(body) > _LEVELS_READ_MAX:
        _check_shape(type_text(expected), body)
    try:
        return decoder(body)
    # As in `unpack`: whatever a hostile body provokes.
    except Exception as error:
        raise _bad(type_text(expected), error) from error


def fingerprint(body: bytes) -> bytes:
    """Return what identifies ``body``: itself if it is short, else 0xc1 and a digest.

    No MessagePack value begins with 0xc1.
    """
    if len(body) <= FINGERPRINT_BYTES_INLINE_MAX:
        return body
    return b"\xc1" + hashlib.blake2b(body, digest_size=16).digest()


def _plan(expected: object) -> Plan:
    if not isinstance(expected, Hashable):
        raise MisuseError(f"{expected!r} is no type; a list of offers is list[Offer]")
    try:
        plan = _plans[expected] = Plan(expected)
    except MisuseError:
        raise
    # An annotation may be any object.
    except Exception as error:
        raise MisuseError(
            f"{checks.shown(expected)} is no type that can arrive: {error}"
        ) from error
    return plan


def _pack_carefully(value: object, keep_order: bool) -> Packed:
    cls = type(value)
    if cls in CONTAINERS:
        return Packed(BUILTIN_KINDS[cls], _container_body(value, keep_order))
    kind = BUILTIN_KINDS.get(cls) or _prepare(cls)
    return Packed(kind, encode(value, keep_order=keep_order))


def _prepare(cls: type) -> str:
    """Return the wire name of ``cls`` after checking once that its values can be written."""
    name = name_of(cls)
    if name is None:
        raise UnserialisableMessage(cls.__qualname__, type_text(cls))
    if cls in _open_messages or cls in _partly_sorted:
        return name
    if is_open(cls, cls.__qualname__):
        known = _open_messages
    else:
        known = _partly_sorted if sorts_partly(cls) else _kind_by_type
    typed_decoder(cls)
    known[cls] = name
    return name


def _body(value: object, path: str, keep_order: bool) -> bytes:
    if type(value) in _partly_sorted:
        return _checked(type(value), _body_carefully(value, path, keep_order))
    try:
        body = _encode_in_order(value) if keep_order else _encode_sorted(value)
    except _REFUSED:
        body = _body_carefully(value, path, keep_order)
    return _checked(type(value), body)


def _body_carefully(value: object, path: str, keep_order: bool) -> bytes:
    return _encode_in_order(typed_tree(value, path, keep_order=keep_order))


def _container_body(value: Any, keep_order: bool) -> bytes:
    """Write a list, tuple, dict or set so that it can be read without knowing its type."""
    cls = type(value)
    try:
        body = _encode_in_order(value) if keep_order else _encode_sorted(value)
        # Equal after the round trip: nothing inside needs a type to be told what it is.
        if (
            TAG_BYTES in body
            or (len(body) > _LEVELS_WRITTEN_MAX and nests_deeper(body, _LEVELS_WRITTEN_MAX))
            or cls(decode_plain(body)) != value
        ):
            body = _described_body(value, keep_order)
    # The careful way says what is wrong, if something is.
    except Exception:
        body = _described_body(value, keep_order)
    return _checked(cls, body)


def _described_body(value: object, keep_order: bool) -> bytes:
    def message_body(part: object, path: str) -> bytes:
        _prepare(type(part))
        return _body(part, path, keep_order)

    cls = type(value)
    tree = describing_tree(value, cls.__name__, message_body, keep_order=keep_order)
    if isinstance(tree, msgspec.msgpack.Ext) and cls is not dict:
        # The kind beside the body says already that it is a tuple or a set.
        return bytes(tree.data)
    return _encode_in_order(tree)


def _check_nothing_is_lost(value: object, body: bytes) -> None:
    """Refuse a message with a part of no declared type that would arrive as something else."""
    cls = type(value)
    arrived = typed_decoder(cls)(body)
    for name in open_fields(cls):
        part = getattr(value, name)
        if not is_same(part, getattr(arrived, name)):
            raise UnserialisableMessage(
                f"{cls.__qualname__}.{name}",
                type_text(type(part)),
                "where no type is declared, only what MessagePack has by itself may stand; "
                "declare the type, or make the field a Packed",
            )


def _checked(cls: type, body: bytes) -> bytes:
    if len(body) <= _LEVELS_READ_MAX:
        # Each part and each level takes a byte: these are too few for too many of either.
        return body
    if len(body) > MESSAGE_BYTES_MAX:
        raise _too_large(cls, body)
    if cls in _UNDIVIDED:
        return body
    if has_too_many_items(body):
        raise UnserialisableMessage(
            cls.__qualname__,
            f"value of more than {MESSAGE_ITEMS_MAX:,} parts",
            "that is too much for one message; send it in chunks",
        )
    if nests_deeper(body, _LEVELS_READ_MAX):
        raise UnserialisableMessage(cls.__qualname__, TOO_DEEP, TOO_DEEP_ADVICE)
    return body


def _check_shape(what: str, body: bytes) -> None:
    """Refuse what would take too much memory, and what would need more stack than there may be."""
    if has_too_many_items(body):
        raise BadMessage(f"no valid {what}: it has more than {MESSAGE_ITEMS_MAX:,} parts")
    if nests_deeper(body, _LEVELS_READ_MAX):
        raise BadMessage(f"no valid {what}: it is nested too deeply")


def _too_large(cls: type, body: bytes) -> UnserialisableMessage:
    return UnserialisableMessage(
        cls.__qualname__,
        f"value of {len(body):,} bytes",
        f"at most {MESSAGE_BYTES_MAX:,} fit into a message; send large things in chunks",
    )


def _bad(what: str, error: Exception) -> BadMessage:
    return BadMessage(f"no valid {what}: {_reason(error)}")


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error)[:_TEXT_CHARACTERS_MAX]


def _caller() -> str:
    frame = inspect.currentframe()
    for _ in range(2):
        frame = frame and frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "unknown place"


def _register(cls: type, name: str | None, fallback: str | None, place: str) -> type:
    checks.instance(cls, type, "@message", "a class")
    if issubclass(cls, enum.Enum):
        return message_enum(cls, name, fallback, place)
    if fallback is not None:
        raise MisuseError(f"{cls.__qualname__} is no enum; only an enum has a fallback")
    return message_class(cls, name, place)
