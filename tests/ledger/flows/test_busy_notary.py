"""A notary with more to do than it can do soon: it says so, and its clients come again."""

import pytest

from ledger.flows.notarise import PATIENCE_SECONDS, BusyRefusal, notarise
from ledger.flows.notary_service import Notary
from ledger.notary_queue import CLIENT_MS_MAX, NotaryQueue
from ledger.signatures import TransactionSignature
from ledger.stores.notary import GRANTS
from ledger.transactions import SignedTransaction
from runtime.context import timeout
from runtime.errors import FlowTimeout
from runtime.flow import flow
from runtime.ids import FlowId
from runtime.testing.network import SimulatedNode
from samples.trade.flows import sell
from tests.ledger.flows import deals, notary_asking
from tests.ledger.flows.net import Net
from tests.ledger.flows.test_notary import asked, built, request
from tests.samples.test_trade import (
    PRICE,
    assert_nothing_is_left,
    cash_of,
    open_market,
    papers_of,
)

OTHERS = FlowId("a request of somebody else")


def busy(node: SimulatedNode) -> NotaryQueue:
    """Make the notary take one request at a time, and have one of somebody else under way."""
    notary = node.host.service(Notary)
    notary.queue = NotaryQueue(length_max=1)
    notary.take(OTHERS)
    return notary.queue


@flow(name="tests.notarise_in_time")
def notarise_in_time(signed: SignedTransaction, seconds: float) -> None:
    with timeout(seconds):
        notarise(signed)


@pytest.mark.parametrize("notary", ["non-validating", "validating"])
def test_a_busy_notary_answers_with_an_estimate_and_has_granted_nothing(notary: str) -> None:
    net = Net(deals, notary=notary)
    asking = request(net, built(net))
    queue = busy(net.notary)

    answer = asked(net, asking)

    assert isinstance(answer, BusyRefusal)
    assert answer.wait_seconds == 1
    assert queue.sent_away == 1
    assert list(net.notary.host.scan(GRANTS, b"", None)) == []


@pytest.mark.parametrize("notary", ["non-validating", "validating"])
def test_a_trade_that_a_busy_notary_sends_away_completes_when_the_notary_has_time(
    notary: str,
) -> None:
    market = open_market(notary=notary)
    queue = busy(market.notary)
    handle = market.seller.begin_flow(sell, market.buyer.party, PRICE)
    market.network.run_for(5)
    assert handle.status == "waiting"
    assert queue.sent_away > 1

    queue.leave(OTHERS)
    handle.result()
    market.network.run()

    assert (cash_of(market.buyer), cash_of(market.seller)) == (500, 9_500)
    assert len(papers_of(market.buyer)) == 1
    assert len(queue) == 0
    assert_nothing_is_left(market)


@pytest.mark.parametrize("notary", ["non-validating", "validating"])
def test_of_many_who_come_at_once_some_are_sent_away_and_all_are_served(notary: str) -> None:
    net = Net(deals, notary=notary)
    many = [built(net) for _ in range(20)]
    service = net.notary.host.service(Notary)
    service.queue = NotaryQueue(length_max=4)

    handles = [net.alice.begin_flow(notarise, signed) for signed in many]
    for signed, handle in zip(many, handles, strict=True):
        signature = handle.result()
        assert isinstance(signature, TransactionSignature)
        signature.verify_notarys(signed.id)

    assert service.queue.sent_away > 0
    assert len(service.queue) == 0
    assert len(list(net.notary.host.scan(GRANTS, b"", None))) == len(many)


def test_a_busy_notary_still_says_what_it_has_granted() -> None:
    net = Net(deals)
    signed = built(net)
    net.alice.start_flow(notarise, signed).result()
    busy(net.notary)

    again = net.alice.start_flow(notarise, signed, only_if_granted=True).result()

    again.verify_notarys(signed.id)


def test_whoever_lets_a_validating_notary_wait_keeps_others_waiting_only_for_a_while() -> None:
    net = Net(deals, notary="validating")
    queue = net.notary.host.service(Notary).queue = NotaryQueue(length_max=1)
    net.alice.start_impostor(
        notary_asking.ask_and_say_no_more, net.notary.party, request(net, built(net))
    )
    handle = net.alice.begin_flow(notarise, built(net))
    net.network.run_for(5)
    assert (queue.sent_away > 0, handle.status) == (True, "waiting")

    net.network.run_for(2 * CLIENT_MS_MAX / 1000)

    assert handle.status == "completed"
    assert net.notary.info().flows_live > 0


def test_a_request_that_is_killed_is_counted_no_more() -> None:
    net = Net(deals)
    net.network.links.cut(net.alice.party.name, net.notary.party.name)
    queue = net.notary.host.service(Notary).queue
    net.notary.add_apps(notary_asking.nap)
    flow_id = net.notary.begin_flow(notary_asking.nap, 3_600.0).id
    queue.take(flow_id, 0)

    net.notary.kill(flow_id)
    net.network.run_for(5)

    assert len(queue) == 0


@pytest.mark.parametrize("wait_seconds", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_wait_that_makes_no_sense_is_bounded_by_the_clients_patience(
    wait_seconds: float,
) -> None:
    net = Net(deals)
    signed = built(net)
    good = net.notary.host.registry.responders[notarise.name]
    net.notary.host.registry.responders[notarise.name] = notary_asking.sending_away(wait_seconds)
    handle = net.alice.begin_flow(notarise, signed)
    net.network.run_for(5)
    assert handle.status == "waiting"

    net.notary.host.registry.responders[notarise.name] = good
    net.network.run_for(1.5 * PATIENCE_SECONDS)

    assert handle.status == "completed"


def test_who_has_less_patience_bounds_it() -> None:
    net = Net(deals, notarise_in_time)
    signed = built(net)
    busy(net.notary)

    with pytest.raises(FlowTimeout):
        net.alice.start_flow(notarise_in_time, signed, 30.0).result()
