"""What the ZeroMQ transport counts."""

from dataclasses import dataclass


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

    connections_cut: int = 0
    """By us: too many of one peer, or too much that is no frame."""

    envelopes_dropped: int = 0
    """Not sent: the peer is unknown, away or too slow. Delivery sends them again."""

    links_up: int = 0
    """How often a link of ours has completed its handshake."""
