"""Bring back all flows, sessions and messages of a node from its store, before anything runs.

No code of a flow runs here: journals are folded to sessions, so that messages for a flow that can't
run (held, missing, diverged) are still taken and kept.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from runtime.core import envelopes
from runtime.core.events import JOURNAL, AnyEvent, SessionOver, Started, decode
from runtime.core.flow_machine import FlowMachine, Input, Status
from runtime.core.replay import fold_sessions
from runtime.core.session_machine import SessionMachine
from runtime.engine.error_ids import remember_id, words_of
from runtime.engine.flow_ids import flow_id_at
from runtime.engine.flow_run import FlowRun
from runtime.engine.inbox import INBOX, session_of
from runtime.engine.outbox import OUTBOX
from runtime.engine.results import HELD, Held, held_decoder
from runtime.errors import BadMessage, FlowFailed, UndecodableEvent, UnknownFlow, UnreadableRow
from runtime.ids import SessionId
from runtime.ports import NUMBER_BYTES

if TYPE_CHECKING:
    from runtime.engine.manager import FlowManager

log = logging.getLogger("sennit.recovery")

_FLOW_KEY_BYTES: Final = 16
_TIME_BYTES: Final = 6
_NAMES_SHOWN: Final = 10

# In place of a first event that this code can't read.
UNREADABLE: Final = Started(0, "", "unreadable", 0, b"", b"", "", None, None)


def recover(manager: "FlowManager") -> int:
    """Rebuild everything; flows that may run are made ready. Returns how many flows there are."""
    for key, records in _journals(manager):
        _recover_flow(manager, key, records)
    _tell_of_missing(manager)
    _recover_inbox(manager)
    manager.outbox.restore(
        manager.commits.scan(OUTBOX, b"", None),
        lambda sid: _peer_session(manager, sid),
    )
    manager.delivery.tombstones.recover()
    return len(manager.runs)


def _journals(manager: "FlowManager") -> Iterator[tuple[bytes, list[bytes]]]:
    """Yield each flow's key and the records of its journal, in order."""
    key = b""
    records: list[bytes] = []
    for row_key, value in manager.commits.scan(JOURNAL, b"", None):
        if len(row_key) != _FLOW_KEY_BYTES + NUMBER_BYTES:
            manager.commits.unreadable.set_aside(JOURNAL, row_key, "its key is no event's")
            continue
        if row_key[:_FLOW_KEY_BYTES] != key:
            if records:
                yield key, records
            key, records = row_key[:_FLOW_KEY_BYTES], []
        records.append(value)
    if records:
        yield key, records


def _recover_flow(manager: "FlowManager", key: bytes, records: list[bytes]) -> None:
    trouble: Exception | None = None
    events: list[AnyEvent] = []
    sessions: dict[int, SessionMachine] = {}
    try:
        for record in records:
            events.append(decode(record))
        sessions = fold_sessions(_checked(events))
    except UndecodableEvent as error:
        trouble = error
    # What was recorded may make no sense in any way.
    except Exception as error:
        trouble = UndecodableEvent(f"the journal makes no sense: {words_of(error)}")
    is_partly_read = trouble is not None
    if is_partly_read and not (events and isinstance(events[0], Started)):
        events = [
            msgspec.structs.replace(UNREADABLE, time=int.from_bytes(key[:_TIME_BYTES], "big"))
        ]
    started = events[0]
    assert isinstance(started, Started)
    definition = manager.definition_of(started)
    if trouble is None and definition is None:
        name = started.flow if started.origin is None else f"the responder to {started.origin.flow}"
        trouble = UnknownFlow(f"{name} is not installed on this node; install its app, then retry")
    run = FlowRun(manager, flow_id_at(key), key, definition, FlowMachine(events), sessions)
    run.machine.index_next = len(records)
    if is_partly_read:
        manager.partly_read.add(run.flow_id)
    manager.runs.add(run)
    for machine in run.sessions.values():
        manager.delivery.add(run, machine)
    _count_sessions_over(manager, run, events)
    _settle_status(manager, run, trouble)


def _count_sessions_over(manager: "FlowManager", run: FlowRun, events: Sequence[AnyEvent]) -> None:
    manager.delivery.flow_ended(run.key)
    for event in events:
        if isinstance(event, SessionOver):
            manager.delivery.keep_counting(run.key, event.peer, event.received)


def _checked(events: list[AnyEvent]) -> list[AnyEvent]:
    if not isinstance(events[0], Started):
        raise UndecodableEvent(f"the journal begins with {type(events[0]).__name__}")
    return events


def reread(manager: "FlowManager", run: FlowRun, events: Sequence[AnyEvent]) -> None:
    """Bring back the sessions of a flow whose journal could not be read at the start, but now."""
    started = events[0]
    assert isinstance(started, Started)
    manager.partly_read.discard(run.flow_id)
    run.sessions = fold_sessions(events)
    _count_sessions_over(manager, run, events)
    for machine in run.sessions.values():
        manager.delivery.add(run, machine)
        for key, encoded in list(
            manager.commits.scan(INBOX, machine.sid, machine.sid + b"\xff" * 5)
        ):
            _restore_unread(manager, machine, key, encoded)
        if machine.peer_sid is not None:
            manager.outbox.unblock(machine.sid, machine.peer_sid)


def _settle_status(manager: "FlowManager", run: FlowRun, trouble: Exception | None) -> None:
    row = manager.commits.get(HELD, run.key)
    held: Held | None = None
    if row is not None:
        try:
            held = manager.commits.unreadable.read(HELD, run.key, row, held_decoder.decode)
        except UnreadableRow as error:
            if trouble is None:
                manager.hospital.hold(run, error, "nobody knows why")
                return
    if trouble is not None:
        if held is not None and held.error == words_of(trouble):
            # It is the same trouble as before, and has its id.
            remember_id(trouble, run.flow_id, held.error_id)
        if run.flow_id in manager.partly_read:
            manager.hospital.hold(run, trouble, "undecodable event")
        else:
            manager.hospital.hold(run, trouble, "not installed here", is_logged=False)
    elif held is not None and not held.is_by_code:
        name, _, message = held.error.partition(": ")
        run.error = FlowFailed(held.error_id, name, message)
        run.error_id, run.hold_reason = held.error_id, held.reason
        run.machine.move(Input.HELD)
        manager.runs.note_held(run)
    else:
        if held is not None:
            manager.commits.delete(HELD, run.key)
        run.start_soon()


def _tell_of_missing(manager: "FlowManager") -> None:
    """Say in one line which flows are held because they are not installed, however many."""
    missing = Counter(
        run.info.name for run in manager.runs.held.values() if isinstance(run.error, UnknownFlow)
    )
    if not missing:
        return
    shown = [f"{name} ({count:,})" for name, count in missing.most_common(_NAMES_SHOWN)]
    if len(missing) > len(shown):
        shown.append(f"and {len(missing) - len(shown):,} more")
    log.error(
        "%s flows are held, because this node has no app with them: %s. Install it and start the "
        "node again, and they go on; see: sennit flow list --status held",
        f"{missing.total():,}",
        ", ".join(shown),
        extra={"flows": missing.total()},
    )


def _recover_inbox(manager: "FlowManager") -> None:
    """Hand back what had arrived and was not read. Rows are in order of session and number."""
    may_be_orphans = not manager.partly_read
    for key, encoded in list(manager.commits.scan(INBOX, b"", None)):
        found = manager.delivery.sessions.get(session_of(key))
        if found is not None:
            try:
                _restore_unread(manager, found[1], key, encoded)
            except UnreadableRow as error:
                _hold_unread(manager, found[0], error)
        elif may_be_orphans:
            manager.commits.delete(INBOX, key)


def _restore_unread(
    manager: "FlowManager", machine: SessionMachine, key: bytes, encoded: bytes
) -> None:
    def restore(value: bytes) -> None:
        content = envelopes.decode(value)
        if isinstance(content, envelopes.Accept | envelopes.Answer):
            raise BadMessage(f"{type(content).__name__} is not kept unread")
        machine.restore_arrived(content, value, is_read=False)

    manager.commits.unreadable.read(INBOX, key, encoded, restore)


def _hold_unread(manager: "FlowManager", run: FlowRun, error: UnreadableRow) -> None:
    """Hold a flow that has a message which can't be read: without it, it would go wrong."""
    if run.machine.status is not Status.HELD:
        manager.hospital.hold(run, error, "a message can't be read")
    manager.unread_broken[run.flow_id] = error


def _peer_session(manager: "FlowManager", sid: SessionId) -> SessionId | None:
    found = manager.delivery.sessions.get(sid)
    if found is not None:
        return found[1].peer_sid
    return manager.delivery.accepted_after_end(sid)
