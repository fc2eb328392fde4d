"""The trade between real processes, as scenarios: prepared once, done any number of times."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from ledger.amounts import Amount
from ledger.hashing import SecureHash
from ledger.stores.locks import FLOW_LOCKS, LOCKS
from ledger.stores.transactions import (
    TRANSACTIONS,
    UNNOTARISED_TRANSACTIONS,
    VERIFIED,
    TransactionRow,
    verified_transaction,
)
from runtime.codec import Packed, decode, pack, unpack
from runtime.edge.lmdb_store import LmdbStore
from runtime.edge.rpc_client import RpcClient
from runtime.operations import Arguments, FlowResult
from runtime.testing.driver import NetworkDriver, NodeProcess
from samples import trade
from samples.trade.holdings import Holdings
from tests.e2e.crash_matrix import Scenario, is_idle

SPEC: Final = (Path(trade.__file__).parent / "network.toml").read_text()

CASH: Final = Amount(10_000, "USD")
PRICE: Final = Amount(9_500, "USD")
CHANGE: Final = Amount(500, "USD")
SECONDS: Final = 40.0


def issue(network: NetworkDriver) -> None:
    """Have the bank give 100 dollars to the buyer and a paper to the seller; then stop all."""
    network.start()
    bank = network.node("bank-of-breakfast")
    run(bank, "finance.issue_cash", amount=pack(CASH), owner="Buyer", notary="Notary")
    run(
        bank,
        "finance.issue_paper",
        owner="Seller",
        face_value=pack(CASH),
        maturity=pack(datetime.now(UTC) + timedelta(days=30)),
        notary="Notary",
        prospectus=pack(b"what the paper promises"),
    )
    for node in network.nodes:
        node.wait_until(lambda node=node: is_idle(node), "come to rest", SECONDS)  # type: ignore[misc]
    network.stop()


def run(node: NodeProcess, flow: str, **named: str | Packed) -> FlowResult:
    """Run a flow to its end."""
    return node.rpc.result(node.rpc.options().start_text(flow, Arguments(named=named)).id, SECONDS)


def holdings(node: NodeProcess) -> Holdings:
    """Ask a node what it owns."""
    return unpack(run(node, "trade.holdings").value, Holdings)


def scenario(*, is_anonymous: bool) -> Scenario:
    """Return the trade, under the parties' names or under one-time keys."""

    def sell(rpc: RpcClient) -> FlowResult:
        arguments = Arguments(
            named={"buyer": "Buyer", "price": pack(PRICE), "anonymous": pack(is_anonymous)}
        )
        flow_id = rpc.options(client_id="trade").start_text("trade.sell", arguments).id
        return rpc.result(flow_id, SECONDS)

    return Scenario(
        nodes=("notary", "buyer", "seller"),
        asked="seller",
        job=sell,
        checks=(assert_both_changed_hands,),
        store_checks=(assert_transaction_is_there,),
        spaces=(UNNOTARISED_TRANSACTIONS, LOCKS, FLOW_LOCKS),
    )


def assert_both_changed_hands(network: NetworkDriver, result: FlowResult) -> None:
    held = {name: holdings(network.node(name)) for name in ("buyer", "seller")}

    assert held == {"buyer": Holdings(CHANGE, 1), "seller": Holdings(PRICE, 0)}


def assert_transaction_is_there(name: str, store: LmdbStore, result: FlowResult) -> None:
    """Check that a party of the trade has the transaction that the seller's flow returned."""
    rows = [decode(value, TransactionRow) for _, value in store.scan(TRANSACTIONS, b"", None)]
    assert {row.status for row in rows} <= {VERIFIED}
    if name != "notary":
        tx_id = unpack(result.value, SecureHash)
        signed = verified_transaction(store, tx_id)
        assert signed is not None
        assert signed.id == tx_id
        assert len(rows) == ISSUED_AND_TRADED


# Both parties have the two issues, of cash and of the paper, and the trade, each once.
ISSUED_AND_TRADED: Final = 3
