"""WireTransaction and SignedTransaction: id, parts and signatures of what goes over the wire.

A wire transaction is msgpack of ``{"$": "ledger.Wire", "salt": 32 bytes, "groups": [[bytes]]}``:
the components of groups 0, 1, ... as `ledger.components` lists them, empty groups at the end left
out. These bytes are kept; what is in them is decoded when somebody looks.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeVar

from ledger.components import SALT_BYTES, SINGLE_GROUPS, Group, group_roots, id_by
from ledger.errors import (
    SignatureRejected,
    SignaturesMissing,
    StateTypeUnknown,
    TransactionMalformed,
)
from ledger.hashing import SecureHash
from ledger.ledger_transaction import Attachment, Command, LedgerTransaction
from ledger.signatures import Sign, TransactionSignature, sign_one
from ledger.states import ContractState, StateAndRef, StateRef, TransactionState
from ledger.time_window import TimeWindow
from runtime.codec import Packed, decode, encode, message, unpack_any
from runtime.errors import SessionError
from runtime.keys import PublicKey
from runtime.limits import MESSAGE_BYTES_MAX
from runtime.party import Party

# Leaves room in a message for signatures and for the message itself.
TRANSACTION_BYTES_MAX: Final = MESSAGE_BYTES_MAX - 256 * 1024

SIGNATURES_MAX: Final = 1_000

# Of all that are kept decoded. The largest one and its answer fit.
CACHED_BYTES_MAX: Final = 2 * TRANSACTION_BYTES_MAX
CACHED_MAX: Final = 2_048

T = TypeVar("T")


@message(name="ledger.Wire")
class WireParts:
    """What a wire transaction is made of."""

    salt: bytes
    groups: tuple[tuple[bytes, ...], ...]


@dataclass(frozen=True)
class WireTransaction:
    """A transaction without signatures, as its bytes. Two are equal if their bytes are.

    Every property that decodes raises `TransactionMalformed` if it can't.
    """

    encoded: bytes

    @classmethod
    def of(cls, groups: Sequence[Sequence[bytes]], salt: bytes) -> "WireTransaction":
        """Encode the components of all groups."""
        used = max((index + 1 for index, group in enumerate(groups) if group), default=0)
        parts = WireParts(salt, tuple(tuple(group) for group in groups[:used]))
        return cls(encode(parts))

    @cached_property
    def parts(self) -> WireParts:
        """Return salt and components, checked for their number."""
        if len(self.encoded) > TRANSACTION_BYTES_MAX:
            raise TransactionMalformed("", f"it has more than {TRANSACTION_BYTES_MAX} bytes")
        try:
            parts = decode(self.encoded, WireParts)
        except SessionError as error:
            raise TransactionMalformed("", str(error)) from error
        if encode(parts) != self.encoded or (parts.groups and not parts.groups[-1]):
            # Else anybody could make other bytes that have the same id, and the same signatures.
            raise TransactionMalformed("", "its bytes are not those that encoding its parts gives")
        if len(parts.salt) != SALT_BYTES:
            raise TransactionMalformed("", f"its salt must have {SALT_BYTES} bytes")
        if len(parts.groups) > len(Group):
            raise TransactionMalformed("", "it has component groups that this version can't check")
        for group in SINGLE_GROUPS:
            if len(_group(parts, group)) > 1:
                raise TransactionMalformed("", f"it has more than one {group.name}")
        if len(_group(parts, Group.SIGNERS)) != len(_group(parts, Group.COMMANDS)):
            raise TransactionMalformed("", "it does not have signers for each command")
        return parts

    @cached_property
    def id(self) -> SecureHash:
        """Return the root over all components."""
        return id_by(self.group_roots)

    @cached_property
    def group_roots(self) -> tuple[bytes, ...]:
        """Return the roots that the id is made of."""
        return group_roots(self.parts.groups, self.parts.salt)

    def components(self, group: Group) -> tuple[bytes, ...]:
        """Return the bytes of one group."""
        return _group(self.parts, group)

    @cached_property
    def inputs(self) -> tuple[StateRef, ...]:
        """Return what it consumes."""
        return self._decoded(Group.INPUTS, StateRef)

    @cached_property
    def references(self) -> tuple[StateRef, ...]:
        """Return what it reads and does not consume."""
        return self._decoded(Group.REFERENCES, StateRef)

    @cached_property
    def outputs(self) -> tuple[TransactionState, ...]:
        """Return what it makes; the facts inside are decoded by ``data`` only."""
        return self._decoded(Group.OUTPUTS, TransactionState)

    @cached_property
    def attachments(self) -> tuple[SecureHash, ...]:
        """Return the hashes of its attachments."""
        return self._decoded(Group.ATTACHMENTS, SecureHash)

    @cached_property
    def signers(self) -> tuple[tuple[PublicKey, ...], ...]:
        """Return, command by command, the keys that must sign."""
        return tuple(tuple(keys) for keys in self._decoded(Group.SIGNERS, list[PublicKey]))

    @cached_property
    def commands(self) -> tuple[Command[object], ...]:
        """Return what it does. Raises `StateTypeUnknown` for a command that is not installed."""
        packed = self._decoded(Group.COMMANDS, Packed)
        return tuple(
            Command(self._unpacked(data), keys)
            for data, keys in zip(packed, self.signers, strict=True)
        )

    @cached_property
    def notary(self) -> Party | None:
        """Return who guards against double spending."""
        return next(iter(self._decoded(Group.NOTARY, Party)), None)

    @cached_property
    def time_window(self) -> TimeWindow | None:
        """Return when it may be notarised."""
        return next(iter(self._decoded(Group.TIME_WINDOW, TimeWindow)), None)

    @cached_property
    def parameters(self) -> SecureHash | None:
        """Return the hash of the network parameters that it was made under."""
        return next(iter(self._decoded(Group.PARAMETERS, SecureHash)), None)

    @property
    def needs_notary(self) -> bool:
        """Tell whether there is something for a notary to check."""
        return bool(self.inputs or self.references or self.time_window)

    @cached_property
    def party_keys(self) -> frozenset[PublicKey]:
        """Return every key that a command asks a signature of.

        That is never the notary's: whoever grants a transaction is no party to it.
        """
        keys = frozenset(key for signers in self.signers for key in signers)
        if self.notary_key in keys:
            raise TransactionMalformed(str(self.id), "a command asks its notary for a signature")
        return keys

    @property
    def notary_key(self) -> PublicKey | None:
        """Return the key that must sign as the notary, if one must."""
        return self.notary.key if self.notary and self.needs_notary else None

    @cached_property
    def required_keys(self) -> frozenset[PublicKey]:
        """Return every key that must sign, the notary's among them if it is needed."""
        notary = self.notary_key
        return self.party_keys if notary is None else self.party_keys | {notary}

    @property
    def dependencies(self) -> frozenset[SecureHash]:
        """Return the transactions that made what it consumes or reads."""
        return frozenset(ref.txhash for ref in (*self.inputs, *self.references))

    def output_ref(self, index: int) -> StateAndRef[ContractState]:
        """Return an output with its reference."""
        return StateAndRef(self.outputs[index], StateRef(self.id, index))

    def resolve(
        self,
        state_of: Callable[[StateRef], TransactionState],
        attachment_of: Callable[[SecureHash], Attachment],
    ) -> LedgerTransaction:
        """Return the transaction with all it refers to; what the two functions raise passes.

        Each attachment is asked for once, however often it is named.
        """
        attachments = {name: attachment_of(name) for name in dict.fromkeys(self.attachments)}
        return LedgerTransaction(
            id=self.id,
            inputs=tuple(StateAndRef(state_of(ref), ref) for ref in self.inputs),
            outputs=self.outputs,
            commands=self.commands,
            references=tuple(StateAndRef(state_of(ref), ref) for ref in self.references),
            attachments=tuple(attachments.values()),
            notary=self.notary,
            time_window=self.time_window,
        )

    def _decoded(self, group: Group, kind: type[T]) -> tuple[T, ...]:
        try:
            return tuple(decode(component, kind) for component in self.components(group))
        except SessionError as error:
            raise TransactionMalformed(str(self.id), f"{group.name}: {error}") from error

    def _unpacked(self, packed: Packed) -> object:
        try:
            return unpack_any(packed)
        except SessionError as error:
            raise StateTypeUnknown(str(self.id), f"command {packed.type}: {error}") from error


@message(name="ledger.SignedTransaction")
class SignedTransaction:
    """A wire transaction and the signatures gathered so far."""

    wire: bytes
    signatures: tuple[TransactionSignature, ...] = ()

    def __post_init__(self) -> None:
        if len(self.signatures) > SIGNATURES_MAX:
            raise ValueError(f"a transaction has {SIGNATURES_MAX} signatures at most")

    def __str__(self) -> str:
        signatures = len(self.signatures)
        return f"transaction {self.id}, {signatures} signature{'' if signatures == 1 else 's'}"

    @property
    def transaction(self) -> WireTransaction:
        """Return what is signed."""
        return decoded_ones.of(self.wire)

    @property
    def id(self) -> SecureHash:
        """Return the transaction's id."""
        return self.transaction.id

    @property
    def signing_keys(self) -> frozenset[PublicKey]:
        """Return the keys that have signed, well or not."""
        return frozenset(signature.key for signature in self.signatures)

    @property
    def missing_keys(self) -> frozenset[PublicKey]:
        """Return the keys that must sign and have not."""
        return self.transaction.required_keys - self.signing_keys

    @property
    def is_notarised(self) -> bool:
        """Tell whether no notary is needed or its signature is there."""
        wire = self.transaction
        return not wire.needs_notary or wire.notary_key in self.signing_keys

    def with_signatures(self, *signatures: TransactionSignature) -> "SignedTransaction":
        """Return it with ``signatures`` too; of two by one key the first stays."""
        by_key = {signature.key: signature for signature in reversed(signatures)}
        by_key.update({signature.key: signature for signature in reversed(self.signatures)})
        order = dict.fromkeys(s.key for s in (*self.signatures, *signatures))
        return SignedTransaction(self.wire, tuple(by_key[key] for key in order))

    def signed_by(self, keys: Iterable[PublicKey], sign: Sign) -> "SignedTransaction":
        """Return it signed with ``keys`` too."""
        tx_id = self.id
        return self.with_signatures(*(sign_one(tx_id, key, sign) for key in keys))

    def verify_signatures(self) -> None:
        """Return if every required key has signed and every signature fits."""
        self.verify_signatures_except(frozenset())

    def verify_signatures_except(self, allowed_missing: Iterable[PublicKey]) -> None:
        """Return if every signature fits and only ``allowed_missing`` are missing.

        Raises `SignatureRejected` or `SignaturesMissing`. A signature that nobody asked for is
        refused before any is checked: everybody who ever gets the transaction would check it too.
        """
        wire = self.transaction
        self._check_needed()
        for signature in self.signatures:
            if signature.key == wire.notary_key:
                signature.verify_notarys(wire.id)
            else:
                signature.verify(wire.id)
        missing = wire.required_keys - self.signing_keys - frozenset(allowed_missing)
        if missing:
            names = ", ".join(sorted(key.fingerprint() for key in missing))
            raise SignaturesMissing(str(wire.id), f"missing signatures of keys {names}")

    def _check_needed(self) -> None:
        wire, seen = self.transaction, set[PublicKey]()
        for signature in self.signatures:
            key = signature.key
            if key in seen or key not in wire.required_keys:
                why = "is there twice" if key in seen else "is not needed"
                raise SignatureRejected(
                    str(wire.id), f"the signature of key {key.fingerprint()} {why}"
                )
            seen.add(key)


class Decoded:
    """The transactions that were asked for last, by their bytes: a bounded number of these.

    Everybody who handles a signed transaction asks for its id and its parts, and a history is
    looked at in several passes.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, WireTransaction] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, encoded: bytes) -> WireTransaction:
        """Return the transaction of these bytes."""
        known = self._kept.get(encoded)
        if known is not None:
            self._kept.move_to_end(encoded)
            return known
        new = WireTransaction(encoded)
        if len(encoded) > TRANSACTION_BYTES_MAX:
            return new
        self._kept[encoded] = new
        self.size_bytes += len(encoded)
        while self.size_bytes > CACHED_BYTES_MAX or len(self._kept) > CACHED_MAX:
            oldest, _ = self._kept.popitem(last=False)
            self.size_bytes -= len(oldest)
        return new


decoded_ones: Final = Decoded()


def _group(parts: WireParts, group: Group) -> tuple[bytes, ...]:
    return parts.groups[group] if group < len(parts.groups) else ()
