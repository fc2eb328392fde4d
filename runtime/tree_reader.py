"""Builds values from the trees of `runtime.value_tree`, part by part: slow, and it can do all.

`runtime.decoding` comes here after its quick decoder has refused: for our extensions, for parts
without a declared type, and for a field that declares a message class and holds a registered
subclass of it. The trees may come from anybody: whatever is raised here is the sender's fault.
"""

import collections.abc
import enum
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast

import msgspec
from msgspec.msgpack import Ext

from runtime.message_class import TAG_FIELD, class_named, name_of
from runtime.schema import CONTAINERS, hints_of, is_open, members
from runtime.value_tree import NESTING_MAX, Extension, Pairs, inside_extension, is_scalar

# In MessagePack, unlike JSON, bytes are bytes: no text stands for them.
_NATIVE: Final = (bytes, bytearray, memoryview)
_ARRAY_CLASSES: Final[dict[object, type]] = {
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
}
_MAPS: Final = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def read_any(tree: object, depth: int = 0) -> object:
    """Return the value that a tree describes by itself; maps with the key "$" become messages."""
    if depth > NESTING_MAX:
        raise ValueError(f"nested deeper than {NESTING_MAX}")
    match tree:
        case list():
            return [read_any(part, depth + 1) for part in tree]
        case dict():
            if TAG_FIELD in tree:
                return _read_message_by_name(tree, depth)
            if not all(is_scalar(key) for key in tree):
                raise ValueError("a map with keys that are no scalars")
            return {key: read_any(value, depth + 1) for key, value in tree.items()}
        case Ext():
            return _read_extension(tree, depth)
        case _:
            return tree


def read_tree(tree: object, annotation: object, depth: int = 0) -> object:
    """Return the value as ``annotation``; raises ValueError if it is of another type."""
    if depth > NESTING_MAX:
        raise ValueError(f"nested deeper than {NESTING_MAX}")
    alternatives = members(annotation)
    if any(member is Any or member is object or member in CONTAINERS for member in alternatives):
        return msgspec.convert(read_any(tree, depth), cast(Any, annotation))
    if isinstance(tree, Ext):
        tree = inside_extension(tree)
    match tree:
        case Pairs():
            return _read_map(tree, annotation, depth)
        case dict():
            classes = tuple(cast(type, m) for m in alternatives if _is_message(m))
            if classes and (TAG_FIELD in tree or len(classes) == 1):
                return _read_message(tree, _class_of(tree, classes), depth)
            return _read_map(tree.items(), annotation, depth)
        case list():
            for member in alternatives:
                if _origin(member) in _ARRAY_CLASSES:
                    return _read_array(tree, member, depth)
        case _:
            pass
    return msgspec.convert(tree, cast(Any, annotation), builtin_types=_NATIVE)


def _read_extension(extension: Ext, depth: int) -> object:
    inside = inside_extension(extension)
    match extension.code:
        case Extension.TUPLE:
            return tuple(_read_all(inside, depth))
        case Extension.SET:
            return set(_read_all(inside, depth))
        case Extension.FROZENSET:
            return frozenset(_read_all(inside, depth))
        case Extension.DICT:
            return {
                read_any(key, depth + 1): read_any(value, depth + 1)
                for key, value in cast(Pairs, inside)
            }
        case _:
            return inside


def _read_all(trees: object, depth: int) -> Iterator[object]:
    return (read_any(tree, depth + 1) for tree in cast(list[object], trees))


def _read_message_by_name(tree: Mapping[Any, object], depth: int) -> object:
    cls = _class_of(tree, (object,))
    if not is_open(cls, cls.__qualname__):
        try:
            return msgspec.convert(tree, cls, builtin_types=_NATIVE)
        except msgspec.ValidationError:
            # There may be an extension or a subclass inside.
            pass
    return _read_message(tree, cls, depth)


def _class_of(tree: Mapping[Any, object], admitted: tuple[type, ...]) -> type:
    """Return the message class that a map names, or the only one that is admitted."""
    if TAG_FIELD not in tree:
        return admitted[0]
    name = tree[TAG_FIELD]
    cls = class_named(name) if isinstance(name, str) else None
    if cls is None or issubclass(cls, enum.Enum) or not issubclass(cls, admitted):
        raise ValueError(f"{name!r} is no message that is expected there")
    return cls


def _read_message(tree: Mapping[Any, object], cls: type, depth: int) -> object:
    struct = cast(type[msgspec.Struct], cls)
    hints = hints_of(cls)
    names = zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True)
    values = {
        name: read_tree(tree[encoded], hints[name], depth + 1)
        for name, encoded in names
        if encoded in tree
    }
    return struct(**values)


def _read_map(
    pairs: Iterable[tuple[object, object]], annotation: object, depth: int
) -> dict[object, object]:
    for member in members(annotation):
        if _origin(member) in _MAPS:
            key_type, value_type = typing.get_args(member)
            return {
                read_tree(key, key_type, depth + 1): read_tree(value, value_type, depth + 1)
                for key, value in pairs
            }
    raise ValueError("a map is not expected there")


def _read_array(tree: list[object], member: object, depth: int) -> object:
    arguments = typing.get_args(member)
    cls = _ARRAY_CLASSES[_origin(member)]
    if cls is tuple and arguments[-1:] != (...,):
        if len(arguments) != len(tree):
            raise ValueError(f"it has {len(tree)} parts, not {len(arguments)}")
        return tuple(read_tree(t, a, depth + 1) for t, a in zip(tree, arguments, strict=True))
    return cls(read_tree(part, arguments[0], depth + 1) for part in tree)


def _origin(member: object) -> object:
    return typing.get_origin(member) or member


def _is_message(member: object) -> bool:
    if not isinstance(member, type) or name_of(member) is None:
        return False
    return not issubclass(member, enum.Enum)
