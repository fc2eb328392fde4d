"""Merkle trees: every part of a tree can be proven, nothing else can."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.hashing import DOMAIN_BATCH, DOMAIN_GROUP
from ledger.merkle import LEAVES_MAX, ZERO, PartialTree, prove, root_by, root_of

DOMAIN = DOMAIN_GROUP


def leaf(number: int) -> bytes:
    return sha256(b"leaf%d" % number).digest()


def node(left: bytes, right: bytes) -> bytes:
    return sha256(DOMAIN + left + right).digest()


def test_one_leaf_is_its_own_root() -> None:
    assert root_of([leaf(0)], DOMAIN) == leaf(0)


def test_three_leaves_are_padded_with_zeros_to_four() -> None:
    expected = node(node(leaf(0), leaf(1)), node(leaf(2), ZERO))

    assert root_of([leaf(0), leaf(1), leaf(2)], DOMAIN) == expected


def test_trees_of_different_domains_have_different_roots() -> None:
    leaves = [leaf(0), leaf(1)]

    assert root_of(leaves, DOMAIN_GROUP) != root_of(leaves, DOMAIN_BATCH)


def test_an_empty_tree_is_refused() -> None:
    with pytest.raises(ValueError, match="1 to"):
        root_of([], DOMAIN)


@pytest.mark.parametrize("bad", [b"short", ZERO, b"x" * 33])
def test_a_leaf_that_is_no_hash_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match="a leaf is 32 bytes"):
        root_of([bad], DOMAIN)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_leaves_of_any_tree_can_be_proven(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 40))
    positions = sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1)))
    leaves = [leaf(i) for i in range(size)]

    proof = prove(leaves, positions, DOMAIN)

    assert root_by(proof, [leaves[i] for i in positions], DOMAIN) == root_of(leaves, DOMAIN)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_no_other_leaf_or_position_gives_the_root(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 20))
    position = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1).filter(lambda i: i != position))
    leaves = [leaf(i) for i in range(size)]
    root = root_of(leaves, DOMAIN)
    proof = prove(leaves, [position], DOMAIN)
    moved = PartialTree(size, (other,), proof.siblings)

    assert root_by(proof, [leaves[other]], DOMAIN) != root
    assert root_by(moved, [leaves[position]], DOMAIN) != root


def test_a_proof_of_neighbours_does_not_repeat_what_they_compute() -> None:
    leaves = [leaf(i) for i in range(4)]

    proof = prove(leaves, [0, 1], DOMAIN)

    assert proof.siblings == (node(leaf(2), leaf(3)),)


def test_a_proof_with_too_few_siblings_is_refused() -> None:
    proof = prove([leaf(i) for i in range(4)], [0], DOMAIN)
    cut = PartialTree(proof.size, proof.positions, proof.siblings[:-1])

    with pytest.raises(ValueError, match="fewer"):
        root_by(cut, [leaf(0)], DOMAIN)


def test_a_proof_with_too_many_siblings_is_refused() -> None:
    proof = prove([leaf(i) for i in range(4)], [0], DOMAIN)
    padded = PartialTree(proof.size, proof.positions, (*proof.siblings, leaf(9)))

    with pytest.raises(ValueError, match="more"):
        root_by(padded, [leaf(0)], DOMAIN)


def test_a_proof_needs_as_many_leaves_as_positions() -> None:
    proof = prove([leaf(0), leaf(1)], [0], DOMAIN)

    with pytest.raises(ValueError, match="for 1 leaves, got 2"):
        root_by(proof, [leaf(0), leaf(1)], DOMAIN)


@pytest.mark.parametrize(
    ("size", "positions", "siblings"),
    [
        (0, (0,), ()),
        (LEAVES_MAX + 1, (0,), ()),
        (2, (), (leaf(0),)),
        (2, (1, 0), ()),
        (2, (0, 0), ()),
        (2, (-1,), (leaf(0),)),
        (2, (2,), (leaf(0),)),
        (2, (0,), (b"short",)),
    ],
)
def test_a_malformed_proof_is_refused(
    size: int, positions: tuple[int, ...], siblings: tuple[bytes, ...]
) -> None:
    with pytest.raises(ValueError, match=r"tree|proof|sibling"):
        PartialTree(size, positions, siblings)


def test_a_node_does_not_pass_for_a_leaf_of_a_shorter_tree() -> None:
    leaves = [leaf(i) for i in range(4)]
    left, right = node(leaf(0), leaf(1)), node(leaf(2), leaf(3))
    forged = PartialTree(2, (0,), (right,))

    # At the level of hashes the root comes out; what saves us is that a leaf of a transaction is
    # hashed from its content in a domain of its own, so no content has the hash of a node.
    assert root_by(forged, [left], DOMAIN) == root_of(leaves, DOMAIN)
    assert root_by(forged, [left], DOMAIN_BATCH) != root_of(leaves, DOMAIN)
