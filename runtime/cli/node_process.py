"""The process of one node: start it, say so, stop it when asked. The one place that makes a `Node`.

The first SIGTERM or SIGINT stops gracefully, and the process ends with 0; the second one ends it at
once with 128 + the signal's number. That loses nothing: a node survives `kill -9`.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Final, Protocol

import click
import gevent

from runtime.cli.logs import log_to_stderr
from runtime.config import NodeConfig
from runtime.node import Node, tune_process
from runtime.operations import NodeOperations

STOPPING_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


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


def run_node(directory: Path, *, log_level: str | None) -> None:
    """Run the node of ``directory`` until it has stopped."""
    config = NodeConfig.load(directory)
    log_to_stderr(log_level or config.log_level)
    # Modules with flows lie beside the person who runs the node more often than in site-packages.
    sys.path.insert(0, os.getcwd())
    node = Node(config)
    tune_process()
    supervise(node)


def supervise(node: RunningNode) -> None:
    """Start ``node``, say so on standard output, and stop it by signals."""
    signals = _Signals(node)
    node.start()
    signals.is_started = True
    click.echo(start_line(node.operations))
    node.wait_until_asked_to_stop()
    node.stop()
    signals.close()
    click.echo("stopped")


def start_line(operations: NodeOperations) -> str:
    """Return what a person wants to see when the node is up."""
    info = operations.info()
    names = [kind.name for kind in operations.flow_names()]
    live = f"; {info.flows_live} go on" if info.flows_live else ""
    return (
        f"{info.name} is up. Peers: {', '.join(info.addresses)}. Users: {info.rpc_address}. "
        f"Flows: {', '.join(names) or 'none'}{live}"
    )


class _Signals:
    """Asks the node to stop at the first signal, ends the process at the second."""

    def __init__(self, node: RunningNode) -> None:
        self.is_started = False
        self._node = node
        self._is_stopping = False
        self._handlers = [
            gevent.signal_handler(number, self._arrived, number) for number in STOPPING_SIGNALS
        ]

    def close(self) -> None:
        """Leave the signals to Python again."""
        for handler in self._handlers:
            handler.cancel()

    def _arrived(self, number: int) -> None:
        if self._is_stopping or not self.is_started:
            sys.stdout.flush()
            os._exit(128 + number)
        self._is_stopping = True
        click.echo("stopping; once more stops at once", err=True)
        self._node.ask_to_stop()
