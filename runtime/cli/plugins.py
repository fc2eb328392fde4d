"""Commands of other packages under ``sennit``: entry points of the group ``sennit.commands``.

    [options.entry_points]
    sennit.commands =
        ledger = ledger.command:ledger

The name is the word behind ``sennit``; what it names is a `click.Command`. It is imported only when
somebody uses it or asks for the list. Options and errors as those of ``sennit`` itself:
`runtime.cli.connect.node_options` and `open_client`, `runtime.cli.flow.json_option`,
`runtime.cli.output`; every error of `runtime.errors` becomes one line and an exit code.
"""

from importlib.metadata import EntryPoint, entry_points
from typing import Final

import click

from runtime.cli.errors import Misuse

GROUP: Final = "sennit.commands"


def names() -> list[str]:
    """Return the names of all commands of other packages."""
    return list(entry_points(group=GROUP).names)


def command(name: str) -> click.Command | None:
    """Return a command of another package, imported now."""
    for entry in entry_points(group=GROUP, name=name):
        return _loaded(entry)
    return None


def _loaded(entry: EntryPoint) -> click.Command:
    try:
        command = entry.load()
    # Whatever a package does while it is imported: the other commands must still work.
    except Exception as error:
        return _unusable(entry, f"{type(error).__name__}: {error}")
    if not isinstance(command, click.Command):
        return _unusable(entry, "it is no click.Command")
    return command


def _unusable(entry: EntryPoint, reason: str) -> click.Command:
    """Return a command that says why the real one can't be had."""
    text = f"{entry.value} can't be used: {reason}"

    @click.command(entry.name, help=text, context_settings={"ignore_unknown_options": True})
    @click.argument("words", nargs=-1)
    def unusable(words: tuple[str, ...]) -> None:
        raise Misuse(text)

    return unusable
