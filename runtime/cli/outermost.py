"""The outermost group of commands: our own first, then those of other packages."""

from importlib import import_module
from typing import Final

import click

from runtime.cli.errors import SennitGroup
from runtime.cli.on_demand import GroupOnDemand

# Loaded only for a command that is none of ours: to find what is installed takes a while.
PLUGINS: Final = "runtime.cli.plugins"


class OutermostGroup(GroupOnDemand, SennitGroup):
    """See the module."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *import_module(PLUGINS).names()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, loaded now."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        other: click.Command | None = import_module(PLUGINS).command(cmd_name)
        return other
