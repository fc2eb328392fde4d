"""Component groups: how the parts of a transaction become its id.

    group        n  component
    INPUTS       0  StateRef
    OUTPUTS      1  TransactionState
    COMMANDS     2  Packed, the command's data
    ATTACHMENTS  3  SecureHash of the content
    NOTARY       4  Party, one at most
    TIME_WINDOW  5  TimeWindow, one at most
    SIGNERS      6  list of PublicKey; the n-th belongs to the n-th command
    REFERENCES   7  StateRef
    PARAMETERS   8  SecureHash of the network parameters, one at most

    nonce = SHA-256(02 || salt || group u32 || index u32)
    leaf  = SHA-256(00 || nonce || component)
    root of a group = Merkle root of its leaves, nodes with 01; all-ones if the group is empty
    id = Merkle root of the roots of groups 0 to 8, padded to 16, nodes with 03

A component is hashed as the bytes that arrived and is never encoded again.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from ledger.hashing import (
    DOMAIN_GROUP,
    DOMAIN_TRANSACTION,
    HASH_BYTES,
    SecureHash,
    component_leaf,
    component_nonce,
)
from ledger.merkle import root_of

SALT_BYTES: Final = 32

ABSENT_ROOT: Final = b"\xff" * HASH_BYTES
"""Root of a group without components."""


class Group(IntEnum):
    """The kinds of components, in the order in which they are hashed."""

    INPUTS = 0
    OUTPUTS = 1
    COMMANDS = 2
    ATTACHMENTS = 3
    NOTARY = 4
    TIME_WINDOW = 5
    SIGNERS = 6
    REFERENCES = 7
    PARAMETERS = 8


SINGLE_GROUPS: Final = frozenset({Group.NOTARY, Group.TIME_WINDOW, Group.PARAMETERS})
"""Groups of one component at most."""


def leaves_of(group: Group, components: Sequence[bytes], salt: bytes) -> list[bytes]:
    """Return the leaves of the tree over one group."""
    return [
        component_leaf(component_nonce(salt, group=group, index=index), component)
        for index, component in enumerate(components)
    ]


def root_of_group(group: Group, components: Sequence[bytes], salt: bytes) -> bytes:
    """Return the root over one group, present or absent."""
    if not components:
        return ABSENT_ROOT
    return root_of(leaves_of(group, components, salt), DOMAIN_GROUP)


def group_roots(groups: Sequence[Sequence[bytes]], salt: bytes) -> tuple[bytes, ...]:
    """Return the root of every group; those missing at the end are absent."""
    return tuple(
        root_of_group(group, groups[group] if group < len(groups) else (), salt) for group in Group
    )


def id_by(roots: Sequence[bytes]) -> SecureHash:
    """Return the id of the transaction whose groups have these roots."""
    assert len(roots) == len(Group)
    return SecureHash(root_of(roots, DOMAIN_TRANSACTION))
