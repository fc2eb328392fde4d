"""What the ZeroMQ transport counts, and warnings that strangers can't turn into a flood."""

import logging
import time
from dataclasses import dataclass, field
from typing import Final

# Strangers and faulty peers cause log lines; no more than one of a kind in this time.
WARNING_INTERVAL_S: Final = 10.0


@dataclass(slots=True)
class TransportStats:
    """Totals since the start of the transport; they only grow."""

    frames_in: int = 0
    envelopes_in: int = 0
    bytes_in: int = 0
    frames_out: int = 0
    envelopes_out: int = 0
    bytes_out: int = 0

    handshakes_accepted: int = 0
    handshakes_refused: int = 0
    """With a CURVE key that no peer has."""

    handshakes_broken: int = 0
    """Without CURVE, for another node's key, given up, or no ZeroMQ at all."""

    frames_malformed: int = 0
    frames_unknown: int = 0
    """From a key that was removed from the peer book while its link was up."""

    envelopes_dropped: int = 0
    """Not sent: the peer is unknown, away or too slow. Delivery sends them again."""

    links_up: int = 0
    """How often a link of ours has completed its handshake."""


@dataclass(slots=True)
class SeldomLog:
    """Log the first warning about a subject at once, later ones at most once in a while."""

    log: logging.Logger
    _said_at: dict[str, float] = field(default_factory=dict)
    _unsaid: dict[str, int] = field(default_factory=dict)

    def warn(self, subject: str, message: str) -> None:
        """Log ``message``, unless one about ``subject`` was logged just before."""
        now = time.monotonic()
        said_at = self._said_at.get(subject)
        if said_at is not None and now - said_at < WARNING_INTERVAL_S:
            self._unsaid[subject] = self._unsaid.get(subject, 0) + 1
            return
        self._said_at[subject] = now
        unsaid = self._unsaid.pop(subject, 0)
        self.log.warning("%s%s", message, f" ({unsaid} more like it before)" if unsaid else "")
