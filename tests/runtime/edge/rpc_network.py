"""A server of the RPC with four users, of which one is a stranger, and their clients."""

from dataclasses import dataclass

import zmq

from runtime.edge.keystore import new_curve_keys
from runtime.edge.rpc_client import RpcAddress, RpcClient
from runtime.edge.rpc_server import RpcServer
from runtime.edge.rpc_verbs import RpcUser
from runtime.ids import UserName
from runtime.limits import DEFAULT_RPC_LIMITS, RpcLimits
from runtime.permissions import Permissions, permissions
from tests.runtime.edge.fake_node import FakeNode

SECONDS = 20.0


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
        self.server_keys = new_curve_keys()
        self.keys = {name: new_curve_keys() for name in ("ann", "bob", "sam", "eve")}
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

    def serve(self, limits: RpcLimits = DEFAULT_RPC_LIMITS) -> RpcServer:
        server = RpcServer(
            self.node,
            address=self.endpoint,
            keys=self.server_keys,
            users=self.users(),
            limits=limits,
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


def raw_socket(
    network: Network, context: zmq.Context[zmq.Socket[bytes]], *, queued_max: int = 1_000
) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    socket.sndhwm = socket.rcvhwm = queued_max
    socket.curve_publickey = network.keys["ann"].public_key
    socket.curve_secretkey = network.keys["ann"].secret_key
    socket.curve_serverkey = network.server_keys.public_key
    socket.connect(network.endpoint)
    return socket
