"""What one native thread wakes another with: a pipe, written without the GIL.

A lock, a `SimpleQueue` or an async watcher of libev wakes its reader while the one who wakes it
still holds the interpreter lock. The reader gets up, finds that taken, and lies down again until it
is free: two switches more for each message, and there are two messages in every commit of a lone
flow. `os.write` lets go of the lock first, so the reader runs at once.
"""

import os
from collections import deque
from typing import Final, Generic, TypeVar

T = TypeVar("T")

READABLE: Final = 1  # of libev; gevent's own name for it is private

_RINGS_READ_MAX: Final = 4_096


class Bell:
    """Rings are remembered, not counted. Any thread may ring; one waits, or watches ``fd``."""

    def __init__(self, *, is_waited_for: bool) -> None:
        """Make a bell: to `wait` for, or to be watched by an event loop and then silenced."""
        self.fd, self._ringing = os.pipe()
        os.set_blocking(self._ringing, False)
        os.set_blocking(self.fd, is_waited_for)

    def ring(self) -> None:
        """Wake the other thread; never blocks."""
        try:
            os.write(self._ringing, b"!")
        except BlockingIOError:
            return  # The pipe is full of rings that nobody has heard yet.

    def wait(self) -> None:
        """Block the thread until there was a ring since the last wait."""
        os.read(self.fd, _RINGS_READ_MAX)

    def silence(self) -> None:
        """Forget all rings so far."""
        try:
            os.read(self.fd, _RINGS_READ_MAX)
        except BlockingIOError:
            return  # There were none.

    def close(self) -> None:
        """Let go of the pipe; nobody may ring any more."""
        os.close(self.fd)
        os.close(self._ringing)


class Mailbox(Generic[T]):
    """A queue between threads with one reader, who is only woken if it sleeps."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._bell = Bell(is_waited_for=True)
        self._is_reader_asleep = False

    def __bool__(self) -> bool:
        return bool(self._items)

    def put(self, item: T) -> None:
        """Add ``item`` behind the others; never blocks."""
        self._items.append(item)
        if self._is_reader_asleep:
            self._is_reader_asleep = False
            self._bell.ring()

    def get(self) -> T:
        """Remove and return the oldest item; blocks the thread until there is one."""
        items = self._items
        while not items:
            # First say so, then look once more: whoever puts does it the other way round.
            self._is_reader_asleep = True
            if not items:
                self._bell.wait()
        return items.popleft()

    def close(self) -> None:
        """Let go of the pipe, once neither side comes any more."""
        self._bell.close()
