"""What operators can ask of a running node, answered from its engine."""

import fnmatch
import heapq
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version

import msgspec

from runtime.codec import pack
from runtime.config import NodeConfig
from runtime.edge.watchdog import Watchdog
from runtime.engine.engine import Engine
from runtime.engine.flow_ids import key_of
from runtime.engine.flow_run import FlowRun
from runtime.engine.journal_view import journal_rows
from runtime.engine.results import Result
from runtime.engine.status import status_of
from runtime.engine.waits import COMMIT
from runtime.errors import (
    ClientIdInvalid,
    FlowException,
    FlowFailed,
    FlowKilled,
    MisuseError,
    SennitError,
    UnknownFlow,
    UnknownParty,
)
from runtime.flow import Flow
from runtime.ids import FlowId, UserName
from runtime.kept_flows import failure_of, kept_result, kept_rows, row_of
from runtime.operations import (
    FLOWS_EXAMINED_MAX,
    FLOWS_LIMIT_MAX,
    JOURNAL_LIMIT_MAX,
    Arguments,
    FlowDetail,
    FlowFilter,
    FlowKind,
    FlowPage,
    FlowResult,
    FlowRow,
    FlowWatch,
    JournalRow,
    LimitRow,
    NodeInfo,
    SessionRow,
    ThreadRow,
    UnclaimedRow,
    Wait,
)
from runtime.party import Party

SESSIONS_SHOWN_MAX = 100
RESULT_CHARACTERS_MAX = 2_000
THREADS_SHOWN_MAX = 100


class EngineOperations:
    """Implements `runtime.operations.NodeOperations`."""

    def __init__(self, engine: Engine, config: NodeConfig, ask_to_stop: Callable[[], None]) -> None:
        self._engine = engine
        self._config = config
        self._ask_to_stop = ask_to_stop
        self._started_ms = engine.clock.now_ms()
        self.rpc_address = ""
        self.watchdog: Watchdog | None = None

    # --- flows --------------------------------------------------------------------------------

    def start_flow(
        self, user: UserName, flow_name: str, arguments: Arguments, client_id: str | None
    ) -> FlowId:
        """See `runtime.operations.NodeOperations`."""
        flow = self._engine.host.registry.flow(flow_name)
        bound = flow.arguments.from_text(
            arguments.positional, arguments.named, convert=self._convert
        )
        handle = self._engine.start_flow(
            flow, bound, client_id=client_id, user=user, is_awaited=True
        )
        return handle.id

    def flow_names(self) -> list[FlowKind]:
        """See `runtime.operations.NodeOperations`."""
        flows = self._engine.host.registry.flows
        return [_kind(flows[name]) for name in sorted(flows)]

    def flows(self, flow_filter: FlowFilter) -> FlowPage:
        """See `runtime.operations.NodeOperations`."""
        limit = min(flow_filter.limit, FLOWS_LIMIT_MAX)
        before = None if flow_filter.before is None else _checked(FlowId(flow_filter.before))
        shown: list[FlowRow] = []
        # One more than is shown tells whether there are more.
        for number, row in enumerate(self._newest_first(before, limit + 1), start=1):
            if _fits(row, flow_filter):
                if len(shown) == limit:
                    return FlowPage(shown, shown[-1].id)
                shown.append(row)
            if number == FLOWS_EXAMINED_MAX:
                return FlowPage(shown, row.id)
        return FlowPage(shown)

    def _newest_first(self, before: FlowId | None, page_rows: int) -> Iterator[FlowRow]:
        """Yield all flows that are known; their ids sort by the time of their start."""
        manager = self._engine.manager
        runs = {**manager.ended, **manager.runs}
        ids = sorted((i for i in runs if before is None or i < before), reverse=True)
        in_memory = (self._row(runs[flow_id]) for flow_id in ids)
        kept = kept_rows(self._engine.commits, before, page_rows)
        others = (row for row in kept if FlowId(row.id) not in runs)
        return heapq.merge(in_memory, others, key=lambda row: row.id, reverse=True)

    def flow(self, flow_id: FlowId) -> FlowDetail:
        """See `runtime.operations.NodeOperations`."""
        run = self._run_or_none(flow_id)
        return self._kept_detail(flow_id) if run is None else self._detail(run)

    def result(self, flow_id: FlowId, timeout_seconds: float | None) -> FlowResult:
        """See `runtime.operations.NodeOperations`."""
        handle = self._engine.manager.handle(_checked(flow_id))
        try:
            value = handle.result(timeout_seconds)
        except (FlowException, FlowKilled, FlowFailed):
            raise
        except TimeoutError:
            if not handle.is_ended:
                raise
            raise self._failed(flow_id) from None
        except Exception:
            raise self._failed(flow_id) from None
        return _result(value)

    def journal(self, flow_id: FlowId, start: int, limit: int) -> list[JournalRow]:
        """See `runtime.operations.NodeOperations`."""
        run = self._run(flow_id)
        return journal_rows(self._engine.commits, run, start, min(limit, JOURNAL_LIMIT_MAX))

    def watch(self, flow_id: FlowId, changed: Callable[[], None]) -> FlowWatch:
        """See `runtime.operations.NodeOperations`."""
        run = self._run_or_none(flow_id)
        if run is None:
            return EndedFlowWatch(self._kept_detail(flow_id))
        return EngineFlowWatch(run, changed, self._detail)

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
            name=self._config.name,
            identity=str(engine.host.me.key),
            addresses=[self._config.p2p_address],
            rpc_address=self.rpc_address,
            version=sennit_version(),
            started_ms=self._started_ms,
            uptime_ms=now - self._started_ms,
            commits=engine.commits.commits,
            flows_live=len(manager.runs),
            flows_held=sum(status_of(run) == "held" for run in manager.runs.values()),
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
            limits=[LimitRow(*row) for row in manager.delivery.quotas.usage()],
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
        kept = kept_result(self._engine.commits, _checked(flow_id))
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
        return FlowFailed(run.error_id or "", kind, str(run.error))

    def _row(self, run: FlowRun) -> FlowRow:
        started = run.machine.started
        return FlowRow(
            id=run.flow_id,
            name=run.info.name,
            version=run.info.version,
            status=status_of(run),
            started_ms=started.time,
            ended_ms=run.ended_ms,
            user=started.user,
            client_id=started.client_id,
            waits_for="" if run.wait is None else run.wait.on,
            error="" if run.error is None else f"{type(run.error).__name__}: {run.error}",
        )

    def _detail(self, run: FlowRun) -> FlowDetail:
        sessions = [self._session(run, number) for number in sorted(run.sessions)]
        error = "" if run.error is None else f"{type(run.error).__name__}: {run.error}"
        if run.hold_reason:
            error = f"held, {run.hold_reason}: {error}"
        return FlowDetail(
            row=self._row(run),
            wait=_wait(run),
            sessions=sessions[:SESSIONS_SHOWN_MAX],
            sessions_total=len(sessions),
            progress=run.tree.snapshot(),
            error=error,
            error_id=run.error_id,
            result=_result(run.value) if status_of(run) == "completed" else None,
            events=run.machine.index_next,
        )

    def _session(self, run: FlowRun, number: int) -> SessionRow:
        machine = run.sessions[number]
        view = run.views.get(number)
        return SessionRow(
            id=machine.sid.hex(),
            peer=machine.peer,
            state=machine.status.value,
            protocol="" if view is None else view.flow,
            sent=machine.out_next,
            received=machine.in_next,
            unacknowledged=self._engine.outbox.count(machine.sid),
        )


class EngineFlowWatch:
    """Implements `runtime.operations.FlowWatch`."""

    def __init__(
        self,
        run: FlowRun,
        changed: Callable[[], None],
        detail: Callable[[FlowRun], FlowDetail],
    ) -> None:
        self._run = run
        self._changed = changed
        self._detail = detail
        run.watchers.append(changed)
        self._unwatch_tree: Callable[[], None] | None = run.tree.watch(lambda _: changed())

    def detail(self) -> FlowDetail:
        """See `runtime.operations.FlowWatch`."""
        return self._detail(self._run)

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


def sennit_version() -> str:
    """Return the installed version of this distribution."""
    try:
        return version("sennit")
    except PackageNotFoundError:
        return "unknown"


def _wait(run: FlowRun) -> Wait | None:
    wait = run.wait
    if wait is None:
        return None
    whom = ", ".join(run.sessions[number].peer for number in wait.sessions)
    if wait is COMMIT:
        since_ms = run.commits.flying_since_ms or run.now()
        return Wait(what=wait.on, since_ms=since_ms, woken_by="the disk")
    wakers = ["a message"] if wait.sessions else []
    if wait.until is not None:
        wakers.append("time")
    return Wait(
        what=wait.on,
        since_ms=wait.since,
        until_ms=wait.until,
        whom=whom,
        woken_by=" or ".join(wakers),
    )


def _kind(flow: Flow[..., object]) -> FlowKind:
    doc = (flow.__doc__ or "").strip().partition("\n")[0]
    return FlowKind(name=flow.name, version=flow.version, signature=flow.arguments.text, doc=doc)


def _fits(row: FlowRow, wanted: FlowFilter) -> bool:
    return (
        (wanted.name is None or fnmatch.fnmatchcase(row.name, wanted.name))
        and (not wanted.statuses or row.status in wanted.statuses)
        and (wanted.user is None or row.user == wanted.user)
        and (wanted.since_ms is None or row.started_ms >= wanted.since_ms)
    )


def _result(value: object) -> FlowResult:
    text = _readable(value)
    if len(text) > RESULT_CHARACTERS_MAX:
        text = f"{text[:RESULT_CHARACTERS_MAX]}..."
    try:
        packed = pack(value)
    except SennitError:
        packed = pack(text)
    return FlowResult(value=packed, text=text)


def _readable(value: object) -> str:
    """Return the text that a message class has for people, if it has one, and else the repr."""
    cls = type(value)
    if isinstance(value, msgspec.Struct) and cls.__str__ is not msgspec.Struct.__str__:
        return str(value)
    return repr(value)


def _checked(flow_id: FlowId) -> FlowId:
    try:
        key_of(flow_id)
    except ValueError:
        raise UnknownFlow(
            f"{flow_id!r} is no flow id; one looks like 01890a5d-ac96-774b-bcce-b302099a8057"
        ) from None
    return flow_id


def _organisation(party: Party) -> str:
    for part in party.name.split(","):
        key, _, value = part.partition("=")
        if key == "O":
            return value.casefold()
    return ""
