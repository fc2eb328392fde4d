"""The rows that the ledger's flows leave can all be decoded by ``sennit node check``."""

from collections import Counter

from ledger.stores.readers import READERS
from runtime.ports import Space
from tests.ledger.flows import deals
from tests.ledger.flows.net import Net
from tests.ledger.flows.test_finality import deal


def test_every_row_that_flows_leave_can_be_decoded() -> None:
    net = Net(deals)
    net.issue(net.alice, 100)
    first = deal(net, net.bob)
    net.alice.start_flow(deals.agree, [net.bob.party], "second", net.notary.party, first).result()
    net.network.run()

    read: Counter[str] = Counter()
    for node in net.nodes:
        for name, reader in READERS.items():
            for key, value in node.host.scan(Space(name), b"", None):
                reader(key, value)
                read[name] += 1

    assert set(read) >= {
        "ledger.spent",
        "ledger.tx",
        "notary.consumed",
        "notary.requests",
        "notary.transactions",
        "vault.coins",
        "vault.head",
        "vault.log",
        "vault.states",
    }
