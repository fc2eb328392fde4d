"""Four processes trade cash against paper; buyer, seller and notary are killed at every commit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from runtime.testing.driver import NetworkDriver
from tests.e2e.crash_matrix import MOMENTS, Case, CrashMatrix, Moment
from tests.e2e.trade import SPEC, issue, scenario

# Messages take turns, so that however fast the disk is, a run has at least so many commits.
COMMITS_MIN: Final = {"buyer": 9, "seller": 8, "notary": 2}

SAMPLE: Final = (
    Case("seller", "before", 1),
    Case("seller", "after", 1),
    Case("seller", "after", 5),
    Case("seller", "before", 8),
    Case("buyer", "before", 1),
    Case("buyer", "after", 1),
    Case("buyer", "before", 6),
    Case("buyer", "after", 8),
    Case("buyer", "after", 9),
    Case("notary", "before", 1),
    Case("notary", "after", 1),
    Case("notary", "after", 2),
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NetworkDriver, Path]]:
    saved = tmp_path_factory.mktemp("saved") / "nodes"
    with NetworkDriver.create(SPEC) as network:
        issue(network)
        network.save(saved)
        yield network, saved


@pytest.fixture(params=[False, True], ids=["named", "anonymous"])
def matrix(prepared: tuple[NetworkDriver, Path], request: pytest.FixtureRequest) -> CrashMatrix:
    network, saved = prepared
    return CrashMatrix(network, saved, scenario(is_anonymous=request.param))


@pytest.mark.parametrize("case", SAMPLE, ids=str)
def test_the_trade_survives_a_kill(prepared: tuple[NetworkDriver, Path], case: Case) -> None:
    network, saved = prepared
    is_anonymous = case.commit % 2 == 0

    was_killed = CrashMatrix(network, saved, scenario(is_anonymous=is_anonymous)).run(case)

    assert was_killed


@pytest.mark.crash
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("victim", COMMITS_MIN)
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_trade_survives_a_kill_at_each_commit(
    matrix: CrashMatrix, victim: str, moment: Moment
) -> None:
    kills = matrix.run_all(victim, moment)

    assert kills >= COMMITS_MIN[victim]
