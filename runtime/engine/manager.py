"""All flows of a node: start, answer peers, end.

Recovery after a restart is in `runtime.engine.recovery`, what becomes of failed flows in
`runtime.engine.hospital`. A flow that ended keeps its result only if
it was started with a client id; a flow that runs has no row but its journal.
"""

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Final

from runtime.atomic import AtomicFunction, StoreTxn
from runtime.core.envelopes import Open
from runtime.core.events import JOURNAL, Origin, Started, encode
from runtime.core.flow_machine import FlowMachine, Input, Status
from runtime.core.quota import Quotas
from runtime.core.session_machine import SessionMachine
from runtime.driver import driver_or_none
from runtime.engine import conversing
from runtime.engine.client_ids import ClientIds
from runtime.engine.commits import Commits
from runtime.engine.delivery import Delivery
from runtime.engine.error_ids import words_of
from runtime.engine.flow_ids import KEY_CHANCE_BYTES, flow_id_at, key_of, new_key
from runtime.engine.flow_run import FlowRun
from runtime.engine.greenlets import Greenlets
from runtime.engine.handle_control import HandleControl
from runtime.engine.hospital import Hospital
from runtime.engine.inbox import put_unread, remove_unread
from runtime.engine.live_flows import LiveFlows
from runtime.engine.outbox import Outbox
from runtime.engine.result_index import drop_result, keep_result
from runtime.engine.results import (
    HELD,
    RESULTS,
    Client,
    Outcome,
    Result,
    result_decoder,
)
from runtime.engine.status import end_status
from runtime.engine.store_txn import OpenTxn
from runtime.engine.unwinding import Takedowns
from runtime.error_codec import well_formed
from runtime.errors import InFlow, NodeStopped, UnknownFlow, UnreadableRow
from runtime.flow import Flow, Responder
from runtime.handle import FlowHandle
from runtime.host import Host
from runtime.ids import ErrorId, FlowId, PeerName
from runtime.limits import NAME_CHARACTERS_MAX
from runtime.outcome_codec import decode_flow_error, encode_outcome
from runtime.ports import Clock, Entropy, Loop, RunNote, Signal
from runtime.progress_tree import ProgressTree
from runtime.starting import StartOptions

log = logging.getLogger("sennit.flow")

EndCallback = Callable[[StoreTxn, FlowId], None]

# Flows that ended lately, for lists and for callers that ask a moment too late; in memory only.
ENDED_REMEMBERED_MAX: Final = 1_000

_SEED_BYTES: Final = 16
_CHANCE_BYTES: Final = KEY_CHANCE_BYTES + _SEED_BYTES


class FlowManager:
    """See the module."""

    def __init__(
        self,
        *,
        host: Host,
        loop: Loop,
        clock: Clock,
        entropy: Entropy,
        commits: Commits,
        outbox: Outbox,
        ready: deque[FlowRun],
        hold_unexpected: bool,
        journal_events_max: int,
        is_replay_checked: bool,
        run_note: RunNote,
        quotas: Quotas,
    ) -> None:
        self.host = host
        self.loop = loop
        self.clock = clock
        self.entropy = entropy
        self.commits = commits
        self.outbox = outbox
        self.ready = ready
        self.is_replay_checked = is_replay_checked
        self.journal_events_max = journal_events_max
        self.client_ids = ClientIds(commits)
        self.control = HandleControl(self)
        self.hospital = Hospital(self, hold_unexpected=hold_unexpected)
        self.delivery = Delivery(self, commits, outbox, clock, quotas)
        self.hub = loop.hub
        self.greenlets = Greenlets(self.hub, run_note)
        self.takedowns = Takedowns(loop)
        self.runs = LiveFlows()
        self.ended: OrderedDict[FlowId, FlowRun] = OrderedDict()
        # Flows whose journal can't be read to its end: they may have sessions that nobody knows of.
        self.partly_read: set[FlowId] = set()
        # Flows with an unread message that can't be read.
        self.unread_broken: dict[FlowId, UnreadableRow] = {}
        self.is_stopping = False
        self.is_draining = False
        self.counts = {"started": 0, "completed": 0, "failed": 0, "held": 0}
        self._waiting: set[Signal] = set()

    # --- starting -----------------------------------------------------------------------------

    def start_flow(
        self,
        flow: Flow[..., object],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        options: StartOptions,
        *,
        is_awaited: bool,
    ) -> FlowHandle[object]:
        """See `runtime.starting.Starter`."""
        if self.is_stopping:
            raise NodeStopped(f"this node is stopping; {flow.name} was not started")
        installed = self.host.registry.installed(flow)
        encoded = installed.arguments.encode_checked(args, kwargs)
        identity = b"" if options.client_id is None else installed.arguments.identity(encoded)
        known = self.client_ids.attached(options, installed.name, identity)
        if known is not None:
            if is_awaited:
                self.wait_durable()
            return self.handle(flow_id_at(known.flow))
        if self.is_draining:
            raise NodeStopped(f"this node is draining; {flow.name} was not started")
        chance = self.entropy.random_bytes(_CHANCE_BYTES)
        started = Started(
            self.clock.now_ms(),
            "",
            installed.name,
            installed.version,
            encoded,
            chance[KEY_CHANCE_BYTES:],
            options.user,
            options.client_id,
            None,
        )
        run = self._create(started, chance, installed, None)
        if options.client_id is not None:
            client = Client(run.key, options.user, installed.name, identity)
            self.client_ids.put(options.client_id, client)
        if is_awaited:
            self.wait_durable()
        return run.handle

    def open_arrived(self, peer: PeerName, opened: Open, encoded: bytes) -> None:
        """Start the responder that an open message asks for, or refuse it."""
        if self.is_stopping or (
            self.is_draining and not self.delivery.has_session(peer, opened.beside)
        ):
            # Unanswered, the peer asks again.
            return
        registry = self.host.registry
        responder = registry.responders.get(opened.flow)
        if responder is None and opened.flow not in registry.flows:
            self.delivery.keep_unclaimed(peer, opened)
            return
        if not self.delivery.has_room_for(peer, encoded):
            return
        if responder is None:
            reason = f"{opened.flow} has no responder here"
            self.delivery.refuse(peer, opened.sid, opened.flow, reason)
            return
        if responder.version != opened.version:
            reason = (
                f"{opened.flow} version {opened.version} was asked for, "
                f"version {responder.version} is installed here"
            )
            self.delivery.refuse(peer, opened.sid, opened.flow, reason)
            return
        self._start_responder(peer, opened, encoded, responder)

    def _start_responder(
        self, peer: PeerName, opened: Open, encoded: bytes, responder: Responder
    ) -> None:
        origin = Origin(
            peer, opened.sid, opened.flow, opened.version, opened.app, opened.app_version
        )
        chance = self.entropy.random_bytes(_CHANCE_BYTES)
        started = Started(
            self.clock.now_ms(),
            "",
            responder.name,
            responder.version,
            b"",
            chance[KEY_CHANCE_BYTES:],
            peer,
            None,
            origin,
        )
        run = self._create(started, chance, responder, opened)
        machine = run.sessions[0]
        if opened.kind:
            put_unread(self.commits, machine, 0, encoded)
            machine.add_unread(opened, encoded)

    def _create(
        self,
        started: Started,
        chance: bytes,
        definition: Flow[..., object] | Responder,
        opened: Open | None,
    ) -> FlowRun:
        key = new_key(started.time, chance[:KEY_CHANCE_BYTES])
        self.commits.journal[key + bytes(4)] = encode(started)
        run = FlowRun(self, flow_id_at(key), key, definition, FlowMachine([started]), {})
        run.batch_number = self.commits.number
        self.runs.add(run)
        self.counts["started"] += 1
        if opened is not None:
            machine = run.new_session(0, started.origin.peer if started.origin else PeerName(""))
            accept = machine.accept_opened(
                opened,
                version=definition.version,
                app=definition.app,
                app_version=self.app_version(definition.app),
            )
            self.delivery.add(run, machine)
            self.commits.acknowledge(machine.peer, opened.sid, 0)
            self.outbox.add(machine.sid, machine.peer, accept, is_blocked=False)
        self.commits.wake()
        run.start_soon()
        return run

    def wait_durable(self) -> None:
        """Block the calling greenlet until all that was written so far is durable.

        Raises `NodeStopped` if the node stops before: it may be, or not.
        """
        is_durable: list[bool] = []
        signal = self.loop.signal()

        def landed() -> None:
            is_durable.append(True)
            signal.set()

        self.commits.after(landed)
        self._waiting.add(signal)
        try:
            signal.wait()
        finally:
            self._waiting.discard(signal)
        if not is_durable:
            raise NodeStopped("this node stopped before it knew whether that was durable")

    def cut_off(self) -> None:
        """Let nobody wait for ever for a node that has stopped."""
        for signal in list(self._waiting):
            signal.set()
        for run in self.runs.values():
            run.handle.cut_off(
                NodeStopped(
                    f"this node stopped while flow {run.flow_id} ({run.info.name}) was "
                    f"{run.status_text()}; it goes on when the node is started again"
                )
            )

    def handle(self, flow_id: FlowId) -> FlowHandle[object]:
        """Return a handle on a flow that runs, has ended lately, or left a result."""
        run = self.runs.get(flow_id) or self.ended.get(flow_id)
        if run is not None:
            return run.handle
        row = self.commits.get(RESULTS, key_of(flow_id))
        if row is None:
            raise UnknownFlow(f"no flow {flow_id} on this node; it may have ended, leaving nothing")
        key = key_of(flow_id)
        result = self.commits.unreadable.read(RESULTS, key, row, result_decoder.decode)
        progress = ProgressTree((), name=result.flow)
        if result.failed:
            progress.fail(result.words())
        else:
            progress.finish()
        handle: FlowHandle[object] = FlowHandle(
            flow_id=flow_id,
            name=result.flow,
            progress=progress,
            control=self.control,
            status=lambda: result.status,
        )
        decode_result = None
        if not result.failed:
            decode_result = self.host.registry.flow(result.flow).arguments.decode_result
        handle.resolve(Outcome(row=result, decode_result=decode_result), result.status)
        return handle

    def find(self, user: str, client_id: str) -> FlowId | None:
        """Return the flow that a client id of the user stands for, running or ended.

        Another user's id stands for nothing. Raises `ClientIdInvalid`.
        """
        client = self.client_ids.read(client_id)
        return None if client is None or client.user != user else flow_id_at(client.flow)

    def is_running(self, user: str, client_id: str) -> bool | None:
        """Tell whether the flow of a client id still runs; None if there is no such id."""
        client = self.client_ids.of(user, client_id)
        return None if client is None else flow_id_at(client.flow) in self.runs

    def forget(self, user: str, client_id: str) -> bool:
        """Drop the result kept for a client id; False if there is none or the flow still runs.

        Raises `PermissionDenied` if the id is another user's.
        """
        client = self.client_ids.of(user, client_id)
        if client is None or flow_id_at(client.flow) in self.runs:
            return False
        self.client_ids.delete(client_id)
        row = self.commits.get(RESULTS, client.flow)
        if row is not None:
            drop_result(self.commits, client.flow, row)
        self.ended.pop(flow_id_at(client.flow), None)
        self.commits.wake()
        return True

    # --- ending -------------------------------------------------------------------------------

    def completed(self, run: FlowRun, outcome: bytes, value: object) -> None:
        """End a flow whose function returned."""
        self.counts["completed"] += 1
        run.value = value
        self._end(run, Outcome(value=value), outcome, None, None)

    def end_failed(self, run: FlowRun, error: BaseException, error_id: ErrorId) -> None:
        """End a flow with the error that the hospital let it fail with."""
        outcome = encode_outcome(error, error_id)
        told = decode_flow_error(outcome).with_traceback(error.__traceback__)
        # Of use in a debugger or a log, as long as there is one.
        told.__cause__ = error.__cause__ if type(told) is type(error) else error
        self._end(run, Outcome(error=told), outcome, error, error_id)

    def _end(
        self,
        run: FlowRun,
        end: Outcome,
        outcome: bytes,
        error: BaseException | None,
        error_id: ErrorId | None,
    ) -> None:
        """Write a flow's end, with its effects on peers and on the node, into the open batch."""
        commits = self.commits
        if run.sessions:
            conversing.end_sessions(run, list(run.sessions), error, error_id)
            for machine in run.sessions.values():
                for content, _ in machine.unread:
                    remove_unread(commits, machine, content.number)
                self.delivery.bury(machine)
        self.delivery.flow_ended(run.key)
        for callback in self.host.end_callbacks:
            self._call_at_end(callback, run.flow_id)
        self._delete_journal(run)
        if run.machine.status is Status.HELD or run.hold_reason:
            commits.delete(HELD, run.key)
        run.ended_ms = self.clock.now_ms()
        started = run.machine.started
        if started.client_id is not None:
            row = Result(
                started.flow,
                started.version,
                started.user,
                started.client_id,
                started.time,
                run.ended_ms,
                end_status(error),
                outcome,
                error_id,
            )
            keep_result(commits, run.key, row)
        run.machine.move(Input.ENDED)
        self.runs.remove(run)
        self.partly_read.discard(run.flow_id)
        self.unread_broken.pop(run.flow_id, None)
        self._remember(run)
        commits.after(lambda: self._announce_end(run, end))

    def _delete_journal(self, run: FlowRun) -> None:
        commits, key, count = self.commits, run.key, run.machine.index_next
        # The last ones may be in the open batch: those have never been anywhere else.
        while count and commits.journal.pop(key + (count - 1).to_bytes(4, "big"), None):
            count -= 1
        if count:
            commits.batch.delete_series(JOURNAL, key, count)

    def _announce_end(self, run: FlowRun, end: Outcome) -> None:
        """Tell everybody that a flow is over, which is durable now."""
        if run.error is None:
            run.tree.finish()
        else:
            run.tree.fail(words_of(run.error))
        run.handle.resolve(end, end_status(run.error))
        if run.watchers:
            run.changed()

    def _call_at_end(self, callback: EndCallback, flow_id: FlowId) -> None:
        txn = OpenTxn(self.commits, self.host)
        try:
            callback(txn, flow_id)
        except Exception:
            # The flow has ended all the same; what the callback wrote so far is discarded.
            log.exception("a callback at the end of a flow failed", extra={"flow_id": flow_id})
        else:
            txn.apply()

    def _remember(self, run: FlowRun) -> None:
        run.let_go()
        self.ended[run.flow_id] = run
        if len(self.ended) > ENDED_REMEMBERED_MAX:
            self.ended.popitem(last=False)

    # --- verbs ----------------------------------------------------------------------------------

    def retry(self, flow_id: FlowId) -> bool:
        """See `Hospital.retry`."""
        return self.hospital.retry(flow_id)

    def kill(self, flow_id: FlowId) -> bool:
        """See `Hospital.kill`."""
        return self.hospital.kill(flow_id)

    def definition_of(self, started: Started) -> Flow[..., object] | Responder | None:
        """Return the code for a journal, if it is installed."""
        if started.origin is None:
            return self.host.registry.flows.get(started.flow)
        return self.host.registry.responders.get(started.origin.flow)

    # --- odds and ends ----------------------------------------------------------------------------

    def session_opened(self, run: FlowRun, machine: SessionMachine) -> None:
        """Route what arrives for a session that a flow has just opened."""
        self.delivery.add(run, machine)

    def run_atomic(
        self, atomic: AtomicFunction[..., object], arguments: tuple[object, ...]
    ) -> object:
        """See `runtime.host.Runner`."""
        if driver_or_none() is not None:
            raise InFlow(f"in a flow, call {atomic.name}(...) itself instead of run_atomic")
        txn = OpenTxn(self.commits, self.host)
        value = atomic.arguments.call(arguments, txn)
        txn.apply()
        self.wait_durable()
        return value

    def app_version(self, app: str) -> str:
        """Return the installed version of an app, or nothing if it is unknown."""
        # Whoever installs an app may put anything there, and it goes into messages.
        return well_formed(str(self.host.app_versions.get(app, "")))[:NAME_CHARACTERS_MAX]

    def chance(self) -> float:
        """Return a random number in [0, 1)."""
        return int.from_bytes(self.entropy.random_bytes(6), "big") / (1 << 48)
