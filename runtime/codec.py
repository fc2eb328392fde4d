"""Value <-> bytes: typed, canonical MessagePack, and nothing pickled.

A value on its way is a `Packed`: the array ``[type, body]``. ``type`` is the wire name of a
message class or registered enum, or one of the builtin kinds of `BUILTIN_KINDS`; ``body`` is the
value in MessagePack:

  None bool int float str bytes     as MessagePack has them
  int beyond 64 bits                the decimal digits, as str
  datetime with a time zone         the timestamp extension; it arrives in UTC
  datetime without, date, time      ISO 8601, as str; timedelta as ISO 8601 duration
  Decimal, UUID                     str
  list, tuple, set, frozenset       array; a set is sorted
  dict                              map, sorted by key
  message                           map: "$" is the wire name, then the fields by name
  enum                              the value of its member

The same value gives the same bytes in every process. Off the wire come only builtin values and
registered classes, checked against the type that the receiver asks for.
"""

import datetime
import decimal
import enum
import hashlib
import inspect
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast, dataclass_transform, overload

import msgspec

from runtime.errors import BadMessage, MisuseError, UnexpectedMessage, UnserialisableMessage
from runtime.limits import FINGERPRINT_BYTES_INLINE_MAX, MESSAGE_BYTES_MAX
from runtime.message_class import class_named, message_class, message_enum, name_of

T = TypeVar("T")
C = TypeVar("C", bound=type)

BUILTIN_KINDS: Final[dict[type, str]] = {
    type(None): "None",
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    bytes: "bytes",
    list: "list",
    tuple: "tuple",
    dict: "dict",
    set: "set",
    frozenset: "frozenset",
    datetime.datetime: "datetime",
    datetime.date: "date",
    datetime.time: "time",
    datetime.timedelta: "timedelta",
    decimal.Decimal: "Decimal",
    uuid.UUID: "UUID",
}
_BUILTIN_BY_KIND: Final[dict[str, type]] = {kind: cls for cls, kind in BUILTIN_KINDS.items()}

_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_kinds: dict[type, str] = dict(BUILTIN_KINDS)
_decoders: dict[object, msgspec.msgpack.Decoder[Any]] = {}


class Packed(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A value on the wire or in the journal, with the name of its type."""

    type: str
    body: bytes


@overload
def message(cls: C, /) -> C: ...
@overload
def message(*, name: str | None = None, fallback: str | None = None) -> Callable[[C], C]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
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
        raise MisuseError(f"{cls.__module__}.{cls.__qualname__} is no message; mark it @message")
    return name


def registered(name: str) -> type | None:
    """Return the message class or enum of that wire name, if this node has it."""
    return class_named(name)


def pack(value: object) -> Packed:
    """Return ``value`` with the name of its type; raises `UnserialisableMessage`."""
    kind = _kinds.get(type(value))
    if kind is None:
        kind = name_of(type(value))
        if kind is None:
            raise UnserialisableMessage(type(value).__name__, _type_text(type(value)))
        _kinds[type(value)] = kind
    return Packed(kind, encode(value))


@overload
def unpack(packed: Packed, expected: type[T]) -> T: ...
@overload
def unpack(packed: Packed, expected: object) -> Any: ...
def unpack(packed: Packed, expected: object) -> object:
    """Return the value as ``expected``, which may be a message class, a builtin, or a union.

    Raises `UnexpectedMessage` if it is of another type, `BadMessage` if it is of none.
    """
    if expected is Any or expected is object:
        return unpack_any(packed)
    cls = class_named(packed.type) or _BUILTIN_BY_KIND.get(packed.type)
    if cls is None:
        raise BadMessage(f"no type named {packed.type[:200]!r} is registered here")
    for member in _members(expected):
        origin = typing.get_origin(member) or member
        if origin is cls or (name_of(origin) and issubclass(cls, origin)):
            target = member if origin is cls else cls
            return _decode(packed.body, target, expected, packed.type)
        if origin is float and cls is int:
            return _decode(packed.body, float, expected, packed.type)
    raise UnexpectedMessage(_type_text(expected), packed.type)


def unpack_any(packed: Packed) -> object:
    """Return the value as what it says it is; raises `BadMessage` if it is not."""
    cls = class_named(packed.type) or _BUILTIN_BY_KIND.get(packed.type)
    if cls is None:
        raise BadMessage(f"no type named {packed.type[:200]!r} is registered here")
    return decode(packed.body, cls)


def encode(value: object) -> bytes:
    """Return the canonical bytes of ``value``; raises `UnserialisableMessage`."""
    try:
        body = _encode(value)
    except OverflowError:
        if type(value) is int:
            return _encode(str(value))
        raise UnserialisableMessage(type(value).__name__, "int beyond 64 bits") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise UnserialisableMessage(type(value).__name__, str(error)) from error
    if len(body) > MESSAGE_BYTES_MAX:
        raise UnserialisableMessage(type(value).__name__, f"value of {len(body)} bytes")
    return body


@overload
def decode(body: bytes, expected: type[T]) -> T: ...
@overload
def decode(body: bytes, expected: object) -> Any: ...
def decode(body: bytes, expected: object) -> object:
    """Return the value that `encode` has written, as ``expected``; raises `BadMessage`."""
    if expected is int and body[:1] >= b"\xa0":
        return int(_decode_bad(body, str))
    return _decode_bad(body, expected)


def fingerprint(body: bytes) -> bytes:
    """Return what identifies ``body``: itself if it is short, else 0xc1 and a digest.

    No MessagePack value begins with 0xc1.
    """
    if len(body) <= FINGERPRINT_BYTES_INLINE_MAX:
        return body
    return b"\xc1" + hashlib.blake2b(body, digest_size=16).digest()


def _caller() -> str:
    frame = inspect.currentframe()
    for _ in range(2):
        frame = frame and frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "unknown place"


def _register(cls: type, name: str | None, fallback: str | None, place: str) -> type:
    if issubclass(cls, enum.Enum):
        return message_enum(cls, name, fallback, place)
    if fallback is not None:
        raise MisuseError(f"{cls.__qualname__} is no enum; only an enum has a fallback")
    return message_class(cls, name, place)


def _members(expected: object) -> tuple[Any, ...]:
    if typing.get_origin(expected) in (typing.Union, types.UnionType):
        return typing.get_args(expected)
    return (type(None),) if expected is None else (expected,)


def _type_text(expected: object) -> str:
    if isinstance(expected, type) and not typing.get_args(expected):
        return name_of(expected) or BUILTIN_KINDS.get(expected) or expected.__qualname__
    return str(expected)


def _decoder(expected: object) -> msgspec.msgpack.Decoder[Any]:
    decoder = _decoders.get(expected)
    if decoder is None:
        decoder = _decoders[expected] = msgspec.msgpack.Decoder(cast(Any, expected))
    return decoder


def _decode(body: bytes, target: object, expected: object, got: str) -> object:
    if target is int:
        return decode(body, int)
    try:
        return _decoder(target).decode(body)
    except msgspec.ValidationError as error:
        raise UnexpectedMessage(_type_text(expected), got, f"({error})") from error
    except Exception as error:
        raise BadMessage(f"{got}: {error}") from error


def _decode_bad(body: bytes, expected: object) -> Any:
    try:
        return _decoder(expected).decode(body)
    except Exception as error:
        raise BadMessage(f"no {_type_text(expected)}: {error}") from error
