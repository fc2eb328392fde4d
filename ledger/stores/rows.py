"""Rows: what the ledger's stores need of a store. The `StoreTxn` of an atomic function has it.

Functions that write take `Rows` and are called from an atomic function, so that their writes join
the commit of the flow that caused them. Functions that only read take `ReadRows`, which a `Host`
has too.
"""

from collections.abc import Iterator
from typing import Protocol

from runtime.keys import PublicKey
from runtime.ports import Space


class ReadRows(Protocol):
    """Ordered maps of byte keys, as of everything written so far."""

    def get(self, space: Space, key: bytes) -> bytes | None:
        """Return the value of ``key``."""

    def scan(self, space: Space, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs with ``start <= key < end`` (``None``: to the last) in order."""


class Rows(ReadRows, Protocol):
    """The same, to be written; all writes of one use become durable together."""

    def put(self, space: Space, key: bytes, value: bytes) -> None:
        """Write ``value``."""

    def delete(self, space: Space, key: bytes) -> None:
        """Remove ``key``; it is no error if it does not exist."""


def scan_prefix(rows: ReadRows, space: Space, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the pairs whose key begins with ``prefix``."""
    return rows.scan(space, prefix, prefix_end(prefix))


def prefix_end(prefix: bytes) -> bytes | None:
    """Return the first key after all that begin with ``prefix``; ``None`` if there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None


def key_text(key: PublicKey) -> str:
    """Return a public key as text for an index: ``scheme:hexadecimal digits``."""
    return f"{key.scheme}:{key.data.hex()}"


def key_bytes(key: PublicKey) -> bytes:
    """Return a public key as a key of a space: ``scheme:data``."""
    return key.scheme.encode() + b":" + key.data
