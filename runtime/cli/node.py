"""The commands ``sennit node ...``: run a node in the foreground, ask it, stop it."""

from pathlib import Path

import click

from runtime.cli.connect import NodeChoice, node_options, open_client
from runtime.cli.flow import json_option, only_node
from runtime.cli.node_process import run_node
from runtime.cli.output import duration_text, print_fields, print_json, time_text
from runtime.config import LOG_LEVELS


@click.group(epilog=("\b\nExample: sennit node run demo/nodes/bank-a\n"))
def node() -> None:
    """Run a node, ask how it does, stop it."""


@node.command(epilog=("\b\nExample: sennit node run demo/nodes/bank-a\n"))
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--log-level", type=click.Choice(LOG_LEVELS), help="Else as the node's configuration says."
)
def run(directory: Path, log_level: str | None) -> None:
    """Run the node of DIRECTORY until it is stopped.

    Ctrl-C or SIGTERM stops it gracefully, a second one at once; either way its flows go on where
    they were when it runs again. Modules named in its configuration are found from here, too.
    """
    run_node(directory, log_level=log_level)


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
            ("commits", str(found.commits)),
            ("in outbox", f"{found.unacknowledged} messages" if found.unacknowledged else ""),
            ("draining", "yes: it takes no new flows" if found.is_draining else ""),
        ]
    )


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
