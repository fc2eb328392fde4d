"""A throttle for log lines that peers, strangers and faulty devices can cause.

Nobody outside may decide how fast a log grows. So each line has a subject, mostly the name of a
peer: of each subject a few lines are logged at once and then no more for a while; the next one
tells how many were left out. The subjects that are remembered are bounded too.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

# How long a subject that has had its lines keeps quiet.
QUIET_S: Final = 10.0
SUBJECTS_MAX: Final = 1_000
LINE_CHARACTERS_MAX: Final = 2_048


class _Subject:
    __slots__ = ("left", "since", "unsaid")

    def __init__(self, since: float, left: int) -> None:
        self.since = since
        self.left = left
        self.unsaid = 0


class SeldomLog:
    """Log at most ``burst`` lines of each subject in `QUIET_S` seconds."""

    def __init__(
        self,
        log: logging.Logger,
        *,
        burst: int = 1,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Throttle lines to ``log``; ``now`` tells seconds, and never goes back."""
        self._log = log
        self._burst = burst
        self._now = now
        self._subjects: dict[str, _Subject] = {}

    def warn(self, subject: str, message: str, **extra: object) -> None:
        """Log a warning about ``subject``, unless there were enough."""
        self.say(logging.WARNING, subject, message, extra=extra)

    def say(
        self,
        level: int,
        subject: str,
        message: str,
        *,
        extra: dict[str, object] | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Log ``message``, cut to a length, with the stack of ``error``, unless it is enough."""
        unsaid = self._unsaid_or_none(subject)
        if unsaid is None:
            return
        if len(message) > LINE_CHARACTERS_MAX:
            message = f"{message[:LINE_CHARACTERS_MAX]}..."
        more = f" ({unsaid} more like it before)" if unsaid else ""
        self._log.log(level, "%s%s", message, more, exc_info=error, extra=extra)

    def _unsaid_or_none(self, subject: str) -> int | None:
        """Return how many lines were left out before the one that may be logged now, if it may."""
        now = self._now()
        known = self._subjects.get(subject)
        if known is not None and now - known.since < QUIET_S:
            if known.left == 0:
                known.unsaid += 1
                return None
            known.left -= 1
            return 0
        if known is None and len(self._subjects) >= SUBJECTS_MAX:
            # The one that has been remembered for longest; dictionaries keep the order.
            del self._subjects[next(iter(self._subjects))]
        self._subjects[subject] = _Subject(now, self._burst - 1)
        return 0 if known is None else known.unsaid
