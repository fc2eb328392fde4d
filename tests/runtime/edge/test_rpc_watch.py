"""RPC: watches, lost connections, bounds, and requests that make no sense."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import gevent
import pytest
import zmq
import zmq.green

from runtime.codec import decode, encode
from runtime.edge import rpc_client, rpc_server
from runtime.edge.rpc_client import RpcClient
from runtime.edge.rpc_server import RpcServer
from runtime.errors import BadMessage, FlowKilled, MisuseError, UnserialisableMessage
from runtime.ids import FlowId
from runtime.limits import MESSAGE_BYTES_MAX, RpcLimits
from runtime.operations import Arguments, FlowDetail
from runtime.rpc_messages import (
    VERSION,
    Answer,
    BadRequest,
    Done,
    Failure,
    GetFlow,
    GetInfo,
    NodeBusy,
    NodeUnreachable,
    RemoteError,
    RequestFailed,
    WatchFlow,
    error_of,
)
from tests.runtime.edge.rpc_network import SECONDS, Network, raw_socket


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    with gevent.Timeout(SECONDS), closing(network):
        yield network


# Watching


def test_a_watch_shows_the_flow_now_then_each_change_until_its_end(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait").id
    watch = client.watch(flow_id)

    first = next(watch)
    network.node.by_id[flow_id].progress.set("Paying")
    second = next(watch)
    network.node.end(network.node.by_id[flow_id], result=7)
    last = next(watch)

    assert [row.status for row in first.progress] == ["current", "waiting"]
    assert [row.status for row in second.progress] == ["done", "current"]
    assert (last.row.status, last.result and last.result.text) == ("completed", "7")
    assert list(watch) == []


def test_a_watch_that_is_left_after_its_client_was_closed_ends_quietly(network: Network) -> None:
    client = network.client("ann")
    watch = client.watch(client.start_flow("trade.wait").id)
    next(watch)
    client.close()

    watch.close()

    assert list(watch) == []


def test_a_flow_that_moves_fast_is_shown_as_it_is_and_not_move_by_move(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait").id
    flow = network.node.by_id[flow_id]
    watch = client.watch(flow_id)
    next(watch)

    for _ in range(10_000):
        flow.progress.set("Asking")
        flow.progress.set("Paying")
    network.node.end(flow, result=None)

    assert len(list(watch)) < 5


def test_an_ended_watch_is_forgotten_by_the_node(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait").id
    watchers = network.node.by_id[flow_id].watchers
    watch = client.watch(flow_id)
    next(watch)
    before = len(watchers)

    watch.close()
    client.info()

    assert (before, len(watchers)) == (1, 0)


def test_a_client_that_vanished_is_forgotten(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc_server, "STILL_THERE_SECONDS", 0.02)
    network.server.close()
    network.server = network.serve()
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait").id
    watchers = network.node.by_id[flow_id].watchers
    watch = client.watch(flow_id)
    next(watch)

    client._is_connected.clear()  # so that it can't say that it stops watching
    client.close()
    watch.close()

    while watchers:
        gevent.sleep(0.01)


def test_a_watch_goes_on_after_the_node_was_started_again(network: Network) -> None:
    links: list[bool] = []
    client = RpcClient(network.address("ann"), on_link=links.append)
    network.clients.append(client)
    flow_id = client.start_flow("trade.wait").id
    watch = client.watch(flow_id)
    next(watch)

    network.server.close()
    network.node.by_id[flow_id].progress.set("Paying")
    network.server = network.serve()
    after = next(watch)

    assert [row.status for row in after.progress] == ["done", "current"]
    assert links == [False, True]


def test_what_only_looks_is_asked_again_after_the_node_was_started_again(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.options(client_id="a").start_flow("trade.wait").id
    result = gevent.spawn(client.result, flow_id, SECONDS)
    gevent.sleep(0)
    client.info()

    network.server.close()
    network.server = network.serve()
    network.node.end(network.node.by_id[flow_id], result=1)

    assert result.get().text == "1"


def test_what_may_have_had_an_effect_is_not_asked_again(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait").id
    network.server.close()
    while client._is_connected.is_set():
        gevent.sleep(0.01)

    with pytest.raises(NodeUnreachable, match="the connection is lost"):
        client.kill(flow_id)


def test_a_connection_lost_before_the_answer_says_that_nobody_knows_the_outcome(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait").id

    def crash_while_killing(flow_id: FlowId) -> bool:
        gevent.spawn(network.server.close)
        gevent.sleep(SECONDS)
        return True

    monkeypatch.setattr(network.node, "kill", crash_while_killing)

    with pytest.raises(NodeUnreachable, match="may have been carried out, or not"):
        client.kill(flow_id)


def test_an_answer_that_came_just_before_the_connection_was_lost_counts(network: Network) -> None:
    client = network.client("ann")

    def stop_when_asked() -> None:
        network.node.is_stopping.wait()
        network.server.close()

    stopping = gevent.spawn(stop_when_asked)

    client.stop()

    stopping.get()


# Bounds and strange messages


@pytest.mark.parametrize("bound", ["rpc_requests_max", "rpc_requests_per_user_max"])
def test_too_many_waiting_requests_are_refused_and_the_node_goes_on(
    network: Network, bound: str
) -> None:
    network.server.close()
    network.server = network.serve(RpcLimits(**{bound: 2}))
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait").id
    waiting = [gevent.spawn(client.result, flow_id, SECONDS) for _ in range(2)]
    gevent.sleep(0)
    client.info()

    with pytest.raises(NodeBusy):
        client.result(flow_id, SECONDS)

    assert client.kill(flow_id)
    for greenlet in waiting:
        with pytest.raises(FlowKilled):
            greenlet.get()


def test_too_many_watches_of_one_user_are_refused_over_all_connections(network: Network) -> None:
    network.server.close()
    network.server = network.serve(RpcLimits(rpc_watches_per_user_max=1))
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait").id
    first = client.watch(flow_id)
    next(first)

    with pytest.raises(NodeBusy):
        next(network.client("ann").watch(flow_id))

    network.node.by_id[flow_id].progress.set("Paying")
    assert next(first).progress[0].status == "done"


@pytest.mark.parametrize(
    "frames",
    [
        [b"sennit-rpc-2", bytes(8), encode(GetInfo())],
        [VERSION, b"1", encode(GetInfo())],
        [VERSION],
        [VERSION, bytes(8), b"\xff"],
        [VERSION, bytes(8), encode({"$": "rpc.Unheard"})],
        [VERSION, bytes(8), encode(GetInfo()), b"more"],
    ],
)
def test_a_request_that_makes_no_sense_is_answered_and_changes_nothing(
    network: Network, frames: list[bytes]
) -> None:
    context = zmq.green.Context()
    socket = raw_socket(network, context)

    socket.send_multipart(frames)
    answer: Answer = decode(socket.recv_multipart()[-1], Answer)
    socket.close(linger=0)
    context.term()

    assert isinstance(answer, Failure)
    assert isinstance(error_of(answer), BadRequest)
    assert isinstance(network.client("ann").flows(), list)


def test_a_watch_of_a_flow_that_the_node_can_not_show_fails_alone(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait").id

    def broken(flow: object) -> FlowDetail:
        raise ZeroDivisionError

    monkeypatch.setattr(network.node, "detail", broken)

    with pytest.raises(RequestFailed):
        next(client.watch(flow_id))
    monkeypatch.setattr(network.node, "watch", broken)
    with pytest.raises(RequestFailed):
        next(client.watch(flow_id))
    assert client.info().commits == 42


def test_a_closed_client_says_so(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait").id
    waiting = gevent.spawn(client.result, flow_id, SECONDS)
    gevent.sleep(0)

    client.close()

    with pytest.raises(NodeUnreachable):
        waiting.get()
    with pytest.raises(MisuseError, match="closed"):
        client.info()


def test_a_server_may_be_used_with_with(network: Network) -> None:
    network.server.close()
    server = RpcServer(
        network.node,
        address=network.endpoint,
        keys=network.server_keys,
        users=network.users(),
    )

    with server:
        assert network.client("ann").info().commits == 42


def test_a_number_that_is_used_twice_watches_once(network: Network) -> None:
    context = zmq.green.Context()
    socket = raw_socket(network, context)
    flow_id = network.client("ann").start_flow("trade.wait").id
    watchers = network.node.by_id[flow_id].watchers

    for _ in range(2):
        socket.send_multipart([VERSION, bytes(8), encode(WatchFlow(flow_id))])
        socket.recv_multipart()

    assert len(watchers) == 1
    socket.close(linger=0)
    context.term()


def test_a_client_that_does_not_read_loses_its_watches_and_the_node_goes_on(
    network: Network, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rpc_server, "QUEUED_ANSWERS_MAX", 1)
    network.server.close()
    network.server = network.serve()
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait").id
    network.node.by_id[flow_id].progress.set("x" * 10_000)
    watchers = network.node.by_id[flow_id].watchers
    context = zmq.green.Context()
    socket = raw_socket(network, context)
    socket.send_multipart([VERSION, bytes(8), encode(WatchFlow(flow_id))])
    socket.recv_multipart()

    while watchers:
        socket.send_multipart([VERSION, bytes(8), encode(GetFlow(flow_id))])
        # Else many thousands are on their way before the node sees the first.
        gevent.sleep(0)

    assert "does not read its answers and is dropped" in caplog.text
    assert client.info().commits == 42
    socket.close(linger=0)
    context.term()


def test_an_answer_that_is_too_large_to_send_fails_alone(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait").id
    network.node.end(network.node.by_id[flow_id], result="x" * (MESSAGE_BYTES_MAX - 10))

    with pytest.raises(RequestFailed):
        client.result(flow_id, SECONDS)

    assert client.info().commits == 42


def test_a_node_that_does_not_answer_in_time_is_busy(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc_client, "ANSWER_SECONDS", 0.05)
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait").id
    monkeypatch.setattr(network.node, "kill", lambda flow_id: gevent.sleep(SECONDS))

    with pytest.raises(NodeUnreachable, match="the port is open, but the node does not answer"):
        client.kill(flow_id)


def test_a_request_that_can_not_be_encoded_is_refused_here(network: Network) -> None:
    client = network.client("ann")

    with pytest.raises(UnserialisableMessage):
        client.options().start_text("trade.wait", Arguments(["x" * MESSAGE_BYTES_MAX]))

    assert client.info().commits == 42


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ([b"sennit-rpc-2", bytes(7) + b"\1", b"x"], RemoteError),
        ([VERSION, bytes(7) + b"\1", bytes(8), b"\xff"], BadMessage),
        ([VERSION, bytes(7) + b"\1", bytes(8), encode(Done())], BadMessage),
    ],
)
@pytest.mark.parametrize("ask", [RpcClient.info, lambda client: next(client.watch(FlowId("1")))])
def test_an_answer_that_makes_no_sense_is_an_error_of_that_request(
    network: Network,
    answer: list[bytes],
    error: type[Exception],
    ask: Callable[[RpcClient], object],
) -> None:
    with odd_server(network, answer), pytest.raises(error):
        ask(network.client("ann"))


@pytest.mark.parametrize(
    "answer",
    [
        [VERSION, bytes(7) + b"\1"],
        [VERSION, bytes(7) + b"\1", encode(Done())],
        [VERSION, bytes(7) + b"\2", bytes(8), encode(Done())],
    ],
    ids=["cut short", "without a receipt", "to another request"],
)
def test_what_is_no_answer_to_a_request_is_ignored(
    network: Network, monkeypatch: pytest.MonkeyPatch, answer: list[bytes]
) -> None:
    monkeypatch.setattr(rpc_client, "ANSWER_SECONDS", 0.1)

    with odd_server(network, answer), pytest.raises(NodeUnreachable):
        network.client("ann").info()


@contextmanager
def odd_server(network: Network, answer: list[bytes]) -> Iterator[None]:
    """Answer the first request, in place of the node, with ``answer``."""
    network.server.close()
    context = zmq.green.Context()
    socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
    socket.curve_server = True
    socket.curve_secretkey = network.server_keys.secret_key
    socket.curve_publickey = network.server_keys.public_key
    socket.bind(network.endpoint)

    def answer_once() -> None:
        client, *_ = socket.recv_multipart()
        socket.send_multipart([client, *answer])

    answering = gevent.spawn(answer_once)
    try:
        yield
    finally:
        answering.kill()
        socket.close(linger=0)
        context.term()
