"""Events as columns of numbers, in blocks: what facets, charts, counts and filtered pages read.

A row store touches every event's page to count; a block holds one column of up to 65,536 events in
sealed order in a few bytes each, and numpy counts it in a tenth of a millisecond. Text is a number
already (a reference into the store's dictionary); a column keeps the distinct numbers of its block
once, and for each event only which of them, in as few bytes as that takes.

Pure: no database. Needs numpy.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from whodid.errors import LedgerError
from whodid.query.sql import Mask

Numbers: TypeAlias = NDArray[Any]
Places: TypeAlias = NDArray[np.intp] | None
"""Which events of a block, by their place in it, ascending; None for all of them."""

BLOCK_EVENTS = 65_536
NUMBERED = (
    "tenant", "actor", "action", "app", "country", "agent", "ip", "category", "operation",
    "severity", "outcome",
)  # fmt: skip
"""The columns of numbers; beside them there is `occurred_at`. 0 is "none", tenant 0 no event."""

_HEAD = struct.Struct("<BI")
_TIMES = struct.Struct("<Bq")
_WIDTHS: Mapping[int, Any] = {1: np.dtype("<u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4")}
_NUMBER = np.dtype("<u4")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a block: the event at a place has the number `values[codes[place]]`.

    Attributes:
        values: The distinct numbers, ascending.
    """

    values: Numbers
    codes: Numbers

    @property
    def numbers(self) -> Numbers:
        """The number of every event."""
        return self.values[self.codes]

    @property
    def bytes_held(self) -> int:
        return int(self.values.nbytes + self.codes.nbytes)


def make_column(numbers: Numbers) -> Column:
    """A column of these numbers, one an event."""
    values, codes = np.unique(numbers.astype(_NUMBER), return_inverse=True)
    return Column(values, codes.reshape(-1).astype(_WIDTHS[_width(len(values))]))


def encode_column(column: Column) -> bytes:
    """A column as it is stored; of one value alone only that value is kept."""
    distinct = len(column.values)
    codes = column.codes.tobytes() if distinct > 1 else b""
    head = _HEAD.pack(column.codes.itemsize, distinct)
    return b"".join((head, column.values.astype(_NUMBER).tobytes(), codes))


def decode_column(stored: bytes, *, size: int) -> Column:
    """Read what `encode_column` wrote for `size` events, without copying it.

    Raises:
        LedgerError: It is damaged.
    """
    try:
        width, distinct = _HEAD.unpack_from(stored)
        values = np.frombuffer(stored, _NUMBER, distinct, _HEAD.size)
        if distinct == 1:
            return Column(values, np.broadcast_to(np.uint8(0), (size,)))
        start = _HEAD.size + values.nbytes
        codes = np.frombuffer(stored, _WIDTHS[width], -1, start)
    except (struct.error, ValueError, KeyError):
        raise _damaged() from None
    if len(codes) != size or size and codes.max() >= distinct:
        raise _damaged()
    return Column(values, codes)


def encode_moments(moments: Numbers) -> bytes:
    """Times in microseconds as they are stored: the oldest, and from there 4 or 8 bytes each."""
    if not len(moments):
        return _TIMES.pack(4, 0)
    oldest = int(moments.min())
    offsets = moments - oldest
    width = 4 if int(offsets.max()) < 2**32 else 8
    return _TIMES.pack(width, oldest) + offsets.astype(f"<u{width}").tobytes()


def decode_moments(stored: bytes, *, size: int) -> Numbers:
    """Read what `encode_moments` wrote for `size` events.

    Raises:
        LedgerError: It is damaged.
    """
    try:
        width, oldest = _TIMES.unpack_from(stored)
        if width not in (4, 8):
            raise _damaged()
        offsets = np.frombuffer(stored, f"<u{width}", -1, _TIMES.size)
    except (struct.error, ValueError):
        raise _damaged() from None
    if len(offsets) != size:
        raise _damaged()
    moments: Numbers = offsets.astype(np.int64) + oldest
    return moments


def _width(distinct: int) -> int:
    return 1 if distinct <= 2**8 else 2 if distinct <= 2**16 else 4


def _damaged() -> LedgerError:
    return LedgerError("a block of the columns is damaged; run whodid verify")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The events of a range of positions.

    Attributes:
        first: Position of the event at place 0.
        last: Position of the last one.
        events: How many of the positions have an event; retention leaves some without.
        oldest: Its earliest `occurred_at`, microseconds; 0 when no event is left.
        newest: Its latest.
        column: Gives the column of a name, which may have to be read.
        moments: Gives `occurred_at` of every place; of one without an event any time.
    """

    first: int
    last: int
    events: int
    oldest: int
    newest: int
    column: Callable[[str], Column]
    moments: Callable[[], Numbers]

    @property
    def size(self) -> int:
        return self.last - self.first + 1


def make_block(
    positions: Numbers, columns: Mapping[str, Numbers], *, first: int, last: int
) -> Block:
    """The block of the positions from `first` to `last`, with the events that are there.

    Args:
        positions: Of the events.
        columns: `occurred_at` and the numbers, one an event.
    """
    size, moments = last - first + 1, columns["occurred_at"]
    oldest, newest = (int(moments.min()), int(moments.max())) if len(moments) else (0, 0)
    places = positions - first
    times = np.full(size, oldest, np.int64)
    times[places] = moments
    made = {}
    for name in NUMBERED:
        numbers = np.zeros(size, _NUMBER)
        numbers[places] = columns[name]
        made[name] = make_column(numbers)
    return Block(
        first=first,
        last=last,
        events=len(positions),
        oldest=oldest,
        newest=newest,
        column=made.__getitem__,
        moments=lambda: times,
    )


def merge_blocks(blocks: Sequence[Block]) -> Block:
    """Blocks that follow one another, as one."""
    filled = [block for block in blocks if block.events]
    times = np.concatenate([block.moments() for block in blocks])
    made = {
        name: make_column(np.concatenate([block.column(name).numbers for block in blocks]))
        for name in NUMBERED
    }
    return Block(
        first=blocks[0].first,
        last=blocks[-1].last,
        events=sum(block.events for block in blocks),
        oldest=min((block.oldest for block in filled), default=0),
        newest=max((block.newest for block in filled), default=0),
        column=made.__getitem__,
        moments=lambda: times,
    )


# ---- conditions


@dataclass(slots=True)
class Lookups:
    """What one search has looked up for its conditions, once for all blocks.

    Attributes:
        addresses: Gives the numbers of the addresses in a range, both ends inclusive.
    """

    addresses: Callable[[bytes, bytes], Sequence[int]]
    tables: dict[int, tuple[Sequence[int], Numbers]] = field(default_factory=dict)
    ranges: dict[tuple[bytes, bytes], Sequence[int]] = field(default_factory=dict)

    def table(self, numbers: Sequence[int]) -> Numbers:
        """For every number up to the largest of `numbers` whether it is one of them."""
        # Kept with the table, so that no other list can get its id.
        known = self.tables.get(id(numbers))
        if known is None:
            table = np.zeros(max(numbers, default=0) + 1, np.bool_)
            table[np.asarray(numbers, np.int64)] = True
            known = self.tables[id(numbers)] = numbers, table
        return known[1]

    def between(self, low: bytes, high: bytes) -> Sequence[int]:
        if (low, high) not in self.ranges:
            self.ranges[low, high] = self.addresses(low, high)
        return self.ranges[low, high]


Truth: TypeAlias = bool | NDArray[np.bool_]
"""One answer for each event of a block, or the same for all of them."""


@dataclass(frozen=True, slots=True)
class AskedBlock:
    """A block as the conditions of a search see it; see `query.sql.Mask`."""

    block: Block
    lookups: Lookups

    def between(self, low: int | None, high: int | None) -> Truth:
        """`occurred_at` lies from `low` to below `high`; None is open."""
        block = self.block
        starts = low is None or block.oldest >= low
        ends = high is None or block.newest < high
        if starts and ends:
            return True
        if low is not None and block.newest < low or high is not None and block.oldest >= high:
            return False
        moments = block.moments()
        found = np.ones(block.size, np.bool_)
        if low is not None and not starts:
            found &= moments >= low
        if high is not None and not ends:
            found &= moments < high
        return found

    def is_among(self, column: str, numbers: Sequence[int]) -> Truth:
        """The column's number is one of these."""
        table, asked = self.lookups.table(numbers), self.block.column(column)
        fitting = np.zeros(len(asked.values), np.bool_)
        # The values ascend, so those within the table are the first ones.
        within = int(np.searchsorted(asked.values, len(table)))
        fitting[:within] = table[asked.values[:within]]
        if fitting.all():
            return True
        if not fitting.any():
            return False
        found: Truth = fitting[asked.codes]
        return found

    def has_address(self) -> Truth:
        asked = self.block.column("ip")
        if asked.values[0] != 0:
            return True
        if len(asked.values) == 1:
            return False
        found: Truth = asked.codes != 0
        return found

    def address_between(self, low: bytes, high: bytes) -> Truth:
        """The address lies in the range, both ends inclusive, of the same length."""
        return self.is_among("ip", self.lookups.between(low, high))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which events a search wants.

    Attributes:
        mask: The condition, exact; None when `positions` say it.
        positions: The events themselves, ascending.
        first: Lowest position.
        last: Highest position.
    """

    mask: Mask | None
    lookups: Lookups
    positions: Numbers | None = None
    first: int = 0
    last: int = 2**63 - 1

    def places(self, block: Block) -> Places:
        """The events of the block that are wanted."""
        if self.positions is not None:
            low, high = np.searchsorted(self.positions, (block.first, block.last + 1))
            return self.positions[low:high] - block.first
        if not block.events or block.last < self.first or block.first > self.last:
            return _NOWHERE
        truth: Any = True if self.mask is None else self.mask(AskedBlock(block, self.lookups))
        if isinstance(truth, bool):
            if not truth:
                return _NOWHERE
            if block.events == block.size and self.first <= block.first <= block.last <= self.last:
                return None
            truth = np.ones(block.size, np.bool_)
        if block.events < block.size:
            truth = truth & (block.column("tenant").numbers != 0)
        found = np.flatnonzero(truth)
        if self.first > block.first or self.last < block.last:
            found = found[(found >= self.first - block.first) & (found <= self.last - block.first)]
        return found


_NOWHERE = np.zeros(0, np.intp)


# ---- answers


def count(blocks: Iterable[Block], asked: Asked, *, cap: int | None) -> int:
    """How many events are wanted; stops somewhere above `cap`."""
    number = 0
    for block in blocks:
        places = asked.places(block)
        number += block.events if places is None else len(places)
        if cap is not None and number > cap:
            break
    return number


def tally(blocks: Iterable[Block], asked: Asked, names: Sequence[str]) -> dict[str, Numbers]:
    """For each column, how many wanted events have each number: an array with the number as index.

    One pass over the blocks for all columns.
    """
    counted = {name: np.zeros(1, np.int64) for name in names}
    for block in blocks:
        places = asked.places(block)
        if places is not None and not len(places):
            continue
        for name in names:
            column = block.column(name)
            codes = column.codes if places is None else column.codes[places]
            found = np.bincount(codes, minlength=len(column.values))
            top = int(column.values[-1])
            if top >= len(counted[name]):
                counted[name] = np.concatenate(
                    (counted[name], np.zeros(top + 1 - len(counted[name]) + top // 4, np.int64))
                )
            counted[name][column.values] += found  # no number is there twice
    return counted


def chart(blocks: Iterable[Block], asked: Asked, *, edges: Sequence[int], split: str) -> Numbers:
    """How many wanted events lie in each bucket: a row a bucket, a column a number of `split`.

    Args:
        edges: Ascending, microseconds; n+1 of them make n buckets.
    """
    bounds = np.asarray(edges, np.int64)
    buckets, width = len(edges) - 1, 256
    counted = np.zeros((buckets, width), np.int64)
    for block in blocks:
        if not block.events or block.newest < edges[0] or block.oldest >= edges[-1]:
            continue
        places = asked.places(block)
        if places is not None and not len(places):
            continue
        moments, column = block.moments(), block.column(split)
        codes = column.codes
        if places is not None:
            moments, codes = moments[places], codes[places]
        rows = np.searchsorted(bounds, moments, "right") - 1
        inside = (rows >= 0) & (rows < buckets)
        if not inside.all():
            rows, codes = rows[inside], codes[inside]
        distinct = len(column.values)
        cells = np.bincount(rows * distinct + codes, minlength=buckets * distinct)
        counted[:, column.values] += cells.reshape(buckets, distinct)
    return counted


def nearest(
    blocks: Iterable[Block],
    asked: Asked,
    *,
    after: tuple[int, int] | None,
    upwards: bool,
    want: int,
) -> list[tuple[int, int]]:
    """Time and position of the first `want` events beyond a place, in the order of a page.

    Newest first by (occurred_at, position), or oldest first when `upwards`. Blocks are taken in
    the same order, and left when none of the rest can hold an event before those found.

    Args:
        after: Time and position of the place, which is not included.
    """
    sign = 1 if upwards else -1  # with it ascending order is right in both directions
    place = (sign * after[0], sign * after[1]) if after else None

    def begins(block: Block) -> int:
        return block.oldest if upwards else -block.newest

    def ends(block: Block) -> int:
        return block.newest if upwards else -block.oldest

    keys = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for block in sorted((block for block in blocks if block.events), key=begins):
        if len(keys[0]) == want and begins(block) > keys[0][-1]:
            break
        if place and ends(block) < place[0]:
            continue
        found = _keys(block, asked, sign=sign, place=place)
        keys = _first(tuple(map(np.concatenate, zip(keys, found, strict=True))), want)
    times, positions = (sign * each for each in keys)
    return list(zip(times.tolist(), positions.tolist(), strict=True))


def _keys(
    block: Block, asked: Asked, *, sign: int, place: tuple[int, int] | None
) -> tuple[Numbers, Numbers]:
    """Time and position of the block's wanted events beyond the place, times the sign."""
    places = asked.places(block)
    moments = block.moments()
    if places is None:
        places = np.arange(block.size)
    times, positions = sign * moments[places], sign * (places + block.first)
    if place:
        beyond = (times > place[0]) | (times == place[0]) & (positions > place[1])
        times, positions = times[beyond], positions[beyond]
    return times, positions


def _first(keys: tuple[Numbers, ...], want: int) -> tuple[Numbers, Numbers]:
    times, positions = keys
    if len(times) > want:
        # Sorting everything costs more than finding the last time that can be among the first.
        last = np.partition(times, want - 1)[want - 1]
        near = times <= last
        times, positions = times[near], positions[near]
    order = np.lexsort((positions, times))[:want]
    return times[order], positions[order]
