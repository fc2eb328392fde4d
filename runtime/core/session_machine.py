"""One side of a session: numbers, order, duplicates, acknowledgement, open and end. No I/O.

    FRESH --opened--> OPENING --accepted--> OPEN --peer ended--> PEER_ENDED --closed--> DONE
                      OPENING --refused--> PEER_ENDED
                      OPENING --closed--> OPENING_CLOSED --accepted--> CLOSED
                                          OPENING_CLOSED --refused--> DONE
                                            OPEN --closed--> CLOSED --peer ended--> DONE

A responder's side begins OPEN, with the open message counted as number 0. A pair that is not in
TRANSITIONS is a bug of ours if we caused it and a violation by the peer if a message did.
"""

from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Final

from runtime.core.envelopes import (
    Accept,
    Content,
    Data,
    End,
    Error,
    Open,
    Refuse,
)
from runtime.core.quota import PeerAccount, kept_bytes
from runtime.errors import ProtocolViolation
from runtime.ids import ErrorId, PeerName, SessionId
from runtime.limits import GAP_ENVELOPES_MAX, UNREAD_BYTES_PER_SESSION_MAX


class _Quick(Enum):
    """Members are single, so identity is hash enough; that of `Enum` is ten times slower."""

    __hash__ = object.__hash__


class Status(_Quick):
    """Where a session stands, seen from one side."""

    FRESH = "fresh"
    OPENING = "opening"
    OPENING_CLOSED = "opening, closed by us"
    OPEN = "open"
    PEER_ENDED = "ended by the peer"
    CLOSED = "closed by us"
    DONE = "ended by both"


class Input(_Quick):
    """What can happen to a session."""

    OPENED = "opened"
    SENT = "sent"
    CLOSED = "closed"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    DATA = "data"
    PEER_ENDED = "peer ended"


TRANSITIONS: Final[Mapping[tuple[Status, Input], Status]] = {
    (Status.FRESH, Input.OPENED): Status.OPENING,
    (Status.OPENING, Input.SENT): Status.OPENING,
    (Status.OPENING, Input.ACCEPTED): Status.OPEN,
    (Status.OPENING, Input.REFUSED): Status.PEER_ENDED,
    (Status.OPENING, Input.CLOSED): Status.OPENING_CLOSED,
    (Status.OPENING_CLOSED, Input.ACCEPTED): Status.CLOSED,
    (Status.OPENING_CLOSED, Input.REFUSED): Status.DONE,
    (Status.OPEN, Input.SENT): Status.OPEN,
    (Status.OPEN, Input.DATA): Status.OPEN,
    (Status.OPEN, Input.PEER_ENDED): Status.PEER_ENDED,
    (Status.OPEN, Input.CLOSED): Status.CLOSED,
    (Status.PEER_ENDED, Input.CLOSED): Status.DONE,
    # What the peer had sent before it learned that we closed is taken and dropped.
    (Status.CLOSED, Input.DATA): Status.CLOSED,
    (Status.CLOSED, Input.PEER_ENDED): Status.DONE,
}


_INPUTS: Final[Mapping[type, Input]] = {
    Accept: Input.ACCEPTED,
    Refuse: Input.REFUSED,
    Data: Input.DATA,
    Error: Input.PEER_ENDED,
    End: Input.PEER_ENDED,
}

Arriving = Accept | Content


_OPEN: Final = Status.OPEN
_OVER_FOR_PEER: Final = frozenset({Status.PEER_ENDED, Status.DONE})
_CLOSED: Final = frozenset({Status.OPENING_CLOSED, Status.CLOSED, Status.DONE})
_NOBODY: Final = SessionId(b"")


class IllegalTransition(AssertionError):
    """The engine asked a session for something that its status cannot have."""


class SessionMachine:
    """The state of one side of one session, changed in place by one input at a time."""

    __slots__ = (
        "account",
        "app",
        "app_version",
        "gap",
        "gap_bytes",
        "in_next",
        "number",
        "out_next",
        "peer",
        "peer_sid",
        "peer_version",
        "received_bytes",
        "sid",
        "status",
        "unread",
        "unread_bytes",
    )

    def __init__(self, *, number: int, sid: SessionId, peer: PeerName) -> None:
        self.number = number
        self.sid = sid
        self.peer = peer
        self.status = Status.FRESH
        self.peer_sid: SessionId | None = None
        self.peer_version = 0
        self.app = ""
        self.app_version = ""
        self.out_next = 0
        self.in_next = 0
        self.gap: dict[int, tuple[Arriving, bytes]] = {}
        self.gap_bytes = 0
        self.unread: deque[tuple[Content, bytes]] = deque()
        self.unread_bytes = 0
        self.received_bytes = 0
        self.account: PeerAccount | None = None

    # --- what is kept for the peer ----------------------------------------------------------

    def charge(self, account: PeerAccount) -> None:
        """Count what this session keeps, now and later, as kept for the peer."""
        assert self.account is None
        self.account = account
        account.unread.add(self.unread_bytes + self.gap_bytes)
        account.received.add(self.received_bytes)

    def let_go(self) -> None:
        """Keep nothing for the peer any more: the session is forgotten."""
        self._drop_unread()
        self._drop_gap()
        if self.account is not None:
            self.account.received.add(-self.received_bytes)
            self.account = None
        self.received_bytes = 0

    # --- what the flow does -----------------------------------------------------------------

    def open(self, *, flow: str, version: int, app: str, app_version: str) -> Open:
        """Return the open message; it takes number 0."""
        self._move(Input.OPENED)
        self.out_next = 1
        return Open(self.sid, flow, version, app, app_version, b"", "", b"")

    def send(self, type_name: str, body: bytes) -> Data:
        """Return the next data message. Before acceptance its ``to`` is empty: keep it."""
        if self.status is not _OPEN:  # which stays open
            self._move(Input.SENT)
        return Data(self.peer_sid or _NOBODY, self._take_number(), type_name, body)

    def end(self) -> End:
        """Close this side because the flow finished, or closed the session."""
        self._move(Input.CLOSED)
        self._drop_unread()
        return End(self.peer_sid or _NOBODY, self._take_number())

    def fail(self, error: bytes | None, error_id: ErrorId) -> Error:
        """Close this side because the flow failed."""
        self._move(Input.CLOSED)
        self._drop_unread()
        return Error(self.peer_sid or _NOBODY, self._take_number(), error, error_id)

    def accept_opened(self, opened: Open, *, version: int, app: str, app_version: str) -> Accept:
        """Become the responder's side of ``opened``; returns the accept message, number 0."""
        assert self.status is Status.FRESH
        self.status = Status.OPEN
        self.peer_sid = opened.sid
        self.peer_version = opened.version
        self.app = opened.app
        self.app_version = opened.app_version
        self.in_next = 1
        self.out_next = 1
        return Accept(opened.sid, self.sid, version, app, app_version)

    # --- what the peer does -----------------------------------------------------------------

    def arrive(
        self, envelope: Arriving, encoded: bytes, *, is_awaited: bool = False
    ) -> list[tuple[Arriving, bytes]]:
        """Take a message; return it and those that it freed from a gap, in their order.

        Returns nothing for a duplicate, for a message beyond a gap (held), and for one that has no
        room (dropped; the peer sends it again). What is returned has moved the machine; contents
        have joined ``unread`` unless this side is closed. Raises `ProtocolViolation`, and nothing
        has moved, for a message that the peer can't send now; see `acknowledged_by`.

        ``is_awaited`` says that the flow waits for this session. Then its next message is let in
        though other sessions use up all memory, or they might wait for what this flow does next.
        """
        number = envelope.number
        if number >= self.in_next and self.status in _OVER_FOR_PEER:
            raise self._violation(envelope)
        if number > self.in_next and self.status is Status.CLOSED:
            # Nobody will read it, so order has no meaning; after a restart we may not know what
            # was dropped before.
            self.in_next = number
        if number < self.in_next:
            return []
        if number > self.in_next:
            self._hold(number, envelope, encoded)
            return []
        if not self._has_room(envelope, encoded, is_awaited=is_awaited):
            return []
        self._take(envelope, encoded)
        taken = [(envelope, encoded)]
        while (held := self.gap.pop(self.in_next, None)) is not None:
            self._add_gap_bytes(-kept_bytes(held[1]))
            try:
                self._take(*held)
            except ProtocolViolation:
                # It came early and turned out to be out of turn; what came before it is good.
                break
            taken.append(held)
        if self.is_over_for_peer and self.gap:
            self._drop_gap()
        return taken

    def acknowledged_by(self, envelope: Arriving) -> int:
        """Return up to which number the peer may forget what it sent, once ``envelope`` came.

        That is -1 if it has to keep everything. What a peer sends after its own end will be out
        of turn for ever, so it is acknowledged; else the peer would send it for ever.
        """
        if self.is_over_for_peer:
            return max(self.in_next - 1, envelope.number)
        return self.in_next - 1

    def _has_room(self, envelope: Arriving, encoded: bytes, *, is_awaited: bool) -> bool:
        if self.status in _CLOSED or isinstance(envelope, Accept):
            return True  # it is not kept
        if self.unread_bytes > self._unread_bytes_max:
            return False
        account = self.account
        if account is None:
            return True
        cost = kept_bytes(encoded)
        if not account.received.has_room(cost):
            return False
        if account.unread.has_room(cost) or (is_awaited and not self.unread):
            return True
        # What is held for a gap only saves the peer the trouble to send it again.
        self._drop_gap()
        return account.unread.has_room(cost)

    def _hold(self, number: int, envelope: Arriving, encoded: bytes) -> None:
        cost = kept_bytes(encoded)
        # What fills the gap is always let in, or it would stay full for ever.
        has_room = self.unread_bytes + self.gap_bytes + cost <= self._unread_bytes_max and (
            self.account is None or self.account.unread.has_room(cost)
        )
        if has_room and len(self.gap) < GAP_ENVELOPES_MAX and number not in self.gap:
            self.gap[number] = (envelope, encoded)
            self._add_gap_bytes(cost)

    def _drop_gap(self) -> None:
        self.gap.clear()
        self._add_gap_bytes(-self.gap_bytes)

    def _add_gap_bytes(self, amount: int) -> None:
        self.gap_bytes += amount
        if self.account is not None:
            self.account.unread.add(amount)

    @property
    def _unread_bytes_max(self) -> int:
        account = self.account
        return UNREAD_BYTES_PER_SESSION_MAX if account is None else account.unread_per_session

    def read(self) -> tuple[Content, bytes]:
        """Remove and return the oldest unread content and its bytes, which go to the journal."""
        content, encoded = self.unread.popleft()
        cost = kept_bytes(encoded)
        self.unread_bytes -= cost
        self.received_bytes += cost
        account = self.account
        if account is not None:
            account.unread.add(-cost)
            account.received.add(cost)
        return content, encoded

    @property
    def is_over_for_peer(self) -> bool:
        """Tell whether the peer will send nothing more."""
        return self.status in _OVER_FOR_PEER

    @property
    def is_closed(self) -> bool:
        """Tell whether this side will send nothing more."""
        return self.status in _CLOSED

    # --- after a restart --------------------------------------------------------------------

    def restore_opened(self) -> None:
        """Count the open message that the journal says was sent."""
        self._move(Input.OPENED)
        self.out_next = 1

    def restore_responder(
        self, *, peer_sid: SessionId, version: int, app: str, app_version: str
    ) -> None:
        """Become the responder's side of an open message that the journal has."""
        self.accept_opened(
            Open(peer_sid, "", version, app, app_version, b"", "", b""),
            version=0,
            app="",
            app_version="",
        )

    def restore_sent(self, number: int) -> None:
        """Count a message that the journal says was sent."""
        self.out_next = max(self.out_next, number + 1)

    def restore_closed(self) -> None:
        """Count the end message that the journal says was sent."""
        self._move(Input.CLOSED)
        self.out_next += 1

    def restore_accepted(self, accept: Accept) -> None:
        """Apply an acceptance that the journal has."""
        self._take(accept, b"")

    def restore_arrived(self, content: Content, encoded: bytes, *, is_read: bool) -> None:
        """Apply a content that the journal or the inbox has; in order of its number."""
        assert content.number >= self.in_next or isinstance(content, Open)
        if not isinstance(content, Open):
            self._advance(content)
            self.in_next = content.number + 1
        if is_read:
            self.received_bytes += kept_bytes(encoded)
        elif not self.is_closed:
            self.add_unread(content, encoded)

    def _take(self, envelope: Arriving, encoded: bytes) -> None:
        if self.status is not _OPEN or type(envelope) is not Data:  # which leaves it open
            self._advance(envelope)
        self.in_next += 1
        if not isinstance(envelope, Accept) and self.status not in _CLOSED:
            self.add_unread(envelope, encoded)

    def add_unread(self, content: Content, encoded: bytes) -> None:
        """Queue a content for the flow to read."""
        self.unread.append((content, encoded))
        cost = kept_bytes(encoded)
        self.unread_bytes += cost
        if self.account is not None:
            self.account.unread.add(cost)

    def _advance(self, envelope: Arriving) -> None:
        event = _INPUTS.get(type(envelope))
        status = None if event is None else TRANSITIONS.get((self.status, event))
        if status is None:
            raise self._violation(envelope)
        self.status = status
        if isinstance(envelope, Accept):
            self.peer_sid = envelope.sid
            self.peer_version = envelope.version
            self.app = envelope.app
            self.app_version = envelope.app_version

    def _violation(self, envelope: Arriving) -> ProtocolViolation:
        return ProtocolViolation(
            f"{self.peer} sent {type(envelope).__name__} while the session is {self.status.value}"
        )

    def _take_number(self) -> int:
        number = self.out_next
        self.out_next += 1
        return number

    def _drop_unread(self) -> None:
        self.unread.clear()
        if self.account is not None:
            self.account.unread.add(-self.unread_bytes)
        self.unread_bytes = 0

    def _move(self, event: Input) -> None:
        status = TRANSITIONS.get((self.status, event))
        if status is None:
            raise IllegalTransition(f"{event.value} while {self.status.value}")
        self.status = status
