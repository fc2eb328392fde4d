"""A trade with a crash of one node at one commit: of a sample of them here, of all by demand."""

from typing import Final

import pytest

from runtime.testing.simulation import crash_points, simulate
from tests.simulation.trade_scenarios import trade

SAMPLE: Final = 7


def test_a_trade_survives_a_crash_at_any_of_a_sample_of_commits() -> None:
    points = crash_points(1, trade)

    for crash in points[::SAMPLE]:
        simulate(1, trade, crash=crash)
    assert len({crash.node for crash in points}) == 4


@pytest.mark.crash
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_trade_survives_a_crash_at_any_commit(seed: int) -> None:
    for crash in crash_points(seed, trade):
        simulate(seed, trade, crash=crash)
