"""States: immutable facts that parties share, and how a transaction refers to them.

A state class is a message that derives from `ContractState` (or one of the kinds below it) and
says by ``@belongs_to`` of `ledger.contracts` which contract governs it. Inside a transaction it
stands as `TransactionState`, whose ``packed`` field keeps the bytes that arrived; ``data`` decodes
them, once.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, Generic, Protocol, Self, TypeVar, cast, runtime_checkable
from uuid import UUID

import msgspec

from ledger.amounts import Amount
from ledger.hashing import HASH_BYTES, SecureHash
from runtime.codec import Packed, message, pack, unpack_any, wire_name
from runtime.errors import SennitError
from runtime.keys import PublicKey
from runtime.limits import MIB
from runtime.party import AbstractParty, Party

ColumnValue = str | int | bool | None
"""What a custom column of the vault can hold; times are milliseconds, money the smallest unit."""

ALWAYS_ACCEPT: Final = "always"
"""The only contract constraint so far: whatever is installed under the contract's name."""


# Of the facts that are kept decoded, in their encoded form. An ordinary one has a few hundred
# bytes, but a peer may send one of ten megabytes, and another.
CACHED_BYTES_MAX: Final = MIB
CACHED_MAX: Final = 1_024


@message(name="ledger.ContractState")
class ContractState:
    """A fact. Its participants are those who must learn of every transaction that touches it."""

    @property
    def participants(self) -> Sequence[AbstractParty]:
        """Return everybody who must hold a copy of this state."""
        return ()


@runtime_checkable
class QueryableState(Protocol):
    """A state that wants to be found by columns of its own."""

    def columns(self) -> Mapping[str, ColumnValue]:
        """Return the custom columns; the names are the state's own."""


@message(name="ledger.OwnableState")
class OwnableState(ContractState):
    """A state that one party owns and can hand over."""

    owner: AbstractParty

    @property
    def participants(self) -> Sequence[AbstractParty]:
        """Return the owner."""
        return (self.owner,)

    def with_owner(self, owner: AbstractParty) -> Self:
        """Return the same fact in the hands of ``owner``."""
        return changed(self, owner=owner)


@message(name="ledger.FungibleState")
class FungibleState(OwnableState):
    """An owned amount: any two of the same token can be merged, and any one split."""

    amount: Amount

    def with_amount(self, amount: Amount) -> Self:
        """Return the same fact about another amount."""
        return changed(self, amount=amount)


@message(name="ledger.LinearId")
class LinearId:
    """What stays the same while a fact evolves over many transactions."""

    id: UUID
    external: str | None = None

    def __str__(self) -> str:
        return f"{self.external}_{self.id}" if self.external else str(self.id)


@message(name="ledger.LinearState")
class LinearState(ContractState):
    """A fact that evolves: one unconsumed version at a time, all under one id."""

    linear_id: LinearId


@message(name="ledger.StateRef")
class StateRef:
    """Names a state: the transaction that made it, and its number among the outputs there."""

    txhash: SecureHash
    index: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < 1 << 32:
            raise ValueError(f"an output's index is from 0 to 2**32 - 1, not {self.index}")

    @property
    def key(self) -> bytes:
        """Return 36 bytes that sort as the references do: hash, then index u32 big-endian."""
        return self.txhash.digest + self.index.to_bytes(4, "big")

    @classmethod
    def from_key(cls, key: bytes) -> "StateRef":
        """Read what ``key`` has written."""
        return cls(SecureHash(key[:HASH_BYTES]), int.from_bytes(key[HASH_BYTES:], "big"))

    def __lt__(self, other: "StateRef") -> bool:
        return self.key < other.key

    def __str__(self) -> str:
        return f"{self.txhash}({self.index})"


@message(name="ledger.TransactionState")
class TransactionState:
    """A state as it stands among a transaction's outputs: the fact, and who watches over it."""

    packed: Packed
    contract: str
    notary: Party
    encumbrance: int | None = None
    constraint: str = ALWAYS_ACCEPT

    @classmethod
    def of(
        cls,
        data: ContractState,
        *,
        contract: str,
        notary: Party,
        encumbrance: int | None = None,
        constraint: str = ALWAYS_ACCEPT,
    ) -> "TransactionState":
        """Pack ``data`` together with what governs it."""
        return cls(pack(data), contract, notary, encumbrance, constraint)

    @property
    def data(self) -> ContractState:
        """Return the fact. Raises BadMessage if this node has no such type installed."""
        return _decoded_ones.of(self.packed)

    @property
    def data_or_none(self) -> ContractState | None:
        """Return the fact; None if its class is not installed here, or not any more."""
        try:
            return self.data
        except (SennitError, TypeError, ValueError):
            return None

    @property
    def state_type(self) -> str:
        """Return the wire name of the fact's class, installed here or not."""
        return self.packed.type


T_co = TypeVar("T_co", bound=ContractState, covariant=True)


@message(name="ledger.StateAndRef")
class StateAndRef(Generic[T_co]):
    """A state together with its name."""

    state: TransactionState
    ref: StateRef

    @property
    def data(self) -> T_co:
        """Return the fact, taken to be of the type that this value was declared with."""
        return self.state.data  # type: ignore[return-value]


State = TypeVar("State", bound=ContractState)


def as_type(state: StateAndRef[ContractState], kind: type[State]) -> StateAndRef[State]:
    """Return ``state`` as one of ``kind``; a TypeError if it is not."""
    if not isinstance(state.data, kind):
        raise TypeError(f"{state.ref} is a {wire_name(type(state.data))}, not a {wire_name(kind)}")
    return StateAndRef(state.state, state.ref)


def parties_in(data: ContractState) -> tuple[AbstractParty, ...]:
    """Return who owns a state or takes part in it, each once."""
    owner = (data.owner,) if isinstance(data, OwnableState) else ()
    return tuple(dict.fromkeys((*owner, *data.participants)))


def owning_keys(parties: Sequence[AbstractParty]) -> frozenset[PublicKey]:
    """Return the keys of ``parties``."""
    return frozenset(party.key for party in parties)


M = TypeVar("M")


def changed(value: M, **fields: object) -> M:
    """Return a copy of a message with some of its fields replaced."""
    return cast(M, msgspec.structs.replace(cast(msgspec.Struct, value), **fields))


class DecodedStates:
    """The facts that were asked for last, by their bytes: a bounded number of these.

    A transaction's states are looked at by contracts, vault and flows in turn.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Packed, ContractState] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, packed: Packed) -> ContractState:
        """Return the fact in ``packed``; raises TypeError if it is none."""
        known = self._kept.get(packed)
        if known is not None:
            self._kept.move_to_end(packed)
            return known
        value = unpack_any(packed)
        if not isinstance(value, ContractState):
            raise TypeError(f"{packed.type} is registered, but is no contract state")
        if len(packed.body) <= CACHED_BYTES_MAX:
            self._keep(packed, value)
        return value

    def _keep(self, packed: Packed, value: ContractState) -> None:
        self._kept[packed] = value
        self.size_bytes += len(packed.body)
        while self.size_bytes > CACHED_BYTES_MAX or len(self._kept) > CACHED_MAX:
            oldest, _ = self._kept.popitem(last=False)
            self.size_bytes -= len(oldest.body)


_decoded_ones: Final = DecodedStates()
