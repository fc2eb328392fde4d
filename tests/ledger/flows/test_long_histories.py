"""Histories that a peer makes long on purpose: others have their turn while they are looked at."""

import pytest

from ledger.errors import NotOffered
from ledger.flows import history, resolve
from ledger.flows.history import Walked
from ledger.flows.resolve import FetchTransactions, HistoryRequest
from ledger.hashing import SecureHash
from runtime.context import durable
from tests.ledger.flows import histories
from tests.ledger.flows.history_scenes import (
    chain,
    give,
    is_verified,
    keep_unverified,
    made,
    output,
)
from tests.ledger.flows.history_scenes import send as send_over
from tests.ledger.flows.net import Net


def test_a_vendor_that_looks_for_what_is_nowhere_lets_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net(histories, is_replay_checked=False)
    links = chain(net, 30)
    turns: list[None] = []

    def counted() -> None:
        turns.append(None)
        durable()

    monkeypatch.setattr(resolve, "OPENED_MAX", 4)
    monkeypatch.setattr(resolve, "durable", counted)
    histories.OFFERED[:] = [links[-1].id]
    asked: list[HistoryRequest] = [FetchTransactions((SecureHash.of(b"?"),), 0)]

    with pytest.raises(NotOffered):
        net.bob.start_flow(histories.ask_history, net.alice.party, asked).result()

    assert len(turns) == 7


def test_what_strangers_left_unverified_is_walked_through_in_small_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net(histories)
    links = chain(net, 40)
    wide = [made(net) for _ in range(10)]
    joined = made(net, output(links[-1]), *(output(each) for each in wide))
    give(net.alice, *wide)
    net.bob.host.run_atomic(keep_unverified, [*links[5:], *wide[:7]])
    monkeypatch.setattr(history, "WALKED_MAX", 4)
    monkeypatch.setattr(resolve, "WALKED_MAX", 4)

    send_over(net, joined)

    assert all(is_verified(net.bob, each) for each in (*links, *wide))


def test_one_walk_ends_when_it_has_looked_at_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(histories)
    links = chain(net, 10)
    net.bob.host.run_atomic(keep_unverified, links)
    start = (links[-1].id,)

    def walked() -> Walked:
        return net.bob.host.run_atomic(history.walk, start)

    whole = walked()
    monkeypatch.setattr(history, "WALKED_BYTES_MAX", 2 * len(links[1].wire))
    by_bytes = walked()
    monkeypatch.setattr(history, "WALKED_MAX", 2)
    by_number = walked()

    assert (len(whole.unverified), whole.rest) == (10, ())
    assert (len(by_bytes.unverified), by_bytes.rest) == (3, (links[6].id,))
    assert (len(by_number.unverified), by_number.rest) == (2, (links[7].id,))
