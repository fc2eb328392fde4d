"""A watch over the connections that others have made to us, for what ZeroMQ does not bound itself.

ZeroMQ bounds the size of a part and the number of messages that wait, but not the number of parts
of one message, which it collects before it shows us any. And a member or a user may connect as
often as it likes. So we look at what the kernel has received on a connection since the last frame
that came out of it: a peer of ours sends single parts, and a client of the RPC a few small ones, so
this is one message at most and what the kernel's buffer holds. Who has more under way is hung up
on, which makes ZeroMQ drop what it has collected.

Nothing polls: a connection on which nothing arrives is waited for like any socket, and looked at in
intervals only while something does. Where the kernel does not tell (it is no Linux), only the
number of connections is bounded.
"""

import _socket
import resource
import select
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, TypeVar

from gevent.hub import get_hub
from gevent.monkey import get_original

from runtime.edge.zmq_stats import TransportStats
from runtime.edge.zmq_watch import READABLE
from runtime.limits import PeerLimits
from runtime.seldom_log import SeldomLog

T = TypeVar("T")

LOOK_S: Final = 0.025

_TCP_INFO: Final = getattr(socket, "TCP_INFO", None)
# struct tcp_info of Linux, whose fields never move: tcpi_bytes_received, an u64.
_BYTES_RECEIVED_OFFSET: Final = 128
# Of the descriptors that the process may have; the store, users and known peers need the others.
# Without any left, ZeroMQ's thread tries to accept again and again, and nobody is let in.
_SHARE: Final = 4
_ONCE: Final = select.EPOLLIN | select.EPOLLONESHOT if sys.platform == "linux" else 0
_TCP_INFO_BYTES: Final = _BYTES_RECEIVED_OFFSET + 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A limit, as it is called in the configuration, and its value."""

    name: str
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBounds:
    """What one listening socket allows. An owner is a peer or a user."""

    per_owner: Bound
    silent: Bound
    unfinished_per_connection: Bound
    unfinished: Bound
    owned: Bound | None = None
    """Of all owners. Where there is one, the newest connection that is one too many is surplus;
    else the oldest of its owner is cut."""


class _Connection:
    __slots__ = ("fd", "has_delivered", "is_surplus", "mark", "owner", "received", "unfinished")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.owner: str | None = None
        self.is_surplus = False
        # What had been received when a frame came out for the last time.
        self.mark = 0
        self.received = 0
        self.unfinished = 0
        self.has_delivered = False


class Arrivals:
    """Tell once that something arrives on a descriptor that ZeroMQ may close at any time.

    Gevent's loop does not bear that; an epoll of its own forgets what is closed.
    """

    def __init__(self, on_arrival: Callable[[int], None]) -> None:
        self._on_arrival = on_arrival
        # Patching takes it out of `select`, since to wait for it would block all greenlets.
        self._epoll = get_original("select", "epoll")()
        self._readable = get_hub().loop.io(self._epoll.fileno(), READABLE)
        self._readable.start(self._take)

    def tell_next(self, fd: int) -> None:
        """Call back at the next arrival, and at once if something is there."""
        with suppress(OSError):
            try:
                self._epoll.modify(fd, _ONCE)
            except FileNotFoundError:
                self._epoll.register(fd, _ONCE)

    def close(self) -> None:
        """Let go."""
        self._readable.stop()
        self._readable.close()
        self._epoll.close()

    def _take(self) -> None:
        for fd, _ in self._epoll.poll(0):
            self._on_arrival(fd)


class Connections:
    """All connections of one listening socket, by file descriptor."""

    def __init__(
        self,
        *,
        bounds: ConnectionBounds,
        is_drained: Callable[[], bool],
        stats: TransportStats,
        log: SeldomLog,
    ) -> None:
        """Watch over none yet. ``is_drained`` tells that all frames that are complete were read."""
        self._bounds = bounds
        self._silent_max = min(bounds.silent.most, descriptors_share())
        self._owned_max = min(bounds.owned.most, descriptors_share()) if bounds.owned else 0
        self._owned = 0
        self._is_drained = is_drained
        self._stats = stats
        self._log = log
        self._all: dict[int, _Connection] = {}
        self._by_owner: dict[str, list[_Connection]] = {}
        self._silent: dict[int, _Connection] = {}
        self._active: dict[int, _Connection] = {}
        self._unfinished = 0
        self._arrivals = None if _TCP_INFO is None else Arrivals(self._begin)
        self._is_looking = False
        self._looks = get_hub().loop.timer(LOOK_S, LOOK_S)

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, fd: int) -> bool:
        return fd in self._all

    def opened(self, fd: int) -> None:
        """Learn that somebody has connected; who it is shows with its first frame."""
        self.closed(fd)
        self._all[fd] = self._silent[fd] = _Connection(fd)
        if self._arrivals is not None:
            self._arrivals.tell_next(fd)
        if len(self._silent) > self._silent_max:
            self._hang_up(next(iter(self._silent.values())), "many connections that say nothing")

    def closed(self, fd: int) -> None:
        """Learn that a connection has ended."""
        connection = self._all.pop(fd, None)
        if connection is None:
            return
        self._note_unfinished(connection, 0)
        self._silent.pop(fd, None)
        self._active.pop(fd, None)
        self._leave_owner(connection)

    def delivered(self, fd: int, owner: str) -> None:
        """Learn that a frame of ``owner`` has come out of a connection."""
        connection = self._all.get(fd)
        if connection is None:
            return  # that it was opened, or is closed, is about to be told
        connection.has_delivered = True
        self._note_unfinished(connection, 0)
        if connection.owner is None:
            connection.owner = owner
            self._silent.pop(fd, None)
            others = self._by_owner.setdefault(owner, [])
            others.append(connection)
            self._owned += 1
            if self._bounds.owned is not None:
                self._note_whether_surplus(connection, len(others))
            elif len(others) > self._bounds.per_owner.most:
                self._hang_up(others[0], "more connections than a peer needs")

    def is_surplus(self, fd: int) -> bool:
        """Tell whether a connection is one too many, and should be hung up on."""
        connection = self._all.get(fd)
        return connection is not None and connection.is_surplus

    def hang_up(self, fd: int, why: str) -> None:
        """End a connection."""
        connection = self._all.get(fd)
        if connection is not None:
            self._hang_up(connection, why)

    def _note_whether_surplus(self, connection: _Connection, count: int) -> None:
        # No owner gets more than what is left for all others.
        if count > self._bounds.per_owner.most or count > self._owned_max - self._owned:
            connection.is_surplus = True
            self._leave_owner(connection)

    def _leave_owner(self, connection: _Connection) -> None:
        """Count a connection no more among those of its owner."""
        if connection.owner is None:
            return
        others = self._by_owner.get(connection.owner, [])
        if connection in others:
            self._owned -= 1
            others.remove(connection)
            if not others:
                del self._by_owner[connection.owner]

    def usage(self) -> list[tuple[str, int, int]]:
        """Return each limit by name, with what is used of it, or what one owner uses at most."""
        bounds = self._bounds
        most = max(map(len, self._by_owner.values()), default=0)
        largest = max((each.unfinished for each in self._all.values()), default=0)
        per_owner, per_connection = bounds.per_owner, bounds.unfinished_per_connection
        return [
            (per_owner.name, per_owner.most, most),
            *([(bounds.owned.name, self._owned_max, self._owned)] if bounds.owned else []),
            (bounds.silent.name, self._silent_max, len(self._silent)),
            (per_connection.name, per_connection.most, largest),
            (bounds.unfinished.name, bounds.unfinished.most, self._unfinished),
        ]

    def close(self) -> None:
        """Let go of all; ZeroMQ closes them."""
        for fd in list(self._all):
            self.closed(fd)
        self._looks.stop()
        self._looks.close()
        if self._arrivals is not None:
            self._arrivals.close()

    def _begin(self, fd: int) -> None:
        """Look at a connection, now that something arrives."""
        connection = self._all.get(fd)
        if connection is None:
            return
        if connection.has_delivered:
            # While nobody looked: what arrives from now on is not of that frame.
            connection.has_delivered = False
            connection.mark = connection.received = _received(fd)
        self._active[fd] = connection
        if not self._is_looking:
            self._is_looking = True
            self._looks.start(self._look, update=True)

    def _look(self) -> None:
        """See what has arrived on the connections on which something does."""
        too_much = self._bounds.unfinished_per_connection.most
        is_drained = self._is_drained()
        for connection in list(self._active.values()):
            before, connection.received = connection.received, _received(connection.fd)
            if connection.has_delivered or not connection.received:
                connection.has_delivered = False
                connection.mark = connection.received
            self._note_unfinished(connection, connection.received - connection.mark)
            if connection.unfinished > too_much:
                if is_drained:
                    self._hang_up(connection, f"{connection.unfinished:,} bytes, and no frame yet")
            elif connection.received == before and self._arrivals is not None:
                del self._active[connection.fd]
                self._arrivals.tell_next(connection.fd)
        if is_drained:
            self._bound_sum()
        if not self._active:
            self._is_looking = False
            self._looks.stop()

    def _bound_sum(self) -> None:
        while self._unfinished > self._bounds.unfinished.most:
            largest = max(self._all.values(), key=attrgetter("unfinished"))
            self._hang_up(largest, "all together have sent too much that is no frame yet")

    def _note_unfinished(self, connection: _Connection, size: int) -> None:
        self._unfinished += size - connection.unfinished
        connection.unfinished = size

    def _hang_up(self, connection: _Connection, why: str) -> None:
        who = connection.owner or "somebody"
        self._stats.connections_cut += 1
        self._log.warn(who, f"a connection of {who} is cut: {why}")
        self._silent.pop(connection.fd, None)
        self._leave_owner(connection)
        # ZeroMQ closes it, and tells; until then it is of no more interest.
        connection.mark = connection.received
        self._note_unfinished(connection, 0)
        _ask(connection.fd, lambda borrowed: borrowed.shutdown(socket.SHUT_RDWR), None)


def bounds_of_peers(limits: PeerLimits) -> ConnectionBounds:
    """Return what the limits allow to the peers of a node."""
    return ConnectionBounds(
        per_owner=Bound(name="connections_per_peer_max", most=limits.connections_per_peer_max),
        silent=Bound(name="connections_silent_max", most=limits.connections_silent_max),
        unfinished_per_connection=Bound(
            name="unfinished_bytes_per_connection_max",
            most=limits.unfinished_bytes_per_connection_max,
        ),
        unfinished=Bound(name="unfinished_bytes_max", most=limits.unfinished_bytes_max),
    )


def descriptors_share() -> int:
    """Return how many connections of one kind there may be before descriptors become scarce."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if allowed == resource.RLIM_INFINITY else max(1, allowed // _SHARE)


def _received(fd: int) -> int:
    """Return how many bytes the kernel has received, 0 if it does not tell, or all is over."""
    assert _TCP_INFO is not None
    option = _TCP_INFO
    info = _ask(fd, lambda it: it.getsockopt(socket.IPPROTO_TCP, option, _TCP_INFO_BYTES), b"")
    if len(info) < _TCP_INFO_BYTES:
        return 0
    received: int = struct.unpack_from("<Q", info, _BYTES_RECEIVED_OFFSET)[0]
    return received


def _ask(fd: int, ask: Callable[[_socket.socket], T], otherwise: T) -> T:
    """Ask the socket behind a descriptor, which ZeroMQ may have closed already."""
    try:
        borrowed = _socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=fd)
    except OSError:
        return otherwise
    try:
        return ask(borrowed)
    except OSError:
        return otherwise
    finally:
        borrowed.detach()
