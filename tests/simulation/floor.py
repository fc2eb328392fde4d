"""A trading floor: a notary, a bank and traders, and clients that follow a script of wishes.

A client is a generator. It yields what it wants, one wish after the other, and is handed how that
ended; while the answer is one that time cures, it asks again, as a person would.

    def script(floor: Floor) -> Script[None]:
        yield from floor.issue_cash(floor.trader("Buyer"), 10_000)

Clients live outside of the nodes: they do not crash, and they know what they were told.
"""

import tempfile
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Final, TypeVar

from ledger.amounts import Amount
from ledger.errors import InsufficientBalance, TimeWindowInvalid, WindowRejected
from ledger.flows.receive_finality import recover
from ledger.hashing import SecureHash
from ledger.query import Query
from ledger.states import ContractState, StateRef
from ledger.stores.transactions import unnotarised_transactions, verified_transaction
from ledger.stores.vault import CONSUMED, all_rows
from ledger.transactions import SignedTransaction
from ledger.vault import Vault
from runtime.errors import FlowException, FlowKilled, UnexpectedFlowEnd
from runtime.flow import Flow
from runtime.host import Host
from runtime.ports import Batch
from runtime.testing.network import SimulatedNode
from runtime.testing.world import Outcome, World
from samples import trade
from samples.finance.cash import CashState
from samples.finance.cash_flows import issue_cash, pay_cash
from samples.finance.commercial_paper import CommercialPaper
from samples.finance.paper_flows import issue_paper
from samples.trade.flows import sell
from samples.trade.terms import UnacceptablePrice
from tests.ledger.flows import deals
from tests.simulation import rogues
from tests.simulation.ledger_checks import check_ledgers, index_against_vault
from tests.simulation.rogues import NotOwned, knows
from tests.simulation.spectator import Spectator

MATURITY: Final = datetime(2027, 6, 1, tzinfo=UTC)
PROSPECTUS: Final = b"what the paper promises"
FACE_VALUE: Final = Amount(10_000, "USD")

FILES_RATE: Final = 0.25
"""Of histories in which the vaults' indexes are in files."""

DELAY_SECONDS_FIRST: Final = 2.0
DELAY_SECONDS_MAX: Final = 60.0

Errors = tuple[type[Exception], ...]

KILLED: Final = (FlowKilled, UnexpectedFlowEnd)
"""How a flow may end when it, or one that it talks to, is killed."""

LATE: Final[Errors] = (TimeWindowInvalid, WindowRejected)
"""Faults may last longer than a transaction's time window: then it is done anew."""

SHORT: Final[Errors] = (*LATE, InsufficientBalance, UnacceptablePrice)
"""Cash comes back, from payments that fail and as change. A buyer does not tell what it lacks."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A flow that a client wants, what it asks again after, and what it takes for an answer."""

    node: SimulatedNode
    flow: Flow[..., object]
    arguments: tuple[object, ...]
    again: Errors = LATE
    accepted: Errors = ()


T = TypeVar("T")
Script = Generator[Wish, Outcome, T]


@dataclass
class Client:
    """Follows a script; see the module."""

    world: World
    script: Script[None]
    name: str
    is_done: bool = False
    answers: list[Outcome] = field(default_factory=list)

    def begin(self) -> None:
        self._want(next(self.script))

    def _want(self, wish: Wish, delay_seconds: float = DELAY_SECONDS_FIRST) -> None:
        def learned(outcome: Outcome) -> None:
            if isinstance(outcome.error, wish.again):
                later = min(2 * delay_seconds, DELAY_SECONDS_MAX)
                self.world.after(delay_seconds, lambda: self._want(wish, later))
            elif outcome.error is None or isinstance(outcome.error, wish.accepted):
                self._go_on(outcome)

        def is_expected(outcome: Outcome) -> bool:
            return outcome.error is None or isinstance(outcome.error, wish.again + wish.accepted)

        is_expected.__qualname__ = f"a result or one of {wish.again + wish.accepted}"
        request = self.world.request(wish.node, wish.flow, *wish.arguments)
        request.expect(is_expected).then(learned)

    def _go_on(self, outcome: Outcome) -> None:
        self.answers.append(outcome)
        try:
            wish = self.script.send(outcome)
        except StopIteration:
            self.is_done = True
        else:
            self._want(wish)


class Floor:
    """See the module. A part of the histories keeps the vaults' indexes in files."""

    def __init__(self, world: World, notary: str | None = None) -> None:
        self.world = world
        self.spectator = Spectator(world)
        self.clients: list[Client] = []
        self.issued = 0
        self.papers: list[StateRef] = []
        self.errors: Errors = (FlowException,)
        self.flows_are_killed = False
        self._is_tidy = False
        self._directory = _directory(world)
        self._reader = Random(f"reader {world.network.seed}")
        self._commits_per_look = self._reader.choice((30, 300))
        role = notary or world.random.choice(("validating", "non-validating"))
        self.notary = self.trader("Notary", role)
        self.bank = self.trader("Bank of Breakfast")
        world.check(self._everybody_is_content)
        world.check(self._ledgers_agree)
        world.check(self._nothing_is_made_or_lost)
        world.check(self.spectator.check_end)
        world.watch(self._look)
        world.check(self._all_errors_are_answers)

    @property
    def nodes(self) -> list[SimulatedNode]:
        return list(self.world.network.nodes.values())

    def trader(self, name: str, notary_role: str | None = None) -> SimulatedNode:
        """Add a node."""

        def install(host: Host) -> None:
            if self._directory is not None:
                host.data_directory = self._directory / name
                host.data_directory.mkdir(exist_ok=True)
            trade.install(host)
            if self._directory is not None:
                host.on_flow_end(lambda txn, flow_id: self._look_early(host))

        return self.world.node(
            name, apps=(trade, rogues, deals), install=install, notary=notary_role
        )

    def crook(self, name: str) -> SimulatedNode:
        """Add a node that makes money; what it has itself is nobody's concern."""
        self.spectator.crooks.add(name)
        return self.trader(name)

    def client(self, script: Script[None], after: float = 0.0) -> Client:
        """Let a client come who follows ``script``."""
        client = Client(self.world, script, f"client {len(self.clients)}")
        self.clients.append(client)
        self.world.after(after, client.begin)
        return client

    # --- what clients want ------------------------------------------------------------------------

    def arrived(self, owner: SimulatedNode, tx_id: SecureHash) -> Script[None]:
        """Wait until ``owner`` knows: whoever issues something knows it earlier."""
        yield Wish(owner, knows, (tx_id,), (NotOwned,))

    def issue_cash(self, owner: SimulatedNode, quantity: int) -> Script[SignedTransaction]:
        """Have the bank issue cash."""
        amount = Amount(quantity, "USD")
        outcome = yield Wish(self.bank, issue_cash, (amount, owner.party, self.notary.party))
        assert isinstance(outcome.value, SignedTransaction)
        self.issued += quantity
        yield from self.arrived(owner, outcome.value.id)
        return outcome.value

    def issue_paper(self, owner: SimulatedNode) -> Script[StateRef]:
        """Have the bank issue a paper."""
        reference = bytes([1, len(self.papers)])
        outcome = yield Wish(
            self.bank,
            issue_paper,
            (owner.party, FACE_VALUE, MATURITY, self.notary.party, PROSPECTUS, reference),
        )
        assert isinstance(outcome.value, SignedTransaction)
        paper = StateRef(outcome.value.id, 0)
        self.papers.append(paper)
        yield from self.arrived(owner, outcome.value.id)
        return paper

    def sell(
        self,
        seller: SimulatedNode,
        buyer: SimulatedNode,
        price: int,
        paper: StateRef | None = None,
        *,
        again: Errors = SHORT,
        accepted: Errors = (),
        flow: Flow[..., object] = sell,
    ) -> Script[Outcome]:
        """Sell a paper, anonymously in some histories."""
        anonymous = self.world.random.random() < 0.5
        arguments = (buyer.party, Amount(price, "USD"), paper, anonymous)
        outcome = yield Wish(seller, flow, arguments, again, accepted)
        if outcome.error is None:
            assert isinstance(outcome.value, SecureHash)
            tx_id = outcome.value
            self.spectator.settled(tx_id, at=seller, other=buyer)
            self.world.check(lambda: _holds_all(tx_id, (seller, buyer)))
        return outcome

    def pay(
        self,
        payer: SimulatedNode,
        payee: SimulatedNode,
        quantity: int,
        *,
        again: Errors = SHORT,
        accepted: Errors = (),
        flow: Flow[..., object] = pay_cash,
    ) -> Script[Outcome]:
        """Pay, anonymously in some histories."""
        anonymous = self.world.random.random() < 0.5
        arguments = (Amount(quantity, "USD"), payee.party, self.notary.party, anonymous)
        outcome = yield Wish(payer, flow, arguments, again, accepted)
        if outcome.error is None:
            assert isinstance(outcome.value, SignedTransaction)
            tx_id = outcome.value.id
            self.spectator.settled(tx_id, at=payer, other=payee)
            self.world.check(lambda: _holds_all(tx_id, (payer, payee)))
        return outcome

    # --- operators --------------------------------------------------------------------------------

    def kill_somebody(self) -> None:
        """Have the operator of some node kill some flow there, a notary's among them."""
        self.errors = (FlowException, *KILLED)
        self.flows_are_killed = True
        busy = [node for node in self.nodes if node.is_up and node.info().flows_live]
        if busy and not self._is_tidy:
            node = self.world.random.choice(busy)
            manager = node.running.manager
            flow_id = self.world.random.choice(list(manager.runs))
            self.world.recorder.note(f"the operator of {node.name} kills {flow_id}")
            manager.kill(flow_id)

    def tidy_up(self) -> None:
        """Have the operators see after what is held, or waits for a notary, until nothing does."""
        if self.world.is_mended and not any(_is_busy(node) for node in self.nodes):
            for node in self.nodes:
                manager = node.running.manager
                for flow_id in list(manager.runs):
                    manager.kill(flow_id)
                for tx_id in waiting_for_notary(node):
                    self.world.request(node, recover, tx_id)
            self._is_tidy = not any(waiting_for_notary(node) for node in self.nodes)
            if self._is_tidy:
                return
        self.world.after(60, self.tidy_up)

    # --- what must hold -------------------------------------------------------------------------

    def _everybody_is_content(self) -> None:
        waiting = [client.name for client in self.clients if not client.is_done]
        assert not waiting, f"still waiting for what they want: {waiting}"

    def _look(self, node: SimulatedNode, batch: Batch) -> None:
        """Now and then somebody asks some vault for all that it has."""
        if self._reader.random() < 1 / self._commits_per_look:
            asked = self._reader.choice(self.nodes)
            problems = list(index_against_vault(asked)) if asked.is_up else []
            assert not problems, f"{asked.name}: {'; '.join(problems)}"

    def _look_early(self, host: Host) -> None:
        """See in an index, which is in a file, what may be lost and come again, another time."""
        if self._reader.random() < 0.5:
            host.service(Vault).query(Query())

    def _ledgers_agree(self) -> None:
        leftovers = self.flows_are_killed or bool(self.spectator.crooks)
        check_ledgers(self.nodes, may_be_half_resolved=leftovers)

    def _nothing_is_made_or_lost(self) -> None:
        if self.spectator.crooks:
            return
        cash = {node.name: cash_of(node) for node in self.nodes}
        assert sum(cash.values()) == self.issued, f"{self.issued} was issued, there is {cash}"
        papers = {node.name: papers_of(node) for node in self.nodes}
        assert sum(papers.values()) == len(self.papers), f"{self.papers} issued, there is {papers}"

    def _all_errors_are_answers(self) -> None:
        """A flow fails with an error that its author wrote, and so do its peers."""
        for node, flow, error in self.world.recorder.failures():
            assert isinstance(error, self.errors), f"{flow} of {node} ended with {error!r}"


def waiting_for_notary(node: SimulatedNode) -> list[SecureHash]:
    return [tx_id for tx_id, _ in unnotarised_transactions(node.host)]


def cash_of(node: SimulatedNode) -> int:
    return sum(state.amount.quantity for state in _owned(node) if isinstance(state, CashState))


def papers_of(node: SimulatedNode) -> int:
    return sum(isinstance(state, CommercialPaper) for state in _owned(node))


def _owned(node: SimulatedNode) -> list[ContractState]:
    rows = (row for _, row in all_rows(node.host))
    return [row.state.data for row in rows if row.is_owned and row.status != CONSUMED]


def _is_busy(node: SimulatedNode) -> bool:
    info = node.info()
    return info.flows_live > info.flows_held


def _holds_all(tx_id: SecureHash, nodes: tuple[SimulatedNode, ...]) -> None:
    for node in nodes:
        assert verified_transaction(node.host, tx_id), f"{node.name} does not have {tx_id}"


def _directory(world: World) -> Path | None:
    if world.random.random() > FILES_RATE:
        return None
    return Path(world.enter(tempfile.TemporaryDirectory(prefix="sennit-floor-")))
