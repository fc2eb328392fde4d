"""Finality: everybody has the transaction or nobody, whatever the notary or a peer does."""

import pytest

from ledger.builder import TransactionBuilder
from ledger.errors import (
    FinalityAborted,
    NotaryConflict,
    NotaryError,
    NotaryUnknown,
    ProposalRejected,
    SessionMissing,
    SignatureRejected,
    SignaturesMissing,
    TimeWindowInvalid,
    TransactionUnknown,
)
from ledger.flows.finality import FinalityNews, NotarySignature, Refusal
from ledger.flows.receive_finality import recover
from ledger.hashing import SecureHash
from ledger.query import Status
from ledger.signatures import TransactionSignature
from ledger.states import StateAndRef
from ledger.stores.locks import LOCKS
from ledger.stores.transactions import UNNOTARISED, VERIFIED
from ledger.time_window import TimeWindow
from ledger.transactions import SignedTransaction
from ledger.uniqueness import ConsumedState
from runtime.flow import responder
from runtime.handle import FlowHandle
from runtime.keys import PrivateKey
from runtime.operations import FlowFilter
from runtime.party import AnonymousParty
from runtime.testing.network import SimulatedNode
from runtime.testing.simulated_loop import EPOCH_MS
from tests.ledger.flows import deals, history_scenes, impostors
from tests.ledger.flows.net import Net, errors_of, row, states, vault, waiting
from tests.ledger.parties import Deal, Do, linear_id


def deal(net: Net, *others: SimulatedNode) -> StateAndRef[Deal]:
    """Make a deal of Alice and ``others`` that they all hold."""
    handle = net.alice.start_flow(
        deals.agree, [other.party for other in others], "first", net.notary.party
    )
    signed = handle.result()
    net.network.run()
    return StateAndRef(signed.transaction.outputs[0], signed.transaction.output_ref(0).ref)


def status(node: SimulatedNode, tx_id: SecureHash) -> str | None:
    stored = row(node, tx_id)
    return None if stored is None else stored.status


def test_a_deal_that_replaces_another_is_final_everywhere() -> None:
    net = Net(deals)
    first = deal(net, net.bob, net.bank)
    others = [net.bob.party, net.bank.party]

    handle = net.alice.start_flow(deals.agree, others, "second", net.notary.party, first)
    signed = handle.result()
    net.network.run()

    for node in (net.alice, net.bob, net.bank):
        assert status(node, signed.id) == VERIFIED
        assert [state.note for state in states(node) if isinstance(state, Deal)] == ["second"]
        assert not waiting(node)


def test_a_conflict_is_told_to_all_and_forgotten_by_all() -> None:
    net = Net(deals)
    first = deal(net, net.bob)
    build = net.alice.start_flow(
        deals.build, [net.alice.party, net.bob.party], "rival", net.notary.party, [first]
    ).result()
    winner = net.alice.start_flow(
        deals.agree, [net.bob.party], "winner", net.notary.party, first
    ).result()

    loser = net.alice.start_flow(deals.finish, build, [net.bob.party])
    with pytest.raises(NotaryConflict) as caught:
        loser.result()
    net.network.run()

    assert caught.value.conflict.consumed == (
        ConsumedState(first.ref, SecureHash.of(winner.id.digest), "INPUT"),
    )
    for node in (net.alice, net.bob):
        assert status(node, build.id) is None
        assert not waiting(node)
        assert [state.note for state in states(node) if isinstance(state, Deal)] == ["winner"]


def test_a_consumed_reference_is_a_conflict_of_its_own_kind() -> None:
    net = Net(deals)
    first = deal(net, net.bob)
    reader = net.alice.start_flow(
        deals.build, [net.alice.party], "reader", net.notary.party, [], None, [first]
    ).result()
    net.alice.start_flow(deals.agree, [net.bob.party], "winner", net.notary.party, first).result()

    with pytest.raises(NotaryConflict) as caught:
        net.alice.start_flow(deals.finish, reader, []).result()

    assert [state.kind for state in caught.value.conflict.consumed] == ["REFERENCE"]


def test_a_reference_that_is_unconsumed_is_read_and_stays() -> None:
    net = Net(deals)
    first = deal(net, net.bob)
    reader = net.alice.start_flow(
        deals.build, [net.alice.party], "reader", net.notary.party, [], None, [first]
    ).result()

    net.alice.start_flow(deals.finish, reader, []).result()

    assert len(states(net.alice)) == 2


def test_a_missed_window_is_told_to_all_and_forgotten_by_all() -> None:
    net = Net(deals)
    late = TimeWindow(EPOCH_MS - 2_000, EPOCH_MS - 1_000)

    handle = net.alice.start_flow(
        deals.agree, [net.bob.party], "late", net.notary.party, None, late
    )
    with pytest.raises(TimeWindowInvalid, match="outside"):
        handle.result()
    net.network.run()

    assert not waiting(net.alice)
    assert not waiting(net.bob)
    assert states(net.alice) == states(net.bob) == []
    # Bob is told by the class too: a missed window is worth another try, other refusals are not.
    assert isinstance(errors_of(net.bob)[-1], TimeWindowInvalid)


def test_every_participant_needs_a_session_before_anything_is_recorded() -> None:
    net = Net(deals)
    signed = net.alice.start_flow(
        deals.build, [net.alice.party, net.bob.party, net.bank.party], "x", net.notary.party
    ).result()

    with pytest.raises(SessionMissing, match="O=Bank"):
        net.alice.start_flow(deals.finish, signed, [net.bob.party]).result()

    assert status(net.alice, signed.id) is None


def test_an_observer_may_have_a_session_too() -> None:
    net = Net(deals)
    signed = net.alice.start_flow(deals.build, [net.alice.party], "x", net.notary.party).result()

    net.alice.start_flow(deals.finish, signed, [net.bank.party]).result()
    net.network.run()

    assert status(net.bank, signed.id) == VERIFIED
    assert states(net.bank) == []


def test_a_transaction_with_missing_signatures_is_not_finalised() -> None:
    net = Net(deals)
    signed = net.alice.start_flow(deals.build, [net.alice.party], "x", net.notary.party).result()
    unsigned = type(signed)(signed.wire)

    with pytest.raises(SignaturesMissing):
        net.alice.start_flow(deals.finish, unsigned, []).result()


def test_a_party_that_is_no_notary_of_the_network_notarises_nothing() -> None:
    net = Net(deals)
    signed = net.alice.start_flow(deals.build, [net.alice.party], "x", net.bob.party).result()

    with pytest.raises(NotaryUnknown, match="O=Bob"):
        net.alice.start_flow(deals.finish, signed, []).result()


def test_a_participant_that_refuses_in_phase_one_makes_all_forget() -> None:
    net = Net(deals)
    window = TimeWindow(EPOCH_MS, EPOCH_MS + 3_600_000)
    parties = [net.alice.party, net.bob.party, net.bank.party]
    bad = net.alice.start_flow(deals.build, parties, "bad", net.notary.party, [], window).result()
    # The bank is asked first and would hold it; Bob refuses.
    net.bank.host.registry.responders[deals.finish.name] = deals.OBEDIENT[0]

    handle = net.alice.start_flow(deals.finish, bad, [net.bank.party, net.bob.party])
    with pytest.raises(ProposalRejected, match="a bad deal"):
        handle.result()
    net.network.run()

    for node in (net.alice, net.bob, net.bank):
        assert status(node, bad.id) is None
        assert not waiting(node)
    assert isinstance(errors_of(net.bank)[-1], FinalityAborted)


def test_what_needs_no_notary_reaches_all_that_want_it() -> None:
    net = Net(deals)
    bad = net.alice.start_flow(
        deals.build, [net.alice.party, net.bob.party, net.bank.party], "bad", net.notary.party
    ).result()
    net.bank.host.registry.responders[deals.finish.name] = deals.OBEDIENT[0]

    net.alice.start_flow(deals.finish, bad, [net.bob.party, net.bank.party]).result()
    net.network.run()

    assert status(net.alice, bad.id) == status(net.bank, bad.id) == VERIFIED
    assert status(net.bob, bad.id) is None


def simple(net: Net, *others: SimulatedNode) -> SignedTransaction:
    """Return a deal of Alice and ``others`` that needs a notary for its window."""
    parties = [net.alice.party, *(other.party for other in others)]
    window = TimeWindow(EPOCH_MS, EPOCH_MS + 3_600_000)
    return net.alice.start_flow(deals.build, parties, "x", net.notary.party, [], window).result()


def test_an_initiator_that_tells_nonsense_makes_nothing_final() -> None:
    net = Net(deals)
    signed = simple(net, net.bob)
    forged = TransactionSignature(net.notary.party.key, bytes(64))
    other = SecureHash.of(b"another")
    for news, error in (
        (NotarySignature(other, forged), ProposalRejected),
        (NotarySignature(signed.id, forged), SignatureRejected),
        (NotarySignature(signed.id, None), SignaturesMissing),
        (FinalityNews(), ProposalRejected),
        (Refusal(other, "no", is_notarys=True), ProposalRejected),
    ):
        net.alice.start_impostor(impostors.tell_nonsense, signed, net.bob.party, news).result()
        net.network.run()

        assert isinstance(errors_of(net.bob)[-1], error)
        assert status(net.bob, signed.id) == UNNOTARISED


@pytest.mark.parametrize("is_notarys", [True, False])
def test_a_refusal_becomes_the_error_that_it_is(is_notarys: bool) -> None:
    net = Net(deals)
    signed = simple(net, net.bob)
    news = Refusal(signed.id, "too bad", is_notarys=is_notarys)

    net.alice.start_impostor(impostors.tell_nonsense, signed, net.bob.party, news).result()
    net.network.run()

    error = errors_of(net.bob)[-1]
    assert type(error) is (NotaryError if is_notarys else FinalityAborted)
    assert str(error) == "too bad"
    assert status(net.bob, signed.id) is None


def test_a_peer_that_holds_something_else_stops_the_finality() -> None:
    net = Net(deals)
    signed = simple(net, net.bob)
    net.bob.host.registry.responders[deals.finish.name] = responder(deals.finish)(
        impostors.holding_something_else
    )

    with pytest.raises(FinalityAborted, match="O=Bob"):
        net.alice.start_flow(deals.finish, signed, [net.bob.party]).result()

    assert status(net.alice, signed.id) is None


def test_a_peer_that_left_does_not_keep_the_others_from_hearing() -> None:
    net = Net(deals)
    signed = simple(net, net.bob, net.bank)
    net.bob.host.registry.responders[deals.finish.name] = responder(deals.finish)(
        impostors.leaving_early
    )

    net.alice.start_flow(deals.finish, signed, [net.bob.party, net.bank.party]).result()
    net.network.run()

    assert status(net.bank, signed.id) == VERIFIED


def test_the_transaction_that_was_signed_is_the_one_that_is_held() -> None:
    net = Net(deals)
    signed = simple(net, net.bob)
    net.bob.host.registry.responders[deals.finish.name] = responder(deals.finish)(
        impostors.expecting_another
    )

    with pytest.raises(ProposalRejected, match="came instead of"):
        net.alice.start_flow(deals.finish, signed, [net.bob.party]).result()


def test_while_the_notary_is_down_everything_waits_and_then_goes_on() -> None:
    net = Net(deals)
    first = deal(net, net.bob)
    net.notary.stop()
    handle = net.alice.start_flow(deals.agree, [net.bob.party], "second", net.notary.party, first)
    net.network.run_for(3_600)
    assert len(waiting(net.alice)) == len(waiting(net.bob)) == 1

    net.notary.start()
    signed = handle.result()
    net.network.run()

    assert status(net.bob, signed.id) == VERIFIED


def lost_deal(net: Net) -> tuple[FlowHandle[object], SecureHash]:
    """Make Bob hold a deal un-notarised, whose initiator has then disappeared for good."""
    first = deal(net, net.bob)
    net.notary.stop()
    handle = net.alice.begin_flow(deals.agree, [net.bob.party], "second", net.notary.party, first)
    net.network.run_for(60)
    tx_id = waiting(net.bob)[0]
    return handle, tx_id


def test_a_peer_whose_initiator_was_killed_is_held_and_keeps_the_transaction() -> None:
    net = Net(deals)
    handle, tx_id = lost_deal(net)

    net.alice.kill(handle.id)
    net.network.run_for(60)

    assert status(net.bob, tx_id) == UNNOTARISED
    (held,) = net.bob.flows(FlowFilter(statuses=["held"]))
    assert held.error.startswith("UnexpectedFlowEnd")


def test_a_lost_transaction_is_recovered_from_the_notary() -> None:
    net = Net(deals)
    handle, tx_id = lost_deal(net)
    net.alice.kill(handle.id)
    net.notary.start()
    net.network.run()

    recovered = net.bob.start_flow(recover, tx_id).result()

    recovered.verify_signatures()
    assert status(net.bob, tx_id) == VERIFIED
    assert not waiting(net.bob)
    again = net.alice.start_flow(recover, tx_id).result()
    assert again.id == tx_id
    assert status(net.alice, tx_id) == VERIFIED


def test_a_lost_transaction_is_recovered_from_its_initiator() -> None:
    net = Net(deals)
    handle, tx_id = lost_deal(net)
    net.alice.kill(handle.id)
    net.notary.start()
    net.alice.start_flow(recover, tx_id).result()
    net.notary.stop()

    recovered = net.bob.start_flow(recover, tx_id).result()

    assert recovered.id == tx_id
    assert status(net.bob, tx_id) == VERIFIED


def test_recovery_of_nothing_is_refused() -> None:
    net = Net(deals)

    with pytest.raises(TransactionUnknown, match="waits for its notary"):
        net.bob.start_flow(recover, SecureHash.of(b"nothing")).result()


def test_a_signature_is_found_for_participants_only() -> None:
    net = Net(deals)
    first = deal(net, net.bob)
    second = net.alice.start_flow(
        deals.agree, [net.bob.party], "second", net.notary.party, first
    ).result()

    for asker, is_found in ((net.bob, True), (net.bank, False)):
        handle = asker.start_impostor(impostors.ask_signature, net.alice.party, second.id)
        assert handle.result() is is_found


def test_who_asks_for_a_signature_does_not_hear_whom_its_holder_does_not_know() -> None:
    net = Net(deals)
    builder = TransactionBuilder(net.notary.party)
    stranger = AnonymousParty(PrivateKey.from_seed(b"s" * 32).public)
    builder.add_output(Deal(linear_id=linear_id(1), parties=(net.bob.party, stranger)))
    builder.add_command(Do(), net.alice.party.key)
    signed = builder.sign(bytes(32), [net.alice.party.key], net.alice.signer.sign)
    history_scenes.give(net.alice, signed)

    for asker in (net.bob, net.bank):
        handle = asker.start_impostor(impostors.ask_signature, net.alice.party, signed.id)
        assert handle.result() is False


def test_recovery_of_what_the_notary_refuses_forgets_it() -> None:
    net = Net(deals)
    first = deal(net, net.bob)
    rival = net.alice.start_flow(
        deals.build, [net.alice.party], "rival", net.notary.party, [first]
    ).result()
    net.notary.stop()
    winner = net.alice.begin_flow(deals.agree, [net.bob.party], "winner", net.notary.party, first)
    net.network.run_for(60)
    handle = net.alice.begin_flow(deals.finish, rival, [net.bob.party])
    net.network.run_for(60)
    net.alice.kill(handle.id)
    net.notary.start()
    winner.result()

    with pytest.raises(NotaryConflict):
        net.alice.start_flow(recover, rival.id).result()

    assert not waiting(net.alice)


@pytest.mark.parametrize("victim", ["alice", "bob", "notary"])
@pytest.mark.parametrize("after_ms", range(0, 60, 4))
def test_a_crash_at_any_time_ends_in_finality_everywhere(victim: str, after_ms: int) -> None:
    net = Net(deals)
    first = deal(net, net.bob)
    handle = net.alice.start_flow(deals.agree, [net.bob.party], "second", net.notary.party, first)
    net.network.run_for(after_ms / 1_000)

    node: SimulatedNode = getattr(net, victim)
    node.crash()
    net.network.run_for(5)
    node.start()
    net.network.run()

    for each in (net.alice, net.bob):
        assert [s.note for s in states(each) if isinstance(s, Deal)] == ["second"]
        assert len(states(each, Status.CONSUMED)) == 1
        assert not waiting(each)
        assert not list(each.host.scan(LOCKS, b"", None))
        assert vault(each)
        assert each.info().flows_live == 0
    assert handle.id
