"""A simulated network with a ledger: a bank, two customers, a notary."""

from types import ModuleType

from ledger.amounts import Amount
from ledger.hashing import SecureHash
from ledger.install import install
from ledger.query import Query, Status
from ledger.states import ContractState, FungibleState, StateAndRef
from ledger.stores.locks import LOCKS
from ledger.stores.transactions import (
    TransactionRow,
    transaction_row,
    unnotarised_transactions,
)
from ledger.vault import Vault
from runtime.flow import Flow, Responder
from runtime.ids import FlowId
from runtime.operations import FlowFilter
from runtime.testing.memory_transport import Policy, deliver_all
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from samples.finance import cash_flows, paper_flows
from samples.finance.cash import CashState

App = ModuleType | Flow[..., object] | Responder


class Net:
    """A started network; every node has the finance sample and ``apps``."""

    def __init__(
        self,
        *apps: App,
        notary: str = "non-validating",
        seed: int = 0,
        policy: Policy = deliver_all,
        shuffle: bool = False,
        is_replay_checked: bool = True,
    ) -> None:
        self.network = SimulatedNetwork(
            seed, policy=policy, shuffle=shuffle, is_replay_checked=is_replay_checked
        )
        self._apps = (cash_flows, paper_flows, *apps)
        self.notary = self.network.node("Notary", install=install, notary=notary)
        self.bank = self.node("Bank")
        self.alice = self.node("Alice")
        self.bob = self.node("Bob")

    def node(self, name: str) -> SimulatedNode:
        return self.network.node(name, apps=self._apps, install=install)

    @property
    def nodes(self) -> list[SimulatedNode]:
        return list(self.network.nodes.values())

    def issue(self, owner: SimulatedNode, quantity: int = 100) -> SecureHash:
        handle = self.bank.start_flow(
            cash_flows.issue_cash, Amount(quantity, "USD"), owner.party, self.notary.party
        )
        signed = handle.result()
        self.network.run()
        return signed.id

    def pay(
        self, payer: SimulatedNode, payee: SimulatedNode, quantity: int, *, anonymous: bool = False
    ) -> SecureHash:
        handle = payer.start_flow(
            cash_flows.pay_cash, Amount(quantity, "USD"), payee.party, None, anonymous
        )
        signed = handle.result()
        self.network.run()
        return signed.id


def vault(node: SimulatedNode) -> Vault:
    return node.host.service(Vault)


def balance(node: SimulatedNode) -> int:
    return vault(node).balance(CashState, "USD").quantity


def states(node: SimulatedNode, status: Status = Status.UNCONSUMED) -> list[ContractState]:
    return [state.data for state in vault(node).query(Query(status=status)).states]


def coins(node: SimulatedNode) -> list[StateAndRef[CashState]]:
    return vault(node).states(CashState)


def row(node: SimulatedNode, tx_id: SecureHash) -> TransactionRow | None:
    return transaction_row(node.host, tx_id)


def waiting(node: SimulatedNode) -> list[SecureHash]:
    return [tx_id for tx_id, _ in unnotarised_transactions(node.host)]


def locks(node: SimulatedNode) -> list[FlowId]:
    return [FlowId(holder.decode()) for _, holder in node.host.scan(LOCKS, b"", None)]


def amounts(found: list[ContractState]) -> list[int]:
    return sorted(state.amount.quantity for state in found if isinstance(state, FungibleState))


def errors_of(node: SimulatedNode) -> list[Exception]:
    """Return how flows of a node have failed lately, in the order of their ends."""
    rows = node.flows(FlowFilter(statuses=["failed", "killed"]))
    errors: list[Exception] = []
    for row in sorted(rows, key=lambda row: row.ended_ms or 0):
        try:
            node.handle(row.id).result()
        except Exception as error:
            errors.append(error)
    return errors
