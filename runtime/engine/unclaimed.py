"""Open messages for flows that are not installed: what we know of them, while their senders wait.

They stay with their senders, unacknowledged, who send them again and again. Here is only their
head, so that an operator sees who waits for what; it is in memory, bounded for each peer and in
sum. What finds no room is not noted, and is served all the same once the app is installed.
"""

from typing import Final

import msgspec

from runtime.core.envelopes import Open
from runtime.core.quota import Quotas
from runtime.ids import PeerName, SessionId
from runtime.limits import RESEND_MS_MAX
from runtime.ports import Clock

# An opener that is there sends again after `RESEND_MS_MAX` at the latest.
UNCLAIMED_MS: Final = 10 * RESEND_MS_MAX


class Unclaimed(msgspec.Struct):
    """The head of an open message."""

    flow: str
    version: int
    since_ms: int
    seen_ms: int


class UnclaimedOpens:
    """All of a node."""

    def __init__(self, clock: Clock, quotas: Quotas) -> None:
        self._clock = clock
        self._quotas = quotas
        self._entries: dict[tuple[PeerName, SessionId], Unclaimed] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def note(self, peer: PeerName, opened: Open) -> bool:
        """Note an open message, or that it came again; True if it is new and was noted."""
        now = self._clock.now_ms()
        known = self._entries.get((peer, opened.sid))
        if known is not None:
            known.seen_ms = now
            return False
        share = self._quotas.of(peer).unclaimed
        if not share.has_room(1):
            return False
        share.add(1)
        self._entries[peer, opened.sid] = Unclaimed(opened.flow, opened.version, now, now)
        return True

    def forget(self, peer: PeerName, sid: SessionId) -> None:
        """Forget one, since it is answered."""
        if self._entries.pop((peer, sid), None) is not None:
            self._quotas.of(peer).unclaimed.add(-1)

    def forget_silent(self) -> None:
        """Forget those that nobody sends again any more: their openers have gone."""
        heard_after = self._clock.now_ms() - UNCLAIMED_MS
        for (peer, sid), entry in list(self._entries.items()):
            if entry.seen_ms < heard_after:
                self.forget(peer, sid)

    def items(self) -> list[tuple[PeerName, SessionId, Unclaimed]]:
        """Return all, the oldest first."""
        return [(peer, sid, entry) for (peer, sid), entry in self._entries.items()]
