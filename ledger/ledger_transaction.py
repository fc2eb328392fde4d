"""LedgerTransaction: a transaction with all it refers to, decoded: what a contract judges.

It is a value. Whoever builds one has fetched the states behind the references and decoded every
component, so a contract needs nothing but this and computes nothing but its verdict.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ledger.errors import ContractRejected
from ledger.hashing import SecureHash
from ledger.states import ContractState, StateAndRef, StateRef, TransactionState, as_type
from ledger.time_window import TimeWindow
from runtime.keys import PublicKey
from runtime.party import Party

T = TypeVar("T")
S = TypeVar("S", bound=ContractState)
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)  # no slots: typing sets __orig_class__ on Command[X](...)
class Command(Generic[T]):
    """What a transaction does, as a message, and the keys that must sign because of it."""

    data: T
    signers: tuple[PublicKey, ...]


@dataclass(frozen=True, slots=True)
class Attachment:
    """Bytes that a transaction names by their hash."""

    id: SecureHash
    content: bytes


@dataclass(frozen=True, kw_only=True)
class InOut(Generic[S, K]):
    """The inputs and outputs that belong together, as `LedgerTransaction.group_states` sorts."""

    key: K
    inputs: tuple[S, ...]
    outputs: tuple[S, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerTransaction:
    """All of a transaction, decoded and resolved."""

    id: SecureHash
    inputs: tuple[StateAndRef[ContractState], ...]
    outputs: tuple[TransactionState, ...]
    commands: tuple[Command[object], ...]
    references: tuple[StateAndRef[ContractState], ...] = ()
    attachments: tuple[Attachment, ...] = ()
    notary: Party | None = None
    time_window: TimeWindow | None = None

    def inputs_of(self, kind: type[S]) -> list[S]:
        """Return the consumed states of ``kind``."""
        return [state.data for state in self.inputs if isinstance(state.data, kind)]

    def input_refs_of(self, kind: type[S]) -> list[StateAndRef[S]]:
        """Return the consumed states of ``kind`` with their references."""
        return [as_type(state, kind) for state in self.inputs if isinstance(state.data, kind)]

    def references_of(self, kind: type[S]) -> list[S]:
        """Return the states of ``kind`` that are only read."""
        return [state.data for state in self.references if isinstance(state.data, kind)]

    def outputs_of(self, kind: type[S]) -> list[S]:
        """Return the new states of ``kind``."""
        return [state.data for state in self.outputs if isinstance(state.data, kind)]

    def output_refs_of(self, kind: type[S]) -> list[StateAndRef[S]]:
        """Return the new states of ``kind`` with their references."""
        refs = (self.output_ref(index) for index in range(len(self.outputs)))
        return [as_type(state, kind) for state in refs if isinstance(state.data, kind)]

    def output_ref(self, index: int) -> StateAndRef[ContractState]:
        """Return an output with its reference."""
        return StateAndRef(self.outputs[index], StateRef(self.id, index))

    def commands_of(self, kind: type[T]) -> list[Command[T]]:
        """Return the commands whose data is of ``kind``."""
        return [Command(c.data, c.signers) for c in self.commands if isinstance(c.data, kind)]

    def command(self, *kinds: type[T]) -> Command[T]:
        """Return the only command of one of ``kinds``; the contract rejects if there is not one."""
        found = [c for kind in kinds for c in self.commands_of(kind)]
        if len(found) != 1:
            names = " or ".join(kind.__qualname__ for kind in kinds)
            raise ContractRejected(f"there must be one command {names}, not {len(found)}")
        return found[0]

    def group_states(self, kind: type[S], key: Callable[[S], K]) -> list[InOut[S, K]]:
        """Sort the states of ``kind`` by ``key``; a contract judges each group for itself."""
        inputs = _by_key(self.inputs_of(kind), key)
        outputs = _by_key(self.outputs_of(kind), key)
        return [
            InOut(key=k, inputs=tuple(inputs.get(k, ())), outputs=tuple(outputs.get(k, ())))
            for k in dict.fromkeys((*inputs, *outputs))
        ]


def _by_key(states: Sequence[S], key: Callable[[S], K]) -> dict[K, list[S]]:
    groups: dict[K, list[S]] = {}
    for state in states:
        groups.setdefault(key(state), []).append(state)
    return groups
