"""TransactionBuilder: the only mutable transaction.

    builder = TransactionBuilder(notary)
    builder.add_input(coin)
    builder.add_output(replace_owner, ...)
    builder.add_command(Move(), owner.key)
    signed = builder.sign(salt, [owner.key], signer.sign)

Outputs get the contract that their class belongs to, and the builder's notary. Inputs and
references keep their order; a command's signers keep theirs, without repetition.
"""

from collections.abc import Iterable

from ledger.components import SALT_BYTES, Group
from ledger.contracts import contract_of
from ledger.hashing import SecureHash
from ledger.signatures import Sign
from ledger.states import (
    ALWAYS_ACCEPT,
    ContractState,
    StateAndRef,
    StateRef,
    TransactionState,
)
from ledger.time_window import TimeWindow
from ledger.transactions import SignedTransaction, WireTransaction
from runtime.codec import encode, pack
from runtime.errors import MisuseError
from runtime.keys import PublicKey
from runtime.party import Party


class TransactionBuilder:
    """Collects the parts of one transaction."""

    def __init__(self, notary: Party | None = None) -> None:
        self.notary = notary
        self.time_window: TimeWindow | None = None
        self.parameters: SecureHash | None = None
        self._inputs: dict[StateRef, StateAndRef[ContractState]] = {}
        self._references: dict[StateRef, StateAndRef[ContractState]] = {}
        self._outputs: list[TransactionState] = []
        self._commands: list[tuple[object, dict[PublicKey, None]]] = []
        self._attachments: dict[SecureHash, None] = {}

    @property
    def inputs(self) -> tuple[StateAndRef[ContractState], ...]:
        """Return the inputs so far."""
        return tuple(self._inputs.values())

    @property
    def outputs(self) -> tuple[TransactionState, ...]:
        """Return the outputs so far."""
        return tuple(self._outputs)

    def add_input(self, *states: StateAndRef[ContractState]) -> None:
        """Consume ``states``. The first one decides about the notary, if none is set."""
        for state in states:
            self._check_new(state.ref)
            self._check_notary(state)
            self._inputs[state.ref] = state

    def add_reference(self, *states: StateAndRef[ContractState]) -> None:
        """Read ``states``, which the notary will check to be unconsumed."""
        for state in states:
            self._check_new(state.ref)
            self._check_notary(state)
            self._references[state.ref] = state

    def add_output(
        self,
        state: ContractState,
        *,
        contract: str | None = None,
        encumbrance: int | None = None,
        constraint: str = ALWAYS_ACCEPT,
    ) -> int:
        """Make a new state and return its index. ``encumbrance`` is the index of another output."""
        if self.notary is None:
            raise MisuseError("an output needs a notary: build with TransactionBuilder(notary)")
        name = contract_of(type(state)) if contract is None else contract
        self._outputs.append(
            TransactionState.of(
                state,
                contract=name,
                notary=self.notary,
                encumbrance=encumbrance,
                constraint=constraint,
            )
        )
        return len(self._outputs) - 1

    def add_command(self, data: object, *signers: PublicKey) -> None:
        """Say what the transaction does. Signers of equal commands are put together."""
        for known, keys in self._commands:
            if type(known) is type(data) and known == data:
                keys.update(dict.fromkeys(signers))
                return
        self._commands.append((data, dict.fromkeys(signers)))

    def add_attachment(self, *names: SecureHash) -> None:
        """Name attachments that belong to the transaction; each party will fetch them."""
        self._attachments.update(dict.fromkeys(names))

    @property
    def signers(self) -> tuple[PublicKey, ...]:
        """Return every key that a command so far asks a signature of."""
        return tuple(dict.fromkeys(key for _, keys in self._commands for key in keys))

    def to_wire(self, salt: bytes) -> WireTransaction:
        """Return what is there so far. ``salt``: 32 bytes that nobody can guess (`runtime.rng`)."""
        if len(salt) != SALT_BYTES:
            raise MisuseError(f"a transaction's salt has {SALT_BYTES} bytes, not {len(salt)}")
        groups: list[list[bytes]] = [[] for _ in Group]
        groups[Group.INPUTS] = _encoded(self._inputs)
        groups[Group.OUTPUTS] = _encoded(self._outputs)
        groups[Group.COMMANDS] = _encoded(pack(data) for data, _ in self._commands)
        groups[Group.ATTACHMENTS] = _encoded(self._attachments)
        groups[Group.NOTARY] = _encoded_one(self.notary)
        groups[Group.TIME_WINDOW] = _encoded_one(self.time_window)
        groups[Group.SIGNERS] = _encoded(list(keys) for _, keys in self._commands)
        groups[Group.REFERENCES] = _encoded(self._references)
        groups[Group.PARAMETERS] = _encoded_one(self.parameters)
        return WireTransaction.of(groups, salt)

    def sign(self, salt: bytes, keys: Iterable[PublicKey], sign: Sign) -> SignedTransaction:
        """Return what is there so far, signed with ``keys``."""
        return SignedTransaction(self.to_wire(salt).encoded).signed_by(keys, sign)

    def _check_new(self, ref: StateRef) -> None:
        if ref in self._inputs or ref in self._references:
            raise MisuseError(f"state {ref} is already an input or a reference")

    def _check_notary(self, state: StateAndRef[ContractState]) -> None:
        if self.notary is None:
            self.notary = state.state.notary
        if state.state.notary != self.notary:
            raise MisuseError(
                f"state {state.ref} is watched over by {state.state.notary}, the transaction by "
                f"{self.notary}; choose states of one notary, or change the state's notary first"
            )


def _encoded(values: Iterable[object]) -> list[bytes]:
    return [encode(value) for value in values]


def _encoded_one(value: object | None) -> list[bytes]:
    return [] if value is None else [encode(value)]
