"""Show one flow: all that is known of it, or its progress live until it ends."""

import time
from typing import Final

import click
import msgspec
from rich.text import Text

from runtime.cli.errors import EXIT_FAILED, EXIT_INTERRUPTED
from runtime.cli.output import (
    console,
    duration_text,
    packed_as_builtins,
    print_fields,
    print_json,
    print_table,
    status_text,
    time_text,
)
from runtime.cli.progress_view import ProgressView, tree_text
from runtime.edge.rpc_client import RpcClient
from runtime.ids import FlowId
from runtime.operations import FlowDetail, FlowRow, Wait

STATUS_COMPLETED: Final = "completed"


def follow(client: RpcClient, flow_id: FlowId, *, as_json: bool) -> None:
    """Draw the flow until it ends, then its result. Ends the command with 1 if it failed."""
    try:
        detail = _last_of(client, flow_id) if as_json else _draw_to_the_end(client, flow_id)
    except KeyboardInterrupt:
        click.echo(
            f"\nThe flow goes on. Watch it again with: "
            f"sennit flow watch {client.address.node} {flow_id}",
            err=True,
        )
        click.get_current_context().exit(EXIT_INTERRUPTED)
    if as_json:
        print_json(detail_as_json(detail))
    if detail.row.status != STATUS_COMPLETED:
        click.get_current_context().exit(EXIT_FAILED)


def report_link(is_up: bool) -> None:
    """Say on standard error that the node went or came back."""
    click.echo("the node is back" if is_up else "the node is gone; waiting for it ...", err=True)


def show_detail(detail: FlowDetail) -> None:
    """Print everything that is known of a flow."""
    row, wait = detail.row, detail.wait
    print_fields(
        [
            ("id", row.id),
            ("flow", row.name + (f", version {row.version}" if row.version != 1 else "")),
            ("arguments", detail.arguments),
            ("status", row.status),
            ("started", f"{time_text(row.started_ms)} by {row.user or 'a peer'}"),
            ("ended", _ended_text(row)),
            ("client id", row.client_id or ""),
            ("waits for", wait_text(wait) if wait else row.waits_for),
            ("woken by", wait.woken_by if wait else ""),
            ("step", f"{detail.step.name}, attempt {detail.step.attempt}" if detail.step else ""),
            ("at", detail.place),
            ("source", detail.source),
            ("events", str(detail.events)),
            ("error", detail.error),
            ("error id", "" if (detail.error_id or "") in detail.error else detail.error_id or ""),
            ("result", detail.result.text if detail.result else ""),
        ]
    )
    if detail.progress:
        shown = console()
        shown.print()
        shown.print(tree_text(detail.progress, is_ascii=shown.options.ascii_only))
    if detail.sessions:
        click.echo()
        print_table(
            ("SESSION", "PEER", "STATE", "SENT", "RECEIVED", "UNACKNOWLEDGED"),
            [
                (it.id, it.peer, it.state, str(it.sent), str(it.received), str(it.unacknowledged))
                for it in detail.sessions
            ],
        )
    if detail.sessions_total > len(detail.sessions):
        click.echo(f"and {detail.sessions_total - len(detail.sessions)} more sessions")


def wait_text(wait: Wait) -> str:
    """Return what a flow waits for as one line."""
    whom = f" from {wait.whom}" if wait.whom else ""
    waited_ms = max(0, int(time.time() * 1000) - wait.since_ms)
    until = f", until {time_text(wait.until_ms)}" if wait.until_ms is not None else ""
    since = f"since {time_text(wait.since_ms)} ({duration_text(waited_ms)})"
    return f"{wait.what}{whom}, {since}{until}"


def detail_as_json(detail: FlowDetail) -> dict[str, object]:
    """Return a flow for JSON: the result as its value, not as bytes."""
    found: dict[str, object] = msgspec.to_builtins(detail)
    found.update(msgspec.to_builtins(detail.row))
    del found["row"]
    found["result"] = packed_as_builtins(detail.result.value) if detail.result else None
    found["result_text"] = detail.result.text if detail.result else None
    return found


def _last_of(client: RpcClient, flow_id: FlowId) -> FlowDetail:
    return list(client.watch(flow_id))[-1]


def _draw_to_the_end(client: RpcClient, flow_id: FlowId) -> FlowDetail:
    watch = client.watch(flow_id)
    detail = next(watch)
    title = detail.row.name
    shown = console()
    shown.print(Text.assemble((title, "bold"), f"  {flow_id}"), soft_wrap=True)
    with ProgressView([title], console=shown) as view:
        while True:
            note = _note(detail, client.address.node, is_live=shown.is_terminal)
            view.update(title, detail.progress, note=note)
            if detail.row.is_ended:
                break
            detail = next(watch)
    shown.print(_end_text(detail), soft_wrap=True)
    return detail


def _note(detail: FlowDetail, node: str, *, is_live: bool) -> str:
    """Return why the flow does not run; lines that stay say so only if somebody must act."""
    if detail.row.status == "held":
        return (
            f"held: {detail.error or detail.row.error}. When the cause is mended: "
            f"sennit flow retry {node} {detail.row.id}"
        )
    if is_live and detail.row.status == "waiting":
        return f"waits for {wait_text(detail.wait) if detail.wait else detail.row.waits_for}"
    return ""


def _end_text(detail: FlowDetail) -> Text:
    row = detail.row
    text = Text.assemble(status_text(row.status), f" after {_duration_text(row)}")
    if detail.result is not None and detail.result.text != "None":
        text.append(f": {detail.result.text}")
    if detail.error:
        text.append(f": {detail.error}")
    if detail.error_id and detail.error_id not in detail.error:
        text.append(f" (error id {detail.error_id})")
    return text


def _ended_text(row: FlowRow) -> str:
    return f"{time_text(row.ended_ms)}, after {_duration_text(row)}" if row.ended_ms else ""


def _duration_text(row: FlowRow) -> str:
    return duration_text((row.ended_ms or row.started_ms) - row.started_ms)
