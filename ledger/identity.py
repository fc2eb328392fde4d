"""One-time identities: who may know that a fresh key is a party's, and how it is proven.

    content signed = "sennit one-time key" 00 || msgpack of [party name, party's key, one-time key]

by the party's identity key (the party owns up to the key) and by the one-time key (its holder
agrees). Both signatures and the party make a certificate, which is shown to those who may know.
"""

from typing import Final

from ledger.errors import IdentityUnproven
from runtime.codec import encode, message
from runtime.keys import PrivateKey, PublicKey
from runtime.party import AnonymousParty, Party

PREFIX: Final = b"sennit one-time key\0"
SECRET_PREFIX: Final = b"sennit one-time secret\0"


@message(name="ledger.OneTimeCertificate")
class OneTimeCertificate:
    """Proves that ``key`` belongs to ``owner``, to whoever trusts that ``owner`` is genuine."""

    owner: Party
    key: PublicKey
    owner_signature: bytes
    key_signature: bytes

    @property
    def anonymous(self) -> AnonymousParty:
        """Return the identity as it stands in states."""
        return AnonymousParty(self.key)

    def verify(self) -> None:
        """Return if both have signed; the caller checks that ``owner`` is in the directory."""
        content = claim(self.owner, self.key)
        if not self.owner.key.is_valid(self.owner_signature, content):
            raise IdentityUnproven(f"{self.owner} has not signed for key {self.key.fingerprint()}")
        if not self.key.is_valid(self.key_signature, content):
            raise IdentityUnproven(f"key {self.key.fingerprint()} has not signed for itself")


def claim(owner: Party, key: PublicKey) -> bytes:
    """Return what both keys sign."""
    return PREFIX + encode([owner.name, owner.key, key])


def certify(owner: Party, private_key: PrivateKey, owner_signature: bytes) -> OneTimeCertificate:
    """Return the certificate of a key that we hold; the owner has signed its `claim`."""
    key = private_key.public
    return OneTimeCertificate(owner, key, owner_signature, private_key.sign(claim(owner, key)))
