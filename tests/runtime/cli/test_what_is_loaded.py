"""What a command loads: a person waits for it, so it leaves alone what it does not need."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import click
import pytest

from runtime.cli.main import COMMANDS, cli
from runtime.cli.on_demand import loaded
from tests.source_files import ROOT

# The store, the engine, and what only a node, the ledger or a test is made of.
NODE: Final = frozenset(
    {
        "lmdb",
        "runtime.engine",
        "runtime.node",
        "runtime.node_operations",
        "runtime.edge.lmdb_store",
        "runtime.edge.zmq_transport",
        "runtime.network_bootstrap",
        "runtime.testing",
        "ledger",
        "sqlalchemy",
    }
)
NETWORK: Final = frozenset({"zmq", "gevent", "cryptography.x509", "rich"})
SECONDS: Final = 30.0

PROGRAM: Final = """
import json, sys
sys.argv = ["sennit", *json.loads(sys.argv[1])]
from runtime.cli.entry import main
try:
    main()
finally:
    sys.stdout.flush()
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def modules_after(*words: str) -> set[str]:
    """Return the modules that a process has loaded that has run the command with these words."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    return set(json.loads(ended.stderr.splitlines()[-1]))


def test_the_version_is_told_without_anything_to_ask_a_node_with() -> None:
    modules = modules_after("--version")

    assert modules.isdisjoint(NODE | NETWORK)


@pytest.mark.parametrize(
    "words",
    [
        ["flow", "list", "--help"],
        ["flow", "start", "--help"],
        ["node", "info", "--help"],
        ["journal", "--help"],
    ],
    ids=" ".join,
)
def test_what_asks_a_node_loads_no_part_of_one(words: list[str]) -> None:
    modules = modules_after(*words)

    assert modules.isdisjoint(NODE)


def test_making_a_network_loads_neither_store_nor_engine() -> None:
    modules = modules_after("network", "create", "--help")

    assert modules.isdisjoint({"lmdb", "runtime.engine", "runtime.node"})


def groups(command: click.Command) -> Iterator[click.Group]:
    if isinstance(command, click.Group):
        yield command
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            assert found.name == name
            yield from groups(found)


def test_every_command_that_is_loaded_on_demand_is_where_it_should_be() -> None:
    assert len(list(groups(cli))) > len({"sennit", "flow", "network", "node"})

    assert {loaded(place).name for place in COMMANDS.values()} == set(COMMANDS)
