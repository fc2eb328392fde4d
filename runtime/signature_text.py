"""Arguments that a person typed, read by the annotations of the parameters.

str                      as it is                     5 pm
int float Decimal        a number                     95   1.5
bool                     true false yes no 1 0        yes
date datetime time UUID  ISO 8601; the usual form     2024-05-31
enum                     name or value                RED
None in a union          none or null                 none
message                  JSON object of its fields    {"asset": "bond", "price": 95}
                         or, if its class has a class method ``parse``, what that reads
list set tuple dict      JSON                         [1, 2]
object, no annotation    JSON if it is that, else str
"""

import collections.abc
import datetime
import decimal
import enum
import json
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from inspect import Parameter
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from runtime.codec import Packed, unpack, unpack_any
from runtime.errors import BadArguments, BadMessage, SennitError, UnexpectedMessage
from runtime.message_class import TAG_FIELD, name_of
from runtime.schema import hints_of, members, people_text

Convert = Callable[[Any, str], object]
_T = TypeVar("_T")

_SHOWN_CHARACTERS_MAX: Final = 80
_EXAMPLE_DEPTH_MAX: Final = 3
_JSON_WORDS: Final[dict[type, str]] = {list: "array", dict: "object", str: "string"}

_TRUTHS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_NONES: Final = frozenset({"none", "null", ""})
_ARRAYS: Final[tuple[object, ...]] = (
    list,
    set,
    frozenset,
    collections.abc.Sequence,
    collections.abc.Collection,
    collections.abc.Iterable,
    collections.abc.Set,
)
_MAPS: Final[tuple[object, ...]] = (dict, collections.abc.Mapping, collections.abc.MutableMapping)

_EXAMPLES: Final[dict[object, str]] = {
    int: "42",
    float: "1.5",
    bool: "true",
    str: "text",
    bytes: "base64, as aGk=",
    decimal.Decimal: "9.99",
    datetime.datetime: "2024-05-31T17:00:00+00:00",
    datetime.date: "2024-05-31",
    datetime.time: "17:00:00",
    datetime.timedelta: "PT1H30M",
    uuid.UUID: "01890a5d-ac96-774b-bcce-b302099a8057",
}


class Target(NamedTuple):
    """The parameters that arguments are read for; ``text`` is the signature, for error texts."""

    text: str
    parameters: Sequence[Parameter]
    annotations: Sequence[Any]
    convert: Convert | None


def values_from_text(
    target: Target, given: Sequence[object] | Mapping[str, object], named: Mapping[str, object]
) -> tuple[object, ...]:
    """Return one value for each parameter; raises `BadArguments` that says what would be right."""
    by_name, rest = _sorted_out(target, given, named)
    values: list[object] = []
    for parameter, annotation in zip(target.parameters, target.annotations, strict=True):
        name = parameter.name
        if name in by_name:
            values.append(_value(target, name, annotation, by_name.pop(name)))
        elif parameter.kind is Parameter.VAR_POSITIONAL:
            element = _element(annotation, 0)
            values.append(tuple(_value(target, name, element, item) for item in rest))
            rest = []
        elif parameter.kind is Parameter.VAR_KEYWORD:
            element = _element(annotation, 1)
            values.append({key: _value(target, key, element, v) for key, v in by_name.items()})
            by_name = {}
        elif parameter.default is not Parameter.empty:
            values.append(parameter.default)
        else:
            example = _example(annotation)
            raise BadArguments(
                f"{name} is missing; for example {name}={example}. Signature: {target.text}"
            )
    if by_name:
        raise BadArguments(
            f"there is no parameter {next(iter(by_name))!r}. Signature: {target.text}"
        )
    if rest:
        raise BadArguments(f"{_shown(rest[0])} is one argument too many. Signature: {target.text}")
    return tuple(values)


def _sorted_out(
    target: Target, given: Sequence[object] | Mapping[str, object], named: Mapping[str, object]
) -> tuple[dict[str, object], list[object]]:
    """Return what was given for each name, and what is left over for ``*args``."""
    if isinstance(given, Mapping):
        return {**given, **named}, []
    names = {p.name for p in target.parameters if p.kind is not Parameter.VAR_KEYWORD}
    takes_any_name = len(names) < len(target.parameters)
    by_name = dict(named)
    positional: list[object] = []
    for item in given:
        name, equals, value = item.partition("=") if isinstance(item, str) else ("", "", "")
        # The legal name of a party has an equals sign in it, too.
        if not equals or not (name in names or (takes_any_name and name.isidentifier())):
            positional.append(item)
        elif name in by_name:
            raise BadArguments(f"{name} is given twice. Signature: {target.text}")
        else:
            by_name[name] = value
    free = [
        parameter.name
        for parameter in target.parameters
        if parameter.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
        and parameter.name not in by_name
    ]
    by_name.update(zip(free, positional, strict=False))
    return by_name, positional[len(free) :]


def _value(target: Target, name: str, annotation: Any, given: object) -> object:
    try:
        if isinstance(given, Packed):
            return _unpacked(target, annotation, given)
        return _Reader(target.convert).read(annotation, given)
    except (ValueError, TypeError, ArithmeticError, SennitError) as error:
        reason = f": {error}" if str(error) else ""
        raise BadArguments(
            f"{name} must be {people_text(annotation)}, not {_shown(given)}{reason}; "
            f"for example {name}={_example(annotation)}. Signature: {target.text}"
        ) from error


def _unpacked(target: Target, annotation: Any, given: Packed) -> object:
    """Return a packed value; text where something else is wanted is read as a person's."""
    try:
        return unpack(given, object if annotation is Parameter.empty else annotation)
    except (BadMessage, UnexpectedMessage):
        value = unpack_any(given)
        if not isinstance(value, str):
            raise
        return _Reader(target.convert).read(annotation, value)


class _Reader:
    """Turns text, or what JSON gives, into a value of an annotation."""

    def __init__(self, convert: Convert | None) -> None:
        self._convert = convert

    def read(self, annotation: Any, given: object) -> object:
        """Return the value; raises ValueError if ``given`` is none of ``annotation``."""
        if annotation in (Parameter.empty, Any, object):
            return _json_or_text(given)
        alternatives = members(annotation)
        if len(alternatives) == 1:
            return self._read_one(alternatives[0], given)
        return self._read_union(alternatives, given)

    def _read_union(self, alternatives: tuple[Any, ...], given: object) -> object:
        if type(None) in alternatives and _is_none(given, str in alternatives):
            return None
        messages = [m for m in alternatives if isinstance(m, type) and name_of(m) is not None]
        reasons: list[str] = []
        # Any text is a str, so that is tried last.
        for member in sorted(alternatives, key=lambda member: member is str):
            if member is type(None):
                continue
            try:
                return self._read_one(member, given, must_be_tagged=len(messages) > 1)
            except (ValueError, TypeError, ArithmeticError, SennitError) as error:
                reasons.append(str(error))
        raise ValueError("; ".join(dict.fromkeys(filter(None, reasons))))

    def _read_one(self, member: Any, given: object, *, must_be_tagged: bool = False) -> object:
        origin = typing.get_origin(member) or member
        if isinstance(given, str):
            if self._convert is not None:
                converted = self._convert(member, given)
                if converted is not NotImplemented:
                    return converted
            parse = getattr(origin, "parse", None) if _is_message(origin) else None
            if callable(parse) and not given.lstrip().startswith("{"):
                return parse(given)
            if _is_compound(origin):
                given = _from_json(given)
        if origin in _ARRAYS or origin is tuple:
            return self._read_array(member, origin, _expect(list, given))
        if origin in _MAPS:
            key, value = typing.get_args(member) or (object, object)
            entries = _expect(dict, given).items()
            return {self.read(key, k): self.read(value, v) for k, v in entries}
        if _is_message(origin):
            return self._read_message(origin, _expect(dict, given), must_be_tagged)
        return _scalar(member, given)

    def _read_array(self, member: Any, origin: Any, given: list[object]) -> object:
        arguments = typing.get_args(member)
        if origin is tuple and arguments and arguments[-1] is not ...:
            if len(arguments) != len(given):
                raise ValueError(f"it has {len(arguments)} parts")
            return tuple(self.read(a, item) for a, item in zip(arguments, given, strict=True))
        element = arguments[0] if arguments else object
        values = [self.read(element, item) for item in given]
        return msgspec.convert(values, origin) if origin in _ARRAYS else tuple(values)

    def _read_message(self, cls: type, given: dict[str, object], must_be_tagged: bool) -> object:
        name = name_of(cls)
        if must_be_tagged and TAG_FIELD not in given:
            raise ValueError(f'say which it is, with "{TAG_FIELD}": "{name}"')
        if given.get(TAG_FIELD, name) != name:
            raise ValueError(f"it is no {name}")
        hints = hints_of(cls)
        fields = typing.cast(type[msgspec.Struct], cls).__struct_fields__
        values: dict[str, object] = {}
        for key, value in given.items():
            if key != TAG_FIELD and key not in fields:
                raise ValueError(
                    f"{cls.__qualname__} has no field {key!r}, but {', '.join(fields)}"
                )
            if key != TAG_FIELD:
                values[key] = self.read(hints[key], value)
        return cls(**values)


def _scalar(member: Any, given: object) -> object:
    if typing.get_origin(member) is typing.Literal:
        for choice in typing.get_args(member):
            if given == choice or (isinstance(given, str) and given == str(choice)):
                return choice
        raise ValueError(f"it is one of {', '.join(map(str, typing.get_args(member)))}")
    if isinstance(member, type) and issubclass(member, enum.Enum):
        return _enum_member(member, given)
    if member is type(None):
        if _is_none(given, False):
            return None
        raise ValueError("it is none")
    if member is str:
        return _expect(str, given)
    if isinstance(given, str):
        text = given.strip()
        if member is bool:
            truth = _TRUTHS.get(text.lower())
            if truth is None:
                raise ValueError("it is true or false")
            return truth
        if member is int:
            return int(text)
        return msgspec.convert(text, member, strict=False)
    if member is float and isinstance(given, decimal.Decimal):
        return float(given)
    if member is decimal.Decimal and isinstance(given, float):
        return decimal.Decimal(repr(given))
    return msgspec.convert(given, member)


def _enum_member(cls: type[enum.Enum], given: object) -> enum.Enum:
    for name, member in cls.__members__.items():
        if given in (name, member.value) or given == str(member.value):
            return member
    raise ValueError(f"it is one of {', '.join(cls.__members__)}")


def _is_compound(origin: Any) -> bool:
    return origin in _ARRAYS or origin in _MAPS or origin is tuple or _is_message(origin)


def _is_message(origin: Any) -> bool:
    return (
        isinstance(origin, type)
        and name_of(origin) is not None
        and not issubclass(origin, enum.Enum)
    )


def _is_none(given: object, empty_is_text: bool) -> bool:
    if isinstance(given, str):
        return given.strip().lower() in _NONES and not (empty_is_text and not given)
    return given is None


def _from_json(text: str) -> object:
    try:
        # A float would lose digits of a Decimal.
        return json.loads(text, parse_float=decimal.Decimal)
    except ValueError as error:
        raise ValueError(f"it is no JSON ({error})") from error


def _json_or_text(given: object) -> object:
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError:
        return given


def _expect(cls: type[_T], given: object) -> _T:
    if not isinstance(given, cls):
        raise ValueError(f"it is a JSON {_JSON_WORDS[cls]}")
    return given


def _element(annotation: Any, index: int) -> Any:
    arguments = typing.get_args(annotation)
    return arguments[index] if arguments else object


def _shown(given: object) -> str:
    if isinstance(given, Packed):
        with suppress(SennitError):
            given = unpack_any(given)
    text = repr(given)
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else f"{text[:_SHOWN_CHARACTERS_MAX]}..."


def _example(annotation: Any) -> str:
    """Return a text that would be right."""
    member = members(annotation)[0]
    origin, arguments = typing.get_origin(member) or member, typing.get_args(member)
    if origin is typing.Literal:
        return str(arguments[0])
    if not isinstance(origin, type):
        return "text"
    if issubclass(origin, enum.Enum):
        return next(iter(origin.__members__))
    if _is_compound(origin):
        return f"'{_json_example(member, 0)}'"
    return _EXAMPLES.get(origin, "text")


def _json_example(annotation: Any, depth: int) -> str:
    member = members(annotation)[0]
    origin, arguments = typing.get_origin(member) or member, typing.get_args(member)
    if depth > _EXAMPLE_DEPTH_MAX:
        return "..."
    if origin in _ARRAYS or origin is tuple:
        parts = [a for a in arguments if a is not ...] or [str]
        return f"[{', '.join(_json_example(part, depth + 1) for part in parts)}]"
    if origin in _MAPS:
        value = arguments[1] if arguments else str
        return f'{{"key": {_json_example(value, depth + 1)}}}'
    if _is_compound(origin):
        cls = typing.cast(type[msgspec.Struct], origin)
        hints = hints_of(cls)
        fields = (f'"{f}": {_json_example(hints[f], depth + 1)}' for f in cls.__struct_fields__)
        return f"{{{', '.join(fields)}}}"
    text = _example(member)
    return text if origin in (int, float, bool) else f'"{text}"'
