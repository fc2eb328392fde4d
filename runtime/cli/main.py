"""The command ``sennit``: its groups, its version, its exit codes."""

from importlib.metadata import PackageNotFoundError, version

import click

from runtime.cli.flow import flow
from runtime.cli.journal import journal
from runtime.cli.network import network
from runtime.cli.node import node
from runtime.cli.plugins import GroupWithPlugins


def _version() -> str:
    try:
        return version("sennit")
    except PackageNotFoundError:
        return "of a source tree that is not installed"


@click.group(
    cls=GroupWithPlugins,
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
@click.version_option(_version(), prog_name="sennit", message="%(prog)s %(version)s")
def cli() -> None:
    """Durable flows between parties: make a network, run its nodes, start and follow flows."""


cli.add_command(network)
cli.add_command(node)
cli.add_command(flow)
cli.add_command(journal)


def main() -> None:
    """Run the command with the arguments of the process, and exit."""
    cli(prog_name="sennit")
