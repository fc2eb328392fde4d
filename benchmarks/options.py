"""The options that all benchmarks share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import click

P = ParamSpec("P")
R = TypeVar("R")

SECONDS: Final = 1.0
REPEAT: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to measure."""

    folder: Path
    """Where databases are made: it lies on the filesystem that is measured."""

    fsync: bool = True
    repeat: int = REPEAT
    """Of so many runs the middle one is reported, and so it is with the limits."""

    seconds: float = SECONDS
    """A run is continued until it has taken as long as this."""


def shared(command: Callable[P, R]) -> Callable[P, R]:
    """Give a command ``--json``, ``--no-fsync``, ``--dir``, ``--repeat`` and ``--seconds``."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one object a figure."),
        click.option(
            "--fsync/--no-fsync", default=True, help="Sync each commit to the disk.  [default: on]"
        ),
        click.option(
            "--dir",
            "folder",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            default=Path(),
            help="Make databases below this directory.  [default: the current one]",
        ),
        click.option(
            "--repeat",
            type=click.IntRange(1),
            default=REPEAT,
            show_default=True,
            help="Measure so many times; report the middle one.",
        ),
        click.option(
            "--seconds",
            type=click.FloatRange(0),
            default=SECONDS,
            show_default=True,
            help="Measure for as long as this each time, at least.",
        ),
    ):
        command = option(command)
    return command


def middle(values: list[R], key: Callable[[R], float]) -> R:
    """Return the median, the lower of two."""
    return sorted(values, key=key)[(len(values) - 1) // 2]
