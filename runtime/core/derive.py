"""Ids and random numbers of a flow, derived from the secret seed that its first event holds.

The n-th value under a label is the keyed BLAKE2b-128 of the label and n, so that a replay derives
the same values, and nobody who lacks the seed can guess one.
"""

from hashlib import blake2b
from typing import Final

from runtime.ids import SessionId

SEED_BYTES: Final = 16


def derive(seed: bytes, label: bytes, number: int) -> bytes:
    """Return 16 bytes that depend on all arguments."""
    content = label + number.to_bytes(8, "big")
    return blake2b(content, key=seed, digest_size=16).digest()


def session_id(seed: bytes, number: int) -> SessionId:
    """Return our id of the flow's session ``number``."""
    return SessionId(derive(seed, b"session", number))
