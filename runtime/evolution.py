"""Whether what a flow asks for is what it asked for before, though its classes may have grown.

A *mark* in the journal stands for a message or for arguments. It is their bytes if these are few.
Otherwise it is 0xc1, a digest of 16 bytes, and perhaps a *shape*: the names of the fields that each
message class had. The first mark of each kind of operation in a flow has one, and each that comes
after the classes have changed.

If bytes or digest are equal, so is the content. If not, then a field or a parameter that was not
there before may have come: content is the same if such a field has its default, whatever that is
now. Fields that were there count whatever they hold.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import Parameter
from typing import Any, Final, cast

import msgspec
from msgspec.msgpack import Ext

from runtime.codec import Packed, encode, fingerprint, pack
from runtime.decoding import TAG_BYTES
from runtime.errors import SennitError
from runtime.message_class import TAG_FIELD, class_named, name_of
from runtime.schema import message_classes
from runtime.signatures import Arguments
from runtime.value_tree import Extension

DIGEST_FIRST: Final = 0xC1
"""The first byte of each mark that has a digest."""

Shape = Mapping[str, Sequence[str]]
_AsItWas = Callable[[Any, Shape, dict[str, None]], Any]

_DIGEST_BYTES: Final = 17
_SHOWN_MAX: Final = 5
_SHOWN_CHARACTERS_MAX: Final = 60
_NO_DETAIL: Final = "the content differs"
_NESTED: Final = frozenset({*Extension} - {Extension.INT})

# Whatever is in a journal: what can't be compared differs.
_INCOMPARABLE: Final = (
    msgspec.MsgspecError,
    UnicodeDecodeError,
    ValueError,
    TypeError,
    RecursionError,
)

_decode_tree: Final = msgspec.msgpack.Decoder().decode
_encode_tree: Final = msgspec.msgpack.Encoder().encode
_decode_shape: Final[msgspec.msgpack.Decoder[dict[str, list[str]]]] = msgspec.msgpack.Decoder(
    dict[str, list[str]]
)


def is_digest(mark: bytes) -> bool:
    """Tell whether a mark has the digest of what it stands for."""
    return mark[0] == DIGEST_FIRST


def shape_in(mark: bytes) -> bytes:
    """Return the shape in a mark, if it has one."""
    return mark[_DIGEST_BYTES:] if is_digest(mark) else b""


def content_of(mark: bytes) -> bytes:
    """Return a mark without the shape."""
    return mark[:_DIGEST_BYTES] if is_digest(mark) else mark


@functools.lru_cache(maxsize=4096)
def shape_of(annotation: object) -> bytes:
    """Return the shape of all message classes that a value of that type may hold; b"" if none."""
    return _shape((annotation,))


def shape_of_arguments(arguments: Arguments, values: Sequence[object]) -> bytes:
    """Return the shape of the message classes of a function's arguments."""
    if arguments.shape is None:
        arguments.shape = _shape(
            annotation for annotation, is_packed in arguments.forms() if not is_packed
        )
    untyped = tuple(
        type(value)
        for value, (_, is_packed) in zip(values, arguments.forms(), strict=True)
        if is_packed and name_of(type(value)) is not None
    )
    if not untyped:
        return arguments.shape
    return _shape((*(form for form, is_packed in arguments.forms() if not is_packed), *untyped))


def shape_of_message(packed: Packed, noted: bytes) -> bytes:
    """Return the shape of a message; of a list or dict, of what was in such ones before, too."""
    cls = class_named(packed.type)
    if cls is not None:
        return shape_of(cls)
    if TAG_BYTES not in packed.body:
        return noted
    names: set[str] = set()
    _collect_names(_decode_tree(packed.body), names)
    classes = (class_named(name) for name in names)
    now = _shape(cls for cls in classes if cls is not None)
    if not noted or not now:
        return now or noted
    return _encode_shape({**_decode_shape.decode(noted), **_decode_shape.decode(now)})


def message_difference(recorded: bytes, packed: Packed, shape: bytes) -> str:
    """Return what differs between a recorded message and the one asked for; "" if nothing does.

    ``shape`` is the one in force when it was recorded.
    """
    try:
        now = _decode_tree(packed.body)
        if is_digest(recorded):
            return _from_digest(content_of(recorded), [now], shape, _as_it_was)
        found: list[str] = []
        _compare(_decode_tree(recorded), now, "", found)
    except _INCOMPARABLE:
        return _NO_DETAIL
    return "; ".join(found[:_SHOWN_MAX])


def arguments_difference(
    recorded: bytes, arguments: Arguments, values: tuple[object, ...], shape: bytes
) -> str:
    """Return what differs between recorded arguments and those asked for; "" if nothing does."""
    trees: list[Any] = _decode_tree(arguments.encode(values))
    candidates = [trees]
    for parameter, tree, (_, is_packed) in reversed(
        list(zip(arguments.parameters, trees, arguments.forms(), strict=True))
    ):
        if _encode_tree(tree) != _default_argument(parameter, is_packed):
            break
        candidates.append(candidates[-1][:-1])
    try:
        if is_digest(recorded):
            as_they_were = _arguments_as_they_were(arguments)
            return _from_digest(content_of(recorded), candidates, shape, as_they_were)
        names = [parameter.name for parameter in arguments.parameters]
        found = _argument_differences(_decode_tree(recorded), candidates, names)
    except _INCOMPARABLE:
        return _NO_DETAIL
    return "; ".join(found[:_SHOWN_MAX])


# --- comparing ------------------------------------------------------------------------------------


def _argument_differences(
    old: list[Any], candidates: Sequence[list[Any]], names: Sequence[str]
) -> list[str]:
    """Compare with the candidate that has as many; the others have fewer with their defaults."""
    found: list[str] = []
    for trees in candidates:
        if len(old) == len(trees):
            for name, one, other in zip(names, old, trees, strict=False):
                _compare(one, other, name, found)
            return found
    return [f"there were {len(old)} arguments, and now {len(candidates[0])}"]


def _from_digest(
    digest: bytes, candidates: Sequence[Any], shape: bytes, as_it_was: _AsItWas
) -> str:
    known: Shape = _decode_shape.decode(shape) if shape else {}
    found: dict[str, None] = {}
    for tree in candidates:
        narrowed = as_it_was(tree, known, found)
        if fingerprint(_encode_tree(narrowed)) == digest:
            return ""
    return "; ".join(list(found)[:_SHOWN_MAX]) or _NO_DETAIL


def _arguments_as_they_were(arguments: Arguments) -> _AsItWas:
    def as_they_were(trees: Any, shape: Shape, found: dict[str, None]) -> Any:
        forms = arguments.forms()
        was: list[Any] = []
        for tree, (_, is_packed) in zip(trees, forms, strict=False):
            if is_packed:
                kind, body = tree
                inside = _as_it_was(_decode_tree(body), shape, found)
                was.append([kind, _encode_tree(inside)])
            else:
                was.append(_as_it_was(tree, shape, found))
        return was

    return as_they_were


def _as_it_was(tree: Any, shape: Shape, found: dict[str, None]) -> Any:
    """Return the tree without fields that are newer than ``shape`` and have their defaults."""
    match tree:
        case list():
            return [_as_it_was(part, shape, found) for part in tree]
        case dict() if TAG_FIELD in tree:
            return _message_as_it_was(tree, shape, found)
        case dict():
            return {key: _as_it_was(part, shape, found) for key, part in tree.items()}
        case Ext() if tree.code in _NESTED:
            inside = _as_it_was(_decode_tree(bytes(tree.data)), shape, found)
            return Ext(tree.code, _encode_tree(inside))
        case _:
            return tree


def _message_as_it_was(tree: dict[str, Any], shape: Shape, found: dict[str, None]) -> Any:
    name = tree[TAG_FIELD]
    fields = shape.get(name)
    kept: dict[str, Any] = {}
    for key, part in tree.items():
        if key == TAG_FIELD or fields is None or key in fields:
            kept[key] = _as_it_was(part, shape, found)
        elif not _is_default(name, key, part):
            kept[key] = part
            found[_new_field(name, key)] = None
    for key in fields or ():
        if key not in tree:
            found[_lost_field(name, key)] = None
    return kept


def _compare(old: Any, new: Any, place: str, found: list[str]) -> None:
    match old, new:
        case dict(), dict():
            _compare_maps(old, new, place, found)
        case list(), list() if len(old) == len(new):
            for index, (one, other) in enumerate(zip(old, new, strict=True)):
                _compare(one, other, f"{place}[{index}]", found)
        case Ext(), Ext() if old.code == new.code and old.code in _NESTED:
            _compare(_decode_tree(bytes(old.data)), _decode_tree(bytes(new.data)), place, found)
        case bytes(), bytes() if old != new and place:
            _compare_bytes(old, new, place, found)
        case _:
            if _encode_tree(old) != _encode_tree(new):
                found.append(_changed(old, new, place))


def _compare_maps(old: dict[Any, Any], new: dict[Any, Any], place: str, found: list[str]) -> None:
    name = new.get(TAG_FIELD)
    if name != old.get(TAG_FIELD):
        found.append(_changed(old.get(TAG_FIELD), name, place))
        return
    for key, part in old.items():
        where = f"{name}.{key}" if name else f"{place}[{key!r}]"
        if key in new:
            _compare(part, new[key], where, found)
        else:
            found.append(_lost_field(name, key) if name else f"{where} is gone")
    for key, part in new.items():
        if key in old:
            continue
        if name is None:
            found.append(f"{place}[{key!r}] is new")
        elif not _is_default(name, key, part):
            found.append(_new_field(name, key))


def _compare_bytes(old: bytes, new: bytes, place: str, found: list[str]) -> None:
    """Compare what may be the bodies of values without a declared type."""
    try:
        trees = _decode_tree(old), _decode_tree(new)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        found.append(_changed(old, new, place))
        return
    before = len(found)
    _compare(*trees, place, found)
    if len(found) == before and not all(isinstance(tree, dict) for tree in trees):
        found.append(_changed(old, new, place))


# --- words and defaults ---------------------------------------------------------------------------


def _changed(old: object, new: object, place: str) -> str:
    was, now = (repr(value)[:_SHOWN_CHARACTERS_MAX] for value in (old, new))
    return f"{place.lstrip('.') or 'it'} was {was} and is {now}"


def _lost_field(name: str, key: str) -> str:
    return f"{name} had a field {key!r}, and the class has none now"


def _new_field(name: str, key: str) -> str:
    return f"the field {key!r} of {name} is new, and its value is not its default"


def _collect_names(tree: Any, names: set[str]) -> None:
    match tree:
        case list():
            for part in tree:
                _collect_names(part, names)
        case dict():
            if TAG_FIELD in tree:
                names.add(str(tree[TAG_FIELD]))
            for part in tree.values():
                _collect_names(part, names)
        case Ext() if tree.code in _NESTED:
            _collect_names(_decode_tree(bytes(tree.data)), names)
        case _:
            pass


def _encode_shape(fields: Mapping[str, Sequence[str]]) -> bytes:
    return _encode_tree(dict(sorted(fields.items())))


def _shape(annotations: Iterable[object]) -> bytes:
    fields: dict[str, list[str]] = {}
    for annotation in annotations:
        for cls in message_classes(annotation):
            name = name_of(cls)
            if name is not None:
                struct = cast(type[msgspec.Struct], cls)
                fields[name] = list(struct.__struct_encode_fields__)
    return _encode_shape(fields) if fields else b""


def _is_default(name: str, key: str, part: object) -> bool:
    default = _default_of_field(name, key)
    return default is not None and default == _encode_tree(part)


def _default_of_field(name: str, key: str) -> bytes | None:
    cls = class_named(name)
    if cls is None or not issubclass(cls, msgspec.Struct):
        return None
    for field in msgspec.structs.fields(cls):
        if field.encode_name == key:
            if field.default_factory is not msgspec.NODEFAULT:
                return _bytes_of(field.default_factory(), is_packed=False)
            if field.default is not msgspec.NODEFAULT:
                return _bytes_of(field.default, is_packed=False)
    return None


def _default_argument(parameter: Parameter, is_packed: bool) -> bytes | None:
    match parameter.kind:
        case Parameter.VAR_POSITIONAL:
            default: object = ()
        case Parameter.VAR_KEYWORD:
            default = {}
        case _:
            default = parameter.default
    return None if default is Parameter.empty else _bytes_of(default, is_packed=is_packed)


def _bytes_of(value: object, *, is_packed: bool) -> bytes | None:
    try:
        return encode(pack(value) if is_packed else value)
    except SennitError:
        return None
