"""One flow and the greenlet that it lives in: begin, suspend, resume, rebuild, unwind.

Implements `runtime.driver.Driver`: every operation that the flow's code calls arrives here, is
answered from the record while the flow is replaying, and is carried out and journaled after that.
Steps are in `runtime.engine.steps`, sessions in `runtime.engine.conversing`, time in
`runtime.engine.timing`, sub-flows in `runtime.engine.subflows`.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from greenlet import getcurrent, greenlet

from runtime.core.derive import derive, session_id
from runtime.core.events import Accepted, Event, SessionOver, Started, encode
from runtime.core.flow_machine import FlowMachine, Input, Status
from runtime.core.session_machine import SessionMachine
from runtime.driver import FlowGreenlet, FlowInfo
from runtime.engine import conversing, steps, subflows, timing
from runtime.engine.error_ids import words_of
from runtime.engine.session_views import SessionView, SessionViews
from runtime.engine.status import status_of
from runtime.engine.step_scope import StepScope
from runtime.engine.subflows import Failing, Frame
from runtime.engine.unwinding import TAKEN_DOWN, Doomed, refuse_all
from runtime.engine.verdict import interrupt_in, verdict
from runtime.engine.waits import COMMIT, Due, Wait
from runtime.errors import (
    BadMessage,
    FlowSetAside,
    FlowUnwound,
    JournalFull,
    UndecodableEvent,
)
from runtime.flow import Flow, Responder
from runtime.handle import FlowHandle
from runtime.host import Host
from runtime.ids import ErrorId, FlowId, PeerName, UserName
from runtime.places import place_of_error
from runtime.ports import NUMBER_BYTES, NUMBERS
from runtime.progress_tree import ProgressTree
from runtime.session import Session

if TYPE_CHECKING:
    from runtime.engine.manager import FlowManager
    from runtime.ports import Timer

log = logging.getLogger("sennit.flow")

T = TypeVar("T")
_switch: Final = greenlet.switch
_NEW: Final = Status.NEW
_RUNNING: Final = Status.RUNNING
_WAITING: Final = Status.WAITING

# A flow waits for the disk after so many events at the latest: if it never waits by itself, others
# have their turn, and the open batch stays small.
RUN_AHEAD_EVENTS_MAX: Final = 1_000


class FlowRun:
    """See the module."""

    # Slots, because there are thousands of us, with more attributes than CPython shares keys for.
    __slots__ = (
        "__weakref__",
        "ahead_until",
        "awaited_batch",
        "batch_number",
        "commits",
        "deadlines",
        "definition",
        "derived",
        "due",
        "ended_ms",
        "error",
        "error_id",
        "flow_id",
        "frame",
        "greenlet",
        "handle",
        "hold_reason",
        "host",
        "hub",
        "info",
        "is_critical",
        "is_ready",
        "kept_values",
        "key",
        "machine",
        "manager",
        "now",
        "retried_at_index",
        "retries",
        "session_next",
        "sessions",
        "set_aside",
        "shapes",
        "step_number",
        "step_scope",
        "timer",
        "tree",
        "value",
        "views",
        "wait",
        "watchers",
    )

    def __init__(
        self,
        manager: "FlowManager",
        flow_id: FlowId,
        key: bytes,
        definition: Flow[..., object] | Responder | None,
        machine: FlowMachine,
        sessions: dict[int, SessionMachine],
    ) -> None:
        started = machine.started
        self.manager = manager
        self.commits = manager.commits
        self.host: Host = manager.host
        self.hub = manager.hub
        self.now = manager.clock.now_ms
        self.flow_id = flow_id
        self.key = key
        self.machine = machine
        self.sessions = sessions
        self.define(definition, started)
        self.tree = ProgressTree(() if definition is None else definition.labels, name=started.flow)
        self.handle: FlowHandle[object] = FlowHandle(
            flow_id=flow_id,
            name=started.flow,
            progress=self.tree,
            control=manager.control,
            status=self.status_text,
        )
        self.batch_number = 0
        self.awaited_batch = 0
        self.is_critical = False
        self.is_ready = False
        self.retries = 0
        self.retried_at_index = -1
        self.due: Due | None = None  # of the last wait; it outlives the greenlet
        self.error: BaseException | None = None
        self.error_id: ErrorId | None = None
        self.hold_reason = ""
        self.value: object = None
        self.ended_ms: int | None = None
        self.watchers: list[Callable[[], None]] = []
        self.wait: Wait | None = None
        self._reset()

    def define(self, definition: Flow[..., object] | Responder | None, started: Started) -> None:
        """Set the code and the identity."""
        self.definition = definition
        self.info = FlowInfo(
            id=self.flow_id,
            name=started.flow,
            version=started.version,
            user=UserName(started.user),
            client_id=started.client_id,
        )

    def _reset(self) -> None:
        """Forget everything that a replay of the code builds up again."""
        self.greenlet: FlowGreenlet | None = None
        self.views = SessionViews()
        self.session_next = 1
        self.derived: dict[bytes, int] = {}
        self.kept_values: dict[bytes, object] = {}
        self.shapes: dict[str, bytes] = {}
        self.deadlines: list[Due] = []
        self.frame: Frame | None = None
        self.step_number = 0
        # None while there is no greenlet: it refers to us, and an ended flow must be no cycle.
        self.step_scope: StepScope | None = None
        self.set_aside: BaseException | None = None
        self.ahead_until = 0
        self.wait = None
        self.timer: Timer | None = None

    # --- the life of the greenlet -----------------------------------------------------------

    def begin(self) -> None:
        """Enter the flow function in a fresh greenlet; called from the loop."""
        assert self.definition is not None
        self.machine.move(Input.STARTED)
        self.step_scope = StepScope(self)
        self._may_run_ahead()
        self.is_critical = False
        self.frame = Frame("", self.definition, self.tree)
        if self.machine.started.origin is not None:
            beside = self.frame.sessions
            self.views[0] = SessionView.of_responder(self.machine.started.origin, beside)
            beside[0] = None
        self.tree.begin_again(is_replay=self.machine.is_replaying)
        self.greenlet = self.manager.greenlets.greenlet_for(self)
        self.greenlet.switch()
        # A replay does not wait, so it is over; watchers hear of it even if nothing moves soon.
        self.tree.end_replay()

    def main(self) -> None:
        """Run the flow to its end, or until it is taken down; what its greenlet does."""
        value, outcome, error, definition = None, b"", None, self.definition
        assert definition is not None
        try:
            value = self._call()
            self.check_alive()
            conversing.settle(self, self.sessions_of_frame())
            self.machine.ended("the end of the flow")
            value, outcome = definition.arguments.recorded_result(value)
        except BaseException as raised:  # a flow's failure is a value to the engine
            error = raised
        is_mine = getcurrent() is self.greenlet
        aside = self.set_aside if is_mine else None
        if (interrupt := interrupt_in(error, aside)) is not None:
            if is_mine:
                self.manager.hospital.interrupted(self)
            raise interrupt
        if not is_mine:
            # Taken down from outside; whatever the code made of that has no effect.
            return
        error = verdict(self.machine, self.set_aside, error, function=definition.function)
        if error is None:
            self.manager.completed(self, outcome, value)
        else:
            self.manager.hospital.failed(self, error)

    def _call(self) -> object:
        definition, started = self.definition, self.machine.started
        assert definition is not None
        if isinstance(definition, Responder):
            return definition.function(Session(self, 0))
        try:
            arguments = definition.arguments.decode(started.arguments)
        except BadMessage as error:
            self.put_aside(UndecodableEvent(f"the arguments of {started.flow}: {error}"), error)
        return definition.arguments.call(arguments)

    def check_alive(self) -> None:
        """Stop code that has swallowed what takes its greenlet down; call it after user code."""
        if getcurrent() is not self.greenlet or self.set_aside is not None:
            raise FlowUnwound(TAKEN_DOWN)

    def put_aside(self, error: BaseException, cause: BaseException | None = None) -> NoReturn:
        """Unwind the flow that calls this, and hand ``error`` to the hospital."""
        if cause is not None:
            error.__cause__ = cause
        self.set_aside = error
        current = getcurrent()
        assert isinstance(current, FlowGreenlet)
        refuse_all(current)
        raise FlowSetAside(error)

    def resume(self) -> None:
        """Run until the flow suspends again or ends; called from the loop, for what is ready.

        No effect if something else has happened to the flow since it was queued.
        """
        machine, wait = self.machine, self.wait
        if wait is COMMIT:
            if self.awaited_batch > self.commits.durable:
                return
        elif not self.is_ready:
            return
        else:
            self.is_ready = False
            if machine.status is not _WAITING:
                if machine.status is _NEW:
                    self.begin()
                return
            if wait is not None and self.manager.is_replay_checked:
                if self.manager.hospital.reload(self):
                    self.begin()
                return
        assert machine.status is _WAITING
        machine.status = _RUNNING
        self.wait = None
        current = self.greenlet
        assert current is not None
        # Not after a mere commit, a note of it is taken; see `runtime.engine.holding`.
        _switch(current) if wait is COMMIT else current.switch()

    def make_ready(self) -> None:
        """Queue for the next turn; no effect if queued, or if it does not wait, or for the disk."""
        if self.machine.status is _WAITING and self.wait is not COMMIT:
            self.start_soon()

    def start_soon(self) -> None:
        """Queue a flow that is new, or waits."""
        if not self.is_ready:
            self.is_ready = True
            self.manager.ready.append(self)
            self.commits.schedule()

    def suspend(self, wait: Wait, due: Due | None = None) -> None:
        """Give the loop its turn; returns after `make_ready`, which ``due`` calls by itself."""
        self.check_journal()
        self.wait = wait
        self.machine.suspended()
        if self.watchers:
            self.changed()
        if due is not None:
            self.due = due
            self.timer = due.arm(self.manager.loop, self.make_ready)
        _switch(self.hub)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def changed(self) -> None:
        """Tell those who watch the flow."""
        for watcher in list(self.watchers):
            try:
                watcher()
            except Exception:
                log.exception("a watcher of a flow failed", extra={"flow_id": self.flow_id})

    def detach(self) -> Doomed | None:
        """Part with the greenlet, which can't do anything any more; return it to be taken down."""
        doomed, self.greenlet = self.greenlet, None
        if self.timer is not None:
            self.timer.cancel()
        self._reset()
        if doomed is None or doomed.dead:
            return None
        refuse_all(doomed)
        return Doomed(doomed, self.flow_id, self.info.name)

    def unwind(self) -> None:
        """Take the greenlet down, wherever it stands; its ``finally`` blocks have no effect."""
        doomed = self.detach()
        if doomed is not None:
            self.manager.takedowns.at_once(doomed)

    def rebuild(self, machine: FlowMachine) -> None:
        """Take the greenlet down, to begin again from the journal."""
        if self.machine.status is not Status.NEW:
            self.machine.move(Input.RETRIED)
        self.unwind()
        self.machine = machine

    def await_retry(self, delay_ms: int, error: BaseException, due: Callable[[], None]) -> None:
        """Call ``due`` in ``delay_ms`` to run again; called as the greenlet's last act."""
        self.machine.move(Input.RETRIED)
        now = self.now()
        on, source = f"retry after {words_of(error)}", place_of_error(error)
        self.wait = Wait(on=on, since=now, until=now + delay_ms, source=source)
        self.timer = self.manager.loop.call_after(delay_ms, due)

    def let_go(self) -> None:
        """Drop what only a living flow needs; its greenlet is dead or goes on with another."""
        self._reset()
        self.sessions = {}
        self.machine.forget_record()

    def arrived(self, session: int) -> None:
        """Learn that a session got something, or that its peer has accepted."""
        if self.awaits(session):
            self.make_ready()

    def awaits(self, session: int) -> bool:
        """Tell whether the flow waits for this session, so that it reads at once what arrives."""
        wait = self.wait
        return wait is not None and session in wait.sessions and self.machine.status is _WAITING

    def new_session(self, number: int, peer: PeerName) -> SessionMachine:
        """Return a fresh session machine and remember it."""
        sid = session_id(self.machine.started.seed, number)
        machine = SessionMachine(number=number, sid=sid, peer=peer)
        self.sessions[number] = machine
        return machine

    def await_commit(self) -> None:
        """Suspend until everything that the flow did so far is durable."""
        commits, machine = self.commits, self.machine
        while self.batch_number > commits.durable:
            # At most one batch is under way, so what is not in the open one is in that.
            is_open = self.batch_number == commits.number
            (commits.waiters if is_open else commits.flying_waiters).append(self)
            self.awaited_batch = self.batch_number
            self.wait = COMMIT
            assert machine.status is _RUNNING
            machine.status = _WAITING  # as `suspended` does, without the call
            _switch(self.hub)

    # --- the journal ------------------------------------------------------------------------

    def append(self, event: Event) -> None:
        """Journal the outcome of an operation in the open batch."""
        machine, commits = self.machine, self.commits
        assert machine.cursor == len(machine.recorded), "a replay writes nothing"
        index = machine.index_next
        number = NUMBERS[index] if index < len(NUMBERS) else index.to_bytes(NUMBER_BYTES, "big")
        commits.journal[self.key + number] = encode(event)
        machine.index_next = index + 1
        self.batch_number = commits.number
        if not (commits.is_eager and commits.is_scheduled):
            commits.wake()

    def append_fact(self, event: Accepted | SessionOver) -> None:
        """Journal something that the flow did not ask for; it may come during a replay."""
        machine, commits = self.machine, self.commits
        commits.journal[self.key + machine.index_next.to_bytes(4, "big")] = encode(event)
        machine.index_next += 1
        machine.facts += 1
        self.batch_number = commits.number
        commits.wake()

    def give_way(self) -> None:
        """Wait for the disk if the flow is far ahead of it; called by what does not wait itself."""
        if self.machine.index_next >= self.ahead_until and not self.machine.is_replaying:
            self.check_journal()
            self.await_commit()
            self._may_run_ahead()

    def _may_run_ahead(self) -> None:
        ahead = self.machine.index_next + RUN_AHEAD_EVENTS_MAX
        self.ahead_until = min(ahead, self.manager.journal_events_max)

    def check_journal(self) -> None:
        """Set the flow aside if its journal is full; the rest of an operation is always let in."""
        if self.machine.index_next >= self.manager.journal_events_max:
            self.put_aside(JournalFull(self.machine.index_next))

    @property
    def path(self) -> str:
        """The place of the operation that is being asked for."""
        assert self.frame is not None
        return self.frame.path

    def end_failed_subflows(self) -> None:
        """End the sub-flows whose error the code has caught, as is clear from what it asks now."""
        if isinstance(self.frame, Failing):
            self.frame.end()

    def sessions_of_frame(self) -> dict[int, None]:
        """Return the sessions that end with the (sub-)flow that is running."""
        assert self.frame is not None
        return self.frame.sessions

    def status_text(self) -> str:
        """Return the status as users see it."""
        return status_of(self)

    # --- Driver: time, chance, deadlines ------------------------------------------------------

    now_ms = timing.now_ms
    sleep_until = timing.sleep_until
    enter_deadline = timing.enter_deadline
    leave_deadline = timing.leave_deadline

    def derive(self, label: bytes) -> bytes:
        """See `runtime.driver.Driver`."""
        number = self.derived.get(label, 0)
        self.derived[label] = number + 1
        return derive(self.machine.started.seed, label, number)

    def kept(self, label: bytes, make: Callable[[bytes], T]) -> T:
        """See `runtime.driver.Driver`."""
        if label not in self.kept_values:
            self.kept_values[label] = make(self.derive(label))
        return self.kept_values[label]  # type: ignore[return-value]

    def durable(self) -> None:
        """See `runtime.driver.Driver`."""
        if not self.machine.is_replaying:
            self.await_commit()

    def critical(self) -> None:
        """See `runtime.driver.Driver`."""
        self.is_critical = True

    def progress(self, label: str) -> None:
        """See `runtime.driver.Driver`."""
        assert self.frame is not None
        if not self.machine.is_replaying:
            self.tree.end_replay()
        self.frame.tree.set(label)

    # --- Driver: steps and sub-flows ----------------------------------------------------------

    def step_id(self) -> str:
        """See `runtime.driver.Driver`."""
        return f"{self.flow_id}:{self.path}{self.step_number}"

    run_step = steps.run_step
    run_atomic = steps.run_atomic
    run_subflow = subflows.run_subflow

    # --- Driver: sessions ---------------------------------------------------------------------

    initiate = conversing.initiate
    counterparty = conversing.counterparty
    send = conversing.send
    receive = conversing.receive
    peer_info = conversing.peer_info
    close = conversing.close
    where = conversing.where
