"""A node's process ends in good order whatever its flows are doing, and goes on from there."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import gevent
import pytest

from runtime.errors import NodeStopped
from runtime.operations import Arguments, FlowFilter
from runtime.rpc_messages import NodeUnreachable
from runtime.testing.driver import NetworkDriver, NodeProcess
from tests.e2e.networks import EMBEDDED

BUSY: Final = {
    "sleep_a_week": [],
    "await_peer": ["Bob"],
    "nap_in_step": ["600000.0"],
    "nap_in_thread": ["2.0"],
    "work": ["1000000"],
}
OF_EACH: Final = 5
STOP_SECONDS_MAX: Final = 10.0


@pytest.fixture
def network() -> Iterator[NetworkDriver]:
    with NetworkDriver.create(EMBEDDED) as network:
        yield network


def make_busy(node: NodeProcess) -> set[str]:
    """Start flows that wait in every way there is, and some that compute; return their ids."""
    return {
        node.rpc.options().start_text(f"tests.e2e.flows.{name}", Arguments([*arguments])).id
        for name, arguments in BUSY.items()
        for _ in range(OF_EACH)
    }


def live_flows(node: NodeProcess) -> set[str]:
    rows = node.rpc.flows(FlowFilter(statuses=["running", "waiting"], limit=1_000))
    return {row.id for row in rows}


def complaints(node: NodeProcess) -> list[str]:
    words = ("Traceback", "Warning", " WARNING ", " ERROR ", "Exception")
    # Each node of a development network warns of that at its start.
    lines = [
        line for line in node.output().splitlines() if "KEYS OF THIS NODE LIE OPEN" not in line
    ]
    return [line for line in lines if any(word in line for word in words)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda it: it.name)
def test_a_busy_node_ends_with_0_by_a_signal_and_goes_on_later(
    network: NetworkDriver, number: signal.Signals
) -> None:
    network.start()
    alice = network.node("alice")
    started = make_busy(alice)

    os.kill(alice.pid, number)
    code = alice.wait_for_exit(STOP_SECONDS_MAX)
    found = complaints(alice)
    alice.start()

    assert (code, found) == (0, [])
    assert live_flows(alice) == started


def test_a_busy_node_ends_with_0_when_a_user_asks_it(network: NetworkDriver) -> None:
    network.start()
    alice = network.node("alice")
    started = make_busy(alice)

    alice.rpc.stop()
    code = alice.wait_for_exit(STOP_SECONDS_MAX)
    found = complaints(alice)
    alice.start()

    assert (code, found) == (0, [])
    assert live_flows(alice) == started


def test_a_node_that_is_stopped_while_users_start_flows_tells_them_and_loses_none(
    network: NetworkDriver,
) -> None:
    alice = network.node("alice")
    alice.start()
    started: set[str] = set()

    def start_until_it_stops() -> None:
        with alice.connect() as rpc, suppress(NodeUnreachable, NodeStopped):
            while True:
                started.add(rpc.start_flow("tests.e2e.flows.sleep_a_week").id)

    users = [gevent.spawn(start_until_it_stops) for _ in range(4)]
    alice.wait_until(lambda: len(started) > 20, "started flows", 20.0)
    alice.ask_to_stop()
    code = alice.wait_for_exit(STOP_SECONDS_MAX)
    gevent.joinall(users, raise_error=True)
    found = complaints(alice)
    alice.start()

    assert (code, found) == (0, [])
    # One whose answer was lost on the way may be there too.
    assert started <= live_flows(alice)


def test_a_second_signal_ends_a_node_at_once_and_loses_nothing(network: NetworkDriver) -> None:
    network.start()
    alice = network.node("alice")
    started = make_busy(alice)

    os.kill(alice.pid, signal.SIGTERM)
    os.kill(alice.pid, signal.SIGTERM)
    code = alice.wait_for_exit(STOP_SECONDS_MAX)
    alice.start()

    assert code in (0, 128 + signal.SIGTERM, -signal.SIGTERM)
    assert live_flows(alice) == started
