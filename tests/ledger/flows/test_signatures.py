"""Collecting signatures: who is asked, what a signer checks, what the initiator believes."""

import pytest

from ledger.builder import TransactionBuilder
from ledger.errors import (
    ContractRejected,
    ProposalRejected,
    SessionMissing,
    SignatureRejected,
    SignaturesMissing,
)
from ledger.signatures import TransactionSignature
from ledger.states import ContractState
from ledger.time_window import TimeWindow
from ledger.transactions import SignedTransaction
from runtime.errors import peer_of
from runtime.keys import PrivateKey, PublicKey
from tests.ledger.flows import deals, misbehaviour
from tests.ledger.flows.net import Net, states
from tests.ledger.parties import SALT, Deal, Do, Thing, linear_id


def notes(found: list[ContractState]) -> list[str]:
    return [state.note for state in found if isinstance(state, Deal)]


def test_everybody_signs_and_everybody_holds_the_deal() -> None:
    net = Net(deals)

    handle = net.alice.start_flow(
        deals.agree, [net.bob.party, net.bank.party], "good", net.notary.party
    )
    signed = handle.result()
    net.network.run()

    assert signed.signing_keys == {n.party.key for n in (net.alice, net.bob, net.bank)}
    assert notes(states(net.alice)) == notes(states(net.bob)) == notes(states(net.bank)) == ["good"]


def test_a_signer_that_refuses_is_heard_at_the_other_end() -> None:
    net = Net(deals)

    handle = net.alice.start_flow(deals.agree, [net.bob.party], "bad", net.notary.party)

    with pytest.raises(ProposalRejected, match="a bad deal") as caught:
        handle.result()
    assert peer_of(caught.value) == net.bob.party.name
    net.network.run()
    assert states(net.alice) == states(net.bob) == []


def test_a_key_without_a_session_is_named_before_anything_is_sent() -> None:
    net = Net(deals)
    signed = _deal_of(net, extra=net.bank.party.key)

    with pytest.raises(SessionMissing, match="no session"):
        net.alice.start_flow(deals.collect, signed, [net.bob.party]).result()


def test_a_key_that_nobody_knows_is_named() -> None:
    net = Net(deals)
    stranger = PrivateKey.from_seed(b"9" * 32).public

    with pytest.raises(SessionMissing, match="somebody unknown"):
        net.alice.start_flow(deals.collect, _deal_of(net, extra=stranger), [net.bob.party]).result()


def test_our_own_signature_comes_first() -> None:
    net = Net(deals)
    unsigned = SignedTransaction(_deal_of(net).wire)

    with pytest.raises(SignatureRejected, match="our own keys"):
        net.alice.start_flow(deals.collect, unsigned, [net.bob.party]).result()


def test_what_its_proposer_has_not_signed_is_not_signed_by_others() -> None:
    net = Net(deals, misbehaviour)
    unsigned = SignedTransaction(_deal_of(net).wire)

    with pytest.raises(ProposalRejected, match="not signed itself"):
        net.alice.start_flow(
            misbehaviour.ask_for, unsigned, net.bob.party, [net.bob.party.key]
        ).result()


def test_what_only_we_have_to_sign_needs_no_signature_of_its_proposer() -> None:
    net = Net(deals, misbehaviour)
    bob = net.bob.party.key
    unsigned = SignedTransaction(_deal_of(net, signers=[bob]).wire)

    net.alice.start_flow(misbehaviour.ask_for, unsigned, net.bob.party, [bob]).result()


@pytest.mark.parametrize("which", ["not ours", "not required", "none", "twice"])
def test_a_signer_signs_only_with_keys_of_its_own_that_have_to(which: str) -> None:
    net = Net(deals, misbehaviour)
    bob, alice = net.bob.party.key, net.alice.party.key
    signed = _deal_of(net, signers=[alice] if which == "not required" else None)
    keys = {"not ours": [alice], "not required": [bob], "none": [], "twice": [bob, bob]}[which]

    reason = "not one of ours that has to sign" if which.startswith("not") else "each once"
    with pytest.raises(ProposalRejected, match=reason):
        net.alice.start_flow(misbehaviour.ask_for, signed, net.bob.party, keys).result()


def test_a_notary_is_not_asked_for_its_signature_as_a_signer() -> None:
    net = Net(deals)
    net.alice.host.register(misbehaviour)
    net.notary.host.register(misbehaviour)
    signed = net.alice.start_flow(
        deals.build, [net.alice.party], "x", net.notary.party, [], TimeWindow(0, 10**15)
    ).result()

    with pytest.raises(ProposalRejected, match="not one of ours that has to sign"):
        net.alice.start_flow(
            misbehaviour.ask_for, signed, net.notary.party, [net.notary.party.key]
        ).result()


def test_a_proposal_that_the_contract_rejects_is_not_signed() -> None:
    net = Net(deals, misbehaviour)
    builder = TransactionBuilder(net.notary.party)
    builder.add_output(Thing(owner=net.bob.party, name="forbidden"))
    builder.add_command(Do(), net.alice.party.key, net.bob.party.key)
    signed = builder.sign(SALT, [net.alice.party.key], net.alice.signer.sign)

    with pytest.raises(ContractRejected, match="forbidden"):
        net.alice.start_flow(
            misbehaviour.ask_for, signed, net.bob.party, [net.bob.party.key]
        ).result()


@pytest.mark.parametrize("way", ["other key", "other content", "nothing"])
def test_an_answer_that_is_not_the_signature_asked_for_is_refused(way: str) -> None:
    net = Net(misbehaviour)
    builder_net = _deal_of(net)

    with pytest.raises(SignatureRejected):
        net.alice.start_flow(misbehaviour.be_fooled, builder_net, net.bob.party, way).result()


def test_signatures_of_others_than_the_missing_are_checked_too() -> None:
    net = Net(deals)
    signed = _deal_of(net)
    forged = signed.with_signatures(TransactionSignature(net.bob.party.key, bytes(64)))

    with pytest.raises(SignatureRejected):
        net.alice.start_flow(deals.collect, forged, []).result()


def test_missing_signatures_name_their_keys_over_the_wire() -> None:
    error = SignaturesMissing("ab", "missing signatures of keys x")

    assert SignaturesMissing(*error.args).reason == error.reason


def _deal_of(
    net: Net, extra: PublicKey | None = None, signers: list[PublicKey] | None = None
) -> SignedTransaction:
    """Return a deal of Alice and Bob, signed by Alice."""
    builder = TransactionBuilder(net.notary.party)
    parties = (net.alice.party, net.bob.party)
    builder.add_output(Deal(linear_id=linear_id(1), parties=parties, note="fine"))
    keys = [party.key for party in parties] if signers is None else signers
    builder.add_command(Do(), *keys, *([extra] if extra else []))
    return builder.sign(SALT, [net.alice.party.key], net.alice.signer.sign)
