"""The error tree: one class for each reaction that a caller can have.

SennitError
├── FlowException             part of a flow's contract: crosses to the direct peers
│   ├── FlowTimeout               a `timeout` of this flow ran out
│   └── PeerTimedOut              a `timeout` of the peer's flow ran out there, and nobody caught it
├── UnexpectedFlowEnd         the peer ended, failed, refused or was killed
├── FlowKilled                the result of a flow that was killed
├── FlowFailed                the result of a flow that failed with what can't be kept
├── HoldForOperator           the flow asks to be held
├── RetryLater                it may pass by itself; the flow is retried with back-off, for ever
├── Diverged                  a replayed operation does not match its recorded event
├── JournalFull               a flow has as many events as it may have
├── UndecodableEvent          an event of the journal can't be read by this code
├── StepFailed                what a step raised, where its exception can't be made anew
├── StepInterrupted           an at-most-once step was cut off; nobody knows whether it took effect
├── SessionError              a session was used in a way, or got a message, that it can't have
│   ├── SessionClosed   SessionNotOpen
│   ├── UnexpectedMessage   BadMessage
│   └── UnserialisableMessage   ProtocolViolation
├── SignatureInvalid          a signature does not fit its key and content
├── CertificateInvalid        a certificate of a chain does not prove what it is shown for
├── MisuseError               our caller is wrong; raised at once, never held
│   ├── NotInFlow   InFlow   UnknownFlow   UnknownParty
│   ├── PermissionDenied   ClientIdInvalid   NodeStopped
│   ├── ArgumentInvalid (also TypeError and ValueError)
│   ├── NameInvalid (also ValueError)   KeyInvalid (also ValueError)
│   └── ConfigurationError
└── StoreError
    ├── UnreadableRow         one row can't be read; it is set aside
    ├── KeyPresentError       a batch demanded "absent" and the key exists
    └── StoreUnusable         torn, foreign, too new or in use; refused before anything is written

FlowUnwound (BaseException)   takes a greenlet down; `except Exception` in a flow does not catch it
├── FlowDiverged              because the code does not fit the journal
└── FlowSetAside              because of an error that is for the hospital, not for the flow
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

from runtime.class_names import recorded_name


class SennitError(Exception):
    """Base of every error that this project raises on purpose."""


class FlowException(SennitError):
    """An answer, not an accident: it crosses to the direct peers of the flow that raises it.

    Subclass it for the errors of your flow; its constructor may want what it likes, for it is not
    called at the other end. What is in ``args``, in attributes and in ``__slots__`` travels as far
    as it can be encoded; an attribute whose name begins with ``_`` does not, so ``__str__`` and
    properties should do without. If the args can't travel, the text of the exception is the only
    one. Each subclass is known on the wire by module and qualified name.

    What came from a peer is its claim, as a message is: there may be more, less or something else.

    Where it came from tell `peer_of`, `error_id_of` and `original_class_of`, which are no
    attributes, so that yours may have any name.
    """

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        flow_exceptions[f"{cls.__module__}.{cls.__qualname__}"] = cls


flow_exceptions: Final[dict[str, type[FlowException]]] = {
    f"{FlowException.__module__}.{FlowException.__qualname__}": FlowException
}
"""Every class of them that the process has, by module and qualified name."""

_PEER: Final = "_sennit_peer"
_ORIGINAL_CLASS: Final = "_sennit_original_class"
ERROR_ID_ATTRIBUTE: Final = "_sennit_error_id"
"""It tells the logs of this life of the node, not what the error is, so nothing keeps it."""


def peer_of(error: BaseException) -> str | None:
    """Return the party whose flow raised ``error`` or ended, if it came from a peer."""
    return error.peer if isinstance(error, UnexpectedFlowEnd) else _noted(error, _PEER)


def original_class_of(error: BaseException) -> str | None:
    """Return the class that ``error`` had where it was raised, if this process lacks it."""
    return error.original_class if isinstance(error, FlowFailed) else _noted(error, _ORIGINAL_CLASS)


def error_id_of(error: BaseException) -> str | None:
    """Return what to look for in the log of the node where ``error`` was raised, or here."""
    noted = _noted(error, ERROR_ID_ATTRIBUTE)
    if noted is None and isinstance(error, UnexpectedFlowEnd | FlowFailed):
        # It may have been made, or changed, by anybody.
        found = error.error_id
        return found if isinstance(found, str) and found else None
    return noted


def note_origin(
    error: BaseException,
    *,
    peer: str | None = None,
    original_class: str | None = None,
    error_id: str | None = None,
) -> None:
    """Have `peer_of`, `original_class_of` and `error_id_of` return what is given here."""
    for name, value in (
        (_PEER, peer),
        (_ORIGINAL_CLASS, original_class),
        (ERROR_ID_ATTRIBUTE, error_id),
    ):
        if value is not None:
            vars(error)[name] = value


def _noted(error: BaseException, name: str) -> str | None:
    noted = vars(error).get(name)
    return noted if isinstance(noted, str) else None


class FlowTimeout(FlowException, TimeoutError):
    """A `timeout` ran out while the flow was waiting inside it."""


class PeerTimedOut(FlowException):
    """A `timeout` ran out in the peer's flow: what its `FlowTimeout` is to us.

    No `TimeoutError`, so that nobody takes it for the end of a timeout of their own.
    """


class UnexpectedFlowEnd(SennitError):
    """The peer's flow ended, failed, refused or was killed while we expected more of it.

    ``error_id`` stands in the logs of both nodes, if it was an error.
    """

    def __init__(self, peer: str, reason: str, error_id: str | None = None) -> None:
        super().__init__(peer, reason, error_id)
        self.peer = peer
        self.reason = reason
        self.error_id = error_id

    def __str__(self) -> str:
        tail = f" (error id {self.error_id}, look for it in the log there)" if self.error_id else ""
        return f"{self.peer}: {self.reason}{tail}"


class ResultNotReady(SennitError, TimeoutError):
    """A flow has not ended in the time that the caller gave; the flow goes on."""


class FlowKilled(SennitError):
    """The result of a flow that was killed."""


class FlowFailed(SennitError):
    """The result of a flow that failed with an exception that can't be kept or may not cross."""

    def __init__(self, error_id: str, original_class: str, message: str) -> None:
        super().__init__(error_id, original_class, message)
        self.error_id = error_id
        self.original_class = original_class
        self.message = message

    def __str__(self) -> str:
        tail = f" (error id {self.error_id})" if self.error_id else ""
        return f"{self.original_class}: {self.message}{tail}"


class HoldForOperator(SennitError):
    """Raise it (or raise from it) to have the flow held, intact, until an operator decides."""


class RetryLater(SennitError):
    """Something outside is away for now; the hospital retries the flow with back-off, for ever."""


class Diverged(SennitError):
    """A replayed operation does not match its recorded event; the code before it has changed."""

    def __init__(self, place: str, recorded: str, asked: str, source: str = "") -> None:
        super().__init__(place, recorded, asked, source)
        self.place = place
        self.recorded = recorded
        self.asked = asked
        self.source = source

    def __str__(self) -> str:
        where = f" ({self.source})" if self.source else ""
        return (
            f"at {self.place}{where} the journal has {self.recorded}, "
            f"but the code asks for {self.asked}. "
            "Restore the code that ran before, then retry the flow"
        )


class JournalFull(SennitError):
    """A flow has written as many events as it may; to replay more of them would take too long."""

    def __init__(self, events: int) -> None:
        super().__init__(events)
        self.events = events

    def __str__(self) -> str:
        return (
            f"the journal of the flow has {self.events:,} events, and no flow may have more. "
            "Raise journal_events_max in node.toml, restart the node and retry the flow, or kill "
            "it; and let its next version leave a part of its work to flows that it starts anew"
        )


class UndecodableEvent(SennitError):
    """An event of the journal can't be read: its type is not installed, or has changed too much."""


class StepFailed(SennitError):
    """Stands for what a step raised, if that can't be made anew or its class is gone.

    It is caught by the nearest base of that class that can be, and `is_a` knows all of them.
    ``arguments`` are those of the exception, as far as they can be journaled.
    """

    OWN: ClassVar = frozenset({"class_name", "classes", "message"})

    class_name: str
    message: str
    classes: tuple[str, ...]

    def __init__(self, class_name: str, message: str, *arguments: object) -> None:
        super().__init__(*arguments)
        self.stand_for((), class_name, message)

    def stand_for(self, classes: Sequence[str], class_name: str, message: str) -> None:
        """Take on what the journal knows of the exception; ``classes`` are those that it was of."""
        self.classes = tuple(classes)
        self.class_name = class_name
        self.message = message

    @property
    def arguments(self) -> tuple[object, ...]:
        """The args of the exception that the step raised."""
        return self.args

    def is_a(self, cls: type[BaseException]) -> bool:
        """Tell whether the exception that the step raised was a ``cls``."""
        return isinstance(self, cls) or recorded_name(cls) in self.classes

    def __str__(self) -> str:
        return f"{self.class_name}: {self.message}"


class StepInterrupted(SennitError):
    """An at-most-once step was cut off by a crash; nobody knows whether it took effect."""


class SessionError(SennitError):
    """A session was used in a way, or got a message, that it can't have."""


class SessionClosed(SessionError):
    """This side has closed the session."""


class SessionNotOpen(SessionError):
    """The session was not used yet, or the peer has not accepted it."""


class UnexpectedMessage(SessionError):
    """The peer sent a value of another type than the one asked for. The message is consumed."""

    def __init__(self, expected: str, got: str, where: str = "") -> None:
        super().__init__(expected, got, where)
        self.expected = expected
        self.got = got
        self.where = where

    def __str__(self) -> str:
        where = f" {self.where}" if self.where else ""
        return f"expected {self.expected}, got {self.got}{where}"


class BadMessage(SessionError):
    """Bytes that are no value of a registered type. The message is consumed."""

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(reason, where)
        self.reason = reason
        self.where = where

    def __str__(self) -> str:
        return f"{self.reason} {self.where}".rstrip()


class UnserialisableMessage(SessionError):
    """A value that can't be encoded; nothing was sent. ``path`` leads to the field."""

    def __init__(
        self,
        path: str,
        type_name: str,
        advice: str = "mark its class with @message or use builtin types",
    ) -> None:
        super().__init__(path, type_name, advice)
        self.path = path
        self.type_name = type_name
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.path} is a {self.type_name}, which can't be encoded; {self.advice}"


class ProtocolViolation(SessionError):
    """A message out of turn."""


class SignatureInvalid(SennitError):
    """A signature does not fit its key and content."""


class CertificateInvalid(SennitError):
    """A certificate does not prove what it is shown for; ``which`` is its place in the chain."""

    def __init__(self, which: str, what: str) -> None:
        super().__init__(which, what)
        self.which = which
        self.what = what

    def __str__(self) -> str:
        return f"{self.which} {self.what}"


class MisuseError(SennitError):
    """Our caller is wrong; raised at once in the caller's face."""


class ArgumentInvalid(MisuseError, TypeError, ValueError):
    """An argument can't be used. ``argument`` names it with its place: ``@step(name=...)``."""

    def __init__(self, argument: str, what: str, do: str) -> None:
        super().__init__(argument, what, do)
        self.argument = argument
        self.what = what
        self.do = do

    def __str__(self) -> str:
        return f"{self.argument} {self.what}. {self.do}"


class NotInFlow(MisuseError):
    """An operation of a flow was called outside of one."""


class InFlow(MisuseError):
    """Something that blocks a whole greenlet on other flows was called inside a flow."""


class UnknownFlow(MisuseError):
    """No such flow, by name or by id, on this node."""


class UnknownParty(MisuseError):
    """The network directory does not list this party."""


class PermissionDenied(MisuseError):
    """The user may not do this."""


class ClientIdInvalid(MisuseError):
    """A client id is empty or too long."""


class ClientIdTaken(MisuseError):
    """A client id stands for a flow already, and this start does not ask for that one."""


class BadArguments(MisuseError, TypeError):
    """The arguments for a flow do not fit its signature; nothing was started."""


class NodeStopped(MisuseError):
    """The node is stopping or stopped."""


class NameInvalid(MisuseError, ValueError):
    """A text is no legal name. A ValueError too, so that a decoder refuses the message."""

    def __init__(self, attribute: str, what: str, do: str) -> None:
        super().__init__(attribute, what, do)
        self.attribute = attribute
        self.what = what
        self.do = do

    def __str__(self) -> str:
        return f"{self.attribute} {self.what}. {self.do}"


class KeyInvalid(MisuseError, ValueError):
    """Bytes are no key, or not of this scheme, or the password does not open them."""


class ConfigurationError(MisuseError):
    """A configuration, key or certificate file can't be used."""

    def __init__(self, where: str, what: str, do: str) -> None:
        super().__init__(where, what, do)
        self.where = where
        self.what = what
        self.do = do

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.do}"


class StoreError(SennitError):
    """Something about the node's store."""


class KeyPresentError(StoreError):
    """A batch demanded that a key be absent, and it exists. Nothing of the batch was taken."""

    def __init__(self, space: str, key: bytes) -> None:
        super().__init__(space, key)
        self.space = space
        self.key = key


class UnreadableRow(StoreError):
    """A row of the store can't be read; it is set aside, and what does not need it goes on."""

    def __init__(self, space: str, key: str, reason: str) -> None:
        super().__init__(space, key, reason)
        self.space = space
        self.key = key
        self.reason = reason

    def __str__(self) -> str:
        return f"row {self.key} of space {self.space} can't be read and is set aside: {self.reason}"


class StoreUnusable(StoreError):
    """The database is torn, foreign, too new or in use; refused before anything was written."""


class StoreDamaged(StoreError):
    """A row in the database is not what was written; the disk or a program has changed it."""

    def __init__(self, where: str, space: str, key: bytes) -> None:
        super().__init__(where, space, key)
        self.where = where
        self.space = space
        self.key = key

    def __str__(self) -> str:
        return (
            f"the store at {self.where} is damaged: in space {self.space!r}, the row "
            f"{self.key.hex()} is not what was written. Stop the node, keep a copy, check the "
            "disk, see what else is damaged with `sennit node check`, and restore the newest backup"
        )


class FlowUnwound(BaseException):
    """Takes a flow's greenlet down (eviction, kill, shutdown). Never catch it in a flow."""


class FlowDiverged(FlowUnwound):
    """Takes a flow's greenlet down because its code does not fit its journal."""

    def __init__(self, report: Diverged) -> None:
        super().__init__(report)
        self.report = report


class FlowSetAside(FlowUnwound):
    """Takes a flow's greenlet down because of an error that the flow must not answer itself."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield ``error`` and all that it was raised from, each once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
