"""How bytes become values: one decoder for each type that is asked for, made once.

A decoder takes the typed form quickly, with one call into msgspec. Only if that fails, it looks for
the extensions of `runtime.value_tree`. Bytes may come from anybody: whatever is raised here, the
caller turns into an error about the message.
"""

from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from runtime.errors import BadMessage, MisuseError, UnexpectedMessage, UnserialisableMessage
from runtime.message_class import TAG_FIELD, class_named, name_of
from runtime.schema import (
    BUILTIN_BY_KIND,
    CONTAINERS,
    is_open,
    kinds,
    may_hold_subclass,
    members,
    type_text,
)
from runtime.tree_reader import read_any, read_tree

Decode = Callable[[bytes], Any]

_TEXT_CHARACTERS_MAX: Final = 200
# How a map with "$" in it looks in MessagePack: without these bytes, no message is inside.
TAG_BYTES: Final = b"\xa1" + TAG_FIELD.encode()

decode_tree: Final = msgspec.msgpack.Decoder().decode


class Plan:
    """How to decode what may arrive where one type is expected."""

    def __init__(self, expected: object) -> None:
        self.text = type_text(expected)
        self.by_kind: dict[str, Decode] = {}
        self._takes_all = False
        self._classes: list[type] = []
        of_kind: dict[str, list[object]] = {}
        for member in members(expected):
            if member is Any or member is object:
                self._takes_all = True
            elif (name := _message_name(member)) is not None:
                self._classes.append(cast(type, getattr(member, "__origin__", member)))
                self.by_kind[name] = typed_decoder(member)
            else:
                for kind in _kinds_or_refuse(member):
                    of_kind.setdefault(kind, []).append(member)
        for kind, alternatives in of_kind.items():
            self.by_kind[kind] = _decoder_for(kind, alternatives)

    def learn(self, kind: str) -> Decode:
        """Return how to decode a kind that the annotation does not name; raise if it can't be."""
        decoder = decoder_of_kind(kind)
        cls = class_named(kind)
        if self._takes_all or (cls is not None and issubclass(cls, tuple(self._classes))):
            self.by_kind[kind] = decoder
            return decoder
        raise UnexpectedMessage(self.text, kind)


def typed_decoder(expected: object) -> Decode:
    """Return the decoder of the typed form, made once."""
    known = _typed_decoders.get(expected)
    if known is None:
        known = _typed_decoders[expected] = _new_typed_decoder(expected)
    return known


def decoder_of_kind(kind: str) -> Decode:
    """Return the decoder for a value that says itself what it is; raises `BadMessage`."""
    cls = class_named(kind)
    if cls is not None:
        try:
            return typed_decoder(cls)
        except MisuseError as error:
            raise BadMessage(f"{kind} is declared so that nobody can send it: {error}") from error
    builtin = BUILTIN_BY_KIND.get(kind)
    if builtin is None:
        raise BadMessage(f"no type named {kind[:_TEXT_CHARACTERS_MAX]!r} is registered here")
    if builtin in CONTAINERS:
        return _container_decoders[builtin]
    return typed_decoder(builtin)


def decode_plain(body: bytes) -> object:
    """Return builtin values; raises if there is an extension of ours among them."""
    return _decode_without_extensions(body)


class _ExtensionFound(Exception):
    """A part without a declared type is an extension."""


class _Tagged(msgspec.Struct):
    tag: str = msgspec.field(name=TAG_FIELD)


def _refuse_extension(code: int, data: memoryview) -> object:
    raise _ExtensionFound(f"extension {code}")


_typed_decoders: Final[dict[object, Decode]] = {}
_decode_tag: Final = msgspec.msgpack.Decoder(_Tagged).decode
_decode_without_extensions: Final = msgspec.msgpack.Decoder(ext_hook=_refuse_extension).decode


def _new_typed_decoder(expected: object) -> Decode:
    wanted = cast(Any, expected)
    try:
        open_ = is_open(expected, type_text(expected))
        quick = msgspec.msgpack.Decoder(wanted, ext_hook=_refuse_extension).decode
    except UnserialisableMessage as error:
        raise MisuseError(str(error)) from error
    except TypeError as error:
        raise MisuseError(f"{type_text(expected)} can't be decoded: {error}") from error

    def decode_closed(body: bytes) -> object:
        try:
            return quick(body)
        except (msgspec.ValidationError, _ExtensionFound) as error:
            subclass = _subclass_in(body, expected)
            if subclass is not None:
                return typed_decoder(subclass)(body)
            if "ext" not in str(error) and not may_hold_subclass(expected):
                raise
            return _read_carefully(body, expected, error)

    def decode_open(body: bytes) -> object:
        if TAG_BYTES not in body:
            try:
                return msgspec.convert(_decode_without_extensions(body), wanted)
            except _ExtensionFound:
                pass
        return read_tree(decode_tree(body), expected)

    return decode_open if open_ and _message_name(expected) is None else decode_closed


def _subclass_in(body: bytes, expected: object) -> type | None:
    """Return the message class that ``body`` names, if a subclass of it is expected."""
    classes = tuple(m for m in members(expected) if isinstance(m, type) and name_of(m) is not None)
    if not classes:
        return None
    try:
        cls = class_named(_decode_tag(body).tag)
    # Anything may be wrong with the body; then it is no message.
    except Exception:
        return None
    return cls if cls is not None and cls not in classes and issubclass(cls, classes) else None


def _read_carefully(body: bytes, expected: object, refusal: Exception) -> object:
    try:
        return read_tree(decode_tree(body), expected)
    except (ValueError, TypeError) as error:
        # The quick decoder knows the place better, unless it only met an extension.
        raise (error if isinstance(refusal, _ExtensionFound) else refusal) from error


def _decoder_for(kind: str, alternatives: list[object]) -> Decode:
    """Return how to decode a builtin value of that kind as one of the alternatives."""
    wanted: Any = alternatives[0]
    for alternative in alternatives[1:]:
        wanted = wanted | alternative
    decoder = typed_decoder(wanted)
    builtin = BUILTIN_BY_KIND[kind]
    if builtin not in CONTAINERS or builtin in (wanted, getattr(wanted, "__origin__", None)):
        return decoder
    # An abstract type, as Sequence[int]: the value keeps the kind that it was sent as.
    return lambda body: builtin(decoder(body))


def _decode_described(body: bytes) -> object:
    if TAG_BYTES not in body:
        try:
            return _decode_without_extensions(body)
        except _ExtensionFound:
            pass
    return read_any(decode_tree(body))


def _container_decoder(cls: type) -> Decode:
    raw = dict if cls is dict else list

    def decode_container(body: bytes) -> object:
        value = _decode_described(body)
        if type(value) is not raw:
            raise ValueError(f"expected a {raw.__name__}, got a {type(value).__name__}")
        return value if cls is raw else cls(value)

    return decode_container


_container_decoders: Final = {cls: _container_decoder(cls) for cls in CONTAINERS}


def _message_name(member: object) -> str | None:
    origin = getattr(member, "__origin__", member)
    return name_of(origin) if isinstance(origin, type) else None


def _kinds_or_refuse(member: object) -> tuple[str, ...]:
    found = kinds(member)
    if not found:
        raise MisuseError(
            f"{type_text(member)} can't arrive; mark the class with @message, "
            "or ask for a builtin type"
        )
    return found
