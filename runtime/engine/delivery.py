"""What arrives from peers: checked, numbered, made durable, acknowledged, handed to its flow.

What a session leaves that is over is in `runtime.engine.tombstones`. What a peer can make this node
keep is bounded (`runtime.core.quota`): what finds no room is not acknowledged, so that the peer
keeps it and sends it again. Only what a flow waits for at this moment is always taken.

No message is sent for ever. One that is out of turn is acknowledged and counted. One of a session
that is not here is answered by a `Gone`: an id leaves its node only once the session is durable, a
restarted node knows its sessions before it listens, and ids never come again, so what is not here
has been forgotten, or lost with the store, and stays away. The peer lets go what it kept for it.
"""

import logging
from collections import Counter
from typing import TYPE_CHECKING, Final

from runtime.core import envelopes
from runtime.core.envelopes import Accept, Ack, Gone, Open, Refuse
from runtime.core.events import Accepted
from runtime.core.quota import Quotas, kept_bytes
from runtime.core.session_machine import SessionMachine
from runtime.engine.commits import Commits
from runtime.engine.inbox import put_unread
from runtime.engine.outbox import Outbox
from runtime.engine.session_views import forget_if_over
from runtime.engine.tombstones import Tombstones
from runtime.engine.unclaimed import UnclaimedOpens
from runtime.errors import BadMessage, ProtocolViolation
from runtime.ids import PeerName, SessionId
from runtime.ports import Clock
from runtime.seldom_log import SeldomLog

if TYPE_CHECKING:
    from runtime.engine.flow_run import FlowRun
    from runtime.engine.manager import FlowManager

# Of each peer, in the time that `SeldomLog` has: enough to find a single fault by its error id.
LINES_PER_PEER: Final = 20

# Answers to messages of unknown sessions in one commit. Whoever gets none asks again.
DENIALS_PER_PEER_MAX: Final = 1_024

_NOTHING_READ: Final[Counter[PeerName]] = Counter()

log = logging.getLogger("sennit.delivery")


class Delivery:
    """Implements `runtime.ports.Receiver`."""

    def __init__(
        self,
        manager: "FlowManager",
        commits: Commits,
        outbox: Outbox,
        clock: Clock,
        quotas: Quotas,
    ):
        self.manager = manager
        self.commits = commits
        self.outbox = outbox
        self.clock = clock
        self.quotas = quotas
        self.sessions: dict[SessionId, tuple[FlowRun, SessionMachine]] = {}
        # Sessions that peers have opened to us, by the peer's id.
        self.opened: dict[SessionId, SessionMachine] = {}
        self.unclaimed = UnclaimedOpens(clock, self.quotas)
        self.tombstones = Tombstones(commits, outbox, clock, self.quotas)
        self.dropped: Counter[str] = Counter()
        # By flow and peer, the bytes in its journal of sessions that are over.
        self._read_before: dict[bytes, Counter[PeerName]] = {}
        self._log = SeldomLog(log, burst=LINES_PER_PEER)
        self._room_log = SeldomLog(log)

    # --- Receiver -----------------------------------------------------------------------------

    def frame_arrived(self, peer: PeerName, encoded: list[bytes]) -> None:
        """See `runtime.ports.Receiver`."""
        for each in encoded:
            try:
                envelope = envelopes.decode(each)
                self._arrived(peer, envelope, envelopes.understood(envelope, each))
            except BadMessage as error:
                self._drop(peer, "malformed", str(error))

    def peer_reachable(self, peer: PeerName) -> None:
        """See `runtime.ports.Receiver`."""
        self.outbox.peer_reachable(peer)

    # --- the sessions of this node --------------------------------------------------------------

    def add(self, run: "FlowRun", machine: SessionMachine) -> None:
        """Route what arrives for a session to its flow."""
        self.sessions[machine.sid] = (run, machine)
        account = self.quotas.of(machine.peer)
        machine.charge(account)
        if machine.number == 0:
            assert machine.peer_sid is not None
            self.unclaimed.forget(machine.peer, machine.peer_sid)
            self.opened[machine.peer_sid] = machine
            account.sessions.add(1)

    def bury(self, machine: SessionMachine) -> None:
        """Forget a session; leave tombstones."""
        is_responder = machine.number == 0
        if self.sessions.pop(machine.sid, None) is not None:
            machine.let_go()
            if is_responder and machine.peer_sid is not None:
                del self.opened[machine.peer_sid]
                self.quotas.of(machine.peer).sessions.add(-1)
        self.tombstones.put(machine.peer, machine.sid, machine.peer_sid, is_responder=is_responder)

    def retire(self, flow_key: bytes, machine: SessionMachine) -> None:
        """Forget a session that is over, of a flow that lives on and keeps what it has read."""
        received = machine.received_bytes
        self.bury(machine)
        self.keep_counting(flow_key, machine.peer, received)

    def keep_counting(self, flow_key: bytes, peer: PeerName, received: int) -> None:
        """Count what a flow has read in a session that is over, until the flow is."""
        self.quotas.of(peer).received.add(received)
        self._read_before.setdefault(flow_key, Counter())[peer] += received

    def flow_ended(self, flow_key: bytes) -> None:
        """Count no more what a flow has read: its journal goes."""
        for peer, received in self._read_before.pop(flow_key, _NOTHING_READ).items():
            self.quotas.of(peer).received.add(-received)

    def accepted_after_end(self, sid: SessionId) -> SessionId | None:
        """Return the peer's id of a session that is over, if it is known."""
        tombstone = self.tombstones.of(sid)
        return tombstone.other or None if tombstone is not None else None

    def refuse(self, peer: PeerName, opener: SessionId, flow: str, reason: str) -> None:
        """Refuse an open message for ``flow``, durably."""
        self.unclaimed.forget(peer, opener)
        error_id = self.manager.hospital.new_error_id()
        self._log.warn(
            peer,
            f"session refused, error id {error_id}: {reason}",
            peer=peer,
            flow=flow,
            error_id=error_id,
        )
        sid = SessionId(self.manager.entropy.random_bytes(16))
        reason = reason[: envelopes.REASON_CHARACTERS_MAX]
        self.outbox.add(sid, peer, Refuse(opener, sid, reason, error_id), is_blocked=False)
        # It stays as long as the refusal is under way, since that is what ``sid`` stands for.
        self.tombstones.put_refused(peer, sid, opener)
        self.commits.acknowledge(peer, opener, 0)

    def keep_unclaimed(self, peer: PeerName, opened: Open) -> None:
        """Leave an open message for a flow that is not installed with its sender, unacknowledged.

        The sender tries again until the app is installed here, or an operator drops it (`refuse`).
        """
        if self.unclaimed.note(peer, opened):
            self._log.warn(
                peer,
                "a peer asks for a flow that is not installed here; install it or drop the request",
                peer=peer,
                flow=opened.flow,
            )

    def drop_unclaimed(self, flow: str) -> int:
        """Refuse all open messages for a flow that is not installed; returns how many."""
        entries = [item for item in self.unclaimed.items() if item[2].flow == flow]
        for peer, sid, _ in entries:
            self.refuse(peer, sid, flow, f"the operator does not want {flow}")
        return len(entries)

    def has_room_for(self, peer: PeerName, encoded: bytes) -> bool:
        """Tell whether ``peer`` may open one more session by this open message.

        If not, the peer keeps it; it is served when sessions of the peer have ended, or when it has
        acknowledged what it was sent.
        """
        account, cost = self.quotas.of(peer), kept_bytes(encoded)
        has_room = (
            self.outbox.has_room(peer)
            and account.sessions.has_room(1)
            and account.unread.has_room(cost)
            and account.received.has_room(cost)
        )
        if not has_room:
            self._find_no_room(peer, "an open message")
        return has_room

    def has_session(self, peer: PeerName, opener_sid: SessionId) -> bool:
        """Tell whether a flow here has a session with ``peer``, named as its opener did."""
        machine = self.opened.get(opener_sid)
        if machine is None and opener_sid in self.sessions:
            machine = self.sessions[opener_sid][1]
        return machine is not None and machine.peer == peer

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
        known = self.opened.get(opened.sid) or self.tombstones.of_opener(opened.sid)
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
            taken = machine.arrive(envelope, encoded, is_awaited=run.awaits(machine.number))
        except ProtocolViolation as error:
            taken = []
            self._drop(peer, "out of turn", str(error))
        else:
            if not taken and envelope.number == machine.in_next:
                self._find_no_room(peer, "a message")
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
            forget_if_over(run, machine)

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
        tombstone = self.tombstones.of(sid)
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
                    self.tombstones.accepted(sid, tombstone, envelope.sid)
                    self._accepted(peer, sid, envelope.sid)
                elif tombstone.other != envelope.sid:
                    self._deny(peer, envelope)
                    return
            case Refuse():
                self.tombstones.accepted(sid, tombstone, envelope.sid)
                self.outbox.drop(sid)
            case envelopes.Data() | envelopes.Error() | envelopes.End():
                pass
        if tombstone.other:
            self.commits.acknowledge(peer, tombstone.other, envelope.number)
        elif not self.outbox.has(sid):
            # The peer has refused it, and speaks all the same. If it were only that its acceptance
            # is late, our end would wait for that.
            self._deny(peer, envelope)

    # --- sessions that are not there ------------------------------------------------------------

    def _deny(self, peer: PeerName, envelope: Accept | envelopes.Content) -> None:
        """Answer that there is no such session, so that the peer lets go what it keeps for it."""
        assert not isinstance(envelope, Open)
        if self.commits.denials.get(peer, 0) >= DENIALS_PER_PEER_MAX:
            self.dropped["of no session"] += 1
            return
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
        found, tombstone = self.sessions.get(sid), self.tombstones.of(sid)
        if found is not None:
            run, machine = found
            if machine.peer_sid == gone.sid and self._lose(run, machine, gone):
                self.outbox.drop(sid)
                run.arrived(machine.number)
                forget_if_over(run, machine)
        elif tombstone is None or tombstone.other == gone.sid:
            self.outbox.drop(sid)

    def _lose(self, run: "FlowRun", machine: SessionMachine, gone: Gone) -> bool:
        """Let the flow find an error as the peer's last message; False if there is no room for it.

        Then the peer is asked and answers again.
        """
        if machine.is_over_for_peer:
            return True
        error = envelopes.Error(machine.sid, machine.in_next, None, gone.error_id)
        encoded = envelopes.encode(error)
        taken = machine.arrive(error, encoded, is_awaited=True)
        for each, each_encoded in taken:
            self._keep(run, machine, each, each_encoded)
        return bool(taken)

    def _accepted(self, peer: PeerName, sid: SessionId, peer_sid: SessionId) -> None:
        """Let go what waited for acceptance. The open message has arrived, so it is forgotten.

        Were it sent again later, the peer might have buried the session and forgotten that too.
        """
        self.outbox.acknowledged(peer, sid, 0)
        self.outbox.unblock(sid, peer_sid)

    def _find_no_room(self, peer: PeerName, what: str) -> None:
        self.dropped["no room"] += 1
        self._room_log.warn(
            peer,
            f"{what} waits at {peer}: this node keeps as much for that peer as it may; "
            "it goes on when flows have read, or ended, or when that peer has acknowledged what it "
            "was sent. See the limits in `sennit node info`",
            peer=peer,
        )

    def _drop(self, peer: PeerName, why: str, detail: str) -> None:
        self.dropped[why] += 1
        self._log.warn(peer, f"message dropped, {why}: {detail}", peer=peer, why=why, detail=detail)
