"""Requests that may wait: a greenlet each, bounded for all users, for each, and with a reserve.

Who waits for results or starts flows, in whatever number, leaves room for the other users and for
those who intervene.
"""

from collections import Counter
from collections.abc import Callable

import gevent.pool

from runtime.ids import UserName
from runtime.limits import RpcLimits
from runtime.rpc_messages import NodeBusy


class WaitingRequests:
    """All requests under way."""

    def __init__(self, limits: RpcLimits) -> None:
        self._limits = limits
        self._pool = gevent.pool.Pool()
        # By user, those that intervene apart: they have room of their own.
        self._of: Counter[tuple[UserName, bool]] = Counter()
        self._ordinary = 0

    def begin(self, user: UserName, work: Callable[[], None], *, is_intervention: bool) -> None:
        """Do ``work`` in a greenlet of its own; raises `NodeBusy` if there is no room."""
        limits = self._limits
        most = limits.rpc_requests_per_user_max
        if self._of[user, is_intervention] >= most:
            raise NodeBusy(f"user {user!r} has {most:,} requests under way; wait for some of them")
        room = limits.rpc_requests_max
        if not is_intervention and self._ordinary >= room:
            raise NodeBusy(f"the node has {room:,} requests under way; try again in a moment")
        self._note(user, is_intervention, 1)

        def run() -> None:
            try:
                work()
            finally:
                self._note(user, is_intervention, -1)

        self._pool.spawn(run)

    def _note(self, user: UserName, is_intervention: bool, change: int) -> None:
        self._ordinary += 0 if is_intervention else change
        self._of[user, is_intervention] += change
        if not self._of[user, is_intervention]:
            del self._of[user, is_intervention]

    def usage(self) -> list[tuple[str, int, int]]:
        """Return each limit by name, with what is used of it, or what one user uses at most."""
        limits = self._limits
        most = max(self._of.values(), default=0)
        return [
            ("rpc_requests_per_user_max", limits.rpc_requests_per_user_max, most),
            ("rpc_requests_max", limits.rpc_requests_max, self._ordinary),
        ]

    def kill(self) -> None:
        """End all of them; they get no answer."""
        self._pool.kill()
