"""What changed between two values, by word: texts by word, lists by item, objects by member.

The comparison is Myers' (An O(ND) difference algorithm, 1986). Its work and its memory are bounded:
what is long and unlike is shown whole, old beside new, and said to be.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from msgspec import UNSET

from whodid.viewer.text import leaves, linked_objects, plain

MAX_DIFFERENCES = 250
"""Words that may go and come in one value; time and memory grow with the square."""
MAX_STEPS = 100_000
"""Words that are compared, some 10 ms."""
MAX_LINES = 200
"""Members of an object that are told one by one."""
LEAST_LIKENESS = 0.4
"""Below this a word diff is harder to read than old beside new."""

Kind: TypeAlias = Literal["same", "old", "new"]
Block: TypeAlias = tuple[int, int, int]
"""Start in the old, start in the new, length: a run of words that both have."""

_WORD = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a change: text that stays, went or came."""

    text: str
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One value before and after, or one member of a larger one.

    Attributes:
        path: Of the member inside the value, empty for the value itself.
        is_whole: Too long to be compared, so that old and new stand there whole.
    """

    pieces: tuple[Piece, ...]
    path: str = ""
    is_whole: bool = False

    @property
    def length(self) -> int:
        """In characters, old and new together."""
        return sum(len(piece.text) for piece in self.pieces)

    @property
    def note(self) -> str:
        """Said where there was no value before, or is none after."""
        if not self.before:
            return "added"
        return "" if self.after else "removed"

    @property
    def before(self) -> tuple[Piece, ...]:
        return tuple(piece for piece in self.pieces if piece.kind != "new")

    @property
    def after(self) -> tuple[Piece, ...]:
        return tuple(piece for piece in self.pieces if piece.kind != "old")


def compare(old: Any, new: Any) -> list[Line]:  # Any: JSON of the sender, or UNSET
    """Old and new as lines: of objects the members that differ, of all else one.

    Lists of other objects are compared by the names of these.
    """
    old, new = _named(old, new)
    if _is_nested(old) and _is_nested(new):
        before, after = dict(leaves(old)), dict(leaves(new))
        paths = [path for path in {**before, **after} if _differs(before, after, path)]
        if len(paths) > MAX_LINES:
            return [replace(replaced(old, new), is_whole=True)]
        if paths:
            return [
                _line(before.get(path, UNSET), after.get(path, UNSET), path=path) for path in paths
            ]
    return [_line(old, new)]


def _named(old: Any, new: Any) -> tuple[Any, Any]:  # Any: JSON of the sender, or UNSET
    """Names in place of other objects, where there are such on both sides, or on one alone."""
    before, after = linked_objects(old), linked_objects(new)
    labels = _labels([*(before or ()), *(after or ())])
    if before and after:
        return [labels[each] for each in before], [labels[each] for each in after]
    if before and new in (UNSET, None, []):
        return ", ".join(labels[each] for each in before), "" if new == [] else new
    if after and old in (UNSET, None, []):
        return "" if old == [] else old, ", ".join(labels[each] for each in after)
    return old, new


def _labels(linked: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], str]:
    """What to call each object: two that share a name must not look like one that stayed."""
    called = {(key, name): name or key for key, name in linked}
    times = Counter(called.values())
    return {
        each: label if times[label] == 1 else f"{label} ({each[0]})"
        for each, label in called.items()
    }


def replaced(old: Any, new: Any) -> Line:  # Any: JSON of the sender, or UNSET
    """Old and new as they are, with nothing compared."""
    pieces = [Piece(_whole(value), kind) for value, kind in _sides(old, new)]
    return Line(pieces=tuple(pieces))


def _sides(old: Any, new: Any) -> Iterator[tuple[Any, Kind]]:  # Any: JSON of the sender, or UNSET
    if old is not UNSET:
        yield old, "old"
    if new is not UNSET:
        yield new, "new"


def _line(old: Any, new: Any, *, path: str = "") -> Line:  # Any: JSON of the sender, or UNSET
    by, before, after = "", [], []
    if isinstance(old, str) and isinstance(new, str):
        before, after = _WORD.findall(old), _WORD.findall(new)
    elif _is_flat(old) and _is_flat(new):
        by, before, after = ", ", [plain(item) for item in old], [plain(item) for item in new]
    whole = replaced(old, new)
    if not (before and after):
        return Line(pieces=whole.pieces, path=path)
    blocks = matching_blocks(before, after)
    if blocks is None:
        return Line(pieces=whole.pieces, path=path, is_whole=True)
    if not by and not _is_alike(blocks, before, after):
        return Line(pieces=whole.pieces, path=path)
    return Line(pieces=tuple(_pieces(blocks, before, after, by=by)), path=path)


def _is_alike(blocks: Sequence[Block], before: Sequence[str], after: Sequence[str]) -> bool:
    shared = sum(length for _, _, length in blocks)
    has_word = any(
        word[0].isalnum() for start, _, length in blocks for word in before[start : start + length]
    )
    return has_word and 2 * shared >= LEAST_LIKENESS * (len(before) + len(after))


def _pieces(
    blocks: Sequence[Block], before: Sequence[str], after: Sequence[str], *, by: str
) -> Iterator[Piece]:
    here = there = 0
    for start, other, length in [*blocks, (len(before), len(after), 0)]:
        if start > here:
            yield Piece(by.join(before[here:start]), "old")
        if other > there:
            yield Piece(by.join(after[there:other]), "new")
        if length:
            yield Piece(by.join(before[start : start + length]), "same")
        here, there = start + length, other + length


def _is_flat(value: Any) -> bool:  # Any: JSON of the sender
    return (
        isinstance(value, list)
        and bool(value)
        and not any(isinstance(item, dict | list) for item in value)
    )


def _is_nested(value: Any) -> bool:  # Any: JSON of the sender
    if isinstance(value, list):
        return any(isinstance(item, dict | list) for item in value)
    return isinstance(value, dict) and bool(value)


def _differs(before: Mapping[str, Any], after: Mapping[str, Any], path: str) -> bool:
    if path not in before or path not in after:
        return True
    one, other = before[path], after[path]
    # In Python 1 is True, and an audit must not say that they are the same.
    return type(one) is not type(other) or bool(one != other)


def _whole(value: Any) -> str:  # Any: JSON of the sender
    if value == "":
        return "empty"
    return plain(value)


def matching_blocks(before: Sequence[str], after: Sequence[str]) -> list[Block] | None:
    """The runs that a shortest edit from `before` to `after` keeps, in order.

    Returns:
        None when more than `MAX_DIFFERENCES` go and come, or `MAX_STEPS` are not enough to tell.
    """
    start, end = _shared_ends(before, after)
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    middle = _trace(old, new)
    if middle is None:
        return None
    found = [(0, 0, start)] if start else []
    found += [(start + x, start + y, length) for x, y, length in middle]
    found += [(len(before) - end, len(after) - end, end)] if end else []
    return found


def _shared_ends(before: Sequence[str], after: Sequence[str]) -> tuple[int, int]:
    """How many words both begin with, and how many of the others both end with."""
    shorter = min(len(before), len(after))
    start = next((at for at in range(shorter) if before[at] != after[at]), shorter)
    rest = shorter - start
    end = next((at for at in range(rest) if before[-1 - at] != after[-1 - at]), rest)
    return start, end


def _trace(old: Sequence[str], new: Sequence[str]) -> list[Block] | None:
    """The runs of a shortest edit, found one difference at a time."""
    reached = {1: 0}  # on each diagonal x - y, how far in `old` one comes
    history: list[dict[int, int]] = []
    steps = 0
    for distance in range(min(MAX_DIFFERENCES, len(old) + len(new)) + 1):
        history.append(reached.copy())
        for diagonal in range(-distance, distance + 1, 2):
            x = _next_x(reached, diagonal, distance)
            y = x - diagonal
            first = x
            while x < len(old) and y < len(new) and old[x] == new[y]:
                x, y = x + 1, y + 1
            steps += x - first
            if steps > MAX_STEPS:
                return None
            reached[diagonal] = x
            if x >= len(old) and y >= len(new):
                return _backtracked(history, x, y)
    return None


def _next_x(reached: Mapping[int, int], diagonal: int, distance: int) -> int:
    """Where the next difference on a diagonal leads: a word that comes, or one that goes."""
    is_coming = _is_coming(reached, diagonal, distance)
    return reached[diagonal + 1] if is_coming else reached[diagonal - 1] + 1


def _is_coming(reached: Mapping[int, int], diagonal: int, distance: int) -> bool:
    return diagonal == -distance or (
        diagonal != distance and reached[diagonal - 1] < reached[diagonal + 1]
    )


def _backtracked(history: Sequence[Mapping[int, int]], x: int, y: int) -> list[Block]:
    """The runs on the way back from the end of both to their beginning."""
    found: list[Block] = []
    for distance in range(len(history) - 1, -1, -1):
        reached = history[distance]
        diagonal = x - y
        after_step = _next_x(reached, diagonal, distance)
        if x > after_step:
            found.append((after_step, after_step - diagonal, x - after_step))
        is_coming = _is_coming(reached, diagonal, distance)
        x = after_step if is_coming else after_step - 1
        y = after_step - diagonal - (1 if is_coming else 0)
    return found[::-1]
