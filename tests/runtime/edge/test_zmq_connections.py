"""What ZeroMQ does not bound: parts of one message, connections of one member."""

import logging
import socket
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from random import Random

import pytest

from runtime.edge.zmq_connections import Connections, bounds_of_peers
from runtime.edge.zmq_stats import TransportStats
from runtime.frames import pack
from runtime.limits import FRAME_BYTES_MAX, MIB, PeerLimits
from runtime.seldom_log import SeldomLog
from runtime.testing.transport_conformance import ALICE, BOB, CAROL
from tests.runtime.edge.zmq_hostile import Bare, StoppingWire, connecting, sending_parts
from tests.runtime.edge.zmq_network import ZmqNetwork

FEW = PeerLimits(unfinished_bytes_per_connection_max=2 * MIB)


def resident_bytes() -> int:
    """Return how much memory this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@contextmanager
def as_member(network: ZmqNetwork) -> Iterator[Bare]:
    """Be Bob, who is known to Alice, but runs something else."""
    network.transport(BOB)
    with connecting(network.book.addresses[ALICE], network.keys[BOB]) as bob:
        yield bob


def parts_through(
    network: ZmqNetwork, count: int, *wires: StoppingWire, greeting: bytes = b""
) -> "AbstractContextManager[subprocess.Popen[str]]":
    """Be Bob in a process that sends a message of very many parts through each wire."""
    network.transport(BOB)
    endpoints = [wire.endpoint for wire in wires]
    address = network.book.addresses[ALICE]
    return sending_parts(address, network.keys[BOB], count, *endpoints, greeting=greeting)


def test_a_member_that_sends_part_after_part_is_cut_and_its_parts_are_dropped(
    network: ZmqNetwork,
) -> None:
    # Breaks when only the size of a part is bounded: ZeroMQ collects them before it shows one.
    alice, seen = network.started(ALICE, limits=FEW)
    wire = StoppingWire(network.book.addresses[ALICE], bytes_max=20 * MIB)
    with parts_through(network, 400, wire, greeting=bytes(pack([b"one of us"]))) as bob:
        network.run_until(lambda: bool(seen.envelopes))
        assert bob.stdin is not None
        bob.stdin.write("go on\n")
        bob.stdin.flush()

        network.run_until(lambda: wire.is_cut)
    wire.close()

    assert alice.stats.connections_cut == 1
    assert seen.envelopes == [(BOB, b"one of us")]
    network.run_until(lambda: alice.usage()[-1][2] == 0)


def test_an_honest_peer_is_served_while_a_member_sends_parts(network: ZmqNetwork) -> None:
    _, seen = network.started(ALICE, limits=FEW)
    carol, _ = network.started(CAROL)
    wire = StoppingWire(network.book.addresses[ALICE], bytes_max=20 * MIB)
    with parts_through(network, 400, wire):
        network.run_until(lambda: wire.is_cut)
        large = bytes(MIB)

        carol.send(ALICE, [large])

        network.run_until(lambda: seen.envelopes == [(CAROL, large)])
    wire.close()


def test_what_is_under_way_on_many_connections_is_bounded_in_sum(network: ZmqNetwork) -> None:
    limits = PeerLimits(unfinished_bytes_max=8 * MIB)
    alice, _ = network.started(ALICE, limits=limits)
    address = network.book.addresses[ALICE]
    stopping = [StoppingWire(address, bytes_max=3 * MIB) for _ in range(6)]
    with ExitStack() as wires:
        for wire in stopping:
            wires.callback(wire.close)
        wires.enter_context(parts_through(network, 40, *stopping))

        network.run_until(lambda: sum(wire.is_cut for wire in stopping) >= 4)

        assert alice.stats.connections_cut == 4
        assert alice.usage()[-1][2] <= 8 * MIB


def test_the_largest_frame_of_an_honest_peer_is_no_reason_to_cut_it(network: ZmqNetwork) -> None:
    # Breaks when a frame is counted twice, or what has come out of the socket is counted on.
    alice, seen = network.started(ALICE)
    network.transport(BOB)
    body = bytes(FRAME_BYTES_MAX - 100)
    with as_member(network) as bob:
        dealer = bob.socket()
        for _ in range(12):
            seen.envelopes.clear()
            dealer.send(pack([body]), copy=False)
            network.run_until(lambda: bool(seen.envelopes))

    assert alice.stats.connections_cut == 0


def test_a_member_has_few_connections(network: ZmqNetwork) -> None:
    alice, seen = network.started(ALICE, limits=PeerLimits(connections_per_peer_max=3))
    with as_member(network) as bob:
        for _ in range(8):
            seen.envelopes.clear()
            bob.socket().send(pack([b"me again"]))
            network.run_until(lambda: bool(seen.envelopes))

        network.run_until(lambda: alice.stats.connections_cut == 5)
        usage = {name: used for name, _, used in alice.usage()}
        assert usage["connections_per_peer_max"] == 3


def test_connections_that_say_nothing_are_bounded(network: ZmqNetwork) -> None:
    alice, seen = network.started(ALICE, limits=PeerLimits(connections_silent_max=4))
    carol, _ = network.started(CAROL)
    with as_member(network) as bob:
        for _ in range(10):
            bob.socket()
        network.run_until(lambda: alice.stats.connections_cut >= 6)
        usage = {name: used for name, _, used in alice.usage()}

        carol.send(ALICE, [b"hello"])

        assert usage["connections_silent_max"] <= 4
        network.run_until(lambda: seen.envelopes == [(CAROL, b"hello")])


def test_strangers_that_say_nothing_leave_descriptors_to_the_node(
    few_descriptors: int, network: ZmqNetwork
) -> None:
    alice, seen = network.started(ALICE)
    carol, _ = network.started(CAROL)
    host, _, port = alice.endpoint.removeprefix("tcp://").rpartition(":")
    with ExitStack() as strangers:
        for _ in range(few_descriptors // 4 + 10):
            strangers.enter_context(socket.create_connection((host, int(port))))

        network.run_until(lambda: alice.stats.connections_cut >= 10)
        carol.send(ALICE, [b"hello"])

        network.run_until(lambda: seen.envelopes == [(CAROL, b"hello")])


def test_whoever_asks_whether_frames_wait_does_not_leave_them_waiting(network: ZmqNetwork) -> None:
    # Breaks when the question uses up the edge by which the socket says that there are some.
    alice, seen = network.started(ALICE)
    with as_member(network) as bob:
        dealer = bob.socket()
        dealer.send(pack([b"first"]))
        network.run_until(lambda: bool(seen.envelopes))
        dealer.send(pack([b"second"]))

        while alice._inbound._look_whether_drained():
            pass  # ZeroMQ's thread works, our loop does not

        network.run_until(lambda: len(seen.envelopes) == 2)


def test_a_connection_that_zeromq_has_closed_before_it_told_us_does_no_harm() -> None:
    # Breaks when the timer that looks at connections fails at one of them, and stops.
    log = SeldomLog(logging.getLogger("sennit.test"))
    connections = Connections(
        bounds=bounds_of_peers(FEW), is_drained=lambda: True, stats=TransportStats(), log=log
    )
    ours, theirs = socket.socketpair()
    fd = ours.fileno()
    connections.opened(fd)
    theirs.send(b"hello")
    connections._begin(fd)
    ours.close()
    theirs.close()

    connections._look()
    connections._look()

    assert connections.usage()[-1][2] == 0
    assert not connections._active
    connections.closed(fd)
    connections.close()


def test_of_many_connections_at_once_each_that_is_one_too_many_is_cut() -> None:
    # Breaks when the one to cut is looked for among those whose end ZeroMQ has not told yet.
    log = SeldomLog(logging.getLogger("sennit.test"))
    stats = TransportStats()
    limits = PeerLimits(connections_per_peer_max=2)
    connections = Connections(
        bounds=bounds_of_peers(limits), is_drained=lambda: True, stats=stats, log=log
    )
    pairs = [socket.socketpair() for _ in range(5)]
    for ours, theirs in pairs:
        theirs.settimeout(0)
        connections.opened(ours.fileno())

    for ours, _ in pairs:
        connections.delivered(ours.fileno(), BOB)
    in_use = {name: used for name, _, used in connections.usage()}["connections_per_peer_max"]

    is_cut = [is_at_end(theirs) for _, theirs in pairs]
    connections.delivered(pairs[0][0].fileno(), BOB)  # what had arrived before
    for ours, theirs in pairs:
        connections.closed(ours.fileno())
        ours.close()
        theirs.close()
    connections.close()
    assert is_cut == [True, True, True, False, False]
    assert stats.connections_cut == 3
    assert in_use == 2


def is_at_end(end: socket.socket) -> bool:
    try:
        return end.recv(1) == b""
    except BlockingIOError:
        return False


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell")
def test_a_message_of_very_many_parts_takes_little_memory(network: ZmqNetwork) -> None:
    limits = PeerLimits(unfinished_bytes_per_connection_max=2 * MIB)
    alice, _ = network.started(ALICE, limits=limits)
    wire = StoppingWire(network.book.addresses[ALICE], bytes_max=200 * MIB)
    before = resident_bytes()
    with parts_through(network, 4_000, wire):
        network.run_until(lambda: wire.is_cut)

        assert wire.forwarded < 150 * MIB
        assert resident_bytes() - before < 64 * MIB
    wire.close()
    assert alice.stats.connections_cut == 1


@pytest.mark.parametrize("seed", range(3))
def test_any_frames_and_parts_of_a_member_are_dropped_and_good_ones_arrive(
    network: ZmqNetwork, seed: int
) -> None:
    random = Random(seed)
    alice, seen = network.started(ALICE)
    carol, _ = network.started(CAROL)
    with as_member(network) as bob:
        dealer = bob.socket()
        for _ in range(300):
            start = random.choice([b"", b"\x01", b"\x01\x91", b"\x01\x91\xc4", b"\x01\xdd\xff\xff"])
            parts = [
                start + random.randbytes(random.randrange(30))
                for _ in range(random.choice([1, 1, 3]))
            ]
            dealer.send_multipart([*parts, b"\xc1"])
        dealer.send(pack([b"good"]))

        network.run_until(lambda: (BOB, b"good") in seen.envelopes)
        carol.send(ALICE, [b"hello"])
        network.run_until(lambda: (CAROL, b"hello") in seen.envelopes)
    assert alice.stats.frames_malformed == 300
