"""Requests that cost a notary, or have it keep, more than it needs."""

import pytest

from ledger import uniqueness
from ledger.flows.notarise import InvalidRefusal
from ledger.stores.notary import REQUESTS
from ledger.tearoff import FilteredTransaction, filter_transaction
from tests.ledger.flows import deals
from tests.ledger.flows.net import Net
from tests.ledger.flows.test_notary import LOST, asked, built, consuming, request


def test_a_request_that_shows_what_is_not_for_a_notary_is_refused_and_not_kept() -> None:
    net = Net(deals)
    signed = built(net)
    showing = filter_transaction(signed.transaction, lambda *_: True)

    answer = asked(net, request(net, signed, showing))

    assert isinstance(answer, InvalidRefusal)
    assert "OUTPUTS is not for a notary" in answer.reason
    assert list(net.notary.host.scan(REQUESTS, b"", None)) == []


def test_too_many_states_are_refused_before_one_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net(deals)
    asking = request(net, consuming(net, LOST))
    monkeypatch.setattr(uniqueness, "STATES_MAX", 0)
    monkeypatch.setattr(FilteredTransaction, "verify", lambda _: pytest.fail("it was looked at"))

    answer = asked(net, asking)

    assert isinstance(answer, InvalidRefusal)
    assert "1 inputs and references" in answer.reason
