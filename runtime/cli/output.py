"""Show values: tables and times for people, JSON for programs."""

import datetime
import json
from collections.abc import Sequence
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runtime.codec import Packed

# Where nobody has a terminal of some width, nothing is cut or wrapped.
_WIDTH_WITHOUT_TERMINAL: Final = 10_000

STATUS_STYLES: Final = {
    "running": "yellow",
    "waiting": "cyan",
    "held": "bold magenta",
    "completed": "green",
    "failed": "red",
    "killed": "red",
    "unreachable": "bold red",
}


def console() -> Console:
    """Return a console on standard output as it is now."""
    found = Console(highlight=False)
    if not found.is_terminal:
        return Console(highlight=False, width=_WIDTH_WITHOUT_TERMINAL)
    return found


def print_json(value: object) -> None:
    """Print one value as one line of JSON; the names of message classes are left out."""
    click.echo(json.dumps(_plain(msgspec.to_builtins(value)), ensure_ascii=False))


def packed_as_builtins(packed: Packed) -> object:
    """Return a value as JSON has it, also if its class is not installed here."""
    return _readable(msgspec.msgpack.decode(packed.body))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns. The first column, which people copy, is never cut."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*[status_text(cell) for cell in row])
    console().print(table)


def status_text(text: str) -> Text:
    """Return ``text``, in its colour if it is a status."""
    return Text(text, STATUS_STYLES.get(text, ""))


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print names and values, a line each; empty values are left out."""
    width = max(len(name) for name, _ in fields) + 2
    for name, value in fields:
        if value:
            click.echo(f"{name + ':':<{width}}{value}")


def time_text(time_ms: int | None) -> str:
    """Return a time as the clock on the wall shows it, to the second."""
    if time_ms is None:
        return ""
    return _local(time_ms).strftime("%Y-%m-%d %H:%M:%S")


def exact_time_text(time_ms: int | None) -> str:
    """Return a time to the millisecond."""
    if time_ms is None:
        return ""
    return _local(time_ms).isoformat(sep=" ", timespec="milliseconds")[:-6]


def duration_text(milliseconds: int) -> str:
    """Return a duration with its largest two units."""
    seconds, rest_ms = divmod(milliseconds, 1000)
    if seconds < 1:
        return f"{rest_ms} ms"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    shown = [f"{count} {unit}" for count, unit in parts if count]
    return " ".join(shown[:2])


def size_text(count: int) -> str:
    """Return a number of bytes in the largest unit that leaves something before the point."""
    size, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:,.1f} {units[0]}" if units[0] != "bytes" else f"{count} bytes"


def _local(time_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC).astimezone()


def _plain(value: object) -> object:
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items() if key != "$"}
        case list():
            return [_plain(item) for item in value]
        case _:
            return value


def _readable(value: object) -> object:
    match value:
        case dict():
            return {str(key): _readable(item) for key, item in value.items()}
        case list():
            return [_readable(item) for item in value]
        case bytes():
            return value.hex()
        case datetime.datetime():
            return value.isoformat()
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)
