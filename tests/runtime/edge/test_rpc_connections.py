"""Connections to the RPC: of strangers who say nothing, of users who make many."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import gevent
import pytest

from runtime.edge.zmq_auth import PeerAddress
from runtime.limits import DEFAULT_RPC_LIMITS, MIB, RpcLimits
from runtime.rpc_messages import NodeBusy
from tests.runtime.edge.rpc_network import SECONDS, Network
from tests.runtime.edge.zmq_hostile import StoppingWire, sending_parts


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    with gevent.Timeout(SECONDS), closing(network):
        yield network


def restart(network: Network, limits: RpcLimits) -> None:
    """Have the server run with other limits, at a port of its own."""
    network.server.close()
    network.endpoint = "tcp://127.0.0.1:*"
    network.server = network.serve(limits)


def in_use(network: Network, limit: str) -> int:
    return {name: used for name, _, used in network.server.usage()}[limit]


def wait_until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        gevent.sleep(0.005)


def test_strangers_that_say_nothing_leave_descriptors_to_users(
    few_descriptors: int, network: Network
) -> None:
    restart(network, DEFAULT_RPC_LIMITS)
    host, _, port = network.endpoint.removeprefix("tcp://").rpartition(":")
    with ExitStack() as strangers:
        for _ in range(few_descriptors // 4 + 10):
            strangers.enter_context(socket.create_connection((host, int(port))))
        wait_until(lambda: network.server.stats.connections_cut >= 10)

        assert network.client("ann").info().name == network.node.name
        assert in_use(network, "rpc_connections_silent_max") <= few_descriptors // 4


def test_a_connection_of_a_user_that_is_one_too_many_is_told_so_and_cut(network: Network) -> None:
    restart(network, RpcLimits(rpc_connections_per_user_max=3))
    bobs = [network.client("bob") for _ in range(3)]
    for bob in bobs:
        bob.info()
    links: list[bool] = []

    late = network.client("bob", on_link=links.append)  # type: ignore[arg-type]
    with pytest.raises(NodeBusy, match=r"'bob' has as many connections.*3 at most"):
        late.info()

    wait_until(lambda: False in links)
    for bob in bobs:
        bob.info()
    network.client("ann").info()
    assert in_use(network, "rpc_connections_per_user_max") == 3


def test_a_connection_finds_room_when_another_is_closed(network: Network) -> None:
    restart(network, RpcLimits(rpc_connections_per_user_max=1))
    first = network.client("bob")
    first.info()
    late = network.client("bob")
    with pytest.raises(NodeBusy):
        late.info()

    first.close()
    wait_until(lambda: in_use(network, "rpc_connections_max") == 0)

    while True:
        try:
            late.info()
        except NodeBusy:
            gevent.sleep(0.02)  # it is on its way to be cut, and comes back
        else:
            break
    assert in_use(network, "rpc_connections_max") == 1


def test_one_user_leaves_connections_to_the_others(network: Network) -> None:
    restart(network, RpcLimits(rpc_connections_max=8))
    busy = 0
    for _ in range(8):
        try:
            network.client("bob").info()
        except NodeBusy:
            busy += 1

    assert busy == 4
    assert network.client("ann").info().name == network.node.name


def test_a_user_that_sends_part_after_part_is_cut_and_others_are_served(network: Network) -> None:
    # Breaks when the bound on the parts of a request holds only once it has arrived.
    restart(network, RpcLimits(rpc_request_bytes_max=MIB))
    keys = network.keys["bob"]
    address = PeerAddress(network.endpoint, network.server_keys.public_key)
    wire = StoppingWire(address, bytes_max=20 * MIB)
    with sending_parts(address, (keys.public_key, keys.secret_key), 400, wire.endpoint):
        wait_until(lambda: wire.is_cut)

        assert network.client("ann").info().name == network.node.name
    wire.close()
    assert network.server.stats.connections_cut == 1
