"""Merkle trees over 32-byte leaves, and proofs that some of the leaves are in one.

Tree: the leaves in order, then zero hashes up to the next power of two. A node is
SHA-256(domain || left || right); the domain is one byte and each kind of tree has its own (see
`ledger.hashing`), so a node is never taken for a leaf, nor for a node of another kind. The root of
one leaf is that leaf. A leaf of zeros is refused, so the padding can't be taken for one either.

Proof: ``size`` leaves in the tree, ``positions`` of the proven ones, ascending, and ``siblings``,
level by level from the leaves up, each level from left to right: those hashes that can't be
computed from the level below.
"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Final

from ledger.hashing import HASH_BYTES
from runtime.codec import message

ZERO: Final = bytes(HASH_BYTES)

# A tree of this many leaves is 32 MiB of hashes, more than a transaction may weigh.
LEAVES_MAX: Final = 1 << 20


@message(name="ledger.PartialTree")
class PartialTree:
    """Everything that is needed, beside the leaves at ``positions``, to compute the root."""

    size: int
    positions: tuple[int, ...]
    siblings: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.size <= LEAVES_MAX:
            raise ValueError(f"a tree has 1 to {LEAVES_MAX} leaves, not {self.size}")
        if not self.positions:
            raise ValueError("a proof without positions proves nothing")
        if any(a >= b for a, b in zip(self.positions, self.positions[1:], strict=False)):
            raise ValueError("positions of a proof must be ascending and distinct")
        if self.positions[0] < 0 or self.positions[-1] >= self.size:
            raise ValueError(f"positions of a proof must be in the tree of {self.size} leaves")
        if any(len(sibling) != HASH_BYTES for sibling in self.siblings):
            raise ValueError(f"each sibling must have {HASH_BYTES} bytes")


def root_of(leaves: Sequence[bytes], domain: bytes) -> bytes:
    """Return the root of the tree over ``leaves``; there must be at least one."""
    return _levels(leaves, domain)[-1][0]


def prove(leaves: Sequence[bytes], positions: Sequence[int], domain: bytes) -> PartialTree:
    """Return the proof that the leaves at ``positions`` (ascending) are in the tree."""
    levels = _levels(leaves, domain)
    siblings: list[bytes] = []
    known = sorted(positions)
    for level in levels[:-1]:
        siblings.extend(level[missing] for missing in _missing_siblings(known))
        known = _parents(known)
    return PartialTree(len(leaves), tuple(sorted(positions)), tuple(siblings))


def root_by(proof: PartialTree, leaves: Sequence[bytes], domain: bytes) -> bytes:
    """Return the root of the tree that has ``leaves`` at the positions of ``proof``.

    The caller compares it with the root it trusts. Raises ValueError if the proof does not have
    exactly the siblings that its size and positions call for.
    """
    if len(leaves) != len(proof.positions):
        raise ValueError(f"the proof is for {len(proof.positions)} leaves, got {len(leaves)}")
    _check_leaves(leaves)
    siblings = iter(proof.siblings)
    known: Mapping[int, bytes] = dict(zip(proof.positions, leaves, strict=True))
    for _ in range(_depth(proof.size)):
        known = _level_above(known, siblings, domain)
    if next(siblings, None) is not None:
        raise ValueError("the proof has more siblings than it needs")
    return known[0]


def _levels(leaves: Sequence[bytes], domain: bytes) -> list[list[bytes]]:
    if not 1 <= len(leaves) <= LEAVES_MAX:
        raise ValueError(f"a tree has 1 to {LEAVES_MAX} leaves, not {len(leaves)}")
    _check_leaves(leaves)
    level = [*leaves, *[ZERO] * ((1 << _depth(len(leaves))) - len(leaves))]
    levels = [level]
    while len(level) > 1:
        level = [_node(domain, level[i], level[i + 1]) for i in range(0, len(level), 2)]
        levels.append(level)
    return levels


def _level_above(
    known: Mapping[int, bytes], siblings: Iterator[bytes], domain: bytes
) -> dict[int, bytes]:
    above: dict[int, bytes] = {}
    for position, digest in known.items():
        sibling = known.get(position ^ 1)
        if sibling is None:
            sibling = next(siblings, None)
        if sibling is None:
            raise ValueError("the proof has fewer siblings than it needs")
        left, right = (sibling, digest) if position & 1 else (digest, sibling)
        if position >> 1 not in above:
            above[position >> 1] = _node(domain, left, right)
    return above


def _missing_siblings(known: Sequence[int]) -> Iterator[int]:
    present = set(known)
    return (position ^ 1 for position in known if position ^ 1 not in present)


def _parents(known: Sequence[int]) -> list[int]:
    return list(dict.fromkeys(position >> 1 for position in known))


def _check_leaves(leaves: Sequence[bytes]) -> None:
    for leaf in leaves:
        if len(leaf) != HASH_BYTES or leaf == ZERO:
            raise ValueError(f"a leaf is {HASH_BYTES} bytes, not all of them zero")


def _depth(size: int) -> int:
    return (size - 1).bit_length()


def _node(domain: bytes, left: bytes, right: bytes) -> bytes:
    return sha256(domain + left + right).digest()
