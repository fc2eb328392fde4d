"""Coins: the fungible states that can be spent now, found by what they are amounts of.

    space vault.coins   group(16) || notary(8) || StateRef.key(36) -> quantity u64 big-endian
        group  = first 16 bytes of SHA-256(msgpack of [state type, product])
        notary = first 8 bytes of SHA-256(msgpack of the notary's name and key)

There is an entry exactly for each state that is fungible, ours, unconsumed and not locked, so a
selection reads what it takes and nothing else, however many states are consumed or locked.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from ledger.amounts import Issued
from ledger.errors import InsufficientBalance
from ledger.states import FungibleState, StateAndRef, StateRef
from ledger.stores.rows import ReadRows, Rows, scan_prefix
from ledger.stores.vault import VaultRow, vault_row
from runtime.codec import encode, message
from runtime.party import AbstractParty, Party
from runtime.ports import Space

COINS: Final = Space("vault.coins")
_REF_START: Final = 24


@message(name="ledger.CoinRequest")
class CoinRequest:
    """How much of what is wanted; ``state_type`` is the wire name of the state's class.

    No issuers: from whichever. No notary: all from one, whichever suffices first.
    """

    state_type: str
    product: str
    quantity: int
    issuers: tuple[AbstractParty, ...] = ()
    notary: Party | None = None


def add_coin(rows: Rows, ref: StateRef, row: VaultRow) -> None:
    """Make a state available, if it is one that can be."""
    data = row.state.data
    if isinstance(data, FungibleState) and row.is_owned:
        rows.put(COINS, _key(row, data, ref), data.amount.quantity.to_bytes(8, "big"))


def remove_coin(rows: Rows, ref: StateRef, row: VaultRow) -> None:
    """Make a state unavailable; it is no error if it was."""
    data = row.state.data
    if isinstance(data, FungibleState):
        rows.delete(COINS, _key(row, data, ref))


def select_coins(rows: ReadRows, request: CoinRequest) -> list[StateAndRef[FungibleState]]:
    """Return available states of one notary that cover the request; raises `InsufficientBalance`.

    Which ones is an accident of their references, the same for the same vault.
    """
    prefix = _group(request.state_type, request.product)
    if request.notary is not None:
        prefix += _notary(request.notary)
    best = 0
    for found in _by_notary(rows, prefix):
        chosen: list[StateAndRef[FungibleState]] = []
        total = 0
        for ref in found:
            state = _matching(rows, ref, request)
            if state is None:
                continue
            chosen.append(state)
            total += state.data.amount.quantity
            if total >= request.quantity:
                return chosen
        best = max(best, total)
    raise InsufficientBalance(request.quantity - best, request.product)


def _by_notary(rows: ReadRows, prefix: bytes) -> Iterator[Iterator[StateRef]]:
    """Yield, for each notary under ``prefix``, the references; the caller may leave one early."""
    start = prefix
    while True:
        first = next(_scan_from(rows, prefix, start), None)
        if first is None:
            return
        notary_prefix = first[0][:_REF_START]
        yield (
            StateRef.from_key(key[_REF_START:])
            for key, _ in scan_prefix(rows, COINS, notary_prefix)
        )
        start = notary_prefix + b"\xff" * 37


def _scan_from(rows: ReadRows, prefix: bytes, start: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the coins whose key begins with ``prefix`` and is not before ``start``."""
    for key, value in rows.scan(COINS, start, None):
        if not key.startswith(prefix):
            return
        yield key, value


def _matching(
    rows: ReadRows, ref: StateRef, request: CoinRequest
) -> StateAndRef[FungibleState] | None:
    row = vault_row(rows, ref)
    assert row is not None
    data = row.state.data
    assert isinstance(data, FungibleState)
    token = data.amount.token
    if request.issuers and not (isinstance(token, Issued) and token.issuer in request.issuers):
        return None
    return StateAndRef(row.state, ref)


def _key(row: VaultRow, data: FungibleState, ref: StateRef) -> bytes:
    group = _group(row.state.state_type, data.amount.product)
    return group + _notary(row.state.notary) + ref.key


def _group(state_type: str, product: str) -> bytes:
    return sha256(encode([state_type, product])).digest()[:16]


def _notary(notary: Party) -> bytes:
    return sha256(encode([notary.name, notary.key])).digest()[:8]
