"""The columns of a SQLite store, read for counts, facets, charts and filtered pages.

What the indexer has not reached yet is read from the events themselves when it is asked for, so
every answer is that of one moment, and exact. Memory is bounded: decoded columns, and what all the
events of a block or of a group of blocks have, are kept, those of the newest events first, up to a
limit.

Writing them lies in `sqlite_column_blocks`. Needs numpy; `sqlite_sidecar` is the way here that
doesn't load it before it is needed.
"""

from __future__ import annotations

import heapq
import itertools
import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from whodid.errors import LedgerError
from whodid.event import CATEGORIES, OPERATIONS, OUTCOMES, SEVERITIES
from whodid.query.sql import Mask
from whodid.stores import columns
from whodid.stores.base import Facet, FacetField, SplitBy
from whodid.stores.columns import (
    Asked,
    Block,
    Column,
    Lookups,
    Numbers,
    Part,
    group_blocks,
    merge_blocks,
)
from whodid.stores.facets import make_facet
from whodid.stores.sqlite_column_blocks import (
    REF_CHUNK,
    Codes,
    Head,
    last_coded,
    open_codes,
    read_block,
    read_heads,
    read_revision,
    stored_block,
)
from whodid.stores.sqlite_indexer import newest_position, watermark
from whodid.stores.sqlite_sidecar import CACHE_BYTES

NAME = "columns"
MAX_TAIL = 100_000
"""So many events beyond the blocks are worth reading for one answer; of more SQL is asked."""

GROUP_BLOCKS = 16
"""So many whole blocks, beginning at a multiple of them, are a group."""

_COLUMNS_SHARE = 0.75  # of the memory; the rest is for totals

_NAMES: Mapping[str, tuple[str, ...]] = {
    "category": CATEGORIES,
    "operation": OPERATIONS,
    "severity": SEVERITIES,
    "outcome": OUTCOMES,
}


_Blocks: TypeAlias = tuple[int, int, tuple[int, ...]]
"""First and last position of a block or group, and the revisions: what has these never changes."""

_Key: TypeAlias = tuple[int, int, tuple[int, ...], str]


class ColumnCache:
    """What is known of blocks, of the newest events first. Thread-safe.

    Not the least recently used ones go: whoever counts everything would throw out the newest
    blocks, which most searches need, to keep the oldest.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: dict[_Key, tuple[Any, int]] = {}
        self._oldest: list[_Key] = []
        self._bytes = 0

    @property
    def bytes_held(self) -> int:
        return self._bytes

    def find(self, key: _Key) -> Any:
        kept = self._kept.get(key)
        return kept[0] if kept else None

    def keep(self, key: _Key, value: Any, size: int) -> None:
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = value, size
            self._bytes += size
            heapq.heappush(self._oldest, key)
            while self._bytes > self._max_bytes:
                self._drop(heapq.heappop(self._oldest))

    def keep_only(self, there: AbstractSet[_Blocks]) -> None:
        """Forget what is known of blocks that are no more."""
        with self._lock:
            gone = [key for key in self._oldest if key[:3] not in there]
            if gone:
                for key in gone:
                    self._drop(key)
                self._oldest = [key for key in self._oldest if key[:3] in there]
                heapq.heapify(self._oldest)

    def _drop(self, key: _Key) -> None:
        self._bytes -= self._kept.pop(key)[1]


@dataclass(frozen=True, slots=True)
class _Tail:
    """The events beyond the blocks, read for an answer and kept for the next one."""

    covered: int
    newest: int
    revision: int
    block: Block
    codes: Codes


class Columns:
    """The columns of one store, for all its readers. Thread-safe."""

    def __init__(self, *, max_bytes: int = CACHE_BYTES, max_tail: int = MAX_TAIL) -> None:
        """Nothing is read before it is asked for.

        Args:
            max_bytes: Of memory, for decoded columns and totals; 45 bytes an event hold everything.
        """
        of_columns = int(max_bytes * _COLUMNS_SHARE)
        self._columns = ColumnCache(max_bytes=of_columns)
        self._totals = ColumnCache(max_bytes=max_bytes - of_columns)
        self._max_tail = max_tail
        self._heads: list[Head] = []
        self._tail: _Tail | None = None
        self._refs: tuple[int, Numbers] = (0, np.zeros(0, "<u4"))

    @property
    def bytes_held(self) -> int:
        """The memory that decoded columns and totals take."""
        return self._columns.bytes_held + self._totals.bytes_held

    @contextmanager
    def snapshot(self, connection: sqlite3.Connection) -> Iterator[Snapshot | None]:
        """One moment of the store; None when the indexer is too far behind for columns to help."""
        is_outermost = not connection.in_transaction
        if is_outermost:
            connection.execute("BEGIN")
        try:
            yield self._read(connection)
        finally:
            if is_outermost:
                connection.execute("ROLLBACK")

    def _read(self, connection: sqlite3.Connection) -> Snapshot | None:
        covered, newest = watermark(connection, NAME), newest_position(connection)
        if newest - covered > self._max_tail:
            return None
        heads, revision = read_heads(connection), read_revision(connection)
        runs = _runs(heads)
        if heads != self._heads:
            self._columns.keep_only({_known(head) for head in heads})
            self._totals.keep_only({_known(*run) for run in [*runs, *([head] for head in heads)]})
            self._heads = heads
        parts = [self._part(connection, run) for run in runs]
        tail = self._read_tail(connection, covered=covered, newest=newest, revision=revision)
        if tail:
            parts.append(tail.block)
        return Snapshot(
            connection=connection,
            parts=parts,
            stored_refs=partial(self._stored_refs, connection, revision),
            new=tail.codes.new if tail else {},
            refs=tail.codes.refs if tail else {},
        )

    def _part(self, connection: sqlite3.Connection, run: Sequence[Head]) -> Part:
        blocks = [self._block(connection, head) for head in run]
        if len(blocks) == 1:
            return blocks[0]
        return group_blocks(blocks, remember=partial(self._remember, _known(*run)))

    def _block(self, connection: sqlite3.Connection, head: Head) -> Block:
        key, stored = _known(head), stored_block(connection, head)
        return replace(
            stored,
            column=partial(self._column, key, stored),
            moments=partial(self._moments, key, stored),
            remember=partial(self._remember, key),
        )

    def _column(self, key: _Blocks, stored: Block, name: str) -> Column:
        found = self._columns.find((*key, name))
        if found is None:
            found = stored.column(name)
            self._columns.keep((*key, name), found, found.bytes_held)
        column: Column = found
        return column

    def _moments(self, key: _Blocks, stored: Block) -> Numbers:
        found = self._columns.find((*key, "occurred_at"))
        if found is None:
            found = stored.moments()
            self._columns.keep((*key, "occurred_at"), found, found.nbytes)
        moments: Numbers = found
        return moments

    def _remember(self, key: _Blocks, name: str, make: Callable[[], Any]) -> Any:
        found = self._totals.find((*key, name))
        if found is None:
            found = make()
            self._totals.keep((*key, name), found, found.bytes_held)
        return found

    def _read_tail(
        self, connection: sqlite3.Connection, *, covered: int, newest: int, revision: int
    ) -> _Tail | None:
        if newest <= covered:
            return None
        before = self._tail
        if before is None or (before.covered, before.revision) != (covered, revision):
            before = None
        elif before.newest == newest:
            return before
        elif before.newest > newest:  # this reader's moment is an earlier one
            before = None
        codes = before.codes.copy() if before else open_codes(connection)
        start = before.newest if before else covered
        block = read_block(connection, codes, first=start + 1, last=newest)
        if before:
            block = merge_blocks([before.block, block])
        self._tail = tail = _Tail(covered, newest, revision, block, codes)
        return tail

    def _stored_refs(self, connection: sqlite3.Connection, revision: int) -> Numbers:
        """The code of every reference, by its number, as far as they are stored at this moment."""
        known_revision, known = self._refs
        top = last_coded(connection)
        if known_revision != revision:
            known = np.zeros(0, "<u4")
        if len(known) <= top:
            start = len(known) // REF_CHUNK * REF_CHUNK
            chunks = connection.execute(
                "SELECT codes FROM whodid_column_ref WHERE first >= ? ORDER BY first", (start,)
            ).fetchall()
            read = np.frombuffer(b"".join(row[0] for row in chunks), "<u4")
            known = np.concatenate((known[:start], read))
            self._refs = revision, known
        # A reader of a later moment may have read more, which has other codes at this one.
        return known[: top + 1]


def _runs(heads: Sequence[Head]) -> list[list[Head]]:
    """The heads of each group, and each of the others alone, ascending."""
    size = GROUP_BLOCKS * columns.BLOCK_EVENTS
    runs: list[list[Head]] = []
    for number, some in itertools.groupby(heads, key=lambda head: (head.first - 1) // size):
        run = list(some)
        # A group that is yet to be completed would be another one with every block.
        is_whole = run[0].first == number * size + 1 and run[-1].last == (number + 1) * size
        runs += [run] if is_whole else [[head] for head in run]
    return runs


def _known(*heads: Head) -> _Blocks:
    """What a block or a group is known by."""
    return heads[0].first, heads[-1].last, tuple(head.revision for head in heads)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The columns at one moment, inside a read transaction.

    Attributes:
        parts: All events, ascending.
        stored_refs: Gives the code of every reference that has one stored.
        new: Codes that only the tail has.
        refs: The codes of its references.
    """

    connection: sqlite3.Connection
    parts: Sequence[Part]
    stored_refs: Callable[[], Numbers]
    new: Mapping[int, tuple[int, str, bytes | None]]
    refs: Mapping[int, int]

    def asked(
        self,
        mask: Mask | None,
        *,
        positions: Sequence[int] | None = None,
        first: int = 0,
        last: int = 2**63 - 1,
    ) -> Asked:
        """What a search wants: a condition, or events that were found otherwise."""
        chosen = None if positions is None else np.sort(np.array(positions, np.int64))
        return Asked(
            mask=mask,
            lookups=Lookups(addresses=self._addresses),
            positions=chosen,
            first=first,
            last=last,
        )

    def count(self, asked: Asked, *, cap: int | None = None) -> int:
        return columns.count(self.parts, asked, cap=cap)

    def nearest(
        self, asked: Asked, *, after: tuple[int, int] | None, upwards: bool, want: int
    ) -> list[tuple[int, int]]:
        return columns.nearest(self._blocks(), asked, after=after, upwards=upwards, want=want)

    def _blocks(self) -> Iterator[Block]:
        for part in self.parts:
            yield from (part,) if isinstance(part, Block) else part.blocks

    def histogram(
        self, asked: Asked, *, edges: Sequence[int], split_by: SplitBy
    ) -> list[Counter[str]]:
        """For each bucket how many events there are of each outcome or severity."""
        counted = columns.chart(self.parts, asked, edges=edges, split=split_by)
        names = _NAMES[split_by]
        return [
            Counter({names[code]: int(row[code]) for code in np.flatnonzero(row)})
            for row in counted
        ]

    def facets(
        self, asked: Asked, *, fields: Sequence[FacetField], limit: int, exact: bool = True
    ) -> list[Facet]:
        counted = columns.tally(self.parts, asked, fields)
        return [self._facet(each, counted[each], limit=limit, exact=exact) for each in fields]

    def _facet(self, field: FacetField, counts: Numbers, *, limit: int, exact: bool) -> Facet:
        if field in _NAMES:
            names = _NAMES[field]
            found = {names[code]: int(counts[code]) for code in np.flatnonzero(counts)}
            return make_facet(field, found, limit=limit, exact=exact)
        counts[0] = 0  # no value
        if field == "ip":
            totals = counts
            texts = {
                name: int(totals[code]) for code, name in self._commonest(totals, limit).items()
            }
        else:
            refs = np.flatnonzero(counts)
            codes = self._codes_of(refs)
            totals = np.bincount(codes, counts[refs], minlength=1)
            shown = np.isin(codes, list(self._commonest(totals, limit)))
            texts = self._texts(refs[shown], counts)
        distinct = int(np.count_nonzero(totals))
        return make_facet(field, texts, limit=limit, distinct=distinct, exact=exact)

    def _codes_of(self, refs: Numbers) -> Numbers:
        """The code of each reference, also of those that have none stored yet."""
        stored = self.stored_refs()
        known = int(np.searchsorted(refs, len(stored)))
        later = [self.refs.get(ref, -1) for ref in refs[known:].tolist()]
        if -1 in later:
            raise LedgerError("values of the columns have no code; run whodid verify")
        return np.concatenate((stored[refs[:known]].astype(np.int64), np.array(later, np.int64)))

    def _commonest(self, totals: Numbers, limit: int) -> dict[int, str]:
        """Codes and names of the first `limit` values, by number and then by name."""
        there = np.flatnonzero(totals)
        if not len(there) or limit <= 0:
            return {}
        least = 1
        if len(there) > limit:
            least = int(np.partition(totals[there], len(there) - limit)[len(there) - limit])
        above = there[totals[there] > least]
        level = there[totals[there] == least]
        return self._names(above, len(above)) | self._names(level, limit - len(above))

    def _names(self, codes: Numbers, limit: int) -> dict[int, str]:
        """The first `limit` of these codes by name."""
        rows = self.connection.execute(
            "SELECT code, name FROM whodid_column_code "
            "WHERE code IN (SELECT value FROM json_each(?)) ORDER BY name LIMIT ?",
            (json.dumps(codes.tolist()), limit),
        ).fetchall()
        rows += [(code, self.new[code][1]) for code in codes.tolist() if code in self.new]
        return dict(sorted(rows, key=lambda row: row[1])[:limit])

    def _texts(self, refs: Numbers, counts: Numbers) -> dict[str, int]:
        texts: Counter[str] = Counter()
        for ref, text in self.connection.execute(
            "SELECT ref, val FROM whodid_dict WHERE ref IN (SELECT value FROM json_each(?)) "
            "ORDER BY ref",
            (json.dumps(refs.tolist()),),
        ):
            texts[text] += int(counts[ref])
        return texts

    def _addresses(self, low: bytes, high: bytes) -> list[int]:
        rows = self.connection.execute(
            "SELECT code FROM whodid_column_code WHERE ip IS NOT NULL AND ip BETWEEN ? AND ? "
            "AND length(ip) = ? ORDER BY code",
            (low, high, len(low)),
        )
        found = [code for (code,) in rows]
        for code, (_, _, ip) in self.new.items():
            if ip is not None and low <= ip <= high and len(ip) == len(low):
                found.append(code)
        return found
