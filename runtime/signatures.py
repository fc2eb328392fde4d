"""What a function takes and returns, as bytes: for flows, steps and atomic functions.

Arguments are the array of the values in the order of the parameters: a ``*args`` parameter is one
value, a list, and a ``**kwargs`` parameter is one value, a dict. A result is one value.
A value whose annotation says fully what it is stands in the typed form of `runtime.codec`;
any other (no annotation, ``object``, a bare list, a Protocol) is a `Packed`.

An annotation may be added, removed or widened while bytes of before are still read, and parameters
with defaults may be added at the end.
"""

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from typing import Any, Final, cast

import msgspec

from runtime.codec import Packed, decode, encode, fingerprint, pack, unpack, unpack_any
from runtime.decoding import typed_decoder
from runtime.errors import (
    BadArguments,
    BadMessage,
    MisuseError,
    SessionError,
    UnserialisableMessage,
)
from runtime.limits import FINGERPRINT_BYTES_INLINE_MAX, MESSAGE_BYTES_MAX
from runtime.schema import BUILTIN_KINDS, is_open, people_text, sorts_partly
from runtime.signature_text import Convert, Target, values_from_text

_encode_sorted: Final = msgspec.msgpack.Encoder(order="deterministic").encode
_encode_in_order: Final = msgspec.msgpack.Encoder().encode
_UNENCODABLE: Final = (TypeError, ValueError, ArithmeticError, RecursionError)
_SCALARS: Final = frozenset({bool, int, float, str, bytes, type(None)})
_BARE_CONTAINERS: Final[tuple[Any, ...]] = (list, tuple, dict, set, frozenset)
_SHOWN_CHARACTERS_MAX: Final = 200
_POSITIONAL: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class Arguments:
    """The parameters of a function without its first ``skip``, and its result.

    Annotations are looked at when the first value is encoded, so that they may name classes that
    are defined later.
    """

    def __init__(self, function: Callable[..., object], *, skip: int = 0) -> None:
        self.name = getattr(function, "__qualname__", repr(function))
        self._function = function
        signature = inspect.signature(function)
        self.parameters: tuple[Parameter, ...] = tuple(signature.parameters.values())[skip:]
        self._signature = signature.replace(parameters=self.parameters)
        self.is_plain = all(parameter.kind in _POSITIONAL for parameter in self.parameters)
        self._count = len(self.parameters)
        self._codecs: _Codecs | None = None
        self.shape: bytes | None = None
        """What `runtime.evolution` keeps of the message classes of the parameters."""

    @property
    def text(self) -> str:
        """Return the signature for people: ``(buyer: Party, price: int = 3) -> str``."""
        codecs = self._codecs_now()
        parts: list[str] = []
        before: Any = Parameter.POSITIONAL_OR_KEYWORD
        for parameter, annotation in zip(self.parameters, codecs.annotations, strict=True):
            parts.extend(_separator(before, parameter.kind))
            parts.append(_parameter_text(parameter, annotation))
            before = parameter.kind
        parts.extend(_separator(before, Parameter.VAR_KEYWORD))
        arrow = "" if codecs.result is Parameter.empty else f" -> {people_text(codecs.result)}"
        return f"({', '.join(parts)}){arrow}"

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[object, ...]:
        """Return one value for each parameter, defaults included; raises TypeError."""
        if self.is_plain and not kwargs and len(args) == self._count:
            return args
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}{self.text}: {error}") from None
        bound.apply_defaults()
        return tuple(bound.arguments.values())

    def forms(self) -> Sequence[tuple[object, bool]]:
        """Return for each parameter its annotation, and whether its value is a `Packed`."""
        codecs = self._codecs or self._codecs_now()
        return codecs.forms

    def call(self, values: Sequence[object], *first: object) -> Any:
        """Call the function with values from `bind` or `decode`, after ``first``."""
        if self.is_plain:
            if not first:
                return _called(self._function, values)
            return self._function(*first, *values)
        args, kwargs = self.as_call(values)
        return self._function(*first, *args, **kwargs)

    def as_call(self, values: Sequence[object]) -> tuple[tuple[object, ...], dict[str, object]]:
        """Return values from `bind` or `decode` as a caller would write them."""
        args: list[object] = []
        kwargs: dict[str, object] = {}
        for parameter, value in zip(self.parameters, values, strict=True):
            match parameter.kind:
                case Parameter.VAR_POSITIONAL:
                    args.extend(cast(Sequence[object], value))
                case Parameter.VAR_KEYWORD:
                    kwargs.update(cast(Mapping[str, object], value))
                case Parameter.KEYWORD_ONLY:
                    kwargs[parameter.name] = value
                case _:
                    args.append(value)
        return tuple(args), kwargs

    def mark(self, values: tuple[object, ...]) -> bytes:
        """Return the fingerprint of the values; raises `UnserialisableMessage`. Every step asks."""
        codecs = self._codecs or self._codecs_now()
        if codecs.is_quick:
            try:
                if len(body := _encode_sorted(values)) <= FINGERPRINT_BYTES_INLINE_MAX:
                    return body
            except _UNENCODABLE:
                pass
        return fingerprint(self.encode(values))

    def encode(self, values: tuple[object, ...]) -> bytes:
        """Return the canonical bytes of the values; raises `UnserialisableMessage`."""
        codecs = self._codecs or self._codecs_now()
        if codecs.is_quick:
            body = _quickly(_encode_sorted, values)
            if body is not None:
                return body
        try:
            if codecs.is_packed_anywhere:
                written = [
                    pack(value) if is_packed else value
                    for value, is_packed in zip(values, codecs.is_packed, strict=True)
                ]
                return encode(written, carefully=codecs.sorts_partly)
            return encode(values, carefully=codecs.sorts_partly)
        except UnserialisableMessage:
            # Now value by value, to name the parameter.
            for parameter, value in zip(self.parameters, values, strict=True):
                self._check_encodable(parameter.name, value)
            raise

    def encode_checked(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> bytes:
        """Return the canonical bytes of arguments that `decode` will read.

        Raises `BadArguments`, which names the argument that does not fit or can't be written.
        """
        try:
            values = self.bind(args, kwargs)
        except TypeError as error:
            raise BadArguments(str(error)) from None
        codecs = self._codecs or self._codecs_now()
        if tuple(map(type, values)) == codecs.scalars:
            body = _quickly(_encode_sorted, values)
            if body is not None:
                return body
        for parameter, annotation, value in zip(
            self.parameters, codecs.annotations, values, strict=True
        ):
            if annotation in _BARE_CONTAINERS and not isinstance(value, annotation):
                raise self._bad_argument(parameter, annotation, value, "")
        try:
            body = self.encode(values)
        except UnserialisableMessage as error:
            raise BadArguments(str(error)) from error
        try:
            self._decode_all(body, codecs)
        except BadMessage as error:
            raws = decode(body, list[msgspec.Raw])
            for parameter, annotation, value, raw in zip(
                self.parameters, codecs.annotations, values, raws, strict=True
            ):
                try:
                    decode(bytes(raw), annotation)
                except BadMessage as wrong:
                    raise self._bad_argument(parameter, annotation, value, str(wrong)) from wrong
            raise BadArguments(f"{self.name}{self.text}: {error}") from error
        return body

    def identity(self, body: bytes) -> bytes:
        """Return what tells arguments, as `encode_checked` has written them, from others.

        Values at the end that equal their parameter's default are left out, so that a parameter
        with a default can be added and the arguments of before are still the same.
        """
        codecs = self._codecs or self._codecs_now()
        # As they will be read: an int for a float is that float.
        body = self.encode(self._decode_all(body, codecs))
        raws = [bytes(raw) for raw in decode(body, list[msgspec.Raw])]
        for index in reversed(range(len(raws))):
            default = self.parameters[index].default
            if default is Parameter.empty:
                break
            written = encode(pack(default)) if codecs.is_packed[index] else encode(default)
            if raws[index] != written:
                break
            raws.pop()
        return fingerprint(b"".join(raws))

    def _bad_argument(
        self, parameter: Parameter, annotation: object, value: object, reason: str
    ) -> BadArguments:
        shown = repr(value)
        if len(shown) > _SHOWN_CHARACTERS_MAX:
            shown = f"{shown[:_SHOWN_CHARACTERS_MAX]}..."
        return BadArguments(
            f"{parameter.name} must be {people_text(annotation)}, not {shown}"
            f"{': ' if reason else ''}{reason}. Signature: {self.name}{self.text}"
        )

    def decode(self, body: bytes) -> tuple[object, ...]:
        """Return the values; raises `BadMessage` if they don't fit the parameters."""
        codecs = self._codecs or self._codecs_now()
        try:
            return self._decode_all(body, codecs)
        except BadMessage:
            return self._decode_one_by_one(body, codecs)

    def _decode_all(self, body: bytes, codecs: "_Codecs") -> tuple[object, ...]:
        values: tuple[object, ...] = codecs.decode_all(body)
        if not codecs.is_packed_anywhere:
            return values
        return tuple(
            unpack_any(cast(Packed, value)) if is_packed else value
            for value, is_packed in zip(values, codecs.is_packed, strict=True)
        )

    def scalar_result(self, value: object) -> bytes | None:
        """Return the bytes of a result if its type alone tells that it reads back as it is."""
        if type(value) is (self._codecs or self._codecs_now()).scalar_result:
            try:
                if len(body := _encode_in_order(value)) <= MESSAGE_BYTES_MAX:
                    return body
            except _UNENCODABLE:
                pass
        return None

    def recorded_result(self, value: object) -> tuple[Any, bytes]:
        """Return what `decode_result` will give for a result, and the bytes of it.

        Raises `UnserialisableMessage` that names the function. A value of another type than
        declared is refused: it could not be read again.
        """
        codecs = self._codecs or self._codecs_now()
        try:
            written = pack(value, keep_order=True) if codecs.is_result_packed else value
            body = encode(written, keep_order=True)
        except UnserialisableMessage as error:
            raise _elsewhere(error, f"the result of {self.name}") from error
        try:
            if codecs.is_result_packed:
                return _unpacked(body), body
            return decode(body, codecs.result), body
        except SessionError as error:
            raise UnserialisableMessage(
                f"the result of {self.name}",
                people_text(type(value)),
                f"it is declared to be {people_text(codecs.result)} ({error})",
            ) from error

    def decode_result(self, body: bytes) -> Any:
        """Return the result; raises `BadMessage` if it is not what the function returns now."""
        codecs = self._codecs or self._codecs_now()
        if codecs.is_result_packed:
            return _unpacked(body)
        try:
            return decode(body, codecs.result)
        except BadMessage:
            # Perhaps it was written before the function had an annotation.
            return _repacked(body, codecs.result)

    def unpack_result(self, packed: Packed) -> Any:
        """Return a result that travels as a `Packed`; raises `BadMessage`."""
        result = self._codecs_now().result
        return unpack_any(packed) if result is Parameter.empty else unpack(packed, result)

    def from_text(
        self,
        given: Sequence[object] | Mapping[str, object],
        named: Mapping[str, object] | None = None,
        *,
        convert: Convert | None = None,
    ) -> tuple[object, ...]:
        """Return one value for each parameter from what a person typed; raises `BadArguments`.

        ``given`` is a list of texts, each ``name=value`` or the value of the next parameter, or a
        mapping by name; ``named`` comes on top. A text is read by the annotation: a number, a
        date, JSON for lists and messages. What is no text is taken as JSON has it, and a `Packed`
        is unpacked. ``convert(annotation, text)`` may return the value for a class it knows, or
        NotImplemented.
        """
        annotations = self._codecs_now().annotations
        target = Target(f"{self.name}{self.text}", self.parameters, annotations, convert)
        return values_from_text(target, given, named or {})

    def _codecs_now(self) -> "_Codecs":
        if self._codecs is None:
            self._codecs = _Codecs(self._function, self.parameters)
        return self._codecs

    def _check_encodable(self, name: str, value: object) -> None:
        try:
            encode(value)
        except UnserialisableMessage as error:
            raise _elsewhere(error, f"{self.name}({name}=...)") from error

    def _decode_one_by_one(self, body: bytes, codecs: "_Codecs") -> tuple[object, ...]:
        """Decode what was written for an older signature of the function."""
        raws = decode(body, list[msgspec.Raw])
        if len(raws) > self._count:
            raise BadMessage(f"{len(raws)} values for {self.name}{self.text}")
        values: list[object] = []
        for index, parameter in enumerate(self.parameters):
            if index >= len(raws):
                values.append(_default_of(parameter, f"{self.name}{self.text}"))
                continue
            try:
                raw = bytes(raws[index])
                if codecs.is_packed[index]:
                    values.append(_unpacked(raw))
                else:
                    values.append(_decoded(raw, codecs.annotations[index]))
            except SessionError as error:
                raise BadMessage(f"{self.name}({parameter.name}=...): {error}") from error
        return tuple(values)


def _called(function: Callable[..., object], values: Sequence[object]) -> object:
    """Call without unpacking if there are few: that goes by way of C, whose stack flows carry."""
    match values:
        case ():
            return function()
        case (one,):
            return function(one)
        case (one, two):
            return function(one, two)
        case (one, two, three):
            return function(one, two, three)
        case _:
            return function(*values)


def _quickly(encoder: Callable[[object], bytes], value: object) -> bytes | None:
    """Return what `encode` would, if there is nothing special about ``value``; it is hot."""
    try:
        body = encoder(value)
    except _UNENCODABLE:
        return None
    return body if len(body) <= MESSAGE_BYTES_MAX else None


class _Codecs:
    """How the values of one function are written."""

    def __init__(self, function: Callable[..., object], parameters: Sequence[Parameter]) -> None:
        hints = _hints_of(function)
        self.annotations: list[Any] = [
            _effective(parameter, hints.get(parameter.name, Parameter.empty))
            for parameter in parameters
        ]
        self.is_packed = [_must_be_packed(annotation) for annotation in self.annotations]
        self.forms: Final = list(zip(self.annotations, self.is_packed, strict=True))
        self.is_packed_anywhere = any(self.is_packed)
        self.sorts_partly = any(
            not is_packed and sorts_partly(annotation)
            for annotation, is_packed in zip(self.annotations, self.is_packed, strict=True)
        )
        self.is_quick = not self.is_packed_anywhere and not self.sorts_partly
        # What is exactly of these types is read as it was written.
        self.scalars: tuple[Any, ...] | None = (
            tuple(self.annotations) if all(map(_is_scalar, self.annotations)) else None
        )
        self.result: Any = hints.get("return", Parameter.empty)
        self.is_result_packed = _must_be_packed(self.result)
        self.scalar_result: type | None = self.result if _is_scalar(self.result) else None
        types_of_all = tuple(
            Packed if is_packed else annotation
            for annotation, is_packed in zip(self.annotations, self.is_packed, strict=True)
        )
        self._all: Any = tuple[types_of_all] if types_of_all else tuple[()]  # type: ignore[valid-type]

    def decode_all(self, body: bytes) -> Any:
        """Return all values, those that are packed still so."""
        return decode(body, self._all)


def _is_scalar(annotation: object) -> bool:
    return isinstance(annotation, type) and annotation in _SCALARS


def _hints_of(function: Callable[..., object]) -> dict[str, Any]:
    annotations = inspect.get_annotations(inspect.unwrap(function))
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    hints: dict[str, Any] = {}
    for name, annotation in annotations.items():
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            hints.update(typing.get_type_hints(holder, scope, scope, include_extras=True))
        except (NameError, TypeError, AttributeError):
            # Imported for the type checker only: such a value describes itself.
            hints[name] = Parameter.empty
    return hints


def _effective(parameter: Parameter, annotation: Any) -> Any:
    match parameter.kind:
        case Parameter.VAR_POSITIONAL:
            return list if annotation is Parameter.empty else tuple[annotation, ...]
        case Parameter.VAR_KEYWORD:
            return dict if annotation is Parameter.empty else dict[str, annotation]
        case _:
            return annotation


def _must_be_packed(annotation: object) -> bool:
    if annotation is Parameter.empty:
        return True
    if annotation in BUILTIN_KINDS:
        return annotation in (list, tuple, dict, set, frozenset)
    try:
        if is_open(annotation, ""):
            return True
        typed_decoder(annotation)
    except (UnserialisableMessage, MisuseError, TypeError):
        return True
    return False


def _decoded(raw: bytes, annotation: object) -> object:
    try:
        return decode(raw, annotation)
    except BadMessage:
        return _repacked(raw, annotation)


def _repacked(raw: bytes, annotation: object) -> object:
    return unpack(decode(raw, Packed), annotation)


def _unpacked(raw: bytes) -> object:
    try:
        packed = decode(raw, Packed)
    except BadMessage:
        # It was written when there still was an annotation.
        return decode(raw, object)
    return unpack_any(packed)


def _default_of(parameter: Parameter, text: str) -> object:
    match parameter.kind:
        case Parameter.VAR_POSITIONAL:
            return ()
        case Parameter.VAR_KEYWORD:
            return {}
        case _:
            if parameter.default is Parameter.empty:
                raise BadMessage(f"no value for {parameter.name} of {text}")
            return parameter.default


def _elsewhere(error: UnserialisableMessage, place: str) -> UnserialisableMessage:
    """Return the error with a path that begins at ``place`` rather than at the value's class."""
    starts = [i for i in (error.path.find("."), error.path.find("[")) if i >= 0]
    rest = error.path[min(starts) :] if starts else ""
    return UnserialisableMessage(f"{place}{rest}", error.type_name, error.advice)


def _separator(before: object, kind: object) -> list[str]:
    """Return what stands between parameters of two kinds."""
    ends = before is Parameter.POSITIONAL_ONLY and kind is not Parameter.POSITIONAL_ONLY
    slash = ["/"] if ends else []
    needs_star = before in _POSITIONAL and kind is Parameter.KEYWORD_ONLY
    return [*slash, "*"] if needs_star else slash


def _parameter_text(parameter: Parameter, annotation: object) -> str:
    text = parameter.name
    match parameter.kind:
        case Parameter.VAR_POSITIONAL:
            text, annotation = f"*{text}", _element(annotation, 0)
        case Parameter.VAR_KEYWORD:
            text, annotation = f"**{text}", _element(annotation, 1)
        case _:
            pass
    if annotation is not Parameter.empty:
        text += f": {people_text(annotation)}"
    if parameter.default is not Parameter.empty:
        text += f" = {parameter.default!r}"
    return text


def _element(annotation: object, index: int) -> object:
    arguments = typing.get_args(annotation)
    return arguments[index] if arguments else Parameter.empty
