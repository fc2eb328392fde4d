"""The command ``sennit journal``: every event of a flow, readable."""

import click

from runtime.cli.connect import NodeChoice, node_options, open_client
from runtime.cli.flow import find_flow, json_option, node_and_flow
from runtime.cli.output import exact_time_text, print_json
from runtime.operations import JournalRow


@click.command(epilog=("\b\nExample: sennit journal demo/nodes/bank-a 8f3c1a\n"))
@click.argument("words", nargs=-1, metavar="[NODE] ID")
@json_option
@node_options
def journal(words: tuple[str, ...], as_json: bool, choice: NodeChoice) -> None:
    """Print every event of a flow: time, kind, place in the flow, peer, size, value."""
    address, word = node_and_flow(choice, words)
    with open_client(address) as client:
        rows = client.journal(find_flow(client, word))
        if not as_json:
            click.secho(
                f"{'INDEX':>6}  {'TIME':<23}  {'KIND':<14}  {'PLACE':<12}  {'BYTES':>8}  "
                "PEER, VALUE",
                bold=True,
            )
        row = None
        for row in rows:
            if as_json:
                print_json(row)
            else:
                click.echo(_line(row))
        if row is None:
            click.echo("no events: the journal of a flow goes when the flow has ended", err=True)


def _line(row: JournalRow) -> str:
    peer = f"{row.peer}  " if row.peer else ""
    value = row.value.replace("\n", "\\n")
    return (
        f"{row.index:>6}  {exact_time_text(row.time_ms):<23}  {row.kind:<14}  {row.place:<12}  "
        f"{row.size:>8}  {peer}{value}"
    ).rstrip()
