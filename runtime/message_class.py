"""Turn a class into a message class, and know every message class by its name on the wire.

A message class is a frozen `msgspec.Struct` that is written as a map. The map's first entry is
``"$"`` with the wire name; the fields follow in the order of their declaration, by their names.
A registered enum is written as the value of its member.
Only what is registered here is ever built from bytes; no name from outside is imported.
"""

import enum
import inspect
import re
import types
from collections.abc import Callable, Iterable
from dataclasses import MISSING as DATACLASS_MISSING
from dataclasses import Field as DataclassField
from dataclasses import is_dataclass
from typing import Final, cast

import msgspec

from runtime import checks
from runtime.class_names import public_module
from runtime.errors import MisuseError

TAG_FIELD: Final = "$"

# Names travel with every message, and stand in error texts.
WIRE_NAME_CHARACTERS_MAX: Final = 256

_GENERATED: Final = frozenset({"__slots__", "__dict__", "__weakref__", "__match_args__"})
_STRUCT_META: Final[type] = type(msgspec.Struct)

_class_by_name: dict[str, type] = {}
_name_by_class: dict[type, str] = {}
_place_by_name: dict[str, str] = {}
_combined_metas: dict[type, type] = {}


def class_named(name: str) -> type | None:
    """Return the class that is registered under ``name`` on the wire."""
    return _class_by_name.get(name)


def name_of(cls: type) -> str | None:
    """Return the wire name of a registered class (of each one that was ever registered)."""
    return _name_by_class.get(cls)


def message_class(cls: type, name: str | None, place: str) -> type:
    """Return ``cls`` made anew as a registered message class."""
    if "__init__" in vars(cls) and not is_dataclass(cls):
        raise MisuseError(
            f"{cls.__qualname__} has an __init__, which decoding would not call; "
            "declare fields, and use __post_init__ or a classmethod for the rest"
        )
    if is_dataclass(cls):
        raise MisuseError(f"{cls.__qualname__} is a dataclass; @message alone is enough, remove it")
    wire_name = _checked_name(cls, name)
    namespace = _namespace_of(cls)
    bases = _bases_of(cls)
    try:
        new = _metaclass_for(bases)(
            cls.__name__, bases, namespace, frozen=True, tag_field=TAG_FIELD, tag=wire_name
        )
    except TypeError as error:
        why = _why_not(cls, str(error))
        raise MisuseError(f"{cls.__qualname__} can't be a message: {why}") from error
    _repoint_class_cells(vars(new).values(), cls, new)
    _register(new, wire_name, place)
    return new


def _why_not(cls: type, told: str) -> str:
    """Return why msgspec refuses a class, in the words of somebody who wrote a message class."""
    required = re.match(r"Required field '(\w+)' cannot follow", told)
    if required:
        return (
            f"field {required[1]!r} has no default but comes after one that has. "
            "Move it up, or give it a default"
        )
    for base in cls.__mro__[1:-1]:
        if "__init__" in vars(base) and type(base) is not _STRUCT_META:
            return (
                f"its base {base.__qualname__} has an __init__, which decoding would not call. "
                "Inherit from other messages only"
            )
    for name in inspect.get_annotations(cls):
        default = vars(cls).get(name)
        if isinstance(default, list | dict | set | bytearray) and default:
            return (
                f"the default of field {name!r} is a {type(default).__name__} that all values "
                "would share. Make each its own: "
                f"{name}: ... = msgspec.field(default_factory=lambda: {default!r})"
            )
    return told


def message_enum(
    cls: type[enum.Enum], name: str | None, fallback: str | None, place: str
) -> type[enum.Enum]:
    """Register ``cls``; values that it does not know become the member named ``fallback``."""
    if issubclass(cls, enum.Flag):
        raise MisuseError(f"{cls.__qualname__} is a Flag; send a set of the members of an Enum")
    values = [member.value for member in cls]
    if not (all(type(v) is str for v in values) or all(type(v) is int for v in values)):
        raise MisuseError(
            f"{cls.__qualname__}: the values of a message enum are all str or all int"
        )
    if fallback is not None:
        checks.instance(fallback, str, "@message(fallback=...)", "the name of a member")
        if fallback not in cls.__members__:
            raise MisuseError(
                f"{cls.__qualname__} has no member {checks.shown(fallback)} to fall back to"
            )
        if "_missing_" in vars(cls):
            raise MisuseError(f"{cls.__qualname__} has both a fallback and a _missing_; keep one")
        cls._missing_ = classmethod(_missing_hook(fallback))  # type: ignore[assignment]
    _register(cls, _checked_name(cls, name), place)
    return cls


def _missing_hook(fallback: str) -> Callable[[type[enum.Enum], object], enum.Enum]:
    def missing(cls: type[enum.Enum], value: object) -> enum.Enum:
        return cls[fallback]

    return missing


def _checked_name(cls: type, name: str | None) -> str:
    if name is None:
        name = f"{public_module(cls.__module__)}.{cls.__qualname__}"
    checks.instance(name, str, "@message(name=...)", 'a text, like "trade.Offer"')
    if not 0 < len(name) <= WIRE_NAME_CHARACTERS_MAX or "." not in name or not name.isprintable():
        raise MisuseError(
            f"{checks.shown(name)} can't be the wire name of {cls.__qualname__}: it needs a dot "
            f"(as in 'trade.Offer') and at most {WIRE_NAME_CHARACTERS_MAX} printable characters"
        )
    return name


def _register(cls: type, name: str, place: str) -> None:
    known = _class_by_name.get(name)
    if known is not None and _identity(known) != _identity(cls):
        raise MisuseError(
            f"two classes have the wire name {name!r}: {known.__module__}.{known.__qualname__} "
            f"({_place_by_name[name]}) and {cls.__module__}.{cls.__qualname__} ({place}); "
            "give one of them another with @message(name=...)"
        )
    _class_by_name[name] = cls
    _name_by_class[cls] = name
    _place_by_name[name] = place


def _identity(cls: type) -> tuple[str, str]:
    # A module that is imported again (reload, runpy) brings the same class once more.
    return public_module(cls.__module__), cls.__qualname__


def _namespace_of(cls: type) -> dict[str, object]:
    namespace = {
        key: _field_default(value)
        for key, value in vars(cls).items()
        if key not in _GENERATED
        and not key.startswith("__struct_")
        and not isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType)
    }
    if isinstance(cls, _STRUCT_META):
        # A subclass of a message was made a Struct by its class statement already, which took the
        # defaults out of its body.
        namespace.update(_defaults_of_struct(cls))
    return namespace


def _field_default(value: object) -> object:
    if not isinstance(value, DataclassField):
        return value
    if value.default_factory is not DATACLASS_MISSING:
        return msgspec.field(default_factory=value.default_factory)
    if value.default is not DATACLASS_MISSING:
        return value.default
    return msgspec.field()


def _defaults_of_struct(cls: type) -> dict[str, object]:
    struct = cast(type[msgspec.Struct], cls)
    fields, encoded = struct.__struct_fields__, struct.__struct_encode_fields__
    own = inspect.get_annotations(cls)
    without = len(fields) - len(struct.__struct_defaults__)
    found: dict[str, object] = {}
    for index, name in enumerate(fields):
        if name not in own:
            continue
        default = (
            struct.__struct_defaults__[index - without] if index >= without else msgspec.NODEFAULT
        )
        renamed = encoded[index] if encoded[index] != name else None
        factory = getattr(default, "factory", None)
        if type(default).__name__ == "Factory" and factory is not None:
            found[name] = msgspec.field(default_factory=factory, name=renamed)
        elif default is not msgspec.NODEFAULT:
            found[name] = msgspec.field(default=_field_default(default), name=renamed)
        elif renamed is not None:
            found[name] = msgspec.field(name=renamed)
    return found


def _bases_of(cls: type) -> tuple[type, ...]:
    if isinstance(cls, _STRUCT_META):
        return cls.__bases__
    return (*(base for base in cls.__bases__ if base is not object), msgspec.Struct)


def _metaclass_for(bases: tuple[type, ...]) -> Callable[..., type]:
    wanted: type = _STRUCT_META
    for base in bases:
        meta = type(base)
        if issubclass(meta, wanted):
            wanted = meta
        elif not issubclass(wanted, meta):
            wanted = _combined_metas.setdefault(meta, type("MessageMeta", (_STRUCT_META, meta), {}))
    assert issubclass(wanted, _STRUCT_META)
    return cast(Callable[..., type], wanted)


def _repoint_class_cells(values: Iterable[object], old: type, new: type) -> None:
    """Make zero-argument ``super()`` and ``__class__`` in methods mean the new class."""
    for value in values:
        for function in _functions_of(value):
            for cell in function.__closure__ or ():
                try:
                    is_old = cell.cell_contents is old
                except ValueError:  # an empty cell
                    continue
                if is_old:
                    cell.cell_contents = new


def _functions_of(value: object) -> list[types.FunctionType]:
    match value:
        case classmethod() | staticmethod():
            candidates: list[object] = [value.__func__]
        case property():
            candidates = [value.fget, value.fset, value.fdel]
        case _:
            candidates = [value]
    return [
        inner
        for candidate in candidates
        if callable(candidate)
        and isinstance(inner := inspect.unwrap(candidate), types.FunctionType)
    ]
