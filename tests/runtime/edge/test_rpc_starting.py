"""Flows over RPC, started and held as on a node."""

from collections.abc import Iterator
from contextlib import closing

import gevent
import pytest

from runtime import flow
from runtime.errors import BadArguments, ClientIdTaken, MisuseError, ResultNotReady
from runtime.operations import Arguments, OnRepeat
from runtime.rpc_messages import StartFlow, has_effect
from tests.runtime.edge.fake_node import UnacceptablePrice
from tests.runtime.edge.rpc_network import SECONDS, Network


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    with gevent.Timeout(SECONDS), closing(network):
        yield network


@flow(name="trade.add")
def add(left: int, right: int) -> int:
    return left + right


@flow(name="trade.buy")
def buy(price: int) -> str:
    return ""


def test_a_flow_that_the_client_has_is_started_with_its_own_types(network: Network) -> None:
    client = network.client("bob")

    handle = client.start_flow(add, 3, right=4)
    total: int = handle.result(timeout=30)

    assert (total, handle.name, handle.status, handle.is_ended) == (
        7,
        "trade.add",
        "completed",
        True,
    )
    assert handle.why_held is None
    with pytest.raises(BadArguments, match="right must be int, not 'x'"):
        client.start_flow(add, 3, "x")  # type: ignore[call-overload]
    with pytest.raises(BadArguments, match="right"):
        client.start_flow(add, 3)  # type: ignore[call-overload]
    with pytest.raises(MisuseError, match="is not a flow"):
        client.start_flow(17)  # type: ignore[call-overload]


def test_a_flow_is_found_again_by_the_users_own_client_id(network: Network) -> None:
    client = network.client("bob")
    handle = client.options(client_id="sum").start_flow("trade.add", 1, 2)

    found = client.find("sum", add)

    assert found is not None
    assert (found.id, found.result(30)) == (handle.id, 3)
    assert client.find("other") is None
    assert network.client("ann").find("sum") is None
    with pytest.raises(ClientIdTaken, match=r"'sum' stands for trade\.add"):
        client.find("sum", buy)


def test_a_handle_over_rpc_waits_kills_and_tells(network: Network) -> None:
    client = network.client("ann")
    handle = client.start_flow("trade.wait")
    bought = client.start_flow(buy, 120)

    is_ended = handle.wait(timeout=0.01)
    with pytest.raises(ResultNotReady):
        handle.result(timeout=0.01)
    was_alive = (handle.kill(), handle.kill())

    assert (is_ended, was_alive, handle.wait(), bought.wait()) == (False, (True, False), True, True)
    assert (handle.status, bought.status) == ("killed", "failed")
    assert client.handle(handle.id).detail().row.status == "killed"
    with pytest.raises(UnacceptablePrice):
        bought.result()


@pytest.mark.parametrize(
    ("client_id", "on_repeat", "may_be_asked_again"),
    [
        (None, "attach_if_same", False),
        ("a", "attach_if_same", True),
        ("a", "attach", True),
        ("a", "refuse", False),
    ],
)
def test_a_start_is_asked_again_after_a_lost_connection_only_if_that_starts_nothing_more(
    client_id: str | None, on_repeat: OnRepeat, may_be_asked_again: bool
) -> None:
    request = StartFlow("trade.add", Arguments(), client_id, on_repeat)

    assert has_effect(request) == (not may_be_asked_again)
