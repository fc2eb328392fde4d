"""How much a node keeps for its peers: a bound for each peer, one for all, and fair shares. No I/O.

A peer may use a budget up to its own bound, and never more than what is left for all others. So one
greedy peer gets at most a half, two get a third each, and there is always as much left for those
that come later. A share never waits and never fails: who asks whether there is room, and finds
none, leaves the thing with the peer, which sends it again. For what this node has to say itself,
the flow that would say it waits; and whoever has nothing under way may always say something.
"""

from typing import Final

from runtime.ids import PeerName
from runtime.limits import KEPT_OVERHEAD_BYTES, PeerLimits


def kept_bytes(encoded: bytes) -> int:
    """Return what a message counts for, with the objects around it."""
    return len(encoded) + KEPT_OVERHEAD_BYTES


class Budget:
    """What all peers together may use, and what they use."""

    __slots__ = ("limit", "per_peer", "used")

    def __init__(self, *, limit: int, per_peer: int) -> None:
        self.limit = limit
        self.per_peer = per_peer
        self.used = 0


class Share:
    """One peer's part of a budget."""

    __slots__ = ("budget", "used")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.used = 0

    def has_room(self, amount: int) -> bool:
        """Tell whether the peer may use so much more."""
        budget = self.budget
        wanted = self.used + amount
        return wanted <= budget.per_peer and wanted <= budget.limit - budget.used - amount

    @property
    def is_passed(self) -> bool:
        """Tell whether the peer uses more than its share; who uses nothing never does."""
        # What `has_room` says of nothing more, in one call: each message asks.
        budget, used = self.budget, self.used
        return used > 0 and (used > budget.per_peer or used > budget.limit - budget.used)

    def add(self, amount: int) -> None:
        """Use so much more, or less."""
        self.used += amount
        self.budget.used += amount


class PeerAccount:
    """What a node keeps for one peer."""

    __slots__ = (
        "received",
        "sessions",
        "tombstones",
        "unacknowledged",
        "unclaimed",
        "unread",
        "unread_per_session",
    )

    def __init__(self, quotas: "Quotas") -> None:
        self.sessions = Share(quotas.sessions)
        self.unread = Share(quotas.unread)
        self.received = Share(quotas.received)
        self.unclaimed = Share(quotas.unclaimed)
        self.tombstones = Share(quotas.tombstones)
        self.unacknowledged = Share(quotas.unacknowledged)
        self.unread_per_session = quotas.limits.unread_bytes_per_session_max


class Quotas:
    """The budgets of one node, and the accounts of its peers."""

    def __init__(self, limits: PeerLimits) -> None:
        self.limits = limits
        self.sessions = Budget(
            limit=limits.sessions_of_peers_max, per_peer=limits.sessions_per_peer_max
        )
        self.unread = Budget(
            limit=limits.unread_bytes_max, per_peer=limits.unread_bytes_per_peer_max
        )
        self.received = Budget(
            limit=limits.received_bytes_max, per_peer=limits.received_bytes_per_peer_max
        )
        self.unclaimed = Budget(limit=limits.unclaimed_max, per_peer=limits.unclaimed_per_peer_max)
        self.tombstones = Budget(
            limit=limits.tombstones_max, per_peer=limits.tombstones_per_peer_max
        )
        self.unacknowledged = Budget(
            limit=limits.unacknowledged_bytes_max,
            per_peer=limits.unacknowledged_bytes_per_peer_max,
        )
        self._accounts: dict[PeerName, PeerAccount] = {}

    def of(self, peer: PeerName) -> PeerAccount:
        """Return the account of a peer."""
        account = self._accounts.get(peer)
        if account is None:
            account = self._accounts[peer] = PeerAccount(self)
        return account

    def usage(self) -> list[tuple[str, int, int]]:
        """Return each limit by name, with what is used of it, or what one peer uses at most."""
        rows: list[tuple[str, int, int]] = []
        for per_peer, of_all, kind in _BUDGETS:
            budget: Budget = getattr(self, kind)
            shares: list[Share] = [getattr(each, kind) for each in self._accounts.values()]
            most = max((share.used for share in shares), default=0)
            rows += [(per_peer, budget.per_peer, most), (of_all, budget.limit, budget.used)]
        return rows


_BUDGETS: Final = (
    ("sessions_per_peer_max", "sessions_of_peers_max", "sessions"),
    ("unread_bytes_per_peer_max", "unread_bytes_max", "unread"),
    ("received_bytes_per_peer_max", "received_bytes_max", "received"),
    ("unacknowledged_bytes_per_peer_max", "unacknowledged_bytes_max", "unacknowledged"),
    ("unclaimed_per_peer_max", "unclaimed_max", "unclaimed"),
    ("tombstones_per_peer_max", "tombstones_max", "tombstones"),
)
