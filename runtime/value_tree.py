"""The slow, careful way between values and MessagePack, where the type on the wire is not enough.

`runtime.codec` takes it when its encoder refuses a value, and for values whose parts have no
declared type (a bare list). It finds the path to what can't be written, sorts what the encoder
can't sort, and writes what MessagePack lacks as extensions, whose content is MessagePack again:

  1 tuple        array of values
  2 set          array of values, sorted by their bytes
  3 frozenset    as set
  4 int          beyond 64 bits: big-endian two's complement, no MessagePack
  5 builtin      array [kind, value]: Decimal, UUID, date, time, timedelta, datetime without zone
  6 enum         array [wire name, value]
  7 dict         array of pairs, for a dict with other keys than scalars, or with the key "$"

A map with the key "$" is always a message. Maps are sorted: by key if all keys are str, else by
the bytes of the key (or keep their order, if the caller wants that).
"""

import datetime
import decimal
import enum
import uuid
from collections.abc import Callable, Iterable
from typing import Final, cast

import msgspec
from msgspec.msgpack import Ext

from runtime.errors import UnserialisableMessage
from runtime.message_class import TAG_FIELD, class_named, name_of

# Below Python's recursion limit, so that the same value is refused at every depth of the stack.
NESTING_MAX: Final = 100
TOO_DEEP: Final = "value in a value in a value"
TOO_DEEP_ADVICE: Final = f"at most {NESTING_MAX} levels may nest"
_PATH_CHARACTERS_MAX: Final = 200
_INT_BYTES_MAX: Final = 64 * 1024


class Extension(enum.IntEnum):
    """The codes of our extensions."""

    TUPLE = 1
    SET = 2
    FROZENSET = 3
    INT = 4
    BUILTIN = 5
    ENUM = 6
    DICT = 7


_INT64: Final = range(-(2**63), 2**64)

_BUILTINS: Final[dict[str, type]] = {
    "Decimal": decimal.Decimal,
    "UUID": uuid.UUID,
    "date": datetime.date,
    "time": datetime.time,
    "timedelta": datetime.timedelta,
    "datetime": datetime.datetime,
}
_KIND_OF_BUILTIN: Final = {cls: kind for kind, cls in _BUILTINS.items()}
_SCALARS: Final = (type(None), bool, float, bytes)

Tree = object
"""What an encoder can write as it is: builtin values, `Ext` and `Raw`."""

plumbing_structs: Final[set[type]] = set()
"""Structs of this runtime that may stand inside messages without a name of their own."""

_encode_one: Final = msgspec.msgpack.Encoder().encode
_decode_one: Final = msgspec.msgpack.Decoder().decode


def typed_tree(value: object, path: str, *, keep_order: bool = False, depth: int = 0) -> Tree:
    """Return ``value`` as the typed encoder writes it; a reader must know its type.

    Raises `UnserialisableMessage` with the path to what can't be written.
    """

    def inner(part: object, suffix: str) -> Tree:
        return typed_tree(part, path + suffix, keep_order=keep_order, depth=depth + 1)

    _check_depth(path, depth)
    cls = type(value)
    if cls is str or cls in _SCALARS or cls in _KIND_OF_BUILTIN:
        return _checked(value, path)
    if cls is int:
        return _int_tree(cast(int, value))
    match value:
        case enum.Enum():
            return inner(value.value, "")
        case msgspec.Struct() if name_of(cls) is not None or cls in plumbing_structs:
            return _struct_tree(value, inner)
        case list() | tuple():
            return [inner(part, f"[{index}]") for index, part in enumerate(value)]
        case set() | frozenset():
            return _sorted_trees(inner(part, "{}") for part in value)
        case dict():
            pairs = [
                (inner(key, ".keys()"), inner(part, f"[{key!r}]")) for key, part in value.items()
            ]
            return _map_tree(pairs if keep_order else _sorted_pairs(pairs))
        case bytearray() | memoryview() | msgspec.Raw():
            return value
        case _:
            raise UnserialisableMessage(_short(path), full_name(cls))


def describing_tree(
    value: object,
    path: str,
    encode_message: Callable[[object, str], bytes],
    *,
    keep_order: bool = False,
    depth: int = 0,
) -> Tree:
    """Return ``value`` so that `runtime.tree_reader` gives it back without knowing any type."""

    def inner(part: object, suffix: str) -> Tree:
        return describing_tree(
            part, path + suffix, encode_message, keep_order=keep_order, depth=depth + 1
        )

    _check_depth(path, depth)
    cls = type(value)
    if cls is list:
        return [inner(part, f"[{index}]") for index, part in enumerate(cast(list[object], value))]
    if cls is tuple:
        parts = [inner(part, f"[{i}]") for i, part in enumerate(cast(tuple[object, ...], value))]
        return _ext(Extension.TUPLE, parts)
    if cls is set or cls is frozenset:
        trees = _sorted_trees(inner(part, "{}") for part in cast(set[object], value))
        return _ext(Extension.SET if cls is set else Extension.FROZENSET, trees)
    if cls is dict:
        entries = cast(dict[object, object], value)
        pairs = [(inner(key, ".keys()"), inner(v, f"[{key!r}]")) for key, v in entries.items()]
        if not keep_order:
            pairs = _sorted_pairs(pairs)
        if TAG_FIELD not in entries and all(is_scalar(key) for key, _ in pairs):
            return dict(pairs)
        return _ext(Extension.DICT, pairs)
    if cls in _KIND_OF_BUILTIN and not _has_zone(value):
        return _ext(Extension.BUILTIN, [_KIND_OF_BUILTIN[cls], _checked(value, path)])
    name = name_of(cls)
    if name is not None:
        if isinstance(value, enum.Enum):
            return _ext(Extension.ENUM, [name, value.value])
        return msgspec.Raw(encode_message(value, path))
    if isinstance(value, enum.Enum | msgspec.Struct | list | tuple | dict | set | frozenset):
        raise UnserialisableMessage(_short(path), full_name(cls))
    return typed_tree(value, path, depth=depth)


class Pairs(list[tuple[object, object]]):
    """The entries of a dict whose keys are not hashable yet."""


def inside_extension(extension: Ext) -> object:
    """Return what an extension of ours holds: a tree for a container, else the value itself.

    Raises all sorts of errors if the bytes came from somebody else.
    """
    data = bytes(extension.data)
    if extension.code == Extension.INT:
        if len(data) > _INT_BYTES_MAX:
            raise ValueError(f"an int of {len(data)} bytes")
        return int.from_bytes(data, "big", signed=True)
    content = _decode_one(data)
    if not isinstance(content, list):
        raise ValueError("an extension without its array")
    match extension.code:
        case Extension.TUPLE | Extension.SET | Extension.FROZENSET:
            return content
        case Extension.DICT:
            return Pairs(content)
        case Extension.BUILTIN:
            kind, value = content
            return msgspec.convert(value, _BUILTINS[kind])
        case Extension.ENUM:
            name, value = content
            cls = class_named(name)
            if cls is None or not issubclass(cls, enum.Enum):
                raise ValueError(f"no enum named {name!r} is registered here")
            return msgspec.convert(value, cls)
        case code:
            raise ValueError(f"unknown extension {code}")


def is_scalar(key: object) -> bool:
    """Tell whether ``key`` may be the key of a plain map."""
    return isinstance(key, str | int | float | bytes | None)


def is_same(left: object, right: object) -> bool:
    """Tell whether two values are equal and of the same types at every depth; NaN is itself."""
    if type(left) is not type(right):
        return False
    match left, right:
        case ((list() | tuple()), (list() | tuple())):
            return len(left) == len(right) and all(map(is_same, left, right))
        case dict(), dict():
            return left.keys() == right.keys() and all(is_same(left[k], right[k]) for k in left)
        case msgspec.Struct(), msgspec.Struct():
            names = left.__struct_fields__
            return all(is_same(getattr(left, name), getattr(right, name)) for name in names)
        case float(), float():
            return left == right or (left != left and right != right)
        case _:
            return left == right


def full_name(cls: type) -> str:
    """Return module and qualified name for people."""
    return f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.")


def _struct_tree(value: msgspec.Struct, inner: Callable[[object, str], Tree]) -> Tree:
    config = value.__struct_config__
    names = zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
    parts = [(encoded, inner(getattr(value, name), f".{name}")) for name, encoded in names]
    if config.array_like:
        return [part for _, part in parts]
    return {TAG_FIELD: config.tag} | dict(parts)


def _ext(code: Extension, content: Tree) -> Ext:
    return Ext(code.value, _encode_one(content))


def _map_tree(pairs: list[tuple[Tree, Tree]]) -> Tree:
    try:
        return {_as_key(key): value for key, value in pairs}
    except TypeError:
        return _ext(Extension.DICT, pairs)


def _as_key(tree: Tree) -> Tree:
    return tuple(map(_as_key, tree)) if isinstance(tree, list) else tree


def _int_tree(value: int) -> Tree:
    if value in _INT64:
        return value
    return Ext(Extension.INT.value, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _checked(value: object, path: str) -> Tree:
    try:
        _encode_one(value)
    except (ValueError, OverflowError) as error:
        # A lone surrogate in a str, or a datetime that UTC can't express.
        raise UnserialisableMessage(_short(path), type(value).__name__, str(error)) from error
    return value


def _check_depth(path: str, depth: int) -> None:
    if depth > NESTING_MAX:
        raise UnserialisableMessage(_short(path), TOO_DEEP, TOO_DEEP_ADVICE)


def _short(path: str) -> str:
    return path if len(path) <= _PATH_CHARACTERS_MAX else f"{path[:_PATH_CHARACTERS_MAX]}..."


def _has_zone(value: object) -> bool:
    return isinstance(value, datetime.datetime) and value.tzinfo is not None


def _sorted_trees(trees: Iterable[Tree]) -> list[Tree]:
    return sorted(trees, key=_encode_one)


def _sorted_pairs(pairs: list[tuple[Tree, Tree]]) -> list[tuple[Tree, Tree]]:
    if all(type(key) is str for key, _ in pairs):
        return sorted(pairs, key=lambda pair: cast(str, pair[0]))
    return sorted(pairs, key=lambda pair: _encode_one(pair[0]))
