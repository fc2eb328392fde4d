"""Histories of trades under faults: cash and paper change hands together, once, or not at all.

One seed of one scenario, for example after a failure that names them:

    SENNIT_SEED=84113 python -m pytest tests/simulation/test_trade_histories.py -k double_sale

To hunt for more:

    python -m runtime.testing.simulation --seeds 10000 \\
        --scenario tests.simulation.trade_scenarios:double_sale
"""

import os
from typing import Final

import pytest

from runtime.testing.simulation import Scenario, simulate
from tests.simulation import trade_scenarios as scenarios

SEEDS_PER_CHUNK: Final = 10

CHUNKS: Final[dict[Scenario, int]] = {scenarios.trade: 20, scenarios.long_history: 1}
"""How many chunks of seeds each scenario gets; others get two."""

CASES: Final = [
    pytest.param(scenario, chunk, id=f"{scenario.__name__}-{chunk}")
    for scenario in scenarios.SCENARIOS
    for chunk in range(CHUNKS.get(scenario, 2))
]

# A history that once failed, and what was wrong. Of seeds that only hunt, there are enough above.
REGRESSIONS: Final[list[tuple[Scenario, int]]] = [
    # The seller was told of a missed window by an error that did not say what it was.
    (scenarios.trade, 6),
]


def seeds(chunk: int) -> list[int]:
    only = os.environ.get("SENNIT_SEED")
    if only is not None:
        return [int(only)] if chunk == 0 else []
    return list(range(chunk * SEEDS_PER_CHUNK, (chunk + 1) * SEEDS_PER_CHUNK))


@pytest.mark.parametrize(("scenario", "chunk"), CASES)
def test_everybody_gets_what_was_agreed_whatever_fails(scenario: Scenario, chunk: int) -> None:
    for seed in seeds(chunk):
        simulate(seed, scenario)


@pytest.mark.parametrize(("scenario", "seed"), REGRESSIONS)
def test_what_failed_once_does_not_fail_again(scenario: Scenario, seed: int) -> None:
    simulate(seed, scenario)
