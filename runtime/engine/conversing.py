"""The session operations of a flow: what each use does, replayed and new."""

from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from runtime.codec import Packed, encode, fingerprint
from runtime.core import envelopes
from runtime.core.envelopes import Content, Data, End, Error, Open, Refuse
from runtime.core.events import Accepted, Closed, Opened, PeerRead, Received, Sent, TimedOut
from runtime.core.replay import must_end
from runtime.core.session_machine import SessionMachine, Status
from runtime.driver import PeerInfo
from runtime.engine.inbox import remove_unread
from runtime.engine.marks import message_differs, message_to_record
from runtime.engine.session_views import SessionView, acceptance_of, close_view
from runtime.engine.timing import raise_recorded_timeout, raise_timeout, wait_or_time_out
from runtime.engine.waits import ROOM
from runtime.error_codec import decode_error, pack_error
from runtime.errors import (
    FlowException,
    SessionClosed,
    SessionNotOpen,
    UnexpectedFlowEnd,
    UnknownParty,
    peer_of,
)
from runtime.ids import ErrorId, PeerName, SessionId
from runtime.party import AnonymousParty, Party

if TYPE_CHECKING:
    from runtime.engine.flow_run import FlowRun


ACCEPTANCE: Final = "acceptance"
_OPENING: Final = Status.OPENING
_ENDINGS: Final = (Error, End, Refuse)
# A flow may have very many sessions. It serves the first, and the last ones are likely to live.
BESIDE_LOOKED_AT_MAX: Final = 16


# --- opening ------------------------------------------------------------------------------------


def initiate(run: "FlowRun", party: Party | AnonymousParty) -> tuple[int, SessionView]:
    """Return the number of a fresh session with ``party``, and the view of it."""
    found = run.host.resolve(party)
    if found is None:
        raise UnknownParty(
            f"could not resolve {party}: the network directory of this node does not list it"
        )
    frame = run.frame
    assert frame is not None
    number = run.session_next
    run.session_next += 1
    view = run.views[number] = SessionView(
        peer=found.name,
        flow=frame.flow,
        version=frame.version,
        app=frame.app,
        beside=frame.sessions,
    )
    frame.sessions[number] = None
    return number, view


def counterparty(run: "FlowRun", number: int) -> Party:
    """Return the party at the other end."""
    peer = run.views[number].peer
    found = run.host.directory.party(peer)
    if found is None:
        raise UnknownParty(f"the network directory of this node does not list {peer} any more")
    return found


def where(run: "FlowRun", number: int) -> str:
    """Return words that name the session and the position in it, the same at every replay."""
    try:
        view = run.views[number]
    except KeyError:
        return f"session {number}"
    if not view.is_used:
        return f"session {number} with {view.peer}, not used yet"
    return f"session {number} with {view.peer}, message {view.taken}"


def _use(run: "FlowRun", number: int, payload: Packed | None) -> bool:
    """Open a fresh session; True if ``payload`` went along in the open message."""
    view = run.views[number]
    if view.is_used:
        return False
    view.is_used = True
    recorded = run.machine.opened(path=run.path, session=number, peer=view.peer, flow=view.flow)
    if recorded is not None:
        return False
    run.append(Opened(run.now(), run.path, number, view.peer, view.flow, view.version))
    beside = _session_beside(run, view.peer) if run.sessions else None
    machine = run.new_session(number, view.peer)
    opened = machine.open(
        flow=view.flow,
        version=view.version,
        app=view.app,
        app_version=run.manager.app_version(view.app),
    )
    if payload is not None:
        opened.kind, opened.body = payload.type, payload.body
    if beside is not None:
        opened.beside = beside
    run.manager.session_opened(run, machine)
    run.manager.outbox.add(machine.sid, machine.peer, opened, is_blocked=False)
    return payload is not None


def _session_beside(run: "FlowRun", peer: PeerName) -> SessionId | None:
    """Return a session that the flow has with ``peer`` already, by the id that its opener gave it.

    It tells a node that drains that its own flows may wait for this one.
    """
    sessions = run.sessions.values()
    for machine in chain(islice(sessions, 1), islice(reversed(sessions), BESIDE_LOOKED_AT_MAX)):
        if machine.peer == peer and not machine.is_over_for_peer:
            return machine.peer_sid if machine.number == 0 else machine.sid
    return None


def _check_usable(run: "FlowRun", number: int) -> None:
    """Raise how the session ended, if the flow has seen that, or has closed it itself."""
    run.end_failed_subflows()
    view = run.views[number]
    if view.is_closed:
        raise SessionClosed(f"this flow has closed {where(run, number)}")
    if view.over is not None:
        raise ending(view.peer, view.over)


# --- send ---------------------------------------------------------------------------------------


def send(run: "FlowRun", messages: Sequence[tuple[int, Packed]]) -> None:
    """Hand over messages; all or none."""
    run.give_way()
    for number, _ in messages:
        _check_usable(run, number)
    if run.machine.is_replaying:
        numbers = [number for number, _ in messages]
        recorded = run.machine.refused_send(path=run.path, sessions=numbers)
        if recorded is not None:
            raise _seen(run, recorded.session, _content(recorded.envelope))
    if run.deadlines and run.machine.times_out(path=run.path, on=ROOM):
        raise_timeout(run, ROOM)
    while not run.machine.is_replaying:
        full = _without_room(run, messages)
        if full is None:
            break
        _await_room(run, full)
    for number, packed in messages:
        _send(run, number, packed)


def _send(run: "FlowRun", number: int, packed: Packed) -> None:
    went_along = not run.views[number].is_used and _use(run, number, packed)
    mark = fingerprint(packed.body)
    path = run.path
    if run.machine.is_replaying:
        differs = message_differs(run, packed, mark)
        run.machine.sent(
            path=path, session=number, type_name=packed.type, content=mark, differs=differs
        )
        return
    mark = message_to_record(run, packed, mark)
    machine = run.sessions[number]
    if went_along:
        run.append(Sent(run.now(), path, number, 0, packed.type, mark))
        return
    is_blocked = machine.status is _OPENING
    data = machine.send(packed.type, packed.body)
    run.append(Sent(run.now(), path, number, data.number, packed.type, mark))
    run.manager.outbox.add(machine.sid, machine.peer, data, is_blocked=is_blocked)


def _without_room(run: "FlowRun", messages: Sequence[tuple[int, Packed]]) -> int | None:
    """Return a session that may not have more now, it or all that its peer has; None if all may.

    Raises how one ended, if one did.
    """
    has_room = run.manager.outbox.has_room
    for number, _ in messages:
        machine = run.sessions.get(number)
        if machine is None:
            if not has_room(run.views[number].peer):
                return number
        elif machine.is_over_for_peer:
            raise _take_ending(run, number)
        elif not has_room(machine.peer, machine.sid):
            return number
    return None


def _await_room(run: "FlowRun", number: int) -> None:
    machine, peer, outbox = run.sessions.get(number), run.views[number].peer, run.manager.outbox
    # Once woken it asks again, so a call too many, after the flow has gone on, does no harm.
    outbox.when_room(peer, None if machine is None else machine.sid, run.key, run.make_ready)
    try:
        wait_or_time_out(run, ROOM, (number,))
    finally:
        outbox.queue.leave(peer, run.key)


# --- receive ------------------------------------------------------------------------------------


def receive(run: "FlowRun", numbers: Sequence[int], asked: str) -> list[Packed]:
    """Take one message of each session, when all have one."""
    run.give_way()
    if len(numbers) == 1:
        return [_receive_one(run, numbers[0], asked)]
    for number in numbers:
        _check_usable(run, number)
    for number in numbers:
        _use(run, number, None)
    recorded = _receive_recorded(run, numbers, asked)
    if recorded is not None:
        return recorded
    while True:
        for number in numbers:
            if _head_is_ending(run.sessions[number]):
                raise _take_ending(run, number)
        if all(run.sessions[number].unread for number in numbers):
            return [_payload(_take(run, number)) for number in numbers]
        wait_or_time_out(run, asked, tuple(numbers))


def _receive_one(run: "FlowRun", number: int, asked: str) -> Packed:
    _check_usable(run, number)
    if not run.views[number].is_used:
        _use(run, number, None)
    if run.machine.is_replaying:
        recorded = _receive_recorded(run, (number,), asked)
        if recorded is not None:
            return recorded[0]
    machine = run.sessions[number]
    while not machine.unread:
        wait_or_time_out(run, asked, (number,))
    if _head_is_ending(machine):
        raise _take_ending(run, number)
    return _payload(_take(run, number))


def _receive_recorded(run: "FlowRun", numbers: Sequence[int], asked: str) -> list[Packed] | None:
    taken: list[Packed] = []
    for number in numbers:
        event = run.machine.received(
            path=run.path, sessions=(number,) if taken else numbers, asked=asked
        )
        if event is None:
            assert not taken, "messages taken together are committed together"
            return None
        if isinstance(event, TimedOut):
            raise_recorded_timeout(run, asked)
        content = _content(event.envelope)
        if isinstance(content, Error | End | Refuse):
            raise _seen(run, event.session, content)
        if event.session != number:
            raise run.machine.mismatch(path=run.path, asked=f"{asked} in session {number}")
        run.views[number].taken = event.number
        taken.append(_payload(content))
    return taken


def _head_is_ending(machine: SessionMachine) -> bool:
    return bool(machine.unread) and isinstance(machine.unread[0][0], _ENDINGS)


def _take(run: "FlowRun", number: int) -> Content:
    machine = run.sessions[number]
    content, encoded = machine.read()
    position = content.number
    run.views[number].taken = position
    run.append(Received(run.now(), run.path, number, position, encoded))
    remove_unread(run.commits, machine, position)
    return content


def _take_ending(run: "FlowRun", number: int) -> BaseException:
    """Drop what is unread before the end of a session that is over, and return how to raise it."""
    machine = run.sessions[number]
    while len(machine.unread) > 1:
        content, _ = machine.read()
        remove_unread(run.commits, machine, content.number)
    return _seen(run, number, _take(run, number))


def _seen(run: "FlowRun", number: int, content: Content) -> BaseException:
    view = run.views[number]
    view.over = content
    return ending(view.peer, content)


def ending(peer: PeerName, content: Content) -> BaseException:
    """Return the exception that tells how a session ended."""
    match content:
        case Error(error=None):
            return UnexpectedFlowEnd(peer, "the flow of the peer failed", content.error_id)
        case Error():
            assert content.error is not None
            return decode_error(content.error, peer=peer, error_id=content.error_id)
        case Refuse():
            return UnexpectedFlowEnd(peer, f"refused: {content.reason}", content.error_id)
        case _:
            return UnexpectedFlowEnd(peer, "the flow of the peer has ended")


def _payload(content: Content) -> Packed:
    assert isinstance(content, Open | Data)
    return Packed(content.kind, content.body)


def _content(encoded: bytes) -> Content:
    envelope = envelopes.decode(encoded)
    assert not isinstance(envelope, envelopes.Answer | envelopes.Accept)
    return envelope


# --- peer, close, end -----------------------------------------------------------------------------


def peer_info(run: "FlowRun", number: int) -> PeerInfo:
    """Wait for the peer's acceptance; tell its version and app."""
    run.end_failed_subflows()
    view = run.views[number]
    if isinstance(view.over, Refuse):
        raise ending(view.peer, view.over)
    _use(run, number, None)
    event = run.machine.peer_read(path=run.path, session=number)
    if isinstance(event, TimedOut):
        raise_recorded_timeout(run, "the peer's version")
    if isinstance(event, Received):
        raise _seen(run, number, _content(event.envelope))
    machine = run.sessions.get(number)
    if event is None:
        while machine is not None and machine.peer_sid is None:
            if _head_is_ending(machine):
                raise _take_ending(run, number)
            wait_or_time_out(run, ACCEPTANCE, (number,))
        run.append(PeerRead(run.now(), run.path, number))
    told = acceptance_of(run, number)
    return PeerInfo(
        party=counterparty(run, number),
        flow_version=told.version if isinstance(told, Accepted) else told.peer_version,
        app=told.app,
        app_version=told.app_version,
    )


def close(run: "FlowRun", number: int) -> None:
    """End the session from our side."""
    run.end_failed_subflows()
    view = run.views[number]
    if not view.is_used:
        raise SessionNotOpen(f"{where(run, number)}: nothing to close")
    if view.is_closed or view.over is not None:
        return
    event = run.machine.closed(path=run.path, session=number)
    if event is None:
        machine = run.sessions[number]
        event = Closed(run.now(), run.path, number, machine.status is Status.OPENING)
        run.append(event)
        if not event.was_opening:
            end_sessions(run, [number], None)
    if event.was_opening:
        raise SessionNotOpen(f"the peer has not accepted {where(run, number)} yet")
    close_view(run, number)


def settle(run: "FlowRun", sessions: Iterable[int]) -> None:
    """Wait until no session is opening; raise a refusal that nobody has seen yet.

    At the end of a sub-flow inside a `timeout`, its deadline bounds this wait too.
    """
    for number in list(sessions):
        view = run.views[number]
        if number == 0 or not view.is_used or view.is_closed or view.over is not None:
            continue
        recorded = run.machine.refused(path=run.path, session=number)
        if recorded is not None:
            raise _seen(run, number, _content(recorded.envelope))
        if run.deadlines and run.machine.times_out(path=run.path):
            raise_timeout(run, ACCEPTANCE)
        machine = run.sessions.get(number)
        if machine is None:
            continue  # it is over, as the replay will find next
        while not run.machine.is_replaying and machine.status is Status.OPENING:
            wait_or_time_out(run, ACCEPTANCE, (number,))
        head = machine.unread[0][0] if machine.unread else None
        if not run.machine.is_replaying and isinstance(head, Refuse):
            raise _take_ending(run, number)


def end_sessions(
    run: "FlowRun",
    numbers: Sequence[int],
    error: BaseException | None,
    error_id: ErrorId | None = None,
) -> None:
    """Tell the peers of these sessions that our side is over, in the open batch."""
    for number in numbers:
        machine = run.sessions.get(number)
        if machine is None or machine.is_closed or not must_end(machine):
            continue
        for content, _ in machine.unread:
            remove_unread(run.commits, machine, content.number)
        is_blocked = machine.status is Status.OPENING
        envelope: Error | End
        if error is None:
            envelope = machine.end()
        else:
            told = error if isinstance(error, FlowException) and peer_of(error) is None else None
            encoded = None if told is None else encode(pack_error(told))
            envelope = machine.fail(
                encoded, error_id or run.manager.hospital.error_id_of(run, error)
            )
        run.manager.outbox.add(machine.sid, machine.peer, envelope, is_blocked=is_blocked)
