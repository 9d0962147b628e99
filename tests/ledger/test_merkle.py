"""The Merkle tree: its definition, its proofs, and the proofs that other implementations made."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodid.errors import LedgerError, ProofError, ProofRangeError
from whodid.ledger.merkle import (
    EMPTY_ROOT,
    Coordinate,
    Frontier,
    leaf_hash,
    node_hash,
    prove_consistency,
    prove_inclusion,
    root_of,
    verify_consistency,
    verify_inclusion,
)

GOLDEN = Path(__file__).parents[2].parent / "shared" / "data" / "merkle-vectors" / "golden.json"
LEAVES = tuple(leaf_hash(number.to_bytes(32, "big")) for number in range(1100))


@cache
def rfc_root(leaves: tuple[bytes, ...]) -> bytes:
    """RFC 9162 §2.1.1 word for word, over leaf hashes."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + rfc_root(leaves[:k]) + rfc_root(leaves[k:])).digest()


def reader(leaves: tuple[bytes, ...] = LEAVES) -> Callable[[Sequence[Coordinate]], list[bytes]]:
    """A hash reader over leaf hashes that refuses to be called twice."""
    calls = []

    def read(coordinates: Sequence[Coordinate]) -> list[bytes]:
        calls.append(coordinates)
        if len(calls) > 1:
            pytest.fail("the hashes of one proof were read in two calls")
        return [
            rfc_root(leaves[number << level : (number + 1) << level])
            for level, number in coordinates
        ]

    return read


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def near_powers_of_two(largest: int) -> st.SearchStrategy[int]:
    powers = [1 << bit for bit in range(largest.bit_length())]
    edges = {power + step for power in powers for step in (-1, 0, 1)}
    return st.sampled_from(sorted(edge for edge in edges if 0 < edge <= largest))


def test_a_leaf_and_a_node_are_hashed_apart_by_their_first_byte() -> None:
    assert leaf_hash(b"x") == hashlib.sha256(b"\x00x").digest()
    assert (
        node_hash(b"a" * 32, b"b" * 32) == hashlib.sha256(b"\x01" + b"a" * 32 + b"b" * 32).digest()
    )


def test_the_root_of_no_leaves_is_the_hash_of_nothing() -> None:
    assert root_of([]) == Frontier().root() == EMPTY_ROOT == hashlib.sha256(b"").digest()


@given(st.one_of(near_powers_of_two(1024), st.integers(0, 1024)))
def test_the_frontier_gives_the_root_of_the_recursive_definition(size: int) -> None:
    assert root_of(LEAVES[:size]) == rfc_root(LEAVES[:size])


@given(st.one_of(near_powers_of_two(512), st.integers(0, 512)), st.integers(0, 64))
def test_a_frontier_taken_up_again_grows_as_if_never_put_down(size: int, more: int) -> None:
    before = Frontier()
    for leaf in LEAVES[:size]:
        before.append(leaf)

    after = Frontier.from_bytes(size, before.to_bytes())
    for leaf in LEAVES[size : size + more]:
        after.append(leaf)

    assert after.size == size + more
    assert after.root() == rfc_root(LEAVES[: size + more])
    assert after.hashes == Frontier(after.size, after.hashes).hashes


def test_a_frontier_holds_the_perfect_subtrees_largest_first() -> None:
    frontier = Frontier()
    for leaf in LEAVES[:7]:
        frontier.append(leaf)

    parts = (rfc_root(LEAVES[:4]), rfc_root(LEAVES[4:6]), LEAVES[6])
    assert frontier.hashes == parts
    assert frontier.to_bytes() == b"".join(parts)


@pytest.mark.parametrize(
    ("size", "data"),
    [
        (0, b"\0" * 32),
        (1, b""),
        (3, b"\0" * 32),
        (2, b"\0" * 64),
        (1, b"\0" * 31),
        (-1, b"\0" * 32),
    ],
    ids=["too many", "none", "too few", "two for one bit", "31 bytes", "negative size"],
)
def test_bytes_that_cannot_be_the_frontier_of_a_size_are_refused(size: int, data: bytes) -> None:
    with pytest.raises(LedgerError, match="frontier"):
        Frontier.from_bytes(size, data)


def test_a_leaf_of_another_length_is_refused_and_changes_nothing() -> None:
    frontier = Frontier()
    with pytest.raises(LedgerError, match="31 bytes, expected 32"):
        frontier.append(b"\0" * 31)

    assert frontier.size == 0
    with pytest.raises(LedgerError, match="not 32 bytes"):
        Frontier(1, [b"\0" * 33])


def test_every_leaf_of_every_tree_to_128_leaves_is_proved() -> None:
    for size in range(1, 129):
        root = rfc_root(LEAVES[:size])
        for index in range(size):
            proof = prove_inclusion(index, size=size, read=reader())
            verify_inclusion(LEAVES[index], index=index, size=size, proof=proof, root=root)


def test_every_tree_to_128_leaves_is_proved_to_extend_every_smaller_one() -> None:
    roots = [rfc_root(LEAVES[:size]) for size in range(129)]
    for size in range(1, 129):
        for old in range(1, size + 1):
            proof = prove_consistency(old, size=size, read=reader())
            verify_consistency(roots[old], roots[size], old_size=old, size=size, proof=proof)


@given(data=st.data(), size=near_powers_of_two(1025))
def test_proofs_hold_around_powers_of_two(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    root = root_of(LEAVES[:size])

    proof = prove_inclusion(index, size=size, read=reader())
    extension = prove_consistency(index + 1, size=size, read=reader())

    verify_inclusion(LEAVES[index], index=index, size=size, proof=proof, root=root)
    older = root_of(LEAVES[: index + 1])
    verify_consistency(older, root, old_size=index + 1, size=size, proof=extension)


def test_one_changed_bit_anywhere_breaks_an_inclusion_proof() -> None:
    # Every proof of every tree to 128 leaves; in each hash one bit, another one each time.
    turn = 0
    for size in range(1, 129):
        root = rfc_root(LEAVES[:size])
        for index in range(size):
            leaf = LEAVES[index]
            proof = prove_inclusion(index, size=size, read=reader())
            for place in range(len(proof) + 2):
                turn += 1
                hashes = [leaf, root, *proof]
                hashes[place] = flipped(hashes[place], turn * 37 % 256)
                with pytest.raises(ProofError):
                    verify_inclusion(
                        hashes[0], index=index, size=size, proof=hashes[2:], root=hashes[1]
                    )


@pytest.mark.parametrize(("index", "size"), [(0, 1), (0, 2), (4, 7), (6, 7), (7, 8), (88, 100)])
def test_every_single_changed_bit_breaks_an_inclusion_proof(index: int, size: int) -> None:
    root = rfc_root(LEAVES[:size])
    proof = prove_inclusion(index, size=size, read=reader())
    for place in range(len(proof) + 2):
        for bit in range(256):
            hashes = [LEAVES[index], root, *proof]
            hashes[place] = flipped(hashes[place], bit)
            with pytest.raises(ProofError):
                verify_inclusion(
                    hashes[0], index=index, size=size, proof=hashes[2:], root=hashes[1]
                )


def test_one_changed_bit_anywhere_breaks_a_consistency_proof() -> None:
    turn = 0
    for size in range(1, 65):
        for old in range(1, size + 1):
            proof = prove_consistency(old, size=size, read=reader())
            for place in range(len(proof) + 2):
                turn += 1
                hashes = [rfc_root(LEAVES[:old]), rfc_root(LEAVES[:size]), *proof]
                hashes[place] = flipped(hashes[place], turn * 37 % 256)
                with pytest.raises(ProofError):
                    verify_consistency(
                        hashes[0], hashes[1], old_size=old, size=size, proof=hashes[2:]
                    )


def test_a_proof_for_another_leaf_or_size_or_length_is_refused() -> None:
    for size in range(2, 40):
        root = rfc_root(LEAVES[:size])
        for index in range(size):
            proof = prove_inclusion(index, size=size, read=reader())
            wrong = [
                (index ^ 1, size, proof),
                (index, size, proof[:-1]),
                (index, size, [*proof, root]),
                (index, size, [root, *proof]),
                (index, size * 2 + 2, proof),
                (size, size, proof),
                (-1, size, proof),
            ]
            for other_index, other_size, other_proof in wrong:
                with pytest.raises(ProofError):
                    verify_inclusion(
                        LEAVES[index],
                        index=other_index,
                        size=other_size,
                        proof=other_proof,
                        root=root,
                    )


def test_a_consistency_proof_of_another_length_is_refused() -> None:
    for size in range(2, 40):
        for old in range(1, size):
            proof = prove_consistency(old, size=size, read=reader())
            roots = rfc_root(LEAVES[:old]), rfc_root(LEAVES[:size])
            for other in ([], proof[:-1], [*proof, roots[1]], [roots[0], *proof]):
                with pytest.raises(ProofError):
                    verify_consistency(*roots, old_size=old, size=size, proof=other)


def test_a_tree_that_changed_its_past_is_not_consistent_with_it() -> None:
    other = (*LEAVES[:3], leaf_hash(b"another"), *LEAVES[4:20])
    proof = prove_consistency(10, size=20, read=reader(other))
    with pytest.raises(ProofError, match="not shown to extend"):
        verify_consistency(root_of(LEAVES[:10]), root_of(other), old_size=10, size=20, proof=proof)


@pytest.mark.parametrize("place", ["leaf", "root", "proof"])
@pytest.mark.parametrize("length", [0, 12, 31, 33, 64])
def test_hashes_that_are_not_32_bytes_are_refused(place: str, length: int) -> None:
    proof = prove_inclusion(2, size=5, read=reader())
    hashes = {"leaf": LEAVES[2], "root": root_of(LEAVES[:5]), "proof": proof[0]}
    hashes[place] = b"\0" * length
    with pytest.raises(ProofError, match=f"{length} bytes, expected 32"):
        verify_inclusion(
            hashes["leaf"],
            index=2,
            size=5,
            proof=[hashes["proof"], *proof[1:]],
            root=hashes["root"],
        )


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 5), (5, 5), (9, 5)])
def test_a_proof_of_a_leaf_outside_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(ProofRangeError, match=f"no leaf {index} in a tree of {size}"):
        prove_inclusion(index, size=size, read=reader())


@pytest.mark.parametrize(("old", "size"), [(0, 0), (0, 5), (6, 5), (-1, 5)])
def test_a_consistency_proof_between_impossible_sizes_is_refused(old: int, size: int) -> None:
    with pytest.raises(ProofRangeError, match=f"no proof from {old} to {size}"):
        prove_consistency(old, size=size, read=reader())


@given(data=st.data(), size=st.one_of(near_powers_of_two(2**40), st.integers(1, 2**40)))
def test_a_proof_reads_at_most_two_hashes_per_level(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    asked: list[Coordinate] = []

    def read(coordinates: Sequence[Coordinate]) -> list[bytes]:
        asked.extend(coordinates)
        return [LEAVES[0]] * len(coordinates)

    proof = prove_inclusion(index, size=size, read=read)

    levels = (size - 1).bit_length()
    assert len(proof) <= levels
    assert len(asked) <= 2 * levels
    # Perfect subtrees inside the tree that leave the leaf itself out.
    assert all((at.number + 1) << at.level <= size for at in asked)
    assert all(at.number != index >> at.level for at in asked)


def test_a_reader_that_returns_too_few_hashes_is_a_fault_of_ours() -> None:
    with pytest.raises(AssertionError, match="hash reader returned 0"):
        prove_inclusion(0, size=2, read=lambda coordinates: [])


def golden(kind: str) -> list[Any]:
    if not GOLDEN.exists():
        return [pytest.param(None, id=f"no {GOLDEN.name}")]
    rows = json.loads(GOLDEN.read_bytes())[kind]
    return [pytest.param(row, id=row["name"]) for row in rows]


def unpacked(row: dict[str, Any] | None, *names: str) -> tuple[bool, list[bytes], list[bytes]]:
    """Whether the proof must fail, the named hashes, and the proof."""
    if row is None:
        pytest.skip(f"GOLDEN MERKLE VECTORS NOT CHECKED: {GOLDEN} is absent")
    hashes = [base64.b64decode(row[name] or "") for name in names]
    must_fail = row["wantErr"] or any(len(root) != 32 for root in hashes)
    return must_fail, hashes, [base64.b64decode(item) for item in row["proof"] or []]


@pytest.mark.parametrize("row", golden("inclusion"))
def test_golden_inclusion_proofs_get_the_verdict_of_their_authors(row: dict[str, Any]) -> None:
    must_fail, (root, leaf), proof = unpacked(row, "root", "leafHash")

    def verify() -> None:
        verify_inclusion(leaf, index=row["leafIdx"], size=row["treeSize"], proof=proof, root=root)

    if must_fail:
        with pytest.raises(ProofError):
            verify()
    else:
        verify()


@pytest.mark.parametrize("row", golden("consistency"))
def test_golden_consistency_proofs_get_the_verdict_of_their_authors(row: dict[str, Any]) -> None:
    # One vector accepts equal roots of 12 bytes; a root here is 32 bytes, so that one must fail.
    must_fail, (old_root, root), proof = unpacked(row, "root1", "root2")

    def verify() -> None:
        verify_consistency(old_root, root, old_size=row["size1"], size=row["size2"], proof=proof)

    if must_fail:
        with pytest.raises(ProofError):
            verify()
    else:
        verify()
