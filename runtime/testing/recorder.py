"""What a simulated history leaves behind for its checkers: all that was durable, all that was sent.

It also checks on the way what can't be seen at the end any more: that nothing is journaled twice,
that no message leaves its node before it is durable, and that a message never changes.
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b

import msgspec

from runtime.core import envelopes
from runtime.core.envelopes import Accept, Ack, Answer, AnyEnvelope, Gone, Open, Refuse
from runtime.core.events import JOURNAL, AnyEvent, Ended, Started, decode
from runtime.engine.outbox import OUTBOX, Row
from runtime.ids import SessionId
from runtime.outcome_codec import decode_flow_error
from runtime.ports import Batch, Clock
from runtime.testing.memory_transport import Link
from runtime.testing.network import JournalRows, SimulatedNode

_row_decoder = msgspec.msgpack.Decoder(Row)


class Recorder:
    """See the module."""

    def __init__(self, clock: Clock, *, is_traced: bool) -> None:
        self._clock = clock
        self._is_traced = is_traced
        self._digest = blake2b(digest_size=16)
        self.trace: list[str] = []
        self.problems: list[str] = []
        self.journals: dict[tuple[str, bytes], dict[int, AnyEvent]] = {}
        self.sent: dict[tuple[Link, bytes], None] = {}
        self._durable: set[tuple[str, bytes]] = set()
        self._content: dict[tuple[str, SessionId, int, bool], bytes] = {}
        self.commits = 0
        self.frames = 0

    @property
    def digest(self) -> str:
        """A fingerprint of all that has happened so far, in its order."""
        return self._digest.hexdigest()

    def failures(self) -> Iterator[tuple[str, str, Exception]]:
        """Yield the node, the flow and the error of each flow that failed, responders too."""
        for (node, _), events in self.journals.items():
            first, last = events[0], events[max(events)]
            if isinstance(first, Started) and isinstance(last, Ended) and last.failed:
                yield node, first.flow, decode_flow_error(last.outcome)

    def note(self, what: str) -> None:
        """Write down that something has happened."""
        line = f"{self._clock.now_ms()} {what}"
        self._digest.update(line.encode())
        if self._is_traced:
            self.trace.append(line)

    def problem(self, what: str) -> None:
        """Write down that something is wrong."""
        self.note(f"PROBLEM {what}")
        self.problems.append(what)

    def landed(self, node: SimulatedNode, batch: Batch) -> None:
        """Take what a commit made durable."""
        self.commits += 1
        self.note(f"{node.name} commit {_size(batch)}")
        rows = batch.writes.get(JOURNAL)
        if isinstance(rows, JournalRows):
            for key, value in rows.put:
                self._journaled(node.name, key, value)
        for row in batch.writes.get(OUTBOX, {}).values():
            if row is not None:
                envelope = envelopes.decode(_row_decoder.decode(row).envelope, is_addressed=False)
                self._durable.add((node.party.name, _unaddressed(envelope)))

    def carried(self, link: Link, frame: Iterable[bytes]) -> None:
        """Take a frame that a node hands to a link."""
        self.frames += 1
        for encoded in frame:
            envelope = envelopes.decode(encoded)
            self._digest.update(encoded)
            if self._is_traced:
                self.note(f"{_short(link.source)} -> {_short(link.target)} {_shown(envelope)}")
            if not isinstance(envelope, Answer):
                self.sent[link, encoded] = None
                self._check_sent(link, envelope)

    def _journaled(self, node: str, key: bytes, value: bytes) -> None:
        events = self.journals.setdefault((node, key[:16]), {})
        index = int.from_bytes(key[16:], "big")
        event = decode(value)
        if self._is_traced:
            self.note(f"  {node} {key[:16].hex()[-6:]} #{index} {event}"[:200])
        if index in events:
            self.problem(f"{node}: event {index} of a flow is journaled twice: {event}")
        elif index != len(events):
            self.problem(
                f"{node}: event {index} of a flow is journaled, the last was {len(events) - 1}"
            )
        events[index] = event

    def _check_sent(self, link: Link, envelope: AnyEnvelope) -> None:
        assert not isinstance(envelope, Answer)
        unaddressed = _unaddressed(envelope)
        if (link.source, unaddressed) not in self._durable:
            self.problem(f"{link.source} sends what is not durable: {_shown(envelope)}")
        other = SessionId(envelope.sid) if isinstance(envelope, Open) else envelope.to
        key = (link.source, other, envelope.number, isinstance(envelope, Open))
        if self._content.setdefault(key, unaddressed) != unaddressed:
            self.problem(f"{link.source} sends another message of the number: {_shown(envelope)}")


def _unaddressed(envelope: AnyEnvelope) -> bytes:
    """Return the bytes without the receiver's session, which is not known from the start."""
    match envelope:
        case envelopes.Data() | envelopes.Error() | envelopes.End():
            to, envelope.to = envelope.to, SessionId(b"")
            encoded = envelopes.encode(envelope)
            envelope.to = to
            return encoded
        case _:
            return envelopes.encode(envelope)


def _short(name: str) -> str:
    return name.partition(",")[0].removeprefix("O=")


def _shown(envelope: AnyEnvelope) -> str:
    kind = type(envelope).__name__
    match envelope:
        case Open():
            return f"{kind} {envelope.sid.hex()[:6]} {envelope.flow}"
        case Accept() | Refuse():
            return f"{kind} {envelope.sid.hex()[:6]} to {envelope.to.hex()[:6]}"
        case Ack():
            return f"{kind} {envelope.up_to} to {envelope.to.hex()[:6]}"
        case Gone():
            return f"{kind} {envelope.sid.hex()[:6]} to {envelope.to.hex()[:6]}"
        case _:
            return f"{kind} {envelope.number} to {envelope.to.hex()[:6]}"


def _size(batch: Batch) -> str:
    return ", ".join(f"{space.name} {len(rows)}" for space, rows in batch.writes.items() if rows)
