"""Fold the events of a flow to its sessions, without running any of its code."""

from collections.abc import Sequence

from runtime.core.derive import session_id
from runtime.core.envelopes import Accept, Answer, decode
from runtime.core.events import (
    Accepted,
    AnyEvent,
    Closed,
    Left,
    Opened,
    Received,
    Sent,
    SessionOver,
    Started,
)
from runtime.core.session_machine import SessionMachine, Status
from runtime.errors import SessionError, UndecodableEvent


def fold_sessions(events: Sequence[AnyEvent]) -> dict[int, SessionMachine]:
    """Return the flow's sessions by number, as the journal leaves them: not those that are over.

    What arrived and was not read yet is not in the journal: the inbox has it. Raises
    `UndecodableEvent` if the events don't fit each other.
    """
    try:
        return _folded(events)
    except (SessionError, KeyError, AssertionError) as error:
        raise UndecodableEvent(f"the journal does not hold together: {error!r}") from error


def _folded(events: Sequence[AnyEvent]) -> dict[int, SessionMachine]:
    started = events[0]
    assert isinstance(started, Started)
    sessions: dict[int, SessionMachine] = {}
    opened_in: dict[str, list[int]] = {}
    if started.origin is not None:
        machine = SessionMachine(
            number=0, sid=session_id(started.seed, 0), peer=started.origin.peer
        )
        machine.restore_responder(
            peer_sid=started.origin.peer_session,
            version=started.origin.version,
            app=started.origin.app,
            app_version=started.origin.app_version,
        )
        sessions[0] = machine
    for event in events:
        match event:
            case Opened():
                machine = SessionMachine(
                    number=event.session,
                    sid=session_id(started.seed, event.session),
                    peer=event.peer,
                )
                machine.restore_opened()
                sessions[event.session] = machine
                opened_in.setdefault(event.path, []).append(event.session)
            case Accepted():
                machine = sessions[event.session]
                machine.restore_accepted(
                    Accept(
                        machine.sid,
                        event.peer_session,
                        event.version,
                        event.app,
                        event.app_version,
                    )
                )
            case Sent():
                sessions[event.session].restore_sent(event.number)
            case Received():
                _restore_received(sessions[event.session], event)
            case Closed(was_opening=False):
                sessions[event.session].restore_closed()
            case Left():
                for number in opened_in.pop(event.path, []):
                    if number in sessions and must_end(sessions[number]):
                        sessions[number].restore_closed()
            case SessionOver():
                _check_over(sessions.pop(event.session), event)
            case _:
                pass
    return sessions


def must_end(machine: SessionMachine) -> bool:
    """Tell whether the end of its flow has to be told to the peer of this session."""
    return machine.status in (Status.OPENING, Status.OPEN) or (
        machine.status is Status.PEER_ENDED and machine.peer_sid is not None
    )


def _restore_received(machine: SessionMachine, event: Received) -> None:
    content = decode(event.envelope)
    if isinstance(content, Accept | Answer):
        raise UndecodableEvent(f"event of session {event.session} holds no content")
    machine.restore_arrived(content, event.envelope, is_read=True)


def _check_over(machine: SessionMachine, event: SessionOver) -> None:
    if not machine.is_closed or machine.peer_sid is None:
        raise UndecodableEvent(f"session {event.session} is over, and was not closed, or accepted")
