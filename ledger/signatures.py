"""Signatures on transactions: of a party on one, or of a notary on many at once.

    content signed = "sennit transaction" 00 || id              by a party, for itself
                     "sennit notarisation" 00 || root           by a notary

The root is that of a Merkle tree over the ids of a batch; a notary's signature carries the proof
that the transaction is in it. The two never fit each other: what an app of a notary's node has
signed is no notarisation, and a notary that grants has not agreed to what is done.
"""

from collections.abc import Callable, Sequence
from typing import Final

from ledger.errors import SignatureRejected
from ledger.hashing import DOMAIN_BATCH, SecureHash
from ledger.merkle import PartialTree, prove, root_by, root_of
from runtime.codec import message
from runtime.keys import PublicKey

PARTYS: Final = b"sennit transaction\0"
NOTARYS: Final = b"sennit notarisation\0"

# As many as one signature may cover; a proof is then 10 hashes long.
BATCH_MAX: Final = 1_024

Sign = Callable[[PublicKey, bytes], bytes]
"""Returns the signature of a key that we hold over some content."""


@message(name="ledger.TransactionSignature")
class TransactionSignature:
    """A key's signature; a notary's has the ``proof`` that its batch has the transaction."""

    key: PublicKey
    signature: bytes
    proof: PartialTree | None = None

    def verify(self, tx_id: SecureHash) -> None:
        """Return if it is a party's signature of ``tx_id``; else raise `SignatureRejected`."""
        if not self.is_valid(tx_id):
            raise _unfit(tx_id, self.key)

    def verify_notarys(self, tx_id: SecureHash) -> None:
        """Return if it is a notary's signature of ``tx_id``; else raise `SignatureRejected`."""
        if not self.is_valid_notarys(tx_id):
            raise _unfit(tx_id, self.key)

    def is_valid(self, tx_id: SecureHash) -> bool:
        """Tell whether `verify` would return."""
        return self.proof is None and self.key.is_valid(self.signature, PARTYS + tx_id.digest)

    def is_valid_notarys(self, tx_id: SecureHash) -> bool:
        """Tell whether `verify_notarys` would return."""
        if self.proof is None or len(self.proof.positions) != 1:
            return False
        try:
            root = root_by(self.proof, [tx_id.digest], DOMAIN_BATCH)
        except ValueError:
            return False
        return self.key.is_valid(self.signature, NOTARYS + root)


def sign_one(tx_id: SecureHash, key: PublicKey, sign: Sign) -> TransactionSignature:
    """Sign one transaction with ``key``, as a party to it."""
    return TransactionSignature(key, sign(key, PARTYS + tx_id.digest))


def notarise_many(
    tx_ids: Sequence[SecureHash], key: PublicKey, sign: Sign
) -> list[TransactionSignature]:
    """Sign up to `BATCH_MAX` transactions as their notary, each result standing for itself."""
    assert 1 <= len(tx_ids) <= BATCH_MAX
    leaves = [tx_id.digest for tx_id in tx_ids]
    signature = sign(key, NOTARYS + root_of(leaves, DOMAIN_BATCH))
    return [
        TransactionSignature(key, signature, prove(leaves, [position], DOMAIN_BATCH))
        for position in range(len(leaves))
    ]


def _unfit(tx_id: SecureHash, key: PublicKey) -> SignatureRejected:
    return SignatureRejected(str(tx_id), f"the signature of key {key.fingerprint()} does not fit")
