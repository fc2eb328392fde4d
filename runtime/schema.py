"""What an annotation promises about bytes: can it be written, is it fully typed, what may arrive.

An annotation is *closed* if every part of it says what it is: then the typed form loses nothing.
It is *open* if some part is ``object``, ``Any`` or a bare container.
"""

import collections.abc
import datetime
import decimal
import enum
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from runtime.errors import MisuseError, UnserialisableMessage
from runtime.message_class import name_of
from runtime.value_tree import full_name, plumbing_structs

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
BUILTIN_BY_KIND: Final = {kind: cls for cls, kind in BUILTIN_KINDS.items()}

CONTAINERS: Final = frozenset({list, tuple, dict, set, frozenset})
_FIELD_ONLY: Final = (bytearray, memoryview, msgspec.Raw)
_ABSTRACT_KINDS: Final[dict[object, tuple[str, ...]]] = {
    collections.abc.Sequence: ("list", "tuple"),
    collections.abc.MutableSequence: ("list",),
    collections.abc.Collection: ("list", "tuple", "set", "frozenset"),
    collections.abc.Iterable: ("list", "tuple", "set", "frozenset"),
    collections.abc.Set: ("set", "frozenset"),
    collections.abc.MutableSet: ("set",),
    collections.abc.Mapping: ("dict",),
    collections.abc.MutableMapping: ("dict",),
}

_SETS: Final = (
    set,
    frozenset,
    *(abstract for abstract, kinds in _ABSTRACT_KINDS.items() if "set" in kinds),
)
# Any two of one type compare, and always alike. A float or a Decimal may be NaN.
_TOTALLY_ORDERED: Final = (
    type(None),
    bool,
    int,
    str,
    bytes,
    datetime.datetime,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    uuid.UUID,
)

_open_by_class: Final[dict[type, bool]] = {}
_reached_by_annotation: Final[dict[object, set[type]]] = {}


def is_open(annotation: object, path: str) -> bool:
    """Tell whether some part of ``annotation`` has no declared type.

    Raises `UnserialisableMessage` with the path to a part that can't be written at all.
    """
    return _is_open(annotation, path, set())


def open_fields(cls: type) -> list[str]:
    """Return the names of the fields of a message class that are open."""
    hints = hints_of(cls)
    fields = cast(type[msgspec.Struct], cls).__struct_fields__
    return [name for name in fields if is_open(hints[name], f"{cls.__qualname__}.{name}")]


def members(annotation: object) -> tuple[object, ...]:
    """Return the alternatives of a union, or the annotation alone, without its wrappings."""
    annotation = _unwrapped(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(m for part in typing.get_args(annotation) for m in members(part))
    return (type(None) if annotation is None else annotation,)


def kinds(member: object) -> tuple[str, ...]:
    """Return the kinds of builtin values that may arrive for a member of a union."""
    origin = typing.get_origin(member) or member
    if origin is typing.Literal:
        return tuple({BUILTIN_KINDS[type(value)]: None for value in typing.get_args(member)})
    if origin is float:
        return ("float", "int")
    abstract = _ABSTRACT_KINDS.get(origin)
    if abstract is not None:
        return abstract
    kind = BUILTIN_KINDS.get(origin) if isinstance(origin, type) else None
    return () if kind is None else (kind,)


def type_text(annotation: object) -> str:
    """Return ``annotation`` for logs and errors: messages by their wire names."""
    return _text(annotation, lambda cls: name_of(cls) or full_name(cls))


def people_text(annotation: object) -> str:
    """Return ``annotation`` as it would stand in the source: classes by their own names."""
    return _text(annotation, lambda cls: cls.__qualname__)


def _text(annotation: object, class_text: Callable[[type], str]) -> str:
    if isinstance(annotation, typing.NewType):
        return annotation.__name__ or ""
    annotation = _unwrapped(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_text(part, class_text) for part in arguments)
    if origin is typing.Literal:
        return str(annotation).removeprefix("typing.")
    if origin is collections.abc.Callable and isinstance(arguments[0], list):
        taken = ", ".join(_text(part, class_text) for part in arguments[0])
        return f"Callable[[{taken}], {_text(arguments[1], class_text)}]"
    if origin is not None and arguments:
        parts = ", ".join(_text(part, class_text) for part in arguments)
        return f"{_text(origin, class_text)}[{parts}]"
    if annotation is None:
        return "None"
    if annotation is ...:
        return "..."
    if isinstance(annotation, type):
        return BUILTIN_KINDS.get(annotation) or class_text(annotation)
    return str(annotation).removeprefix("typing.")


def may_hold_subclass(annotation: object) -> bool:
    """Tell whether a message class in ``annotation``, at any depth, has registered subclasses."""
    reached = _reached_by_annotation.get(annotation)
    if reached is None:
        reached = set()
        _collect_messages(annotation, reached)
        _reached_by_annotation[annotation] = reached
    return any(_has_registered_subclass(cls) for cls in reached)


def message_classes(annotation: object) -> set[type]:
    """Return the message classes in ``annotation``, at any depth, and their subclasses."""
    found: set[type] = set()
    reached: set[type] = set()
    _collect_messages(annotation, reached)
    while reached:
        cls = reached.pop()
        if cls in found:
            continue
        found.add(cls)
        subclasses: list[type] = type.__subclasses__(cls)
        for sub in subclasses:
            _collect_messages(sub, reached)
    return found


def sorts_partly(annotation: object) -> bool:
    """Tell whether sorting the sets in ``annotation`` may depend on the order they are in.

    So it is with a set of sets, for which "less" means "is part of": two of them may be neither
    less nor more, and a sort then leaves them as they came, in another order in each process.
    """
    return _sorts_partly(annotation, set())


def hints_of(cls: type) -> dict[str, object]:
    """Return the annotations of a class with every name in them resolved."""
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        raise MisuseError(
            f"an annotation of {cls.__module__}.{cls.__qualname__} can't be resolved: {error}. "
            "A class that is named in quotes must stand at the top level of its module"
        ) from error


def _unwrapped(annotation: object) -> object:
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        else:
            return annotation


def _is_open(annotation: object, path: str, visiting: set[type]) -> bool:
    annotation = _unwrapped(annotation)
    if annotation is Any or annotation is object or isinstance(annotation, typing.TypeVar):
        return True
    if annotation is None or annotation is ...:
        return False
    origin = typing.get_origin(annotation)
    if origin is None:
        return _is_open_class(annotation, path, visiting)
    if origin is typing.Literal:
        return False
    known = origin in CONTAINERS or origin in _ABSTRACT_KINDS
    union = origin in (typing.Union, types.UnionType)
    if not known and not union and name_of(origin) is None:
        raise UnserialisableMessage(path, type_text(annotation))
    # Every part is looked at: a later one may be impossible.
    suffix = "[]" if known else ""
    found = [_is_open(part, path + suffix, visiting) for part in typing.get_args(annotation)]
    return any(found) or name_of(origin) is not None


def _is_open_class(cls: object, path: str, visiting: set[type]) -> bool:
    if cls in CONTAINERS or cls in _ABSTRACT_KINDS:
        return True
    if not isinstance(cls, type):
        raise UnserialisableMessage(path, type_text(cls))
    if cls in BUILTIN_KINDS or cls in _FIELD_ONLY or cls in plumbing_structs:
        return False
    if issubclass(cls, enum.Enum):
        return False
    if name_of(cls) is None:
        raise UnserialisableMessage(path, type_text(cls))
    if cls in visiting:
        return False
    known = _open_by_class.get(cls)
    if known is None:
        known = _is_open_message(cls, visiting | {cls})
        if not visiting:
            # Inside a cycle the answer may lack the part of a class that is still being visited.
            _open_by_class[cls] = known
    return known


def _is_open_message(cls: type, visiting: set[type]) -> bool:
    hints = hints_of(cls)
    fields = cast(type[msgspec.Struct], cls).__struct_fields__
    found = [_is_open(hints[name], f"{cls.__qualname__}.{name}", visiting) for name in fields]
    return any(found)


def _sorts_partly(annotation: object, visited: set[type]) -> bool:
    for member in members(annotation):
        origin = typing.get_origin(member) or member
        parts = typing.get_args(member)
        if origin is typing.Literal:
            continue
        if origin in _SETS and not all(map(_is_totally_ordered, parts)):
            return True
        if any(_sorts_partly(part, visited) for part in parts):
            return True
        if isinstance(origin, type) and _is_unseen_message(origin, visited):
            fields = hints_of(origin).values()
            if any(_sorts_partly(part, visited) for part in (*fields, *origin.__subclasses__())):
                return True
    return False


def _is_unseen_message(cls: type, visited: set[type]) -> bool:
    if cls in visited or name_of(cls) is None or issubclass(cls, enum.Enum):
        return False
    visited.add(cls)
    return True


def _is_totally_ordered(annotation: object) -> bool:
    for member in members(annotation):
        origin = typing.get_origin(member) or member
        if origin is typing.Literal or origin is ... or origin in _TOTALLY_ORDERED:
            continue
        if origin is not tuple or not all(map(_is_totally_ordered, typing.get_args(member))):
            return False
    return True


def _collect_messages(annotation: object, reached: set[type]) -> None:
    for member in members(annotation):
        for part in typing.get_args(member):
            _collect_messages(part, reached)
        origin = typing.get_origin(member) or member
        if not isinstance(origin, type) or origin in reached or name_of(origin) is None:
            continue
        if not issubclass(origin, enum.Enum):
            reached.add(origin)
            for hint in hints_of(origin).values():
                _collect_messages(hint, reached)


def _has_registered_subclass(cls: type) -> bool:
    subclasses: list[type] = cls.__subclasses__()
    return any(name_of(sub) is not None or _has_registered_subclass(sub) for sub in subclasses)
