"""What is durable at one node, kept up to date from its batches; what each batch has changed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from ledger.hashing import SecureHash
from ledger.states import StateRef
from ledger.stores.coins import COINS, SPENT_COINS
from ledger.stores.identities import OWN_KEYS
from ledger.stores.locks import FLOW_LOCKS, LOCKS
from ledger.stores.notary import CONSUMED, GRANTS, REQUESTS
from ledger.stores.rows import key_bytes
from ledger.stores.transactions import (
    COLLECTING,
    SPENT,
    TRANSACTIONS,
    UNNOTARISED_TRANSACTIONS,
    TransactionRow,
)
from ledger.stores.vault import HEAD, LOG, STATES, VaultRow
from runtime.codec import decode
from runtime.core.events import JOURNAL
from runtime.keys import PublicKey
from runtime.ports import Batch, Space
from runtime.testing.network import SimulatedNode

WATCHED: Final = (
    COINS,
    COLLECTING,
    CONSUMED,
    FLOW_LOCKS,
    GRANTS,
    HEAD,
    LOCKS,
    LOG,
    OWN_KEYS,
    REQUESTS,
    SPENT,
    SPENT_COINS,
    STATES,
    TRANSACTIONS,
    UNNOTARISED_TRANSACTIONS,
)

REF_BYTES: Final = 36

Key = bytes


@dataclass
class Change:
    """What a batch has done: the values before of all that it has written, flows that ended."""

    before: dict[Space, dict[Key, bytes | None]] = field(default_factory=dict)
    ended: list[bytes] = field(default_factory=list)

    def keys(self, space: Space) -> Iterator[Key]:
        """Yield the keys of a space that were written."""
        yield from self.before.get(space, ())

    def refs(self) -> set[StateRef]:
        """Return the states that were written or deleted, in the vault or among the locks."""
        keys = {*self.keys(STATES), *self.keys(LOCKS), *(k[-REF_BYTES:] for k in self.keys(COINS))}
        return {StateRef.from_key(key) for key in keys}


class Mirror:
    """See the module."""

    def __init__(self, node: SimulatedNode) -> None:
        self.name = node.name
        self.party = node.party
        self.rows: dict[Space, dict[Key, bytes]] = {space: {} for space in WATCHED}
        self.coins: dict[Key, Key] = {}
        self.flows: set[bytes] = set()
        self.owned: dict[StateRef, VaultRow] = {}
        """What is ours and unconsumed."""
        self.produced: set[StateRef] = set()
        self.consumed: set[StateRef] = set()
        """What the vault's log has told of."""
        self._transactions: dict[Key, TransactionRow] = {}

    def follow(self, batch: Batch) -> Change:
        """Apply a batch and return what it has changed."""
        change = Change()
        for space in WATCHED:
            writes = batch.writes.get(space)
            if writes:
                change.before[space] = self._apply(space, writes)
        for key, value in batch.writes.get(JOURNAL, {}).items():
            if value is not None and not any(key[16:]):
                self.flows.add(key[:16])
        for flow, _ in batch.deleted_series.get(JOURNAL, ()):
            self.flows.discard(flow)
            change.ended.append(flow)
        self._follow_coins(change)
        for key in change.keys(TRANSACTIONS):
            self._transactions.pop(key, None)
        for key in change.keys(STATES):
            self._follow_state(StateRef.from_key(key))
        return change

    def get(self, space: Space, key: Key) -> bytes | None:
        """Return what is durable."""
        return self.rows[space].get(key)

    def transaction(self, tx_id: SecureHash) -> TransactionRow | None:
        """Return what is durable of a transaction."""
        body = self.rows[TRANSACTIONS].get(tx_id.digest)
        if body is None:
            return None
        found = self._transactions.get(tx_id.digest)
        if found is None:
            found = self._transactions[tx_id.digest] = decode(body, TransactionRow)
        return found

    def status(self, tx_id: SecureHash) -> str | None:
        """Return the status of a transaction, None if it is not there."""
        row = self.transaction(tx_id)
        return None if row is None else row.status

    def status_before(self, change: Change, tx_id: SecureHash) -> str | None:
        """Return the status that a transaction had before a change of it."""
        body = change.before[TRANSACTIONS][tx_id.digest]
        return None if body is None else decode(body, TransactionRow).status

    def state(self, ref: StateRef) -> VaultRow | None:
        """Return what the vault has of a state."""
        body = self.rows[STATES].get(ref.key)
        return None if body is None else decode(body, VaultRow)

    def owns(self, key: PublicKey) -> bool:
        """Tell whether a key is the node's, and would still be after a crash."""
        return key == self.party.key or key_bytes(key) in self.rows[OWN_KEYS]

    def lives(self, flow_id: str) -> bool:
        """Tell whether a flow has a journal."""
        return UUID(flow_id).bytes in self.flows

    def _apply(self, space: Space, writes: dict[Key, bytes | None]) -> dict[Key, bytes | None]:
        table = self.rows[space]
        before = {key: table.get(key) for key in writes}
        for key, value in writes.items():
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value
        return before

    def _follow_coins(self, change: Change) -> None:
        for key in change.keys(COINS):
            if key in self.rows[COINS]:
                self.coins[key[-REF_BYTES:]] = key
            else:
                self.coins.pop(key[-REF_BYTES:], None)

    def _follow_state(self, ref: StateRef) -> None:
        row = self.state(ref)
        if row is not None and row.is_owned and row.consumed_ms is None:
            self.owned[ref] = row
        else:
            self.owned.pop(ref, None)
