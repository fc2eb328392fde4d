"""SecureHash: what names a transaction, an attachment or a component: SHA-256, 32 bytes.

Whatever is hashed here begins with one byte that says what it is, so that nothing of one kind can
be passed off as something of another:

    00 component leaf   nonce(32) || bytes of the component
    01 node             of the tree over one component group
    02 nonce            salt(32) || group u32 || index u32, big-endian
    03 node             of the tree over the group roots; its root is a transaction's id
    04 node             of a tree over the ids of transactions that were signed together

Attachments are the exception: their hash is plain SHA-256, as any tool prints it.
"""

from hashlib import sha256
from typing import Final

from runtime.codec import message

HASH_BYTES: Final = 32

DOMAIN_LEAF: Final = b"\x00"
DOMAIN_GROUP: Final = b"\x01"
DOMAIN_NONCE: Final = b"\x02"
DOMAIN_TRANSACTION: Final = b"\x03"
DOMAIN_BATCH: Final = b"\x04"


@message(name="ledger.Hash")
class SecureHash:
    """A SHA-256 digest. Equal digests are equal hashes; it sorts and prints by its bytes."""

    digest: bytes

    def __post_init__(self) -> None:
        if len(self.digest) != HASH_BYTES:
            raise ValueError(f"a hash has {HASH_BYTES} bytes, not {len(self.digest)}")

    @classmethod
    def of(cls, content: bytes) -> "SecureHash":
        """Return the plain SHA-256 of ``content``."""
        return cls(sha256(content).digest())

    @classmethod
    def parse(cls, text: str) -> "SecureHash":
        """Read what ``str`` has written: 64 hexadecimal digits."""
        try:
            return cls(bytes.fromhex(text))
        except ValueError:
            raise ValueError(f"{text!r} is not a hash: give 64 hexadecimal digits") from None

    def __str__(self) -> str:
        return self.digest.hex()

    def __lt__(self, other: "SecureHash") -> bool:
        return self.digest < other.digest


def component_nonce(salt: bytes, *, group: int, index: int) -> bytes:
    """Return the nonce that keeps a torn-off component from being guessed by its hash."""
    return sha256(
        DOMAIN_NONCE + salt + group.to_bytes(4, "big") + index.to_bytes(4, "big")
    ).digest()


def component_leaf(nonce: bytes, content: bytes) -> bytes:
    """Return the leaf that stands for a component in the tree of its group."""
    assert len(nonce) == HASH_BYTES
    return sha256(DOMAIN_LEAF + nonce + content).digest()
