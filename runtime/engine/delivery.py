"""What arrives from peers: checked, numbered, made durable, acknowledged, handed to its flow.

    space tombstones   key: session id (16 bytes)
                       value: u64 big-endian, forget after (ms) | the other side's id, if known (16)

A session that is over leaves a tombstone under both its ids for `TOMBSTONE_MS`: a late message is
acknowledged, so that the peer forgets it; a late open message does not start a second responder; a
late acceptance lets go what waited for it.
"""

import logging
from collections import Counter
from typing import TYPE_CHECKING, Final

from runtime.core import envelopes
from runtime.core.envelopes import Accept, Ack, Open, Refuse
from runtime.core.events import Accepted
from runtime.core.session_machine import SessionMachine
from runtime.engine.commits import Commits
from runtime.engine.inbox import put_unread
from runtime.engine.outbox import Outbox
from runtime.errors import BadMessage, ProtocolViolation
from runtime.ids import PeerName, SessionId
from runtime.limits import SESSIONS_PER_PEER_MAX, TOMBSTONE_MS
from runtime.ports import Clock, Space

if TYPE_CHECKING:
    from runtime.engine.flow_run import FlowRun
    from runtime.engine.manager import FlowManager

TOMBSTONES: Final = Space("tombstones")

log = logging.getLogger("sennit.delivery")


class Delivery:
    """Implements `runtime.ports.Receiver`."""

    def __init__(self, manager: "FlowManager", commits: Commits, outbox: Outbox, clock: Clock):
        self.manager = manager
        self.commits = commits
        self.outbox = outbox
        self.clock = clock
        self.sessions: dict[SessionId, tuple[FlowRun, SessionMachine]] = {}
        self.opened: dict[tuple[PeerName, SessionId], SessionMachine] = {}
        self._opened_by: Counter[PeerName] = Counter()
        self.unclaimed: dict[tuple[PeerName, SessionId], Open] = {}
        self.dropped: Counter[str] = Counter()
        self._swept_ms = clock.now_ms()

    # --- Receiver -----------------------------------------------------------------------------

    def frame_arrived(self, peer: PeerName, encoded: list[bytes]) -> None:
        """See `runtime.ports.Receiver`."""
        for each in encoded:
            try:
                self._arrived(peer, envelopes.decode(each), each)
            except BadMessage as error:
                self._drop(peer, "malformed", str(error))
            except ProtocolViolation as error:
                self._drop(peer, "out of turn", str(error))

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
            self.opened[machine.peer, machine.peer_sid] = machine
            self._opened_by[machine.peer] += 1

    def bury(self, machine: SessionMachine) -> None:
        """Forget a session of a flow that ended; leave tombstones."""
        self.sessions.pop(machine.sid, None)
        self._put_tombstone(machine.sid, machine.peer_sid)
        if machine.number == 0 and machine.peer_sid is not None:
            if self.opened.pop((machine.peer, machine.peer_sid), None) is not None:
                self._opened_by[machine.peer] -= 1
            self._put_tombstone(machine.peer_sid, machine.sid)

    def accepted_after_end(self, sid: SessionId) -> SessionId | None:
        """Return the peer's id of a session that is over, if it is known."""
        value = self.commits.get(TOMBSTONES, sid)
        return SessionId(value[8:]) if value is not None and len(value) > 8 else None

    def sweep(self) -> None:
        """Remove tombstones that have served their time.

        One of a session with a message under way stays: its peer was away, and may still ask.
        """
        now = self.clock.now_ms()
        self._swept_ms = now
        for key, value in list(self.commits.scan(TOMBSTONES, b"", None)):
            sids = (SessionId(key), SessionId(value[8:]))
            if int.from_bytes(value[:8], "big") < now and not any(map(self.outbox.has, sids)):
                self.commits.delete(TOMBSTONES, key)

    def refuse(self, peer: PeerName, opened: Open, reason: str) -> None:
        """Refuse an open message, durably."""
        self.unclaimed.pop((peer, opened.sid), None)
        error_id = self.manager.hospital.new_error_id()
        log.warning(
            "session refused",
            extra={"peer": peer, "flow": opened.flow, "reason": reason, "error_id": error_id},
        )
        sid = SessionId(self.manager.entropy.random_bytes(16))
        refusal = Refuse(opened.sid, sid, reason, error_id)
        self._put_tombstone(opened.sid, sid)
        self.outbox.add(sid, peer, refusal, is_blocked=False)
        self.commits.acknowledge(peer, opened.sid, 0)

    def keep_unclaimed(self, peer: PeerName, opened: Open) -> None:
        """Leave an open message for a flow that is not installed with its sender, unacknowledged.

        The sender tries again until the app is installed here, or an operator drops it (`refuse`).
        """
        if (peer, opened.sid) not in self.unclaimed:
            if len(self.unclaimed) >= SESSIONS_PER_PEER_MAX:
                return
            log.warning(
                "a peer asks for a flow that is not installed here; install it or drop the request",
                extra={"peer": peer, "flow": opened.flow},
            )
        self.unclaimed[peer, opened.sid] = opened

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
            case _:
                self._content_arrived(peer, envelope, encoded)

    def _open_arrived(self, peer: PeerName, opened: Open, encoded: bytes) -> None:
        if (peer, opened.sid) in self.opened or self._is_buried(opened.sid):
            self.commits.acknowledge(peer, opened.sid, 0)
        else:
            self.manager.open_arrived(peer, opened, encoded)

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
        taken = machine.arrive(envelope, encoded)
        for each, each_encoded in taken:
            self._keep(run, machine, each, each_encoded)
        sender_sid = envelope.sid if isinstance(envelope, Accept | Refuse) else machine.peer_sid
        if machine.in_next > 0 and sender_sid is not None:
            self.commits.acknowledge(peer, sender_sid, machine.in_next - 1)
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
            # It proves that the open message arrived, even if the acknowledgement never does.
            self.outbox.acknowledged(machine.peer, machine.sid, 0)
            self.outbox.unblock(machine.sid, envelope.sid)
            return
        if isinstance(envelope, Refuse):
            self.outbox.drop(machine.sid)
        if not machine.is_closed:
            put_unread(self.commits, machine, envelopes.number_of(envelope), encoded)

    def _late_arrived(self, peer: PeerName, envelope: Accept | envelopes.Content) -> None:
        """Answer a message of a session that is over, so that the peer forgets it."""
        assert not isinstance(envelope, Open)
        if not self._is_buried(envelope.to):
            self._drop(peer, "of no session", type(envelope).__name__)
            return
        if self.outbox.peer_of(envelope.to) not in (None, peer):
            self._drop(peer, "not of this session", type(envelope).__name__)
            return
        sender_sid: SessionId | None
        if isinstance(envelope, Accept):
            self._put_tombstone(envelope.to, envelope.sid)
            self.outbox.acknowledged(peer, envelope.to, 0)
            self.outbox.unblock(envelope.to, envelope.sid)
            sender_sid = envelope.sid
        elif isinstance(envelope, Refuse):
            self.outbox.drop(envelope.to)
            sender_sid = envelope.sid
        else:
            sender_sid = self.accepted_after_end(envelope.to)
        if sender_sid is not None:
            self.commits.acknowledge(peer, sender_sid, envelopes.number_of(envelope))

    def _put_tombstone(self, sid: SessionId, other: SessionId | None) -> None:
        now = self.clock.now_ms()
        if now - self._swept_ms > TOMBSTONE_MS:
            self.sweep()
        expiry = (now + TOMBSTONE_MS).to_bytes(8, "big")
        self.commits.put(TOMBSTONES, sid, expiry + (other or b""))

    def _is_buried(self, sid: SessionId) -> bool:
        return self.commits.get(TOMBSTONES, sid) is not None

    def _drop(self, peer: PeerName, why: str, detail: str) -> None:
        self.dropped[why] += 1
        log.warning("message dropped", extra={"peer": peer, "why": why, "detail": detail})
