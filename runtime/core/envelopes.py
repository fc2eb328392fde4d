"""Session messages as they cross a link, and how they look in bytes.

An envelope is one msgpack array; its first element is the kind:

    [0, sid, flow, version, app, app_version, conversation, kind, body,
        beside]                                                           open, number 0
    [1, to, sid, version, app, app_version]                               accept, number 0
    [2, to, sid, reason, error_id]                                        refuse, number 0
    [3, to, number, kind, body]                                           data
    [4, to, number, error, error_id]                                      error
    [5, to, number]                                                       end
    [6, to, up_to]                                                        acknowledgement
    [7, to, sid, error_id]                                                gone

``sid`` is the sender's session id, ``to`` the receiver's, both 16 bytes. ``number`` counts the
messages of one direction of a session from 0 to 2^32 - 1; ``up_to`` says that all numbers up to
and including it are durable at the receiver. ``kind`` and ``body`` are a packed value; an open
message without payload has an empty ``kind``. ``beside`` names another session that the same flow
has with the receiver, by the id that its opener gave to it; without one, the field is left out.
``error`` is a packed `FlowException` or nil. A gone message answers one that was addressed to
``sid``, which is no session of the sender; its ``to`` is empty if the answered message did not
tell. Who sent an envelope is known from the link that it came over, never from a field.
"""

from operator import attrgetter
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from runtime.errors import BadMessage
from runtime.ids import ErrorId, SessionId
from runtime.limits import ERROR_BYTES_MAX, NAME_CHARACTERS_MAX, VERSION_MAX

SESSION_ID_BYTES: Final = 16
# A number is a u32 in the keys of the store.
NUMBER_MAX: Final = 2**32 - 1
KIND_CHARACTERS_MAX: Final = 256
CONVERSATION_BYTES_MAX: Final = 64
REASON_CHARACTERS_MAX: Final = 2_048
# A packed error and what packs it.
ERROR_ENVELOPE_BYTES_MAX: Final = 2 * ERROR_BYTES_MAX

_TEXT_CHARACTERS_MAX: Final = 200

# What a peer may send is bounded while it is decoded. A message in our own outbox may not be
# addressed yet; that `to` is complete in what arrives, `decode` sees to.
To = Annotated[SessionId, Meta(max_length=SESSION_ID_BYTES)]
Sid = Annotated[SessionId, Meta(min_length=SESSION_ID_BYTES, max_length=SESSION_ID_BYTES)]
Number = Annotated[int, Meta(ge=0, le=NUMBER_MAX)]
Name = Annotated[str, Meta(max_length=NAME_CHARACTERS_MAX)]
Version = Annotated[int, Meta(ge=0, le=VERSION_MAX)]
Kind = Annotated[str, Meta(max_length=KIND_CHARACTERS_MAX)]
Conversation = Annotated[bytes, Meta(max_length=CONVERSATION_BYTES_MAX)]
Reason = Annotated[str, Meta(max_length=REASON_CHARACTERS_MAX)]
ErrorName = Annotated[ErrorId, Meta(max_length=NAME_CHARACTERS_MAX)]
PackedError = Annotated[bytes, Meta(max_length=ERROR_ENVELOPE_BYTES_MAX)]


class Envelope(msgspec.Struct, array_like=True, gc=False):
    """Base of all kinds."""


class _OpenAlone(Envelope, tag=0):
    """The first version, which is still written where the later field would be empty."""

    number: ClassVar[int] = 0

    sid: Sid
    flow: Name
    version: Version
    app: Name
    app_version: Name
    conversation: Conversation
    kind: Kind
    body: bytes


class Open(_OpenAlone, tag=0):
    """Asks the peer to start the responder of ``flow``; may carry the first payload."""

    beside: To = SessionId(b"")


class Accept(Envelope, tag=1):
    """The responder exists, durably."""

    number: ClassVar[int] = 0

    to: To
    sid: Sid
    version: Version
    app: Name
    app_version: Name


class Refuse(Envelope, tag=2):
    """No responder was started, and why."""

    number: ClassVar[int] = 0

    to: To
    sid: Sid
    reason: Reason
    error_id: ErrorName


class Data(Envelope, tag=3):
    """One value."""

    to: To
    number: Number
    kind: Kind
    body: bytes


class Error(Envelope, tag=4):
    """The sender's flow failed. ``error`` is there if it was a `FlowException` of its own."""

    to: To
    number: Number
    error: PackedError | None
    error_id: ErrorName


class End(Envelope, tag=5):
    """The sender's flow finished, or closed the session."""

    to: To
    number: Number


class Ack(Envelope, tag=6):
    """All messages that ``to`` sent, up to number ``up_to``, are durable at the receiver."""

    to: To
    up_to: Number


class Gone(Envelope, tag=7):
    """``sid`` is no session of the sender (any more): what is addressed to it is in vain."""

    to: To
    sid: Sid
    error_id: ErrorName


AnyEnvelope = Open | Accept | Refuse | Data | Error | End | Ack | Gone
Content = Open | Refuse | Data | Error | End
"""What a flow can come to see: a payload or the end of the conversation."""
Answer = Ack | Gone
"""What answers a message, has no number, and is kept and repeated by nobody."""

_alone = attrgetter(*_OpenAlone.__struct_fields__)
_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[AnyEnvelope] = msgspec.msgpack.Decoder(AnyEnvelope)

_ARRAY_HEADER: Final = 0x90
_headers: Final[dict[type, tuple[int, ...]]] = {
    kind: (_ARRAY_HEADER + 1 + len(kind.__struct_fields__),)
    for kind in (Accept, Refuse, Data, Error, End, Ack, Gone)
}
_headers[Open] = tuple(
    _ARRAY_HEADER + 1 + len(kind.__struct_fields__) for kind in (_OpenAlone, Open)
)


def encode(envelope: AnyEnvelope) -> bytes:
    """Return the bytes of ``envelope``."""
    if type(envelope) is Open and not envelope.beside:
        return _encode(_OpenAlone(*_alone(envelope)))
    return _encode(envelope)


def understood(envelope: AnyEnvelope, data: bytes) -> bytes:
    """Return what to keep of ``envelope``, which was decoded from ``data``.

    Only what was understood is kept. What stands in surplus elements was skipped, and need not be
    such that a decoder can skip it again, whose caller's stack is deeper.
    """
    return data if data[0] in _headers[type(envelope)] else encode(envelope)


def decode(data: bytes, *, is_addressed: bool = True) -> AnyEnvelope:
    """Return the envelope in ``data``; raises `BadMessage` for anything that is none.

    One in our own outbox may not be addressed yet.
    """
    try:
        envelope = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"not an envelope: {str(error)[:_TEXT_CHARACTERS_MAX]}") from None
    if is_addressed:
        to = envelope.beside if isinstance(envelope, Open) else envelope.to
        if len(to) != SESSION_ID_BYTES and (to or not isinstance(envelope, Open | Gone)):
            raise BadMessage(f"not an envelope: a session id has {SESSION_ID_BYTES} bytes")
    return envelope
