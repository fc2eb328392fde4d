"""Signatures on transactions: of one transaction, or of many at once.

    content signed = "sennit transaction" 00 || id              one transaction
                     "sennit transactions" 00 || root           many: the Merkle tree over their ids

A signature of the second kind carries the proof that the transaction's id is in the batch.
"""

from collections.abc import Callable, Sequence
from typing import Final

from ledger.errors import SignatureRejected
from ledger.hashing import DOMAIN_BATCH, SecureHash
from ledger.merkle import PartialTree, prove, root_by, root_of
from runtime.codec import message
from runtime.keys import PublicKey

ONE: Final = b"sennit transaction\0"
MANY: Final = b"sennit transactions\0"

# As many as one signature may cover; a proof is then 10 hashes long.
BATCH_MAX: Final = 1_024

Sign = Callable[[PublicKey, bytes], bytes]
"""Returns the signature of a key that we hold over some content."""


@message(name="ledger.TransactionSignature")
class TransactionSignature:
    """A key's signature; ``proof`` if it covers a batch of transactions."""

    key: PublicKey
    signature: bytes
    proof: PartialTree | None = None

    def verify(self, tx_id: SecureHash) -> None:
        """Return if it is a signature over ``tx_id``; raise `SignatureRejected` otherwise."""
        if not self.is_valid(tx_id):
            raise SignatureRejected(
                str(tx_id), f"the signature of key {self.key.fingerprint()} does not fit"
            )

    def is_valid(self, tx_id: SecureHash) -> bool:
        """Tell whether `verify` would return."""
        if self.proof is None:
            return self.key.is_valid(self.signature, content_of_one(tx_id))
        if len(self.proof.positions) != 1:
            return False
        try:
            root = root_by(self.proof, [tx_id.digest], DOMAIN_BATCH)
        except ValueError:
            return False
        return self.key.is_valid(self.signature, MANY + root)


def content_of_one(tx_id: SecureHash) -> bytes:
    """Return what a signature over a single transaction signs."""
    return ONE + tx_id.digest


def sign_one(tx_id: SecureHash, key: PublicKey, sign: Sign) -> TransactionSignature:
    """Sign one transaction with ``key``."""
    return TransactionSignature(key, sign(key, content_of_one(tx_id)))


def sign_many(
    tx_ids: Sequence[SecureHash], key: PublicKey, sign: Sign
) -> list[TransactionSignature]:
    """Sign up to `BATCH_MAX` transactions with one signature; each result stands for itself."""
    assert 1 <= len(tx_ids) <= BATCH_MAX
    if len(tx_ids) == 1:
        return [sign_one(tx_ids[0], key, sign)]
    leaves = [tx_id.digest for tx_id in tx_ids]
    signature = sign(key, MANY + root_of(leaves, DOMAIN_BATCH))
    return [
        TransactionSignature(key, signature, prove(leaves, [position], DOMAIN_BATCH))
        for position in range(len(leaves))
    ]
