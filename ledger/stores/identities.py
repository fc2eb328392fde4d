"""One-time identities: whose they are, and the private keys of our own, sealed.

space ledger.identities   scheme:key -> OneTimeIdentity
space ledger.own_keys     scheme:key -> PKCS 8 DER of the private key, sealed by the node's
                          keystore with the key of this row as its context
"""

from collections.abc import Iterator
from typing import Final

from ledger.errors import IdentityUnproven
from ledger.identity import OneTimeIdentity
from ledger.stores.rows import ReadRows, Rows, key_bytes
from runtime.codec import decode, encode
from runtime.keys import PublicKey
from runtime.party import Party
from runtime.ports import Space

IDENTITIES: Final = Space("ledger.identities")
OWN_KEYS: Final = Space("ledger.own_keys")


def add_identity(rows: Rows, identity: OneTimeIdentity) -> None:
    """Learn whose key it is; the caller has verified the proof.

    A key belongs to one party for ever: another owner for a known key is `IdentityUnproven`.
    """
    known = identity_of(rows, identity.key)
    if known is None:
        rows.put(IDENTITIES, key_bytes(identity.key), encode(identity))
    elif known.owner != identity.owner:
        raise IdentityUnproven(
            f"key {identity.key.fingerprint()} is known as {known.owner}'s, "
            f"and can't be {identity.owner}'s too"
        )


def identity_of(rows: ReadRows, key: PublicKey) -> OneTimeIdentity | None:
    """Return the proof for a one-time key, if we were ever shown it."""
    body = rows.get(IDENTITIES, key_bytes(key))
    return None if body is None else decode(body, OneTimeIdentity)


def owner_of(rows: ReadRows, key: PublicKey) -> Party | None:
    """Return the well-known party behind a one-time key."""
    identity = identity_of(rows, key)
    return None if identity is None else identity.owner


def add_own_key(rows: Rows, key: PublicKey, sealed: bytes) -> None:
    """Keep the sealed private key of a one-time key of ours."""
    rows.put(OWN_KEYS, key_bytes(key), sealed)


def is_own_key(rows: ReadRows, key: PublicKey) -> bool:
    """Tell whether we hold the private key of a one-time key."""
    return rows.get(OWN_KEYS, key_bytes(key)) is not None


def own_keys(rows: ReadRows) -> Iterator[tuple[bytes, bytes]]:
    """Yield all sealed private keys, each with the context that it was sealed with."""
    return rows.scan(OWN_KEYS, b"", None)
