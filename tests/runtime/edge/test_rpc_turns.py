"""RPC: who asks or watches very much leaves turns to the flows of the node."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Final

import gevent
import pytest
import zmq
import zmq.green

from runtime.codec import encode
from runtime.edge import rpc_server
from runtime.operations import FlowDetail, NodeInfo
from runtime.rpc_messages import VERSION, GetInfo, WatchFlow
from tests.runtime.edge.fake_node import FakeFlow
from tests.runtime.edge.rpc_network import SECONDS, Network, raw_socket

REQUESTS: Final = 5_000
WATCHES: Final = 500


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    with gevent.Timeout(SECONDS), closing(network):
        yield network


def test_a_client_that_asks_without_pause_leaves_time_for_others(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken_by_turn: Counter[int] = Counter()
    turn = 0
    info = network.node.info

    def counted() -> NodeInfo:
        taken_by_turn[turn] += 1
        return info()

    monkeypatch.setattr(network.node, "info", counted)
    context = zmq.green.Context()
    socket = raw_socket(network, context, queued_max=0)

    for _ in range(REQUESTS):
        socket.send_multipart([VERSION, bytes(8), encode(GetInfo())])
    while taken_by_turn.total() < REQUESTS:
        gevent.sleep(0)
        turn += 1

    # Input that arrives and a turn of its own may fall together.
    assert max(taken_by_turn.values()) <= 2 * rpc_server.REQUESTS_PER_TURN
    socket.close(linger=0)
    context.term()


def test_who_watches_very_much_leaves_turns_to_others(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Breaks when all that is new is sent in one go.
    monkeypatch.setattr(rpc_server, "TURN_SECONDS", -1.0)
    pushed_by_turn: Counter[int] = Counter()
    turn = 0
    detail = network.node.detail

    def counted(flow: FakeFlow) -> FlowDetail:
        pushed_by_turn[turn] += 1
        return detail(flow)

    flow_id = network.client("ann").start_flow("trade.wait").id
    context = zmq.green.Context()
    socket = raw_socket(network, context, queued_max=0)
    for number in range(WATCHES):
        socket.send_multipart([VERSION, number.to_bytes(8, "big"), encode(WatchFlow(flow_id))])
    for _ in range(WATCHES):
        socket.recv_multipart()
    monkeypatch.setattr(network.node, "detail", counted)
    network.node.by_id[flow_id].progress.set("Paying")
    while pushed_by_turn.total() < WATCHES:
        gevent.sleep(0)
        turn += 1

    assert max(pushed_by_turn.values()) <= 5
    socket.close(linger=0)
    context.term()
