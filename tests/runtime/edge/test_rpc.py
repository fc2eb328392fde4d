"""RPC over real sockets with CURVE: who is admitted, what is answered, what is watched."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import gevent
import pytest
import zmq
import zmq.green

from runtime.codec import decode, encode, unpack_any
from runtime.edge import rpc_server
from runtime.edge.rpc_client import RpcAddress, RpcClient, arguments_of
from runtime.edge.rpc_server import RpcServer, RpcUser
from runtime.edge.zmq_auth import CurveKeys, curve_keypair
from runtime.errors import (
    ClientIdInvalid,
    ConfigurationError,
    FlowFailed,
    FlowKilled,
    MisuseError,
    PermissionDenied,
    UnknownFlow,
)
from runtime.ids import FlowId, UserName
from runtime.operations import Arguments, BadArguments, FlowDetail, FlowFilter
from runtime.permissions import Permissions, permissions
from runtime.rpc_messages import (
    VERSION,
    Answer,
    BadRequest,
    Failure,
    GetInfo,
    NodeBusy,
    NodeUnreachable,
    RequestFailed,
    ResultTimeout,
    error_of,
)
from tests.runtime.edge.fake_node import FakeNode, UnacceptablePrice

SECONDS = 20.0


def new_keys() -> CurveKeys:
    public_key, secret_key = curve_keypair()
    return CurveKeys(public_key=public_key, secret_key=secret_key)


@dataclass(frozen=True)
class User:
    """An entry of a file of users."""

    name: UserName
    public_key: bytes
    permissions: Permissions


class Network:
    """A server on a port of its own, and clients for its users."""

    def __init__(self) -> None:
        self.node = FakeNode()
        self.server_keys = new_keys()
        self.keys = {name: new_keys() for name in ("ann", "bob", "sam", "eve")}
        self.endpoint = "tcp://127.0.0.1:*"
        self.server = self.serve()
        self.clients: list[RpcClient] = []

    def users(self) -> list[RpcUser]:
        granted = {
            "ann": ["ALL"],
            "bob": ["StartFlow.trade.wait", "StartFlow.trade.add"],
            "sam": ["Read"],
        }
        return [
            User(
                name=UserName(name),
                public_key=self.keys[name].public_key,
                permissions=permissions(texts, where=name),
            )
            for name, texts in granted.items()
        ]

    def serve(self) -> RpcServer:
        server = RpcServer(
            self.node,
            address=self.endpoint,
            keys=self.server_keys,
            users=self.users(),
        )
        self.endpoint = server.start()
        return server

    def address(self, user: str, server_key: bytes | None = None) -> RpcAddress:
        return RpcAddress(
            endpoint=self.endpoint,
            server_key=server_key or self.server_keys.public_key,
            user_keys=self.keys[user],
            start_with="sennit node run nodes/bank-a",
        )

    def client(self, user: str, **options: float) -> RpcClient:
        client = RpcClient(self.address(user), **options)  # type: ignore[arg-type]
        self.clients.append(client)
        return client

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.server.close()


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    with gevent.Timeout(SECONDS), closing(network):
        yield network


# Admission


def test_a_user_whose_key_is_listed_is_answered(network: Network) -> None:
    assert network.client("ann").info().name == "O=Bank A,L=London,C=GB"


def test_a_stranger_is_refused_at_once_and_told_what_to_do(network: Network) -> None:
    with pytest.raises(PermissionDenied, match=r"does not know this user's key.*file of users"):
        network.client("eve", connect_seconds=SECONDS)


def test_a_client_that_expects_another_node_does_not_connect(network: Network) -> None:
    address = network.address("ann", server_key=new_keys().public_key)

    with pytest.raises(NodeUnreachable, match="its key"):
        RpcClient(address, connect_seconds=1.0)


def test_nobody_there_is_said_with_the_command_that_starts_the_node(network: Network) -> None:
    network.server.close()

    with pytest.raises(NodeUnreachable, match=r"no node answers at tcp://127.*node run nodes/bank"):
        network.client("ann", connect_seconds=0.3)


def test_a_port_that_is_taken_is_said_with_what_to_do(network: Network) -> None:
    with pytest.raises(ConfigurationError, match="can't listen at tcp://127"):
        network.serve()


# Asking


def test_a_flow_is_started_with_text_and_its_result_comes_back(network: Network) -> None:
    client = network.client("ann")

    flow_id = client.start_flow("trade.add", Arguments(["3"], {"right": "4"}))

    result = client.result(flow_id, SECONDS)
    assert unpack_any(result.value) == 7
    assert result.text == "7"


def test_a_flow_is_started_with_values(network: Network) -> None:
    client = network.client("ann")

    flow_id = client.start_flow("trade.add", arguments_of(3, right=4))

    assert client.result(flow_id, SECONDS).text == "7"


def test_the_user_is_the_owner_of_the_key(network: Network) -> None:
    flow_id = network.client("bob").start_flow("trade.wait")

    assert network.node.by_id[flow_id].user == "bob"


def test_the_same_client_id_gives_the_same_flow(network: Network) -> None:
    client = network.client("ann")

    first = client.start_flow("trade.wait", client_id="order-17")
    second = client.start_flow("trade.wait", client_id="order-17")

    assert first == second


def test_what_can_be_started_comes_with_signature_and_docstring(network: Network) -> None:
    kinds = {kind.name: kind for kind in network.client("bob").flow_names()}

    assert kinds["trade.add"].signature == "(left: int, right: int) -> int"
    assert kinds["trade.add"].doc == "Add two numbers."


def test_flows_are_listed_newest_first_and_filtered(network: Network) -> None:
    client = network.client("ann")
    waiting = client.start_flow("trade.wait")
    added = client.start_flow("trade.add", Arguments(["1", "2"]))

    assert [row.id for row in client.flows()] == [added, waiting]
    assert [row.id for row in client.flows(FlowFilter(statuses=["waiting"]))] == [waiting]
    assert [row.id for row in client.flows(FlowFilter(name="*.add"))] == [added]
    assert len(client.flows(FlowFilter(limit=0))) == 1


def test_one_flow_is_shown_with_what_it_waits_for(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait")

    detail = client.flow(flow_id)

    assert detail.wait is not None
    assert detail.wait.whom == "O=Seller,L=London,C=GB"
    assert [row.label for row in detail.progress] == ["Asking", "Paying"]


def test_a_journal_is_read_page_by_page(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait")

    rows = list(client.journal(flow_id))

    assert [row.kind for row in rows] == ["started", "sent", "received"]


def test_the_operator_intervenes(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait")

    client.retry(flow_id)
    was_live = client.kill(flow_id)
    is_live = client.kill(flow_id)
    client.drain(is_on=True)
    client.stop()

    assert network.node.retried == [flow_id]
    assert (was_live, is_live) == (True, False)
    assert client.info().is_draining
    assert network.node.is_stopping.is_set()


def test_a_slow_result_holds_up_nobody_else(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait")
    waiting = gevent.spawn(client.result, flow_id, SECONDS)
    gevent.sleep(0)

    client.info()
    assert not waiting.ready()
    network.node.end(network.node.by_id[flow_id], result="done")

    assert waiting.get().text == "'done'"


# Errors


def test_a_flows_own_error_arrives_as_its_class_with_its_fields(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.buy")

    with pytest.raises(UnacceptablePrice) as raised:
        client.result(flow_id, SECONDS)

    assert raised.value.price == 120


def test_the_result_of_a_killed_and_of_a_failed_flow_raise_so(network: Network) -> None:
    client = network.client("ann")
    killed, failed = client.start_flow("trade.wait"), client.start_flow("trade.wait")
    client.kill(killed)
    network.node.fail_otherwise(failed)

    with pytest.raises(FlowKilled):
        client.result(killed, SECONDS)
    with pytest.raises(FlowFailed, match=r"builtins\.ValueError: no \(error id 00ff\)"):
        client.result(failed, SECONDS)


def test_a_result_that_takes_too_long_is_a_timeout_and_the_flow_goes_on(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait")

    with pytest.raises(ResultTimeout, match="has not ended yet"):
        client.result(flow_id, 0.05)

    assert client.flow(flow_id).row.status == "waiting"


def test_misuse_arrives_as_the_same_class_with_its_text(network: Network) -> None:
    client = network.client("ann")

    with pytest.raises(UnknownFlow, match=r"no flow 'trade\.sell'; it has trade\.add"):
        client.start_flow("trade.sell")
    with pytest.raises(UnknownFlow, match="no flow with the id 17"):
        client.flow(FlowId("17"))
    with pytest.raises(BadArguments, match="'right' is missing"):
        client.start_flow("trade.add", Arguments(["1"]))


def test_a_bug_in_the_node_arrives_as_an_error_id_that_stands_in_its_log(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    client = network.client("ann")

    with pytest.raises(RequestFailed) as raised:
        client.start_flow("trade.crash")

    assert raised.value.error_id in [record.__dict__["error_id"] for record in caplog.records]
    assert "a bug in the node" in caplog.text
    assert client.info().commits == 42


def test_an_error_that_the_client_does_not_know_keeps_its_name_and_text() -> None:
    assert str(error_of(Failure("VaultClosed", "the vault is closed"))) == (
        "VaultClosed: the vault is closed"
    )
    assert str(error_of(Failure("FlowFailed", "from a newer node", ["a"]))) == (
        "FlowFailed: from a newer node"
    )
    assert isinstance(error_of(Failure("ClientIdInvalid", "", ["too long"])), ClientIdInvalid)


# Permissions


def test_a_user_starts_only_what_they_may(network: Network) -> None:
    client = network.client("bob")

    client.start_flow("trade.wait")
    with pytest.raises(PermissionDenied, match=r"'bob' may not start trade\.buy"):
        client.start_flow("trade.buy")


def test_without_read_a_user_sees_only_their_own_flows(network: Network) -> None:
    of_ann = network.client("ann").start_flow("trade.wait")
    client = network.client("bob")
    of_bob = client.start_flow("trade.wait")

    assert [row.id for row in client.flows()] == [of_bob]
    assert client.flow(of_bob).row.user == "bob"
    assert next(iter(client.watch(of_bob))).row.id == of_bob
    for look in (
        lambda: client.flow(of_ann),
        lambda: client.result(of_ann, 0),
        lambda: list(client.watch(of_ann)),
        lambda: list(client.journal(of_bob)),
    ):
        with pytest.raises(PermissionDenied, match="'bob' may not use"):
            look()


def test_read_sees_all_and_changes_nothing(network: Network) -> None:
    of_ann = network.client("ann").start_flow("trade.wait")
    client = network.client("sam")

    assert [row.id for row in client.flows()] == [of_ann]
    assert len(list(client.journal(of_ann))) == 3
    for change in (
        lambda: client.start_flow("trade.wait"),
        lambda: client.kill(of_ann),
        lambda: client.retry(of_ann),
        lambda: client.drain(is_on=True),
        client.stop,
    ):
        with pytest.raises(PermissionDenied, match="'sam' may not"):
            change()
    assert not network.node.is_draining
    assert not network.node.is_stopping.is_set()


# Watching


def test_a_watch_shows_the_flow_now_then_each_change_until_its_end(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait")
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


def test_a_flow_that_moves_fast_is_shown_as_it_is_and_not_move_by_move(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait")
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
    flow_id = client.start_flow("trade.wait")
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
    flow_id = client.start_flow("trade.wait")
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
    flow_id = client.start_flow("trade.wait")
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
    flow_id = client.start_flow("trade.wait", client_id="a")
    result = gevent.spawn(client.result, flow_id, SECONDS)
    gevent.sleep(0)
    client.info()

    network.server.close()
    network.server = network.serve()
    network.node.end(network.node.by_id[flow_id], result=1)

    assert result.get().text == "1"


def test_what_may_have_had_an_effect_is_not_asked_again(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait")
    network.server.close()
    while client._is_connected.is_set():
        gevent.sleep(0.01)

    with pytest.raises(NodeUnreachable, match="the connection is lost"):
        client.kill(flow_id)


# Bounds and strange messages


def test_too_many_waiting_requests_are_refused_and_the_node_goes_on(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc_server, "WAITING_REQUESTS_MAX", 2)
    network.server.close()
    network.server = network.serve()
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait")
    waiting = [gevent.spawn(client.result, flow_id, SECONDS) for _ in range(2)]
    gevent.sleep(0)
    client.info()

    with pytest.raises(NodeBusy):
        client.result(flow_id, SECONDS)

    network.node.end(network.node.by_id[flow_id], result=None)
    assert [greenlet.get().text for greenlet in waiting] == ["None", "None"]


def test_too_many_watches_of_one_client_are_refused(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc_server, "WATCHES_PER_CLIENT_MAX", 1)
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait")
    first = client.watch(flow_id)
    next(first)

    with pytest.raises(NodeBusy):
        next(client.watch(flow_id))

    network.node.by_id[flow_id].progress.set("Paying")
    assert next(first).progress[0].status == "done"


def raw_socket(network: Network, context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    socket.curve_publickey = network.keys["ann"].public_key
    socket.curve_secretkey = network.keys["ann"].secret_key
    socket.curve_serverkey = network.server_keys.public_key
    socket.connect(network.endpoint)
    return socket


@pytest.mark.parametrize(
    "frames",
    [
        [b"sennit-rpc-2", bytes(8), encode(GetInfo())],
        [VERSION, b"1", encode(GetInfo())],
        [VERSION],
        [VERSION, bytes(8), b"\xff"],
        [VERSION, bytes(8), encode({"$": "rpc.Unheard"})],
        [VERSION, bytes(8), b""],
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
    flow_id = client.start_flow("trade.wait")

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
    flow_id = client.start_flow("trade.wait")
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
