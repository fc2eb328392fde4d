"""Parties: readable, hashable, and checked when they arrive."""

import pytest

from runtime.codec import decode, encode
from runtime.errors import BadMessage, NameInvalid
from runtime.ids import PeerName
from runtime.keys import PrivateKey
from runtime.names import peer_name
from runtime.party import AbstractParty, AnonymousParty, Party

KEY = PrivateKey.from_seed(b"a" * 32).public
NAME = peer_name("O=Bank A,L=London,C=GB")


def test_a_party_reads_as_its_name_and_an_anonymous_one_as_its_key() -> None:
    assert str(Party(NAME, KEY)) == "O=Bank A,L=London,C=GB"
    assert str(AnonymousParty(KEY)) == f"anonymous {KEY.fingerprint()}"


def test_parties_are_values() -> None:
    party = Party(NAME, KEY)

    assert party == Party(NAME, KEY)
    assert len({party, Party(NAME, KEY), Party(NAME, PrivateKey.generate().public)}) == 2


@pytest.mark.parametrize("party", [Party(NAME, KEY), AnonymousParty(KEY)])
def test_either_kind_of_party_survives_the_codec(party: AbstractParty) -> None:
    assert decode(encode(party), Party | AnonymousParty) == party


def test_a_name_that_is_not_canonical_is_refused() -> None:
    with pytest.raises(NameInvalid, match=r"not canonical\. Use 'O=Bank A,L=London,C=GB'"):
        Party(PeerName("O=Bank A, L=London, C=GB"), KEY)


def test_a_party_from_the_wire_is_checked_while_it_is_decoded() -> None:
    body = encode(Party(NAME, KEY)).replace(b"London", b"Lon,on")

    with pytest.raises(BadMessage):
        decode(body, Party)
