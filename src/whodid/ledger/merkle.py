"""The Merkle tree of RFC 9162 §2.1 (the same as RFC 6962 §2.1) over SHA-256: roots and proofs.

It exists so that 32 bytes, the root, stand for every event of a log in its order: change, remove,
insert or reorder one, and the root is another. Here are only hashes: leaves come in as hashes, and
what they are hashes of is not known (`canonical`). Nothing is read or stored; a proof is planned as
a list of coordinates, read in one call, and computed.

A coordinate `(level, number)` names a perfect subtree: the 2**level leaves from number * 2**level
on. `(0, 7)` is the eighth leaf.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from whodid.errors import LedgerError, ProofError, ProofRangeError

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of the tree without leaves."""


class Coordinate(NamedTuple):
    """A perfect subtree: 2**level leaves, the first of them the leaf at number * 2**level."""

    level: int
    number: int


HashReader: TypeAlias = Callable[[Sequence[Coordinate]], Sequence[bytes]]
"""Coordinates → their 32-byte hashes in the same order. Called once per proof."""

_Leaves: TypeAlias = tuple[int, int]  # from, to (exclusive): the leaves below one node of the tree


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf: SHA256(0x00 ‖ entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes in their order; SHA256("") for none."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


class Frontier:
    """The right edge of a growing tree: all that is needed to append and to know the root.

    Holds the roots of the perfect subtrees that the first `size` leaves fall into, largest first,
    one per bit that is set in `size`: at most 63 hashes for any tree that will ever be. Mutable,
    not safe for use by several threads at once.

    Attributes:
        size: Number of leaves.
    """

    __slots__ = ("_hashes", "size")

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """Take up a tree again.

        Raises:
            LedgerError: `hashes` cannot be the edge of a tree with `size` leaves.
        """
        if size < 0 or len(hashes) != size.bit_count():
            raise LedgerError(
                f"the frontier of a tree of {size} leaves has {len(hashes)} hashes, "
                f"expected {size.bit_count() if size >= 0 else 'a size of 0 or more'}"
            )
        if any(len(hash_) != HASH_BYTES for hash_ in hashes):
            raise LedgerError(f"the frontier holds a hash that is not {HASH_BYTES} bytes long")
        self.size = size
        self._hashes = list(hashes)

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> Frontier:
        """Read what `to_bytes` wrote.

        Raises:
            LedgerError: These bytes cannot be the edge of a tree with `size` leaves.
        """
        if len(data) % HASH_BYTES:
            raise LedgerError(
                f"the frontier has {len(data)} bytes, expected a multiple of {HASH_BYTES}"
            )
        starts = range(0, len(data), HASH_BYTES)
        return cls(size, [data[start : start + HASH_BYTES] for start in starts])

    def to_bytes(self) -> bytes:
        """The hashes one after the other, largest subtree first: 32 bytes per bit set in `size`."""
        return b"".join(self._hashes)

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """Roots of the perfect subtrees, largest first."""
        return tuple(self._hashes)

    def append(self, leaf: bytes) -> None:
        """Add the next leaf by its hash; two hashes on average, log2(size) at most.

        Raises:
            LedgerError: `leaf` is not 32 bytes long.
        """
        if len(leaf) != HASH_BYTES:
            raise LedgerError(f"a leaf hash has {len(leaf)} bytes, expected {HASH_BYTES}")
        size = self.size
        # Each trailing 1 of the size is a subtree as large as the one growing on its right.
        while size & 1:
            leaf = node_hash(self._hashes.pop(), leaf)
            size >>= 1
        self._hashes.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The root of the tree as it is now; SHA256("") for no leaves."""
        return _fold(self._hashes)


def prove_inclusion(index: int, *, size: int, read: HashReader) -> list[bytes]:
    """Prove that leaf `index` is in the tree of the first `size` leaves.

    Args:
        index: Zero-based leaf position, 0 <= index < size.
        size: Tree size in leaves.
        read: Called once, with at most 2 * log2(size) coordinates; returns 32-byte hashes.

    Returns:
        Sibling hashes, leaf to root, as RFC 9162 §2.1.3.1 orders them.

    Raises:
        ProofRangeError: `index` is outside the tree. Retrying cannot help.
    """
    return _prove(_inclusion_plan(index, size), read)


def prove_consistency(old_size: int, *, size: int, read: HashReader) -> list[bytes]:
    """Prove that the tree of the first `old_size` leaves is a prefix of the tree of `size`.

    Args:
        old_size: Size of the older tree in leaves, 0 < old_size <= size.
        size: Size of the newer tree in leaves.
        read: Called once, with at most 2 * log2(size) + 1 coordinates; returns 32-byte hashes.

    Returns:
        Hashes as RFC 9162 §2.1.4.1 orders them; none when the sizes are equal.

    Raises:
        ProofRangeError: No such sizes. Retrying cannot help.
    """
    return _prove(_consistency_plan(old_size, size), read)


def verify_inclusion(
    leaf: bytes, *, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Return if `proof` leads from the hash of leaf `index` to the root of `size` leaves.

    RFC 9162 §2.1.3.2.

    Raises:
        ProofError: It does not.
    """
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} cannot be in a tree of {size} leaves")
    _check_lengths(leaf, root, *proof)
    node, last = index, size - 1
    for sibling in proof:
        if last == 0:
            raise ProofError("the inclusion proof has more hashes than the tree has levels")
        if node & 1 or node == last:
            leaf = node_hash(sibling, leaf)
            # A node without a right neighbour moves up unchanged until it has a left one.
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            leaf = node_hash(leaf, sibling)
        node, last = node >> 1, last >> 1
    # Not `secrets.compare_digest`: root hashes are public.
    if last or leaf != root:
        raise ProofError(f"the proof of leaf {index} does not lead to the root of size {size}")


def verify_consistency(
    old_root: bytes, root: bytes, *, old_size: int, size: int, proof: Sequence[bytes]
) -> None:
    """Return if `proof` shows that the tree with `root` extends the one with `old_root`.

    RFC 9162 §2.1.4.2. The empty tree is refused as the older one: anything extends it, so that
    a proof says nothing.

    Raises:
        ProofError: It does not show that.
    """
    if not 0 < old_size <= size:
        raise ProofError(f"a tree of {size} leaves cannot be shown to extend one of {old_size}")
    _check_lengths(old_root, root, *proof)
    if old_size == size:
        if proof or old_root != root:
            raise ProofError(f"two roots of size {size} differ, or the proof is not empty")
        return
    if not proof:
        raise ProofError("the consistency proof is empty")
    # When the old tree is perfect its root is a node of the new one, so the proof leaves it out.
    is_perfect = old_size.bit_count() == 1
    start, rest = (old_root, proof) if is_perfect else (proof[0], proof[1:])
    old, new = _grow(start, rest, node=old_size - 1, last=size - 1)
    if old != old_root or new != root:
        raise ProofError(f"the tree of {size} leaves is not shown to extend the one of {old_size}")


def _grow(start: bytes, proof: Sequence[bytes], *, node: int, last: int) -> tuple[bytes, bytes]:
    """The roots of the older and the newer tree that a consistency proof leads to."""
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = start
    for sibling in proof:
        if last == 0:
            raise ProofError("the consistency proof has more hashes than the tree has levels")
        if node & 1 or node == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofError("the consistency proof has fewer hashes than the tree has levels")
    return old, new


def _inclusion_plan(index: int, size: int) -> list[_Leaves]:
    """Which siblings prove leaf `index`, leaf to root."""
    if not 0 <= index < size:
        raise ProofRangeError(f"no leaf {index} in a tree of {size} leaves; ask for one below it")
    start, end = 0, size
    plan = []
    while end - start > 1:
        middle = start + _left_size(end - start)
        if index < middle:
            plan.append((middle, end))
            end = middle
        else:
            plan.append((start, middle))
            start = middle
    return plan[::-1]


def _consistency_plan(old_size: int, size: int) -> list[_Leaves]:
    """Which nodes prove that the first `old_size` leaves are a tree of their own."""
    if not 0 < old_size <= size:
        raise ProofRangeError(
            f"no proof from {old_size} to {size} leaves; the older tree has at least one leaf "
            "and not more than the newer"
        )
    start, end = 0, size
    plan = []
    while end != old_size:
        middle = start + _left_size(end - start)
        if old_size <= middle:
            plan.append((middle, end))
            end = middle
        else:
            plan.append((start, middle))
            start = middle
    if start:
        plan.append((start, end))
    return plan[::-1]


def _prove(plan: Sequence[_Leaves], read: HashReader) -> list[bytes]:
    """Read all hashes of a plan in one call and fold those of each node into one."""
    parts = [_perfect_parts(start, end) for start, end in plan]
    coordinates = [coordinate for part in parts for coordinate in part]
    hashes = read(coordinates)
    if len(hashes) != len(coordinates):
        raise AssertionError(
            f"the hash reader returned {len(hashes)} hashes for {len(coordinates)} coordinates"
        )
    proof, position = [], 0
    for part in parts:
        proof.append(_fold(hashes[position : position + len(part)]))
        position += len(part)
    return proof


def _perfect_parts(start: int, end: int) -> list[Coordinate]:
    """The perfect subtrees, largest first, that the node over these leaves consists of."""
    parts = []
    while start < end:
        level = (end - start).bit_length() - 1
        parts.append(Coordinate(level, start >> level))
        start += 1 << level
    return parts


def _left_size(size: int) -> int:
    """Leaves in the left child of a node over `size` > 1: the largest power of two below it."""
    return 1 << ((size - 1).bit_length() - 1)


def _fold(hashes: Sequence[bytes]) -> bytes:
    """The hash of the node whose perfect parts, largest first, are these."""
    if not hashes:
        return EMPTY_ROOT
    folded = hashes[-1]
    for left in hashes[-2::-1]:
        folded = node_hash(left, folded)
    return folded


def _check_lengths(*hashes: bytes) -> None:
    for hash_ in hashes:
        if len(hash_) != HASH_BYTES:
            raise ProofError(f"a hash has {len(hash_)} bytes, expected {HASH_BYTES}")
