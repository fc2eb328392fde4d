"""The vault's truth: the states that concern this node, and the log of how they came and went.

    space vault.states   StateRef.key(36) -> VaultRow
    space vault.log      position u64 big-endian, from 1 -> LogEntry
    space vault.head     "head" -> Head: the last position and its digest
    space vault.locks    StateRef.key(36) -> flow id   (`ledger.stores.locks`)
    space vault.coins    see `ledger.stores.coins`

    digest = SHA-256(digest of the entry before, 32 zero bytes at first || LogEntry)
    LogEntry.rows = first 16 bytes of SHA-256(VaultRows of all that the entry touches, in its order)

Everything that is asked by more than a reference is answered by an index elsewhere, which follows
the log and can be made anew from the rows. The digest tells it whether the log that it has
followed is this one: it may have followed changes that a crash has undone, and that were made
again since, at another time. The log keeps its last `LOG_ENTRIES_MAX` entries.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from ledger.hashing import SecureHash
from ledger.states import StateRef, TransactionState, changed
from ledger.stores.rows import ReadRows, Rows
from runtime.codec import decode, encode, message
from runtime.ids import FlowId
from runtime.ports import Space

STATES: Final = Space("vault.states")
LOG: Final = Space("vault.log")
HEAD: Final = Space("vault.head")
HEAD_KEY: Final = b"head"

# An index that is further behind is made anew from the rows, which takes no longer.
LOG_ENTRIES_MAX: Final = 100_000

UNCONSUMED: Final = "unconsumed"
CONSUMED: Final = "consumed"


@message(name="ledger.VaultRow")
class VaultRow:
    """A state and what became of it.

    ``is_relevant``: its owner or a participant is us. ``is_owned``: it has an owner, and we are.
    """

    state: TransactionState
    is_relevant: bool
    is_owned: bool
    recorded_ms: int
    consumed_ms: int | None = None
    consumer: SecureHash | None = None

    @property
    def status(self) -> str:
        """Return `UNCONSUMED` or `CONSUMED`."""
        return UNCONSUMED if self.consumed_ms is None else CONSUMED


@message(name="ledger.LogEntry")
class LogEntry:
    """What one atomic change did to the vault. ``rows`` stands for the rows that came of it."""

    tx_id: SecureHash | None = None
    produced: tuple[StateRef, ...] = ()
    consumed: tuple[StateRef, ...] = ()
    locked: tuple[StateRef, ...] = ()
    released: tuple[StateRef, ...] = ()
    flow_id: FlowId | None = None
    rows: bytes = b""

    @property
    def touched(self) -> tuple[StateRef, ...]:
        """Return every state whose rows may have changed."""
        return (*self.produced, *self.consumed, *self.locked, *self.released)


@message(name="ledger.Head")
class Head:
    """The last position of the log, and the digest of everything up to there."""

    position: int = 0
    digest: bytes = bytes(32)


def vault_row(rows: ReadRows, ref: StateRef) -> VaultRow | None:
    """Return what the vault knows of a state."""
    body = rows.get(STATES, ref.key)
    return None if body is None else decode(body, VaultRow)


def all_rows(rows: ReadRows) -> Iterator[tuple[StateRef, VaultRow]]:
    """Yield every state of the vault, consumed ones too."""
    for key, body in rows.scan(STATES, b"", None):
        yield StateRef.from_key(key), decode(body, VaultRow)


def put_produced(rows: Rows, ref: StateRef, row: VaultRow) -> None:
    """Add a state that the vault does not have."""
    assert rows.get(STATES, ref.key) is None
    rows.put(STATES, ref.key, encode(row))


def put_consumed(rows: Rows, ref: StateRef, *, consumer: SecureHash, now_ms: int) -> VaultRow:
    """Mark a state that the vault has as consumed, and return what it was before."""
    row = vault_row(rows, ref)
    assert row is not None
    assert row.status == UNCONSUMED
    rows.put(STATES, ref.key, encode(changed(row, consumed_ms=now_ms, consumer=consumer)))
    return row


def head(rows: ReadRows) -> Head:
    """Return where the log ends."""
    body = rows.get(HEAD, HEAD_KEY)
    return Head() if body is None else decode(body, Head)


def append(rows: Rows, entry: LogEntry) -> Head:
    """Add ``entry``, if it touches anything, to the log and return the new end."""
    last = head(rows)
    if not entry.touched:
        return last
    body = encode(changed(entry, rows=_hash_of_rows(rows, entry)))
    new = Head(last.position + 1, sha256(last.digest + body).digest())
    rows.put(LOG, log_key(new.position), body)
    rows.put(HEAD, HEAD_KEY, encode(new))
    if new.position > LOG_ENTRIES_MAX:
        rows.delete(LOG, log_key(new.position - LOG_ENTRIES_MAX))
    return new


def _hash_of_rows(rows: ReadRows, entry: LogEntry) -> bytes:
    bodies = (rows.get(STATES, ref.key) or b"" for ref in entry.touched)
    return sha256(b"".join(bodies)).digest()[:16]


def log_after(rows: ReadRows, start: Head) -> Iterator[tuple[Head, LogEntry]] | None:
    """Return the entries after ``start`` with their positions; ``None`` if it is not of this log.

    ``None`` too if the log does not reach back that far.
    """
    last = head(rows)
    if start.position > last.position or last.position - start.position > LOG_ENTRIES_MAX:
        return None
    entries: list[tuple[Head, LogEntry]] = []
    at = start
    for _, body in rows.scan(LOG, log_key(start.position + 1), None):
        at = Head(at.position + 1, sha256(at.digest + body).digest())
        entries.append((at, decode(body, LogEntry)))
    return iter(entries) if at == last else None


def log_key(position: int) -> bytes:
    """Return the key of an entry."""
    return position.to_bytes(8, "big")
