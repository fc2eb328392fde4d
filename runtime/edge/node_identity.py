"""A node's own identity: its keystore and certificates, checked against each other at the start.

``identity.pem`` in the directory of certificates is the chain of the identity, leaf first.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from runtime.certificates import from_pem, verify_identity
from runtime.edge.files import read_public_file
from runtime.edge.keystore import KeyStore
from runtime.errors import CertificateInvalid, ConfigurationError
from runtime.ids import PeerName
from runtime.keys import PrivateKey, PublicKey
from runtime.limits import CERTIFICATE_BYTES_MAX, CERTIFICATES_PER_CHAIN_MAX
from runtime.party import Party

IDENTITY_FILE: Final = "identity.pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIdentity:
    """A party whose private keys we have. ``certificates`` is its chain in DER, leaf first."""

    party: Party
    certificates: tuple[bytes, ...]
    keystore: KeyStore

    @classmethod
    def load(
        cls,
        directory: Path,
        keystore: KeyStore,
        *,
        name: PeerName,
        root: x509.Certificate,
        at: datetime,
    ) -> "NodeIdentity":
        """Read the certificates; `ConfigurationError` unless they prove name and key at ``at``."""
        path = directory / IDENTITY_FILE
        bytes_max = 2 * CERTIFICATE_BYTES_MAX * CERTIFICATES_PER_CHAIN_MAX
        pem = read_public_file(path, bytes_max=bytes_max)
        try:
            chain = from_pem(pem)
            party = verify_identity(chain, root, at)
        except CertificateInvalid as error:
            do = "Get certificates of this network for the node"
            raise ConfigurationError(str(path), f"can't be used: {error}", do) from error
        if party.name != name:
            what = f"is for {party.name}, but node.toml says {name}"
            raise ConfigurationError(str(path), what, "Use the certificates of this node")
        if party.key != keystore.identity:
            what = "is for another key than the keystore has"
            raise ConfigurationError(str(path), what, "Use the keystore of this node")
        return cls(party=party, certificates=tuple(chain), keystore=keystore)

    def sign(self, key: PublicKey, content: bytes) -> bytes:
        """See `KeyStore.sign`."""
        return self.keystore.sign(key, content)

    def add(self, key: PrivateKey) -> None:
        """See `KeyStore.add`."""
        self.keystore.add(key)

    def seal(self, content: bytes, context: bytes = b"") -> bytes:
        """See `KeyStore.seal`."""
        return self.keystore.seal(content, context)

    def unseal(self, sealed: bytes, context: bytes = b"") -> bytes:
        """See `KeyStore.unseal`."""
        return self.keystore.unseal(sealed, context)

    def certify(self, key: PublicKey) -> tuple[bytes, ...]:
        """Return the chain that proves to whoever sees it that the one-time ``key`` is ours."""
        return (self.keystore.certify(self.certificates[0], key), *self.certificates)
