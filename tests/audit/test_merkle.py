from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.support import verify_consistency

from ringwall.audit.merkle import (
    EMPTY_ROOT,
    Forest,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    verify_inclusion,
)


def _reference_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, written as the text says it."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + _reference_root(leaves[:k]) + _reference_root(leaves[k:])).digest()


def _leaves(n: int) -> list[bytes]:
    return [str(i).encode() for i in range(n)]


def _frontier(n: int) -> Frontier:
    frontier = Frontier()
    for leaf in _leaves(n):
        frontier.append(leaf_hash(leaf))
    return frontier


@pytest.mark.parametrize("n", range(34))
def test_the_frontier_gives_the_root_of_the_rfc(n: int) -> None:
    assert _frontier(n).root() == _reference_root(_leaves(n))


def test_the_published_test_vector_holds() -> None:
    # The leaves of the test vectors that the certificate-transparency implementations share.
    data = [bytes.fromhex(x) for x in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                                       "606162636465666768696a6b6c6d6e6f")]
    frontier = Frontier()
    assert frontier.root() == EMPTY_ROOT
    for item in data:
        frontier.append(leaf_hash(item))
    assert frontier.root().hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@settings(max_examples=60)
@given(data=st.data())
def test_inclusion_is_proved_from_a_frontier_and_later_leaves_alone(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 70))
    start = data.draw(st.integers(0, size - 1))
    index = data.draw(st.integers(start, size - 1))
    hashes = [leaf_hash(x) for x in _leaves(size)]
    proof = inclusion_proof(index, size, Forest(_frontier(start), hashes[start:]))
    root = _reference_root(_leaves(size))
    assert verify_inclusion(hashes[index], index, size, proof, root)
    assert not verify_inclusion(leaf_hash(b"other"), index, size, proof, root)
    assert not verify_inclusion(hashes[index], index, size, [*proof, root], root)
    assert not verify_inclusion(hashes[index], (index + 1) % size, size, proof, root) or size == 1
    if proof:
        assert not verify_inclusion(hashes[index], index, size, proof[:-1], root)


@settings(max_examples=60)
@given(data=st.data())
def test_consistency_holds_between_prefixes_and_fails_for_a_fork(data: st.DataObject) -> None:
    new = data.draw(st.integers(1, 70))
    old = data.draw(st.integers(1, new))
    hashes = [leaf_hash(x) for x in _leaves(new)]
    proof = consistency_proof(old, new, Forest(Frontier(), hashes))
    old_root, new_root = _reference_root(_leaves(old)), _reference_root(_leaves(new))
    assert verify_consistency(old, old_root, new, new_root, proof)
    forked = _reference_root([*_leaves(old)[:-1], b"forked"])
    assert not verify_consistency(old, forked, new, new_root, proof)
    assert not verify_consistency(old, old_root, new, forked, proof)
    assert not verify_consistency(new + 1, old_root, new, new_root, proof)


@settings(max_examples=50)
@given(index=st.integers(0, 40), size=st.integers(0, 40), proof=st.lists(st.binary(min_size=32, max_size=32)))
def test_made_up_proofs_are_refused_without_a_crash(index: int, size: int, proof: list[bytes]) -> None:
    root = b"r" * 32
    assert not verify_inclusion(b"l" * 32, index, size, proof, root)
    assert not verify_consistency(index, b"o" * 32, size, root, proof)


def test_a_subtree_before_the_known_leaves_is_not_invented() -> None:
    forest = Forest(_frontier(6), [leaf_hash(b"6")])
    with pytest.raises(LookupError):
        forest(0, 2)
    with pytest.raises(LookupError):
        forest(6, 8)
    assert forest(0, 4) == node_hash(forest_pair(0), forest_pair(2))


def forest_pair(start: int) -> bytes:
    leaves = _leaves(6)
    return node_hash(leaf_hash(leaves[start]), leaf_hash(leaves[start + 1]))


def test_a_frontier_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="frontier"):
        Frontier(3, [b"x" * 32])
    with pytest.raises(ValueError, match="frontier"):
        Frontier(1, [b"short"])
    for bad in (-1, 3):
        with pytest.raises(ValueError, match="leaf"):
            inclusion_proof(bad, 3, Forest(_frontier(3), []))
    with pytest.raises(ValueError, match="start"):
        consistency_proof(4, 3, Forest(_frontier(3), []))
