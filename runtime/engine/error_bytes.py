"""Errors as bytes: to a peer only what is meant for it, in our own journal as much as possible."""

from typing import Final

import msgspec

from runtime.error_codec import (
    PackedError,
    PackedOutcome,
    pack_error,
    pack_outcome,
    unpack_error,
    unpack_outcome,
)
from runtime.errors import BadMessage, FlowException
from runtime.ids import ErrorId, PeerName

_encode: Final = msgspec.msgpack.Encoder().encode
_error_decoder: Final[msgspec.msgpack.Decoder[PackedError]] = msgspec.msgpack.Decoder(PackedError)
_outcome_decoder: Final[msgspec.msgpack.Decoder[PackedOutcome]] = msgspec.msgpack.Decoder(
    PackedOutcome
)


def error_for_peer(error: FlowException) -> bytes:
    """Return what crosses: class, message, arguments; no stack."""
    return _encode(pack_error(error))


def error_from_peer(data: bytes, peer: PeerName, error_id: ErrorId) -> FlowException | BadMessage:
    """Return the peer's exception, marked with where it came from."""
    try:
        error = unpack_error(_error_decoder.decode(data), peer)
    except msgspec.MsgspecError as reason:
        return BadMessage(f"{peer} sent an error that can't be read: {reason}")
    error.peer = peer
    error.error_id = error_id
    error.add_note(f"raised by the flow of {peer}, error id {error_id}")
    return error


def outcome_of_error(error: BaseException, error_id: str) -> bytes:
    """Return an error as the journal and the results keep it."""
    return _encode(pack_outcome(error, error_id))


def error_of_outcome(data: bytes) -> Exception:
    """Return the error in ``data``, of its own class as far as this node has it."""
    return unpack_outcome(_outcome_decoder.decode(data))
