"""The command ``sennit node run``, which loads all that a node is made of."""

from pathlib import Path

import click

from runtime.cli.entry import NO_PATCH
from runtime.cli.node_process import run_node
from runtime.config import LOG_LEVELS


@click.command(epilog=("\b\nExample: sennit node run demo/nodes/bank-a\n"))
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--log-level", type=click.Choice(LOG_LEVELS), help="Else as the node's configuration says."
)
@click.option(
    NO_PATCH, is_flag=True, help="Don't let gevent patch sockets, locks and time.sleep of Python."
)
@click.option(
    "--hold",
    metavar="FLOW",
    multiple=True,
    help="Hold this flow and don't run it: its id, the beginning or end of it, or its client id.",
)
@click.option("--hold-all", is_flag=True, help="Hold all flows; retry them one by one.")
def run(
    directory: Path, log_level: str | None, no_patch: bool, hold: tuple[str, ...], hold_all: bool
) -> None:
    """Run the node of DIRECTORY until it is stopped.

    Ctrl-C, SIGTERM or SIGHUP stops it gracefully, a second one at once; either way its flows go on
    where they were when it runs again. Modules named in its configuration are found from here, too.
    """
    run_node(directory, log_level=log_level, hold=hold, hold_all=hold_all)
