"""How long to wait, as an option of a command: from 0 seconds to for ever."""

import math
from typing import Any

import click


class Seconds(click.FloatRange):
    """A number of seconds, which is no NaN; infinity waits for ever."""

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or refuse what is none."""
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value!r} is no number of seconds. Use one like 60", param, ctx)
        return seconds
