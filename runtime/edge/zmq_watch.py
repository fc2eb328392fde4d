"""ZeroMQ sockets on gevent's loop, without greenlets, threads or polling.

A ZeroMQ socket has a file descriptor that becomes readable when the socket has *something* to tell,
not when it has a message: it is edge-triggered. So whoever is woken must take messages until there
are none, and a socket that was not emptied would stay silent. `SocketWatch` carries this rule. It
works in slices, so that a flood leaves time to the other greenlets of the process. The next slice
comes from a timer of zero seconds and not from ``run_callback``: the loop runs up to fifty
callbacks before it looks at the clock, which would be a quarter of a second of deafness.
"""

import itertools
import time
from collections.abc import Callable
from typing import Final, cast

import zmq
from gevent.hub import get_hub
from zmq.utils.monitor import parse_monitor_message

from runtime.limits import TURN_MS_MAX

READABLE: Final = 1  # of libev; gevent's own name for it is private

# A name is not free again at the moment its socket is closed.
_numbers: Final = itertools.count()

_SLICE_S: Final = TURN_MS_MAX / 1000


class SocketWatch:
    """Call ``take`` from the hub, again and again, while a socket may have something to read.

    ``take`` reads one message without waiting, and returns False when there is none (left), as the
    socket says when it is asked for a message or for its EVENTS. If it raises, the loop reports it,
    and the watch goes on. Belongs to the thread that made it.
    """

    def __init__(self, socket: zmq.Socket[bytes], take: Callable[[], bool]) -> None:
        loop = get_hub().loop
        self._take = take
        self._is_open = True
        self._is_paused = False
        self._readable = loop.io(socket.FD, READABLE)
        self._again = loop.timer(0.0)
        # The edge of what came before the watch is lost, so look once.
        self._again.start(self._resume)

    def close(self) -> None:
        """Stop watching; must happen before the socket is closed."""
        self._is_open = False
        for watcher in (self._readable, self._again):
            watcher.stop()
            watcher.close()

    def look(self) -> None:
        """Take what is there; to be called by whoever else has asked the socket for its EVENTS.

        The question uses up the edge.
        """
        if self._is_open and not self._is_paused:
            self._again.start(self._resume)

    def pause(self) -> None:
        """Take nothing until `resume`; may be called by ``take``."""
        self._is_paused = True
        self._readable.stop()
        self._again.stop()

    def resume(self) -> None:
        """Go on."""
        self._is_paused = False
        self.look()

    def _slice(self) -> None:
        ends_at = time.monotonic() + _SLICE_S
        is_empty = False
        try:
            while self._is_open and not self._is_paused:
                if not self._take():
                    is_empty = True
                    return
                if time.monotonic() >= ends_at:
                    return
        finally:
            if self._is_open and not is_empty and not self._is_paused:
                self._again.start(self._resume)

    def _resume(self) -> None:
        # Gevent stops the watcher of a descriptor when its callback has raised.
        self._readable.start(self._slice)
        self._slice()


class WritableWatch:
    """Call back once, from the hub, when a socket that was full may take a message again."""

    def __init__(self, socket: zmq.Socket[bytes], callback: Callable[[], None]) -> None:
        self._socket = socket
        self._callback = callback
        self._signalled = get_hub().loop.io(socket.FD, READABLE)
        self.is_waiting = False

    def wait(self) -> None:
        """Begin to wait."""
        self.is_waiting = True
        self._signalled.start(self._look)

    def stop(self) -> None:
        """Wait no longer."""
        self.is_waiting = False
        self._signalled.stop()

    def close(self) -> None:
        """Let go; must happen before the socket is closed."""
        self.stop()
        self._signalled.close()

    def _look(self) -> None:
        # Asking also makes the socket see to its mailbox, without which its descriptor stays lit.
        if cast(int, self._socket.EVENTS) & zmq.POLLOUT:
            self.stop()
            self._callback()


class EventWatch:
    """Call ``on_event`` from the hub for each of the wanted events of a socket's connections."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        events: int,
        on_event: Callable[[zmq.Event, int], None],
    ) -> None:
        """Begin; ``on_event`` takes an event and its value, mostly a file descriptor."""
        self._socket = socket
        self._on_event = on_event
        address = f"inproc://events-{next(_numbers)}"
        socket.monitor(address, events)
        self._reader = socket.context.socket(zmq.PAIR)
        # Unbounded: at a bound, ZeroMQ would stop its I/O thread until we read on.
        self._reader.rcvhwm = 0
        self._reader.connect(address)
        self._watch = SocketWatch(self._reader, self._take)

    def close(self) -> None:
        """Let go; must happen before the socket is closed."""
        self._watch.close()
        self._socket.disable_monitor()
        self._reader.close(linger=0)

    def _take(self) -> bool:
        try:
            parts = self._reader.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return False
        told = parse_monitor_message(parts)
        self._on_event(zmq.Event(told["event"]), int(told["value"]))
        return True


class Alarm:
    """At most one pending call."""

    def __init__(self) -> None:
        self._loop = get_hub().loop
        self._stop: Callable[[], None] | None = None

    def set(self, delay_ms: int, callback: Callable[[], None]) -> None:
        """Call back once after ``delay_ms``, instead of whatever was set before."""
        self.clear()
        timer = self._loop.timer(delay_ms / 1000)
        timer.start(callback)
        self._stop = timer.close

    def clear(self) -> None:
        """Make sure that nothing is called any more."""
        if self._stop is not None:
            self._stop()
            self._stop = None
