"""One-time identities: who may know that a fresh key is a party's, and how it is proven.

    chain           X.509 certificates, leaf first: one-time key, identity, node CA
    content signed  "sennit one-time key" 00 || msgpack of [owner's name, owner's key, one-time key]

The chain says that the owner owns up to the key; the signature, by the one-time key, says that its
holder agrees, so that nobody can claim the key of somebody else. Both are shown to those who may
know, and stay secret from all others.
"""

from datetime import datetime
from typing import Final

from cryptography import x509

from ledger.errors import IdentityUnproven
from runtime.certificates import verify_confidential
from runtime.codec import encode, message
from runtime.errors import CertificateInvalid
from runtime.keys import PublicKey
from runtime.party import AnonymousParty, Party

PREFIX: Final = b"sennit one-time key\0"


@message(name="ledger.OneTimeIdentity")
class OneTimeIdentity:
    """Proves that ``key`` belongs to ``owner``."""

    owner: Party
    key: PublicKey
    chain: tuple[bytes, ...]
    signature: bytes

    @property
    def anonymous(self) -> AnonymousParty:
        """Return the identity as it stands in states."""
        return AnonymousParty(self.key)

    def verify(self, root: x509.Certificate, at: datetime) -> None:
        """Return if the proof holds under the network's ``root`` at the time ``at``."""
        try:
            certified = verify_confidential(self.chain, root, at)
        except CertificateInvalid as error:
            raise IdentityUnproven(f"key {self.key.fingerprint()}: {error}") from error
        if certified.party != self.owner or certified.key != self.key:
            raise IdentityUnproven(
                f"the certificate is for {certified.party} and key {certified.key.fingerprint()}, "
                f"not for {self.owner} and {self.key.fingerprint()}"
            )
        if not self.key.is_valid(self.signature, claim(self.owner, self.key)):
            raise IdentityUnproven(f"key {self.key.fingerprint()} has not signed for itself")


def claim(owner: Party, key: PublicKey) -> bytes:
    """Return what the one-time key signs."""
    return PREFIX + encode([owner.name, owner.key, key])
