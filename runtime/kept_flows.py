"""Flows that ended in an earlier life of the node and left a result: as operators see them."""

from runtime.engine.commits import Commits
from runtime.engine.flow_ids import key_of
from runtime.engine.results import RESULTS, Result, result_decoder
from runtime.engine.status import FAILED
from runtime.error_codec import message_of
from runtime.errors import FlowFailed, SennitError, UnreadableRow
from runtime.ids import FlowId
from runtime.operations import FlowRow
from runtime.outcome_codec import decode_flow_error


def kept_result(commits: Commits, flow_id: FlowId) -> Result | None:
    """Return what the store has kept of a flow; raises `UnreadableRow`."""
    key = key_of(flow_id)
    row = commits.get(RESULTS, key)
    if row is None:
        return None
    return commits.unreadable.read(RESULTS, key, row, result_decoder.decode)


def unreadable_row_of(flow_id: FlowId, started_ms: int, error: UnreadableRow) -> FlowRow:
    """Return the row of a flow of whose result nothing can be read."""
    return FlowRow(
        id=flow_id,
        name="unreadable",
        version=0,
        status=FAILED,
        started_ms=started_ms,
        error=str(error),
    )


def row_of(flow_id: FlowId, kept: Result) -> FlowRow:
    """Return the row of one flow."""
    return FlowRow(
        id=flow_id,
        name=kept.flow,
        version=kept.version,
        status=kept.status,
        started_ms=kept.started,
        ended_ms=kept.ended,
        user=kept.user,
        client_id=kept.client_id,
        error=kept.words(),
    )


def error_of(kept: Result) -> Exception | None:
    """Return how a flow failed, if it did."""
    if not kept.failed:
        return None
    try:
        return decode_flow_error(kept.outcome)
    except SennitError as unreadable:
        return unreadable


def failure_of(kept: Result) -> FlowFailed:
    """Return what those are told who may not see the flow's own error."""
    error = error_of(kept)
    if isinstance(error, FlowFailed):
        return FlowFailed(kept.error_id or "", error.original_class, error.message)
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    return FlowFailed(kept.error_id or "", kind, message_of(error) if error else "")
