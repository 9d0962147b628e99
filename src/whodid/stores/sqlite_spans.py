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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from whodid.stores.sqlite_text import BLOCK_BITS

_FEW_HITS = 1_000  # below this more blocks are taken at once
_MANY_HITS = 20_000  # above this they are taken one by one: memory stays bounded


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
    at, size = 0, 1
    while at < len(waiting):
        taken = waiting[at : at + size]
        blocks = sorted(span.block for span in taken)
        found = _look_up(connection, needed, blocks=blocks, newest=walk.newest)
        if len(found) > _MANY_HITS and size > 1:
            size = 1
            continue
        at += size
        yield found, edge(waiting[at]) if at < len(waiting) else None
        size = size * 4 if len(found) < _FEW_HITS else max(size // 4, 1)


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
    found: list[int] = []
    for first, last in _runs(blocks):
        rows = connection.execute(
            "SELECT rowid FROM whodid_text WHERE whodid_text MATCH ? AND rowid BETWEEN ? AND ? "
            "ORDER BY rowid LIMIT ?",
            (
                needed,
                first << BLOCK_BITS,
                min(((last + 1) << BLOCK_BITS) - 1, newest),
                _MANY_HITS + 1,
            ),
        )
        found += [row[0] for row in rows]
        if len(found) > _MANY_HITS:
            break
    return found


def _runs(blocks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Neighbouring blocks as one: a look-up costs the same for a block and for a thousand."""
    first = last = blocks[0]
    for block in blocks[1:]:
        if block != last + 1:
            yield first, last
            first = block
        last = block
    yield first, last
