"""Sessions folded from a journal are those that the journal was written for."""

from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.derive import session_id
from runtime.core.envelopes import (
    Accept,
    Ack,
    Content,
    Data,
    End,
    Error,
    Open,
    Refuse,
    encode,
)
from runtime.core.events import (
    Accepted,
    AnyEvent,
    Closed,
    Entered,
    Left,
    Opened,
    Origin,
    Received,
    Sent,
    SessionOver,
    Slept,
    Started,
)
from runtime.core.replay import fold_sessions, must_end
from runtime.core.session_machine import Arriving, SessionMachine, Status
from runtime.errors import UndecodableEvent
from tests.runtime.core.samples import BOB, ERROR_ID, PEERS
from tests.runtime.core.session_inputs import in_status

SEED: Final = b"s" * 16
STARTED: Final = Started(0, "", "sell", 1, b"", SEED, "anna", None, None)
ORIGIN: Final = Origin(BOB, PEERS, "sell", 3, "trade", "1.2")
RESPONDER: Final = Started(0, "", "buy", 1, b"", SEED, BOB, None, ORIGIN)
OPENED: Final = Open(PEERS, "sell", 3, "trade", "1.2", b"", "str", b"\xa1x")


class Side:
    """One side of a conversation, which keeps its journal and inbox as the engine does."""

    def __init__(self, *, is_responder: bool) -> None:
        number = 0 if is_responder else 1
        self.machine = SessionMachine(number=number, sid=session_id(SEED, number), peer=BOB)
        self.inbox: dict[int, bytes] = {}
        self.journal: list[AnyEvent] = [RESPONDER if is_responder else STARTED]
        self.peers_next = 0
        self.peer_is_over = False
        self.has_dropped = False
        if is_responder:
            self.machine.accept_opened(OPENED, version=3, app="trade", app_version="1.3")
            self.peers_next = 1
            self.inbox[0] = encode(OPENED)
            self.machine.add_unread(OPENED, encode(OPENED))

    # Each returns without effect where it is impossible.

    def use(self) -> None:
        if self.machine.status is Status.FRESH:
            self.journal.append(Opened(0, "", 1, BOB, "sell", 3))
            self.machine.open(flow="sell", version=3, app="trade", app_version="1.2")

    def send(self) -> None:
        if self.machine.status in (Status.OPENING, Status.OPEN):
            data = self.machine.send("str", b"\xa1x")
            self.journal.append(Sent(0, "", self.machine.number, data.number, "str", b"\xa1x"))

    def read(self) -> None:
        if self.machine.unread:
            content, encoded = self.machine.read()
            number = content.number
            del self.inbox[number]
            self.journal.append(Received(0, "", self.machine.number, number, encoded))

    def close(self) -> None:
        if must_end(self.machine) and self.machine.status is not Status.OPENING:
            self.journal.append(Closed(0, "", self.machine.number))
            self.has_dropped = bool(self.inbox)
            self.inbox.clear()
            self.machine.end()

    def peer_accepts(self) -> None:
        if self.machine.status is not Status.FRESH and self.peers_next == 0:
            self._arrive(Accept(self.machine.sid, PEERS, 3, "trade", "1.3"))

    def peer_refuses(self) -> None:
        if self.machine.status is not Status.FRESH and self.peers_next == 0:
            self.peer_is_over = True
            self._arrive(Refuse(self.machine.sid, PEERS, "no", ERROR_ID))

    def peer_sends(self) -> None:
        if self.peers_next > 0 and not self.peer_is_over:
            self._arrive(Data(self.machine.sid, self.peers_next, "str", b"\xa1x"))

    def peer_ends(self) -> None:
        if self.peers_next > 0 and not self.peer_is_over:
            self.peer_is_over = True
            self._arrive(End(self.machine.sid, self.peers_next))

    def peer_fails(self) -> None:
        if self.peers_next > 0 and not self.peer_is_over:
            self.peer_is_over = True
            self._arrive(Error(self.machine.sid, self.peers_next, None, ERROR_ID))

    def _arrive(self, envelope: Arriving) -> None:
        self.peers_next += 1
        for taken, encoded in self.machine.arrive(envelope, encode(envelope)):
            if isinstance(taken, Accept):
                self.journal.append(
                    Accepted(0, "", self.machine.number, taken.sid, 3, "trade", "1.3")
                )
            elif self.machine.is_closed:
                self.has_dropped = True
            else:
                self.inbox[taken.number] = encoded

    def restarted(self) -> SessionMachine | None:
        """Return the session as a restart would bring it back."""
        machine = fold_sessions(self.journal).get(self.machine.number)
        if machine is not None:
            for number in sorted(self.inbox):
                machine.restore_arrived(_content(self, number), self.inbox[number], is_read=False)
        return machine


def _content(side: Side, number: int) -> Content:
    return next(content for content, _ in side.machine.unread if content.number == number)


Action = Callable[[Side], None]
ACTIONS: Final[tuple[Action, ...]] = (
    Side.use,
    Side.send,
    Side.send,
    Side.read,
    Side.read,
    Side.close,
    Side.peer_accepts,
    Side.peer_accepts,
    Side.peer_refuses,
    Side.peer_sends,
    Side.peer_sends,
    Side.peer_ends,
    Side.peer_fails,
)


def state(machine: SessionMachine, *, with_in_next: bool) -> tuple[object, ...]:
    return (
        machine.number,
        machine.sid,
        machine.status,
        machine.peer_sid,
        machine.peer_version,
        machine.app,
        machine.app_version,
        machine.out_next,
        machine.in_next if with_in_next else None,
        list(machine.unread),
        machine.unread_bytes,
    )


@given(st.booleans(), st.lists(st.sampled_from(ACTIONS), max_size=30))
def test_after_any_prefix_of_a_conversation_a_restart_brings_the_session_back(
    is_responder: bool, actions: list[Action]
) -> None:
    # Breaks when the journal and the inbox together lack something that the machine knows.
    side = Side(is_responder=is_responder)
    for action in [Side.use, *actions]:
        action(side)

        restarted = side.restarted()

        if restarted is None:
            assert side.machine.status is Status.FRESH
        elif side.has_dropped:
            # What was dropped at our end is gone, so the peer's end may be unknown; it is
            # acknowledged when it is sent again.
            assert restarted.is_closed
            assert restarted.out_next == side.machine.out_next
        else:
            assert state(restarted, with_in_next=True) == state(side.machine, with_in_next=True)


# --- events that concern more than one session ---------------------------------------------------


def test_leaving_a_sub_flow_closes_its_sessions_and_no_other() -> None:
    events: list[AnyEvent] = [
        STARTED,
        Opened(0, "", 1, BOB, "sell", 1),
        Entered(0, "", "pay", 1, b""),
        Opened(0, "1/", 2, BOB, "pay", 1),
        Left(0, "1/", "pay", False),
    ]

    sessions = fold_sessions(events)

    assert sessions[1].status is Status.OPENING
    assert sessions[2].status is Status.OPENING_CLOSED
    assert sessions[2].out_next == 2


def test_leaving_a_sub_flow_leaves_alone_what_is_closed_or_was_refused() -> None:
    refusal = encode(Refuse(session_id(SEED, 1), PEERS, "no", ERROR_ID))
    events: list[AnyEvent] = [
        STARTED,
        Opened(0, "0/", 1, BOB, "pay", 1),
        Received(0, "0/", 1, 0, refusal),
        Left(0, "0/", "pay", True),
    ]

    assert fold_sessions(events)[1].status is Status.PEER_ENDED


def test_events_without_a_session_change_none() -> None:
    assert fold_sessions([STARTED, Slept(0, "", 5)]) == {}


def test_closing_that_was_refused_closes_nothing() -> None:
    events: list[AnyEvent] = [STARTED, Opened(0, "", 1, BOB, "sell", 1), Closed(0, "", 1, True)]

    assert fold_sessions(events)[1].status is Status.OPENING


@pytest.mark.parametrize("status", Status)
def test_a_peer_is_told_of_our_end_as_long_as_it_may_wait_for_us(status: Status) -> None:
    # Breaks when the peer of an ended flow would wait for ever.
    told = {Status.OPENING, Status.OPEN, Status.PEER_ENDED}

    assert must_end(in_status(status)) == (status in told)


@pytest.mark.parametrize(
    "event",
    [
        Sent(0, "", 9, 1, "str", b""),
        Received(0, "", 1, 1, b"no envelope"),
        Received(0, "", 1, 1, encode(Ack(PEERS, 1))),
        Accepted(0, "", 1, PEERS, 1, "", ""),
        Opened(0, "", 1, BOB, "sell", 1),
    ],
    ids=["unknown session", "no envelope", "no content", "accepted twice", "opened twice"],
)
def test_events_that_do_not_fit_each_other_are_undecodable(event: AnyEvent) -> None:
    # Breaks when a damaged journal keeps a node from starting.
    opened: list[AnyEvent] = [
        STARTED,
        Opened(0, "", 1, BOB, "sell", 1),
        Accepted(0, "", 1, PEERS, 1, "", ""),
    ]
    if isinstance(event, Opened):
        opened.append(Sent(0, "", 1, 1, "str", b""))
        event = Closed(0, "", 1)
        opened.append(event)

    with pytest.raises(UndecodableEvent):
        fold_sessions([*opened, event])


OPENED_1: Final = Opened(0, "", 1, BOB, "sell", 3)
ACCEPTED_1: Final = Accepted(0, "", 1, PEERS, 3, "trade", "1.2")
CLOSED_1: Final = Closed(0, "", 1)
OVER_1: Final = SessionOver(0, "", 1, BOB, 0)


def test_a_session_that_is_over_at_both_ends_is_folded_to_nothing() -> None:
    opened_2 = Opened(0, "0/", 2, BOB, "sell", 3)

    sessions = fold_sessions([STARTED, OPENED_1, ACCEPTED_1, opened_2, CLOSED_1, OVER_1])

    assert list(sessions) == [2]


def test_a_session_may_be_over_before_its_sub_flow_has_left() -> None:
    opened, left = Opened(0, "0/", 1, BOB, "sell", 3), Left(0, "0/", "sell", False)

    sessions = fold_sessions([STARTED, opened, ACCEPTED_1, CLOSED_1, OVER_1, left])

    assert sessions == {}


@pytest.mark.parametrize(
    "events",
    [
        (OVER_1,),
        (OPENED_1, OVER_1),
        (OPENED_1, ACCEPTED_1, OVER_1),
        (OPENED_1, Left(0, "", "sell", True), OVER_1),
        (OPENED_1, ACCEPTED_1, CLOSED_1, OVER_1, OVER_1),
    ],
)
def test_a_session_that_was_not_closed_and_accepted_is_not_over(
    events: tuple[AnyEvent, ...],
) -> None:
    with pytest.raises(UndecodableEvent):
        fold_sessions([STARTED, *events])
