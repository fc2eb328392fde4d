"""The vault: what this node knows. For flows, functions; for everybody else, the `Vault` service.

In a flow, a query is journaled and a reservation is a part of the flow's own commit. Outside,
``host.service(Vault)`` answers at once, as of everything written so far, and tells of changes once
they are durable.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from ledger.amounts import QUANTITY_MAX, Amount
from ledger.hashing import SecureHash
from ledger.query import IS_OWNED, AnyCriterion, Facts, Page, Query, Status, of_type
from ledger.states import ContractState, FungibleState, StateAndRef, StateRef, as_type
from ledger.stores.coins import CoinRequest
from ledger.stores.locks import holder_of, lock, lock_coins, release
from ledger.stores.vault import UNCONSUMED, Head, LogEntry, head, vault_row
from ledger.vault_index import VaultIndex
from runtime.atomic import StoreTxn, atomic
from runtime.codec import wire_name
from runtime.context import current_flow, service
from runtime.host import Host
from runtime.ids import FlowId
from runtime.step import step

T = TypeVar("T", bound=ContractState)
F = TypeVar("F", bound=FungibleState)


@dataclass(frozen=True, slots=True)
class Update:
    """A durable change of the vault: of what somebody tracks, what came and what went."""

    position: int
    tx_id: SecureHash | None
    produced: tuple[StateAndRef[ContractState], ...]
    consumed: tuple[StateAndRef[ContractState], ...]


@dataclass(frozen=True, slots=True)
class Tracking:
    """What there was when the tracking began, and how to end it."""

    snapshot: Page[ContractState]
    stop: Callable[[], None]


class Vault:
    """Answers queries over this node's states, and tells of changes. Belongs to one loop."""

    def __init__(self, host: Host, index_path: Path | None) -> None:
        self._host = host
        self._index_path = index_path
        self._heard: deque[tuple[Head, LogEntry]] = deque()
        self._trackers: list[Callable[[Head, LogEntry], None]] = []
        self._stop_listening: Callable[[], None] = lambda: None

    @cached_property
    def _index(self) -> VaultIndex:
        """The index; opened when somebody asks for the first time, which on many nodes is never."""
        return VaultIndex(self._host, self._index_path)

    def query(self, query: Query) -> Page[ContractState]:
        """Return what ``query`` finds."""
        found = self._index.find(query)
        facts = tuple(self._facts(ref) for ref in found.refs)
        return Page(self._states(found.refs), facts, found.total, found.position)

    def states(self, kind: type[T], criterion: AnyCriterion | None = None) -> list[StateAndRef[T]]:
        """Return the unconsumed states of a class, up to a default page's number of them."""
        return _readable(self.query(_of(kind, criterion)), kind)

    def totals(self, query: Query) -> dict[str, int]:
        """Return, by product, the sum of the quantities of what ``query`` finds."""
        return self._index.totals(query)

    def balance(self, kind: type[FungibleState], product: str) -> Amount:
        """Return how much of ``product`` this node owns, locked or not, in states of a class.

        Whoever issued it: what strangers have sent counts too. An amount can't be larger than
        `QUANTITY_MAX`; `totals` tells even then how much it is.
        """
        totals = self._index.totals(Query(of_type(kind) & IS_OWNED.equals(True)))
        return Amount(min(totals.get(product, 0), QUANTITY_MAX), product)

    def track(self, query: Query, on_update: Callable[[Update], None]) -> Tracking:
        """Return what ``query`` finds, and call ``on_update`` for each change after exactly that.

        The calls come from the loop, once the change is durable, in order. Changes count whether
        the states are consumed or not.
        """
        snapshot = self.query(query)

        def tell(reached: Head, entry: LogEntry) -> None:
            if reached.position > snapshot.position:
                update = self._update(query, reached, entry)
                if update is not None:
                    on_update(update)

        if not self._trackers:
            self._stop_listening = self._index.listen(
                lambda reached, entry: self._heard.append((reached, entry))
            )
        self._trackers.append(tell)
        return Tracking(snapshot, lambda: self._untrack(tell))

    def became_durable(self, position: int) -> None:
        """Tell of the changes up to ``position``. For whoever has written them."""
        if self._trackers:
            self._index.catch_up()
        while self._heard and self._heard[0][0].position <= position:
            reached, entry = self._heard.popleft()
            for tell in list(self._trackers):
                tell(reached, entry)

    def close(self) -> None:
        """Let go of the index, if it was opened."""
        if "_index" in vars(self):
            self._index.close()

    def _untrack(self, tell: Callable[[Head, LogEntry], None]) -> None:
        if tell in self._trackers:
            self._trackers.remove(tell)
            if not self._trackers:
                self._stop_listening()
                self._heard.clear()

    def _update(self, query: Query, reached: Head, entry: LogEntry) -> Update | None:
        about = self._index.among(query, (*entry.produced, *entry.consumed))
        if not about:
            return None
        return Update(
            reached.position,
            entry.tx_id,
            self._states(ref for ref in entry.produced if ref in about),
            self._states(ref for ref in entry.consumed if ref in about),
        )

    def _states(self, refs: Iterable[StateRef]) -> tuple[StateAndRef[ContractState], ...]:
        rows = ((ref, vault_row(self._host, ref)) for ref in refs)
        return tuple(StateAndRef(row.state, ref) for ref, row in rows if row is not None)

    def _facts(self, ref: StateRef) -> Facts:
        row = vault_row(self._host, ref)
        assert row is not None
        return Facts(
            Status.UNCONSUMED if row.consumed_ms is None else Status.CONSUMED,
            row.is_relevant,
            row.recorded_ms,
            row.consumed_ms,
            row.consumer,
            holder_of(self._host, ref),
        )


# --- for flows --------------------------------------------------------------------------------


@step(kind="pure", name="ledger.query")
def query_vault(query: Query) -> Page[ContractState]:
    """Return what ``query`` finds in this node's vault; in a flow, the same at every replay."""
    return service(Vault).query(query)


def find_states(kind: type[T], criterion: AnyCriterion | None = None) -> list[StateAndRef[T]]:
    """Return the unconsumed states of a class, up to a default page's number of them."""
    return _readable(query_vault(_of(kind, criterion)), kind)


@step(kind="pure", name="ledger.state")
def _unconsumed(ref: StateRef) -> StateAndRef[ContractState] | None:
    row = vault_row(service(Host), ref)
    return None if row is None or row.status != UNCONSUMED else StateAndRef(row.state, ref)


def find_state(kind: type[T], ref: StateRef) -> StateAndRef[T] | None:
    """Return a state of this node's vault if it is there, unconsumed and of that class."""
    found = _unconsumed(ref)
    return as_type(found, kind) if found and isinstance(found.state.data_or_none, kind) else None


def reserve(kind: type[F], request: CoinRequest) -> list[StateAndRef[F]]:
    """Choose states that cover ``request`` and lock them for this flow until it ends.

    Raises `InsufficientBalance`, locking nothing. No other flow of this node can choose them.
    """
    assert request.state_type == wire_name(kind)
    chosen = _lock_coins(current_flow().id, request)
    return [as_type(state, kind) for state in chosen]


def lock_states(*refs: StateRef) -> None:
    """Lock states for this flow until it ends; raises `StatesNotAvailable`, locking none."""
    _lock_states(current_flow().id, refs)


def release_states(*refs: StateRef) -> None:
    """Let go of states that this flow has locked before it ends."""
    _release_states(current_flow().id, refs)


@atomic
def _lock_coins(
    txn: StoreTxn, flow_id: FlowId, request: CoinRequest
) -> list[StateAndRef[ContractState]]:
    chosen = lock_coins(txn, flow_id, request, txn.host.directory.notaries())
    announce(txn)
    return [StateAndRef(state.state, state.ref) for state in chosen]


@atomic
def _lock_states(txn: StoreTxn, flow_id: FlowId, refs: tuple[StateRef, ...]) -> None:
    lock(txn, flow_id, refs)
    announce(txn)


@atomic
def _release_states(txn: StoreTxn, flow_id: FlowId, refs: tuple[StateRef, ...]) -> None:
    release(txn, flow_id, refs)
    announce(txn)


def release_at_end(txn: StoreTxn, flow_id: FlowId) -> None:
    """Let go of all that a flow has locked; for the commit in which it ends."""
    if release(txn, flow_id):
        announce(txn)


def announce(txn: StoreTxn) -> None:
    """Have the vault tell of what ``txn`` has changed, once that is durable."""
    vault, position = txn.host.service(Vault), head(txn).position
    txn.on_durable(lambda: vault.became_durable(position))


def _readable(page: Page[ContractState], kind: type[T]) -> list[StateAndRef[T]]:
    """Return those that the class, as it is installed here now, can read."""
    return [as_type(s, kind) for s in page.states if isinstance(s.state.data_or_none, kind)]


def _of(kind: type[ContractState], criterion: AnyCriterion | None) -> Query:
    return Query(of_type(kind) if criterion is None else of_type(kind) & criterion)
