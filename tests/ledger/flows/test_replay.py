"""A replay in another process, where a set has another order, asks for the same."""

from itertools import cycle
from typing import Final

from ledger.flows.storing import verify_transaction
from ledger.transactions import SignedTransaction
from runtime import flow, sleep
from runtime.keys import PublicKey
from tests.ledger.flows import deals
from tests.ledger.flows.net import Net

# Hashes differ from process to process, and so does the order of a set; here, from run to run.
ORDERS: Final = cycle((1, -1))


@flow(name="tests.verify_and_sleep")
def verify_and_sleep(signed: SignedTransaction, keys: list[PublicKey]) -> str:
    verify_transaction(signed, keys[:: next(ORDERS)])
    sleep(60)
    return "verified"


def test_keys_that_may_be_missing_come_in_any_order() -> None:
    net = Net(deals, verify_and_sleep, is_replay_checked=True)
    parties = [net.alice.party, net.bob.party]
    signed = net.alice.start_flow(deals.build, parties, "good", net.notary.party).result()

    handle = net.alice.start_flow(verify_and_sleep, signed, [party.key for party in parties])

    assert handle.result() == "verified"
