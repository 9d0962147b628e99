"""Walking a log's text index in order of time: where the newest hits can be is looked at first.

FTS5 gives hits in the order of positions, searches want the order of time. The two nearly agree,
but clients' clocks and imports differ, so the indexer notes for every block of positions when its
events happened. Blocks are taken in order of that, a few at a time, more at once as long as hits
are rare; what comes later can't be newer than the next block's newest. So neither a word in every
event nor one in three of ten million makes a page read more than it shows.
"""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from whodid.stores.sqlite_text import BLOCK_BITS

_AHEAD_HITS = 500  # looked up at once, before any block is
_FEW_HITS = 1_000  # below this more blocks are taken at once
_MANY_HITS = 20_000  # above this they are taken one by one: memory stays bounded
_ENOUGH_HITS = 100  # of those that are known, so many are given at a time
_STEP = 16  # a look-up costs nearly the same for a block and for a thousand
_FEW_RUNS = 2


class Span(NamedTuple):
    """A block of positions, and when its indexed events happened (microseconds)."""

    block: int
    oldest: int
    newest: int


class Spans:
    """All spans of a log, read on from where it was. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._whole: list[Span] = []

    def read(self, connection: sqlite3.Connection) -> Sequence[Span]:
        """The spans that the connection sees, ascending by block."""
        with self._lock:
            known = self._whole[-1].block if self._whole else -1
            rows = connection.execute(
                "SELECT block, oldest, newest FROM whodid_span WHERE block > ? ORDER BY block",
                (known,),
            )
            later = list(itertools.starmap(Span, rows))
            # Only the last block can still get events.
            self._whole += later[:-1]
            return self._whole + later[-1:]


@dataclass(frozen=True, slots=True)
class Walk:
    """Which part of a log a search goes through, and in which direction of time.

    Attributes:
        low: Events before this are not wanted (microseconds); None: no bound.
        high: Events at or after this are not wanted.
        newest: The last position that counts.
        upwards: Oldest hits first.
    """

    low: int | None
    high: int | None
    newest: int
    upwards: bool


def hits(
    connection: sqlite3.Connection, needed: str, *, spans: Sequence[Span], walk: Walk
) -> Iterator[tuple[list[int], int | None]]:
    """Positions that the index has for an FTS5 expression, the most wanted in time first.

    Yields:
        Positions in no order, and the edge: hits still to come lie at this time (microseconds) or
        farther in the direction of the walk. None with the last ones.
    """
    waiting = _ordered(spans, walk)
    edge = _edge_upwards if walk.upwards else _edge_downwards
    ahead = _look_ahead(connection, needed, spans=waiting, walk=walk)
    at, size = 0, 1
    while at < len(waiting):
        found: list[int] = []
        start = at
        while at < len(waiting) and waiting[at].block in ahead.blocks and len(found) < _ENOUGH_HITS:
            found += ahead.hits.get(waiting[at].block, ())
            at += 1
        if at == start:
            blocks = sorted(span.block for span in waiting[at : at + size])
            found = _look_up(connection, needed, blocks=blocks, newest=walk.newest)
            if len(found) > _MANY_HITS and size > 1:
                size = 1
                continue
            at += size
            size = size * _STEP if len(found) < _FEW_HITS else max(size // _STEP, 1)
        yield found, edge(waiting[at]) if at < len(waiting) else None


class _Ahead(NamedTuple):
    """Hits that were found at once.

    Attributes:
        blocks: Of these blocks all hits are known.
        hits: By block.
    """

    blocks: range
    hits: Mapping[int, list[int]]


def _look_ahead(
    connection: sqlite3.Connection, needed: str, *, spans: Sequence[Span], walk: Walk
) -> _Ahead:
    """The first hits in the order of positions: all there are, when they are few.

    FTS5 notices the end of a range of positions only at the next hit, so of rare hits a look-up in
    one block costs as much as one in the whole log: they are rather all found at once.
    """
    blocks = [span.block for span in spans]
    first, last = min(blocks, default=0), max(blocks, default=0)
    found = _matching(
        connection,
        needed,
        first=first,
        last=last,
        newest=walk.newest,
        most=_AHEAD_HITS,
        upwards=walk.upwards,
    )
    if len(found) > _AHEAD_HITS:
        begun = found[-1] >> BLOCK_BITS  # of which there may be more
        first, last = (first, begun - 1) if walk.upwards else (begun + 1, last)
    hits: dict[int, list[int]] = {}
    for position in found:
        hits.setdefault(position >> BLOCK_BITS, []).append(position)
    return _Ahead(range(first, last + 1), hits)


def _ordered(spans: Sequence[Span], walk: Walk) -> list[Span]:
    inside = [
        span
        for span in spans
        if span.block << BLOCK_BITS <= walk.newest
        and (walk.low is None or span.newest >= walk.low)
        and (walk.high is None or span.oldest < walk.high)
    ]
    if walk.upwards:
        return sorted(inside, key=_edge_upwards)
    return sorted(inside, key=_edge_downwards, reverse=True)


def _edge_upwards(span: Span) -> int:
    return span.oldest


def _edge_downwards(span: Span) -> int:
    return span.newest


def _look_up(
    connection: sqlite3.Connection, needed: str, *, blocks: Sequence[int], newest: int
) -> list[int]:
    """The positions of a few blocks, ascending as far as blocks are neighbours."""
    runs = list(_runs(blocks))
    if len(runs) > _FEW_RUNS:
        # Clocks that differ scatter the blocks: rather one look-up that finds some more.
        wanted = set(blocks)
        found = _matching(connection, needed, first=blocks[0], last=blocks[-1], newest=newest)
        if len(found) <= _MANY_HITS:
            return [position for position in found if position >> BLOCK_BITS in wanted]
    found = []
    for first, last in runs:
        found += _matching(connection, needed, first=first, last=last, newest=newest)
        if len(found) > _MANY_HITS:
            break
    return found


def _matching(
    connection: sqlite3.Connection,
    needed: str,
    *,
    first: int,
    last: int,
    newest: int,
    most: int | None = None,
    upwards: bool = True,
) -> list[int]:
    """The positions in neighbouring blocks; one more than `most` (`_MANY_HITS`) at most."""
    rows = connection.execute(
        "SELECT rowid FROM whodid_text WHERE whodid_text MATCH ? AND rowid BETWEEN ? AND ? "
        f"ORDER BY rowid {'ASC' if upwards else 'DESC'} LIMIT ?",
        (
            needed,
            first << BLOCK_BITS,
            min(((last + 1) << BLOCK_BITS) - 1, newest),
            (_MANY_HITS if most is None else most) + 1,
        ),
    )
    return [row[0] for row in rows]


def _runs(blocks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Neighbouring blocks as one, as first and last."""
    first = last = blocks[0]
    for block in blocks[1:]:
        if block != last + 1:
            yield first, last
            first = block
        last = block
    yield first, last
