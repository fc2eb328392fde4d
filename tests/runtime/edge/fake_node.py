"""A small node in memory, without an engine: flows are greenlets, good for tests of the RPC."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import gevent
import gevent.event

from runtime.codec import pack
from runtime.engine.results import client_key
from runtime.errors import (
    ClientIdInvalid,
    ClientIdTaken,
    FlowException,
    FlowFailed,
    FlowKilled,
    HoldForOperator,
    MisuseError,
    NodeStopped,
    PermissionDenied,
    ResultNotReady,
    SennitError,
    UnknownFlow,
)
from runtime.ids import FlowId, UserName
from runtime.operations import (
    Arguments,
    FlowDetail,
    FlowFilter,
    FlowKind,
    FlowPage,
    FlowResult,
    FlowRow,
    JournalRow,
    NodeInfo,
    OnRepeat,
    PeerRow,
    SessionRow,
    UnclaimedRow,
    Wait,
)
from runtime.progress_tree import ProgressTree
from runtime.signatures import Arguments as Signature


class UnacceptablePrice(FlowException):
    """The price is above what we pay."""

    def __init__(self, price: int) -> None:
        super().__init__(price)
        self.price = price

    def __str__(self) -> str:
        return f"the price {self.price} is too high"


@dataclass
class FakeFlow:
    """One flow of the fake node."""

    id: FlowId
    name: str
    user: UserName
    client_id: str | None
    progress: ProgressTree
    started_ms: int
    values: tuple[object, ...] = ()
    is_forgotten: bool = False
    status: str = "running"
    result: object = None
    error: SennitError | None = None
    ended: gevent.event.Event = field(default_factory=gevent.event.Event)
    release: gevent.event.Event = field(default_factory=gevent.event.Event)
    watchers: list[Callable[[], None]] = field(default_factory=list)

    def changed(self) -> None:
        for watcher in list(self.watchers):
            watcher()


@dataclass
class FakeWatch:
    """A watch on a fake flow."""

    node: "FakeNode"
    flow: FakeFlow
    changed: Callable[[], None]

    def detail(self) -> FlowDetail:
        return self.node.detail(self.flow)

    def close(self) -> None:
        if self.changed in self.flow.watchers:
            self.flow.watchers.remove(self.changed)


class Waits(Exception):
    """A fake flow goes on when a test ends it."""


def add(left: int, right: int) -> int:
    """Add two numbers."""
    return left + right


def buy(price: int) -> str:
    """Buy paper."""
    raise UnacceptablePrice(price)


def crash() -> None:
    raise ZeroDivisionError("a bug in the node")


def hold() -> str:
    """Need an operator."""
    raise HoldForOperator("the machine is broken")


def wait() -> None:
    """Wait until released."""
    raise Waits


FLOWS: dict[str, tuple[int, Callable[..., object]]] = {
    "trade.add": (1, add),
    "trade.buy": (2, buy),
    "trade.crash": (1, crash),
    "trade.hold": (1, hold),
    "trade.wait": (1, wait),
}


class FakeNode:
    """Implements `NodeOperations` for tests. Flow ``trade.wait`` runs until it is released."""

    def __init__(self, name: str = "O=Bank A,L=London,C=GB") -> None:
        self.name = name
        self.by_id: dict[FlowId, FakeFlow] = {}
        self.is_draining = False
        self.is_stopping = gevent.event.Event()
        self.forgotten: list[tuple[str, str]] = []
        self.retried: list[FlowId] = []
        self.results_asked = 0
        self.left_behind: list[str] = []
        self.started_ms = 1_700_000_000_000

    def start_flow(
        self,
        user: UserName,
        flow_name: str,
        arguments: Arguments,
        client_id: str | None,
        on_repeat: OnRepeat = "attach_if_same",
    ) -> FlowId:
        functions = {name: function for name, (_, function) in FLOWS.items()}
        if flow_name not in functions:
            names = ", ".join(functions)
            raise UnknownFlow(f"this node has no flow {flow_name!r}; it has {names}")
        signature = Signature(functions[flow_name])
        values = signature.from_text(arguments.positional, arguments.named)
        if client_id is not None:
            known = self.known(user, flow_name, values, client_id, on_repeat)
            if known is not None:
                return known
        if self.is_draining:
            raise NodeStopped(f"this node is draining; {flow_name} was not started")
        flow_id = FlowId(f"0190-{len(self.by_id):04}")
        flow = FakeFlow(
            flow_id,
            flow_name,
            user,
            client_id,
            ProgressTree(("Asking", "Paying"), name=flow_name),
            self.started_ms + len(self.by_id),
            values,
        )
        flow.progress.watch(lambda change: flow.changed())
        self.by_id[flow_id] = flow
        self.run(flow, signature)
        return flow_id

    def known(
        self,
        user: UserName,
        flow_name: str,
        values: tuple[object, ...],
        client_id: str,
        on_repeat: OnRepeat,
    ) -> FlowId | None:
        """Return the flow that a start with a client id gets, if it is to start none."""
        flow = self.of_client_id(user, client_id)
        if flow is None:
            return None
        is_same = flow.name == flow_name and (on_repeat == "attach" or flow.values == values)
        if not is_same or on_repeat == "refuse":
            raise ClientIdTaken(f"client id {client_id!r} stands for {flow.name}")
        return flow.id

    def of_client_id(self, user: UserName, client_id: str) -> FakeFlow | None:
        """Return the flow of a client id; raises as a node does."""
        client_key(client_id)
        for flow in self.by_id.values():
            if flow.client_id == client_id and not flow.is_forgotten:
                if flow.user != user:
                    raise PermissionDenied(f"client id {client_id!r} belongs to another user")
                return flow
        return None

    def run(self, flow: FakeFlow, signature: Signature) -> None:
        """Do what the flow's function does, or let it wait until a test ends it."""
        try:
            result = signature.call(flow.values)
        except Waits:
            flow.status = "waiting"
            flow.progress.set("Asking")
        except FlowException as error:
            self.end(flow, error=error)
        except HoldForOperator as error:
            flow.status = "held"
            flow.error = error
            flow.changed()
        else:
            flow.progress.set("Asking")
            flow.progress.set("Paying")
            self.end(flow, result=result)

    def end(self, flow: FakeFlow, result: object = None, error: SennitError | None = None) -> None:
        flow.result, flow.error = result, error
        flow.status = "completed" if error is None else "failed"
        if isinstance(error, FlowKilled):
            flow.status = "killed"
        if error is None:
            flow.progress.finish()
        else:
            flow.progress.fail(str(error))
        flow.ended.set()
        flow.changed()

    def find(self, user: UserName, client_id: str) -> FlowId | None:
        try:
            flow = self.of_client_id(user, client_id)
        except PermissionDenied:
            return None
        return None if flow is None else flow.id

    def flow_names(self) -> list[FlowKind]:
        return [
            FlowKind(name, version, Signature(function).text, function.__doc__ or "")
            for name, (version, function) in FLOWS.items()
        ]

    def row(self, flow: FakeFlow) -> FlowRow:
        return FlowRow(
            id=flow.id,
            name=flow.name,
            version=1,
            status=flow.status,
            started_ms=flow.started_ms,
            ended_ms=flow.started_ms + 1_500 if flow.ended.is_set() else None,
            user=flow.user,
            client_id=flow.client_id,
            waits_for="a message from O=Seller" if flow.status == "waiting" else "",
            error=str(flow.error or ""),
        )

    def detail(self, flow: FakeFlow) -> FlowDetail:
        has_result = flow.ended.is_set() and flow.error is None
        return FlowDetail(
            row=self.row(flow),
            place="2",
            wait=Wait(
                "a message of type Offer",
                flow.started_ms,
                whom="O=Seller,L=London,C=GB",
                woken_by="the seller's answer",
            )
            if flow.status == "waiting"
            else None,
            sessions=[SessionRow("0a0b", "O=Seller,L=London,C=GB", "open", "trade.wait", 1, 0, 1)],
            sessions_total=1,
            progress=flow.progress.snapshot(),
            error=("held, asked for: " if flow.status == "held" else "") + str(flow.error or ""),
            error_id="00ff00ff00ff00ff" if flow.error else None,
            result=FlowResult(pack(flow.result), repr(flow.result)) if has_result else None,
            events=3,
        )

    def flow_of(self, flow_id: FlowId) -> FakeFlow:
        if flow_id not in self.by_id:
            raise UnknownFlow(f"this node has no flow with the id {flow_id}")
        return self.by_id[flow_id]

    def flows(self, flow_filter: FlowFilter) -> FlowPage:
        rows = [
            self.row(flow)
            for flow in reversed(self.by_id.values())
            if flow_filter.user in (None, flow.user)
            and fnmatchcase(flow.name, flow_filter.name or "*")
            and (not flow_filter.statuses or flow.status in flow_filter.statuses)
            and flow.started_ms >= (flow_filter.since_ms or 0)
        ]
        rows = [row for row in rows if row.id < (flow_filter.before or "g")]
        end = flow_filter.limit
        return FlowPage(rows[:end], rows[end - 1].id if len(rows) > end else None)

    def flow(self, flow_id: FlowId) -> FlowDetail:
        return self.detail(self.flow_of(flow_id))

    def result(self, flow_id: FlowId, timeout_seconds: float | None) -> FlowResult:
        self.results_asked += 1
        flow = self.flow_of(flow_id)
        if not flow.ended.wait(timeout_seconds):
            raise ResultNotReady(f"flow {flow_id} has not ended yet")
        if flow.error is not None:
            raise flow.error
        return FlowResult(pack(flow.result), repr(flow.result))

    def journal(self, flow_id: FlowId, start: int, limit: int) -> list[JournalRow]:
        flow = self.flow_of(flow_id)
        rows = [
            JournalRow(0, flow.started_ms, "started", "", "", 12, f"{flow.name}()"),
            JournalRow(1, flow.started_ms + 1, "sent", "1", "O=Seller", 40, "Offer(price=3)"),
            JournalRow(2, flow.started_ms + 2, "received", "2", "O=Seller", 7, "'sold'"),
        ]
        return rows[start : start + min(limit, 2)]

    def watch(self, flow_id: FlowId, changed: Callable[[], None]) -> FakeWatch:
        flow = self.flow_of(flow_id)
        flow.watchers.append(changed)
        return FakeWatch(self, flow, changed)

    def retry(self, flow_id: FlowId) -> None:
        flow = self.flow_of(flow_id)
        if flow.status != "held":
            raise MisuseError(f"flow {flow_id} is {flow.status}; only a held flow can be retried")
        self.retried.append(flow_id)
        flow.error = None
        self.end(flow, result="repaired")

    def kill(self, flow_id: FlowId) -> bool:
        flow = self.flow_of(flow_id)
        if flow.ended.is_set():
            return False
        self.end(flow, error=FlowKilled(f"killed {flow_id}"))
        return True

    def forget(self, user: UserName, client_id: str) -> None:
        flow = self.of_client_id(user, client_id)
        if flow is None:
            raise ClientIdInvalid(f"nothing is kept for client id {client_id!r}")
        if not flow.ended.is_set():
            raise MisuseError(f"the flow of client id {client_id!r} still runs")
        flow.is_forgotten = True
        self.forgotten.append((user, client_id))

    def peers(self) -> list[PeerRow]:
        return [PeerRow("O=Seller,L=London,C=GB", "unreachable", 1_700_000_000_000, 3, 1)]

    def unclaimed(self) -> list[UnclaimedRow]:
        return [UnclaimedRow("O=Seller,L=London,C=GB", "other.sell", 1, 5, 7)]

    def drop_unclaimed(self, flow_name: str) -> int:
        return int(flow_name == "other.sell")

    def drain(self, *, is_on: bool) -> None:
        self.is_draining = is_on

    def stop(self) -> None:
        self.is_stopping.set()

    def info(self) -> NodeInfo:
        return NodeInfo(
            name=self.name,
            identity="ed25519:1f2e",
            addresses=["tcp://127.0.0.1:10001"],
            rpc_address="tcp://127.0.0.1:10002",
            version="0.1.0",
            started_ms=self.started_ms,
            uptime_ms=int(time.monotonic() * 1000),
            commits=42,
            flows_held=sum(flow.status == "held" for flow in self.by_id.values()),
            flows_live=sum(not flow.ended.is_set() for flow in self.by_id.values()),
            is_draining=self.is_draining,
            left_behind=self.left_behind,
            flows_started=1_007,
            flows_completed=1_001,
            flows_failed=4,
            flows_without_room=2,
            messages_resent=12,
            messages_dropped={"out of turn": 1, "no room": 30},
        )

    def fail_otherwise(self, flow_id: FlowId) -> None:
        """End a flow as one that raised something that is no `FlowException`."""
        self.end(self.flow_of(flow_id), error=FlowFailed("00ff", "builtins.ValueError", "no"))
