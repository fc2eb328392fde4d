"""Transport on ZeroMQ: a bound ROUTER takes what peers send, one connected DEALER per peer sends.

A message of ZeroMQ is a frame (`runtime.frames`); the ROUTER sees the routing id in front of it.
Each direction between two nodes has its own connection: A's DEALER to B's ROUTER, B's DEALER to
A's ROUTER. CURVE encrypts both and proves both ends; ZAP admits the keys of the peer book. Who sent
a frame is decided by the key of its connection alone: no routing id, address or field counts. The
book is asked for every frame, so that a removed peer is silenced at once, not at its next
handshake.

Everything happens on the hub of the thread that called `start`; nothing waits, nothing polls. The
context, and with it ZeroMQ's I/O thread, belongs to one transport, so that a process can hold many.
"""

import logging
import time
from collections.abc import Sequence
from functools import partial
from math import inf
from typing import Final

import zmq

from runtime.edge.zmq_auth import CurveKeys, PeerAddress, PeerBook
from runtime.edge.zmq_inbound import Inbound
from runtime.edge.zmq_link import Link, LinkStatus, LinkTimes
from runtime.edge.zmq_stats import TransportStats
from runtime.ids import PeerName
from runtime.limits import DEFAULT_PEER_LIMITS, PeerLimits
from runtime.ports import LinkState, Receiver
from runtime.seldom_log import SeldomLog

# What was sent just before the node stops should still leave, but stopping must not hang.
LINGER_MS: Final = 200

# Each link takes three; ZeroMQ's own default of 1,023 would do for 340 peers.
SOCKETS_MAX: Final = 16_384

# A peer that connects over and over must not make us send everything again each time.
REACHABLE_INTERVAL_S: Final = 2.0

DEFAULT_TIMES: Final = LinkTimes()

log = logging.getLogger("sennit.transport")


class ZmqTransport:
    """Links to the peers of a peer book, which may change while the transport runs."""

    def __init__(
        self,
        *,
        me: PeerName,
        bind: str,
        public_key: bytes,
        secret_key: bytes,
        peers: PeerBook,
        times: LinkTimes = DEFAULT_TIMES,
        limits: PeerLimits = DEFAULT_PEER_LIMITS,
    ) -> None:
        """Prepare a transport; ``bind`` is an endpoint such as ``tcp://127.0.0.1:0``."""
        self.stats: Final = TransportStats()
        self._bind = bind
        self._times = times
        self._limits = limits
        self._keys = CurveKeys(public_key=public_key, secret_key=secret_key)
        self._peers = _BookWithMe(peers, me, public_key)
        self._log = SeldomLog(log)
        self._links: dict[PeerName, Link] = {}
        self._connections: dict[PeerName, tuple[bytes, float]] = {}
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._looked_up_at = -inf
        self._is_closed = False

    @property
    def endpoint(self) -> str:
        """Return where it listens: ``bind`` with the real port. Known after `start`."""
        return self._inbound.endpoint

    def usage(self) -> list[tuple[str, int, int]]:
        """Return each limit on connections by name, with what is used of it, after `start`."""
        return self._inbound.usage()

    def start(self, receiver: Receiver) -> None:
        """Begin to listen and to deliver to ``receiver``; raises `ConfigurationError`."""
        assert self._context is None
        self._receiver = receiver
        context = zmq.Context()
        context.set(zmq.MAX_SOCKETS, SOCKETS_MAX)
        try:
            self._inbound = Inbound(
                context,
                bind=self._bind,
                keys=self._keys,
                peers=self._peers,
                limits=self._limits,
                stats=self.stats,
                on_frame=self._frame_arrived,
            )
        except BaseException:
            context.term()
            raise
        self._context = context
        self._peers.my_endpoint = self._inbound.endpoint

    def send(self, peer: PeerName, envelopes: Sequence[bytes]) -> None:
        """Send towards ``peer``, or to oneself; never waits. Unknown or absent peers lose it."""
        if self._is_closed:
            return
        link = self._link_to(peer)
        if link is None:
            self.stats.envelopes_dropped += len(envelopes)
            self._log.warn(peer, f"{peer} is not in the network map; nothing is sent to it")
        else:
            link.send(envelopes)

    def peers_changed(self) -> None:
        """Learn that the peer book has changed: follow moved peers now, not at the next send.

        Not to be called from inside a question to the book, but later.
        """
        if not self._is_closed:
            for peer in list(self._links):
                self._link_to(peer)

    def links(self) -> list[LinkState]:
        """Return the state of each link to a peer."""
        return [link.state() for link in self._links.values()]

    def close(self) -> None:
        """Stop delivering and let go of every link; waits at most LINGER_MS."""
        if self._is_closed:
            return
        self._is_closed = True
        for link in self._links.values():
            link.close(linger_ms=LINGER_MS)
        self._links.clear()
        if self._context is not None:
            self._inbound.close()
            self._context.term()

    def _link_to(self, peer: PeerName) -> Link | None:
        link = self._links.get(peer)
        address = self._peers.address(peer)
        if link is not None:
            if link.address == address:
                return link
            link.close(linger_ms=0)
            del self._links[peer]
        if address is None:
            return None
        assert self._context is not None
        link = self._links[peer] = Link(
            peer,
            address,
            context=self._context,
            keys=self._keys,
            times=self._times,
            stats=self.stats,
            on_up=partial(self._receiver.peer_reachable, peer),
            on_unreachable=self._look_for_news,
        )
        return link

    def _look_for_news(self) -> None:
        """Have the peer book look again: a peer that can't be reached may have moved."""
        now = time.monotonic()
        if now - self._looked_up_at >= self._times.look_up_ms / 1000:
            self._looked_up_at = now
            self._peers.refresh()

    def _frame_arrived(self, peer: PeerName, connection: bytes, envelopes: list[bytes]) -> None:
        known = self._connections.get(peer)
        if known is None or known[0] != connection:
            self._note_connection(peer, connection, told_at=known[1] if known else -inf)
        if not self._is_closed:
            self._receiver.frame_arrived(peer, envelopes)

    def _note_connection(self, peer: PeerName, connection: bytes, *, told_at: float) -> None:
        now = time.monotonic()
        is_news = now - told_at >= REACHABLE_INTERVAL_S
        self._connections[peer] = (connection, now if is_news else told_at)
        link = self._links.get(peer)
        if not is_news:
            return
        if link is None or link.status is LinkStatus.UP:
            self._receiver.peer_reachable(peer)
        else:
            self._look_for_news()  # It lives, but not where we look for it.
            link.hurry()  # The receiver hears of it when the link is up.


class _BookWithMe:
    """A peer book that lists our own node too, whatever the network map says of it."""

    def __init__(self, peers: PeerBook, me: PeerName, curve_key: bytes) -> None:
        self._peers = peers
        self._me = me
        self._curve_key = curve_key
        self.my_endpoint = ""

    def address(self, peer: PeerName) -> PeerAddress | None:
        if peer == self._me:
            return PeerAddress(self.my_endpoint, self._curve_key)
        return self._peers.address(peer)

    def peer_of(self, curve_key: bytes) -> PeerName | None:
        if curve_key == self._curve_key:
            return self._me
        return self._peers.peer_of(curve_key)

    def refresh(self) -> None:
        self._peers.refresh()
