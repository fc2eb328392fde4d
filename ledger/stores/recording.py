"""Record a verified transaction: in the store of transactions and in the vault, in one go."""

from enum import Enum

from ledger.hashing import SecureHash
from ledger.states import ContractState, OwnableState, StateRef, TransactionState, owning_keys
from ledger.stores.coins import add_coin, remove_coin
from ledger.stores.identities import is_own_key
from ledger.stores.locks import forget
from ledger.stores.rows import ReadRows, Rows
from ledger.stores.transactions import add_verified, spender_of
from ledger.stores.vault import (
    UNCONSUMED,
    LogEntry,
    VaultRow,
    append,
    put_consumed,
    put_produced,
    vault_row,
)
from ledger.transactions import SignedTransaction
from runtime.codec import message
from runtime.keys import PublicKey


@message(name="ledger.StatesToRecord")
class StatesToRecord(Enum):
    """Which of a transaction's outputs come into the vault."""

    NONE = "none"
    ONLY_RELEVANT = "only_relevant"
    ALL_VISIBLE = "all_visible"


def record(
    rows: Rows,
    signed: SignedTransaction,
    *,
    identity: PublicKey,
    now_ms: int,
    states: StatesToRecord = StatesToRecord.ONLY_RELEVANT,
) -> None:
    """Keep a transaction whose contracts and signatures were verified; again is no error.

    What it consumes is consumed in the vault whatever ``states`` says, and its locks go with it.
    """
    add_verified(rows, signed)
    transaction, tx_id = signed.transaction, signed.id
    consumed = [ref for ref in transaction.inputs if _consume(rows, ref, tx_id, now_ms)]
    outputs = (transaction.output_ref(index) for index in range(len(transaction.outputs)))
    produced = [
        output.ref
        for output in outputs
        if _produce(rows, output.ref, output.state, identity, now_ms, states)
    ]
    append(rows, LogEntry(tx_id=tx_id, produced=tuple(produced), consumed=tuple(consumed)))


def is_owned(rows: ReadRows, data: ContractState, identity: PublicKey) -> bool:
    """Tell whether a state has an owner whose key is ours."""
    return isinstance(data, OwnableState) and _is_ours(rows, data.owner.key, identity)


def is_participant(rows: ReadRows, data: ContractState, identity: PublicKey) -> bool:
    """Tell whether one of a state's participants is us."""
    return any(_is_ours(rows, key, identity) for key in owning_keys(data.participants))


def _is_ours(rows: ReadRows, key: PublicKey, identity: PublicKey) -> bool:
    return key == identity or is_own_key(rows, key)


def _consume(rows: Rows, ref: StateRef, consumer: SecureHash, now_ms: int) -> bool:
    row = vault_row(rows, ref)
    if row is None or row.status != UNCONSUMED:
        return False
    remove_coin(rows, ref, row)
    forget(rows, ref)
    put_consumed(rows, ref, consumer=consumer, now_ms=now_ms)
    return True


def _produce(
    rows: Rows,
    ref: StateRef,
    state: TransactionState,
    identity: PublicKey,
    now_ms: int,
    states: StatesToRecord,
) -> bool:
    if states is StatesToRecord.NONE or vault_row(rows, ref) is not None:
        return False
    owned = is_owned(rows, state.data, identity)
    relevant = owned or is_participant(rows, state.data, identity)
    if not relevant and states is StatesToRecord.ONLY_RELEVANT:
        return False
    # A history may come late: the state was consumed by a transaction that we recorded before.
    spender = spender_of(rows, ref)
    row = VaultRow(state, relevant, owned, now_ms, None if spender is None else now_ms, spender)
    put_produced(rows, ref, row)
    if spender is None:
        add_coin(rows, ref, row)
    return True
