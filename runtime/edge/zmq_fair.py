"""Whose envelopes are handled next: peers take turns, however much one of them sends.

A frame of few envelopes, from a peer of which nothing waits, is handled at once. Of more, a portion
is handled in each round, one for each peer; between two rounds the loop looks at everything else.
While frames wait, no more than a few are read from the socket, so that those who send too much
are slowed down by ZeroMQ and TCP, and nothing is lost.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from gevent.hub import get_hub

from runtime.ids import PeerName
from runtime.limits import TURN_MS_MAX

# An envelope takes 10 to 100 µs. Larger portions did not make a busy link faster.
PORTION_ENVELOPES_MAX: Final = 256

# Then no more is read before some are done.
WAITING_FRAMES_MAX: Final = 4

_ROUND_S: Final = TURN_MS_MAX / 1000


class _Frame:
    __slots__ = ("connection", "envelopes")

    def __init__(self, connection: bytes, envelopes: list[bytes]) -> None:
        self.connection = connection
        self.envelopes = envelopes


class FairQueue:
    """Frames that wait to be handled, by peer."""

    def __init__(
        self,
        *,
        handle: Callable[[PeerName, bytes, list[bytes]], None],
        on_full: Callable[[], None],
        on_room: Callable[[], None],
    ) -> None:
        """Make an empty queue.

        ``handle`` takes peer, connection and envelopes. ``on_full`` is called when no more frames
        should be put, ``on_room`` when they may be again.
        """
        self._handle = handle
        self._on_full = on_full
        self._on_room = on_room
        self._waiting: dict[PeerName, deque[_Frame]] = {}
        self._count = 0
        self._is_full = False
        self._is_due = False
        self._again = get_hub().loop.timer(0.0)

    def __len__(self) -> int:
        return self._count

    def put(self, peer: PeerName, connection: bytes, envelopes: list[bytes]) -> None:
        """Handle a frame, or a first part of it, now or in its turn."""
        queue = self._waiting.get(peer)
        if queue is None:
            if len(envelopes) <= PORTION_ENVELOPES_MAX:
                self._handle(peer, connection, envelopes)
                return
            queue = self._waiting[peer] = deque()
        queue.append(_Frame(connection, envelopes))
        self._count += 1
        if self._count >= WAITING_FRAMES_MAX and not self._is_full:
            self._is_full = True
            self._on_full()
        if not self._is_due:
            self._is_due = True
            self._again.start(self._round)

    def close(self) -> None:
        """Forget what waits; it is sent again."""
        self._waiting.clear()
        self._count = 0
        self._again.stop()
        self._again.close()

    def _round(self) -> None:
        """Handle a portion of each peer in turn, for some milliseconds."""
        ends_at = time.monotonic() + _ROUND_S
        self._is_due = False
        try:
            while self._waiting:
                self._handle_portion(next(iter(self._waiting)))
                if time.monotonic() >= ends_at:
                    break
        finally:
            # Whoever has raised has had its turn, too; and handling may have closed us.
            if self._waiting:
                self._is_due = True
                self._again.start(self._round)
            if self._is_full and self._count < WAITING_FRAMES_MAX:
                self._is_full = False
                self._on_room()

    def _handle_portion(self, peer: PeerName) -> None:
        # It goes to the end of the queue: dictionaries keep the order.
        queue = self._waiting.pop(peer)
        frame = queue[0]
        portion = frame.envelopes[:PORTION_ENVELOPES_MAX]
        frame.envelopes = frame.envelopes[PORTION_ENVELOPES_MAX:]
        if not frame.envelopes:
            queue.popleft()
            self._count -= 1
        if queue:
            self._waiting[peer] = queue
        self._handle(peer, frame.connection, portion)
