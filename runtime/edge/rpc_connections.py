"""Connections that users have made to the RPC: how many there are, and what is under way on them.

What ZeroMQ leaves open, `runtime.edge.zmq_connections` bounds, as it does for peers. But a user's
connections are those of programs that know nothing of each other. So not the oldest goes if there
are too many: the newest one is told so, and then hung up on.
"""

from collections.abc import Callable
from typing import Final

import zmq

from runtime.edge.rpc_socket import RpcSocket
from runtime.edge.zmq_connections import Bound, ConnectionBounds, Connections
from runtime.edge.zmq_stats import TransportStats
from runtime.edge.zmq_watch import Alarm, EventWatch
from runtime.ids import UserName
from runtime.limits import RpcLimits
from runtime.rpc_messages import NodeBusy
from runtime.seldom_log import SeldomLog

# The answer that says why leaves within this time.
LAST_WORD_MS: Final = 200
# Who is told why at the same time; more are hung up on without a word.
TOLD_MAX: Final = 64

_EVENTS: Final = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED


class UserConnections:
    """All of them, from when the socket is bound."""

    def __init__(
        self,
        socket: RpcSocket,
        limits: RpcLimits,
        *,
        stats: TransportStats,
        log: SeldomLog,
        on_gone: Callable[[bytes], None],
    ) -> None:
        """Watch over none yet. ``on_gone`` is called with a client whose connection has ended."""
        self._limits = limits
        self._on_gone = on_gone
        # Of a connection and the ROUTER's name for it, each way.
        self._client_of: dict[int, bytes] = {}
        self._fd_of: dict[bytes, int] = {}
        self._all = Connections(
            bounds=_bounds(limits), is_drained=socket.is_drained, stats=stats, log=log
        )
        self._told: dict[int, None] = {}
        self._alarm = Alarm()
        self._events = EventWatch(socket.raw, _EVENTS, self._note)

    def admit(self, frame: zmq.Frame, client: bytes, user: UserName) -> bool:
        """Take note of a request of a client; False for a connection that is being hung up on.

        Raises `NodeBusy`, once, for one that is one too many.
        """
        fd: int = frame.get(zmq.SRCFD)
        self._all.delivered(fd, user)
        if self._client_of.get(fd) != client and fd in self._all:
            self._forget(fd)
            self._forget(self._fd_of.get(client, -1))
            self._client_of[fd], self._fd_of[client] = client, fd
        if not self._all.is_surplus(fd):
            return True
        if fd in self._told:
            return False
        if len(self._told) >= TOLD_MAX:
            self._all.hang_up(fd, _WHY)
            return False
        if not self._told:
            self._alarm.set(LAST_WORD_MS, self._hang_up_on_told)
        self._told[fd] = None
        most = self._limits.rpc_connections_per_user_max
        raise NodeBusy(
            f"user {user!r} has as many connections as there is room for ({most:,} at most); "
            "close some, or share one between the greenlets of a process"
        )

    def drop(self, client: bytes) -> None:
        """Hang up on a client that does not read; what waits for it is forgotten."""
        fd = self._fd_of.get(client)
        if fd is not None:
            self._all.hang_up(fd, "it does not read its answers")

    def usage(self) -> list[tuple[str, int, int]]:
        """Return each limit by name, with what is used of it, or what one user uses at most."""
        return self._all.usage()

    def close(self) -> None:
        """Let go; must happen before the socket is closed."""
        self._alarm.clear()
        self._events.close()
        self._all.close()

    def _hang_up_on_told(self) -> None:
        told, self._told = self._told, {}
        for fd in told:
            # The descriptor may be another's by now.
            if self._all.is_surplus(fd):
                self._all.hang_up(fd, _WHY)

    def _note(self, event: zmq.Event, fd: int) -> None:
        self._told.pop(fd, None)
        if event == zmq.Event.ACCEPTED:
            self._all.opened(fd)
        else:
            self._all.closed(fd)
            client = self._forget(fd)
            if client is not None:
                self._on_gone(client)

    def _forget(self, fd: int) -> bytes | None:
        client = self._client_of.pop(fd, None)
        if client is not None:
            del self._fd_of[client]
        return client


_WHY: Final = "more connections than a user may have"


def _bounds(limits: RpcLimits) -> ConnectionBounds:
    request = 2 * limits.rpc_request_bytes_max
    return ConnectionBounds(
        per_owner=Bound(
            name="rpc_connections_per_user_max", most=limits.rpc_connections_per_user_max
        ),
        owned=Bound(name="rpc_connections_max", most=limits.rpc_connections_max),
        silent=Bound(name="rpc_connections_silent_max", most=limits.rpc_connections_silent_max),
        unfinished_per_connection=Bound(name="rpc_unfinished_bytes_per_connection", most=request),
        unfinished=Bound(name="rpc_unfinished_bytes_max", most=limits.rpc_unfinished_bytes_max),
    )
