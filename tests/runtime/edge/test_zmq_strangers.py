"""Who is let in, and what becomes of those who misbehave inside."""

from collections.abc import Callable, Iterator

import msgspec
import pytest
import zmq

from runtime.edge.zmq_auth import CurveKeys, PeerAddress, curve_keypair
from runtime.frames import pack
from runtime.limits import FRAME_BYTES_MAX, FRAME_ENVELOPES_MAX
from runtime.testing.transport_conformance import ALICE, BOB, CAROL
from tests.runtime.edge.zmq_network import Book, ZmqNetwork

Connect = Callable[..., "zmq.Socket[bytes]"]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Bare ZeroMQ clients, as somebody would write who means us no good."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sockets: list[zmq.Socket[bytes]] = []

    def connect(
        address: PeerAddress, keys: tuple[bytes, bytes] | None, routing_id: bytes = b""
    ) -> "zmq.Socket[bytes]":
        socket = context.socket(zmq.DEALER)
        if keys is not None:
            socket.curve_publickey, socket.curve_secretkey = keys
            socket.curve_serverkey = address.curve_key
        if routing_id:
            socket.routing_id = routing_id
        socket.connect(address.endpoint)
        sockets.append(socket)
        return socket

    yield connect
    for socket in sockets:
        socket.close(linger=0)
    context.term()


def test_a_stranger_with_a_key_of_its_own_is_refused(
    network: ZmqNetwork, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    alice, seen = network.started(ALICE)
    public_key, secret_key = curve_keypair()

    stranger = connect(network.book.addresses[ALICE], (public_key, secret_key))
    stranger.send(pack([b"let me in"]))

    network.run_until(lambda: alice.stats.handshakes_refused > 0)
    assert seen.envelopes == []
    assert public_key.decode() in caplog.text
    assert "127.0.0.1" in caplog.text


def test_whoever_speaks_no_curve_is_refused(network: ZmqNetwork, connect: Connect) -> None:
    alice, seen = network.started(ALICE)

    stranger = connect(network.book.addresses[ALICE], None)
    stranger.send(pack([b"let me in"]))

    network.run_until(lambda: alice.stats.handshakes_broken > 0)
    assert seen.envelopes == []


def test_whoever_means_another_node_is_refused(network: ZmqNetwork, connect: Connect) -> None:
    alice, seen = network.started(ALICE)
    network.transport(BOB)
    address = PeerAddress(alice.endpoint, curve_keypair()[0])

    lost = connect(address, network.keys[BOB])
    lost.send(pack([b"hello, carol"]))

    network.run_until(lambda: alice.stats.handshakes_broken > 0)
    assert seen.envelopes == []


def test_a_new_peer_is_admitted_at_once(network: ZmqNetwork, connect: Connect) -> None:
    alice, seen = network.started(ALICE)
    keys = curve_keypair()
    refused = connect(network.book.addresses[ALICE], keys)
    network.run_until(lambda: alice.stats.handshakes_refused == 1)
    refused.close(linger=0)

    network.book.owners[keys[0]] = CAROL
    admitted = connect(network.book.addresses[ALICE], keys)
    admitted.send(pack([b"hello"]))

    network.run_until(lambda: seen.envelopes == [(CAROL, b"hello")])


def test_a_removed_peer_is_silenced_at_once_and_refused_later(
    network: ZmqNetwork, connect: Connect
) -> None:
    alice, seen = network.started(ALICE)
    network.transport(BOB)
    address = network.book.addresses[ALICE]
    bob = connect(address, network.keys[BOB])
    bob.send(pack([b"one of us"]))
    network.run_until(lambda: bool(seen.envelopes))

    network.book.remove(BOB)
    bob.send(pack([b"and still here"]))
    network.run_until(lambda: alice.stats.frames_unknown == 1)
    connect(address, network.keys[BOB])
    network.run_until(lambda: alice.stats.handshakes_refused == 1)

    assert seen.envelopes == [(BOB, b"one of us")]


@pytest.mark.parametrize("routing_id", [ALICE.encode(), CAROL.encode()])
def test_a_peer_that_claims_another_name_keeps_its_own(
    network: ZmqNetwork, connect: Connect, routing_id: bytes
) -> None:
    _, seen = network.started(ALICE)
    network.transport(BOB)
    network.transport(CAROL)

    bob = connect(network.book.addresses[ALICE], network.keys[BOB], routing_id)
    bob.send(pack([b"I am " + routing_id]))

    network.run_until(lambda: bool(seen.envelopes))
    assert [peer for peer, _ in seen.envelopes] == [BOB]


@pytest.mark.parametrize(
    "parts",
    [
        [b""],
        [b"\x02\x91\xc4\x01a"],
        [b"\x01"],
        [b"\x01\x91\xc4\x05a"],
        [b"\x01\x91\xa1a"],
        [b"\x01\x90"],
        [b"\x01\x91\xc4\x01a."],
        [b"\x01" + msgspec.msgpack.encode([b""] * (FRAME_ENVELOPES_MAX + 1))],
        [b"\x01\xdd\xff\xff\xff\xff"],
        [b"\x01\x91\xc4\x01a", b"\x01\x91\xc4\x01b"],
        [b"\x01\x91\xc4\x01a", b"", b""],
    ],
    ids=[
        "empty",
        "unknown version",
        "nothing after the version",
        "torn",
        "text",
        "no envelopes",
        "trailing byte",
        "too many envelopes",
        "four billion envelopes",
        "two parts",
        "three parts",
    ],
)
def test_a_malformed_frame_is_dropped_and_the_next_one_arrives(
    network: ZmqNetwork, connect: Connect, caplog: pytest.LogCaptureFixture, parts: list[bytes]
) -> None:
    alice, seen = network.started(ALICE)
    network.transport(BOB)
    bob = connect(network.book.addresses[ALICE], network.keys[BOB])

    bob.send_multipart(parts)
    bob.send(pack([b"sorry"]))

    network.run_until(lambda: bool(seen.envelopes))
    assert seen.envelopes == [(BOB, b"sorry")]
    assert alice.stats.frames_malformed == 1
    assert f"frame from {BOB} dropped" in caplog.text


def test_malformed_frames_do_not_flood_the_log(
    network: ZmqNetwork, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    alice, _ = network.started(ALICE)
    network.transport(BOB)
    bob = connect(network.book.addresses[ALICE], network.keys[BOB])

    for _ in range(200):
        bob.send(b"nonsense")

    network.run_until(lambda: alice.stats.frames_malformed == 200)
    assert caplog.text.count("dropped") == 1


def test_an_oversize_frame_costs_its_sender_the_connection_and_nobody_else(
    network: ZmqNetwork, connect: Connect
) -> None:
    alice, seen = network.started(ALICE)
    network.transport(BOB)
    carol, carol_seen = network.started(CAROL)
    carol.send(ALICE, [b"good morning"])
    network.run_until(lambda: len(seen.envelopes) == 1 and ALICE in carol_seen.reachable)
    bob = connect(network.book.addresses[ALICE], network.keys[BOB])
    events = bob.get_monitor_socket(zmq.EVENT_DISCONNECTED)

    bob.send(bytes(FRAME_BYTES_MAX + 1))
    network.run_until(lambda: bool(events.poll(0)))
    carol.send(ALICE, [b"good evening"])

    network.run_until(lambda: len(seen.envelopes) == 2)
    assert seen.envelopes == [(CAROL, b"good morning"), (CAROL, b"good evening")]
    assert alice.stats.frames_in == 2
    bob.disable_monitor()
    events.close(linger=0)


def test_what_a_peer_writes_back_on_our_own_connection_is_not_read(network: ZmqNetwork) -> None:
    alice, seen = network.started(ALICE)
    public_key, secret_key = curve_keypair()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    rogue = context.socket(zmq.ROUTER)
    rogue.curve_server, rogue.curve_secretkey = True, secret_key
    port = rogue.bind_to_random_port("tcp://127.0.0.1")
    network.book.addresses[BOB] = PeerAddress(f"tcp://127.0.0.1:{port}", public_key)
    network.book.owners[public_key] = BOB

    alice.send(BOB, [b"hello"])
    network.run_until(lambda: bool(rogue.poll(0)))
    routing_id, _ = rogue.recv_multipart()
    for _ in range(10):
        rogue.send_multipart([routing_id, pack([b"boo"])])
    alice.send(BOB, [b"still there?"])

    network.run_until(lambda: bool(rogue.poll(0)))
    assert seen.envelopes == []
    context.destroy(linger=0)


def test_a_refused_node_comes_in_as_soon_as_it_is_listed(
    network: ZmqNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    book_of_alice = Book()
    alice, seen = network.started(ALICE, book=book_of_alice)
    bob, bob_seen = network.started(BOB)
    network.book.addresses[ALICE] = book_of_alice.addresses[ALICE]

    bob.send(ALICE, [b"first day here"])
    network.run_until(lambda: alice.stats.handshakes_refused >= 2)
    book_of_alice.owners[network.keys[BOB][0]] = BOB

    network.run_until(lambda: bob_seen.reachable == [ALICE])
    bob.send(ALICE, [b"second day here"])
    network.run_until(lambda: (BOB, b"second day here") in seen.envelopes)
    assert bob.stats.envelopes_dropped == 1
    assert "refuses us" in caplog.text


def test_the_secret_key_is_not_shown() -> None:
    public_key, secret_key = curve_keypair()

    shown = repr(CurveKeys(public_key=public_key, secret_key=secret_key))

    assert secret_key.decode() not in shown


def test_only_curve_is_admitted_whatever_the_listening_socket_says(network: ZmqNetwork) -> None:
    """A NULL or PLAIN request that reached the handler all the same."""
    alice, _ = network.started(ALICE)
    context = alice._context
    assert context is not None
    asker = context.socket(zmq.DEALER)
    asker.connect("inproc://zeromq.zap.01")

    asker.send_multipart([b"", b"1.0", b"7", b"sennit", b"10.0.0.1", b"", b"NULL"])

    network.run_until(lambda: bool(asker.poll(0)))
    assert asker.recv_multipart()[1:4] == [b"1.0", b"7", b"400"]
    assert alice.stats.handshakes_refused == 1
    asker.close(linger=0)
