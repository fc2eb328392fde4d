"""A member of the network who means harm, against real nodes: it gets its share, and no more."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Final

import gevent
import pytest
import zmq
from gevent.event import Event

from runtime import Party, Session, flow, initiate, responder, sleep
from runtime.codec import pack
from runtime.config import NodeConfig
from runtime.core.envelopes import (
    NUMBER_MAX,
    Accept,
    AnyEnvelope,
    Data,
    Open,
    decode,
    encode,
)
from runtime.edge.directory import NetworkDirectory
from runtime.edge.system_clock import SystemClock
from runtime.edge.zmq_auth import PeerAddress
from runtime.edge.zmq_transport import ZmqTransport
from runtime.frames import pack as pack_frame
from runtime.ids import PeerName, SessionId
from runtime.limits import FRAME_ENVELOPES_MAX, MESSAGE_ITEMS_MAX, MIB
from runtime.network_bootstrap import CreatedNode, create_network
from runtime.node import Node
from runtime.operations import FlowFilter
from tests.runtime.edge.zmq_hostile import Bare, connecting, sending_parts
from tests.runtime.networks import open_keystore

SECONDS: Final = 60.0

NETWORK: Final = """\
[network]
name = "flooded"
base_port = 0

[[node]]
name = "O=Victim,L=London,C=GB"

[[node]]
name = "O=Innocent,L=Paris,C=FR"

[[node]]
name = "O=Mallory,L=Rome,C=IT"
"""

# A half of the node's is what one peer gets alone.
LIMITS: Final = """
[limits]
sessions_per_peer_max = 30
unread_bytes_per_peer_max = 200_000
received_bytes_per_peer_max = 300_000
unacknowledged_bytes_per_peer_max = 100_000
unclaimed_per_peer_max = 20
tombstones_per_peer_max = 50
connections_per_peer_max = 3
unfinished_bytes_per_connection_max = 2_500_000
"""
# What is there when the flood is over: to recognise copies of old messages, and honest links.
STAYS: Final = {"tombstones_per_peer_max", "tombstones_max", "connections_per_peer_max"}

NOT_INSTALLED: Final = "nobody.has.it"
WORD: Final = "x" * 5_000


@flow(name="flooded.ask")
def ask(peer: Party) -> str:
    return initiate(peer).exchange("how are you?", str).unwrap(lambda said: said)


@responder(ask)
def answer(session: Session) -> None:
    session.receive(str)
    session.send("well")


@flow(name="flooded.hoard")
def hoard(peer: Party) -> None:
    initiate(peer).send(WORD)


@responder(hoard)
def never_read(session: Session) -> None:
    sleep(1e6)


@flow(name="flooded.read")
def read(peer: Party) -> None:
    initiate(peer).send([])


@responder(read)
def read_all(session: Session) -> None:
    session.receive(list[int])


APPS: Final = (ask, answer, hoard, never_read, read, read_all)


class Mallory:
    """Has a valid key and certificate, and an address in the map, but runs no node."""

    def __init__(self, me: CreatedNode, victim: PeerName) -> None:
        config = NodeConfig.load(me.directory)
        curve = open_keystore(me).curve
        directory = NetworkDirectory(config.network_directory, SystemClock())
        found = directory.address(victim)
        assert found is not None
        self.keys = (curve.public_key, curve.secret_key)
        self.victim_address: PeerAddress = found
        self.victim = victim
        self.accepted: list[SessionId] = []
        self.rest_of_round = Event()
        self._number = 0
        self._transport = ZmqTransport(
            me=PeerName(config.name),
            bind=config.p2p_address,
            public_key=curve.public_key,
            secret_key=curve.secret_key,
            peers=directory,
        )
        self._transport.start(self)

    def frame_arrived(self, peer: PeerName, encoded: list[bytes]) -> None:
        """Learn which sessions there are; acknowledge nothing."""
        for each in encoded:
            envelope = decode(each)
            if isinstance(envelope, Accept) and envelope.sid not in self.accepted:
                self.accepted.append(envelope.sid)

    def peer_reachable(self, peer: PeerName) -> None:
        """Take no interest."""

    def send(self, *sent: AnyEnvelope) -> None:
        self._transport.send(self.victim, [encode(envelope) for envelope in sent])

    def open(self, flow_name: str, value: object = None) -> Open:
        self._number += 1
        sid = SessionId(self._number.to_bytes(16, "big"))
        kind, body = "", b""
        if value is not None:
            packed = pack(value)
            kind, body = packed.type, packed.body
        return Open(sid, flow_name, 1, "app", "1", b"", kind, body)

    def close(self) -> None:
        self._transport.close()


def flood(mallory: Mallory, bare: Bare) -> Iterator[None]:
    """Do harm for ever, one kind after the other; parts without end need a process of their own."""
    sockets = [bare.socket() for _ in range(6)]
    for each in cycle(sockets):
        mallory.rest_of_round.set()
        mallory.send(*(mallory.open(NOT_INSTALLED) for _ in range(20)))
        mallory.send(*(mallory.open(hoard.name, WORD) for _ in range(20)))
        mallory.send(*(mallory.open(ask.name, "tell me, I won't listen") for _ in range(5)))
        mallory.send(Open(SessionId(b"s" * 16), ask.name, 1, "app", "1", b"", "str", b"\xa0"))
        yield
        for sid in mallory.accepted[:50]:
            words = pack(WORD)
            numbers = (*range(1, 8), 3, NUMBER_MAX)
            mallory.send(*(Data(sid, number, words.type, words.body) for number in numbers))
            yield
        many = pack([]).type
        items = b"\xdd" + (MESSAGE_ITEMS_MAX + 1).to_bytes(4, "big")
        items += bytes(MESSAGE_ITEMS_MAX + 1)
        mallory.send(Open(SessionId(b"i" * 16), read.name, 1, "app", "1", b"", many, items))
        yield
        frames = (
            b"\x01\xdd\xff\xff\xff\xff",
            b"\x01\xdc" + (FRAME_ENVELOPES_MAX + 1).to_bytes(2, "big") + b"\xc4\x00" * 2_000,
            bytes(pack_frame([b"\xc1" * 9, b"", b"\x91" * 3_000] * 300)),
        )
        for frame in frames:
            # Not more than the link takes: who does not read shall not make us wait.
            if each.poll(0, zmq.POLLOUT):
                each.send(frame, zmq.NOBLOCK)
            yield


def usage(node: Node) -> dict[str, tuple[int, int]]:
    """Return what is used of each limit, and the limit."""
    return {row.name: (row.in_use, row.limit) for row in node.operations.info().limits}


def assert_bounded(node: Node) -> None:
    # A message that a flow waits for is let in, whatever there is: here, one of each session. And
    # a session whose end is under way is remembered as long as that, besides those that are over.
    # A connection is cut when it is looked at, and something arrives in between.
    slack = {
        "unread_bytes_per_peer_max": 30 * 6_000,
        "tombstones_per_peer_max": 30 + 20,
        "unfinished_bytes_per_connection_max": 64 * MIB,
    }
    for name, (in_use, limit) in usage(node).items():
        assert in_use <= limit + slack.get(name, 0), name


def kept(node: Node) -> list[str]:
    """Return of which limits something is used."""
    return [name for name, (in_use, _) in usage(node).items() if in_use and name not in STAYS]


def end_what_nobody_wants(node: Node) -> list[str]:
    """Do what an operator does, and return of which limits something is used all the same."""
    node.operations.drop_unclaimed(NOT_INSTALLED)
    for row in node.flows(FlowFilter(statuses=["waiting"], limit=1_000)):
        node.kill(row.id)
    return kept(node)


def wait_until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        gevent.sleep(0.005)


@contextmanager
def flooding(mallory: Mallory, victim: Node) -> Iterator[None]:
    """Flood, and look all the time at what the victim keeps; at the end it has had much."""
    address, keys = mallory.victim_address, mallory.keys
    with connecting(address, keys) as bare, sending_parts(address, keys, 400, address.endpoint):

        def run() -> None:
            for _ in flood(mallory, bare):
                assert_bounded(victim)
                gevent.sleep(0.001)

        harm = gevent.spawn(run)
        try:
            yield
            assert not harm.ready(), harm.exception
        finally:
            harm.kill()


@pytest.fixture
def members(tmp_path: Path) -> list[CreatedNode]:
    path = tmp_path / "network.toml"
    path.write_text(NETWORK)
    nodes = create_network(path).nodes
    config = nodes[0].directory / "node.toml"
    config.write_text(config.read_text() + LIMITS)
    return list(nodes)


def test_who_floods_a_node_keeps_nobody_from_it_and_leaves_nothing_there(
    members: list[CreatedNode],
) -> None:
    with (
        gevent.Timeout(SECONDS),
        Node(members[0].directory, apps=APPS, sync=False) as victim,
        Node(members[1].directory, apps=APPS, sync=False) as innocent,
    ):
        with (
            closing(Mallory(members[2], PeerName(victim.config.name))) as mallory,
            flooding(mallory, victim),
        ):
            full = ("sessions_per_peer_max", "unclaimed_per_peer_max")
            wait_until(
                lambda: all(usage(victim)[each][0] >= usage(victim)[each][1] for each in full)
            )
            wait_until(lambda: usage(victim)["unread_bytes_per_peer_max"][0] > 150_000)

            answers = []
            for _ in range(10):
                asked = [innocent.start_flow(ask, innocent.party("Victim")) for _ in range(20)]
                asked += [victim.start_flow(ask, victim.party("Innocent")) for _ in range(20)]
                answers += [each.result() for each in asked]
                mallory.rest_of_round.clear()
                mallory.rest_of_round.wait()

        # Its operator repairs that machine, and the victim's ends what nobody wants.
        with Node(members[2].directory, apps=APPS, sync=False):
            # Something may still be under way.
            wait_until(lambda: not end_what_nobody_wants(victim))

        assert answers == ["well"] * 400
        assert_bounded(victim)
