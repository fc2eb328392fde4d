"""Peers take turns, however much one of them sends; nothing is lost, and the order stays."""

from collections.abc import Iterator
from contextlib import closing

import gevent
import pytest

from runtime.edge.zmq_fair import PORTION_ENVELOPES_MAX, WAITING_FRAMES_MAX, FairQueue
from runtime.frames import pack
from runtime.ids import PeerName
from runtime.limits import FRAME_ENVELOPES_MAX
from runtime.testing.transport_conformance import ALICE, BOB, CAROL
from tests.runtime.edge.zmq_hostile import connecting
from tests.runtime.edge.zmq_network import ZmqNetwork

MANY = [b"%d" % number for number in range(3 * PORTION_ENVELOPES_MAX)]


class Handled:
    """A queue, and what came out of it."""

    def __init__(self) -> None:
        self.envelopes: list[tuple[PeerName, bytes]] = []
        self.portions: list[PeerName] = []
        self.said: list[str] = []
        self.fails = False
        self.queue = FairQueue(
            handle=self._handle,
            on_full=lambda: self.said.append("full"),
            on_room=lambda: self.said.append("room"),
        )

    def _handle(self, peer: PeerName, connection: bytes, envelopes: list[bytes]) -> None:
        assert len(envelopes) <= PORTION_ENVELOPES_MAX
        self.portions.append(peer)
        self.envelopes += [(peer, envelope) for envelope in envelopes]
        if self.fails:
            self.fails = False
            raise RuntimeError("a mistake of ours")

    def of(self, peer: PeerName) -> list[bytes]:
        return [envelope for sender, envelope in self.envelopes if sender == peer]

    def close(self) -> None:
        self.queue.close()

    def run(self) -> None:
        while self.queue:
            gevent.sleep(0)


@pytest.fixture
def handled() -> Iterator[Handled]:
    with closing(Handled()) as handled:
        yield handled


def test_a_small_frame_is_handled_at_once(handled: Handled) -> None:
    handled.queue.put(ALICE, b"1", [b"hello"])

    assert handled.envelopes == [(ALICE, b"hello")]


def test_whoever_sends_little_does_not_wait_for_one_that_sends_much(handled: Handled) -> None:
    handled.queue.put(BOB, b"1", MANY)
    handled.queue.put(BOB, b"1", MANY)

    handled.queue.put(ALICE, b"2", [b"hello"])

    assert handled.envelopes == [(ALICE, b"hello")]
    handled.run()
    assert handled.of(BOB) == MANY * 2


def test_two_that_send_much_take_turns_and_keep_their_order(handled: Handled) -> None:
    handled.queue.put(BOB, b"1", MANY)
    handled.queue.put(ALICE, b"2", MANY)
    handled.queue.put(BOB, b"1", [b"last"])

    handled.run()

    assert handled.portions[:6] == [BOB, ALICE] * 3
    assert handled.of(BOB) == [*MANY, b"last"]
    assert handled.of(ALICE) == MANY


def test_it_says_when_it_is_full_and_when_there_is_room_again(handled: Handled) -> None:
    for _ in range(WAITING_FRAMES_MAX - 1):
        handled.queue.put(BOB, b"1", MANY)
    assert handled.said == []

    handled.queue.put(CAROL, b"1", MANY)
    assert handled.said == ["full"]
    handled.run()

    assert handled.said == ["full", "room"]


def test_a_failure_ends_a_portion_and_not_the_queue(
    handled: Handled, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[object] = []
    monkeypatch.setattr(gevent.get_hub(), "print_exception", lambda *error: errors.append(error))
    handled.queue.put(BOB, b"1", MANY)
    handled.fails = True
    handled.run()

    assert len(errors) == 1
    assert handled.of(BOB) == MANY


def test_a_closed_queue_handles_nothing(handled: Handled) -> None:
    handled.queue.put(BOB, b"1", MANY)
    handled.close()

    gevent.sleep(0.01)

    assert handled.envelopes == []
    assert len(handled.queue) == 0


def test_a_flood_arrives_as_a_whole_and_in_order(network: ZmqNetwork) -> None:
    # Breaks when the reading stops for good once the queue is full, or frames are dropped then.
    _, seen = network.started(ALICE)
    network.transport(BOB)
    expected: list[bytes] = []
    with connecting(network.book.addresses[ALICE], network.keys[BOB]) as bob:
        socket = bob.socket()
        for frame in range(40):
            envelopes = [b"%d/%d" % (frame, number) for number in range(FRAME_ENVELOPES_MAX)]
            expected += envelopes
            socket.send(pack(envelopes))

        network.run_until(lambda: len(seen.envelopes) == len(expected))

    assert seen.bodies(BOB) == expected
