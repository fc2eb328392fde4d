"""The commands ``sennit node ...``: run a node in the foreground, ask it, stop it."""

import click

from runtime.cli.connect import NodeChoice, node_options, open_client
from runtime.cli.flow import json_option, node_and_word, only_node
from runtime.cli.on_demand import GroupOnDemand
from runtime.cli.output import (
    duration_text,
    print_fields,
    print_json,
    print_table,
    size_text,
    time_text,
)
from runtime.operations import NodeInfo, StoreRow, ThreadRow


@click.group(
    cls=GroupOnDemand,
    on_demand={"run": "runtime.cli.node_run:run", "check": "runtime.cli.node_check:check"},
    epilog=("\b\nExample: sennit node run demo/nodes/bank-a\n"),
)
def node() -> None:
    """Run a node, ask how it does, stop it."""


@node.command(epilog=("\b\nExample: sennit node info demo/nodes/bank-a\n"))
@click.argument("words", nargs=-1, metavar="[NODE]")
@json_option
@node_options
def info(words: tuple[str, ...], as_json: bool, choice: NodeChoice) -> None:
    """Show who a running node is and how it does."""
    address = only_node(choice, words)
    with open_client(address) as client:
        found = client.info()
    if as_json:
        print_json(found)
        return
    print_fields(
        [
            ("name", found.name),
            ("identity", found.identity),
            ("peers at", ", ".join(found.addresses)),
            ("users at", found.rpc_address),
            ("version", found.version),
            ("started", f"{time_text(found.started_ms)}, {duration_text(found.uptime_ms)} ago"),
            ("flows live", str(found.flows_live)),
            ("flows held", str(found.flows_held) if found.flows_held else ""),
            ("flows started", _flows_text(found)),
            ("commits", str(found.commits)),
            ("in outbox", f"{found.unacknowledged} messages" if found.unacknowledged else ""),
            ("sent again", f"{found.messages_resent:,} messages" if found.messages_resent else ""),
            ("not taken", _dropped_text(found)),
            (
                "no room",
                f"{found.flows_without_room} flows wait until peers acknowledge more"
                if found.flows_without_room
                else "",
            ),
            *_store_fields(found.store),
            (
                "unreachable",
                f"{found.peers_unreachable} peers that something waits for: sennit node peers"
                if found.peers_unreachable
                else "",
            ),
            ("draining", "yes: it takes no new flows" if found.is_draining else ""),
            ("busy", _freezes_text(found)),
            ("threads", _threads_text(found)),
            *(("thread", _thread_text(row)) for row in found.step_threads),
            *(("left behind", text) for text in found.left_behind),
            *(("set aside", text) for text in found.unreadable),
        ]
    )
    print_table(
        ("LIMIT", "AT MOST", "IN USE"),
        [(row.name, f"{row.limit:,}", f"{row.in_use:,}") for row in found.limits],
    )


def _store_fields(store: StoreRow) -> list[tuple[str, str]]:
    waiting = f", {store.batches_waiting:,} wait" if store.batches_waiting else ""
    written = f"{store.batches:,} batches written{waiting}"
    if store.synced_ms is not None:
        written += f", the last {time_text(store.synced_ms)}"
    disk = ""
    if store.size_bytes is not None:
        free = "" if store.free_bytes is None else f", {size_text(store.free_bytes)} free"
        disk = f"{size_text(store.size_bytes)}{free}"
    trouble = ""
    if store.trouble:
        since = time_text(store.trouble_since_ms)
        trouble = f"can't be written since {since}, tried again until it can: {store.trouble}"
    return [("store", written), ("disk", disk), ("store trouble", trouble)]


@node.command(epilog=("\b\nExample: sennit node peers demo/nodes/bank-a\n"))
@click.argument("words", nargs=-1, metavar="[NODE]")
@json_option
@node_options
def peers(words: tuple[str, ...], as_json: bool, choice: NodeChoice) -> None:
    """List the peers: whether they can be reached, since when, and what waits for them.

    Those come first that most messages wait for. A peer is not tried before something is sent.
    """
    address = only_node(choice, words)
    with open_client(address) as client:
        rows = client.peers()
    if as_json:
        print_json(rows)
        return
    print_table(
        ("PEER", "STATUS", "SINCE", "MESSAGES THAT WAIT", "OF SESSIONS"),
        [
            (
                row.peer,
                row.status,
                time_text(row.since_ms),
                f"{row.messages:,}",
                f"{row.sessions:,}",
            )
            for row in rows
        ],
    )


def _flows_text(found: NodeInfo) -> str:
    if not found.flows_started:
        return ""
    ends = f"{found.flows_completed:,} completed, {found.flows_failed:,} failed or killed"
    return f"{found.flows_started:,} since the start of the node; {ends}"


def _dropped_text(found: NodeInfo) -> str:
    why = [f"{count:,} {reason}" for reason, count in sorted(found.messages_dropped.items())]
    return f"messages of peers: {', '.join(why)}" if why else ""


def _freezes_text(found: NodeInfo) -> str:
    if not found.freezes:
        return ""
    longest = duration_text(found.freeze_ms_longest)
    return f"did nothing else {found.freezes} times, for {longest} at the longest: see its log"


def _threads_text(found: NodeInfo) -> str:
    busy = sum(not row.is_left for row in found.step_threads)
    text = f"{busy} of {found.step_threads_max} for steps are busy"
    if found.step_threads_waited_for:
        text += f"; {found.step_threads_waited_for} steps wait for one (step_threads in node.toml)"
    return text if found.step_threads else ""


def _thread_text(row: ThreadRow) -> str:
    left = "; its flow was taken down, nobody waits for it" if row.is_left else ""
    return f"{row.what}, for {duration_text(row.for_ms)}{left}"


@node.command(epilog=("\b\nExample: sennit node unclaimed demo/nodes/bank-a\n"))
@click.argument("words", nargs=-1, metavar="[NODE]")
@json_option
@node_options
def unclaimed(words: tuple[str, ...], as_json: bool, choice: NodeChoice) -> None:
    """List who asks for flows that are not installed.

    Install the app and start the node again, and they are served; or refuse them with: sennit
    node drop.
    """
    address = only_node(choice, words)
    with open_client(address) as client:
        rows = client.unclaimed()
    if as_json:
        print_json(rows)
        return
    print_table(
        ("PEER", "FLOW", "VERSION", "SINCE", "LAST HEARD"),
        [
            (row.peer, row.flow, str(row.version), time_text(row.since_ms), time_text(row.heard_ms))
            for row in rows
        ],
    )


@node.command(epilog=("\b\nExample: sennit node drop demo/nodes/bank-a other.app.sell\n"))
@click.argument("words", nargs=-1, metavar="[NODE] FLOW")
@node_options
def drop(words: tuple[str, ...], choice: NodeChoice) -> None:
    """Refuse all who ask for FLOW, which is not installed; their flows are told."""
    asked = "which flow? Give its full name (sennit node unclaimed)"
    address, flow_name = node_and_word(choice, words, asked)
    with open_client(address) as client:
        count = client.drop_unclaimed(flow_name)
    if not count:
        raise click.ClickException(
            f"nobody asks for {flow_name!r}, or it is installed; see: sennit node unclaimed"
        )
    click.echo(f"refused {count} for {flow_name}")


@node.command(epilog=("\b\nExample: sennit node drain demo/nodes/bank-a\n"))
@click.argument("words", nargs=-1, metavar="[NODE]")
@click.option("--off", is_flag=True, help="Take new flows again.")
@node_options
def drain(words: tuple[str, ...], off: bool, choice: NodeChoice) -> None:
    """Have a node take no new flows; those that live go on."""
    address = only_node(choice, words)
    with open_client(address) as client:
        client.drain(is_on=not off)
    click.echo("the node takes new flows" if off else "the node takes no new flows")


@node.command(epilog=("\b\nExample: sennit node stop demo/nodes/bank-a\n"))
@click.argument("words", nargs=-1, metavar="[NODE]")
@node_options
def stop(words: tuple[str, ...], choice: NodeChoice) -> None:
    """Stop a running node gracefully; its flows go on when it runs again."""
    address = only_node(choice, words)
    with open_client(address) as client:
        client.stop()
    click.echo("the node is stopping")
