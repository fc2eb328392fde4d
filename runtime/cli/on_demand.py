"""Groups of commands that are loaded when somebody uses them: the others cost nothing.

A command for a person must answer at once, and to load what it does not need (the store, the
engine, ZeroMQ for one that only tells the version) would take longer than all that it does.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class GroupOnDemand(click.Group):
    """A group whose further commands are named: ``{"run": "runtime.cli.node_run:run"}``."""

    def __init__(
        self, *arguments: Any, on_demand: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._on_demand = dict(on_demand or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *self._on_demand})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, loaded now if it has to be."""
        place = self._on_demand.get(cmd_name)
        return super().get_command(ctx, cmd_name) if place is None else loaded(place)


def loaded(place: str) -> click.Command:
    """Return the command at ``module:name``."""
    module, _, name = place.partition(":")
    command = getattr(import_module(module), name)
    assert isinstance(command, click.Command)
    return command
