"""Events as columns of numbers, in blocks: what facets, charts, counts and filtered pages read.

A row store touches every event's page to count; a block holds one column of up to 65,536 events in
sealed order in a few bytes each, and numpy counts it in a tenth of a millisecond. Text is a number
already (a reference into the store's dictionary); a column keeps the distinct numbers of its block
once, and for each event only which of them, in as few bytes as that takes.

Where a search wants all events of a block, or of a group of blocks, their totals are enough: they
never change, and may be remembered. So counting a whole log costs as much as a part of it.

Pure: no database. Needs numpy.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from whodid.errors import LedgerError
from whodid.query.sql import Mask

Numbers: TypeAlias = NDArray[Any]
Places: TypeAlias = NDArray[np.intp] | None
"""Which events of a block, by their place in it, ascending; None for all of them."""

Remember: TypeAlias = Callable[[str, Callable[[], Any]], Any]
"""Gives what is known by a name, else makes it. `Any`, since it keeps several kinds of things."""

BLOCK_EVENTS = 65_536
PIECE_EVENTS = 1_024
NUMBERED = (
    "tenant", "actor", "action", "app", "country", "agent", "ip", "category", "operation",
    "severity", "outcome",
)  # fmt: skip
"""The columns of numbers; beside them there is `occurred_at`. 0 is "none", tenant 0 no event."""

_MANY_VALUED = frozenset({"actor", "agent", "ip"})
"""Columns of which a block's totals may be as large as the column itself."""

_MOST_WAITING = 2**20  # events whose numbers are counted at once
_DISTINCT_SPLITS = 256  # more numbers than any column has that charts are split by
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


@dataclass(frozen=True, slots=True)
class Totals:
    """How many events of a block, or of several, have each number of a column.

    Attributes:
        values: The distinct numbers, ascending.
        counts: How many events have each.
    """

    values: Numbers
    counts: Numbers

    @property
    def bytes_held(self) -> int:
        return int(self.values.nbytes + self.counts.nbytes)


@dataclass(frozen=True, slots=True)
class Pieces:
    """A block in pieces of `PIECE_EVENTS`: when their events happened, and what they have.

    Attributes:
        oldest: The earliest `occurred_at` of each piece, microseconds.
        newest: The latest.
        values: The distinct numbers of a column.
        counts: How many events have each: a row a piece, a column a number.
    """

    oldest: Numbers
    newest: Numbers
    values: Numbers
    counts: Numbers

    @property
    def bytes_held(self) -> int:
        parts = (self.oldest, self.newest, self.values, self.counts)
        return sum(int(part.nbytes) for part in parts)


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


def _made_anew(name: str, make: Callable[[], Any]) -> Any:
    return make()


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
        remember: Keeps what is computed of it, if anybody does.
    """

    first: int
    last: int
    events: int
    oldest: int
    newest: int
    column: Callable[[str], Column]
    moments: Callable[[], Numbers]
    remember: Remember = _made_anew

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    @property
    def is_full(self) -> bool:
        """Has every place an event?"""
        return self.events == self.size

    def places(self) -> Numbers:
        """The places that have an event, ascending."""
        return np.flatnonzero(self.column("tenant").numbers)

    def totals(self, name: str) -> Totals:
        """How many of its events have each number of a column."""
        if name in _MANY_VALUED:
            return self._count(name)
        totals: Totals = self.remember(f"totals.{name}", lambda: self._count(name))
        return totals

    def _count(self, name: str) -> Totals:
        return _count(self.column(name), None if self.is_full else self.places())

    def pieces(self, name: str) -> Pieces:
        """Its pieces with the numbers of a column; only of a full block."""
        pieces: Pieces = self.remember(f"pieces.{name}", lambda: self._cut(name))
        return pieces

    def _cut(self, name: str) -> Pieces:
        column, moments = self.column(name), self.moments()
        starts, distinct = np.arange(0, self.size, PIECE_EVENTS), len(column.values)
        cells = np.arange(self.size) // PIECE_EVENTS * distinct + column.codes
        counts = np.bincount(cells, minlength=len(starts) * distinct)
        return Pieces(
            np.minimum.reduceat(moments, starts),
            np.maximum.reduceat(moments, starts),
            column.values,
            counts.reshape(-1, distinct).astype(_NUMBER),
        )


def _count(column: Column, places: Places) -> Totals:
    """How many events at these places have each number, the numbers that none has left out."""
    if places is None:
        return Totals(column.values, np.bincount(column.codes).astype(_NUMBER))
    counts = np.bincount(column.codes[places], minlength=len(column.values))
    there = np.flatnonzero(counts)
    return Totals(column.values[there], counts[there].astype(_NUMBER))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Blocks that follow one another: counted as one where all of their events are wanted.

    Attributes:
        blocks: Ascending.
        events: How many they have.
        oldest: Their earliest `occurred_at`, microseconds.
        newest: Their latest.
        remember: Keeps what is computed of it, if anybody does.
    """

    blocks: Sequence[Block]
    events: int
    oldest: int
    newest: int
    remember: Remember = _made_anew

    @property
    def first(self) -> int:
        return self.blocks[0].first

    @property
    def last(self) -> int:
        return self.blocks[-1].last

    def totals(self, name: str) -> Totals:
        """How many of its events have each number of a column."""
        totals: Totals = self.remember(f"totals.{name}", lambda: self._sum(name))
        return totals

    def _sum(self, name: str) -> Totals:
        summed = np.zeros(1, np.int64)
        for block in self.blocks:
            if block.events:
                summed = _added(summed, block.totals(name))
        values = np.flatnonzero(summed)
        return Totals(values.astype(_NUMBER), summed[values].astype(_NUMBER))


def group_blocks(blocks: Sequence[Block], *, remember: Remember = _made_anew) -> Group:
    """Blocks that follow one another as a group."""
    filled = [block for block in blocks if block.events]
    return Group(
        blocks=blocks,
        events=sum(block.events for block in filled),
        oldest=min((block.oldest for block in filled), default=0),
        newest=max((block.newest for block in filled), default=0),
        remember=remember,
    )


def _added(sums: Numbers, totals: Totals) -> Numbers:
    """An array with the number as index, longer where it has to be, with the totals in it."""
    top = int(totals.values[-1]) if len(totals.values) else 0
    if top >= len(sums):
        sums = np.concatenate((sums, np.zeros(top + 1 - len(sums) + top // 4, np.int64)))
    sums[totals.values] += totals.counts  # no number is there twice
    return sums


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


Part: TypeAlias = Block | Group

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

    def passing(self, values: Numbers, numbers: Sequence[int]) -> Numbers:
        """Which of these ascending values are among the numbers."""
        table = self.table(numbers)
        passing = np.zeros(len(values), np.bool_)
        within = int(np.searchsorted(values, len(table)))
        passing[:within] = table[values[:within]]
        return passing

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
        asked = self.block.column(column)
        passing = self.lookups.passing(asked.values, numbers)
        number = int(np.count_nonzero(passing))
        if number in (0, len(passing)):
            return number > 0
        found: Truth
        # One code alone is compared at once, which is what a tenant's reader asks of every block.
        found = asked.codes == passing.argmax() if number == 1 else passing.take(asked.codes)
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


class Some:
    """Of a group: the condition may hold for some of its events and not for others."""

    def __and__(self, other: Some) -> Some:
        return self

    def __or__(self, other: Some) -> Some:
        return self

    def __invert__(self) -> Some:
        return self


SOME = Some()


@dataclass(frozen=True, slots=True)
class AskedGroup:
    """A group as the conditions of a search see it: all, none or some of its events pass."""

    group: Group
    lookups: Lookups

    def between(self, low: int | None, high: int | None) -> bool | Some:
        """`occurred_at` lies from `low` to below `high`; None is open."""
        oldest, newest = self.group.oldest, self.group.newest
        if (low is None or oldest >= low) and (high is None or newest < high):
            return True
        if low is not None and newest < low or high is not None and oldest >= high:
            return False
        return SOME

    def is_among(self, column: str, numbers: Sequence[int]) -> bool | Some:
        """The column's number is one of these."""
        if column in _MANY_VALUED:  # each block knows sooner
            return SOME
        passing = self.lookups.passing(self.group.totals(column).values, numbers)
        return True if passing.all() else SOME if passing.any() else False

    def has_address(self) -> bool | Some:
        return SOME

    def address_between(self, low: bytes, high: bytes) -> bool | Some:
        """The address lies in the range, both ends inclusive, of the same length."""
        return SOME


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

    def parts(self, parts: Sequence[Part]) -> Iterator[tuple[Part, Places]]:
        """The parts with events that are wanted, newest first, and which of their events.

        A group is given as a whole, where all of it is wanted, else as its blocks.
        """
        for part in reversed(parts):
            if isinstance(part, Block):
                places = self.places(part)
                if places is None or len(places):
                    yield part, places
            elif part.events:
                truth = self._truth(part)
                if truth is True:
                    yield part, None
                elif truth is not False:
                    yield from self.parts(part.blocks)

    def _truth(self, group: Group) -> bool | Some:
        """Are all events of a group wanted, none, or some?"""
        is_inside = self.first <= group.first and group.last <= self.last
        if self.positions is not None or not is_inside:
            return SOME
        truth: bool | Some
        truth = True if self.mask is None else self.mask(AskedGroup(group, self.lookups))
        return truth

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
            if block.is_full and self.first <= block.first <= block.last <= self.last:
                return None
            truth = np.ones(block.size, np.bool_)
        if not block.is_full:
            truth = truth & (block.column("tenant").numbers != 0)
        found = np.flatnonzero(truth)
        if self.first > block.first or self.last < block.last:
            found = found[(found >= self.first - block.first) & (found <= self.last - block.first)]
        return found


_NOWHERE = np.zeros(0, np.intp)


# ---- answers


def count(parts: Sequence[Part], asked: Asked, *, cap: int | None) -> int:
    """How many events are wanted; stops somewhere above `cap`."""
    number = 0
    for part, places in asked.parts(parts):
        number += part.events if places is None else len(places)
        if cap is not None and number > cap:
            break
    return number


def tally(parts: Sequence[Part], asked: Asked, names: Sequence[str]) -> dict[str, Numbers]:
    """For each column, how many wanted events have each number: an array with the number as index.

    One pass over the parts for all columns.
    """
    counted = {name: _Tally() for name in names}
    for part, places in asked.parts(parts):
        for name, tally in counted.items():
            if places is None:
                tally.add(part.totals(name))
            elif isinstance(part, Block):
                tally.add_places(part.column(name), places)
    return {name: tally.sums() for name, tally in counted.items()}


class _Tally:
    """How many events have each number of a column."""

    def __init__(self) -> None:
        self._sums = np.zeros(1, np.int64)
        self._waiting: list[Numbers] = []
        self._waits = 0

    def add(self, totals: Totals) -> None:
        self._sums = _added(self._sums, totals)

    def add_places(self, column: Column, places: Numbers) -> None:
        """Count the events at these places of a block."""
        codes, distinct = column.codes.take(places), len(column.values)
        if distinct <= len(codes):
            self.add(Totals(column.values, np.bincount(codes, minlength=distinct)))
            return
        # To count by code would touch more numbers than there are events.
        self._waiting.append(column.values.take(codes))
        self._waits += len(codes)
        if self._waits > _MOST_WAITING:
            self._count_waiting()

    def _count_waiting(self) -> None:
        counts = np.bincount(np.concatenate(self._waiting))
        there = np.flatnonzero(counts)
        self.add(Totals(there, counts[there]))
        self._waiting, self._waits = [], 0

    def sums(self) -> Numbers:
        """For each number, as index, how many have it."""
        if self._waiting:
            self._count_waiting()
        return self._sums


def chart(parts: Sequence[Part], asked: Asked, *, edges: Sequence[int], split: str) -> Numbers:
    """How many wanted events lie in each bucket: a row a bucket, a column a number of `split`.

    Args:
        edges: Ascending, microseconds; n+1 of them make n buckets.
    """
    drawn = _Chart(np.asarray(edges, np.int64), split)
    near = [part for part in parts if part.newest >= edges[0] and part.oldest < edges[-1]]
    for part, places in asked.parts(near):
        if places is None:
            drawn.add_all(part)
        elif isinstance(part, Block):
            drawn.add_places(part, places)
    return drawn.counted


class _Chart:
    """Events counted by bucket and by the numbers of a column."""

    def __init__(self, bounds: Numbers, split: str) -> None:
        self._bounds, self._split = bounds, split
        self._buckets = len(bounds) - 1
        self.counted = np.zeros((self._buckets, _DISTINCT_SPLITS), np.int64)

    def _rows(self, moments: Numbers) -> Numbers:
        """The bucket of each time; none of those there are for times outside."""
        return np.searchsorted(self._bounds, moments, "right") - 1

    def add_all(self, part: Part) -> None:
        """Count all events of a part."""
        first, last = self._rows(np.array((part.oldest, part.newest))).tolist()
        if first == last:
            if 0 <= first < self._buckets:
                totals = part.totals(self._split)
                self.counted[first, totals.values] += totals.counts
        elif isinstance(part, Group):
            for block in part.blocks:
                if block.events:
                    self.add_all(block)
        elif part.is_full:
            self._add_pieces(part)
        else:
            self.add_places(part, part.places())

    def _add_pieces(self, block: Block) -> None:
        """Count a block piece by piece, and one by one what an edge runs through."""
        pieces = block.pieces(self._split)
        rows = self._rows(pieces.oldest)
        is_cut = rows != self._rows(pieces.newest)
        taken = ~is_cut & (rows >= 0) & (rows < self._buckets)
        np.add.at(self.counted, (rows[taken, None], pieces.values), pieces.counts[taken])
        starts = np.flatnonzero(is_cut) * PIECE_EVENTS
        places = (starts[:, None] + np.arange(PIECE_EVENTS)).reshape(-1)
        if len(places):
            self.add_places(block, places[places < block.size])

    def add_places(self, block: Block, places: Numbers) -> None:
        """Count the events at these places."""
        column = block.column(self._split)
        rows, codes = self._rows(block.moments().take(places)), column.codes.take(places)
        inside = (rows >= 0) & (rows < self._buckets)
        if not inside.all():
            rows, codes = rows[inside], codes[inside]
        distinct = len(column.values)
        cells = np.bincount(rows * distinct + codes, minlength=self._buckets * distinct)
        self.counted[:, column.values] += cells.reshape(self._buckets, distinct)


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
