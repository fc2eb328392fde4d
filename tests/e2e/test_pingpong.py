"""Two processes play ping-pong over ZeroMQ with CURVE; either is killed at each of its commits."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from runtime.edge.rpc_client import RpcClient
from runtime.operations import Arguments, FlowResult
from runtime.testing.driver import NetworkDriver
from tests.e2e.crash_matrix import MOMENTS, Case, CrashMatrix, Moment, Scenario
from tests.e2e.networks import HELLO

PING: Final = "samples.hello.ping"
ROUNDS: Final = 3

SAMPLE: Final = (
    Case("alice", "before", 1),  # nobody was told that the flow has started
    Case("alice", "after", 1),
    Case("alice", "before", 3),
    Case("alice", "after", 4),
    Case("bob", "before", 1),  # the open message comes again
    Case("bob", "after", 1),  # it comes again, too, since it was not acknowledged
    Case("bob", "before", 3),
    Case("bob", "after", 4),
)


def play(rpc: RpcClient) -> FlowResult:
    flow_id = rpc.options(client_id="game").start_text(PING, Arguments(["Bob", str(ROUNDS)])).id
    return rpc.result(flow_id, timeout_seconds=30.0)


def assert_right(network: NetworkDriver, result: FlowResult) -> None:
    assert result.text == str(ROUNDS)


SCENARIO: Final = Scenario(nodes=("alice", "bob"), asked="alice", job=play, checks=(assert_right,))


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashMatrix]:
    saved: Path = tmp_path_factory.mktemp("saved") / "nodes"
    with NetworkDriver.create(HELLO) as network:
        network.save(saved)
        yield CrashMatrix(network, saved, SCENARIO)


@pytest.mark.parametrize("case", SAMPLE, ids=str)
def test_a_game_survives_the_kill_of_a_player(matrix: CrashMatrix, case: Case) -> None:
    was_killed = matrix.run(case)

    assert was_killed


@pytest.mark.crash
@pytest.mark.timeout(900)
@pytest.mark.parametrize("victim", SCENARIO.nodes)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_game_survives_the_kill_of_a_player_at_each_commit(
    matrix: CrashMatrix, victim: str, moment: Moment
) -> None:
    kills = matrix.run_all(victim, moment)

    assert kills > ROUNDS
