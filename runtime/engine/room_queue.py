"""Flows that wait because a peer has not acknowledged enough of what is kept for it.

They are woken in the order in which they came, a few at a time, as long as there is room: each one
that goes on may use it up again. As long as somebody waits who would find room, there is a look
ahead, so nobody is forgotten if one who was woken has no use for it any more.
"""

from collections.abc import Callable
from itertools import islice
from typing import Final

from runtime.ids import PeerName
from runtime.ports import Loop

# Of one peer, between two looks whether there is still room.
WOKEN_AT_ONCE: Final = 64


class RoomQueue:
    """Who waits for room, by peer."""

    def __init__(self, loop: Loop, has_room: Callable[[PeerName], bool]) -> None:
        self._loop = loop
        self._has_room = has_room
        # By peer and the waiters' own keys.
        self.waiting: dict[PeerName, dict[bytes, Callable[[], None]]] = {}
        self._is_look_ahead = False

    def __len__(self) -> int:
        return sum(map(len, self.waiting.values()))

    def join(self, peer: PeerName, key: bytes, wake: Callable[[], None]) -> None:
        """Call ``wake`` once when there is room for ``peer``, which there is not now."""
        self.waiting.setdefault(peer, {})[key] = wake

    def leave(self, peer: PeerName, key: bytes) -> None:
        """Wait no more. No effect for who was woken."""
        waiting = self.waiting.get(peer)
        if waiting is not None and waiting.pop(key, None) is not None and not waiting:
            del self.waiting[peer]

    def look_soon(self) -> None:
        """Learn that there is more room, maybe, for any peer: all share the room of the node."""
        if self.waiting and not self._is_look_ahead:
            self._is_look_ahead = True
            self._loop.call_soon(self._look)

    def close(self) -> None:
        """Wake nobody any more."""
        self.waiting.clear()

    def _look(self) -> None:
        self._is_look_ahead = False
        has_woken = False
        for peer in list(self.waiting):
            if not self._has_room(peer):
                continue
            waiting = self.waiting[peer]
            for key in list(islice(waiting, WOKEN_AT_ONCE)):
                waiting.pop(key)()
            has_woken = True
            if not waiting:
                del self.waiting[peer]
        if has_woken:
            self.look_soon()
