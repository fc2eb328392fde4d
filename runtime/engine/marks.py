"""What stands in a flow's journal for arguments and messages, and when they are the same again.

See `runtime.evolution`. A flow remembers the shape that it has recorded last for each kind of
operation; a replay learns it again from the journal, in the same order.
"""

from typing import TYPE_CHECKING

from runtime.codec import Packed
from runtime.core.flow_machine import Differs
from runtime.evolution import (
    arguments_difference,
    is_digest,
    message_difference,
    shape_in,
    shape_of_arguments,
    shape_of_message,
)
from runtime.signatures import Arguments

if TYPE_CHECKING:
    from runtime.engine.flow_run import FlowRun

_NO_CLASSES = b"\x80"


def arguments_to_record(
    run: "FlowRun", name: str, arguments: Arguments, values: tuple[object, ...], mark: bytes
) -> bytes:
    """Return the mark with the shape, if it is a digest and the flow has not recorded that yet."""
    if not is_digest(mark):
        return mark
    return _with_shape(run, name, mark, shape_of_arguments(arguments, values))


def message_to_record(run: "FlowRun", packed: Packed, mark: bytes) -> bytes:
    """Return the mark with the shape, if it is a digest and the flow has not recorded that yet."""
    if not is_digest(mark):
        return mark
    key = _key_of(packed.type)
    return _with_shape(run, key, mark, shape_of_message(packed, run.shapes.get(key, b"")))


def arguments_differ(
    run: "FlowRun", name: str, arguments: Arguments, values: tuple[object, ...], mark: bytes
) -> Differs:
    """Return what compares recorded arguments with those that the flow asks for now."""

    def differs(recorded: bytes) -> str:
        if _is_same(run, name, recorded, mark):
            return ""
        return arguments_difference(recorded, arguments, values, run.shapes.get(name, b""))

    return differs


def message_differs(run: "FlowRun", packed: Packed, mark: bytes) -> Differs:
    """Return what compares a recorded message with the one that the flow sends now."""
    key = _key_of(packed.type)

    def differs(recorded: bytes) -> str:
        if _is_same(run, key, recorded, mark):
            return ""
        return message_difference(recorded, packed, run.shapes.get(key, b""))

    return differs


def _key_of(kind: str) -> str:
    # No function has such a name.
    return f"${kind}"


def _with_shape(run: "FlowRun", key: str, mark: bytes, shape: bytes) -> bytes:
    if run.shapes.get(key, b"") == shape:
        return mark
    run.shapes[key] = shape
    return mark + (shape or _NO_CLASSES)


def _is_same(run: "FlowRun", key: str, recorded: bytes, mark: bytes) -> bool:
    shape = shape_in(recorded)
    if shape:
        run.shapes[key] = b"" if shape == _NO_CLASSES else shape
    return bool(shape) and recorded.removesuffix(shape) == mark
