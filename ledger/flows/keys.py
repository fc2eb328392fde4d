"""Keys in flows: sign with our own, make one-time ones, know whose the others are.

Each function here is journaled, so that a replay signs and finds the same. A one-time key is made
from a nonce of the flow and a secret that only the node's keystore can compute, and is on disk only
sealed: whoever reads the journal has nothing of it.
"""

import logging
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

from ledger.errors import IdentityUnproven, SessionMissing
from ledger.hashing import SecureHash
from ledger.identity import OneTimeIdentity, claim
from ledger.signatures import TransactionSignature, sign_one
from ledger.stores.identities import (
    add_identity,
    add_own_key,
    identity_of,
    is_own_key,
    own_keys,
    owner_of,
)
from ledger.stores.rows import ReadRows, key_bytes
from ledger.transactions import SignedTransaction
from runtime.atomic import StoreTxn, atomic
from runtime.context import now, service, uuid4
from runtime.host import Host
from runtime.keys import PrivateKey, PublicKey
from runtime.party import AbstractParty, AnonymousParty, Party
from runtime.step import step

log = logging.getLogger("sennit.ledger")

SECRET: Final = b"sennit one-time secret\0"


def load_keys(host: Host) -> None:
    """Let the signer have the one-time keys of earlier lives of the node."""
    for context, sealed in own_keys(host):
        try:
            host.signer.add(PrivateKey.from_secret_der(host.signer.unseal(sealed, context)))
        # A row that can't be read costs its own key, not the node's start.
        except Exception as error:
            log.error(
                "a one-time key can't be read and is set aside: key %s: %s",
                context.hex(),
                type(error).__name__,
            )


def owner_of_anonymous(host: Host, party: AnonymousParty) -> Party | None:
    """Return who is behind an anonymous party, if we were ever shown it; for `Host.resolvers`."""
    return host.me if party.key == host.me.key else owner_of(host, party.key)


def is_ours(rows: ReadRows, identity: PublicKey, key: PublicKey) -> bool:
    """Tell whether ``key`` is the identity's or one of our one-time keys."""
    return key == identity or is_own_key(rows, key)


def fresh_salt() -> bytes:
    """Return 32 bytes for a transaction's salt; the same at every replay, unknown to others."""
    return sha256(uuid4().bytes + uuid4().bytes).digest()


def fresh_identity() -> OneTimeIdentity:
    """Make a one-time key of ours and return it with the proof that it is."""
    return _make_identity(uuid4().bytes + uuid4().bytes)


def sign_transaction_with(
    signed: SignedTransaction, keys: Iterable[PublicKey]
) -> SignedTransaction:
    """Return the transaction signed with those of ``keys`` that are ours."""
    ours = keys_of_ours(tuple(keys))
    return signed.with_signatures(*(sign_with(signed.id, key) for key in ours))


@step(kind="pure", name="ledger.sign")
def sign_with(tx_id: SecureHash, key: PublicKey) -> TransactionSignature:
    """Return our signature of a transaction."""
    return sign_one(tx_id, key, service(Host).signer.sign)


@step(kind="pure", name="ledger.sign_content")
def sign_content(content: bytes) -> bytes:
    """Return the signature of our identity key over ``content``, which says what it is."""
    host = service(Host)
    return host.signer.sign(host.me.key, content)


@step(kind="pure", name="ledger.own_keys")
def keys_of_ours(keys: tuple[PublicKey, ...]) -> list[PublicKey]:
    """Return those of ``keys`` that we can sign with, in their order, each once."""
    host = service(Host)
    return [key for key in dict.fromkeys(keys) if is_ours(host, host.me.key, key)]


@step(kind="pure", name="ledger.owners")
def owners_of(parties: tuple[AbstractParty, ...]) -> list[Party | None]:
    """Return the well-known party behind each of ``parties``, None where it is not known."""
    host = service(Host)
    return [host.resolve(party) for party in parties]


def known_owners(parties: Sequence[AbstractParty]) -> list[Party]:
    """Return the well-known parties behind ``parties``, each once; raises `SessionMissing`."""
    asked = tuple(dict.fromkeys(parties))
    owners = owners_of(asked)
    for party, owner in zip(asked, owners, strict=True):
        if owner is None:
            raise SessionMissing(f"nobody here knows who {party} is; exchange identities first")
    return list(dict.fromkeys(owner for owner in owners if owner is not None))


@step(kind="pure", name="ledger.own_identities")
def own_identities_of(keys: tuple[PublicKey, ...]) -> list[OneTimeIdentity]:
    """Return the proofs for those of ``keys`` that are one-time keys of ours."""
    host = service(Host)
    found = (identity_of(host, key) for key in dict.fromkeys(keys))
    return [identity for identity in found if identity is not None and identity.owner == host.me]


def register_identity(
    identity: OneTimeIdentity, *, expected: Party | None = None
) -> AnonymousParty:
    """Verify the proof of a one-time key and remember whose it is; raises `IdentityUnproven`."""
    if expected is not None and identity.owner != expected:
        raise IdentityUnproven(f"expected a key of {expected}, got one of {identity.owner}")
    identity.verify(service(Host).directory.root, now())
    _remember(identity)
    return identity.anonymous


@atomic
def _remember(txn: StoreTxn, identity: OneTimeIdentity) -> None:
    add_identity(txn, identity)


@atomic
def _make_identity(txn: StoreTxn, nonce: bytes) -> OneTimeIdentity:
    host = txn.host
    secret = host.signer.sign(host.me.key, SECRET + nonce)
    private_key = PrivateKey.from_seed(sha256(secret).digest())
    key = private_key.public
    host.signer.add(private_key)
    identity = OneTimeIdentity(
        host.me, key, host.signer.certify(key), host.signer.sign(key, claim(host.me, key))
    )
    add_own_key(txn, key, host.signer.seal(private_key.secret_der(), key_bytes(key)))
    add_identity(txn, identity)
    return identity
