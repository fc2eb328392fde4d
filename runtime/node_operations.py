"""What operators can ask of a running node, answered from its engine."""

from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from runtime.edge.watchdog import Watchdog
from runtime.engine.engine import Engine
from runtime.engine.flow_run import FlowRun
from runtime.engine.journal_view import journal_rows
from runtime.engine.results import Result
from runtime.engine.status import status_of
from runtime.error_codec import message_of
from runtime.errors import (
    ClientIdInvalid,
    FlowException,
    FlowFailed,
    FlowKilled,
    MisuseError,
    NodeStopped,
    ResultNotReady,
    SennitError,
    UnknownFlow,
    UnknownParty,
)
from runtime.flow import Flow
from runtime.flow_lists import checked_id, page_of_flows
from runtime.flow_rows import detail_of_run, result_of
from runtime.ids import FlowId, UserName
from runtime.kept_flows import failure_of, kept_result, row_of
from runtime.node_state import peer_rows, store_row
from runtime.operations import (
    FLOWS_LIMIT_MAX,
    JOURNAL_LIMIT_MAX,
    Arguments,
    FlowDetail,
    FlowFilter,
    FlowKind,
    FlowPage,
    FlowResult,
    FlowWatch,
    JournalRow,
    LimitRow,
    NodeInfo,
    OnRepeat,
    PeerRow,
    ThreadRow,
    UnclaimedRow,
)
from runtime.party import Party
from runtime.starting import StartOptions

THREADS_SHOWN_MAX = 100


class EngineOperations:
    """Implements `runtime.operations.NodeOperations`."""

    def __init__(
        self, engine: Engine, *, addresses: Sequence[str], ask_to_stop: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._addresses = list(addresses)
        self._ask_to_stop = ask_to_stop
        self._started_ms = engine.clock.now_ms()
        self.rpc_address = ""
        self.watchdog: Watchdog | None = None
        # What tells limits by name, with what is used of each; other parts of a node add theirs.
        self.usages = [engine.manager.delivery.quotas.usage]

    # --- flows --------------------------------------------------------------------------------

    def start_flow(
        self,
        user: UserName,
        flow_name: str,
        arguments: Arguments,
        client_id: str | None,
        on_repeat: OnRepeat = "attach_if_same",
    ) -> FlowId:
        """See `runtime.operations.NodeOperations`."""
        flow = self._engine.host.registry.flow(flow_name)
        if client_id is None or self.find(user, client_id) is None:
            self._refuse_without_store(flow.name)
        bound = flow.arguments.from_text(
            arguments.positional, arguments.named, convert=self._convert
        )
        args, kwargs = flow.arguments.as_call(bound)
        options = StartOptions(user=user, client_id=client_id, on_repeat=on_repeat)
        handle = self._engine.start_flow(flow, args, kwargs, options, is_awaited=True)
        return handle.id

    def find(self, user: UserName, client_id: str) -> FlowId | None:
        """See `runtime.operations.NodeOperations`."""
        return self._engine.manager.find(user, client_id)

    def flow_names(self) -> list[FlowKind]:
        """See `runtime.operations.NodeOperations`."""
        flows = self._engine.host.registry.flows
        return [_kind(flows[name]) for name in sorted(flows)]

    def flows(self, flow_filter: FlowFilter) -> FlowPage:
        """See `runtime.operations.NodeOperations`."""
        return page_of_flows(self._engine.manager, flow_filter)

    def flow(self, flow_id: FlowId) -> FlowDetail:
        """See `runtime.operations.NodeOperations`."""
        run = self._run_or_none(flow_id)
        return self._kept_detail(flow_id) if run is None else detail_of_run(run)

    def result(self, flow_id: FlowId, timeout_seconds: float | None) -> FlowResult:
        """See `runtime.operations.NodeOperations`."""
        handle = self._engine.manager.handle(checked_id(flow_id))
        try:
            value = handle.result(timeout_seconds)
        except (FlowException, FlowKilled, FlowFailed):
            raise
        except ResultNotReady:
            if not handle.is_ended:
                raise
            raise self._failed(flow_id) from None
        except Exception:
            raise self._failed(flow_id) from None
        return result_of(value)

    def journal(self, flow_id: FlowId, start: int, limit: int) -> list[JournalRow]:
        """See `runtime.operations.NodeOperations`."""
        run = self._run(flow_id)
        return journal_rows(self._engine.commits, run, start, min(limit, JOURNAL_LIMIT_MAX))

    def watch(self, flow_id: FlowId, changed: Callable[[], None]) -> FlowWatch:
        """See `runtime.operations.NodeOperations`."""
        run = self._run_or_none(flow_id)
        if run is None:
            return EndedFlowWatch(self._kept_detail(flow_id))
        return EngineFlowWatch(run, changed)

    def retry(self, flow_id: FlowId) -> None:
        """See `runtime.operations.NodeOperations`."""
        run = self._run(flow_id)
        if not self._engine.manager.retry(flow_id):
            raise MisuseError(
                f"flow {flow_id} is {status_of(run)}; only a held flow whose app is installed "
                "can be retried"
            )

    def kill(self, flow_id: FlowId) -> bool:
        """See `runtime.operations.NodeOperations`."""
        if self._run_or_none(flow_id) is None:
            self._kept(flow_id)
        was_alive = self._engine.manager.kill(flow_id)
        if was_alive:
            self._engine.wait_durable()
        return was_alive

    def forget(self, user: UserName, client_id: str) -> None:
        """See `runtime.operations.NodeOperations`."""
        manager = self._engine.manager
        is_running = manager.is_running(user, client_id)
        if is_running is None:
            raise ClientIdInvalid(f"nothing is kept for client id {client_id!r}")
        if is_running:
            raise MisuseError(
                f"the flow of client id {client_id!r} still runs; wait for its end, or kill it"
            )
        manager.forget(user, client_id)
        self._engine.wait_durable()

    # --- the node -----------------------------------------------------------------------------

    def peers(self) -> list[PeerRow]:
        """See `runtime.operations.NodeOperations`."""
        return peer_rows(self._engine)

    def unclaimed(self) -> list[UnclaimedRow]:
        """See `runtime.operations.NodeOperations`."""
        delivery = self._engine.manager.delivery
        delivery.unclaimed.forget_silent()
        rows = [
            UnclaimedRow(peer, entry.flow, entry.version, entry.since_ms, entry.seen_ms)
            for peer, _, entry in delivery.unclaimed.items()
        ]
        return sorted(rows, key=lambda row: row.since_ms)[:FLOWS_LIMIT_MAX]

    def drop_unclaimed(self, flow_name: str) -> int:
        """See `runtime.operations.NodeOperations`."""
        count = self._engine.manager.delivery.drop_unclaimed(flow_name)
        if count:
            self._engine.wait_durable()
        return count

    def drain(self, *, is_on: bool) -> None:
        """See `runtime.operations.NodeOperations`."""
        self._engine.manager.is_draining = is_on

    def stop(self) -> None:
        """See `runtime.operations.NodeOperations`."""
        self._ask_to_stop()

    def info(self) -> NodeInfo:
        """See `runtime.operations.NodeOperations`."""
        engine, manager = self._engine, self._engine.manager
        now = engine.clock.now_ms()
        threads = engine.loop.threads()
        left_behind = manager.takedowns.left_behind()
        return NodeInfo(
            name=engine.host.me.name,
            identity=str(engine.host.me.key),
            addresses=self._addresses,
            rpc_address=self.rpc_address,
            version=sennit_version(),
            started_ms=self._started_ms,
            uptime_ms=now - self._started_ms,
            commits=engine.commits.commits,
            flows_live=len(manager.runs),
            flows_held=len(manager.runs.held),
            is_draining=manager.is_draining,
            unacknowledged=len(engine.outbox),
            step_threads_max=threads.threads_max,
            step_threads_waited_for=threads.waiting,
            step_threads=[
                ThreadRow(row.what, row.for_ms, row.is_left)
                for row in threads.occupants[:THREADS_SHOWN_MAX]
            ],
            freezes=0 if self.watchdog is None else self.watchdog.freezes,
            freeze_ms_longest=0 if self.watchdog is None else self.watchdog.longest_ms,
            left_behind=[str(doomed) for doomed in left_behind[:THREADS_SHOWN_MAX]],
            store=store_row(engine),
            peers_unreachable=sum(
                bool(row.messages) and row.status != "reachable" for row in self.peers()
            ),
            unreadable=list(engine.commits.unreadable.rows.values()),
            flows_started=manager.counts["started"],
            flows_completed=manager.counts["completed"],
            flows_failed=manager.counts["failed"],
            messages_resent=engine.outbox.resent,
            messages_dropped=dict(manager.delivery.dropped),
            flows_without_room=len(engine.outbox.queue),
            limits=[LimitRow(*row) for usage in self.usages for row in usage()],
        )

    def party(self, name: str) -> Party:
        """Return a party by legal name, or by its organisation if only one has it."""
        parties = self._engine.host.directory.parties()
        found = [party for party in parties if party.name == name]
        found = found or [party for party in parties if _organisation(party) == name.casefold()]
        if len(found) == 1:
            return found[0]
        known = "; ".join(sorted(party.name for party in parties))
        problem = "is the name of several parties" if found else "is no party of this network"
        raise UnknownParty(f"{name!r} {problem}; it has: {known}")

    def _refuse_without_store(self, flow_name: str) -> None:
        """Refuse a start that could only wait, nobody knows how long, to become durable."""
        trouble = self._engine.commits.store.status().trouble
        if trouble:
            raise NodeStopped(
                f"{flow_name} was not started: the store of this node can't be written just now "
                f"({trouble}). Make room or mend the disk; the node then goes on by itself"
            )

    def _convert(self, annotation: object, text: str) -> object:
        return self.party(text) if annotation is Party else NotImplemented

    # --- helpers ------------------------------------------------------------------------------

    def _run_or_none(self, flow_id: FlowId) -> FlowRun | None:
        manager = self._engine.manager
        return manager.runs.get(flow_id) or manager.ended.get(flow_id)

    def _run(self, flow_id: FlowId) -> FlowRun:
        run = self._run_or_none(flow_id)
        if run is None:
            self._kept(flow_id)
            raise UnknownFlow(
                f"flow {flow_id} ended before this node was started; only its result is left"
            )
        return run

    def _kept(self, flow_id: FlowId) -> Result:
        kept = kept_result(self._engine.commits, checked_id(flow_id))
        if kept is None:
            raise UnknownFlow(
                f"no flow {flow_id} runs here or has ended lately; "
                "`sennit flow list` shows those that do"
            )
        return kept

    def _kept_detail(self, flow_id: FlowId) -> FlowDetail:
        kept = self._kept(flow_id)
        row = row_of(flow_id, kept)
        try:
            result = None if kept.failed else self.result(flow_id, 0)
        except SennitError as error:
            # Its app is not installed any more; all else can be told.
            return FlowDetail(row=row, error=f"the result can't be read: {error}")
        return FlowDetail(row=row, error=row.error, error_id=kept.error_id, result=result)

    def _failed(self, flow_id: FlowId) -> FlowFailed:
        manager = self._engine.manager
        run = manager.ended.get(flow_id)
        if run is None or run.error is None:
            return failure_of(self._kept(flow_id))
        kind = f"{type(run.error).__module__}.{type(run.error).__qualname__}"
        return FlowFailed(run.error_id or "", kind, message_of(run.error))


class EngineFlowWatch:
    """Implements `runtime.operations.FlowWatch`."""

    def __init__(
        self,
        run: FlowRun,
        changed: Callable[[], None],
    ) -> None:
        self._run = run
        self._changed = changed
        run.watchers.append(changed)
        self._unwatch_tree: Callable[[], None] | None = run.tree.watch(lambda _: changed())

    def detail(self) -> FlowDetail:
        """See `runtime.operations.FlowWatch`."""
        return detail_of_run(self._run)

    def close(self) -> None:
        """See `runtime.operations.FlowWatch`."""
        if self._unwatch_tree is not None:
            self._unwatch_tree()
            self._unwatch_tree = None
            self._run.watchers.remove(self._changed)


class EndedFlowWatch:
    """Implements `runtime.operations.FlowWatch` for a flow of which only the result is left."""

    def __init__(self, detail: FlowDetail) -> None:
        self._detail = detail

    def detail(self) -> FlowDetail:
        """See `runtime.operations.FlowWatch`."""
        return self._detail

    def close(self) -> None:
        """See `runtime.operations.FlowWatch`."""


@cache
def sennit_version() -> str:
    """Return the installed version of this distribution; looked up once, for that reads files."""
    try:
        return version("sennit")
    except PackageNotFoundError:
        return "unknown"


def _kind(flow: Flow[..., object]) -> FlowKind:
    doc = (flow.__doc__ or "").strip().partition("\n")[0]
    return FlowKind(name=flow.name, version=flow.version, signature=flow.arguments.text, doc=doc)


def _organisation(party: Party) -> str:
    for part in party.name.split(","):
        key, _, value = part.partition("=")
        if key == "O":
            return value.casefold()
    return ""
