"""Faults that no test can notice, each with the reason: the code does the same with them.

An entry names the fault by its text, not by its line, so that it outlives changes elsewhere.
"""

from dataclasses import dataclass
from typing import Final

from tests.mutation.plant import Mutant


@dataclass(frozen=True, slots=True, kw_only=True)
class Survivor:
    """One fault of `plant`: ``was`` as the hunt prints it."""

    path: str
    function: str
    kind: str
    was: str
    reason: str


SURVIVORS: Final[tuple[Survivor, ...]] = ()

_REASONS: Final = {(it.path, it.function, it.kind, it.was): it.reason for it in SURVIVORS}


def reason_of(path: str, mutant: Mutant) -> str | None:
    """Return why nobody notices this fault, or None if somebody should."""
    return _REASONS.get((path, mutant.function, mutant.kind, mutant.was))
