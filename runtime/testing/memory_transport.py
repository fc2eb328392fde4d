"""Transport in memory: a network of nodes in one thread, whose faults are somebody's decision.

Frames arrive in later turns of the loop, in order, whole. That is the quiet network; a test or a
simulation disturbs it in two ways. It takes nodes down and up, or cuts the line between two of them
and mends it. And it hands over a policy, a function that is asked about each frame and answers with
what arrives of it: nothing, one or several deliveries, now or at a given time. There is no chance
and no clock here: the same calls and the same policy make the same history.

    lose       []
    repeat     [Delivery(frame), Delivery(frame)]
    delay      [Delivery(frame, at_ms=clock.now_ms() + 30)]
    reorder    delay some frames and not others
    tear up    [Delivery(frame[:1]), Delivery(frame[1:], at_ms=...)]

Like a real link, one comes up when the first frame is sent, and `Receiver.peer_reachable` tells the
sender so; it tells again each time that the other end, or the line to it, has come back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from runtime.frames import batches
from runtime.ids import PeerName
from runtime.ports import LinkState, Loop, Receiver


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One direction between two peers."""

    source: PeerName
    target: PeerName


@dataclass(frozen=True, slots=True)
class Delivery:
    """What arrives of a frame: in the next turn of the loop, or when the clock shows ``at_ms``."""

    envelopes: list[bytes]
    at_ms: int | None = None


Policy = Callable[[Link, list[bytes]], list[Delivery]]


def deliver_all(link: Link, envelopes: list[bytes]) -> list[Delivery]:
    """Do nothing bad: the policy of a quiet network."""
    return [Delivery(envelopes)]


class MemoryNetwork:
    """The links between the transports that it makes. ``policy`` may be replaced at any time."""

    def __init__(self, loop: Loop, policy: Policy = deliver_all) -> None:
        self.policy = policy
        self._loop = loop
        self._transports: dict[PeerName, MemoryTransport] = {}
        self._is_down: set[PeerName] = set()
        self._cut: set[frozenset[PeerName]] = set()
        # In order of their first frame, so that a history does not hang on hashes.
        self._links: dict[Link, None] = {}

    def transport(self, me: PeerName) -> "MemoryTransport":
        """Return a new transport of ``me``. It replaces an earlier one when it is started."""
        return MemoryTransport(self, me)

    def down(self, peer: PeerName) -> None:
        """Take ``peer`` off the network; what is on its way to it is lost."""
        self._is_down.add(peer)

    def up(self, peer: PeerName) -> None:
        """Put ``peer`` back; both ends of each of its links learn that the other is reachable."""
        self._is_down.discard(peer)
        self._tell_links_of(peer)

    def cut(self, one: PeerName, other: PeerName) -> None:
        """Cut the line between two peers, in both directions."""
        self._cut.add(frozenset((one, other)))

    def mend(self, one: PeerName, other: PeerName) -> None:
        """Mend the line between two peers; both learn that the other is reachable."""
        self._cut.discard(frozenset((one, other)))
        for link in list(self._links):
            if {link.source, link.target} == {one, other}:
                self._tell(link)

    def mend_all(self) -> None:
        """Mend all lines that are cut."""
        for ends in sorted(self._cut, key=sorted):
            self.mend(*ends)

    def started(self, transport: "MemoryTransport") -> None:
        """Take ``transport`` as the one of its node; its predecessor, if any, is gone."""
        me = transport.me
        predecessor = self._transports.get(me)
        if predecessor is not None:
            predecessor.close()
        self._transports[me] = transport
        self._tell_links_of(me)

    def closed(self, transport: "MemoryTransport") -> None:
        """Forget ``transport`` and the links that it had opened."""
        if self._transports.get(transport.me) is transport:
            del self._transports[transport.me]
            for link in [link for link in self._links if link.source == transport.me]:
                del self._links[link]

    def carry(self, link: Link, envelopes: Sequence[bytes]) -> None:
        """Carry frames along ``link``, as the policy wants it."""
        if link not in self._links:
            self._links[link] = None
            self._tell(link)
        if not self._is_passable(link):
            return
        for frame in batches(envelopes):
            for delivery in self.policy(link, frame):
                arrive = partial(
                    self._arrive, link, self._transports[link.target], delivery.envelopes
                )
                if delivery.at_ms is None:
                    self._loop.call_soon(arrive)
                else:
                    self._loop.call_at(delivery.at_ms, arrive)

    def links_from(self, peer: PeerName) -> list[LinkState]:
        """Return the state of the links that ``peer`` has opened."""
        return [
            LinkState(peer=link.target, is_up=self._is_passable(link))
            for link in self._links
            if link.source == peer
        ]

    def _arrive(self, link: Link, target: "MemoryTransport", envelopes: list[bytes]) -> None:
        # A frame for a node that has restarted since is lost, as it was in a connection that broke.
        if self._is_passable(link) and self._transports[link.target] is target:
            target.receiver.frame_arrived(link.source, list(envelopes))

    def _tell_links_of(self, peer: PeerName) -> None:
        for link in list(self._links):
            if peer in (link.source, link.target):
                self._tell(link)

    def _tell(self, link: Link) -> None:
        self._loop.call_soon(partial(self._come_up, link))

    def _come_up(self, link: Link) -> None:
        source = self._transports.get(link.source)
        if source is not None and link in self._links and self._is_passable(link):
            source.receiver.peer_reachable(link.target)

    def _is_passable(self, link: Link) -> bool:
        ends = (link.source, link.target)
        return (
            link.target in self._transports
            and self._is_down.isdisjoint(ends)
            and frozenset(ends) not in self._cut
        )


class MemoryTransport:
    """The transport of one node of a `MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, me: PeerName) -> None:
        self.me = me
        self._network = network
        self._receiver: Receiver | None = None
        self._is_closed = False

    @property
    def receiver(self) -> Receiver:
        """Return what frames are delivered to."""
        assert self._receiver is not None
        return self._receiver

    def start(self, receiver: Receiver) -> None:
        """Join the network and deliver to ``receiver``."""
        assert self._receiver is None
        self._receiver = receiver
        self._network.started(self)

    def send(self, peer: PeerName, envelopes: Sequence[bytes]) -> None:
        """Send towards ``peer``, or to oneself."""
        assert self._receiver is not None
        if not self._is_closed:
            self._network.carry(Link(source=self.me, target=peer), envelopes)

    def links(self) -> list[LinkState]:
        """Return which peers can be reached of those that something was sent to."""
        return self._network.links_from(self.me)

    def close(self) -> None:
        """Leave the network."""
        self._is_closed = True
        self._network.closed(self)
