"""What arrives from peers: checked, numbered, made durable, acknowledged, handed to its flow.

    space tombstones   key: our session id (16 bytes)
                            or the opener's session id (16 bytes) | 0x01, at the responder
                       value: msgpack array, see `Tombstone`

A session of a flow that is over leaves a tombstone, at the responder under both its ids: a late
message is acknowledged, so that the peer forgets it; a late open message does not start a second
responder; a late acceptance lets go what waited for it. It stays until the peer's side is over too,
however long that takes, and nothing is under way to the peer any more, and `TOMBSTONE_MS` longer.

No message is sent for ever. One that is out of turn is acknowledged and counted. One of a session
that is not here is answered by a `Gone`: an id leaves its node only once the session is durable, a
restarted node knows its sessions before it listens, and ids never come again, so what is not here
has been forgotten, or lost with the store, and stays away. The peer lets go what it kept for it.
"""

import logging
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from runtime.core import envelopes
from runtime.core.envelopes import Accept, Ack, Gone, Open, Refuse
from runtime.core.events import Accepted
from runtime.core.session_machine import SessionMachine
from runtime.engine.commits import Commits
from runtime.engine.inbox import put_unread
from runtime.engine.outbox import Outbox
from runtime.errors import BadMessage, ProtocolViolation
from runtime.ids import PeerName, SessionId
from runtime.limits import RESEND_MS_MAX, SESSIONS_PER_PEER_MAX, TOMBSTONE_MS
from runtime.ports import Clock, Space

if TYPE_CHECKING:
    from runtime.engine.flow_run import FlowRun
    from runtime.engine.manager import FlowManager

TOMBSTONES: Final = Space("tombstones")

# An opener that is there sends again after `RESEND_MS_MAX` at the latest.
UNCLAIMED_MS: Final = 10 * RESEND_MS_MAX

# Each sweep looks at a few tombstones more than were put since the last one, so it keeps up.
SWEEP_MS: Final = 1_000
SWEEP_ROWS_MIN: Final = 16
SWEEP_ROWS_PER_BURIAL: Final = 4


class Tombstone(msgspec.Struct, array_like=True):
    """A session that is over here. ``other`` is its id at the other end, empty while unknown.

    Under the opener's id, ``other`` is our own. ``forget_after`` is in ms; 0 means not yet: the
    peer's side is not over.
    """

    peer: PeerName
    other: SessionId
    forget_after: int


class Unclaimed(msgspec.Struct):
    """An open message for a flow that is not installed; its sender sends it again and again."""

    opened: Open
    since_ms: int
    seen_ms: int


_encode_tombstone: Final = msgspec.msgpack.Encoder().encode
_tombstone_decoder: Final = msgspec.msgpack.Decoder(Tombstone)

log = logging.getLogger("sennit.delivery")


class Delivery:
    """Implements `runtime.ports.Receiver`."""

    def __init__(self, manager: "FlowManager", commits: Commits, outbox: Outbox, clock: Clock):
        self.manager = manager
        self.commits = commits
        self.outbox = outbox
        self.clock = clock
        self.sessions: dict[SessionId, tuple[FlowRun, SessionMachine]] = {}
        # Sessions that peers have opened to us, by the peer's id.
        self.opened: dict[SessionId, SessionMachine] = {}
        self._opened_by: Counter[PeerName] = Counter()
        self.unclaimed: dict[tuple[PeerName, SessionId], Unclaimed] = {}
        self.dropped: Counter[str] = Counter()
        self._sweep_due = 0
        self._sweep_from = b""
        self._buried = 0

    # --- Receiver -----------------------------------------------------------------------------

    def frame_arrived(self, peer: PeerName, encoded: list[bytes]) -> None:
        """See `runtime.ports.Receiver`."""
        for each in encoded:
            try:
                self._arrived(peer, envelopes.decode(each), each)
            except BadMessage as error:
                self._drop(peer, "malformed", str(error))

    def peer_reachable(self, peer: PeerName) -> None:
        """See `runtime.ports.Receiver`."""
        self.outbox.peer_reachable(peer)

    # --- the sessions of this node --------------------------------------------------------------

    def add(self, run: "FlowRun", machine: SessionMachine) -> None:
        """Route what arrives for a session to its flow."""
        self.sessions[machine.sid] = (run, machine)
        if machine.number == 0:
            assert machine.peer_sid is not None
            self.unclaimed.pop((machine.peer, machine.peer_sid), None)
            self.opened[machine.peer_sid] = machine
            self._opened_by[machine.peer] += 1

    def bury(self, machine: SessionMachine) -> None:
        """Forget a session of a flow that ended; leave tombstones."""
        self.sessions.pop(machine.sid, None)
        forget_after = self._expiry() if machine.is_over_for_peer else 0
        peer_sid = machine.peer_sid
        self._put_tombstone(
            machine.sid, Tombstone(machine.peer, peer_sid or SessionId(b""), forget_after)
        )
        if machine.number == 0 and peer_sid is not None:
            if self.opened.pop(peer_sid, None) is not None:
                self._opened_by[machine.peer] -= 1
            self._put_tombstone(
                _as_opener(peer_sid), Tombstone(machine.peer, machine.sid, forget_after)
            )
        self._buried += 1
        self._sweep()

    def accepted_after_end(self, sid: SessionId) -> SessionId | None:
        """Return the peer's id of a session that is over, if it is known."""
        tombstone = self._tombstone(sid)
        return tombstone.other or None if tombstone is not None else None

    def _sweep(self) -> None:
        """Remove some of the tombstones that have served their time."""
        now = self.clock.now_ms()
        if now < self._sweep_due:
            return
        self._sweep_due = now + SWEEP_MS
        count = SWEEP_ROWS_MIN + SWEEP_ROWS_PER_BURIAL * self._buried
        self._buried = 0
        rows = list(islice(self.commits.scan(TOMBSTONES, self._sweep_from, None), count))
        self._sweep_from = rows[-1][0] + b"\0" if len(rows) == count else b""
        for key, value in rows:
            tombstone = _tombstone_decoder.decode(value)
            is_needed = self.outbox.has(SessionId(key)) or self.outbox.has(tombstone.other)
            if 0 < tombstone.forget_after < now and not is_needed:
                self.commits.delete(TOMBSTONES, key)

    def refuse(self, peer: PeerName, opened: Open, reason: str) -> None:
        """Refuse an open message, durably."""
        self.unclaimed.pop((peer, opened.sid), None)
        error_id = self.manager.hospital.new_error_id()
        log.warning(
            "session refused, error id %s: %s",
            error_id,
            reason,
            extra={"peer": peer, "flow": opened.flow, "error_id": error_id},
        )
        sid = SessionId(self.manager.entropy.random_bytes(16))
        refusal = Refuse(opened.sid, sid, reason, error_id)
        # It stays as long as the refusal is under way, since that is what ``other`` stands for.
        self._put_tombstone(_as_opener(opened.sid), Tombstone(peer, sid, self._expiry()))
        self.outbox.add(sid, peer, refusal, is_blocked=False)
        self.commits.acknowledge(peer, opened.sid, 0)

    def keep_unclaimed(self, peer: PeerName, opened: Open) -> None:
        """Leave an open message for a flow that is not installed with its sender, unacknowledged.

        The sender tries again until the app is installed here, or an operator drops it (`refuse`).
        """
        now = self.clock.now_ms()
        known = self.unclaimed.get((peer, opened.sid))
        if known is not None:
            known.seen_ms = now
            return
        if len(self.unclaimed) >= SESSIONS_PER_PEER_MAX:
            self.forget_silent()
            if len(self.unclaimed) >= SESSIONS_PER_PEER_MAX:
                return
        log.warning(
            "a peer asks for a flow that is not installed here; install it or drop the request",
            extra={"peer": peer, "flow": opened.flow},
        )
        self.unclaimed[peer, opened.sid] = Unclaimed(opened, now, now)

    def forget_silent(self) -> None:
        """Forget open messages that nobody sends again any more: their openers have gone."""
        heard_after = self.clock.now_ms() - UNCLAIMED_MS
        for key, entry in list(self.unclaimed.items()):
            if entry.seen_ms < heard_after:
                del self.unclaimed[key]

    def drop_unclaimed(self, flow: str) -> int:
        """Refuse all open messages for a flow that is not installed; returns how many."""
        entries = [
            (key, entry) for key, entry in self.unclaimed.items() if entry.opened.flow == flow
        ]
        for (peer, _), entry in entries:
            self.refuse(peer, entry.opened, f"the operator does not want {flow}")
        return len(entries)

    def has_session(self, peer: PeerName, opener_sid: SessionId) -> bool:
        """Tell whether a flow here has a session with ``peer``, named as its opener did."""
        machine = self.opened.get(opener_sid)
        if machine is None and opener_sid in self.sessions:
            machine = self.sessions[opener_sid][1]
        return machine is not None and machine.peer == peer

    def session_count(self, peer: PeerName) -> int:
        """Return how many sessions ``peer`` has opened to us and that are not over."""
        return self._opened_by[peer]

    # --- what arrives -----------------------------------------------------------------------------

    def _arrived(self, peer: PeerName, envelope: envelopes.AnyEnvelope, encoded: bytes) -> None:
        match envelope:
            case Ack():
                if not self.outbox.acknowledged(peer, envelope.to, envelope.up_to):
                    self._drop(peer, "not of this session", "an acknowledgement")
            case Open():
                self._open_arrived(peer, envelope, encoded)
            case Gone():
                self._gone_arrived(peer, envelope)
            case _:
                self._content_arrived(peer, envelope, encoded)

    def _open_arrived(self, peer: PeerName, opened: Open, encoded: bytes) -> None:
        known = self.opened.get(opened.sid) or self._tombstone(_as_opener(opened.sid))
        if known is None:
            self.manager.open_arrived(peer, opened, encoded)
        elif known.peer == peer:
            self.commits.acknowledge(peer, opened.sid, 0)
        else:
            self._drop(peer, "not of this session", f"its party is {known.peer}")

    def _content_arrived(
        self, peer: PeerName, envelope: Accept | envelopes.Content, encoded: bytes
    ) -> None:
        assert not isinstance(envelope, Open)
        found = self.sessions.get(envelope.to)
        if found is None:
            self._late_arrived(peer, envelope)
            return
        run, machine = found
        if machine.peer != peer:
            self._drop(peer, "not of this session", f"its party is {machine.peer}")
            return
        if (
            isinstance(envelope, Accept)
            and machine.in_next > 0
            and machine.peer_sid != envelope.sid
        ):
            # Another responder to our open message, at a peer that has forgotten the first one.
            self._deny(peer, envelope)
            return
        try:
            taken = machine.arrive(envelope, encoded)
        except ProtocolViolation as error:
            taken = []
            self._drop(peer, "out of turn", str(error))
        for each, each_encoded in taken:
            self._keep(run, machine, each, each_encoded)
        sender_sid = envelope.sid if isinstance(envelope, Accept | Refuse) else machine.peer_sid
        up_to = machine.acknowledged_by(envelope)
        if sender_sid is None and machine.is_over_for_peer:
            # It has refused this session, and speaks in it all the same.
            self._deny(peer, envelope)
        elif sender_sid is not None and up_to >= 0:
            self.commits.acknowledge(peer, sender_sid, up_to)
        if taken:
            run.arrived(machine.number)

    def _keep(
        self,
        run: "FlowRun",
        machine: SessionMachine,
        envelope: Accept | envelopes.Content,
        encoded: bytes,
    ) -> None:
        """Make durable what the machine has taken."""
        if isinstance(envelope, Accept):
            run.append_fact(
                Accepted(
                    self.clock.now_ms(),
                    "",
                    machine.number,
                    envelope.sid,
                    envelope.version,
                    envelope.app,
                    envelope.app_version,
                )
            )
            self._accepted(machine.peer, machine.sid, envelope.sid)
            return
        if isinstance(envelope, Refuse):
            self.outbox.drop(machine.sid)
        if not machine.is_closed:
            put_unread(self.commits, machine, envelope.number, encoded)

    def _late_arrived(self, peer: PeerName, envelope: Accept | envelopes.Content) -> None:
        """Answer a message of a session that is over, so that the peer forgets it."""
        assert not isinstance(envelope, Open)
        sid = envelope.to
        tombstone = self._tombstone(sid)
        if tombstone is None:
            if self.manager.partly_read:
                # It may belong to a flow whose journal nobody can read at the moment.
                self._drop(peer, "of no session", type(envelope).__name__)
            else:
                self._deny(peer, envelope)
            return
        if tombstone.peer != peer:
            self._drop(peer, "not of this session", f"its party is {tombstone.peer}")
            return
        match envelope:
            case Accept():
                if not tombstone.other:
                    tombstone.other = envelope.sid
                    self._put_tombstone(sid, tombstone)
                    self._accepted(peer, sid, envelope.sid)
                elif tombstone.other != envelope.sid:
                    self._deny(peer, envelope)
                    return
            case Refuse():
                self.outbox.drop(sid)
                tombstone.other = envelope.sid
                self._peer_is_over(sid, tombstone)
            case envelopes.Error() | envelopes.End():
                self._peer_is_over(sid, tombstone)
            case envelopes.Data():
                pass
        if tombstone.other:
            self.commits.acknowledge(peer, tombstone.other, envelope.number)
        elif tombstone.forget_after and not self.outbox.has(sid):
            # The peer has refused it, and speaks all the same. If it were only that its acceptance
            # is late, our end would wait for that.
            self._deny(peer, envelope)

    # --- sessions that are not there ------------------------------------------------------------

    def _deny(self, peer: PeerName, envelope: Accept | envelopes.Content) -> None:
        """Answer that there is no such session, so that the peer lets go what it keeps for it."""
        assert not isinstance(envelope, Open)
        sender_sid = envelope.sid if isinstance(envelope, Accept | Refuse) else SessionId(b"")
        error_id = self.manager.hospital.new_error_id()
        self._drop(peer, "of no session", f"{type(envelope).__name__}, error id {error_id}")
        self.commits.deny(peer, Gone(sender_sid, envelope.to, error_id))

    def _gone_arrived(self, peer: PeerName, gone: Gone) -> None:
        """Let go what is under way to a session that the peer does not have; it fails, if it lives.

        If nothing is under way to it, this has happened before.
        """
        sid = gone.to or self.outbox.sender_to(peer, gone.sid)
        known_peer = None if sid is None else self.outbox.peer_of(sid)
        if sid is None or known_peer is None:
            return
        if known_peer != peer:
            self._drop(peer, "not of this session", f"its party is {known_peer}")
            return
        found, tombstone = self.sessions.get(sid), self._tombstone(sid)
        if found is not None:
            run, machine = found
            if machine.peer_sid == gone.sid and self._lose(run, machine, gone):
                self.outbox.drop(sid)
                run.arrived(machine.number)
        elif tombstone is None or tombstone.other == gone.sid:
            self.outbox.drop(sid)
            if tombstone is not None:
                self._peer_is_over(sid, tombstone)

    def _lose(self, run: "FlowRun", machine: SessionMachine, gone: Gone) -> bool:
        """Let the flow find an error as the peer's last message; False if there is no room for it.

        Then the peer is asked and answers again.
        """
        if machine.is_over_for_peer:
            return True
        error = envelopes.Error(machine.sid, machine.in_next, None, gone.error_id)
        encoded = envelopes.encode(error)
        taken = machine.arrive(error, encoded)
        for each, each_encoded in taken:
            self._keep(run, machine, each, each_encoded)
        return bool(taken)

    def _accepted(self, peer: PeerName, sid: SessionId, peer_sid: SessionId) -> None:
        """Let go what waited for acceptance. The open message has arrived, so it is forgotten.

        Were it sent again later, the peer might have buried the session and forgotten that too.
        """
        self.outbox.acknowledged(peer, sid, 0)
        self.outbox.unblock(sid, peer_sid)

    def _peer_is_over(self, sid: SessionId, tombstone: Tombstone) -> None:
        """Let the tombstones of a session go some time after both sides of it are over."""
        if tombstone.forget_after:
            return
        tombstone.forget_after = self._expiry()
        self._put_tombstone(sid, tombstone)
        opener = _as_opener(tombstone.other)
        if self._tombstone(opener) is not None:
            self._put_tombstone(opener, Tombstone(tombstone.peer, sid, tombstone.forget_after))

    def _expiry(self) -> int:
        return self.clock.now_ms() + TOMBSTONE_MS

    def _put_tombstone(self, key: bytes, tombstone: Tombstone) -> None:
        self.commits.put(TOMBSTONES, key, _encode_tombstone(tombstone))

    def _tombstone(self, key: bytes) -> Tombstone | None:
        value = self.commits.get(TOMBSTONES, key)
        return None if value is None else _tombstone_decoder.decode(value)

    def _drop(self, peer: PeerName, why: str, detail: str) -> None:
        self.dropped[why] += 1
        log.warning("message dropped", extra={"peer": peer, "why": why, "detail": detail})


def _as_opener(sid: SessionId) -> bytes:
    """Return the key at the responder; a node that talks to itself has one for each end."""
    return sid + b"\x01"
