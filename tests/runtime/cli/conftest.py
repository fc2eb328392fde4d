"""A network on disk, made by the product itself, and a node in memory that answers for one."""

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import gevent
import pytest

from runtime.client_config import load_users
from runtime.config import NodeConfig
from runtime.edge.key_password import PasswordReader
from runtime.edge.keystore import KeyStore
from runtime.edge.rpc_server import RpcServer
from runtime.network_bootstrap import create_network
from tests.runtime.edge.fake_node import FakeNode

SECONDS = 60.0

SPEC = """
[network]
name = "demo"

[[node]]
name = "O=Bank A,L=London,C=GB"

[[node]]
name = "O=Bank B,L=Paris,C=FR"

[[user]]
name = "admin"
permissions = ["ALL"]

[[user]]
name = "clerk"
permissions = ["StartFlow.trade.add"]
"""


@dataclass
class Demo:
    """A network of two nodes, of which the first runs."""

    directory: Path
    node: FakeNode
    server: RpcServer

    @property
    def bank_a(self) -> str:
        return str(self.directory / "nodes" / "bank-a")

    @property
    def bank_b(self) -> str:
        return str(self.directory / "nodes" / "bank-b")

    @property
    def users(self) -> Path:
        return self.directory / "users"

    def close(self) -> None:
        self.server.close()


def serve(directory: str, node: FakeNode) -> RpcServer:
    """Answer where the node of ``directory`` would."""
    config = NodeConfig.load(directory)
    password = PasswordReader({}).read(config.key_password)
    server = RpcServer(
        node,
        address=config.rpc_address,
        keys=KeyStore.open(config.keys_directory, password).curve,
        users=load_users(config.users_file),
    )
    server.start()
    return server


@pytest.fixture(scope="module")
def network_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("network")
    (directory / "demo.toml").write_text(SPEC)
    return create_network(directory / "demo.toml").directory


@pytest.fixture
def demo(network_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Demo]:
    for variable in ("SENNIT_NODE", "SENNIT_USER", "SENNIT_TRACEBACK"):
        monkeypatch.delenv(variable, raising=False)
    assert not (Path(os.getcwd()) / "node.toml").exists()
    node = FakeNode()
    server = serve(str(network_directory / "nodes" / "bank-a"), node)
    with gevent.Timeout(SECONDS), closing(Demo(network_directory, node, server)) as demo:
        yield demo
