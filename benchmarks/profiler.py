"""A sampling profiler that understands greenlets: tells what CPU time is spent on.

A timer interrupts the main thread as the process's CPU time passes (at each tick of the kernel, 250
a second or more) and notes the Python functions that it is in. What a C function takes counts for
the Python function that called it, and what another thread takes for what the main thread is in
just then, often gevent's hub. Tools that follow calls and returns lose their way when greenlets
switch, and slow small functions down too much to count single steps.
"""

import signal
from collections import Counter
from types import CodeType, FrameType
from typing import Final, Self

from rich.console import Console
from rich.table import Table

INTERVAL_SECONDS: Final = 0.001
FUNCTIONS_SHOWN: Final = 40
MICRO: Final = 1_000_000


class Profiler:
    """Samples between `start` and `stop`; both, and what is measured, in the main thread."""

    def __init__(self) -> None:
        self.samples = 0
        self.own: Counter[CodeType] = Counter()
        """How often a function was the innermost."""
        self.within: Counter[CodeType] = Counter()
        """How often it was anywhere on the stack."""

    def start(self) -> None:
        """Begin."""
        signal.signal(signal.SIGPROF, self._note)
        # A system call that LMDB or ZeroMQ makes is not to fail because of us.
        signal.siginterrupt(signal.SIGPROF, False)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)

    def stop(self) -> None:
        """End; no effect if it does not run."""
        signal.setitimer(signal.ITIMER_PROF, 0)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _note(self, _: int, frame: FrameType | None) -> None:
        self.samples += 1
        if frame is not None:
            self.own[frame.f_code] += 1
        seen: set[CodeType] = set()
        while frame is not None:
            seen.add(frame.f_code)
            frame = frame.f_back
        self.within.update(seen)

    def rows(self, seconds: float, count: int) -> list[tuple[str, float, float]]:
        """Return function, own and total microseconds for each of ``count`` units of work.

        ``seconds`` is the CPU time that the process took in all.
        """
        scale = seconds / max(self.samples, 1) / count * MICRO
        ranked = sorted(self.within, key=lambda code: (-self.own[code], -self.within[code]))
        return [
            (_place(code), self.own[code] * scale, self.within[code] * scale)
            for code in ranked[:FUNCTIONS_SHOWN]
        ]


def show_profile(
    title: str, rows: list[tuple[str, float, float]], console: Console | None = None
) -> None:
    """Print the costliest functions."""
    table = Table(title=title)
    table.add_column("function", overflow="fold")
    table.add_column("own CPU µs", justify="right")
    table.add_column("total CPU µs", justify="right")
    for place, own, total in rows:
        table.add_row(place, f"{own:.2f}", f"{total:.2f}")
    (console or Console(soft_wrap=True)).print(table)


def _place(code: CodeType) -> str:
    path = code.co_filename
    for package in ("site-packages/", "lib/python3", "runtime/", "benchmarks/"):
        at = path.rfind(package)
        if at >= 0:
            path = path[at:].removeprefix("site-packages/")
            break
    return f"{path}:{code.co_firstlineno} {code.co_qualname}"
