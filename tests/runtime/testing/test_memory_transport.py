"""The faults of the network in memory: each happens because somebody decided so."""

from runtime.ids import PeerName
from runtime.testing.memory_transport import Delivery, Link, MemoryNetwork, MemoryTransport
from runtime.testing.simulated_loop import EPOCH_MS, SimulatedClock, SimulatedLoop
from runtime.testing.transport_conformance import ALICE, BOB, CAROL, RecordingReceiver


class Net:
    """Alice, Bob and Carol on a quiet network."""

    def __init__(self) -> None:
        self.loop = SimulatedLoop(SimulatedClock())
        self.network = MemoryNetwork(self.loop)
        self.seen: dict[PeerName, RecordingReceiver] = {}
        self.transports: dict[PeerName, MemoryTransport] = {}
        for peer in (ALICE, BOB, CAROL):
            self.start(peer)

    def start(self, peer: PeerName) -> None:
        self.transports[peer] = self.network.transport(peer)
        self.seen[peer] = RecordingReceiver()
        self.transports[peer].start(self.seen[peer])

    def send(self, source: PeerName, target: PeerName, *envelopes: bytes) -> None:
        self.transports[source].send(target, list(envelopes))

    def forget_news(self) -> None:
        self.loop.run_until_idle()
        for seen in self.seen.values():
            seen.reachable.clear()


def test_a_link_comes_up_once_when_it_is_first_used() -> None:
    net = Net()

    net.send(ALICE, BOB, b"one")
    net.send(ALICE, BOB, b"two")
    net.loop.run_until_idle()

    assert net.seen[ALICE].reachable == [BOB]
    assert net.seen[BOB].reachable == []
    assert net.seen[BOB].bodies(ALICE) == [b"one", b"two"]


def test_a_policy_is_asked_about_each_frame_of_each_link() -> None:
    net = Net()
    asked: list[tuple[Link, list[bytes]]] = []

    def policy(link: Link, envelopes: list[bytes]) -> list[Delivery]:
        asked.append((link, envelopes))
        return [Delivery(envelopes)]

    net.network.policy = policy
    net.send(ALICE, BOB, b"a", b"b")
    net.send(BOB, CAROL, b"c")

    assert asked == [
        (Link(source=ALICE, target=BOB), [b"a", b"b"]),
        (Link(source=BOB, target=CAROL), [b"c"]),
    ]


def test_a_policy_can_lose_repeat_delay_and_tear_up() -> None:
    net = Net()
    answers = {
        b"lost": [],
        b"twice": [Delivery([b"twice"]), Delivery([b"twice"])],
        b"late": [Delivery([b"late"], at_ms=EPOCH_MS + 500)],
        b"later": [Delivery([b"later"], at_ms=EPOCH_MS + 600)],
        b"torn": [Delivery([b"to"]), Delivery([b"rn"], at_ms=EPOCH_MS + 400)],
    }
    net.network.policy = lambda link, envelopes: answers[envelopes[0]]

    for body in (b"lost", b"later", b"late", b"twice", b"torn"):
        net.send(ALICE, BOB, body)
    net.loop.run_until_idle()

    assert net.seen[BOB].bodies(ALICE) == [b"twice", b"twice", b"to", b"rn", b"late", b"later"]


def test_a_repeated_frame_is_not_the_same_list() -> None:
    net = Net()
    frame = [b"one"]
    net.network.policy = lambda link, envelopes: [Delivery(frame), Delivery(frame)]
    arrived: list[list[bytes]] = []

    class Greedy(RecordingReceiver):
        def frame_arrived(self, peer: PeerName, envelopes: list[bytes]) -> None:
            arrived.append(list(envelopes))
            envelopes.clear()

    net.transports[BOB] = net.network.transport(BOB)
    net.transports[BOB].start(Greedy())
    net.send(ALICE, BOB, b"one")
    net.loop.run_until_idle()

    assert arrived == [[b"one"], [b"one"]]


def test_a_node_that_is_down_neither_hears_nor_is_heard() -> None:
    net = Net()
    net.send(ALICE, BOB, b"on its way when the line dies")

    net.network.down(BOB)
    net.send(ALICE, BOB, b"unheard")
    net.send(BOB, ALICE, b"unheard")
    net.send(ALICE, CAROL, b"heard")
    net.loop.run_until_idle()

    assert net.seen[BOB].envelopes == []
    assert net.seen[ALICE].envelopes == []
    assert net.seen[ALICE].reachable == [CAROL]
    assert net.seen[CAROL].bodies(ALICE) == [b"heard"]


def test_both_ends_hear_of_a_node_that_is_up_again() -> None:
    net = Net()
    net.send(ALICE, BOB, b"hello")
    net.send(BOB, ALICE, b"hello")
    net.send(ALICE, CAROL, b"hello")
    net.forget_news()

    net.network.down(BOB)
    net.network.up(BOB)
    net.loop.run_until_idle()

    assert net.seen[ALICE].reachable == [BOB]
    assert net.seen[BOB].reachable == [ALICE]
    assert net.seen[CAROL].reachable == []


def test_news_of_a_node_that_is_down_again_are_not_told() -> None:
    net = Net()
    net.send(ALICE, BOB, b"hello")
    net.forget_news()

    net.network.down(BOB)
    net.network.up(BOB)
    net.network.down(BOB)
    net.loop.run_until_idle()

    assert net.seen[ALICE].reachable == []


def test_a_cut_line_separates_two_and_no_others() -> None:
    net = Net()
    net.send(ALICE, BOB, b"before")
    net.send(BOB, ALICE, b"before")
    net.forget_news()

    net.network.cut(BOB, ALICE)
    net.send(ALICE, BOB, b"unheard")
    net.send(BOB, ALICE, b"unheard")
    net.send(ALICE, CAROL, b"heard")
    net.loop.run_until_idle()
    net.forget_news()
    net.network.mend(ALICE, BOB)
    net.loop.run_until_idle()

    assert net.seen[BOB].bodies(ALICE) == [b"before"]
    assert net.seen[CAROL].bodies(ALICE) == [b"heard"]
    assert net.seen[ALICE].reachable == [BOB]
    assert net.seen[BOB].reachable == [ALICE]


def test_what_was_on_its_way_to_a_node_that_restarts_is_lost() -> None:
    net = Net()
    net.send(ALICE, BOB, b"for the one before")
    predecessor = net.seen[BOB]

    net.start(BOB)
    net.loop.run_until_idle()

    assert predecessor.envelopes == []
    assert net.seen[BOB].envelopes == []
    assert net.seen[ALICE].reachable == [BOB, BOB]


def test_a_node_that_restarts_has_no_links_of_its_own() -> None:
    net = Net()
    net.send(BOB, ALICE, b"hello")
    net.loop.run_until_idle()

    net.start(BOB)
    net.loop.run_until_idle()
    assert net.seen[BOB].reachable == []
    net.send(BOB, ALICE, b"hello again")
    net.loop.run_until_idle()

    assert net.seen[BOB].reachable == [ALICE]


def test_a_predecessor_that_closes_late_does_no_harm() -> None:
    net = Net()
    predecessor = net.transports[BOB]
    net.start(BOB)

    predecessor.close()
    net.send(ALICE, BOB, b"hello")
    net.loop.run_until_idle()

    assert net.seen[BOB].bodies(ALICE) == [b"hello"]
