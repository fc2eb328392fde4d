"""What every transport promises, as tests: subclass `TransportConformance` and give it a harness.

    class TestMyTransport(TransportConformance):
        @pytest.fixture
        def harness(self) -> Iterator[TransportHarness]: ...

The harness makes transports that know each other and runs the loop. Tests wait for what they expect
and not for time to pass.
"""
# ruff: noqa: D102  (the names of the tests are sentences)

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from runtime.ids import PeerName
from runtime.limits import FRAME_ENVELOPES_MAX, MESSAGE_BYTES_MAX
from runtime.ports import Transport

ALICE: Final = PeerName("O=Alice,L=London,C=GB")
BOB: Final = PeerName("O=Bob,L=Paris,C=FR")
CAROL: Final = PeerName("O=Carol,L=Oslo,C=NO")
NOBODY: Final = PeerName("O=Nobody,L=Nowhere,C=DE")


class TransportHarness(Protocol):
    """What the suite needs of an adapter."""

    def transport(self, me: PeerName) -> Transport:
        """Return a new transport, not started, that others find by ``me`` once it is.

        Called again for the same peer after its transport was closed: the node has restarted, with
        the same identity, perhaps at another address.
        """

    def run_until(self, is_done: Callable[[], bool]) -> None:
        """Run the loop until ``is_done``; fail after a time that no working transport takes."""


@dataclass
class RecordingReceiver:
    """Keep what arrives, in order."""

    envelopes: list[tuple[PeerName, bytes]] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    reachable: list[PeerName] = field(default_factory=list)
    on_frame: Callable[[], object] | None = None

    def frame_arrived(self, peer: PeerName, envelopes: list[bytes]) -> None:
        """Keep each envelope with its sender."""
        self.frames.append(len(envelopes))
        self.envelopes.extend((peer, envelope) for envelope in envelopes)
        if self.on_frame is not None:
            self.on_frame()

    def peer_reachable(self, peer: PeerName) -> None:
        """Keep the news."""
        self.reachable.append(peer)

    def bodies(self, peer: PeerName) -> list[bytes]:
        """Return what ``peer`` has sent."""
        return [body for sender, body in self.envelopes if sender == peer]


class TransportConformance:
    """The promises of `runtime.ports.Transport`."""

    def test_an_envelope_arrives_with_the_name_of_its_sender(
        self, harness: TransportHarness
    ) -> None:
        alice, bob = _linked(harness)

        alice.transport.send(BOB, [b"hello"])

        harness.run_until(lambda: len(bob.seen.envelopes) == 1)
        assert bob.seen.envelopes == [(ALICE, b"hello")]

    def test_an_answer_takes_the_way_back(self, harness: TransportHarness) -> None:
        alice, bob = _linked(harness)

        bob.transport.send(ALICE, [b"hello yourself"])

        harness.run_until(lambda: len(alice.seen.envelopes) == 1)
        assert alice.seen.envelopes == [(BOB, b"hello yourself")]

    def test_what_was_sent_before_the_link_is_up_is_lost_or_arrives_once(
        self, harness: TransportHarness
    ) -> None:
        alice, bob = _node(harness, ALICE), _node(harness, BOB)

        alice.transport.send(BOB, [b"early"])
        harness.run_until(lambda: alice.seen.reachable == [BOB])
        alice.transport.send(BOB, [b"late"])

        harness.run_until(lambda: b"late" in bob.seen.bodies(ALICE))
        assert bob.seen.bodies(ALICE) in ([b"late"], [b"early", b"late"])

    def test_a_link_says_whether_its_peer_can_be_reached(self, harness: TransportHarness) -> None:
        alice, bob = _linked(harness)
        up = [link.is_up for link in alice.transport.links() if link.peer == BOB]

        bob.transport.close()

        harness.run_until(lambda: not any(link.is_up for link in alice.transport.links()))
        assert up == [True]
        assert [link.peer for link in alice.transport.links()] == [BOB]

    def test_nothing_is_delivered_inside_send(self, harness: TransportHarness) -> None:
        alice, bob = _linked(harness)

        alice.transport.send(BOB, [b"later"])
        alice.transport.send(ALICE, [b"to myself"])

        assert bob.seen.envelopes == []
        assert alice.seen.envelopes == []

    def test_a_quiet_link_keeps_the_order(self, harness: TransportHarness) -> None:
        alice, bob = _linked(harness)
        numbers = [str(number).encode() for number in range(500)]

        for number in numbers:
            alice.transport.send(BOB, [number])

        harness.run_until(lambda: len(bob.seen.envelopes) == len(numbers))
        assert bob.seen.bodies(ALICE) == numbers

    def test_many_envelopes_travel_in_few_frames(self, harness: TransportHarness) -> None:
        alice, bob = _linked(harness)
        envelopes = [b"%d" % number for number in range(3 * FRAME_ENVELOPES_MAX + 1)]

        alice.transport.send(BOB, envelopes)

        harness.run_until(lambda: len(bob.seen.envelopes) >= len(envelopes))
        assert bob.seen.bodies(ALICE) == envelopes
        # Four frames, or a few more portions of them if the receiver lets peers take turns.
        assert 4 <= len(bob.seen.frames) <= 16

    def test_an_envelope_may_be_as_big_as_the_biggest_message(
        self, harness: TransportHarness
    ) -> None:
        alice, bob = _linked(harness)
        envelopes = [b"before", bytes(MESSAGE_BYTES_MAX + 1_024), b"after"]

        alice.transport.send(BOB, envelopes)

        harness.run_until(lambda: len(bob.seen.envelopes) == 3)
        assert bob.seen.bodies(ALICE) == envelopes

    def test_the_sender_may_change_its_list_afterwards(self, harness: TransportHarness) -> None:
        alice, bob = _linked(harness)
        envelopes = [b"one", b"two"]

        alice.transport.send(BOB, envelopes)
        envelopes.clear()

        harness.run_until(lambda: len(bob.seen.envelopes) == 2)
        assert bob.seen.bodies(ALICE) == [b"one", b"two"]

    def test_two_senders_are_told_apart(self, harness: TransportHarness) -> None:
        alice, bob = _linked(harness)
        carol = _node(harness, CAROL)
        _link(harness, carol, bob)

        alice.transport.send(BOB, [b"I am alice"])
        carol.transport.send(BOB, [b"I am carol"])

        harness.run_until(lambda: len(bob.seen.envelopes) == 2)
        assert bob.seen.bodies(ALICE) == [b"I am alice"]
        assert bob.seen.bodies(CAROL) == [b"I am carol"]

    def test_an_unknown_peer_disturbs_nobody(self, harness: TransportHarness) -> None:
        alice, bob = _linked(harness)

        alice.transport.send(NOBODY, [b"is anybody there?"])
        alice.transport.send(BOB, [b"hello"])

        harness.run_until(lambda: len(bob.seen.envelopes) == 1)
        assert NOBODY not in alice.seen.reachable

    def test_a_node_can_send_to_itself(self, harness: TransportHarness) -> None:
        alice = _node(harness, ALICE)
        _link(harness, alice, alice)

        alice.transport.send(ALICE, [b"note to self"])

        harness.run_until(lambda: len(alice.seen.envelopes) == 1)
        assert alice.seen.envelopes == [(ALICE, b"note to self")]

    def test_a_peer_that_restarts_becomes_reachable_again(self, harness: TransportHarness) -> None:
        alice, bob = _linked(harness)
        alice.seen.reachable.clear()

        bob.transport.close()
        successor = _node(harness, BOB)
        alice.transport.send(BOB, [b"lost, perhaps"])
        harness.run_until(lambda: BOB in alice.seen.reachable)
        alice.transport.send(BOB, [b"welcome back"])

        harness.run_until(lambda: b"welcome back" in successor.seen.bodies(ALICE))
        assert bob.seen.envelopes == []

    def test_a_node_that_restarts_finds_its_peers(self, harness: TransportHarness) -> None:
        alice, bob = _linked(harness)
        bob.seen.reachable.clear()

        alice.transport.close()
        successor = _node(harness, ALICE)
        _link(harness, successor, bob)
        bob.transport.send(ALICE, [b"lost, perhaps"])
        harness.run_until(lambda: ALICE in bob.seen.reachable)
        bob.transport.send(ALICE, [b"where were we?"])

        harness.run_until(lambda: b"where were we?" in successor.seen.bodies(BOB))

    def test_a_peer_that_comes_later_becomes_reachable(self, harness: TransportHarness) -> None:
        alice = _node(harness, ALICE)
        alice.transport.send(BOB, [b"too early"])

        bob = _node(harness, BOB)
        alice.transport.send(BOB, [b"perhaps too early"])
        harness.run_until(lambda: BOB in alice.seen.reachable)
        alice.transport.send(BOB, [b"now"])

        harness.run_until(lambda: b"now" in bob.seen.bodies(ALICE))

    def test_after_close_nothing_is_delivered_or_sent(self, harness: TransportHarness) -> None:
        alice, bob = _linked(harness)
        _link(harness, alice, alice)
        alice.transport.send(BOB, [b"on its way"])
        bob.transport.close()

        bob.transport.send(ALICE, [b"too late"])
        alice.transport.send(BOB, [b"into the void"])
        alice.transport.send(ALICE, [b"meanwhile"])

        harness.run_until(lambda: bool(alice.seen.envelopes))
        assert alice.seen.envelopes == [(ALICE, b"meanwhile")]
        assert bob.seen.envelopes == []

    def test_it_can_be_closed_while_sending_and_twice(self, harness: TransportHarness) -> None:
        alice, _ = _linked(harness)
        for _ in range(100):
            alice.transport.send(BOB, [bytes(10_000)] * 10)

        alice.transport.close()
        alice.transport.close()

    def test_it_can_be_closed_by_what_arrives(self, harness: TransportHarness) -> None:
        alice, bob = _linked(harness)
        _link(harness, alice, alice)
        bob.seen.on_frame = bob.transport.close

        for _ in range(10):
            alice.transport.send(BOB, [b"last words"])
        harness.run_until(lambda: bool(bob.seen.frames))
        alice.transport.send(ALICE, [b"meanwhile"])

        harness.run_until(lambda: bool(alice.seen.envelopes))
        assert len(bob.seen.frames) == 1


@dataclass(frozen=True)
class _Node:
    me: PeerName
    transport: Transport
    seen: RecordingReceiver


def _node(harness: TransportHarness, me: PeerName) -> _Node:
    node = _Node(me, harness.transport(me), RecordingReceiver())
    node.transport.start(node.seen)
    return node


def _link(harness: TransportHarness, source: _Node, target: _Node) -> None:
    """Bring the link up, and forget what it took."""
    source.transport.send(target.me, [b"knock"])
    harness.run_until(lambda: target.me in source.seen.reachable)
    source.transport.send(target.me, [b"are you there?"])
    harness.run_until(lambda: b"are you there?" in target.seen.bodies(source.me))
    target.seen.envelopes.clear()
    target.seen.frames.clear()


def _linked(harness: TransportHarness) -> tuple[_Node, _Node]:
    alice, bob = _node(harness, ALICE), _node(harness, BOB)
    _link(harness, alice, bob)
    _link(harness, bob, alice)
    return alice, bob
