"""One-time identities: whose they are, and the private keys of our own, sealed.

space ledger.identities   scheme:key -> OneTimeCertificate
space ledger.own_keys     scheme:key -> the private key as the node's keystore has sealed it
"""

from collections.abc import Iterator
from typing import Final

from ledger.errors import IdentityUnproven
from ledger.identity import OneTimeCertificate
from ledger.stores.rows import ReadRows, Rows, key_bytes
from runtime.codec import decode, encode
from runtime.keys import PublicKey
from runtime.party import Party
from runtime.ports import Space

IDENTITIES: Final = Space("ledger.identities")
OWN_KEYS: Final = Space("ledger.own_keys")


def add_identity(rows: Rows, certificate: OneTimeCertificate) -> None:
    """Learn whose key it is; the caller has verified the certificate and looked up its owner.

    A key belongs to one party for ever: another owner for a known key is `IdentityUnproven`.
    """
    known = certificate_of(rows, certificate.key)
    if known is None:
        rows.put(IDENTITIES, key_bytes(certificate.key), encode(certificate))
    elif known.owner != certificate.owner:
        raise IdentityUnproven(
            f"key {certificate.key.fingerprint()} is known as {known.owner}'s, "
            f"and can't be {certificate.owner}'s too"
        )


def certificate_of(rows: ReadRows, key: PublicKey) -> OneTimeCertificate | None:
    """Return the certificate of a one-time key, if we were ever shown it."""
    body = rows.get(IDENTITIES, key_bytes(key))
    return None if body is None else decode(body, OneTimeCertificate)


def owner_of(rows: ReadRows, key: PublicKey) -> Party | None:
    """Return the well-known party behind a one-time key."""
    certificate = certificate_of(rows, key)
    return None if certificate is None else certificate.owner


def add_own_key(rows: Rows, key: PublicKey, sealed: bytes) -> None:
    """Keep the sealed private key of a one-time key of ours."""
    rows.put(OWN_KEYS, key_bytes(key), sealed)


def is_own_key(rows: ReadRows, key: PublicKey) -> bool:
    """Tell whether we hold the private key of a one-time key."""
    return rows.get(OWN_KEYS, key_bytes(key)) is not None


def sealed_key(rows: ReadRows, key: PublicKey) -> bytes | None:
    """Return the sealed private key of a one-time key of ours."""
    return rows.get(OWN_KEYS, key_bytes(key))


def own_keys(rows: ReadRows) -> Iterator[bytes]:
    """Yield all sealed private keys."""
    return (sealed for _, sealed in rows.scan(OWN_KEYS, b"", None))
