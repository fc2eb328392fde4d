"""One flow: where its life stands, and how its operations meet the recorded events. No I/O.

    NEW --started--> RUNNING --suspended--> WAITING --resumed--> RUNNING --ended--> ENDED
                     RUNNING, WAITING --held--> HELD --retried--> NEW
                     RUNNING, WAITING --retried--> NEW
                     NEW, WAITING, HELD --ended--> ENDED      (killed, or failed by an operator)
                     NEW --held--> HELD

While ``cursor`` has not reached the end of ``recorded``, the flow is being replayed: each operation
must match the next recorded event in place, kind, key attributes and fingerprint, and is answered
from it. Anything else is `Diverged`, and then nothing matches any more: code that swallows the
exception meets it again at its next operation, at the latest at its end.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Final, TypeVar

from runtime.core.envelopes import Data, Open
from runtime.core.envelopes import decode as decode_envelope
from runtime.core.events import (
    Accepted,
    AnyEvent,
    Clocked,
    Closed,
    DeadlineSet,
    Ended,
    Entered,
    Event,
    Left,
    Opened,
    PeerRead,
    Received,
    Sent,
    SessionOver,
    Slept,
    Started,
    StepAttempted,
    StepIntended,
    Stepped,
    TimedOut,
    describe,
)
from runtime.errors import Diverged, FlowDiverged


class _Quick(Enum):
    """Members are single, so identity is hash enough; that of `Enum` is ten times slower."""

    __hash__ = object.__hash__


class Status(_Quick):
    """Where a flow's life stands."""

    NEW = "new"
    RUNNING = "running"
    WAITING = "waiting"
    HELD = "held"
    ENDED = "ended"


class Input(_Quick):
    """What can happen to a flow."""

    STARTED = "started"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    HELD = "held"
    RETRIED = "retried"
    ENDED = "ended"


TRANSITIONS: Final[Mapping[tuple[Status, Input], Status]] = {
    (Status.NEW, Input.STARTED): Status.RUNNING,
    (Status.NEW, Input.HELD): Status.HELD,
    (Status.NEW, Input.ENDED): Status.ENDED,
    (Status.RUNNING, Input.SUSPENDED): Status.WAITING,
    (Status.RUNNING, Input.HELD): Status.HELD,
    (Status.RUNNING, Input.RETRIED): Status.NEW,
    (Status.RUNNING, Input.ENDED): Status.ENDED,
    (Status.WAITING, Input.RESUMED): Status.RUNNING,
    (Status.WAITING, Input.HELD): Status.HELD,
    (Status.WAITING, Input.RETRIED): Status.NEW,
    (Status.WAITING, Input.ENDED): Status.ENDED,
    (Status.HELD, Input.RETRIED): Status.NEW,
    (Status.HELD, Input.ENDED): Status.ENDED,
}

_RUNNING: Final = Status.RUNNING
_WAITING: Final = Status.WAITING

EventT = TypeVar("EventT", bound=Event)
Differs = Callable[[bytes], str]
StepEvent = Stepped | StepAttempted | StepIntended


def _other(recorded: bytes) -> str:
    return "the content differs"


class IllegalTransition(AssertionError):
    """The engine did to a flow what its status cannot have."""


class FlowMachine:
    """Status, journal position and recorded operations of one flow, changed in place."""

    __slots__ = (
        "acceptances",
        "cursor",
        "divergence",
        "facts",
        "index_next",
        "recorded",
        "started",
        "status",
    )

    def __init__(self, events: Sequence[AnyEvent]) -> None:
        started = events[0]
        assert isinstance(started, Started)
        self.started = started
        self.status = Status.NEW
        self.index_next = len(events)
        self.cursor = 0
        self.divergence: FlowDiverged | None = None
        self.recorded: list[tuple[int, AnyEvent]] = []
        # Of sessions that are over, and that the replay has not closed yet.
        self.acceptances: dict[int, Accepted] = {}
        if self.index_next > 1:
            # Facts about a session are not the outcome of an operation.
            self.recorded = [
                (index, event)
                for index, event in enumerate(events)
                if not isinstance(event, Started | Accepted | SessionOver | Ended)
            ]
            self.acceptances = _of_sessions_over(events)
        self.facts = self.index_next - len(self.recorded)

    def move(self, event: Input) -> None:
        """Change the status; a pair that is not in TRANSITIONS is our bug and raises."""
        status = TRANSITIONS.get((self.status, event))
        if status is None:
            raise IllegalTransition(f"{event.value} while {self.status.value}")
        self.status = status

    def suspended(self) -> None:
        """Do what ``move(Input.SUSPENDED)`` does, faster: from the one status that allows it."""
        if self.status is not _RUNNING:
            self.move(Input.SUSPENDED)
        self.status = _WAITING

    @property
    def is_replaying(self) -> bool:
        """Tell whether recorded events are left to answer from."""
        return self.cursor < len(self.recorded)

    # --- operations against the record; None means that nothing is recorded: do it now ------

    # ``differs`` returns what differs from the recorded content if that is not the same bytes, ""
    # if nothing does: classes may have grown.

    def step(
        self, *, path: str, name: str, arguments: bytes, is_loose: bool, differs: Differs = _other
    ) -> StepEvent | None:
        """Match a step (or an atomic operation) by name and arguments."""
        if self.cursor == len(self.recorded):
            return None
        event = self.recorded[self.cursor][1]
        if (
            isinstance(event, Stepped | StepAttempted | StepIntended)
            and event.path == path
            and event.name == name
        ):
            if is_loose or event.arguments == arguments:
                difference = ""
            else:
                difference = differs(event.arguments)
            if not difference:
                self.cursor += 1
                return event
        else:
            difference = ""
        asked = describe(Stepped(0, path, name, arguments, b""))
        raise self._diverged(path, asked, difference)

    def opened(self, *, path: str, session: int, peer: str, flow: str) -> Opened | None:
        """Match the first use of a session by peer and protocol."""
        event = self._next()
        if event is None:
            return None
        if isinstance(event, Opened) and (event.path, event.session, event.peer, event.flow) == (
            path,
            session,
            peer,
            flow,
        ):
            self.cursor += 1
            return event
        raise self._diverged(path, f"open session {session} to {peer} for {flow}")

    def refused_send(self, *, path: str, sessions: Sequence[int]) -> Received | None:
        """Take the record that a send was refused, for its session was over, if it comes next."""
        event = self._next()
        if (
            isinstance(event, Received)
            and event.path == path
            and event.session in sessions
            and not isinstance(decode_envelope(event.envelope), Open | Data)
        ):
            self.cursor += 1
            return event
        return None

    def sent(
        self, *, path: str, session: int, type_name: str, content: bytes, differs: Differs = _other
    ) -> Sent | None:
        """Match a send by session, message type and content."""
        event = self._next()
        if event is None:
            return None
        difference = ""
        if isinstance(event, Sent) and (event.path, event.session, event.kind) == (
            path,
            session,
            type_name,
        ):
            if event.content != content:
                difference = differs(event.content)
            if not difference:
                self.cursor += 1
                return event
        asked = describe(Sent(0, path, session, 0, type_name, content))
        raise self._diverged(path, asked, difference)

    def received(
        self, *, path: str, sessions: Sequence[int], asked: str
    ) -> Received | TimedOut | None:
        """Match one message taken from one of ``sessions``, or a wait that timed out."""
        event = self._next()
        if event is None:
            return None
        if event.path == path and (
            isinstance(event, TimedOut)
            or (isinstance(event, Received) and event.session in sessions)
        ):
            self.cursor += 1
            return event
        raise self._diverged(path, asked)

    def timed_out(self, *, path: str) -> TimedOut | None:
        """Match the time-out of a wait."""
        return self._of_kind(TimedOut, path, "a wait that times out")

    def times_out(self, *, path: str, on: str | None = None) -> bool:
        """Tell whether a recorded time-out (of a wait ``on`` that) comes next; nothing moves."""
        event = self._next()
        return isinstance(event, TimedOut) and event.path == path and on in (None, event.on)

    def peer_read(self, *, path: str, session: int) -> PeerRead | Received | TimedOut | None:
        """Match a question for the peer's version; it may have been refused, or timed out."""
        event = self._next()
        if event is None:
            return None
        if event.path == path and (
            isinstance(event, TimedOut)
            or (isinstance(event, Received | PeerRead) and event.session == session)
        ):
            self.cursor += 1
            return event
        raise self._diverged(path, f"the peer of session {session}")

    def refused(self, *, path: str, session: int) -> Received | None:
        """Take a recorded refusal of a session that nobody read, if it comes next."""
        event = self._next()
        if isinstance(event, Received) and (event.path, event.session, event.number) == (
            path,
            session,
            0,
        ):
            self.cursor += 1
            return event
        return None

    def slept(self, *, path: str) -> Slept | None:
        """Match a sleep."""
        return self._of_kind(Slept, path, "sleep")

    def clocked(self, *, path: str) -> Clocked | None:
        """Match a question for the time."""
        return self._of_kind(Clocked, path, "now")

    def deadline_set(self, *, path: str) -> DeadlineSet | None:
        """Match the entry of a timeout scope."""
        return self._of_kind(DeadlineSet, path, "timeout")

    def closed(self, *, path: str, session: int) -> Closed | None:
        """Match the closing of a session."""
        asked = f"close session {session}"
        event = self._of_kind(Closed, path, asked)
        if event is not None and event.session != session:
            raise self.mismatch(path=path, asked=asked)
        return event

    def entered(
        self, *, path: str, flow: str, arguments: bytes, differs: Differs = _other
    ) -> Entered | None:
        """Match the start of an initiating sub-flow."""
        asked = describe(Entered(0, path, flow, 0, arguments))
        event = self._of_kind(Entered, path, asked)
        if event is not None and event.flow != flow:
            raise self.mismatch(path=path, asked=asked)
        if event is not None and event.arguments != arguments:
            difference = differs(event.arguments)
            if difference:
                self.cursor -= 1
                raise self._diverged(path, asked, difference)
        return event

    def left(self, *, path: str, flow: str, failed: bool) -> Left | None:
        """Match the end of an initiating sub-flow."""
        asked = f"the end of sub-flow {flow}" + (" by an error" if failed else "")
        event = self._of_kind(Left, path, asked)
        if event is not None and (event.flow, event.failed) != (flow, failed):
            raise self.mismatch(path=path, asked=asked)
        return event

    def ended(self, asked: str) -> None:
        """Check that the function's end comes after all that is recorded."""
        if self.is_replaying:
            raise self._diverged("", asked)

    def mismatch(self, *, path: str, asked: str) -> FlowDiverged:
        """Take back the event that was just matched: what it holds does not fit after all."""
        self.cursor -= 1
        return self._diverged(path, asked)

    @property
    def place(self) -> int:
        """The number of the next operation, replayed or new, among all of the flow."""
        if self.cursor < len(self.recorded):
            return self.cursor
        return self.index_next - self.facts

    def forget_record(self) -> None:
        """Drop what only a replay needs."""
        self.recorded.clear()
        self.acceptances.clear()
        self.cursor = 0

    def _next(self) -> AnyEvent | None:
        if self.cursor == len(self.recorded):
            return None
        return self.recorded[self.cursor][1]

    def _of_kind(self, kind: type[EventT], path: str, asked: str) -> EventT | None:
        event = self._next()
        if event is None:
            return None
        if isinstance(event, kind) and event.path == path:
            self.cursor += 1
            return event
        raise self._diverged(path, asked)

    def _diverged(self, path: str, asked: str, difference: str = "") -> FlowDiverged:
        if self.divergence is not None:
            return FlowDiverged(self.divergence.report)
        self.divergence = self._difference(path, asked, difference)
        # Nobody ever asks for a start.
        self.recorded[self.cursor] = (self.recorded[self.cursor][0], self.started)
        return self.divergence

    def _difference(self, path: str, asked: str, difference: str) -> FlowDiverged:
        index, event = self.recorded[self.cursor]
        recorded = describe(event)
        if event.path != path:
            recorded = f"{recorded} in sub-flow {event.path or 'none'}"
            asked = f"{asked} in sub-flow {path or 'none'}"
        if difference:
            asked = f"{asked}: {difference}"
        return FlowDiverged(Diverged(f"event {index}", recorded, asked))


def _of_sessions_over(events: Sequence[AnyEvent]) -> dict[int, Accepted]:
    over = {event.session for event in events if isinstance(event, SessionOver)}
    return {
        event.session: event
        for event in events
        if isinstance(event, Accepted) and event.session in over
    }
