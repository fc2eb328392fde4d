"""Coins: the fungible states that can be spent now, found by what they are amounts of.

    space vault.coins   group(16) || notary(8) || StateRef.key(36) -> quantity u64 big-endian
        group  = first 16 bytes of SHA-256(msgpack of [state type, product])
        notary = first 8 bytes of SHA-256(msgpack of the notary's name and key)

    space vault.spent_coins   StateRef.key(36) -> SHA-256(32) of the id of what has consumed it

There is an entry exactly for each state that is fungible, ours, unconsumed, not locked, and can go
alone: not encumbered. So a selection reads what it takes and nothing else, however many states are
consumed or locked. A coin that a notary has refused as spent is no coin any more, though nobody has
shown us by what; ``vault.spent_coins`` keeps what the notary said.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from ledger.amounts import Issued
from ledger.errors import InsufficientBalance
from ledger.hashing import SecureHash
from ledger.states import FungibleState, StateAndRef, StateRef
from ledger.stores.rows import ReadRows, Rows, scan_prefix
from ledger.stores.vault import VaultRow, vault_row
from runtime.codec import encode, message
from runtime.party import AbstractParty, Party
from runtime.ports import Space

COINS: Final = Space("vault.coins")
SPENT_COINS: Final = Space("vault.spent_coins")
_REF_START: Final = 24


@message(name="ledger.CoinRequest")
class CoinRequest:
    """How much of what is wanted; ``state_type`` is the wire name of the state's class.

    No issuers: from whichever; ``token``: of exactly that issuer and reference. No notary: all from
    one, whichever suffices first.
    """

    state_type: str
    product: str
    quantity: int
    issuers: tuple[AbstractParty, ...] = ()
    notary: Party | None = None
    token: Issued | None = None


def add_coin(rows: Rows, ref: StateRef, row: VaultRow) -> None:
    """Make a state available, if it is one that can be."""
    data = row.state.data_or_none
    can_go_alone = row.state.encumbrance is None and rows.get(SPENT_COINS, ref.key) is None
    if isinstance(data, FungibleState) and row.is_owned and can_go_alone:
        rows.put(COINS, _key(row, data, ref), data.amount.quantity.to_bytes(8, "big"))


def remove_coin(rows: Rows, ref: StateRef, row: VaultRow) -> None:
    """Make a state unavailable; it is no error if it was."""
    data = row.state.data_or_none
    if isinstance(data, FungibleState):
        rows.delete(COINS, _key(row, data, ref))


def set_aside(rows: Rows, ref: StateRef, row: VaultRow, consumer_hash: SecureHash) -> None:
    """Make a state unavailable for good: its notary says that something has consumed it."""
    rows.put(SPENT_COINS, ref.key, consumer_hash.digest)
    remove_coin(rows, ref, row)


def select_coins(
    rows: ReadRows, request: CoinRequest, notaries: Sequence[Party]
) -> list[StateAndRef[FungibleState]]:
    """Return available states of one notary that cover the request; raises `InsufficientBalance`.

    The notary is one of ``notaries``, the network's: what others watch over, nobody takes. Which
    ones is an accident of their references, the same for the same vault.
    """
    group = _group(request.state_type, request.product)
    best = 0
    for notary in notaries:
        if request.notary not in (None, notary):
            continue
        prefix = group + _notary(notary)
        found = (StateRef.from_key(k[_REF_START:]) for k, _ in scan_prefix(rows, COINS, prefix))
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


def _matching(
    rows: ReadRows, ref: StateRef, request: CoinRequest
) -> StateAndRef[FungibleState] | None:
    row = vault_row(rows, ref)
    assert row is not None
    data = row.state.data
    assert isinstance(data, FungibleState)
    token = data.amount.token
    if request.token is not None and token != request.token:
        return None
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
