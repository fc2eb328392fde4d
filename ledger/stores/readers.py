"""How to decode the rows of each space of the ledger; for ``sennit node check``.

Of a state in the vault only the form is checked: its class is an app's.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

from ledger.hashing import SecureHash
from ledger.identity import OneTimeIdentity
from ledger.states import StateRef
from ledger.stores.attachments import ATTACHMENTS
from ledger.stores.coins import COINS, SPENT_COINS
from ledger.stores.identities import IDENTITIES, OWN_KEYS
from ledger.stores.locks import FLOW_LOCKS, LOCKS
from ledger.stores.notary import CONSUMED, GRANTS, REQUESTS, Grant
from ledger.stores.transactions import (
    COLLECTING,
    DOUBLE_SPENDS,
    SPENT,
    TRANSACTIONS,
    UNNOTARISED_TRANSACTIONS,
    TransactionRow,
    Unnotarised,
)
from ledger.stores.vault import HEAD, LOG, STATES, Head, LogEntry
from runtime.codec import decode

Reader = Callable[[bytes, bytes], object]
T = TypeVar("T")


def _message(message_class: type[T]) -> Reader:
    return lambda _key, value: decode(value, message_class)


def _attachment(key: bytes, value: bytes) -> None:
    if SecureHash.of(value).digest != key:
        raise ValueError("the content is not what its name says")


def _hash_of_ref(key: bytes, value: bytes) -> tuple[StateRef, SecureHash]:
    return StateRef.from_key(key), SecureHash(value)


def _double_spend(key: bytes, value: bytes) -> tuple[StateRef, SecureHash]:
    return StateRef.from_key(key.removesuffix(value)), SecureHash(value)


def _vault_row(key: bytes, value: bytes) -> tuple[StateRef, object]:
    return StateRef.from_key(key), msgspec.msgpack.decode(value)


def _coin(_key: bytes, value: bytes) -> None:
    if len(value) != 8:
        raise ValueError("it is not a quantity of 8 bytes")


def _nothing(_key: bytes, value: bytes) -> None:
    if value:
        raise ValueError("it should be empty")


def _bytes(_key: bytes, value: bytes) -> None:
    if not value:
        raise ValueError("it is empty")


READERS: Final[Mapping[str, Reader]] = {
    ATTACHMENTS.name: _attachment,
    COINS.name: _coin,
    IDENTITIES.name: _message(OneTimeIdentity),
    OWN_KEYS.name: _bytes,
    LOCKS.name: lambda key, value: (StateRef.from_key(key), value.decode()),
    FLOW_LOCKS.name: _nothing,
    CONSUMED.name: _hash_of_ref,
    GRANTS.name: _message(Grant),
    REQUESTS.name: _bytes,
    TRANSACTIONS.name: _message(TransactionRow),
    UNNOTARISED_TRANSACTIONS.name: _message(Unnotarised),
    COLLECTING.name: _nothing,
    SPENT.name: _hash_of_ref,
    DOUBLE_SPENDS.name: _double_spend,
    SPENT_COINS.name: _hash_of_ref,
    STATES.name: _vault_row,
    LOG.name: _message(LogEntry),
    HEAD.name: _message(Head),
}
