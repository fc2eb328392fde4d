"""Copies of what can be changed in place, for code whose changes a replay would not repeat."""

from typing import Final, cast

import msgspec

UNCHANGEABLE: Final = frozenset({type(None), bool, int, float, str, bytes})
"""Types whose values `apart` returns as they are, for who wants to spare the call."""


def apart(values: tuple[object, ...]) -> tuple[object, ...]:
    """Return the values with copies in place of lists, dicts and sets, at any depth.

    It takes encodable values, so their nesting is bounded; what holds none of those comes back as
    it is.
    """
    for value in values:
        if type(value) not in UNCHANGEABLE:
            return tuple(map(_copy, values))
    return values


def _copy(value: object) -> object:
    cls = type(value)
    if cls in UNCHANGEABLE:
        return value
    match value:
        case list():
            return [_copy(part) for part in value]
        case dict():
            return {key: _copy(part) for key, part in value.items()}
        case set():
            return set(value)
        case bytearray():
            return bytearray(value)
        case tuple():
            parts = tuple(map(_copy, value))
            return value if all(map(_is, parts, value)) else parts
        case msgspec.Struct():
            return _copy_of_struct(value)
        case _:
            return value


def _copy_of_struct(value: msgspec.Struct) -> object:
    changed: dict[str, object] = {}
    for name in value.__struct_fields__:
        part = getattr(value, name)
        copied = _copy(part)
        if copied is not part:
            changed[name] = copied
    return cast(object, msgspec.structs.replace(value, **changed)) if changed else value


def _is(left: object, right: object) -> bool:
    return left is right
