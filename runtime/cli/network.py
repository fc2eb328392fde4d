"""The commands ``sennit network ...``: make a development network from one small file."""

import os
from pathlib import Path
from typing import Final

import click

from runtime.cli.flow import json_option
from runtime.cli.output import print_json, print_table
from runtime.network_bootstrap import CreatedNetwork, create_network

# With \b, click leaves the lines of a paragraph as they are.
_EPILOG: Final = """\b
FILE looks like this:
    [network]
    name = "demo"
    [[node]]
    name = "O=Notary,L=London,C=GB"
    notary = "non-validating"
    [[node]]
    name = "O=Bank A,L=London,C=GB"
    apps = ["samples.trade"]

\b
Example: sennit network create demo.toml --force
"""


_WARNING: Final = """\
WARNING: this is a development network. Its keys lie open: the password of each node is in a file
beside its keys, and the keys of the users are not encrypted. Whoever can read {directory} can act
as any of them. Don't use it in production.
"""


@click.group(epilog=("\b\nExample: sennit network create demo.toml\n"))
def network() -> None:
    """Make a network of nodes."""


@network.command(epilog=_EPILOG)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to make it; else beside FILE, in a directory with the name of the network.",
)
@click.option("--force", is_flag=True, help="Delete the network that is there, with all its data.")
@json_option
def create(file: Path, out: Path | None, force: bool, as_json: bool) -> None:
    """Make a development network: keys, certificates, directories of nodes and users."""
    created = create_network(file, out, force=force)
    click.echo(_WARNING.format(directory=_shown(created.directory)), err=True)
    if as_json:
        print_json(_as_json(created))
        return
    click.echo(f"Network {created.name!r} is in {_shown(created.directory)}")
    print_table(
        ("DIRECTORY", "NODE", "PEERS", "USERS", "NOTARY"),
        [
            (
                _shown(node.directory),
                node.name,
                node.p2p_address,
                node.rpc_address,
                node.notary or "",
            )
            for node in created.nodes
        ],
    )
    click.echo(f"Users: {', '.join(created.users)}")
    click.echo(f"Run each node with: sennit node run {_shown(created.nodes[0].directory)}")


def _as_json(created: CreatedNetwork) -> dict[str, object]:
    return {
        "name": created.name,
        "directory": str(created.directory),
        "nodes": [
            {
                "name": node.name,
                "short_name": node.short_name,
                "directory": str(node.directory),
                "p2p_address": node.p2p_address,
                "rpc_address": node.rpc_address,
                "notary": node.notary,
            }
            for node in created.nodes
        ],
        "users": list(created.users),
    }


def _shown(path: Path) -> str:
    """Return the path as one would type it here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
