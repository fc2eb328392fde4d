"""The commands ``sennit flow ...``: start flows, watch them, see why they wait, intervene."""

import datetime
from typing import Final

import click

from runtime.cli.connect import NodeChoice, node_options, open_client
from runtime.cli.flow_view import detail_as_json, follow, report_link, show_detail
from runtime.cli.matching import FLOWS_SHOWN, first_id_after
from runtime.cli.matching import flow_id as matching_flow_id
from runtime.cli.matching import flow_name as matching_flow_name
from runtime.cli.output import packed_as_builtins, print_json, print_table, time_text
from runtime.cli.seconds import Seconds
from runtime.edge.rpc_client import RpcAddress, RpcClient
from runtime.ids import FlowId
from runtime.limits import CLIENT_ID_CHARACTERS_MAX
from runtime.operations import FLOWS_LIMIT_MAX, ON_REPEAT, STATUSES, Arguments, FlowFilter, OnRepeat

_FULL_ID_CHARACTERS: Final = 36

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@click.group(
    epilog=(
        '\b\nExample: sennit flow start demo/nodes/bank-a pay to="O=Bank B,L=Paris,C=FR" amount=5\n'
    )
)
def flow() -> None:
    """Start flows, watch them, see why they wait, intervene."""


@flow.command(
    epilog=(
        "\b\n"
        'Example: sennit flow start demo/nodes/seller sell buyer="O=Buyer,L=Paris,C=FR" price=95\n'
    )
)
@click.argument("words", nargs=-1, metavar="[NODE] FLOW [NAME=VALUE]...")
@click.option("--client-id", metavar="ID", help="Starting it again with this id starts nothing.")
@click.option(
    "--on-repeat",
    type=click.Choice(ON_REPEAT),
    default=ON_REPEAT[0],
    help="If the client id is in use: take that flow if flow and arguments are the same (the "
    "default), whatever its arguments are, or never.",
)
@click.option("--watch/--no-watch", "is_watched", default=True, help="Stay until it ends (yes).")
@json_option
@node_options
def start(
    words: tuple[str, ...],
    client_id: str | None,
    on_repeat: OnRepeat,
    is_watched: bool,
    as_json: bool,
    choice: NodeChoice,
) -> None:
    """Start a flow and watch it to its end.

    FLOW is the name of the flow, or as much of its end as tells it from others. Values are read
    by the flow's signature, see: sennit flow names.
    """
    address, rest = choice.take(words)
    if not rest:
        raise click.UsageError("which flow? List them with: sennit flow names")
    with open_client(address, report_link) as client:
        name = matching_flow_name(rest[0], [kind.name for kind in client.flow_names()])
        starter = client.options(client_id=client_id, on_repeat=on_repeat)
        flow_id = starter.start_text(name, Arguments([*rest[1:]])).id
        if is_watched:
            follow(client, flow_id, as_json=as_json)
        elif as_json:
            print_json({"id": flow_id, "name": name})
        else:
            click.echo(flow_id)


@flow.command(epilog=("\b\nExample: sennit flow names demo/nodes/bank-a\n"))
@click.argument("words", nargs=-1, metavar="[NODE]")
@json_option
@node_options
def names(words: tuple[str, ...], as_json: bool, choice: NodeChoice) -> None:
    """List the flows that can be started, with their arguments."""
    address = only_node(choice, words)
    with open_client(address) as client:
        kinds = client.flow_names()
    if as_json:
        print_json(kinds)
        return
    for kind in kinds:
        version = f"  version {kind.version}" if kind.version != 1 else ""
        click.echo(f"{click.style(kind.name, bold=True)}{kind.signature}{version}")
        for line in kind.doc.strip().splitlines()[:1]:
            click.echo(f"    {line}")


@flow.command(
    "list",
    epilog=("\b\nExample: sennit flow list demo/nodes/bank-a --status waiting --status held\n"),
)
@click.argument("words", nargs=-1, metavar="[NODE]")
@click.option("--name", metavar="PATTERN", help="Only flows whose name fits, like '*.buy'.")
@click.option(
    "--status", "statuses", multiple=True, type=click.Choice(STATUSES), help="May be repeated."
)
@click.option(
    "--limit", type=click.IntRange(1, FLOWS_LIMIT_MAX), default=50, help="At most so many (50)."
)
@click.option("--started-by", metavar="USER", help="Only flows that this user has started.")
@click.option("--since", type=click.DateTime(), help="Only flows that were started then or later.")
@click.option("--before", metavar="ID", help="Only flows older than this one: the next page.")
@json_option
@node_options
def list_flows(
    words: tuple[str, ...],
    name: str | None,
    statuses: tuple[str, ...],
    limit: int,
    started_by: str | None,
    since: datetime.datetime | None,
    before: str | None,
    as_json: bool,
    choice: NodeChoice,
) -> None:
    """List flows, newest first. If there may be more, standard error says how to see them."""
    address = only_node(choice, words)
    wanted = FlowFilter(
        name=name,
        statuses=list(statuses),
        user=started_by,
        since_ms=None if since is None else round(since.timestamp() * 1000),
        limit=limit,
        before=before,
    )
    with open_client(address) as client:
        page = client.flow_page(wanted)
        trouble = client.info().store.trouble
    rows = page.rows
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo("no flows")
    else:
        print_table(
            ("ID", "FLOW", "STATUS", "STARTED", "USER", "WAITS FOR"),
            [
                (
                    row.id,
                    row.name,
                    row.status,
                    time_text(row.started_ms),
                    row.user,
                    row.error or row.waits_for,
                )
                for row in rows
            ],
        )
    if trouble:
        click.echo(
            f"the store of this node can't be written, so that its flows wait: {trouble}; see: "
            "sennit node info",
            err=True,
        )
    if page.rest_before is not None:
        click.echo(
            f"there may be more; go on with the same and: --before {page.rest_before}", err=True
        )


@flow.command(epilog=("\b\nExample: sennit flow show demo/nodes/bank-a 8f3c1a\n"))
@click.argument("words", nargs=-1, metavar="[NODE] ID")
@json_option
@node_options
def show(words: tuple[str, ...], as_json: bool, choice: NodeChoice) -> None:
    """Show all about one flow: why it waits, its sessions, its progress, its end.

    ID may be a client id, or the beginning or end of an id.
    """
    address, word = node_and_flow(choice, words)
    with open_client(address) as client:
        detail = client.flow(find_flow(client, word))
    if as_json:
        print_json(detail_as_json(detail))
    else:
        show_detail(detail)


@flow.command(epilog=("\b\nExample: sennit flow watch demo/nodes/bank-a 8f3c1a\n"))
@click.argument("words", nargs=-1, metavar="[NODE] ID")
@json_option
@node_options
def watch(words: tuple[str, ...], as_json: bool, choice: NodeChoice) -> None:
    """Follow the progress of a flow until it ends. Ctrl-C ends only the watching."""
    address, word = node_and_flow(choice, words)
    with open_client(address, report_link) as client:
        follow(client, find_flow(client, word), as_json=as_json)


@flow.command(epilog=("\b\nExample: sennit flow result demo/nodes/bank-a 8f3c1a --timeout 60\n"))
@click.argument("words", nargs=-1, metavar="[NODE] ID")
@click.option("--timeout", type=Seconds(), metavar="SECONDS", help="Else for ever.")
@json_option
@node_options
def result(
    words: tuple[str, ...], timeout: float | None, as_json: bool, choice: NodeChoice
) -> None:
    """Wait for the end of a flow and print what it returned.

    The exit code is 1 if it failed, or if the time was over before its end.
    """
    address, word = node_and_flow(choice, words)
    with open_client(address) as client:
        returned = client.result(find_flow(client, word), timeout)
    if as_json:
        print_json({"result": packed_as_builtins(returned.value), "text": returned.text})
    else:
        click.echo(returned.text)


@flow.command(epilog=("\b\nExample: sennit flow retry demo/nodes/bank-a 8f3c1a\n"))
@click.argument("words", nargs=-1, metavar="[NODE] ID")
@node_options
def retry(words: tuple[str, ...], choice: NodeChoice) -> None:
    """Run a held flow again from its journal, for example after its code was fixed."""
    address, word = node_and_flow(choice, words)
    with open_client(address) as client:
        flow_id = find_flow(client, word)
        client.retry(flow_id)
    click.echo(f"{flow_id} runs again; follow it with: sennit flow watch {address.node} {flow_id}")


@flow.command(epilog=("\b\nExample: sennit flow kill demo/nodes/bank-a 8f3c1a\n"))
@click.argument("words", nargs=-1, metavar="[NODE] ID")
@node_options
def kill(words: tuple[str, ...], choice: NodeChoice) -> None:
    """End a flow for good; its peers are told."""
    address, word = node_and_flow(choice, words)
    with open_client(address) as client:
        flow_id = find_flow(client, word)
        was_live = client.kill(flow_id)
    click.echo(f"{flow_id} {'was killed' if was_live else 'had ended before'}")


@flow.command(epilog=("\b\nExample: sennit flow forget demo/nodes/bank-a order-17\n"))
@click.argument("words", nargs=-1, metavar="[NODE] CLIENT_ID")
@node_options
def forget(words: tuple[str, ...], choice: NodeChoice) -> None:
    """Drop the result that is kept for a client id, which is free then for another flow."""
    address, client_id = node_and_word(choice, words, "which client id? Give the one to forget")
    with open_client(address) as client:
        client.forget(client_id)
    click.echo(f"nothing is kept for {client_id} any more")


def find_flow(client: RpcClient, text: str) -> FlowId:
    """Return the id that ``text`` is, or is enough of to find it."""
    if len(text) == _FULL_ID_CHARACTERS and text.count("-") == 4:
        return FlowId(text)
    if 1 <= len(text) <= CLIENT_ID_CHARACTERS_MAX and (found := client.find(text)) is not None:
        return found.id
    if (id_after := first_id_after(text)) is not None:
        begun_so = client.flows(FlowFilter(limit=FLOWS_SHOWN, before=id_after))
        if any(row.id.startswith(text.lower()) for row in begun_so):
            return matching_flow_id(text.lower(), begun_so)
    newest = client.flow_page(FlowFilter(limit=FLOWS_LIMIT_MAX))
    return matching_flow_id(text, newest.rows, is_all=newest.rest_before is None)


def only_node(choice: NodeChoice, words: tuple[str, ...]) -> RpcAddress:
    """Return the node, of a command that takes nothing else."""
    address, rest = choice.take(words)
    if rest:
        raise click.UsageError(f"there is nothing to do with {rest[0]!r}")
    return address


def node_and_flow(choice: NodeChoice, words: tuple[str, ...]) -> tuple[RpcAddress, str]:
    """Return the node and the one word that names a flow."""
    asked = "which flow? Give its id (sennit flow list), or enough of its end"
    return node_and_word(choice, words, asked)


def node_and_word(choice: NodeChoice, words: tuple[str, ...], asked: str) -> tuple[RpcAddress, str]:
    """Return the node and one word more; ``asked`` says what it is, if it is missing."""
    address, rest = choice.take(words)
    if len(rest) != 1:
        raise click.UsageError(asked if not rest else f"{asked}; one, not {len(rest)}")
    return address, rest[0]
