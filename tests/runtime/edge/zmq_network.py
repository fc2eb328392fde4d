"""A network of real ZeroMQ transports on loopback, with peer books that tests can change."""

import time
from collections.abc import Callable

import gevent

from runtime.edge.zmq_auth import PeerAddress, curve_keypair
from runtime.edge.zmq_link import LinkTimes
from runtime.edge.zmq_transport import DEFAULT_TIMES, ZmqTransport
from runtime.ids import PeerName
from runtime.limits import DEFAULT_PEER_LIMITS, PeerLimits
from runtime.ports import Receiver
from runtime.testing.transport_conformance import RecordingReceiver

SECONDS_MAX = 20.0


class Book:
    """A peer book that tests can change."""

    def __init__(self) -> None:
        self.refreshed = 0
        self.on_refresh: Callable[[], None] = lambda: None
        self.addresses: dict[PeerName, PeerAddress] = {}
        self.owners: dict[bytes, PeerName] = {}

    def address(self, peer: PeerName) -> PeerAddress | None:
        return self.addresses.get(peer)

    def peer_of(self, curve_key: bytes) -> PeerName | None:
        return self.owners.get(curve_key)

    def refresh(self) -> None:
        self.refreshed += 1
        self.on_refresh()

    def remove(self, peer: PeerName) -> None:
        self.addresses.pop(peer, None)
        self.owners = {key: owner for key, owner in self.owners.items() if owner != peer}


class ListedTransport(ZmqTransport):
    """Enters its real address into the book once it listens."""

    def __init__(
        self,
        me: PeerName,
        keys: tuple[bytes, bytes],
        book: Book,
        bind: str,
        times: LinkTimes,
        limits: PeerLimits,
    ) -> None:
        public_key, secret_key = keys
        super().__init__(
            me=me,
            bind=bind,
            public_key=public_key,
            secret_key=secret_key,
            peers=book,
            times=times,
            limits=limits,
        )
        self.me = me
        self.public_key = public_key
        self.book = book

    def start(self, receiver: Receiver) -> None:
        super().start(receiver)
        self.book.addresses[self.me] = PeerAddress(self.endpoint, self.public_key)


class ZmqNetwork:
    """Makes transports, restarts them with the same key, runs the loop, closes everything."""

    def __init__(self) -> None:
        self.book = Book()
        self.keys: dict[PeerName, tuple[bytes, bytes]] = {}
        self._made: list[ZmqTransport] = []

    def __enter__(self) -> "ZmqNetwork":
        return self

    def __exit__(self, *_: object) -> None:
        for transport in self._made:
            transport.close()

    def transport(
        self,
        me: PeerName,
        *,
        bind: str = "tcp://127.0.0.1:0",
        book: Book | None = None,
        times: LinkTimes = DEFAULT_TIMES,
        limits: PeerLimits = DEFAULT_PEER_LIMITS,
    ) -> ListedTransport:
        keys = self.keys.setdefault(me, curve_keypair())
        book = book or self.book
        book.owners[keys[0]] = me
        transport = ListedTransport(me, keys, book, bind, times, limits)
        self._made.append(transport)
        return transport

    def started(
        self,
        me: PeerName,
        *,
        bind: str = "tcp://127.0.0.1:0",
        book: Book | None = None,
        times: LinkTimes = DEFAULT_TIMES,
        limits: PeerLimits = DEFAULT_PEER_LIMITS,
    ) -> tuple[ListedTransport, RecordingReceiver]:
        transport, seen = (
            self.transport(me, bind=bind, book=book, times=times, limits=limits),
            RecordingReceiver(),
        )
        transport.start(seen)
        return transport, seen

    def run_until(self, is_done: Callable[[], bool]) -> None:
        ends_at = time.monotonic() + SECONDS_MAX
        while not is_done():
            assert time.monotonic() < ends_at, "it did not happen"
            gevent.sleep(0.001)
