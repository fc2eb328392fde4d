"""Answers that clients have not read yet, in bytes: bounded for each user and for all.

ZeroMQ takes an answer without telling whether anybody reads it, and counts messages, not bytes. So
each answer has a receipt, random bytes that only who has read the answer can send back. That frees
the answer and those before it, which arrive in order. What is large waits, or is refused, while
much of the user's is unread; small answers are sent all the same, until as much again is unread.
"""

import secrets
import time
from typing import Final

import gevent.event

from runtime.core.quota import Budget, Share
from runtime.ids import UserName
from runtime.limits import RpcLimits
from runtime.rpc_messages import RECEIPT_BYTES

# Frames and their objects.
OVERHEAD_BYTES: Final = 512


class _Client:
    """What one connection has not read, by receipt, in order."""

    __slots__ = ("extra", "share", "sizes")

    def __init__(self, share: Share) -> None:
        self.share = share
        # What it was sent since its user had no more room.
        self.extra = 0
        self.sizes: dict[bytes, int] = {}


class UnreadAnswers:
    """All of them."""

    def __init__(self, limits: RpcLimits) -> None:
        self._budget = Budget(
            limit=limits.rpc_unread_bytes_max, per_peer=limits.rpc_unread_bytes_per_user_max
        )
        self._shares: dict[UserName, Share] = {}
        self._clients: dict[bytes, _Client] = {}
        self._has_changed = gevent.event.Event()

    def has_room(self, user: UserName) -> bool:
        """Tell whether a large answer may be sent to one of the user's clients."""
        share = self._shares.get(user)
        return share is None or not share.is_passed

    def is_hopeless(self, user: UserName) -> bool:
        """Tell whether so much is unread that nothing more should be sent."""
        if self.has_room(user):
            return False
        share = self._shares[user]
        extra = sum(each.extra for each in self._clients.values() if each.share is share)
        return extra > self._budget.per_peer

    def laziest(self, user: UserName) -> bytes:
        """Return the client of a user, who has some, that has read least of what it was sent."""
        share = self._shares[user]
        mine = {it: each for it, each in self._clients.items() if each.share is share}
        return max(mine, key=lambda it: sum(mine[it].sizes.values()))

    def wait_for_room(self, user: UserName, seconds: float) -> bool:
        """Wait for room; only the calling greenlet waits. False when the time is over."""
        ends_at = time.monotonic() + seconds
        while not self.has_room(user):
            left = ends_at - time.monotonic()
            if left <= 0:
                return False
            self._has_changed.wait(left)
        return True

    @staticmethod
    def new_receipt() -> bytes:
        """Return what the client of an answer shall send back."""
        return secrets.token_bytes(RECEIPT_BYTES)

    def sent(self, client: bytes, user: UserName, receipt: bytes, size: int) -> None:
        """Count an answer that ZeroMQ has taken."""
        known = self._clients.get(client)
        if known is None:
            share = self._shares.setdefault(user, Share(self._budget))
            known = self._clients[client] = _Client(share)
        cost = size + OVERHEAD_BYTES
        known.extra = 0 if self.has_room(user) else known.extra + cost
        known.sizes[receipt] = cost
        known.share.add(cost)

    def read(self, client: bytes, receipt: bytes) -> None:
        """Learn that a client has read an answer and all before it; no effect if it has not."""
        known = self._clients.get(client)
        if known is None or receipt not in known.sizes:
            return
        sizes = known.sizes
        for each in list(sizes):
            known.share.add(-sizes.pop(each))
            if each == receipt:
                break
        if not sizes:
            del self._clients[client]
        self._wake()

    def gone(self, client: bytes) -> None:
        """Forget a client whose connection is no more, and with it what waited there."""
        known = self._clients.pop(client, None)
        if known is not None:
            known.share.add(-sum(known.sizes.values()))
            self._wake()

    def clients(self) -> list[bytes]:
        """Return the clients that have something unread."""
        return list(self._clients)

    def usage(self) -> list[tuple[str, int, int]]:
        """Return each limit by name, with what is used of it, or what one user uses at most."""
        budget = self._budget
        most = max((share.used for share in self._shares.values()), default=0)
        return [
            ("rpc_unread_bytes_per_user_max", budget.per_peer, most),
            ("rpc_unread_bytes_max", budget.limit, budget.used),
        ]

    def _wake(self) -> None:
        # A new one for who waits next: those that wait now must not miss it.
        changed, self._has_changed = self._has_changed, gevent.event.Event()
        changed.set()
