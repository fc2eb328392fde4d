"""Flows that refuse to end when they are taken down: killed all the same, left behind by name."""

import contextlib

import pytest

from runtime import FlowKilled, current_flow, flow, sleep, step
from runtime.ids import FlowId
from runtime.testing.network import SimulatedNetwork
from tests.runtime.engine.scenes import assert_nothing_is_left, outcome

done: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()


@flow
def swallow_for_ever() -> None:
    while True:
        with contextlib.suppress(BaseException):
            sleep(1_000)


@pytest.mark.parametrize("verb", ["kill", "stop", "crash"])
def test_a_flow_that_swallows_for_ever_is_left_behind_and_named(
    network: SimulatedNetwork, caplog: pytest.LogCaptureFixture, verb: str
) -> None:
    alice = network.node("Alice", apps=[swallow_for_ever])
    handle = alice.start_flow(swallow_for_ever)
    network.run_for(10)
    takedowns = alice.running.manager.takedowns

    if verb == "kill":
        assert alice.kill(handle.id)
        network.run_for(1)
        assert isinstance(outcome(handle), FlowKilled)
    elif verb == "stop":
        alice.stop()
    else:
        alice.crash()

    (left,) = takedowns.left_behind()
    assert left.flow_id == handle.id
    assert "swallow_for_ever" in left.where()
    (line,) = [text for text in caplog.messages if "left behind in" in text]
    assert handle.id in line
    assert "test_refusing_to_end.py" in line


def test_a_flow_that_kills_itself_is_killed(network: SimulatedNetwork) -> None:
    @flow
    def kill_me() -> str:
        done.append("asked")
        alice.kill(current_flow().id)
        done.append("went on")
        return "survived"

    alice = network.node("Alice", apps=[kill_me])

    handle = alice.begin_flow(kill_me)
    network.run()

    assert isinstance(outcome(handle), FlowKilled)
    assert done == ["asked"]
    assert alice.info().left_behind == []
    assert_nothing_is_left(network)


def test_a_flow_that_kills_itself_in_a_step_is_killed(network: SimulatedNetwork) -> None:
    @step
    def kill_it(flow_id: FlowId) -> str:
        return str(alice.kill(flow_id))

    @flow
    def kill_me() -> str:
        done.append(kill_it(current_flow().id))
        return "survived"

    alice = network.node("Alice", apps=[kill_me])

    handle = alice.begin_flow(kill_me)
    network.run()

    assert isinstance(outcome(handle), FlowKilled)
    assert done == []
    assert_nothing_is_left(network)
