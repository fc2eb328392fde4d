"""`Session`: the author's handle on a typed, ordered, exactly-once conversation with one peer."""

from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, TypeVar, cast, overload

from runtime import checks
from runtime.codec import Packed, check_expected, pack, unpack
from runtime.driver import Driver, PeerInfo, driver
from runtime.errors import ArgumentInvalid, BadMessage, MisuseError, UnexpectedMessage
from runtime.party import AnonymousParty, Party
from runtime.untrusted import Untrusted

T = TypeVar("T")


def initiate(party: Party | AnonymousParty) -> "Session":
    """Return a new session with ``party``; nothing is sent before its first use.

    Each call is a new session, with a new responder at the peer. Raises `UnknownParty` if the
    network directory does not list the party.
    """
    current = driver("initiate")
    checks.instance(party, Party | AnonymousParty, "initiate(party)", "a Party")
    return Session(current, *current.initiate(party))


class Session:
    """One side of a conversation, valid in the flow that it belongs to and its sub-flows.

    After the peer's end or error was raised once, every later use raises it again.
    """

    __slots__ = ("_driver", "_known", "_number")

    def __init__(self, current: Driver, number: int, known: object = None) -> None:
        self._driver = current
        self._number = number
        self._known = known

    @property
    def counterparty(self) -> Party:
        """The party at the other end. Does not suspend."""
        return self._here("Session.counterparty").counterparty(self._number)

    @property
    def peer(self) -> PeerInfo:
        """Version and app of the peer; suspends until it has accepted, opening a fresh session."""
        return self._here("Session.peer").peer_info(self._number)

    def send(self, value: object) -> None:
        """Hand ``value`` over for delivery, exactly once, after all that the flow consumed before.

        Suspends only while the peer is far behind. Raises `UnserialisableMessage`, and sends
        nothing, if a part of the value can't be encoded; `SessionClosed`; or how the peer ended.
        """
        self._here("Session.send").send(((self._number, pack(value)),))

    @overload
    def receive(self, expected: type[T]) -> Untrusted[T]: ...
    @overload
    def receive(self, expected: UnionType) -> Untrusted[Any]: ...
    def receive(self, expected: type[T] | UnionType) -> Untrusted[T] | Untrusted[Any]:
        """Suspend until the peer's next message is here, maybe for days.

        ``expected`` may be a union, ``Yes | No``; a type checker learns its members from the check
        that `Untrusted.unwrap` is given.

        Raises `UnexpectedMessage` or `BadMessage` (the message is consumed), the peer's
        `FlowException`, `UnexpectedFlowEnd`, `SessionClosed` or, inside a `timeout`, `FlowTimeout`.
        """
        current = self._here("Session.receive")
        check_expected(expected)
        packed = current.receive((self._number,), f"receive {_name(expected)}")[0]
        return self._typed(packed, expected)

    @overload
    def exchange(self, value: object, expected: type[T]) -> Untrusted[T]: ...
    @overload
    def exchange(self, value: object, expected: UnionType) -> Untrusted[Any]: ...
    def exchange(
        self, value: object, expected: type[T] | UnionType
    ) -> Untrusted[T] | Untrusted[Any]:
        """Send ``value``, then receive; one suspension."""
        self.send(value)
        return self.receive(expected)

    def close(self) -> None:
        """End the session from this side, durably; what the peer sent and nobody read is dropped.

        Raises `SessionNotOpen` before the peer has accepted. No effect when it is over already.
        """
        self._here("Session.close").close(self._number)

    def _here(self, asked: str) -> Driver:
        current = driver(asked)
        # In a step, another driver speaks for the same flow, and refuses.
        if current is not self._driver and current.info.id != self._driver.info.id:
            raise MisuseError(
                f"{asked}: the session belongs to flow {self._driver.info.id}, "
                f"and this is flow {current.info.id}. Sessions can't be shared between flows"
            )
        return current

    def _typed(self, packed: Packed, expected: type[T] | UnionType) -> Untrusted[T]:
        try:
            return Untrusted(unpack(packed, cast("type[T]", expected)))
        except UnexpectedMessage as error:
            where = f"{error.where} {self._driver.where(self._number)}".strip()
            raise UnexpectedMessage(error.expected, error.got, where) from None
        except BadMessage as error:
            raise BadMessage(error.reason, self._driver.where(self._number)) from None

    def __repr__(self) -> str:
        return f"Session({self._driver.where(self._number)})"


@overload
def send_all(sessions: Sequence[Session], value: object) -> None: ...
@overload
def send_all(sessions: Mapping[Session, object]) -> None: ...
def send_all(sessions: Sequence[Session] | Mapping[Session, object], value: object = None) -> None:
    """Send one value to all sessions, or to each its own; all leave together or none does.

    Raises ValueError if a session is named twice.
    """
    _check_sessions(sessions, "send_all(sessions)")
    pairs = (
        list(sessions.items())
        if isinstance(sessions, Mapping)
        else [(session, value) for session in sessions]
    )
    _check_distinct([session for session, _ in pairs])
    if pairs:
        current = driver("send_all")
        current.send([(session._number, pack(each)) for session, each in pairs])  # noqa: SLF001


@overload
def receive_all(sessions: Sequence[Session], expected: type[T]) -> list[Untrusted[T]]: ...
@overload
def receive_all(sessions: Sequence[Session], expected: UnionType) -> list[Untrusted[Any]]: ...
@overload
def receive_all(sessions: Mapping[Session, type[T]]) -> dict[Session, Untrusted[T]]: ...
def receive_all(
    sessions: Sequence[Session] | Mapping[Session, type[T]],
    expected: type[T] | UnionType | None = None,
) -> list[Untrusted[T]] | dict[Session, Untrusted[T]]:
    """Suspend until every session has a message, then take one of each.

    Raises at once, taking nothing else, when one of the sessions has failed or ended; ValueError
    if a session is named twice.
    """
    _check_sessions(sessions, "receive_all(sessions)")
    if isinstance(sessions, Mapping):
        types: dict[Session, type[T] | UnionType] = dict(sessions)
    else:
        if expected is None:
            do = "Give it the type of the messages"
            raise ArgumentInvalid("receive_all(expected)", "is missing", do)
        types = dict.fromkeys(sessions, expected)
    for kind in types.values():
        check_expected(kind)
    _check_distinct(list(sessions))
    received = _receive_each(types) if types else {}
    return received if isinstance(sessions, Mapping) else list(received.values())


def _receive_each(types: "Mapping[Session, type[T] | UnionType]") -> dict[Session, Untrusted[T]]:
    current = driver("receive_all")
    names = ", ".join(_name(kind) for kind in types.values())
    numbers = [session._number for session in types]  # noqa: SLF001
    packed = current.receive(numbers, f"receive_all {names}")
    return {
        session: session._typed(each, kind)  # noqa: SLF001
        for (session, kind), each in zip(types.items(), packed, strict=True)
    }


def _check_sessions(sessions: object, argument: str) -> None:
    wanted = "a list of sessions, or a dict with sessions as its keys"
    checks.instance(sessions, Sequence | Mapping, argument, wanted)
    for session in cast("Sequence[object]", sessions):
        checks.instance(session, Session, argument, wanted)


def _check_distinct(sessions: Sequence[Session]) -> None:
    if len(set(sessions)) != len(sessions):
        raise ValueError("a session is named twice; a session has one order of messages")


def _name(expected: object) -> str:
    return getattr(expected, "__qualname__", None) or str(expected)
