"""Transactions by id, each with what this node knows about it.

    space ledger.tx           id(32) -> TransactionRow
    space ledger.unnotarised  id(32) -> Unnotarised, for each row of that status
    space ledger.collecting   flow id || 00 || id(32) -> nothing, for each of those that the flow
                              has not brought to all who take part
    space ledger.spent        StateRef.key(36) -> id(32) of the verified transaction consuming it,
                              the first that came
    space ledger.double_spends
                              StateRef.key(36) || id(32) -> id(32) of another that consumes it too

    (absent) ──> UNVERIFIED ───────────┐     fetched as history, not yet checked
        │                              ▼
        ├──────> UNNOTARISED ──────> VERIFIED     phase one of finality
        │             │                ▲
        │             └──> (absent)    │     the notary refused, or was never asked
        └──────────────────────────────┘

A status never goes back, and a verified transaction is never removed.
"""

import logging
from collections.abc import Iterator
from typing import Final

from ledger.hashing import HASH_BYTES, SecureHash
from ledger.states import StateRef, changed
from ledger.stores.rows import ReadRows, Rows, scan_prefix
from ledger.transactions import SignedTransaction
from runtime.codec import decode, encode, message
from runtime.ids import FlowId
from runtime.party import Party
from runtime.ports import Space

TRANSACTIONS: Final = Space("ledger.tx")
UNNOTARISED_TRANSACTIONS: Final = Space("ledger.unnotarised")
COLLECTING: Final = Space("ledger.collecting")
SPENT: Final = Space("ledger.spent")
DOUBLE_SPENDS: Final = Space("ledger.double_spends")

log = logging.getLogger("sennit.ledger")

UNVERIFIED: Final = "unverified"
UNNOTARISED: Final = "unnotarised"
VERIFIED: Final = "verified"


@message(name="ledger.TransactionRow")
class TransactionRow:
    """A stored transaction; ``status`` is one of the three words above."""

    status: str
    signed: SignedTransaction


@message(name="ledger.Unnotarised")
class Unnotarised:
    """Whom to ask for the notary's signature, and since when it is missing.

    ``collector`` is the flow of this node that still brings it to those who take part. So long the
    notary has not been asked for it, by nobody.
    """

    initiator: Party
    recorded_ms: int
    collector: FlowId | None = None


def transaction_row(rows: ReadRows, tx_id: SecureHash) -> TransactionRow | None:
    """Return what is stored under ``tx_id``."""
    body = rows.get(TRANSACTIONS, tx_id.digest)
    return None if body is None else decode(body, TransactionRow)


def verified_transaction(rows: ReadRows, tx_id: SecureHash) -> SignedTransaction | None:
    """Return the transaction if it was verified here."""
    row = transaction_row(rows, tx_id)
    return row.signed if row is not None and row.status == VERIFIED else None


def add_unverified(rows: Rows, signed: SignedTransaction) -> None:
    """Keep a transaction of a history until it is checked.

    The caller has verified all its signatures, so that a row never lacks one that an honest peer
    would bring later. One that waits for its notary gets the signature; others stay as they are.
    """
    row = transaction_row(rows, signed.id)
    if row is None:
        _put(rows, UNVERIFIED, signed)
    elif row.status == UNNOTARISED:
        _put(rows, UNNOTARISED, row.signed.with_signatures(*signed.signatures))


def add_unnotarised(
    rows: Rows,
    signed: SignedTransaction,
    *,
    initiator: Party,
    now_ms: int,
    collector: FlowId | None = None,
) -> None:
    """Keep a transaction that all have signed but the notary; one that is verified stays so."""
    row = transaction_row(rows, signed.id)
    if row is not None and row.status == VERIFIED:
        return
    collected(rows, signed.id)
    _put(rows, UNNOTARISED, signed)
    _put_about(rows, signed.id, Unnotarised(initiator, now_ms, collector))
    if collector is not None:
        rows.put(COLLECTING, _collecting_key(collector, signed.id), b"")


def collected(rows: Rows, tx_id: SecureHash) -> None:
    """Note that all who take part hold a transaction: from now on it may be final."""
    about = unnotarised_of(rows, tx_id)
    if about is not None and about.collector is not None:
        rows.delete(COLLECTING, _collecting_key(about.collector, tx_id))
        _put_about(rows, tx_id, changed(about, collector=None))


def forget_collected_by(rows: Rows, flow_id: FlowId) -> None:
    """Forget what a flow that ends had still to bring to others; nobody can have it final."""
    prefix = _collecting_prefix(flow_id)
    for key, _ in list(scan_prefix(rows, COLLECTING, prefix)):
        remove_unnotarised(rows, SecureHash(key[len(prefix) :]))


def add_verified(rows: Rows, signed: SignedTransaction) -> None:
    """Keep a transaction with all its signatures, and what it consumes; again is no error.

    The first one stays, so that whoever reads it twice reads the same.
    """
    if verified_transaction(rows, signed.id) is not None:
        return
    tx_id = signed.id
    _put(rows, VERIFIED, signed)
    _forget_about(rows, tx_id)
    for ref in signed.transaction.inputs:
        spender = spender_of(rows, ref)
        if spender is None:
            rows.put(SPENT, ref.key, tx_id.digest)
        else:
            _alarm(rows, ref, spender, tx_id)


def remove_unnotarised(rows: Rows, tx_id: SecureHash) -> bool:
    """Forget a transaction that the notary refused; tell whether there was one to forget."""
    row = transaction_row(rows, tx_id)
    if row is None or row.status != UNNOTARISED:
        return False
    rows.delete(TRANSACTIONS, tx_id.digest)
    _forget_about(rows, tx_id)
    return True


def unnotarised_transactions(rows: ReadRows) -> Iterator[tuple[SecureHash, Unnotarised]]:
    """Yield those whose notary signature never came, for recovery."""
    for key, body in rows.scan(UNNOTARISED_TRANSACTIONS, b"", None):
        yield SecureHash(key), decode(body, Unnotarised)


def unnotarised_of(rows: ReadRows, tx_id: SecureHash) -> Unnotarised | None:
    """Return what is known about a transaction that waits for its notary."""
    body = rows.get(UNNOTARISED_TRANSACTIONS, tx_id.digest)
    return None if body is None else decode(body, Unnotarised)


def spender_of(rows: ReadRows, ref: StateRef) -> SecureHash | None:
    """Return the verified transaction that consumes ``ref``, if this node knows one."""
    digest = rows.get(SPENT, ref.key)
    return None if digest is None else SecureHash(digest)


def double_spends(rows: ReadRows) -> Iterator[tuple[StateRef, SecureHash]]:
    """Yield the states that a second final transaction consumes, each with that transaction."""
    for key, digest in rows.scan(DOUBLE_SPENDS, b"", None):
        yield StateRef.from_key(key[:-HASH_BYTES]), SecureHash(digest)


def _alarm(rows: Rows, ref: StateRef, first: SecureHash, second: SecureHash) -> None:
    """Keep the evidence that a notary has granted one state twice, and make it known.

    Both transactions are kept for good, each with the notary's signature.
    """
    rows.put(DOUBLE_SPENDS, ref.key + second.digest, second.digest)
    log.critical(
        "two final transactions consume one state: their notary has granted it twice",
        extra={"state": str(ref), "first": str(first), "second": str(second)},
    )


def _put_about(rows: Rows, tx_id: SecureHash, about: Unnotarised) -> None:
    rows.put(UNNOTARISED_TRANSACTIONS, tx_id.digest, encode(about))


def _forget_about(rows: Rows, tx_id: SecureHash) -> None:
    collected(rows, tx_id)
    rows.delete(UNNOTARISED_TRANSACTIONS, tx_id.digest)


def _collecting_prefix(flow_id: FlowId) -> bytes:
    return flow_id.encode() + b"\0"


def _collecting_key(flow_id: FlowId, tx_id: SecureHash) -> bytes:
    return _collecting_prefix(flow_id) + tx_id.digest


def _put(rows: Rows, status: str, signed: SignedTransaction) -> None:
    rows.put(TRANSACTIONS, signed.id.digest, encode(TransactionRow(status, signed)))
