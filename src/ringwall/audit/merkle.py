"""RFC 6962 Merkle trees: the append-only frontier, inclusion and consistency proofs, and their checks.

Hashes are 32 bytes of SHA-256 with the domain separation of RFC 6962, section 2.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()  # RFC 6962, section 2.1: the root of no leaves

Nodes: TypeAlias = Callable[[int, int], bytes]
"""``nodes(start, end)``: the root of the leaves from ``start`` to before ``end``. Raises LookupError."""


def leaf_hash(record: bytes) -> bytes:
    """Hash of one record as a leaf."""
    return hashlib.sha256(b"\0" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return hashlib.sha256(b"\1" + left + right).digest()


class Frontier:
    """The roots of the perfect subtrees of a growing tree, left to right: all a writer needs to remember.

    Args:
        size: leaves so far.
        hashes: one per set bit of ``size``, the largest subtree first.

    """

    __slots__ = ("_hashes", "size")

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if size < 0 or len(hashes) != size.bit_count() or any(len(h) != HASH_BYTES for h in hashes):
            raise ValueError("a frontier has one 32-byte hash per set bit of its size")
        self.size = size
        self._hashes = list(hashes)

    @property
    def hashes(self) -> tuple[bytes, ...]:
        return tuple(self._hashes)

    def copy(self) -> Frontier:
        return Frontier(self.size, self._hashes)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        carry, size = leaf, self.size
        while size & 1:
            carry = node_hash(self._hashes.pop(), carry)
            size >>= 1
        self._hashes.append(carry)
        self.size += 1

    def root(self) -> bytes:
        """The tree's root."""
        if not self._hashes:
            return EMPTY_ROOT
        root = self._hashes[-1]
        for left in reversed(self._hashes[:-1]):
            root = node_hash(left, root)
        return root


@dataclass(frozen=True, slots=True)
class Forest:
    """Node hashes of a tree of which only a frontier and the leaves after it are at hand.

    Enough for every proof about a leaf after the frontier: a subtree left of it is one of its hashes.

    Args:
        frontier: the tree before the known leaves.
        leaves: hashes of the leaves from ``frontier.size`` on.

    """

    frontier: Frontier
    leaves: Sequence[bytes]

    def __call__(self, start: int, end: int) -> bytes:
        """The root of leaves ``start`` to before ``end``. Raises LookupError if it cannot be known."""
        known = self.frontier.size
        if start >= known:
            if end - start == 1:
                return self.leaves[start - known]
        elif end <= known:
            place = 0
            for bit in reversed(range(known.bit_length())):
                if not known >> bit & 1:
                    continue
                here = known >> (bit + 1) << (bit + 1)
                if (start, end) == (here, here + (1 << bit)):
                    return self.frontier.hashes[place]
                place += 1
            raise LookupError(f"the subtree {start}-{end} lies before the known leaves")
        middle = start + _split(end - start)
        return node_hash(self(start, middle), self(middle, end))


def _split(size: int) -> int:
    """The largest power of two smaller than ``size`` (RFC 6962, section 2.1)."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """The audit path of RFC 6962, section 2.1.1, lowest sibling first."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    start, end = 0, size
    path: list[bytes] = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(nodes(middle, end))
            end = middle
        else:
            path.append(nodes(start, middle))
            start = middle
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf hash is number ``index`` of the tree (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    fn, sn, found = index, size - 1, leaf
    for step in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            found = node_hash(step, found)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            found = node_hash(found, step)
        fn >>= 1
        sn >>= 1
    return sn == 0 and found == root


def consistency_proof(old: int, new: int, nodes: Nodes) -> list[bytes]:
    """The proof of RFC 6962, section 2.1.2, that the tree of ``old`` leaves is a prefix of that of ``new``."""
    if not 0 < old <= new:
        raise ValueError(f"a tree of {old} cannot be the start of one of {new}")
    return _subproof(old, 0, new, nodes, whole=True)


def _subproof(old: int, start: int, end: int, nodes: Nodes, *, whole: bool) -> list[bytes]:
    if old == end - start:
        return [] if whole else [nodes(start, end)]
    split = _split(end - start)
    middle = start + split
    if old <= split:
        return [*_subproof(old, start, middle, nodes, whole=whole), nodes(middle, end)]
    return [*_subproof(old - split, middle, end, nodes, whole=False), nodes(start, middle)]
