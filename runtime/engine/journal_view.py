"""A flow's journal as rows for people: time, kind, place, peer, size and value of every event."""

from typing import Final

import msgspec

from runtime.core import envelopes
from runtime.core.events import (
    JOURNAL,
    AnyEvent,
    Opened,
    Received,
    Sent,
    SessionOver,
    Started,
    Stepped,
    decode,
    describe,
)
from runtime.engine.commits import Commits
from runtime.engine.flow_ids import journal_end
from runtime.engine.flow_run import FlowRun
from runtime.errors import UndecodableEvent
from runtime.operations import JournalRow

VALUE_CHARACTERS_MAX: Final = 200


def journal_rows(commits: Commits, run: FlowRun, start: int, limit: int) -> list[JournalRow]:
    """Return up to ``limit`` events of a flow from index ``start`` on."""
    rows: list[JournalRow] = []
    first = run.key + start.to_bytes(4, "big")
    for key, record in commits.scan(JOURNAL, first, journal_end(run.key)):
        if len(rows) >= limit:
            break
        rows.append(_row(run, int.from_bytes(key[16:], "big"), record))
    return rows


def _row(run: FlowRun, index: int, record: bytes) -> JournalRow:
    try:
        event = decode(record)
    except UndecodableEvent as error:
        return JournalRow(index, None, "unreadable", size=len(record), value=str(error))
    return JournalRow(
        index,
        event.time,
        type(event).__name__,
        place=event.path,
        peer=_peer(run, event),
        size=len(record),
        value=shortened(_value(event)),
    )


def _peer(run: FlowRun, event: AnyEvent) -> str:
    if isinstance(event, Opened | SessionOver):
        return event.peer
    if isinstance(event, Sent | Received) and event.session in run.sessions:
        return run.sessions[event.session].peer
    if isinstance(event, Started) and event.origin is not None:
        return event.origin.peer
    return ""


def _value(event: AnyEvent) -> str:
    match event:
        case Stepped():
            outcome = "failed: " if event.failed else ""
            return f"{describe(event)} -> {outcome}{readable(event.value)}"
        case Started():
            return f"{event.flow} version {event.version}, {readable(event.arguments)}"
        case Received():
            return _received(event)
        case _:
            return describe(event)


def _received(event: Received) -> str:
    content = envelopes.decode(event.envelope)
    match content:
        case envelopes.Data() | envelopes.Open():
            return f"{content.kind} {readable(content.body)}"
        case envelopes.Error():
            return f"the peer's flow failed, error id {content.error_id}"
        case envelopes.Refuse():
            return f"refused: {content.reason}"
        case _:
            return "the peer's flow ended"


def readable(body: bytes) -> str:
    """Return an encoded value as Python shows it without its class."""
    if not body:
        return ""
    try:
        return repr(msgspec.msgpack.decode(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body.hex()


def shortened(text: str) -> str:
    """Return the beginning of a long text."""
    return text if len(text) <= VALUE_CHARACTERS_MAX else f"{text[:VALUE_CHARACTERS_MAX]}..."
