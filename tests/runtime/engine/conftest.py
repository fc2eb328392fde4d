"""Networks for tests of the engine: every test runs twice, see `network`."""

import pytest

from runtime.testing.network import SimulatedNetwork


@pytest.fixture(params=[True, False], ids=["rebuilt", "resident"])
def network(request: pytest.FixtureRequest) -> SimulatedNetwork:
    """A quiet network whose flows are rebuilt from their journals after each wait, or stay."""
    return SimulatedNetwork(is_replay_checked=request.param)
