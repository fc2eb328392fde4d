"""The process of one node: start it, say so, stop it when asked. The one place that makes a `Node`.

The first SIGTERM, SIGINT or SIGHUP stops gracefully, and the process ends with 0; the second ends
it at once, as if with 128 + the signal's number, whatever the loop does.
"""

import faulthandler
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import click

from runtime.cli.logs import log_to_stderr
from runtime.cli.open_files import NODE_FILES_MIN, NODE_FILES_WANTED, allow_open_files
from runtime.cli.signals import StopSignals
from runtime.cli.streams import OutputFailed, give_up_output
from runtime.config import NodeConfig
from runtime.node import Node, tune_process
from runtime.operations import NodeOperations

log = logging.getLogger("sennit.node")


class RunningNode(Protocol):
    """What the command needs of a node."""

    @property
    def operations(self) -> NodeOperations:
        """What it can be asked."""

    def start(self) -> None:
        """Open the store, listen, go on with all flows."""

    def wait_until_asked_to_stop(self) -> None:
        """Block the calling greenlet until `ask_to_stop`, or until a user asks over RPC."""

    def ask_to_stop(self) -> None:
        """Have `wait_until_asked_to_stop` return."""

    def stop(self) -> None:
        """Stop gracefully; returns when everything is closed."""


def run_node(
    directory: Path, *, log_level: str | None, hold: Sequence[str] = (), hold_all: bool = False
) -> None:
    """Run the node of ``directory`` until it has stopped."""
    config = NodeConfig.load(directory)
    log_to_stderr(log_level or config.log_level)
    if config.keys_lie_open:
        log.warning(
            "THE KEYS OF THIS NODE LIE OPEN: their password is beside them, in %s. Whoever copies "
            "the directory can act as this node. For development only; see docs/operations.md",
            config.key_password.file,
        )
    allow_open_files(NODE_FILES_MIN, NODE_FILES_WANTED)
    # A fault in C code, and SIGABRT, print where each thread is.
    faulthandler.enable()
    # Modules with flows lie beside the person who runs the node more often than in site-packages.
    sys.path.insert(0, os.getcwd())
    node = Node(config, hold=hold, hold_all=hold_all)
    tune_process()
    supervise(node)


def supervise(node: RunningNode) -> None:
    """Start ``node``, say so on standard output, and stop it by signals."""
    signals = StopSignals(node.ask_to_stop)
    node.start()
    signals.is_started = True
    tell(start_line(node.operations))
    node.wait_until_asked_to_stop()
    node.stop()
    signals.close()
    tell("stopped")


def tell(line: str) -> None:
    """Print a line, if it can be: a node goes on when nobody reads what it prints any more."""
    try:
        click.echo(line)
    except (OutputFailed, OSError) as error:
        give_up_output()
        log.warning("standard output is given up: %s", error)


def start_line(operations: NodeOperations) -> str:
    """Return what a person wants to see when the node is up."""
    info = operations.info()
    names = [kind.name for kind in operations.flow_names()]
    live = f"; {info.flows_live} go on" if info.flows_live else ""
    return (
        f"{info.name} is up. Peers: {', '.join(info.addresses)}. Users: {info.rpc_address}. "
        f"Flows: {', '.join(names) or 'none'}{live}"
    )
