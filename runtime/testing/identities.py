"""Who is who in a simulated network: a root, keys in memory, a directory. All from one seed."""

from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import blake2b

from cryptography import x509

from runtime.certificates import (
    Validity,
    issue_confidential,
    issue_identity,
    issue_node_ca,
    issue_root,
    read_root,
    to_pem,
)
from runtime.errors import MisuseError, StoreUnusable
from runtime.ids import PeerName
from runtime.keys import SEED_BYTES, PrivateKey, PublicKey
from runtime.names import X500Name
from runtime.party import Party
from runtime.testing.simulated_loop import EPOCH_MS


class Authority:
    """Root of a simulated network; issues the certificates of its nodes."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._key = self.key("root")
        start = datetime.fromtimestamp(EPOCH_MS / 1000, UTC) - timedelta(days=1)
        self._validity = Validity(start=start, end=start + timedelta(days=36_500))

    @cached_property
    def root(self) -> x509.Certificate:
        """The certificate of the root."""
        return read_root(to_pem([self._root]))

    @cached_property
    def _root(self) -> bytes:
        return issue_root(self._key, "simulation", self._validity)

    def key(self, label: str) -> PrivateKey:
        """Return the key that this network has for ``label``."""
        seed = blake2b(f"{self._seed}/{label}".encode(), digest_size=SEED_BYTES).digest()
        return PrivateKey.from_seed(seed)

    def certify(self, name: X500Name, identity: PublicKey) -> list[bytes]:
        """Return the chain of a node's identity, leaf first."""
        node_ca_key = self.key(f"node CA of {name}")
        node_ca = issue_node_ca(
            self._key, self._root, name=name, key=node_ca_key.public, validity=self._validity
        )
        return [
            issue_identity(node_ca_key, node_ca, key=identity, validity=self._validity),
            node_ca,
        ]


class KeyRing:
    """A `runtime.host.Signer` with keys in memory. Sealed bytes are not encrypted, only checked."""

    def __init__(self, name: X500Name, authority: Authority) -> None:
        self._name = name
        self._authority = authority
        self._identity = authority.key(f"identity of {name}")
        self._keys = {self._identity.public: self._identity}

    @cached_property
    def _chain(self) -> list[bytes]:
        return self._authority.certify(self._name, self.identity)

    @property
    def identity(self) -> PublicKey:
        """The key that stands for the node's legal identity."""
        return self._identity.public

    def forget_added(self) -> None:
        """Lose the keys that were added, as a crash does."""
        self._keys = {self._identity.public: self._identity}

    def add(self, key: PrivateKey) -> None:
        """See `runtime.host.Signer`."""
        self._keys[key.public] = key

    def certify(self, key: PublicKey) -> tuple[bytes, ...]:
        """See `runtime.host.Signer`."""
        return (issue_confidential(self._identity, self._chain[0], key), *self._chain)

    def seal(self, content: bytes, context: bytes = b"") -> bytes:
        """See `runtime.host.Signer`."""
        return self._mark(context) + content

    def unseal(self, sealed: bytes, context: bytes = b"") -> bytes:
        """See `runtime.host.Signer`."""
        mark = self._mark(context)
        if not sealed.startswith(mark):
            raise StoreUnusable("sealed bytes are of another node or context")
        return sealed[len(mark) :]

    def _mark(self, context: bytes) -> bytes:
        return self._identity.public.data + len(context).to_bytes(4, "big") + context

    def sign(self, key: PublicKey, content: bytes) -> bytes:
        """See `runtime.host.Signer`."""
        found = self._keys.get(key)
        if found is None:
            raise MisuseError(f"this node does not have the private key of {key.fingerprint()}")
        return found.sign(content)


class SimulatedDirectory:
    """A `runtime.host.Directory` that the network fills."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._parties: dict[PeerName, Party] = {}
        self._notaries: list[Party] = []

    @property
    def root(self) -> x509.Certificate:
        """See `runtime.host.Directory`."""
        return self._authority.root

    def add(self, party: Party, *, is_notary: bool) -> None:
        """List a party."""
        self._parties[party.name] = party
        if is_notary:
            self._notaries.append(party)

    def party(self, name: PeerName) -> Party | None:
        """See `runtime.host.Directory`."""
        return self._parties.get(name)

    def parties(self) -> list[Party]:
        """See `runtime.host.Directory`."""
        return list(self._parties.values())

    def notaries(self) -> list[Party]:
        """See `runtime.host.Directory`."""
        return list(self._notaries)
