"""Session messages as they cross a link, and how they look in bytes.

An envelope is one msgpack array; its first element is the kind:

    [0, sid, flow, version, app, app_version, conversation, kind, body]   open, number 0
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
message without payload has an empty ``kind``. ``error`` is a packed `FlowException` or nil. A gone
message answers one that was addressed to ``sid``, which is no session of the sender; its ``to`` is
empty if the answered message did not tell. Who sent an envelope is known from the link that it came
over, never from a field.
"""

from typing import Final

import msgspec

from runtime.errors import BadMessage
from runtime.ids import ErrorId, SessionId
from runtime.limits import ERROR_BYTES_MAX

SESSION_ID_BYTES: Final = 16
# A number is a u32 in the keys of the store.
NUMBER_MAX: Final = 2**32 - 1
NAME_CHARACTERS_MAX: Final = 255
REASON_CHARACTERS_MAX: Final = 2_048
# A packed error and what packs it.
ERROR_ENVELOPE_BYTES_MAX: Final = 2 * ERROR_BYTES_MAX


class Envelope(msgspec.Struct, array_like=True, gc=False):
    """Base of all kinds."""


class Open(Envelope, tag=0):
    """Asks the peer to start the responder of ``flow``; may carry the first payload."""

    sid: SessionId
    flow: str
    version: int
    app: str
    app_version: str
    conversation: bytes
    kind: str
    body: bytes


class Accept(Envelope, tag=1):
    """The responder exists, durably."""

    to: SessionId
    sid: SessionId
    version: int
    app: str
    app_version: str


class Refuse(Envelope, tag=2):
    """No responder was started, and why."""

    to: SessionId
    sid: SessionId
    reason: str
    error_id: ErrorId


class Data(Envelope, tag=3):
    """One value."""

    to: SessionId
    number: int
    kind: str
    body: bytes


class Error(Envelope, tag=4):
    """The sender's flow failed. ``error`` is there if it was a `FlowException` of its own."""

    to: SessionId
    number: int
    error: bytes | None
    error_id: ErrorId


class End(Envelope, tag=5):
    """The sender's flow finished, or closed the session."""

    to: SessionId
    number: int


class Ack(Envelope, tag=6):
    """All messages that ``to`` sent, up to number ``up_to``, are durable at the receiver."""

    to: SessionId
    up_to: int


class Gone(Envelope, tag=7):
    """``sid`` is no session of the sender (any more): what is addressed to it is in vain."""

    to: SessionId
    sid: SessionId
    error_id: ErrorId


AnyEnvelope = Open | Accept | Refuse | Data | Error | End | Ack | Gone
Content = Open | Refuse | Data | Error | End
"""What a flow can come to see: a payload or the end of the conversation."""
Answer = Ack | Gone
"""What answers a message, has no number, and is kept and repeated by nobody."""

_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[AnyEnvelope] = msgspec.msgpack.Decoder(AnyEnvelope)


def encode(envelope: AnyEnvelope) -> bytes:
    """Return the bytes of ``envelope``."""
    return _encode(envelope)


def decode(data: bytes, *, is_addressed: bool = True) -> AnyEnvelope:
    """Return the envelope in ``data``; raises `BadMessage` for anything that is none.

    One in our own outbox may not be addressed yet.
    """
    try:
        envelope = _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise BadMessage(f"not an envelope: {error}") from None
    if is_addressed:
        _check(envelope)
    return envelope


def number_of(envelope: Accept | Content) -> int:
    """Return the envelope's number in its direction of the session."""
    if type(envelope) is Data:
        return envelope.number
    match envelope:
        case Data() | Error() | End():
            return envelope.number
        case Open() | Accept() | Refuse():
            return 0


def _check(envelope: AnyEnvelope) -> None:
    # The two that come by the thousand, first; the same bounds as below.
    if type(envelope) is Data:
        if len(envelope.to) == SESSION_ID_BYTES and 0 <= envelope.number <= NUMBER_MAX:
            return
    elif (
        type(envelope) is Ack
        and len(envelope.to) == SESSION_ID_BYTES
        and 0 <= envelope.up_to <= NUMBER_MAX
    ):
        return
    number = 0
    match envelope:
        case Open():
            ids = [envelope.sid]
            _check_names(envelope.flow, envelope.app, envelope.app_version)
        case Accept():
            ids = [envelope.to, envelope.sid]
            _check_names(envelope.app, envelope.app_version)
        case Refuse():
            ids = [envelope.to, envelope.sid]
            _check_names(envelope.error_id)
            if len(envelope.reason) > REASON_CHARACTERS_MAX:
                raise BadMessage(f"a reason has at most {REASON_CHARACTERS_MAX} characters")
        case Error():
            ids, number = [envelope.to], envelope.number
            _check_names(envelope.error_id)
            if envelope.error is not None and len(envelope.error) > ERROR_ENVELOPE_BYTES_MAX:
                raise BadMessage(f"an error has at most {ERROR_ENVELOPE_BYTES_MAX} bytes")
        case Data() | End():
            ids, number = [envelope.to], envelope.number
        case Ack():
            ids, number = [envelope.to], envelope.up_to
        case Gone():
            ids = [envelope.to or envelope.sid, envelope.sid]
            _check_names(envelope.error_id)
    if any(len(sid) != SESSION_ID_BYTES for sid in ids):
        raise BadMessage(f"a session id has {SESSION_ID_BYTES} bytes")
    if not 0 <= number <= NUMBER_MAX:
        raise BadMessage(f"a message number is between 0 and {NUMBER_MAX}")


def _check_names(*names: str) -> None:
    if any(len(name) > NAME_CHARACTERS_MAX for name in names):
        raise BadMessage(f"a name has at most {NAME_CHARACTERS_MAX} characters")
