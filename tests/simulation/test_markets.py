"""The ledger under faults: trades and payments are whole, whoever crashes, whenever."""

from typing import Final

import pytest

from runtime.testing.simulation import Scenario, crash_points, simulate
from tests.simulation.markets import MARKETS, two_party_trade
from tests.simulation.test_histories import seeds

CHUNKS: Final = 2
SAMPLE: Final = 9


@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("scenario", MARKETS, ids=lambda it: it.__name__)
def test_cash_and_paper_change_hands_both_or_not_at_all(scenario: Scenario, chunk: int) -> None:
    for seed in seeds(chunk):
        simulate(seed, scenario)


def test_a_trade_survives_a_crash_at_any_of_a_sample_of_commits() -> None:
    points = crash_points(1, two_party_trade)

    for crash in points[::SAMPLE]:
        simulate(1, two_party_trade, crash=crash)
    assert {crash.node for crash in points} == {"Notary", "Bank", "Buyer", "Seller"}


@pytest.mark.crash
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_trade_survives_a_crash_at_any_commit(seed: int) -> None:
    for crash in crash_points(seed, two_party_trade):
        simulate(seed, two_party_trade, crash=crash)
