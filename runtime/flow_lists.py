"""Lists of flows, a page at a time: those in memory, and those that have left a result."""

import heapq
from collections.abc import Callable, Iterator
from fnmatch import translate
from re import compile as compiled

from runtime import checks
from runtime.engine.commits import Commits
from runtime.engine.flow_ids import flow_id_at, key_of
from runtime.engine.flow_run import FlowRun
from runtime.engine.manager import FlowManager
from runtime.engine.result_index import groups, keys_of_all, keys_of_group
from runtime.engine.results import RESULTS
from runtime.engine.status import status_of
from runtime.errors import UnknownFlow, UnreadableRow
from runtime.flow_rows import row_of_run
from runtime.ids import FlowId
from runtime.kept_flows import kept_result, row_of, unreadable_row_of
from runtime.operations import FLOWS_LIMIT_MAX, LIVE, FlowFilter, FlowPage, FlowRow

_TIME_BYTES = 6
_ID_BYTES = 16


def page_of_flows(manager: FlowManager, wanted: FlowFilter) -> FlowPage:
    """Return the newest flows that fit. Of the store it reads little more than it shows.

    Of the flows in memory it looks at those with the right name or user, or that are held.
    """
    limit = max(1, min(wanted.limit, FLOWS_LIMIT_MAX))
    before = None if wanted.before is None else key_of(checked_id(wanted.before))
    in_memory = _in_memory(manager, wanted, before)
    rows = (row_of_run(in_memory[key]) for key in sorted(in_memory, reverse=True))
    kept = _kept(manager, wanted, before)
    shown: list[FlowRow] = []
    for row in heapq.merge(rows, kept, key=lambda row: row.id, reverse=True):
        if len(shown) == limit:
            return FlowPage(shown, shown[-1].id)
        shown.append(row)
    return FlowPage(shown)


def checked_id(flow_id: str) -> FlowId:
    """Return what is an id of a flow in its form, or raise `UnknownFlow`."""
    try:
        key_of(flow_id)
    except ValueError:
        raise UnknownFlow(
            f"{checks.shown(flow_id)} is no flow id; "
            "one looks like 01890a5d-ac96-774b-bcce-b302099a8057"
        ) from None
    return FlowId(flow_id)


def _in_memory(
    manager: FlowManager, wanted: FlowFilter, before: bytes | None
) -> dict[bytes, FlowRun]:
    fits_name = _name_test(wanted.name)
    live: Iterator[FlowRun] = iter(())
    if not wanted.statuses or LIVE.intersection(wanted.statuses):
        live = manager.runs.looked_for(fits_name, wanted.user, wanted.statuses)
    return {
        run.key: run
        for runs in (live, manager.ended.values())
        for run in runs
        if (before is None or run.key < before)
        and (wanted.since_ms is None or _time_ms(run.key) >= wanted.since_ms)
        and (wanted.user is None or run.machine.started.user == wanted.user)
        and (fits_name is None or fits_name(run.machine.started.flow))
        and (not wanted.statuses or status_of(run) in wanted.statuses)
    }


def _kept(manager: FlowManager, wanted: FlowFilter, before: bytes | None) -> Iterator[FlowRow]:
    for key in _kept_keys(manager.commits, wanted, before):
        if wanted.since_ms is not None and _time_ms(key) < wanted.since_ms:
            return
        if len(key) != _ID_BYTES:
            manager.commits.unreadable.set_aside(RESULTS, key, "its key is no flow's id")
            continue
        flow_id = flow_id_at(key)
        if flow_id not in manager.ended:
            try:
                kept = kept_result(manager.commits, flow_id)
            except UnreadableRow as error:
                yield unreadable_row_of(flow_id, _time_ms(key), error)
                continue
            if kept is not None:
                yield row_of(flow_id, kept)


def _kept_keys(commits: Commits, wanted: FlowFilter, before: bytes | None) -> Iterator[bytes]:
    statuses = set(wanted.statuses)
    if statuses and statuses <= LIVE:
        return iter(())
    if wanted.name is None and wanted.user is None and not statuses:
        return keys_of_all(commits, before)
    fits_name = _name_test(wanted.name)
    found = [
        keys_of_group(commits, group, before)
        for group in groups(commits, wanted.user)
        if (not statuses or group.status in statuses)
        and (fits_name is None or fits_name(group.name))
    ]
    return heapq.merge(*found, reverse=True)


def _name_test(pattern: str | None) -> Callable[[str], bool] | None:
    if pattern is None:
        return None
    matches = compiled(translate(pattern)).match
    return lambda name: matches(name) is not None


def _time_ms(key: bytes) -> int:
    return int.from_bytes(key[:_TIME_BYTES], "big")
