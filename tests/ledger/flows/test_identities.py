"""One-time identities between nodes: exchanged, shown to who may know, never guessed."""

import pytest

from ledger.errors import IdentityUnproven, SessionMissing
from ledger.flows import identities
from ledger.stores.identities import OWN_KEYS, own_keys, owner_of
from runtime.errors import MisuseError
from runtime.keys import PrivateKey, PublicKey
from runtime.party import AnonymousParty
from runtime.ports import Batch
from tests.ledger.flows import deals, identity_flows
from tests.ledger.flows.net import Net, states
from tests.ledger.parties import Deal


def anonymous_parties(net: Net) -> list[PublicKey]:
    (deal,) = [s for s in states(net.alice) if isinstance(s, Deal)]
    return [party.key for party in deal.parties if isinstance(party, AnonymousParty)]


def agreed() -> Net:
    net = Net(deals, identity_flows)
    net.notary.host.register(identity_flows)
    net.alice.start_flow(
        deals.agree_anonymously, net.bob.party, net.bank.party, net.notary.party
    ).result()
    net.network.run()
    return net


def test_those_who_swapped_or_were_shown_know_who_it_is() -> None:
    net = agreed()

    ours, theirs = anonymous_parties(net)

    for node in (net.alice, net.bob, net.bank):
        assert owner_of(node.host, ours) == net.alice.party
        assert node.host.resolve(AnonymousParty(ours)) == net.alice.party
    for node in (net.alice, net.bob):
        assert owner_of(node.host, theirs) == net.bob.party
    assert owner_of(net.notary.host, ours) is None
    assert net.notary.host.resolve(AnonymousParty(ours)) is None
    assert net.alice.host.resolve(AnonymousParty(net.alice.party.key)) == net.alice.party


def test_nobody_shows_whose_the_keys_of_others_are() -> None:
    net = agreed()
    ours, theirs = anonymous_parties(net)
    signed = net.alice.start_flow(identity_flows.last_deal).result()

    assert net.alice.start_flow(identity_flows.show_to, net.bank.party, signed).result() == [ours]
    assert owner_of(net.bank.host, theirs) is None


def test_a_one_time_key_lies_sealed_on_disk() -> None:
    net = agreed()

    ((_, sealed),) = net.alice.host.scan(OWN_KEYS, b"", None)

    assert sealed.startswith(net.alice.party.key.data)


def test_no_two_one_time_keys_are_the_same() -> None:
    net = Net(identity_flows)

    keys = net.alice.start_flow(identity_flows.make_keys, 5).result()

    assert len({key.data for key in keys}) == 5
    assert len(list(own_keys(net.alice.host))) == 5


@pytest.mark.parametrize("damage", [b"", b"\xc1" * 100])
def test_a_one_time_key_that_can_not_be_read_costs_no_start_and_no_other_key(
    damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    net = Net(identity_flows)
    keys = net.alice.start_flow(identity_flows.make_keys, 3).result()
    rows = dict(net.alice.host.scan(OWN_KEYS, b"", None))
    [lost, *_] = rows
    net.alice.crash()
    batch = Batch()
    batch.put(OWN_KEYS, lost, damage)
    net.alice.store.submit(batch, lambda: None)

    net.alice.start()

    signing = [key for key in keys if can_sign(net, key)]
    assert len(signing) == 2
    assert lost.hex() in caplog.text


def can_sign(net: Net, key: PublicKey) -> bool:
    try:
        net.alice.host.signer.sign(key, b"content")
    except MisuseError:
        return False
    return True


def test_a_key_is_taken_from_whoever_has_its_proof_when_nobody_is_expected() -> None:
    net = agreed()
    _, theirs = anonymous_parties(net)

    shown = net.alice.start_flow(identity_flows.carry_to, net.notary.party, theirs)

    assert shown.result() is None
    net.network.run()
    assert owner_of(net.notary.host, theirs) == net.bob.party


def test_an_unknown_party_has_no_owner() -> None:
    net = Net(identity_flows)
    stranger = AnonymousParty(PrivateKey.from_seed(b"8" * 32).public)

    with pytest.raises(SessionMissing, match="nobody here knows"):
        net.alice.start_flow(identity_flows.look_up, stranger).result()


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("somebody elses", "expected a key of O=Bob"),
        ("forged", "for itself"),
    ],
)
def test_a_peer_can_not_swap_in_what_is_not_its_own(way: str, reason: str) -> None:
    net = agreed()

    with pytest.raises(IdentityUnproven, match=reason):
        net.alice.start_flow(identity_flows.swap_with_cheat, net.bob.party, way).result()


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("twice", "each once"),
        ("too many", "1 one-time keys at most"),
        ("somebody elses", "expected a key of O=Bob"),
    ],
)
def test_a_peer_can_only_show_what_is_its_own(
    way: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = agreed()
    monkeypatch.setattr(identities, "KEYS_MAX", 1)

    with pytest.raises(IdentityUnproven, match=reason):
        net.alice.start_flow(identity_flows.sync_from_cheat, net.bob.party, way).result()
