"""Errors <-> bytes, as they cross to a peer.

A `PackedError` is the array ``[class name, message, args or nil, attributes]``; each of
the args and attributes is a `Packed`. No stack is ever in it.

A `FlowException` comes back as the class it was, if that is known here, else as a plain
`FlowException` that names the original class. Nothing is imported, and neither a constructor nor a
setter is called: the peer may claim anything. Of slots only those travel that may hold anything.
How a flow or step of this node failed is for `runtime.outcome_codec`.
"""

import types
from typing import Any, Final

import msgspec

from runtime.blank_errors import args_of, is_of_python, made_blank, slots_of
from runtime.class_names import public_module
from runtime.codec import Packed, decode, pack, unpack_any
from runtime.errors import (
    BadMessage,
    FlowException,
    FlowTimeout,
    PeerTimedOut,
    SessionError,
    flow_exceptions,
    note_origin,
)
from runtime.limits import ERROR_BYTES_MAX, ERROR_CHARACTERS_MAX
from runtime.value_tree import plumbing_structs

CLASS_NAME_CHARACTERS_MAX: Final = 255
# Of MessagePack for a value, for its type and for the array around them.
_OVERHEAD_BYTES: Final = 6


class PackedError(msgspec.Struct, array_like=True, frozen=True):
    """An exception on the wire, without its stack."""

    cls_name: str
    message: str
    args: list[Packed] | None = None
    attributes: dict[str, Packed] = {}


plumbing_structs.add(PackedError)


def pack_error(error: BaseException) -> PackedError:
    """Return class, message, args and attributes of ``error`` as far as they can be encoded.

    What is too large is left out: the args all together, attributes one by one.
    """
    return _pack(error)


def unpack_error(
    packed: PackedError, peer: str | None = None, error_id: str | None = None
) -> FlowException:
    """Return the exception as the class it had at ``peer``, if that is a `FlowException` here.

    Otherwise it is a plain `FlowException`, and `original_class_of` tells the class. Never raises.
    """
    cls = _flow_exception_class(packed.cls_name)
    if peer is not None and cls is not None and issubclass(cls, FlowTimeout):
        cls = PeerTimedOut
    error = None if cls is None else _rebuilt(packed, cls)
    if error is None:
        error = _stand_in(packed)
    _set_attributes(error, packed)
    note_origin(error, peer=peer, error_id=error_id)
    if peer is not None:
        tail = f" (error id {error_id})" if error_id else ""
        BaseException.add_note(error, f"It was raised by the flow of {peer}{tail}.")
    return error


def decode_error(body: bytes, *, peer: str, error_id: str | None = None) -> Exception:
    """Return the exception in bytes of ``peer``; `BadMessage` if they are none. Never raises."""
    try:
        packed = decode(body, PackedError)
    except BadMessage as error:
        return BadMessage(error.reason, f"from {peer}, in place of an error")
    return unpack_error(packed, peer, error_id)


def _stand_in(packed: PackedError) -> FlowException:
    error = FlowException(packed.message)
    note_origin(error, original_class=packed.cls_name)
    return error


def _pack(error: BaseException) -> PackedError:
    budget = ERROR_BYTES_MAX
    args = _pack_args(error)
    if args is not None:
        size = sum(map(_size, args))
        args, budget = (args, budget - size) if size <= budget else (None, budget)
    attributes: dict[str, Packed] = {}
    for name, value in (*vars(error).items(), *slots_of(error, _is_free_slot)):
        if not _may_travel(name):
            continue
        packed = _pack_or_none(value)
        size = 0 if packed is None else _size(packed) + _size_of_name(name)
        if packed is not None and size <= budget:
            attributes[name] = packed
            budget -= size
    return PackedError(_class_name(type(error)), message_of(error), args, attributes)


def _may_travel(name: object) -> bool:
    return isinstance(name, str) and not name.startswith("_") and name == well_formed(name)


def _is_free_slot(_name: str, descriptor: Any) -> bool:
    """Tell whether any value may stand in a slot; what C code keeps there it may trust."""
    if not isinstance(descriptor, types.MemberDescriptorType):
        return False
    owner = descriptor.__objclass__
    return is_of_python(owner) or owner is OSError


def _size(packed: Packed) -> int:
    """Return how many bytes a value takes inside an error, at most."""
    return len(packed.body) + _size_of_name(packed.type) + _OVERHEAD_BYTES


def _size_of_name(name: str) -> int:
    return len(name.encode()) + _OVERHEAD_BYTES


def _pack_args(error: BaseException) -> list[Packed] | None:
    given = args_of(error)
    if len(given) > ERROR_BYTES_MAX // _OVERHEAD_BYTES:
        return None
    args = [_pack_or_none(arg) for arg in given]
    packed = [arg for arg in args if arg is not None]
    return packed if len(packed) == len(args) else None


def _pack_or_none(value: object) -> Packed | None:
    try:
        return pack(value)
    # It may be an object of any class, whose methods may raise anything.
    except Exception:
        return None


def message_of(error: BaseException) -> str:
    """Return the text of any exception, even of one whose ``__str__`` fails; bounded."""
    try:
        text = str(error)
    # A __str__ that fails must not hide the error that it belongs to.
    except Exception as broken:
        text = f"(its __str__ raised {type(broken).__name__})"
    return bounded(text)


def bounded(text: str) -> str:
    """Return the text as it may cross: cut to a length, and such that it can be encoded."""
    if len(text) > ERROR_CHARACTERS_MAX:
        text = f"{text[:ERROR_CHARACTERS_MAX]}..."
    return well_formed(text)


def class_name_of(error: BaseException) -> str:
    """Return the name of an exception's class for logs and people; bounded."""
    return well_formed(type(error).__name__[:CLASS_NAME_CHARACTERS_MAX])


def well_formed(text: str) -> str:
    """Return ``text`` without what UTF-8 can't have."""
    return text.encode("utf-8", "backslashreplace").decode()


def _class_name(cls: type) -> str:
    name = cls.__qualname__
    if cls.__module__ != "builtins":
        name = f"{public_module(str(cls.__module__))}.{name}"
    return well_formed(name[:CLASS_NAME_CHARACTERS_MAX])


def _rebuilt(packed: PackedError, cls: type[FlowException]) -> FlowException | None:
    try:
        if packed.args is None:
            # They can't travel; the text can.
            return made_blank(cls, (packed.message,))
        return made_blank(cls, tuple(unpack_any(arg) for arg in packed.args))
    # The classes are anybody's, and the bytes the peer's.
    except Exception:
        return None


def _set_attributes(error: Exception, packed: PackedError) -> None:
    for name, value in packed.attributes.items():
        if not _may_travel(name):
            continue
        try:
            _set_attribute(error, name, unpack_any(value))
        except SessionError:
            continue


def _set_attribute(error: Exception, name: str, value: object) -> None:
    """Set what is data to the class; leave what is code: methods, properties, nested classes."""
    of_class: Any = next(
        (vars(cls)[name] for cls in type(error).__mro__ if name in vars(cls)), None
    )
    if _is_free_slot(name, of_class):
        of_class.__set__(error, value)
    elif not callable(of_class) and not hasattr(type(of_class), "__get__"):
        vars(error)[name] = value


def _flow_exception_class(name: str) -> type[FlowException] | None:
    cls = flow_exceptions.get(name)
    if cls is None:
        # A class of the script that runs as __main__ is known to others by its module.
        own, _, _ = name.rpartition(".")
        if own == public_module("__main__"):
            cls = flow_exceptions.get(f"__main__{name.removeprefix(own)}")
    return cls
