"""The command ``sennit``: its groups, its version, its exit codes."""

from importlib import import_module
from typing import Final

import click

from runtime.cli.open_files import COMMAND_FILES_MIN, allow_open_files
from runtime.cli.outermost import OutermostGroup
from runtime.cli.streams import prepare

COMMANDS: Final = {
    "flow": "runtime.cli.flow:flow",
    "journal": "runtime.cli.journal:journal",
    "network": "runtime.cli.network:network",
    "node": "runtime.cli.node:node",
}


def _tell_version(ctx: click.Context, parameter: click.Parameter, is_asked: bool) -> None:
    """Print the version. What finds it is loaded for that alone."""
    if not is_asked or ctx.resilient_parsing:
        return
    metadata = import_module("importlib.metadata")
    try:
        version = metadata.version("sennit")
    except metadata.PackageNotFoundError:
        version = "of a source tree that is not installed"
    click.echo(f"sennit {version}")
    ctx.exit()


@click.group(
    cls=OutermostGroup,
    on_demand=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\n"
    "sennit network create demo.toml              keys, certificates, directories\n"
    "sennit node run demo/nodes/bank-a            in a terminal of its own\n"
    "sennit flow names demo/nodes/bank-a          what can be started\n"
    'sennit flow start demo/nodes/bank-a pay to="O=Bank B,L=Paris,C=FR" amount=5\n'
    "sennit flow list demo/nodes/bank-a\n\n"
    "Completion of words by the tab key: "
    'eval "$(_SENNIT_COMPLETE=bash_source sennit)" in ~/.bashrc; zsh_source for zsh.',
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_tell_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Durable flows between parties: make a network, run its nodes, start and follow flows."""
    allow_open_files(COMMAND_FILES_MIN, COMMAND_FILES_MIN)


def main() -> None:
    """Run the command with the arguments of the process, and exit."""
    prepare()
    cli(prog_name="sennit")
