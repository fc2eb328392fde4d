"""Recovery: a transaction becomes final with all who take part, or is forgotten by all."""

import pytest

from ledger.amounts import Amount
from ledger.errors import FinalityAborted, FinalityUndecided, NotaryError
from ledger.flows.finality import FinalityNews
from ledger.flows.notarise import notarise
from ledger.flows.receive_finality import recover
from ledger.flows.waiting import WaitingTransaction
from ledger.flows.waiting import waiting as waiting_flow
from ledger.hashing import SecureHash
from ledger.stores.notary import grant_of
from ledger.stores.transactions import COLLECTING, UNNOTARISED, VERIFIED
from ledger.time_window import TimeWindow
from ledger.transactions import SignedTransaction
from runtime import responder
from runtime.codec import replaced
from runtime.handle import FlowHandle
from runtime.operations import LIVE, FlowFilter
from runtime.testing.network import SimulatedNode
from runtime.testing.simulated_loop import EPOCH_MS
from samples.finance import cash_flows
from tests.ledger.flows import deals, impostors
from tests.ledger.flows.net import Net, balance, locks, row, waiting

WINDOW = TimeWindow(EPOCH_MS, EPOCH_MS + 3_600_000)


def status(node: SimulatedNode, tx_id: SecureHash) -> str | None:
    stored = row(node, tx_id)
    return None if stored is None else stored.status


def collecting(net: Net) -> tuple[FlowHandle[object], SecureHash]:
    """Make Bob hold a deal whose initiator waits for the bank to hold it too."""
    parties = [net.bob.party, net.bank.party]
    signed = net.alice.start_flow(
        deals.build, [net.alice.party, *parties], "x", net.notary.party, [], WINDOW
    ).result()
    net.bank.crash()
    handle = net.alice.begin_flow(deals.finish, signed, parties)
    net.network.run_for(5)
    assert status(net.bob, signed.id) == status(net.alice, signed.id) == UNNOTARISED
    return handle, signed.id


def held_by_bob(net: Net) -> SignedTransaction:
    """Make Bob hold a deal of which its initiator knows nothing any more."""
    signed = net.alice.start_flow(
        deals.build, [net.alice.party, net.bob.party], "x", net.notary.party, [], WINDOW
    ).result()
    net.alice.start_impostor(
        impostors.tell_nonsense, signed, net.bob.party, FinalityNews()
    ).result()
    net.network.run()
    assert status(net.bob, signed.id) == UNNOTARISED
    return signed


def kill_all(node: SimulatedNode) -> None:
    for each in node.flows(FlowFilter(statuses=sorted(LIVE))):
        node.kill(each.id)


def test_a_payment_whose_flow_ends_before_its_payee_holds_it_is_as_if_it_had_never_been() -> None:
    net = Net()
    net.issue(net.alice)
    net.bob.crash()
    handle = net.alice.begin_flow(cash_flows.pay_cash, Amount(60, "USD"), net.bob.party)
    net.network.run_for(5)
    assert waiting(net.alice)

    net.alice.kill(handle.id)
    net.bob.start()
    net.network.run()

    assert not waiting(net.alice)
    assert not locks(net.alice)
    assert not list(net.alice.host.scan(COLLECTING, b"", None))
    assert balance(net.alice) == 100
    net.pay(net.alice, net.bob, 100)
    assert balance(net.bob) == 100


def test_while_the_initiator_still_asks_others_nobody_can_have_it_notarised() -> None:
    net = Net(deals)
    handle, tx_id = collecting(net)

    for node in (net.bob, net.alice):
        with pytest.raises(FinalityUndecided, match="may become final later"):
            node.start_flow(recover, tx_id).result()
        assert status(node, tx_id) == UNNOTARISED
    assert grant_of(net.notary.host, tx_id) is None

    net.bank.start()
    net.network.run()
    assert handle.status == "completed"
    assert [status(node, tx_id) for node in (net.alice, net.bob, net.bank)] == [VERIFIED] * 3


def test_what_its_initiator_gave_up_is_forgotten_by_those_who_hold_it() -> None:
    net = Net(deals)
    handle, tx_id = collecting(net)
    net.alice.kill(handle.id)
    net.bank.start()
    net.network.run()
    assert (status(net.alice, tx_id), status(net.bob, tx_id)) == (None, UNNOTARISED)

    kill_all(net.bob)
    with pytest.raises(FinalityAborted, match="knows nothing of"):
        net.bob.start_flow(recover, tx_id).result()

    assert status(net.bob, tx_id) is None
    assert grant_of(net.notary.host, tx_id) is None


@pytest.mark.parametrize("role", ["validating", "non-validating"])
def test_what_was_granted_is_final_though_its_initiator_knows_nothing_of_it(role: str) -> None:
    net = Net(deals, notary=role)
    signed = held_by_bob(net)
    net.alice.start_flow(notarise, signed).result()

    recovered = net.bob.start_flow(recover, signed.id).result()

    recovered.verify_signatures()
    assert status(net.bob, signed.id) == VERIFIED


@pytest.mark.parametrize("role", ["validating", "non-validating"])
def test_a_notary_that_is_asked_only_for_what_it_has_granted_grants_nothing(role: str) -> None:
    net = Net(deals, notary=role)
    signed = held_by_bob(net)

    with pytest.raises(NotaryError, match="has not granted it"):
        net.alice.start_flow(notarise, signed, only_if_granted=True).result()

    assert grant_of(net.notary.host, signed.id) is None


def test_an_initiator_that_does_not_answer_leaves_it_undecided_until_the_notary_has_granted() -> (
    None
):
    net = Net(deals)
    signed = held_by_bob(net)
    net.alice.crash()
    with pytest.raises(FinalityUndecided):
        net.bob.start_flow(recover, signed.id).result()
    assert status(net.bob, signed.id) == UNNOTARISED
    net.alice.start()
    net.alice.start_flow(notarise, signed).result()
    net.alice.crash()

    net.bob.begin_flow(recover, signed.id)
    net.network.run_for(120)

    assert status(net.bob, signed.id) == VERIFIED


def test_what_is_final_already_is_recovered_by_returning_it() -> None:
    net = Net(deals)
    signed = held_by_bob(net)
    net.alice.start_flow(notarise, signed).result()
    first = net.bob.start_flow(recover, signed.id).result()

    again = net.bob.start_flow(recover, signed.id).result()

    assert again == first


def test_what_waits_is_listed_with_its_initiator_until_it_is_final() -> None:
    net = Net(deals)
    handle, tx_id = collecting(net)
    listed = {node.party: node.start_flow(waiting_flow).result() for node in (net.alice, net.bob)}
    net.bank.start()
    net.network.run()

    of_alice = WaitingTransaction(tx_id, net.alice.party, net.notary.party, True)
    assert listed[net.alice.party] == [of_alice]
    assert listed[net.bob.party] == [replaced(of_alice, is_collecting=False)]
    assert handle.status == "completed"
    for node in (net.alice, net.bob):
        assert node.start_flow(waiting_flow).result() == []


def test_an_initiator_that_makes_up_the_notarys_signature_is_not_believed() -> None:
    net = Net(deals)
    signed = held_by_bob(net)
    net.alice.host.registry.responders[recover.name] = responder(recover)(impostors.forging)

    with pytest.raises(FinalityUndecided):
        net.bob.start_flow(recover, signed.id).result()

    assert status(net.bob, signed.id) == UNNOTARISED


def test_a_notary_that_talks_nonsense_after_all_hold_it_has_the_flow_held() -> None:
    net = Net(deals)
    net.notary.host.registry.responders[notarise.name] = responder(notarise)(impostors.babbling)
    signed = net.alice.start_flow(
        deals.build, [net.alice.party, net.bob.party], "x", net.notary.party, [], WINDOW
    ).result()

    handle = net.alice.begin_flow(deals.finish, signed, [net.bob.party])
    net.network.run_for(60)

    assert handle.status == "held"
    assert status(net.alice, signed.id) == UNNOTARISED


def test_a_notary_that_talks_nonsense_has_a_recovery_held_and_the_transaction_kept() -> None:
    net = Net(deals)
    signed = held_by_bob(net)
    net.notary.host.registry.responders[notarise.name] = responder(notarise)(impostors.babbling)

    handle = net.bob.begin_flow(recover, signed.id)
    net.network.run_for(60)

    assert handle.status == "held"
    assert status(net.bob, signed.id) == UNNOTARISED
