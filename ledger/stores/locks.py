"""Soft locks: states that a flow means to spend, so that no other flow of this node tries.

    space vault.locks         StateRef.key(36) -> flow id, UTF-8
    space vault.flow_locks    flow id || 00 || StateRef.key(36) -> nothing

A lock belongs to the flow that took it, survives restarts, and goes when the flow ends in any way
or when the state is consumed. The notary knows nothing of it.
"""

from collections.abc import Sequence
from typing import Final

from ledger.errors import StatesNotAvailable
from ledger.states import FungibleState, StateAndRef, StateRef
from ledger.stores.coins import CoinRequest, add_coin, remove_coin, select_coins
from ledger.stores.rows import ReadRows, Rows, scan_prefix
from ledger.stores.vault import UNCONSUMED, LogEntry, append, vault_row
from runtime.ids import FlowId
from runtime.party import Party
from runtime.ports import Space

LOCKS: Final = Space("vault.locks")
FLOW_LOCKS: Final = Space("vault.flow_locks")


def lock(rows: Rows, flow_id: FlowId, refs: Sequence[StateRef]) -> None:
    """Lock all of ``refs`` or none; raises `StatesNotAvailable`.

    What the same flow has locked already stays locked.
    """
    new = [ref for ref in dict.fromkeys(refs) if holder_of(rows, ref) != flow_id]
    for ref in new:
        _check_free(rows, ref)
    for ref in new:
        _take(rows, flow_id, ref)
    append(rows, LogEntry(locked=tuple(new), flow_id=flow_id))


def lock_coins(
    rows: Rows, flow_id: FlowId, request: CoinRequest, notaries: Sequence[Party]
) -> list[StateAndRef[FungibleState]]:
    """Choose and lock states that cover ``request``; raises `InsufficientBalance`, locking none."""
    chosen = select_coins(rows, request, notaries)
    lock(rows, flow_id, [coin.ref for coin in chosen])
    return chosen


def release(rows: Rows, flow_id: FlowId, refs: Sequence[StateRef] | None = None) -> bool:
    """Let go of those of ``refs`` that the flow holds, of all without ``refs``; False: of none."""
    held = locked_by(rows, flow_id)
    wanted = None if refs is None else set(refs)
    freed = [ref for ref in held if wanted is None or ref in wanted]
    for ref in freed:
        forget(rows, ref)
        row = vault_row(rows, ref)
        if row is not None and row.status == UNCONSUMED:
            add_coin(rows, ref, row)
    append(rows, LogEntry(released=tuple(freed), flow_id=flow_id))
    return bool(freed)


def forget(rows: Rows, ref: StateRef) -> None:
    """Drop the lock of a state that is being consumed or released; the caller logs it."""
    holder = holder_of(rows, ref)
    if holder is not None:
        rows.delete(LOCKS, ref.key)
        rows.delete(FLOW_LOCKS, _flow_key(holder, ref))


def holder_of(rows: ReadRows, ref: StateRef) -> FlowId | None:
    """Return the flow that has locked a state."""
    holder = rows.get(LOCKS, ref.key)
    return None if holder is None else FlowId(holder.decode())


def locked_by(rows: ReadRows, flow_id: FlowId) -> list[StateRef]:
    """Return the states that a flow has locked, in order."""
    prefix = _flow_prefix(flow_id)
    found = scan_prefix(rows, FLOW_LOCKS, prefix)
    return [StateRef.from_key(key[len(prefix) :]) for key, _ in found]


def _check_free(rows: ReadRows, ref: StateRef) -> None:
    row = vault_row(rows, ref)
    if row is None:
        raise StatesNotAvailable(f"state {ref} is not in the vault")
    if row.status != UNCONSUMED:
        raise StatesNotAvailable(f"state {ref} was consumed by transaction {row.consumer}")
    holder = holder_of(rows, ref)
    if holder is not None:
        raise StatesNotAvailable(f"state {ref} is locked by flow {holder}")


def _take(rows: Rows, flow_id: FlowId, ref: StateRef) -> None:
    row = vault_row(rows, ref)
    assert row is not None
    rows.put(LOCKS, ref.key, flow_id.encode())
    rows.put(FLOW_LOCKS, _flow_key(flow_id, ref), b"")
    remove_coin(rows, ref, row)


def _flow_prefix(flow_id: FlowId) -> bytes:
    return flow_id.encode() + b"\0"


def _flow_key(flow_id: FlowId, ref: StateRef) -> bytes:
    return _flow_prefix(flow_id) + ref.key
