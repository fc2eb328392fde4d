"""What the journal records of a flow, and how a record looks in bytes.

The journal of a flow is a run of records in the store's space ``journal``:

    key     flow id (16 bytes) | index (u32, big-endian), index 0, 1, 2, ... without a gap
    value   one msgpack array: [kind, time, path, ...the fields of the event in order]

``time`` is wall time in ms. ``path`` is the place of the operation in the tree of sub-flows: ``""``
for the flow itself, ``"3/"`` for the sub-flow that it entered as its operation 3, counted from 0,
and ``"3/5/"`` for one inside that, entered as operation 5 of the whole flow. An acceptance is not
an operation, nor is a session's end at both sides, so no place depends on when they came.

An event is written once and never changed. New kinds get new numbers; a field may be added at the
end with a default, none is ever removed or moved.
"""

from typing import Final

import msgspec

from runtime.errors import UndecodableEvent
from runtime.ids import ErrorId, PeerName, SessionId
from runtime.ports import Space

JOURNAL: Final = Space("journal", write_once=True)


class Event(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Base of all events."""

    time: int
    path: str


class Origin(msgspec.Struct, array_like=True, frozen=True):
    """The session that a responder was started for."""

    peer: PeerName
    peer_session: SessionId
    flow: str
    version: int
    app: str
    app_version: str


class Started(Event, tag=0, frozen=True):
    """The flow exists. ``seed`` is the source of all its ids and random numbers."""

    flow: str
    version: int
    arguments: bytes
    seed: bytes
    user: str
    client_id: str | None
    origin: Origin | None


class Stepped(Event, tag=1, frozen=True):
    """A step, or an atomic operation, has an outcome: a value, or an error if ``failed``."""

    name: str
    arguments: bytes
    value: bytes
    failed: bool = False


class StepAttempted(Event, tag=2, frozen=True):
    """An attempt at a step failed; the next one is due at ``retry_at`` (ms)."""

    name: str
    arguments: bytes
    attempt: int
    error: str
    retry_at: int


class StepIntended(Event, tag=3, frozen=True):
    """An at-most-once step is about to run."""

    name: str
    arguments: bytes


class Opened(Event, tag=4, frozen=True):
    """A session was used for the first time; its open message is in the outbox."""

    session: int
    peer: PeerName
    flow: str
    version: int


class Sent(Event, tag=5, frozen=True):
    """A message was handed over for sending. ``content`` is its mark, see `runtime.evolution`.

    The first payload travels inside the open message and has its number, 0.
    """

    session: int
    number: int
    kind: str
    content: bytes


class Received(Event, tag=6, frozen=True):
    """The flow took the next message of a session, or learned by it that the session is over."""

    session: int
    number: int
    envelope: bytes


class Accepted(Event, tag=7, frozen=True):
    """The peer's responder exists. Not an operation's outcome: it may come at any time."""

    session: int
    peer_session: SessionId
    version: int
    app: str
    app_version: str


class Slept(Event, tag=8, frozen=True):
    """The flow sleeps, or slept, until ``until`` (ms)."""

    until: int


class Clocked(Event, tag=9, frozen=True):
    """The flow asked for the time and was told ``time``."""


class DeadlineSet(Event, tag=10, frozen=True):
    """Waiting inside this scope ends at ``until`` (ms)."""

    until: int


class TimedOut(Event, tag=11, frozen=True):
    """A wait ended because the deadline ``until`` had come; ``on`` is what the flow waited for."""

    until: int
    on: str


class Closed(Event, tag=12, frozen=True):
    """The flow closed a session; the end message is in the outbox.

    If it ``was_opening``, closing was refused, and nothing happened.
    """

    session: int
    was_opening: bool = False


class Entered(Event, tag=13, frozen=True):
    """An initiating sub-flow began; its events have the path of this event."""

    flow: str
    version: int
    arguments: bytes


class Left(Event, tag=14, frozen=True):
    """The sub-flow that has this path returned, or raised; its sessions are over."""

    flow: str
    failed: bool
    error_id: ErrorId | None = None


class Ended(Event, tag=15, frozen=True):
    """The flow is over. ``outcome`` is its result, or its packed error if ``failed``."""

    failed: bool
    outcome: bytes
    error_id: ErrorId | None


class PeerRead(Event, tag=16, frozen=True):
    """The flow asked for the peer's version, and it was known."""

    session: int


class SessionOver(Event, tag=17, frozen=True):
    """Both sides have ended a session of a flow that lives on. Not an operation's outcome.

    ``received`` is what the journal holds of it, in bytes.
    """

    session: int
    peer: PeerName
    received: int


AnyEvent = (
    Started
    | Stepped
    | StepAttempted
    | StepIntended
    | Opened
    | Sent
    | Received
    | Accepted
    | Slept
    | Clocked
    | DeadlineSet
    | TimedOut
    | Closed
    | Entered
    | Left
    | Ended
    | PeerRead
    | SessionOver
)

encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[AnyEvent] = msgspec.msgpack.Decoder(AnyEvent)


def decode(data: bytes) -> AnyEvent:
    """Return the event in ``data``; raises `UndecodableEvent` if this code can't read it."""
    try:
        return _decoder.decode(data)
    # A UnicodeDecodeError, for a str whose bytes are none.
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UndecodableEvent(f"a journal record can't be read: {error}") from None


def describe(event: AnyEvent) -> str:
    """Return the event's kind and key attributes in words, for divergence reports."""
    match event:
        case Stepped() | StepAttempted() | StepIntended():
            return f"step {event.name}({_shown(event.arguments)})"
        case Opened():
            return f"open session {event.session} to {event.peer} for {event.flow}"
        case Sent():
            return f"send {event.kind} ({_shown(event.content)}) in session {event.session}"
        case Received():
            return f"receive in session {event.session}"
        case Slept():
            return "sleep"
        case Clocked():
            return "now"
        case DeadlineSet():
            return "timeout"
        case TimedOut():
            return f"a wait ({event.on}) that timed out"
        case Closed():
            return f"close session {event.session}"
        case Entered():
            return f"sub-flow {event.flow}({_shown(event.arguments)})"
        case Left():
            return f"the end of sub-flow {event.flow}"
        case Started():
            return f"start of {event.flow}"
        case Accepted():
            return f"session {event.session} accepted"
        case Ended():
            return "the end of the flow"
        case PeerRead():
            return f"the peer of session {event.session}"
        case SessionOver():
            return f"session {event.session} is over"


def _shown(fingerprint: bytes) -> str:
    """Return arguments in a readable form if they are small enough to stand there themselves."""
    if fingerprint[:1] == b"\xc1":
        # What follows the digest are names of fields.
        return f"digest {fingerprint[1:17].hex()}"
    try:
        value = msgspec.msgpack.decode(fingerprint)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return fingerprint.hex()
    return ", ".join(repr(item) for item in value) if isinstance(value, list) else repr(value)
