"""Test contracts without a network: identities, and transactions that must verify or fail.

    tx = Ledger(NOTARY.party).transaction()
    tx.input(coin)
    tx.output(coin.with_owner(BOB.party))
    with tx.tweak() as wrong:
        wrong.command(Move(), BOB.key)
        wrong.fails_with("the owner must sign")
    tx.command(Move(), ALICE.key)
    tx.verifies()

What verifies is kept: a labelled output can be an input of the ledger's next transaction.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256

from ledger.builder import TransactionBuilder
from ledger.errors import TransactionVerificationError
from ledger.hashing import SecureHash
from ledger.ledger_transaction import Attachment, LedgerTransaction
from ledger.states import ContractState, StateAndRef, StateRef, TransactionState
from ledger.time_window import TimeWindow
from ledger.transactions import WireTransaction
from ledger.verification import verify
from runtime.errors import MisuseError
from runtime.keys import PrivateKey, PublicKey
from runtime.names import peer_name
from runtime.party import AnonymousParty, Party


class TestIdentity:
    """A party with its private key; the same name always has the same key."""

    __test__ = False

    def __init__(self, name: str) -> None:
        self.private = PrivateKey.from_seed(sha256(name.encode()).digest())
        self.party = Party(peer_name(name), self.private.public)

    @property
    def key(self) -> PublicKey:
        """Return the identity key."""
        return self.private.public

    def one_time(self, number: int) -> AnonymousParty:
        """Return a one-time identity of this party."""
        seed = sha256(f"{self.party.name}/{number}".encode()).digest()
        return AnonymousParty(PrivateKey.from_seed(seed).public)

    def sign(self, key: PublicKey, content: bytes) -> bytes:
        """Sign with the identity key; fits where a builder asks for a signing function."""
        if key != self.key:
            raise MisuseError(f"{self.party} does not hold key {key}")
        return self.private.sign(content)


class Ledger:
    """Remembers the labelled outputs of what verified, so that transactions can follow on."""

    def __init__(self, notary: Party) -> None:
        self.notary = notary
        self.states: dict[StateRef, TransactionState] = {}
        self.attachments: dict[SecureHash, Attachment] = {}
        self.labels: dict[str, StateRef] = {}
        self._made = 0

    def transaction(self) -> "Draft":
        """Return an empty transaction on this ledger."""
        return Draft(self, ())

    def state(self, label: str) -> StateAndRef[ContractState]:
        """Return the output that was labelled so."""
        ref = self.labels.get(label)
        if ref is None:
            raise MisuseError(f"no output of a verified transaction has the label {label!r}")
        return StateAndRef(self.states[ref], ref)

    def issue(
        self, state: ContractState, contract: str | None = None, encumbrance: int | None = None
    ) -> StateAndRef[ContractState]:
        """Return ``state`` as an output of a made-up transaction."""
        builder = TransactionBuilder(self.notary)
        builder.add_output(state, contract=contract, encumbrance=encumbrance)
        return self._keep(builder.outputs[0])

    def attach(self, content: bytes) -> SecureHash:
        """Put an attachment in reach of this ledger's transactions."""
        attachment = Attachment(SecureHash.of(content), content)
        self.attachments[attachment.id] = attachment
        return attachment.id

    def fresh_salt(self) -> bytes:
        """Return 32 bytes that this ledger never returned before."""
        self._made += 1
        return sha256(b"salt %d" % self._made).digest()

    def _keep(self, state: TransactionState) -> StateAndRef[ContractState]:
        ref = StateRef(SecureHash(self.fresh_salt()), 0)
        self.states[ref] = state
        return StateAndRef(state, ref)


@dataclass(frozen=True, slots=True)
class _Input:
    state: StateAndRef[ContractState]


@dataclass(frozen=True, slots=True)
class _Reference:
    state: StateAndRef[ContractState]


@dataclass(frozen=True, slots=True)
class _Output:
    state: ContractState
    label: str | None
    contract: str | None
    encumbrance: int | None


@dataclass(frozen=True, slots=True)
class _Command:
    data: object
    signers: tuple[PublicKey, ...]


_Part = _Input | _Reference | _Output | _Command | TimeWindow | SecureHash


class Draft:
    """A transaction in the making. It is built and judged anew at each question."""

    def __init__(self, ledger: Ledger, parts: tuple[_Part, ...]) -> None:
        self._ledger = ledger
        self._parts = parts

    def input(self, state: str | ContractState | StateAndRef[ContractState]) -> None:
        """Consume a labelled output, a state of a made-up transaction, or just what is given."""
        self._add(_Input(self._known(state)))

    def reference(self, state: str | ContractState | StateAndRef[ContractState]) -> None:
        """Read a state."""
        self._add(_Reference(self._known(state)))

    def output(
        self,
        state: ContractState,
        *,
        label: str | None = None,
        contract: str | None = None,
        encumbrance: int | None = None,
    ) -> None:
        """Make a state; ``label`` names it for later transactions."""
        self._add(_Output(state, label, contract, encumbrance))

    def command(self, data: object, *signers: PublicKey) -> None:
        """Say what the transaction does, and who signs."""
        self._add(_Command(data, signers))

    def time_window(self, window: TimeWindow) -> None:
        """Say when it may be notarised."""
        self._add(window)

    def attachment(self, content: bytes) -> None:
        """Attach ``content``."""
        self._add(self._ledger.attach(content))

    @contextmanager
    def tweak(self) -> Iterator["Draft"]:
        """Give a copy to change; this transaction stays as it is."""
        yield Draft(self._ledger, self._parts)

    def verifies(self) -> WireTransaction:
        """Check that the transaction is valid, and keep its labelled outputs."""
        wire = self.wire()
        verify(self._resolved(wire))
        for index, state in enumerate(wire.outputs):
            self._ledger.states[StateRef(wire.id, index)] = state
        labels = [part.label for part in self._parts if isinstance(part, _Output)]
        for index, label in enumerate(labels):
            if label is not None:
                self._ledger.labels[label] = StateRef(wire.id, index)
        return wire

    def fails_with(self, text: str) -> TransactionVerificationError:
        """Check that the transaction is refused with ``text`` somewhere in the error."""
        try:
            verify(self._resolved(self.wire()))
        except TransactionVerificationError as error:
            if text.lower() not in str(error).lower():
                raise AssertionError(f"refused, but not with {text!r}: {error}") from error
            return error
        raise AssertionError(f"the transaction verifies; it should fail with {text!r}")

    def fails(self) -> TransactionVerificationError:
        """Check that the transaction is refused for whatever reason."""
        return self.fails_with("")

    def wire(self) -> WireTransaction:
        """Return the transaction as it would go over the wire."""
        builder = TransactionBuilder(self._ledger.notary)
        for part in self._parts:
            _add_part(builder, part)
        return builder.to_wire(self._ledger.fresh_salt())

    def _resolved(self, wire: WireTransaction) -> LedgerTransaction:
        return wire.resolve(self._ledger.states.__getitem__, self._ledger.attachments.__getitem__)

    def _known(
        self, state: str | ContractState | StateAndRef[ContractState]
    ) -> StateAndRef[ContractState]:
        if isinstance(state, str):
            return self._ledger.state(state)
        if isinstance(state, ContractState):
            return self._ledger.issue(state)
        self._ledger.states[state.ref] = state.state
        return state

    def _add(self, part: _Part) -> None:
        self._parts = (*self._parts, part)


def _add_part(builder: TransactionBuilder, part: _Part) -> None:
    match part:
        case _Input(state):
            builder.add_input(state)
        case _Reference(state):
            builder.add_reference(state)
        case _Output(state, _, contract, encumbrance):
            builder.add_output(state, contract=contract, encumbrance=encumbrance)
        case _Command(data, signers):
            builder.add_command(data, *signers)
        case TimeWindow():
            builder.time_window = part
        case SecureHash():
            builder.add_attachment(part)
