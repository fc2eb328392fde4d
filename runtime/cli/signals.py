"""The signals that end a node's process: the first in good order, the second whatever happens.

The loop may be blocked when a signal comes. So it is not the loop that hears of it but a thread of
its own, by the pipe that Python's own handler writes to. Code in C may even keep the interpreter
from running at all: then the kernel, which forgets our handler as it calls it, ends the process at
the second signal. Both lose nothing, as `kill -9` does not.
"""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final

from gevent import get_hub
from gevent.monkey import get_original

STOPPING_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_start_thread: Final = get_original("_thread", "start_new_thread")
_SA_RESETHAND: Final = 0x80000000
_SIGNALS_BYTES: Final = 128
_END: Final = 0


class StopSignals:
    """Calls ``ask_to_stop`` from the loop at the first signal, ends the process at the second.

    A signal that comes before `is_started` is set ends the process, too: nothing is running yet. A
    signal that is ignored, as SIGHUP is by ``nohup``, stays so. Only the main thread may make it.
    """

    def __init__(self, ask_to_stop: Callable[[], None]) -> None:
        self.is_started = False
        self._ask_to_stop = ask_to_stop
        self._loop = get_hub().loop
        self._is_stopping = False
        self._bell, self._rope = os.pipe()
        os.set_blocking(self._rope, False)
        self._wakeup_before = signal.set_wakeup_fd(self._rope, warn_on_full_buffer=False)
        self._before = {
            number: signal.signal(number, self._handled)
            for number in STOPPING_SIGNALS
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        for number in self._before:
            _let_go_at_call(number)
        _start_thread(self._listen, ())

    def close(self) -> None:
        """Leave the signals to Python again."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.write(self._rope, bytes([_END]))

    def _handled(self, number: int, frame: FrameType | None) -> None:
        # The interpreter runs, so the second signal is ours again.
        signal.signal(number, self._handled)

    def _listen(self) -> None:
        while True:
            for number in os.read(self._bell, 1):
                if number == _END:
                    os.close(self._bell)
                    os.close(self._rope)
                    return
                if number in self._before:
                    self._arrived(number)

    def _arrived(self, number: int) -> None:
        if self._is_stopping or not self.is_started:
            os._exit(128 + number)
        self._is_stopping = True
        # Not by a stream, whose lock the blocked thread may have.
        with contextlib.suppress(OSError):
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, _STOPPING)
        self._loop.run_callback_threadsafe(self._ask_to_stop)


_STOPPING: Final = b"stopping; once more stops at once\n"


class _Action(ctypes.Structure):
    """`struct sigaction` of glibc and musl on Linux."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_byte * _SIGNALS_BYTES),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


def _let_go_at_call(number: int) -> None:
    """Have the kernel forget the handler of a signal when it calls it; no effect but on Linux."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    action = _Action()
    if libc.sigaction(number, None, ctypes.byref(action)) == 0:
        action.flags |= ctypes.c_int(_SA_RESETHAND).value
        libc.sigaction(number, ctypes.byref(action), None)
