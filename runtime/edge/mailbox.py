"""A queue to another native thread that wakes its reader by a pipe, written without the GIL.

A lock, or a `SimpleQueue`, wakes its reader while the one who wakes it still holds the interpreter
lock. The reader gets up, finds that taken, and lies down again until it is free. `os.write` lets go
of the lock first, so the reader runs at once. The price is that the one who writes has to get the
lock back, which beside a busy thread takes up to the switch interval: nothing for a hub that has
done its work, much for a thread that works beside a hub.
"""

import os
from collections import deque
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_RINGS_READ_MAX: Final = 4_096


class Mailbox(Generic[T]):
    """A queue between threads with one reader, who is only woken if it sleeps."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._is_reader_asleep = False
        self._bell, self._rope = os.pipe()
        os.set_blocking(self._rope, False)

    def __bool__(self) -> bool:
        return bool(self._items)

    def put(self, item: T) -> None:
        """Add ``item`` behind the others; never blocks."""
        self._items.append(item)
        if self._is_reader_asleep:
            self._is_reader_asleep = False
            try:
                os.write(self._rope, b"!")
            except BlockingIOError:
                return  # The pipe is full of rings that were not needed; one of them will do.

    def get(self) -> T:
        """Remove and return the oldest item; blocks the thread until there is one."""
        items = self._items
        while not items:
            # First say so, then look once more: whoever puts does it the other way round.
            self._is_reader_asleep = True
            if not items:
                os.read(self._bell, _RINGS_READ_MAX)
        return items.popleft()

    def close(self) -> None:
        """Let go of the pipe, once neither side comes any more."""
        os.close(self._bell)
        os.close(self._rope)
