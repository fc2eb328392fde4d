"""A node moves to another address; its peers follow without a restart."""

import socket
from pathlib import Path
from typing import Final

import pytest

from runtime.codec import decode, encode
from runtime.edge.node_info import NodeInfo, SignedNodeInfo, sign_node_info
from runtime.edge.zmq_transport import ZmqTransport
from runtime.network_bootstrap import CreatedNode, create_network
from runtime.node import Node
from tests.e2e import flows
from tests.e2e.networks import EMBEDDED
from tests.runtime.networks import changed, open_keystore

SECONDS: Final = 40.0


def move(node: CreatedNode, info_file: Path) -> None:
    """Give a node that is down another port, and tell the network so."""
    address = f"tcp://127.0.0.1:{_free_port()}"
    config = node.directory / "node.toml"
    config.write_text(config.read_text().replace(node.p2p_address, address))
    info = decode(decode(info_file.read_bytes(), SignedNodeInfo).body, NodeInfo)
    moved = changed(info, addresses=[address], serial=info.serial + 1)
    new = info_file.with_suffix(".new")
    new.write_bytes(encode(sign_node_info(moved, open_keystore(node).sign)))
    new.rename(info_file)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def test_messages_reach_a_peer_that_came_back_at_another_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Breaks when a node reads the directory again only for names and keys that it does not know,
    # or when its links hear of news only by the next thing that is sent.
    told: list[ZmqTransport] = []
    follow = ZmqTransport.peers_changed

    def peers_changed(transport: ZmqTransport) -> None:
        told.append(transport)
        follow(transport)

    monkeypatch.setattr(ZmqTransport, "peers_changed", peers_changed)
    spec = tmp_path / "network.toml"
    spec.write_text(EMBEDDED)
    network = create_network(spec)
    at_alice, at_bob = network.nodes
    info_file = network.directory / "network" / "node-infos" / f"{at_bob.short_name}.info"
    with Node(at_alice.directory, sync=False) as alice:
        bob = alice.party("Bob")
        with Node(at_bob.directory, sync=False):
            before = alice.start_flow(flows.greet, bob, "here").result(SECONDS)
        move(at_bob, info_file)
        handle = alice.start_flow(flows.greet, bob, "there")
        with Node(at_bob.directory, sync=False):
            after = handle.result(SECONDS)

    assert (before, after) == ("hello here", "hello there")
    assert len(told) == 1
