"""One flow and the greenlet that it lives in: begin, suspend, resume, rebuild, unwind.

Implements `runtime.driver.Driver`: every operation that the flow's code calls arrives here, is
answered from the record while the flow is replaying, and is carried out and journaled after that.
Steps are in `runtime.engine.steps`, sessions in `runtime.engine.conversing`.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from greenlet import getcurrent, greenlet

from runtime.codec import fingerprint
from runtime.core.derive import derive, session_id
from runtime.core.events import (
    Clocked,
    DeadlineSet,
    Entered,
    Event,
    Left,
    Slept,
    TimedOut,
    encode,
)
from runtime.core.flow_machine import FlowMachine, Input, Status
from runtime.core.session_machine import SessionMachine
from runtime.driver import FlowGreenlet, FlowInfo
from runtime.engine import conversing, steps
from runtime.engine.conversing import SessionView
from runtime.engine.waits import COMMIT, Wait
from runtime.errors import Diverged, FlowDiverged, FlowTimeout, FlowUnwound
from runtime.flow import Flow, Responder
from runtime.handle import FlowHandle
from runtime.host import Host
from runtime.ids import ErrorId, FlowId, PeerName, UserName
from runtime.progress_tree import ProgressTree
from runtime.session import Session

if TYPE_CHECKING:
    from runtime.engine.manager import FlowManager
    from runtime.ports import Timer

T = TypeVar("T")
_switch: Final = greenlet.switch


class Unwinding:
    """The driver of a greenlet that is being taken down: every operation raises again."""

    def __getattr__(self, name: str) -> object:
        raise FlowUnwound(f"the flow is being taken down; {name} writes nothing")


class Frame:
    """One level of initiating (sub-)flow: the place of its events, its protocol, its sessions."""

    __slots__ = ("app", "flow", "path", "sessions", "tree", "version")

    def __init__(self, path: str, definition: Flow[..., object] | Responder, tree: ProgressTree):
        self.path = path
        self.flow = definition.name
        self.version = definition.version
        self.app = definition.app
        self.tree = tree
        self.sessions: list[int] = []


class FlowRun:
    """See the module."""

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
        self.hub = manager.loop.hub
        self.now = manager.clock.now_ms
        self.flow_id = flow_id
        self.key = key
        self.definition = definition
        self.machine = machine
        self.sessions = sessions
        self.info = FlowInfo(
            id=flow_id,
            name=started.flow,
            version=started.version,
            user=UserName(started.user),
            client_id=started.client_id,
        )
        self.tree = ProgressTree(() if definition is None else definition.labels, name=started.flow)
        self.handle: FlowHandle[object] = FlowHandle(
            flow_id=flow_id,
            name=started.flow,
            progress=self.tree,
            signal=manager.loop.signal(),
            status=self.status_text,
        )
        self.batch_number = 0
        self.is_critical = False
        self.is_ready = False
        self.retries = 0
        self.retried_at_index = -1
        self.error: BaseException | None = None
        self.error_id: ErrorId | None = None
        self.hold_reason = ""
        self.value: object = None
        self.ended_ms: int | None = None
        self.watchers: list[Callable[[], None]] = []
        self.wait: Wait | None = None
        self._reset()

    def _reset(self) -> None:
        """Forget everything that a replay of the code builds up again."""
        self.greenlet: FlowGreenlet | None = None
        self.views: dict[int, SessionView] = {}
        self.session_next = 1
        self.derived: dict[bytes, int] = {}
        self.kept_values: dict[bytes, object] = {}
        self.deadlines: list[int] = []
        self.frame: Frame | None = None
        self.step_place = ""
        self.wait = None
        self.timer: Timer | None = None

    # --- the life of the greenlet -----------------------------------------------------------

    def begin(self) -> None:
        """Enter the flow function in a fresh greenlet; called from the loop."""
        assert self.definition is not None
        self.machine.move(Input.STARTED)
        self.is_critical = False
        self.frame = Frame("", self.definition, self.tree)
        if self.machine.started.origin is not None:
            self.views[0] = SessionView.of_responder(self.machine.started.origin)
            self.frame.sessions.append(0)
        self.tree.begin_replay()
        if not self.machine.is_replaying:
            self.tree.end_replay()
        self.greenlet = FlowGreenlet(self._main, self.hub, self)
        self.greenlet.switch()

    def _main(self) -> None:
        try:
            result = self._call()
            conversing.settle(self, self.sessions_of_frame())
            self.machine.ended()
            assert self.definition is not None
            outcome = self.definition.arguments.encode_result(result)
        except FlowDiverged as unwound:
            self.manager.failed(self, self._located(unwound.report))
        except FlowUnwound:
            return
        except BaseException as error:  # a flow's failure is a value to the engine
            self.manager.failed(self, error)
        else:
            self.manager.completed(self, outcome, result)

    def _call(self) -> object:
        definition, started = self.definition, self.machine.started
        assert definition is not None
        if isinstance(definition, Responder):
            return definition.function(Session(self, 0))
        return definition.arguments.call(definition.arguments.decode(started.arguments))

    def resume(self) -> None:
        """Run until the flow suspends again or ends; called from the loop, once made ready."""
        self.is_ready = False
        status = self.machine.status
        if status is Status.WAITING:
            self.machine.move(Input.RESUMED)
            self.wait = None
            assert self.greenlet is not None
            self.greenlet.switch()
        elif status is Status.NEW:
            self.begin()

    def make_ready(self) -> None:
        """Queue for the next turn; no effect if queued, or if the flow neither waits nor starts."""
        if not self.is_ready and self.machine.status in (Status.WAITING, Status.NEW):
            self.is_ready = True
            self.manager.ready.append(self)
            self.commits.schedule()

    def suspend(self, wait: Wait) -> None:
        """Give the loop its turn; returns after `make_ready`. A deadline makes ready by itself."""
        self.wait = wait
        self.machine.move(Input.SUSPENDED)
        if wait is COMMIT:
            _switch(self.hub)
            return
        if self.watchers:
            self.changed()
        if wait.until is not None:
            self.timer = self.manager.loop.call_at(wait.until, self.make_ready)
        _switch(self.hub)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def changed(self) -> None:
        """Tell those who watch the flow."""
        for watcher in list(self.watchers):
            watcher()

    def unwind(self) -> None:
        """Take the greenlet down, wherever it stands; its ``finally`` blocks have no effect."""
        taken_down, self.greenlet = self.greenlet, None
        if self.timer is not None:
            self.timer.cancel()
        if taken_down is not None and not taken_down.dead:
            taken_down.driver = Unwinding()  # type: ignore[assignment]
            # When it is dead, control goes to its parent: that must be us, wherever we run.
            taken_down.parent = getcurrent()
            taken_down.throw(FlowUnwound("the flow is being taken down"))
        self._reset()

    def rebuild(self, machine: FlowMachine) -> None:
        """Prepare to run again from the journal."""
        self.unwind()
        self.machine = machine
        self.make_ready()

    def await_retry(self, time_ms: int, error: BaseException) -> None:
        """Run again from the journal at ``time_ms``; called as the greenlet's last act."""
        self.machine.move(Input.RETRIED)
        self.wait = Wait(on=f"retry after {error}", since=self.now(), until=time_ms)
        self.timer = self.manager.loop.call_at(time_ms, self.manager.retry_callback(self))

    def arrived(self, session: int) -> None:
        """Learn that a session got something, or that its peer has accepted."""
        wait = self.wait
        if wait is not None and session in wait.sessions and self.machine.status is Status.WAITING:
            self.make_ready()

    def new_session(self, number: int, peer: PeerName) -> SessionMachine:
        """Return a fresh session machine and remember it."""
        sid = session_id(self.machine.started.seed, number)
        machine = SessionMachine(number=number, sid=sid, peer=peer)
        self.sessions[number] = machine
        return machine

    @property
    def key_end(self) -> bytes:
        """The key after the last that the flow's journal can have."""
        return self.key + b"\xff\xff\xff\xff\xff"

    def await_commit(self) -> None:
        """Suspend until everything that the flow did so far is durable."""
        commits = self.commits
        while self.batch_number > commits.durable:
            commits.wait(self, self.batch_number)
            self.suspend(COMMIT)

    # --- the journal ------------------------------------------------------------------------

    def append(self, event: Event) -> None:
        """Journal ``event`` in the open batch."""
        machine, commits = self.machine, self.commits
        commits.journal[self.key + machine.index_next.to_bytes(4, "big")] = encode(event)
        machine.index_next += 1
        self.batch_number = commits.number
        if not commits.is_eager:
            commits.wake()
        elif not commits.is_scheduled:
            commits.schedule()

    @property
    def path(self) -> str:
        """The place of the operation that is being asked for."""
        assert self.frame is not None
        return self.frame.path

    def sessions_of_frame(self) -> list[int]:
        """Return the sessions that end with the (sub-)flow that is running."""
        assert self.frame is not None
        return self.frame.sessions

    def status_text(self) -> str:
        """Return the status as users see it."""
        match self.machine.status:
            case Status.ENDED:
                return "completed" if self.error is None else "failed"
            case Status.HELD:
                return "held"
            case Status.WAITING if self.wait is not None and not self.wait.by_commit:
                return "waiting"
            case _:
                return "running"

    def _located(self, report: Diverged) -> Diverged:
        """Add the source line of the flow at which it diverged."""
        frame = sys.exc_info()[2]
        source = ""
        while frame is not None:
            module = frame.tb_frame.f_globals.get("__name__", "")
            if not module.startswith("runtime."):
                source = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"
            frame = frame.tb_next
        return Diverged(report.place, report.recorded, report.asked, source)

    # --- Driver: time, chance, deadlines ------------------------------------------------------

    def now_ms(self) -> int:
        """See `runtime.driver.Driver`."""
        event = self.machine.clocked(path=self.path)
        if event is None:
            event = Clocked(self.now(), self.path)
            self.append(event)
        return event.time

    def sleep_until(self, time_ms: int | None, delay_ms: int) -> None:
        """See `runtime.driver.Driver`."""
        event = self.machine.slept(path=self.path)
        if event is None:
            now = self.now()
            event = Slept(now, self.path, now + delay_ms if time_ms is None else time_ms)
            self.append(event)
        until = event.until
        deadline = self.deadline()
        if deadline is not None and deadline < until:
            self.wait_for(Wait(on="sleep", since=event.time), wake_at=deadline)
            self.raise_timeout()
        if not self.machine.is_replaying:
            self.wait_for(Wait(on="sleep", since=event.time), wake_at=until)

    def wait_for(self, wait: Wait, *, wake_at: int) -> None:
        """Suspend until a time has come, unless the replay already goes on behind it."""
        while not self.machine.is_replaying and self.now() < wake_at:
            self.suspend(Wait(on=wait.on, since=wait.since, until=wake_at))

    def raise_timeout(self) -> None:
        """Journal that a wait timed out, or match that it did, and raise it."""
        until = self.deadline()
        assert until is not None
        if self.machine.timed_out(path=self.path) is None:
            self.append(TimedOut(self.now(), self.path, until))
        raise FlowTimeout("a timeout ran out while the flow was waiting")

    def deadline(self) -> int | None:
        """Return the earliest deadline that bounds a wait now."""
        return min(self.deadlines) if self.deadlines else None

    def enter_deadline(self, delay_ms: int) -> None:
        """See `runtime.driver.Driver`."""
        event = self.machine.deadline_set(path=self.path)
        if event is None:
            now = self.now()
            event = DeadlineSet(now, self.path, now + delay_ms)
            self.append(event)
        self.deadlines.append(event.until)

    def leave_deadline(self) -> None:
        """See `runtime.driver.Driver`."""
        self.deadlines.pop()

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
        return f"{self.flow_id}:{self.step_place}"

    run_step = steps.run_step
    run_atomic = steps.run_atomic

    def run_subflow(self, flow: Flow[..., object], arguments: tuple[object, ...]) -> object:
        """See `runtime.driver.Driver`."""
        caller = self.frame
        assert caller is not None
        mark = fingerprint(flow.arguments.encode(arguments))
        index = self.machine.position()
        if self.machine.entered(path=caller.path, flow=flow.name, arguments=mark) is None:
            self.append(Entered(self.now(), caller.path, flow.name, flow.version, mark))
        tree = caller.tree.child(flow.name, flow.labels)
        self.frame = Frame(f"{caller.path}{index}/", flow, tree)
        try:
            value = flow.arguments.call(arguments)
            conversing.settle(self, self.sessions_of_frame())
        except FlowUnwound:
            raise
        except BaseException as error:
            self._leave(flow, error)
            tree.fail(str(error))
            raise
        else:
            self._leave(flow, None)
            tree.finish()
            return value
        finally:
            self.frame = caller

    def _leave(self, flow: Flow[..., object], error: BaseException | None) -> None:
        failed = error is not None
        if self.machine.left(path=self.path, flow=flow.name, failed=failed) is None:
            self.append(Left(self.now(), self.path, flow.name, failed))
            conversing.end_sessions(self, self.sessions_of_frame(), error)
        for number in self.sessions_of_frame():
            self.views[number].is_closed = True

    # --- Driver: sessions ---------------------------------------------------------------------

    initiate = conversing.initiate
    counterparty = conversing.counterparty
    send = conversing.send
    receive = conversing.receive
    peer_info = conversing.peer_info
    close = conversing.close
    where = conversing.where
