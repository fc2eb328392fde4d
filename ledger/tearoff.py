"""FilteredTransaction: show some parts of a transaction, prove that they are in its id.

For each group of which something is shown: how many components it has, the shown ones with their
nonces, and the proof of their leaves. The roots of all groups lead to the id. If a command is
shown, so are all signers, so that whoever signs can see what its signature is asked for.
"""

from collections.abc import Callable
from typing import TypeVar

from ledger.components import ABSENT_ROOT, Group, id_by
from ledger.errors import TornOffWrong
from ledger.hashing import DOMAIN_GROUP, HASH_BYTES, SecureHash, component_leaf, component_nonce
from ledger.merkle import PartialTree, prove, root_by, root_of
from ledger.states import StateRef
from ledger.time_window import TimeWindow
from ledger.transactions import WireTransaction
from runtime.codec import decode, message
from runtime.errors import SessionError
from runtime.keys import PublicKey
from runtime.party import Party

Keep = Callable[[Group, object], bool]
"""Decides about one component: its group, and the value as the transaction's property has it."""

T = TypeVar("T")


@message(name="ledger.FilteredGroup")
class FilteredGroup:
    """What is shown of one group."""

    group: int
    components: tuple[bytes, ...]
    nonces: tuple[bytes, ...]
    proof: PartialTree

    def __post_init__(self) -> None:
        if self.group not in Group.__members__.values():
            raise ValueError(f"{self.group} is no component group")
        if not len(self.components) == len(self.nonces) == len(self.proof.positions):
            raise ValueError("each shown component needs its nonce and its position")
        if any(len(nonce) != HASH_BYTES for nonce in self.nonces):
            raise ValueError(f"each nonce must have {HASH_BYTES} bytes")

    @property
    def leaves(self) -> list[bytes]:
        """Return the leaves of the shown components."""
        return [
            component_leaf(nonce, component)
            for nonce, component in zip(self.nonces, self.components, strict=True)
        ]


@message(name="ledger.FilteredTransaction")
class FilteredTransaction:
    """Parts of the transaction ``id``. Trust nothing in it before `verify` returned."""

    id: SecureHash
    roots: tuple[bytes, ...]
    groups: tuple[FilteredGroup, ...]

    def __post_init__(self) -> None:
        if len(self.roots) != len(Group):
            raise ValueError(f"there must be {len(Group)} group roots, not {len(self.roots)}")
        shown = [group.group for group in self.groups]
        if len(set(shown)) != len(shown):
            raise ValueError("a group is shown once")

    def verify(self) -> None:
        """Return if all that is shown is in the transaction; raise `TornOffWrong` otherwise."""
        try:
            proven = id_by(self.roots)
            wrong = [
                g
                for g in self.groups
                if root_by(g.proof, g.leaves, DOMAIN_GROUP) != self.roots[g.group]
            ]
        except ValueError as error:
            raise TornOffWrong(f"the proof is malformed: {error}") from error
        if proven != self.id:
            raise TornOffWrong(f"the group roots do not lead to the id {self.id}")
        if wrong:
            raise TornOffWrong(f"what is shown of {Group(wrong[0].group).name} is not proven")

    def check_all_components_visible(self, group: Group) -> None:
        """Return if every component of ``group`` is shown; call `verify` before."""
        shown = self._shown(group)
        leaves = shown.leaves if shown else []
        root = root_of(leaves, DOMAIN_GROUP) if leaves else ABSENT_ROOT
        if root != self.roots[group]:
            raise TornOffWrong(f"some of the components of {group.name} are hidden")

    def check_command_visibility(self, key: PublicKey) -> None:
        """Return if every command that asks for a signature of ``key`` is shown."""
        self.check_all_components_visible(Group.SIGNERS)
        commands = self._shown(Group.COMMANDS)
        shown = frozenset(commands.proof.positions if commands else ())
        for position, keys in enumerate(self.signers):
            if key in keys and position not in shown:
                raise TornOffWrong(f"command {position}, which asks for a signature, is hidden")

    def components(self, group: Group) -> tuple[bytes, ...]:
        """Return the bytes that are shown of one group."""
        shown = self._shown(group)
        return shown.components if shown else ()

    def values(self, group: Group, kind: type[T]) -> tuple[T, ...]:
        """Return what is shown of one group, decoded as ``kind``."""
        try:
            return tuple(decode(component, kind) for component in self.components(group))
        except SessionError as error:
            raise TornOffWrong(f"{group.name}: {error}") from error

    @property
    def inputs(self) -> tuple[StateRef, ...]:
        """Return the shown inputs."""
        return self.values(Group.INPUTS, StateRef)

    @property
    def references(self) -> tuple[StateRef, ...]:
        """Return the shown references."""
        return self.values(Group.REFERENCES, StateRef)

    @property
    def notary(self) -> Party | None:
        """Return the notary, if it is shown."""
        return next(iter(self.values(Group.NOTARY, Party)), None)

    @property
    def time_window(self) -> TimeWindow | None:
        """Return the time window, if it is shown."""
        return next(iter(self.values(Group.TIME_WINDOW, TimeWindow)), None)

    @property
    def signers(self) -> tuple[list[PublicKey], ...]:
        """Return the shown signers."""
        return self.values(Group.SIGNERS, list[PublicKey])

    def _shown(self, group: Group) -> FilteredGroup | None:
        return next((shown for shown in self.groups if shown.group == group), None)


def filter_transaction(transaction: WireTransaction, keep: Keep) -> FilteredTransaction:
    """Tear off everything of ``transaction`` for which ``keep`` does not return True."""
    positions = {
        group: [i for i, value in enumerate(_values(transaction, group)) if keep(group, value)]
        for group in Group
    }
    if positions[Group.COMMANDS]:
        positions[Group.SIGNERS] = list(range(len(transaction.signers)))
    groups = tuple(
        _filtered(transaction, group, shown) for group, shown in positions.items() if shown
    )
    return FilteredTransaction(transaction.id, transaction.group_roots, groups)


def for_notary(transaction: WireTransaction) -> FilteredTransaction:
    """Show what a non-validating notary has to see: all that is spent, read and timed."""
    return filter_transaction(transaction, lambda group, _: group in NOTARY_GROUPS)


NOTARY_GROUPS = frozenset(
    {Group.INPUTS, Group.REFERENCES, Group.TIME_WINDOW, Group.NOTARY, Group.PARAMETERS}
)
"""What a non-validating notary demands to see in full."""


def _filtered(transaction: WireTransaction, group: Group, positions: list[int]) -> FilteredGroup:
    components, salt = transaction.components(group), transaction.parts.salt
    nonces = [component_nonce(salt, group=group, index=index) for index in range(len(components))]
    leaves = [component_leaf(n, c) for n, c in zip(nonces, components, strict=True)]
    return FilteredGroup(
        int(group),
        tuple(components[i] for i in positions),
        tuple(nonces[i] for i in positions),
        prove(leaves, positions, DOMAIN_GROUP),
    )


def _values(transaction: WireTransaction, group: Group) -> tuple[object, ...]:
    match group:
        case Group.INPUTS:
            return transaction.inputs
        case Group.OUTPUTS:
            return transaction.outputs
        case Group.COMMANDS:
            return transaction.commands
        case Group.ATTACHMENTS:
            return transaction.attachments
        case Group.NOTARY:
            return () if transaction.notary is None else (transaction.notary,)
        case Group.TIME_WINDOW:
            return () if transaction.time_window is None else (transaction.time_window,)
        case Group.SIGNERS:
            return transaction.signers
        case Group.REFERENCES:
            return transaction.references
        case Group.PARAMETERS:
            return () if transaction.parameters is None else (transaction.parameters,)
