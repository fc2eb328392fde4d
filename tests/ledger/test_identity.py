"""One-time identities: proven by certificates and by the key itself, and never taken back."""

from datetime import UTC, datetime

import pytest

from ledger.errors import IdentityUnproven
from ledger.identity import OneTimeIdentity, claim
from ledger.states import changed
from ledger.stores.identities import (
    add_identity,
    add_own_key,
    identity_of,
    is_own_key,
    own_keys,
    owner_of,
)
from ledger.stores.rows import key_bytes
from runtime.codec import pack, unpack
from runtime.keys import PrivateKey
from runtime.names import X500Name, peer_name
from runtime.party import Party
from runtime.testing.identities import Authority, KeyRing
from runtime.testing.simulated_loop import EPOCH_MS
from tests.ledger.memory_rows import MemoryRows

AUTHORITY = Authority(0)
NOW = datetime.fromtimestamp(EPOCH_MS / 1000, UTC)


class Member:
    def __init__(self, name: str, authority: Authority = AUTHORITY) -> None:
        self.ring = KeyRing(X500Name.parse(name), authority)
        self.party = Party(peer_name(name), self.ring.identity)

    def identity(self, private_key: PrivateKey) -> OneTimeIdentity:
        key = private_key.public
        signature = private_key.sign(claim(self.party, key))
        return OneTimeIdentity(self.party, key, self.ring.certify(key), signature)


ALICE, BOB = Member("O=Alice,L=London,C=GB"), Member("O=Bob,L=London,C=GB")
ONE_TIME = PrivateKey.from_seed(b"1" * 32)


def test_an_identity_proves_whose_a_key_is() -> None:
    identity = ALICE.identity(ONE_TIME)

    identity.verify(AUTHORITY.root, NOW)

    assert identity.anonymous.key == ONE_TIME.public
    assert unpack(pack(identity), OneTimeIdentity) == identity


def test_a_certificate_of_another_network_proves_nothing() -> None:
    foreign = Member("O=Alice,L=London,C=GB", Authority(1))

    with pytest.raises(IdentityUnproven):
        foreign.identity(ONE_TIME).verify(AUTHORITY.root, NOW)


def test_a_certificate_proves_nothing_for_another_party_or_key() -> None:
    identity = ALICE.identity(ONE_TIME)
    other_key = PrivateKey.from_seed(b"2" * 32).public

    for wrong in (changed(identity, owner=BOB.party), changed(identity, key=other_key)):
        with pytest.raises(IdentityUnproven, match="the certificate is for"):
            wrong.verify(AUTHORITY.root, NOW)


def test_nobody_can_claim_a_key_without_holding_it() -> None:
    stolen = changed(BOB.identity(ONE_TIME), signature=ALICE.identity(ONE_TIME).signature)

    with pytest.raises(IdentityUnproven, match="for itself"):
        stolen.verify(AUTHORITY.root, NOW)


def test_a_key_belongs_to_one_party_for_ever() -> None:
    rows = MemoryRows()
    add_identity(rows, ALICE.identity(ONE_TIME))
    add_identity(rows, ALICE.identity(ONE_TIME))

    with pytest.raises(IdentityUnproven, match="is known as O=Alice"):
        add_identity(rows, BOB.identity(ONE_TIME))

    assert owner_of(rows, ONE_TIME.public) == ALICE.party
    assert identity_of(rows, ONE_TIME.public) == ALICE.identity(ONE_TIME)
    assert owner_of(rows, ALICE.party.key) is None


def test_own_keys_are_kept_sealed_with_their_context() -> None:
    rows = MemoryRows()

    add_own_key(rows, ONE_TIME.public, b"sealed")

    assert is_own_key(rows, ONE_TIME.public)
    assert not is_own_key(rows, ALICE.party.key)
    assert list(own_keys(rows)) == [(key_bytes(ONE_TIME.public), b"sealed")]
