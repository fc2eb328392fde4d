"""Histories of whole networks under faults: every seed has to come to a good end.

One seed of one scenario, for example after a failure that names them:

    SENNIT_SEED=84113 python -m pytest tests/simulation -k ping_pong
"""

import os
from typing import Final

import pytest

from runtime.testing.simulation import Scenario, crash_points, simulate
from tests.simulation import scenarios

CHUNKS: Final = 4
SEEDS_PER_CHUNK: Final = 20

# A history that once failed, and what was wrong. Of seeds that only hunt, there are enough above.
REGRESSIONS: Final[list[tuple[Scenario, int]]] = [
    # A session that was over was forgotten after a day although the peer still had to say its end.
    (scenarios.fan_out, 6),
    # A node that talked to itself took the tombstone of its own end for that of the other end.
    (scenarios.killings, 46),
    # An end that had overtaken the acceptance was answered as if there were no such session.
    (scenarios.improvisation, 5294),
]


def seeds(chunk: int) -> list[int]:
    only = os.environ.get("SENNIT_SEED")
    if only is not None:
        return [int(only)] if chunk == 0 else []
    return list(range(chunk * SEEDS_PER_CHUNK, (chunk + 1) * SEEDS_PER_CHUNK))


@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("scenario", scenarios.SCENARIOS, ids=lambda it: it.__name__)
def test_every_flow_ends_as_it_should_whatever_fails(scenario: Scenario, chunk: int) -> None:
    for seed in seeds(chunk):
        simulate(seed, scenario)


@pytest.mark.parametrize(("scenario", "seed"), REGRESSIONS)
def test_what_failed_once_does_not_fail_again(scenario: Scenario, seed: int) -> None:
    simulate(seed, scenario)


@pytest.mark.parametrize(
    "scenario",
    [
        scenarios.ping_pong,
        scenarios.enough,
        scenarios.hard_work,
        scenarios.impatience,
        scenarios.delegation,
        scenarios.soliloquy,
        scenarios.refusals,
    ],
    ids=lambda it: it.__name__,
)
def test_a_crash_at_any_commit_changes_nothing(scenario: Scenario) -> None:
    points = crash_points(1, scenario)

    for crash in points:
        simulate(1, scenario, crash=crash)
    assert len(points) > 10


def test_great_messages_arrive_in_spite_of_back_pressure() -> None:
    for seed in seeds(0)[:3]:
        simulate(seed, scenarios.great_messages)
