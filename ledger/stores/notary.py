"""What a notary has granted. Written only together with the answer that says so.

    space notary.consumed      StateRef.key(36) -> SHA-256(32) of the consuming transaction's id
    space notary.transactions  id(32) -> Grant
    space notary.requests      id(32) -> the signed request, as it arrived

A consumed state stays consumed for ever; there is no function that takes it back.
"""

from typing import Final

from ledger.hashing import SecureHash
from ledger.states import StateRef
from ledger.stores.rows import ReadRows, Rows
from ledger.uniqueness import (
    ConsumerHash,
    Decision,
    Granted,
    UniquenessClaim,
    consumer_hash,
    decide,
)
from runtime.codec import decode, encode, message
from runtime.ports import Space

CONSUMED: Final = Space("notary.consumed")
GRANTS: Final = Space("notary.transactions")
REQUESTS: Final = Space("notary.requests")


@message(name="ledger.Grant")
class Grant:
    """When a transaction was granted its inputs and its time stamp."""

    granted_ms: int


def claim_states(rows: Rows, claim: UniquenessClaim, *, request: bytes, now_ms: int) -> Decision:
    """Decide about ``claim`` and, if it is granted, commit it with the ``request`` as evidence."""
    decision = decide(
        claim,
        now_ms=now_ms,
        was_granted=rows.get(GRANTS, claim.tx_id.digest) is not None,
        consumer_of=lambda ref: consumer_of(rows, ref),
    )
    if isinstance(decision, Granted) and not decision.again:
        _commit(rows, claim, request=request, now_ms=now_ms)
    return decision


def consumer_of(rows: ReadRows, ref: StateRef) -> ConsumerHash | None:
    """Return the hash of the id of the transaction that consumed ``ref``."""
    digest = rows.get(CONSUMED, ref.key)
    return None if digest is None else SecureHash(digest)


def grant_of(rows: ReadRows, tx_id: SecureHash) -> Grant | None:
    """Return what was granted to a transaction."""
    body = rows.get(GRANTS, tx_id.digest)
    return None if body is None else decode(body, Grant)


def _commit(rows: Rows, claim: UniquenessClaim, *, request: bytes, now_ms: int) -> None:
    consumer = consumer_hash(claim.tx_id).digest
    for ref in claim.inputs:
        assert rows.get(CONSUMED, ref.key) is None
        rows.put(CONSUMED, ref.key, consumer)
    rows.put(GRANTS, claim.tx_id.digest, encode(Grant(now_ms)))
    rows.put(REQUESTS, claim.tx_id.digest, request)
