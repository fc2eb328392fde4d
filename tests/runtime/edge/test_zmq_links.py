"""Links that come, go, move, are full, or lead nowhere."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
import pytest
import zmq

from runtime.edge.zmq_auth import PeerAddress, curve_keypair
from runtime.edge.zmq_link import BACKLOG_BYTES_MAX, LinkStatus, LinkTimes
from runtime.edge.zmq_transport import ZmqTransport
from runtime.errors import ConfigurationError
from runtime.frames import pack
from runtime.ids import PeerName
from runtime.limits import MIB
from runtime.testing.transport_conformance import ALICE, BOB, CAROL, RecordingReceiver
from tests.runtime.edge.zmq_network import Book, ListedTransport, ZmqNetwork

NEVER_MS = 10_000_000


def _link_up(network: ZmqNetwork, source: ListedTransport, target: PeerName) -> None:
    ups = source.stats.links_up
    source.send(target, [b"knock"])
    network.run_until(lambda: source.stats.links_up > ups)


def _refuses(endpoint: str) -> bool:
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    with socket.socket() as asking:
        return asking.connect_ex((host, int(port))) != 0


def is_up(transport: ZmqTransport, peer: PeerName) -> bool:
    (link,) = [link for link in transport.links() if link.peer == peer]
    return link.is_up


def test_a_peer_that_restarts_at_its_port_is_reachable_without_anything_being_sent(
    network: ZmqNetwork,
) -> None:
    alice, seen = network.started(ALICE)
    bob, _ = network.started(BOB)
    _link_up(network, alice, BOB)

    bob.close()
    network.run_until(lambda: not is_up(alice, BOB))
    network.started(BOB, bind=bob.endpoint)

    network.run_until(lambda: seen.reachable == [BOB, BOB])


def test_a_peer_that_has_moved_is_followed_at_the_next_send(network: ZmqNetwork) -> None:
    alice, _ = network.started(ALICE)
    bob, _ = network.started(BOB)
    _link_up(network, alice, BOB)

    bob.close()
    moved, seen = network.started(BOB)
    assert moved.endpoint != bob.endpoint
    alice.send(BOB, [b"at your new home"])

    network.run_until(lambda: seen.envelopes == [(ALICE, b"at your new home")])


def test_a_peer_that_has_moved_is_followed_when_the_book_is_said_to_have_changed(
    network: ZmqNetwork,
) -> None:
    alice, seen = network.started(ALICE)
    bob, _ = network.started(BOB)
    _link_up(network, alice, BOB)

    bob.close()
    network.started(BOB)
    alice.peers_changed()

    network.run_until(lambda: seen.reachable == [BOB, BOB])


def test_a_peer_that_has_moved_is_followed_although_nothing_is_sent(network: ZmqNetwork) -> None:
    # Breaks when a link that can't reach its peer waits for somebody else to look into the book.
    times = LinkTimes(connecting_ms_max=50)
    alice, seen = network.started(ALICE, times=times)
    bob, _ = network.started(BOB, times=times)
    _link_up(network, alice, BOB)
    bob.close()
    elsewhere = Book()
    elsewhere.owners = network.book.owners
    elsewhere.addresses[ALICE] = network.book.addresses[ALICE]
    network.started(BOB, book=elsewhere)

    def read_again() -> None:
        network.book.addresses[BOB] = elsewhere.addresses[BOB]
        gevent.spawn(alice.peers_changed)

    network.book.on_refresh = read_again

    network.run_until(lambda: seen.reachable == [BOB, BOB])
    assert network.book.refreshed == 1


def test_the_book_is_not_asked_all_the_time_for_peers_that_stay_away(network: ZmqNetwork) -> None:
    # Breaks when each attempt to reach a peer reads the whole directory.
    times = LinkTimes(connecting_ms_max=5, reopen_ms=5, look_up_ms=NEVER_MS)
    alice, _ = network.started(ALICE, times=times)
    for peer in (BOB, CAROL):
        network.started(peer)[0].close()

    for attempt in range(5):
        dropped = alice.stats.envelopes_dropped
        alice.send(BOB, [b"%d" % attempt])
        alice.send(CAROL, [b"%d" % attempt])
        network.run_until(lambda dropped=dropped: alice.stats.envelopes_dropped >= dropped + 2)  # type: ignore[misc]
        network.run_until(lambda: all(it.status is LinkStatus.AWAY for it in alice._links.values()))

    assert network.book.refreshed == 1


def test_a_peer_that_speaks_and_cannot_be_reached_has_perhaps_moved(network: ZmqNetwork) -> None:
    times = LinkTimes(connecting_ms_max=1, look_up_ms=0, reopen_ms=NEVER_MS)
    alice, seen = network.started(ALICE, times=times)
    bob, _ = network.started(BOB)
    bob.close()
    alice.send(BOB, [b"anybody?"])
    network.run_until(lambda: alice.stats.envelopes_dropped == 1)
    before = network.book.refreshed
    elsewhere = Book()
    elsewhere.owners = network.book.owners
    elsewhere.addresses[ALICE] = network.book.addresses[ALICE]
    moved, _ = network.started(BOB, book=elsewhere)

    moved.send(ALICE, [b"here"])

    network.run_until(lambda: seen.envelopes == [(BOB, b"here")])
    assert network.book.refreshed > before


def test_a_removed_peer_is_hung_up_on(network: ZmqNetwork) -> None:
    alice, _ = network.started(ALICE)
    network.started(BOB)
    _link_up(network, alice, BOB)

    network.book.remove(BOB)
    alice.peers_changed()
    alice.send(BOB, [b"anybody?", b"hello?"])

    assert alice.links() == []
    assert alice.stats.envelopes_dropped == 2


def test_what_is_sent_to_an_absent_peer_waits_a_little_and_is_then_dropped(
    network: ZmqNetwork,
) -> None:
    alice, _ = network.started(ALICE, times=LinkTimes(connecting_ms_max=50))
    bob, _ = network.started(BOB)
    bob.close()

    alice.send(BOB, [b"one", b"two"])
    dropped_at_once = alice.stats.envelopes_dropped
    network.run_until(lambda: alice.stats.envelopes_dropped == 2)
    alice.send(BOB, [b"three"])

    assert dropped_at_once == 0
    assert alice.stats.envelopes_dropped == 3


def test_an_away_link_is_opened_anew_by_a_later_send(network: ZmqNetwork) -> None:
    """Whatever ZeroMQ has made of the old connection: here, it never tries again."""
    times = LinkTimes(connecting_ms_max=1, reopen_ms=1, reconnect_ms_first=NEVER_MS)
    alice, seen = network.started(ALICE, times=times)
    bob, _ = network.started(BOB)
    bob.close()
    # ZeroMQ lets go of the port a while later; a link that still got through would be up.
    network.run_until(lambda: _refuses(bob.endpoint))
    alice.send(BOB, [b"is it you?"])
    network.run_until(lambda: alice.stats.envelopes_dropped == 1)

    network.started(BOB, bind=bob.endpoint)

    def sent_until_reachable() -> bool:
        alice.send(BOB, [b"and now?"])
        return bool(seen.reachable)

    network.run_until(sent_until_reachable)


def test_a_peer_that_calls_is_called_back_at_once(network: ZmqNetwork) -> None:
    times = LinkTimes(reconnect_ms_first=NEVER_MS, reconnect_ms_max=0, connecting_ms_max=1)
    alice, seen = network.started(ALICE, times=times)
    bob, _ = network.started(BOB)
    bob.close()
    alice.send(BOB, [b"is it you?"])
    network.run_until(lambda: alice.stats.envelopes_dropped == 1)
    link = alice._links[BOB]
    link._opened_at -= NEVER_MS / 1000

    bob, _ = network.started(BOB, bind=bob.endpoint)
    bob.send(ALICE, [b"it is me"])

    network.run_until(lambda: seen.reachable == [BOB])


def test_a_peer_that_connects_anew_is_told_to_be_reachable_but_not_too_often(
    network: ZmqNetwork,
) -> None:
    alice, seen = network.started(ALICE)
    network.transport(BOB)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    for number in range(3):
        client = context.socket(zmq.DEALER)
        client.curve_publickey, client.curve_secretkey = network.keys[BOB]
        client.curve_serverkey = alice.public_key
        client.connect(alice.endpoint)
        client.send(pack([b"me again"]))
        network.run_until(lambda expected=number + 1: len(seen.envelopes) == expected)  # type: ignore[misc]
        client.close(linger=0)

    context.term()
    assert seen.reachable == [BOB]


@pytest.mark.parametrize(
    "address",
    [
        PeerAddress("tcp://no port here", curve_keypair()[0]),
        PeerAddress("tcp://127.0.0.1:1", b"no key"),
        PeerAddress("", curve_keypair()[0]),
    ],
    ids=["endpoint", "key", "nothing"],
)
def test_an_address_that_makes_no_sense_is_reported_and_forgotten_once_corrected(
    network: ZmqNetwork, address: PeerAddress, caplog: pytest.LogCaptureFixture
) -> None:
    alice, _ = network.started(ALICE, times=LinkTimes(refused_ms_first=1))
    _, seen = network.started(BOB)
    right = network.book.addresses[BOB]
    network.book.addresses[BOB] = address

    alice.send(BOB, [b"hello?"])
    network.run_until(lambda: caplog.text.count("can't connect to O=Bob") >= 3)
    network.book.addresses[BOB] = right
    alice.send(BOB, [b"hello!"])

    network.run_until(lambda: seen.envelopes == [(ALICE, b"hello!")])
    assert alice.stats.envelopes_dropped == 1


@contextmanager
def _deaf_peer(network: ZmqNetwork, me: PeerName) -> Iterator["zmq.Socket[bytes]"]:
    """A peer that completes the handshake and reads when the test says so."""
    public_key, secret_key = curve_keypair()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.curve_server, router.curve_secretkey, router.rcvhwm = True, secret_key, 1
    port = router.bind_to_random_port("tcp://127.0.0.1")
    network.book.addresses[me] = PeerAddress(f"tcp://127.0.0.1:{port}", public_key)
    yield router
    router.close(linger=0)
    context.term()


def test_a_peer_that_does_not_read_costs_a_bounded_backlog(network: ZmqNetwork) -> None:
    alice, _ = network.started(ALICE)
    with _deaf_peer(network, BOB) as bob:
        _link_up(network, alice, BOB)
        megabyte = bytes(MIB)

        started_at = time.monotonic()
        for _ in range(100):
            alice.send(BOB, [megabyte])
        seconds = time.monotonic() - started_at
        dropped = alice.stats.envelopes_dropped
        heard = 0

        def hear() -> bool:
            nonlocal heard
            while bob.poll(0):
                heard += len(bob.recv_multipart()[1]) // MIB
            return heard == 100 - dropped

        network.run_until(hear)

    assert 100 - 50 < dropped < 100 - BACKLOG_BYTES_MAX // MIB + 1
    assert seconds < 5


def test_small_envelopes_share_frames_when_a_link_is_busy(network: ZmqNetwork) -> None:
    alice, _ = network.started(ALICE)
    _, seen = network.started(BOB)
    _link_up(network, alice, BOB)
    network.run_until(lambda: bool(seen.envelopes))
    seen.envelopes.clear()
    envelopes = [b"%d" % number for number in range(5_000)]

    for envelope in envelopes:
        alice.send(BOB, [envelope])

    network.run_until(lambda: len(seen.envelopes) == len(envelopes))
    assert seen.bodies(ALICE) == envelopes
    assert alice.stats.frames_out < 1_000


def test_what_was_sent_before_close_still_leaves(network: ZmqNetwork) -> None:
    alice, _ = network.started(ALICE)
    _, seen = network.started(BOB)
    _link_up(network, alice, BOB)

    alice.send(BOB, [b"last words"])
    alice.close()

    network.run_until(lambda: (ALICE, b"last words") in seen.envelopes)


def test_close_does_not_wait_for_a_peer_that_does_not_read(network: ZmqNetwork) -> None:
    alice, _ = network.started(ALICE)
    with _deaf_peer(network, BOB):
        _link_up(network, alice, BOB)
        for _ in range(100):
            alice.send(BOB, [bytes(MIB)])

        started_at = time.monotonic()
        alice.close()

        assert time.monotonic() - started_at < 2


def test_it_can_be_closed_by_the_news_that_a_peer_is_reachable(network: ZmqNetwork) -> None:
    class Closing(RecordingReceiver):
        def peer_reachable(self, peer: PeerName) -> None:
            super().peer_reachable(peer)
            alice.close()
            alice.peers_changed()
            alice.send(BOB, [b"too late"])

    alice, seen = network.transport(ALICE), Closing()
    alice.start(seen)
    bob, _ = network.started(BOB)

    bob.send(ALICE, [b"here I am"])

    network.run_until(lambda: seen.reachable == [BOB])
    assert seen.envelopes == []


def test_a_place_that_is_taken_is_a_configuration_error(network: ZmqNetwork) -> None:
    alice, _ = network.started(ALICE)
    bob = network.transport(BOB, bind=alice.endpoint)

    with pytest.raises(ConfigurationError, match="can't listen here: Address already in use"):
        bob.start(network.started(CAROL)[1])

    bob.close()


def test_a_key_that_is_none_is_a_configuration_error(network: ZmqNetwork) -> None:
    transport = ZmqTransport(
        me=ALICE, bind="tcp://127.0.0.1:0", public_key=b"x", secret_key=b"y", peers=Book()
    )

    with pytest.raises(ConfigurationError, match="can't listen here"):
        transport.start(network.started(CAROL)[1])


def test_a_node_that_listens_on_every_interface_reaches_itself(network: ZmqNetwork) -> None:
    alice, seen = network.started(ALICE, bind="tcp://0.0.0.0:0")

    alice.send(ALICE, [b"me"])

    network.run_until(lambda: seen.envelopes == [(ALICE, b"me")])


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_links_work_over_ipv6(network: ZmqNetwork) -> None:
    alice, _ = network.started(ALICE)
    try:
        _, seen = network.started(BOB, bind="tcp://[::1]:0")
    except ConfigurationError:
        pytest.skip("no IPv6 here")

    alice.send(BOB, [b"over there"])

    network.run_until(lambda: seen.envelopes == [(ALICE, b"over there")])


HANGING_NODE = """
import sys
import zmq
context = zmq.Context()
router = context.socket(zmq.ROUTER)
router.curve_server, router.curve_secretkey = True, sys.argv[1].encode()
print(router.bind_to_random_port("tcp://127.0.0.1"), flush=True)
while True:
    router.recv_multipart()
"""


def test_a_peer_that_hangs_is_noticed_and_so_is_its_recovery(network: ZmqNetwork) -> None:
    times = LinkTimes(heartbeat_ms=50, heartbeat_timeout_ms=100)
    alice, seen = network.started(ALICE, times=times)
    public_key, secret_key = curve_keypair()
    with subprocess.Popen(
        [sys.executable, "-c", HANGING_NODE, secret_key.decode()], stdout=subprocess.PIPE, text=True
    ) as node:
        assert node.stdout is not None
        network.book.addresses[BOB] = PeerAddress(
            f"tcp://127.0.0.1:{node.stdout.readline().strip()}", public_key
        )
        _link_up(network, alice, BOB)

        node.send_signal(signal.SIGSTOP)
        network.run_until(lambda: not is_up(alice, BOB))
        node.send_signal(signal.SIGCONT)

        network.run_until(lambda: seen.reachable == [BOB, BOB])
        node.kill()
