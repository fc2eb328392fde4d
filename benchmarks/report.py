"""One measured figure, shown as a table to people and as one JSON object a run to programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.machine import Machine

Settings = dict[str, str | int | float | bool]

PERCENT: Final = 100
WIDTH_MIN: Final = 110


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A figure beside its limit, which is what one library alone does with the same records."""

    name: str
    settings: Settings
    """What was set, and what came out beside the figure: commits, CPU time."""

    value: float
    unit: str
    limit: float
    p50_ms: float
    p99_ms: float
    fsync: bool
    machine: Machine

    @property
    def ratio(self) -> float:
        """Return the figure as a multiple of its limit."""
        return self.value / self.limit

    def as_json(self) -> str:
        """Return the one line that a program reads."""
        fields = asdict(self)
        machine = fields.pop("machine")
        return json.dumps({**fields, "ratio": self.ratio, "machine": machine})


def percentile_ms(seconds: Sequence[float], percent: int) -> float:
    """Return the smallest sample that ``percent`` of all samples do not exceed, in milliseconds."""
    assert seconds, "no samples"
    assert 0 < percent <= PERCENT
    ordered = sorted(seconds)
    rank = -(-len(ordered) * percent // PERCENT)
    return ordered[rank - 1] * 1000


def show(results: Sequence[Result], *, as_json: bool, console: Console | None = None) -> None:
    """Print ``results`` to standard output."""
    if as_json:
        for result in results:
            print(result.as_json())
        return
    console = console or Console(soft_wrap=True)
    console.width = max(console.width, WIDTH_MIN)
    console.print(table_of(results))
    if results:
        console.print(f"All: {_text_of(common_settings(results), ', ')}")
        console.print("limit: the library alone, same records, same run. Measured on:")
        console.print(", ".join(f"{key} {value}" for key, value in results[0].machine.items()))


def common_settings(results: Sequence[Result]) -> Settings:
    """Return the settings that all results share, fsync among them."""
    first, *others = [_settings_of(result) for result in results]
    return {
        key: value
        for key, value in first.items()
        if all(other.get(key) == value for other in others)
    }


def table_of(results: Sequence[Result]) -> Table:
    """Return the figures as a table, one row a figure; settings only where they differ."""
    table = Table()
    for column in ("benchmark", "settings"):
        table.add_column(column, no_wrap=True)
    for column in ("value", "unit", "limit", "ratio", "p50 ms", "p99 ms"):
        table.add_column(column, justify="left" if column == "unit" else "right", no_wrap=True)
    common = common_settings(results) if len(results) > 1 else {}
    for result in results:
        settings = _settings_of(result)
        table.add_row(
            result.name,
            _text_of({key: settings[key] for key in settings if key not in common}, "\n"),
            readable(result.value),
            result.unit,
            readable(result.limit),
            f"{result.ratio:.2f}",
            readable(result.p50_ms),
            readable(result.p99_ms),
            end_section=True,
        )
    return table


def _settings_of(result: Result) -> Settings:
    return {**result.settings, "fsync": "on" if result.fsync else "off"}


def _text_of(settings: Settings, separator: str) -> str:
    return separator.join(f"{key} {value}" for key, value in settings.items())


def readable(number: float) -> str:
    """Write ``number`` with three significant digits, or with thousands separated."""
    return f"{number:,.0f}" if number >= PERCENT else f"{number:.3g}"
