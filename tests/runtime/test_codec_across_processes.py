"""The same value has the same bytes in every process, however its sets are iterated there."""

import os
import subprocess
import sys
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Final, Literal

import pytest

from runtime.codec import decode, encode, fingerprint, message, pack
from runtime.schema import sorts_partly
from runtime.signatures import Arguments
from tests.source_files import ROOT

WORDS: Final = ["the", "order", "of", "a", "set", "differs", "in", "each", "process"]


@message
class Group:
    members: frozenset[frozenset[str]]


@message
class Club:
    group: Group
    ranks: dict[str, set[tuple[frozenset[str], int]]]


@message
class Base:
    name: str


@message
class Derived(Base):
    members: set[frozenset[str]] = set()


@message
class Tree:
    children: tuple["Tree", ...] = ()
    names: frozenset[str] = frozenset()


def typed(pairs: set[frozenset[str]], names: set[str], club: Club) -> None: ...


def half_typed(pairs: set[frozenset[str]], rest: object) -> None: ...


def singles() -> set[frozenset[str]]:
    return {frozenset({word}) for word in WORDS}


def club() -> Club:
    return Club(Group(frozenset(singles())), {"a": {(single, 1) for single in singles()}})


def values() -> list[bytes]:
    """Return the bytes of everything that has sets in it, as this process writes them."""
    numbers = {float("nan"), *map(float, range(20))}
    return [
        pack(singles()).body,
        pack({"abc", "def", 1, (2, "x")}).body,
        pack({("b",): set(WORDS), ("a",): 1}).body,
        pack(club()).body,
        pack([club(), singles()]).body,
        encode(club()),
        encode(singles()),
        encode(numbers),
        encode([club()], carefully=True),
        encode(set(map(Decimal, ["NaN", "1", "2"]))),
        Arguments(typed).encode((singles(), set(WORDS), club())),
        Arguments(half_typed).encode((singles(), {"of": singles()})),
        fingerprint(Arguments(typed).encode((singles(), set(WORDS), club()))),
    ]


def test_no_bytes_depend_on_the_process() -> None:
    script = f"from {__name__} import values; print([body.hex() for body in values()])"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert outputs == {f"{[body.hex() for body in values()]}\n".encode()}


def test_what_is_sorted_by_its_bytes_arrives_as_it_was() -> None:
    assert decode(encode(club()), Club) == club()
    assert Arguments(typed).decode(Arguments(typed).encode((singles(), {"a"}, club()))) == (
        singles(),
        {"a"},
        club(),
    )


@pytest.mark.parametrize(
    ("annotation", "is_partly"),
    [
        (set[str], False),
        (frozenset[tuple[str, int, None]], False),
        (set[tuple[str, ...]], False),
        (set[Literal["a", "b"]], False),
        (dict[str, list[str | None]], False),
        (Tree, False),
        (set[frozenset[str]], True),
        (AbstractSet[frozenset[str]], True),
        (list[tuple[int, set[tuple[int, frozenset[int]]]]], True),
        (set[float], True),
        (set[Decimal] | None, True),
        (Club, True),
        (list[Base], True),
    ],
)
def test_a_set_of_what_only_partly_compares_is_found_wherever_it_stands(
    annotation: object, is_partly: bool
) -> None:
    assert sorts_partly(annotation) is is_partly
