"""Searching SQLite: SQL selects a superset in order, `evaluate` decides on the decoded event.

Rows come in keyset chunks, so no transaction stays open while a caller thinks and memory is flat.
Counts, facets and histograms come from the columns where these can tell, from SQL where there are
none, and for searches that only `evaluate` can decide from the events found in the time there is.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from whodid import canonical
from whodid.access import Access
from whodid.errors import LedgerError
from whodid.event import (
    StoredEvent,
)
from whodid.ids import uuid_bytes
from whodid.query.ast import EVERYTHING, And, Node, Query, Term, all_of
from whodid.query.evaluate import compile_matcher
from whodid.query.sql import (
    ALL,
    UNDECIDED,
    CodeColumn,
    DictionaryColumn,
    NumberColumn,
    RefColumn,
    Where,
    all_where,
    compile_where,
)
from whodid.query.words import fold
from whodid.stores import cursors
from whodid.stores.base import (
    ApiKey,
    Counted,
    Cursor,
    Facet,
    FacetField,
    Histogram,
    Page,
    SplitBy,
    Stats,
)
from whodid.stores.dictionary import Dictionary, DictKind, passes_empty
from whodid.stores.facets import address_text, make_facet
from whodid.stores.rows import reference_hash
from whodid.stores.searching import (
    DECIDE_S,
    KINDS,
    MAX_ARRIVED,
    MAX_DECIDED,
    NAMES,
    REF_KINDS,
    Decision,
    Decisions,
    fill_buckets,
    grid_of,
    is_pointed,
    make_histogram,
    make_page,
    too_wide,
)
from whodid.stores.sqlite_indexer import check_covered, watermark
from whodid.stores.sqlite_sidecar import Sidecar
from whodid.stores.sqlite_spans import Span, Spans, Walk, hits
from whodid.stores.sqlite_text import TextStep, needed_by_search
from whodid.stores.sqlite_values import OpenDictionary
from whodid.times import Instant

if TYPE_CHECKING:  # they load numpy
    from whodid.stores.columns import Asked
    from whodid.stores.sqlite_columns import Snapshot

_FIRST_CHUNK = 200
_MAX_CHUNK = 4_000
_EPOCH = Instant.from_micros(0)
_FEW_VALUES = 5_000
_Effort: TypeAlias = Literal["all", "few", "nothing"]
_Row: TypeAlias = tuple[Any, ...]
_EVERYTHING = Query(text="", node=EVERYTHING, now=_EPOCH)
_ROW = 'position, "index", body, gone, occurred_at'


@dataclass(frozen=True, slots=True)
class _SqliteDialect:
    """The leaves of a search in SQLite's SQL, for the tenants (numbers) that may be seen.

    Attributes:
        scans_bodies: False where the text index has given the rows already.
        effort: How much is looked up about dictionary values: all that pass; at most a few, for a
            search that the text index goes through; nothing, to learn if the condition is exact.
    """

    dictionary: OpenDictionary
    tenants: Mapping[int, str]
    sees_all: bool
    key: bytes
    scans_bodies: bool = True
    effort: _Effort = "all"

    def between(self, column: NumberColumn, low: int | None, high: int | None) -> Where:
        name = '"index"' if column == "index" else column
        parts, params = [], []
        for bound, comparison in ((low, ">="), (high, "<")):
            if bound is not None:
                parts.append(f"{name} {comparison} ?")
                params.append(max(min(bound, 2**63 - 1), -(2**63)))
        if not parts:
            return ALL
        mask = (lambda block: block.between(low, high)) if column == "occurred_at" else None
        return Where(" AND ".join(parts), tuple(params), mask=mask)

    def code_in(self, column: CodeColumn, codes: Sequence[int]) -> Where:
        return _in(column, codes)

    def value_in(self, column: DictionaryColumn, term: Term) -> Where:
        if self.effort == "nothing":
            return ALL
        refs = self.dictionary.refs_that_pass(
            KINDS[column],
            term,
            tenants=None if self.sees_all else self.tenants,
            most=_FEW_VALUES if self.effort == "few" else None,
        )
        if refs is None:
            return UNDECIDED
        # An empty text is no value in the dictionary: the event decides if it has one.
        if column == "agent" and passes_empty(KINDS[column], term):
            found = _in(column, [0, *refs])
            return Where(found.sql, found.params, exact=False)
        return _in(column, refs)

    def address_between(self, low: bytes, high: bytes) -> Where:
        # Without the length 10.0.0.0 would sort among the IPv6 addresses.
        return Where(
            "ip IS NOT NULL AND ip BETWEEN ? AND ? AND length(ip) = ?",
            (low, high, len(low)),
            mask=lambda block: block.address_between(low, high),
        )

    def has_address(self) -> Where:
        return Where("ip IS NOT NULL", mask=lambda block: block.has_address())

    def refers_to(self, kind: RefColumn, name: str) -> Where:
        hashes = [
            reference_hash(self.key, tenant=tenant, name=name) for tenant in self.tenants.values()
        ]
        return Where(
            "position IN (SELECT r.position FROM whodid_event_ref AS r WHERE r.kind = ? "
            "AND r.hash IN (SELECT value FROM json_each(?)))",
            (int(REF_KINDS[kind]), json.dumps(hashes)),
        )

    def id_is(self, event_id: str) -> Where:
        return Where("id = ?", (uuid_bytes(event_id),))

    def body_has(self, searched: Sequence[str]) -> Where:
        if not self.scans_bodies:
            return UNDECIDED
        return Where("whodid_has(body, ?)", (" ".join(map(fold, searched)),))


def _in(column: str, numbers: Sequence[int]) -> Where:
    def mask(block: Any) -> Any:
        return block.is_among(column, numbers)

    if len(numbers) <= 32:
        among = ", ".join(str(int(number)) for number in numbers)
        return Where(f"{column} IN ({among})", mask=mask)
    listed = json.dumps(list(numbers))
    return Where(f"{column} IN (SELECT value FROM json_each(?))", (listed,), mask=mask)


def register_functions(connection: sqlite3.Connection) -> None:
    """Give a connection the functions that our conditions use."""
    connection.create_function("whodid_has", 2, _body_has, deterministic=True)


def _body_has(body: bytes | None, searched: str) -> bool:
    # JSON escapes only put characters between words, never inside one: no match is missed.
    text = (body or b"").decode(errors="replace")
    folded = text.lower() if text.isascii() else fold(text)
    return all(word in folded for word in _needles(searched))


@lru_cache(maxsize=64)
def _needles(searched: str) -> tuple[str, ...]:
    return tuple(searched.split(" "))


@dataclass(frozen=True, slots=True)
class _Indexed:
    """How a search goes through the text index.

    Attributes:
        needed: What the index is asked for.
        sieve: What SQL can say of its hits without their bodies.
        watermark: The last position that the index covers.
        spans: When the events of the index happened; read after the watermark.
        low: No hit happened before this (microseconds); None: no bound.
        high: No hit happened at or after this.
    """

    needed: str
    sieve: Where
    watermark: int
    spans: Sequence[Span]
    low: int | None
    high: int | None


@dataclass(frozen=True, slots=True)
class _Search:
    """A search ready to run: what SQL selects, how an index gets there, and what decides.

    Attributes:
        is_ordered: It asks for nothing but time, so an index has just these events in order.
        is_pointed: A term has an index of its own that leads to few events.
        is_strict: Part of it is the caller's restriction, which must be decided to the end.
        positions: What it was decided to match, in any order.
        is_whole: Are these all, or those found in the time there was?
    """

    text: str
    now: Instant
    where: Where
    decide: Callable[[StoredEvent], bool]
    newest: int
    key: Hashable
    indexed: _Indexed | None
    is_ordered: bool
    is_pointed: bool
    is_strict: bool
    positions: Sequence[int] | None = None
    is_whole: bool = True

    def accepts(self, stored: StoredEvent) -> bool:
        return self.where.exact or self.decide(stored)


@dataclass(frozen=True, slots=True)
class _Found:
    """Columns, and which of their events a search asks for."""

    snapshot: Snapshot
    asked: Asked


class Reader:
    """One caller's reads through one connection."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        key: bytes,
        access: Access,
        dictionary: Dictionary,
        decisions: Decisions,
        spans: Spans,
        sidecar: Sidecar,
    ) -> None:
        self._connection = connection
        self._key = key
        self._access = access
        self._dictionary = OpenDictionary(dictionary, connection)
        self._spans = spans
        self._decisions = decisions
        self._sidecar = sidecar
        self._tenants = {
            value.ref: value.text
            for value in self._dictionary.values(DictKind.TENANT)
            if access.sees(value.text)
        }

    def tenants(self) -> list[str]:
        return sorted(self._tenants.values())

    def find(self, event_id: str, *, tenant: str | None) -> StoredEvent | None:
        try:
            packed = uuid_bytes(event_id)
        except ValueError:
            return None
        wanted = [ref for ref, name in self._tenants.items() if tenant in (None, name)]
        seen = _in("tenant", wanted)
        row = self._connection.execute(
            f"SELECT {_ROW} FROM whodid_event "
            f"WHERE {seen.sql} AND id = ? ORDER BY position LIMIT 1",
            (*seen.params, packed),
        ).fetchone()
        if row is None:
            return None
        stored = _stored(row)
        restriction = self._access.restriction
        return stored if restriction is None or compile_matcher(restriction)(stored) else None

    def page(self, query: Query, *, limit: int, cursor: Cursor | None) -> Page:
        search = self._search(query)
        if cursor:
            search = replace(search, newest=cursor.newest)
        upwards = cursor is not None and cursor.direction == "newer"
        after = (cursor.occurred_at, cursor.position) if cursor else None
        found = self._matching(search, after=after, upwards=upwards, want=limit + 1)
        return make_page(
            list(itertools.islice(found, limit + 1)),
            limit=limit,
            cursor=cursor,
            now=search.now,
            newest=search.newest,
            seal=lambda made: cursors.seal_cursor(made, key=self._key, text=search.text),
            arrived=self._arrived(search) if cursor else 0,
        )

    def scan(self, query: Query) -> Iterator[StoredEvent]:
        return self._matching(self._search(query))

    def count(self, query: Query, *, cap: int | None) -> Counted:
        return self._count(self._search(query), cap=cap)

    def facets(self, query: Query, *, fields: Sequence[FacetField], limit: int) -> list[Facet]:
        search = self._decided(self._search(query))
        with self._columns(search) as found:
            if found:
                return found.snapshot.facets(
                    found.asked, fields=fields, limit=limit, exact=search.is_whole
                )
        return [
            make_facet(field, self._group_by(search, field), limit=limit, exact=search.is_whole)
            for field in fields
        ]

    def histogram(self, query: Query, *, edges: Sequence[Instant], split_by: SplitBy) -> Histogram:
        search = self._decided(self._search(query))
        starts = [edge.micros for edge in edges]
        with self._columns(search) as found:
            counts = (
                found.snapshot.histogram(found.asked, edges=starts, split_by=split_by)
                if found
                else self._group_by_time(search, starts, split_by)
            )
        return make_histogram(edges, counts, split_by=split_by, exact=search.is_whole)

    def read_from(self, position: int, *, limit: int) -> list[StoredEvent]:
        search = self._search(_EVERYTHING)
        rows = self._connection.execute(
            f"SELECT {_ROW} FROM whodid_event "
            f"WHERE position >= ? AND {search.where.sql} ORDER BY position LIMIT ?",
            (position, *search.where.params, limit),
        )
        return [stored for stored in map(_stored, rows) if search.accepts(stored)]

    def stats(self) -> Stats:
        search = self._search(_EVERYTHING)
        oldest = next(self._matching(search, upwards=True, want=1), None)
        newest = next(self._matching(search, want=1), None)
        sees_all = self._access.tenants is None
        return Stats(
            events=self._size(),
            size_bytes=self._one("PRAGMA page_count") * self._one("PRAGMA page_size")
            if sees_all
            else None,
            oldest=oldest.occurred_at if oldest else None,
            newest=newest.occurred_at if newest else None,
        )

    def _size(self) -> int:
        if self._access.restriction is not None:
            return self._count(self._search(_EVERYTHING), cap=None).count
        trees = _in("tenant", list(self._tenants))
        return int(
            self._one(
                f"SELECT coalesce(sum(size), 0) FROM whodid_log_state WHERE {trees.sql}",
                trees.params,
            )
        )

    def _one(self, sql: str, params: tuple[Any, ...] = ()) -> Any:
        return self._connection.execute(sql, params).fetchone()[0]

    def _search(self, query: Query) -> _Search:
        node: Node = query.node
        if self._access.restriction is not None:
            node = all_of(node, self._access.restriction)
        newest = self._newest_position()
        where, indexed = self._ways(node, newest=newest)
        restriction = self._access.restriction
        search = _Search(
            text=query.text,
            now=query.now,
            where=where,
            decide=compile_matcher(node),
            newest=newest,
            key=(node, frozenset(self._tenants), newest),
            indexed=indexed,
            is_ordered=_is_time_alone(node)
            and (self._access.tenants is None or len(self._tenants) == 1),
            is_pointed=is_pointed(node),
            is_strict=not where.exact
            and restriction is not None
            and not self._where(restriction).exact,
        )
        known = None if where.exact else self._decisions.find(search.key)
        return _at(search, known) if known and known.is_whole else search

    def _ways(self, node: Node, *, newest: int) -> tuple[Where, _Indexed | None]:
        """What selects the events that match a tree, and how the text index gets to them."""
        if self._where(node, effort="nothing").exact:
            where = self._where(node)
            return where, None if where.exact else self._indexed(node, newest=newest)
        indexed = self._indexed(node, newest=newest)
        return self._where(node, effort="few" if indexed else "all"), indexed

    def _where(self, node: Node, *, scans_bodies: bool = True, effort: _Effort = "all") -> Where:
        """What selects the events that match a tree, and that may be seen."""
        sees_all = self._access.tenants is None
        dialect = _SqliteDialect(
            self._dictionary,
            self._tenants,
            sees_all,
            self._key,
            scans_bodies=scans_bodies,
            effort=effort,
        )
        where = compile_where(node, dialect)
        seen = ALL if sees_all else _in("tenant", list(self._tenants))
        if is_pointed(node) and not sees_all:
            # The plus keeps SQLite from going through the tenant's events in order of time.
            seen = replace(seen, sql=f"+{seen.sql}")
        return all_where([seen, where])

    def _indexed(self, node: Node, *, newest: int) -> _Indexed | None:
        """How the text index gets to the hits; None where another way is shorter."""
        terms = node.terms if isinstance(node, And) else (node,)
        if is_pointed(node):
            return None
        tenants = None if self._access.tenants is None else list(self._tenants)
        needed = needed_by_search(node, tenants=tenants)
        covered = watermark(self._connection, TextStep().name)
        # With most of the log yet to be indexed, its time index is the better one.
        if needed is None or newest - covered > covered:
            return None
        low, high = _time_bounds(terms)
        return _Indexed(
            needed=needed,
            sieve=self._where(node, scans_bodies=False, effort="few"),
            watermark=covered,
            spans=self._spans.read(self._connection),
            low=low,
            high=high,
        )

    def _decided(self, search: _Search) -> _Search:
        """The same search as the events that it matches, or those found in the time there is.

        Raises:
            InvalidError: Time was too short for a search that must be decided to its end.
        """
        if search.where.exact:
            return search
        known = self._decisions.find(search.key)
        if known is None:
            known = self._decide(search, most=MAX_DECIDED)
            self._decisions.keep(search.key, known)
        if search.is_strict and not known.is_whole:
            raise too_wide()
        return _at(search, known)

    def _decide(self, search: _Search, *, most: int) -> Decision:
        """Positions of matching events: all, or what `most` and the time allow."""
        found: list[int] = []
        deadline = time.monotonic() + DECIDE_S
        # SQLite itself stops as well: it may go through many rows before it finds the first.
        self._connection.set_progress_handler(lambda: time.monotonic() > deadline, 1_000)
        try:
            for stored in self._matching(search):
                if len(found) == most or time.monotonic() > deadline:
                    return Decision(found, is_whole=False)
                found.append(stored.position)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            return Decision(found, is_whole=False)
        finally:
            self._connection.set_progress_handler(None, 0)
        return Decision(found, is_whole=True)

    @contextmanager
    def _columns(
        self,
        search: _Search,
        *,
        first: int = 0,
        last: int = 2**63 - 1,
        is_enough: bool = False,
    ) -> Iterator[_Found | None]:
        """One moment of the columns and what the search asks of them; None where SQL answers.

        Args:
            is_enough: They may also select more than what the search matches.
        """
        where, positions = search.where, search.positions
        can_tell = where.mask is not None or positions is not None
        can_tell = can_tell and (where.exact or is_enough)
        columns = self._sidecar.columns(self._newest_position()) if can_tell else None
        if columns is None:
            yield None
            return
        with columns.snapshot(self._connection) as snapshot:
            if snapshot is None:
                yield None
                return
            mask = where.mask if positions is None else None
            asked = snapshot.asked(mask, positions=positions, first=first, last=last)
            yield _Found(snapshot, asked)

    def _newest_position(self) -> int:
        return newest_position(self._connection)

    def _matching(
        self,
        search: _Search,
        *,
        after: tuple[int, int] | None = None,
        upwards: bool = False,
        want: int = _FIRST_CHUNK,
    ) -> Iterator[StoredEvent]:
        """Matching events up to the search's newest, from a place on, down or up in time."""
        walk = self._through_time
        if search.indexed is not None and not search.where.exact:
            walk = self._through_index
        elif not search.is_ordered and (search.where.exact or not search.is_pointed):
            walk = self._through_columns
        for row in walk(search, after=after, upwards=upwards, want=want):
            stored = _stored(row)
            if search.accepts(stored):
                yield stored

    def _through_time(
        self, search: _Search, *, after: tuple[int, int] | None, upwards: bool, want: int
    ) -> Iterator[_Row]:
        """Selected rows, by the indexes of columns."""
        comparison, direction = (">", "ASC") if upwards else ("<", "DESC")
        chunk = want
        while True:
            place = f" AND (occurred_at, position) {comparison} (?, ?)" if after else ""
            rows = self._connection.execute(
                f"SELECT {_ROW} FROM whodid_event "
                f"WHERE {search.where.sql} AND position <= ?{place} "
                f"ORDER BY occurred_at {direction}, position {direction} LIMIT ?",
                (*search.where.params, search.newest, *(after or ()), chunk),
            ).fetchall()
            yield from rows
            if len(rows) < chunk:
                return
            after = (rows[-1][4], rows[-1][0])
            chunk = min(chunk * 4, _MAX_CHUNK)

    def _through_columns(
        self, search: _Search, *, after: tuple[int, int] | None, upwards: bool, want: int
    ) -> Iterator[_Row]:
        """Selected rows, by the columns, or through time where these can't tell.

        Not by an index of an actor or an address either: that may lead to a tenth of the log
        before the first of them is sorted, while this costs no more than a look at each block.
        """
        chunk = want
        while True:
            with self._columns(search, last=search.newest, is_enough=True) as found:
                if found:
                    places = found.snapshot.nearest(
                        found.asked, after=after, upwards=upwards, want=chunk
                    )
                    rows = list(self._rows(self._passing(places, search), chunk=chunk))
            if not found:
                yield from self._through_time(search, after=after, upwards=upwards, want=chunk)
                return
            yield from rows
            if len(places) < chunk:
                return
            after = places[-1]
            chunk = min(chunk * 4, _MAX_CHUNK)

    def _passing(
        self, places: Sequence[tuple[int, int]], search: _Search
    ) -> Sequence[tuple[int, int]]:
        """The places whose events SQL selects as well, where it knows more than the columns."""
        if search.where.exact:
            return places
        positions = [position for _, position in places]
        selected = self._places(positions, search, where=search.where, after=None, upwards=False)
        passing = {position for _, position in selected}
        return [place for place in places if place[1] in passing]

    def _through_index(
        self, search: _Search, *, after: tuple[int, int] | None, upwards: bool, want: int
    ) -> Iterator[_Row]:
        """Selected rows, by the text index, and what it doesn't cover yet by scanning that."""
        indexed = search.indexed
        if indexed is None:
            raise AssertionError("a search without an index was to go through it")
        part = _part(indexed, search, after=after, upwards=upwards)
        places = self._in_tail(search, after=after, upwards=upwards)
        found = hits(self._connection, indexed.needed, spans=indexed.spans, walk=part)
        for positions, edge in itertools.chain(found, [([], None)]):
            check_covered(self._connection, TextStep(), to=indexed.watermark)
            places += self._places(
                positions, search, where=indexed.sieve, after=after, upwards=upwards
            )
            places.sort(reverse=not upwards)
            ready = len(places)
            if edge is not None:
                ready = bisect_left(places, True, key=_is_beyond(edge, upwards=upwards))
            yield from self._rows(places[:ready], chunk=want)
            places = places[ready:]

    def _in_tail(
        self, search: _Search, *, after: tuple[int, int] | None, upwards: bool
    ) -> list[tuple[int, int]]:
        """When and where there are selected events that the text index doesn't cover."""
        covered = search.indexed.watermark if search.indexed else 0
        place = _beyond(after, upwards=upwards)
        return self._connection.execute(
            # By position: an index of columns would go through all that is covered.
            "SELECT occurred_at, position FROM whodid_event NOT INDEXED "
            f"WHERE position > ? AND position <= ? AND ({search.where.sql}) AND {place.sql} "
            "ORDER BY position",
            (covered, search.newest, *search.where.params, *place.params),
        ).fetchall()

    def _places(
        self,
        positions: Sequence[int],
        search: _Search,
        *,
        where: Where,
        after: tuple[int, int] | None,
        upwards: bool,
    ) -> list[tuple[int, int]]:
        """When and where the events of these positions happened that pass a condition."""
        if not positions:
            return []
        place = _beyond(after, upwards=upwards)
        return self._connection.execute(
            "SELECT occurred_at, position FROM (SELECT value AS picked FROM json_each(?)) "
            "CROSS JOIN whodid_event ON position = picked "
            f"WHERE position <= ? AND ({where.sql}) AND {place.sql} ORDER BY position",
            (json.dumps(positions), search.newest, *where.params, *place.params),
        ).fetchall()

    def _rows(self, places: Sequence[tuple[int, int]], *, chunk: int) -> Iterator[_Row]:
        """The rows at these places, in their order, more and more at a time."""
        at = 0
        while at < len(places):
            wanted = [position for _, position in places[at : at + chunk]]
            rows = self._connection.execute(
                f"SELECT {_ROW} FROM (SELECT value AS picked FROM json_each(?)) "
                "CROSS JOIN whodid_event ON position = picked ORDER BY position",
                (json.dumps(wanted),),
            )
            by_position = {row[0]: row for row in rows}
            yield from (by_position[each] for each in wanted if each in by_position)
            at += chunk
            chunk = min(chunk * 4, _MAX_CHUNK)

    def _arrived(self, search: _Search) -> int:
        where, newest = search.where, self._newest_position()
        if newest == search.newest:
            return 0
        with self._columns(search, first=search.newest + 1) as found:
            if found:
                return min(found.snapshot.count(found.asked, cap=MAX_ARRIVED), MAX_ARRIVED)
        since = Where(f"position > ? AND {where.sql}", (search.newest, *where.params), where.exact)
        later = replace(search, where=since, newest=newest, indexed=None)
        return self._count(later, cap=MAX_ARRIVED).count

    def _count(self, search: _Search, *, cap: int | None) -> Counted:
        if search.where.exact:
            number = self._count_exact(search, cap=cap)
        elif cap is None:
            search = self._decided(search)
            return Counted(count=len(search.positions or ()), exact=search.is_whole)
        else:
            decision = self._decide(search, most=cap + 1)
            number = len(decision.positions)
            if number <= cap and not decision.is_whole:
                if search.is_strict:
                    raise too_wide()
                return Counted(count=number, exact=False)
        if cap is not None and number > cap:
            return Counted(count=cap, exact=False)
        return Counted(count=number)

    def _count_exact(self, search: _Search, *, cap: int | None) -> int:
        with self._columns(search) as found:
            if found:
                return found.snapshot.count(found.asked, cap=cap)
        inner = f"SELECT 1 FROM whodid_event WHERE {search.where.sql}"
        capped = inner if cap is None else f"{inner} LIMIT {int(cap) + 1}"
        return int(self._one(f"SELECT count(*) FROM ({capped})", search.where.params))

    def _group_by(self, search: _Search, field: FacetField) -> Counter[str]:
        counted: Counter[str] = Counter()
        rows = self._connection.execute(
            f"SELECT {field}, count(*) FROM whodid_event WHERE {search.where.sql} "
            f"GROUP BY {field} ORDER BY {field}",
            search.where.params,
        )
        for value, number in rows:
            counted[self._text(field, value)] += number
        return counted

    def _text(self, field: FacetField, value: Any) -> str:
        if value is None:
            return ""
        if field == "ip":
            return address_text(value)
        if field in NAMES:
            return NAMES[field][int(value)]
        return self._dictionary.text(value)

    def _group_by_time(
        self, search: _Search, starts: Sequence[int], split_by: SplitBy
    ) -> list[Counter[str]]:
        """For each bucket how many events there are of each outcome or severity."""
        step = grid_of(starts)
        rows = self._connection.execute(
            f"SELECT (occurred_at - ?) / ?, {split_by}, count(*) FROM whodid_event "
            f"WHERE {search.where.sql} AND occurred_at >= ? AND occurred_at < ? "
            "GROUP BY 1, 2 ORDER BY 1, 2",
            (starts[0], step, *search.where.params, starts[0], starts[-1]),
        )
        return fill_buckets(rows, starts=starts, step=step, split_by=split_by)


def _is_time_alone(node: Node) -> bool:
    """Does the tree ask for nothing but when events occurred?"""
    terms = node.terms if isinstance(node, And) else (node,)
    return all(isinstance(term, Term) and term.field == "created" for term in terms)


def _time_bounds(terms: Sequence[Node]) -> tuple[int | None, int | None]:
    """From when to before when all hits happened, in microseconds."""
    low: int | None = None
    high: int | None = None
    for term in terms:
        if not isinstance(term, Term) or term.field != "created" or term.op != "range":
            continue
        start, end = term.value if isinstance(term.value, tuple) else (None, None)
        if isinstance(start, Instant):
            low = start.micros if low is None else max(low, start.micros)
        if isinstance(end, Instant):
            high = end.micros if high is None else min(high, end.micros)
    return low, high


def _part(
    indexed: _Indexed, search: _Search, *, after: tuple[int, int] | None, upwards: bool
) -> Walk:
    """The part of the log with hits from a place on."""
    low, high = indexed.low, indexed.high
    if after and upwards:
        low = after[0] if low is None else max(low, after[0])
    if after and not upwards:
        high = after[0] + 1 if high is None else min(high, after[0] + 1)
    newest = min(search.newest, indexed.watermark)
    return Walk(low=low, high=high, newest=newest, upwards=upwards)


def _is_beyond(edge: int, *, upwards: bool) -> Callable[[tuple[int, int]], bool]:
    """Might hits that are still to come lie before this one?"""
    if upwards:
        return lambda place: place[0] >= edge
    return lambda place: place[0] <= edge


def _beyond(after: tuple[int, int] | None, *, upwards: bool) -> Where:
    if after is None:
        return ALL
    return Where(f"(occurred_at, position) {'>' if upwards else '<'} (?, ?)", after)


def _at(search: _Search, decision: Decision) -> _Search:
    """The search as what it was decided to match."""
    where = Where("position IN (SELECT value FROM json_each(?))", (decision.listed,))
    return replace(search, where=where, positions=decision.positions, is_whole=decision.is_whole)


def _stored(row: tuple[Any, ...]) -> StoredEvent:
    position, index, body, gone, _ = row
    if body is None:
        raise LedgerError(f"the event at index {index} has lost its body; run whodid verify")
    return canonical.restore(body, gone=gone, index=index, position=position)


def newest_position(connection: sqlite3.Connection) -> int:
    """The position given last, 0 when there is none."""
    select = "SELECT value FROM whodid_counter WHERE name = 'position'"
    return int(connection.execute(select).fetchone()[0])


def keys(connection: sqlite3.Connection, *, key_id: str | None = None) -> list[ApiKey]:
    """All credentials, oldest first, or the one with this id."""
    rows = connection.execute(
        "SELECT id, name, tenant, scopes, digest, created_at, expires_at FROM whodid_api_key "
        f"{'' if key_id is None else 'WHERE id = ? '}ORDER BY created_at, id LIMIT 10000",
        () if key_id is None else (key_id,),
    )
    return [
        ApiKey(
            id=key_id,
            name=name,
            tenant=tenant,
            scopes=frozenset(scopes.split()),
            digest=digest,
            created_at=Instant.from_micros(created_at),
            expires_at=None if expires_at is None else Instant.from_micros(expires_at),
        )
        for key_id, name, tenant, scopes, digest, created_at, expires_at in rows
    ]
