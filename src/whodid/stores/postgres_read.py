"""Searching PostgreSQL: SQL selects a superset in order, `evaluate` decides on the decoded event.

What is read is what is sealed. Rows come in keyset chunks, so that no transaction stays open while
a caller thinks and memory is flat. Counts, facets and histograms are counted by SQL over the
columns, and for searches that only `evaluate` can decide from the events found in the time there
is.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import psycopg

from whodid import canonical
from whodid.access import Access
from whodid.errors import LedgerError
from whodid.event import StoredEvent
from whodid.ids import uuid_bytes
from whodid.query.ast import EVERYTHING, Node, Query, Term, all_of
from whodid.query.evaluate import compile_matcher
from whodid.query.sql import (
    ALL,
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
from whodid.stores.postgres_connections import Connection
from whodid.stores.postgres_values import OpenPostgresDictionary
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
from whodid.times import Instant

_FIRST_CHUNK = 200
_MAX_CHUNK = 4_000
_EVERYTHING = Query(text="", node=EVERYTHING, now=Instant.from_micros(0))
_Row: TypeAlias = tuple[Any, ...]

# ARRAY(SELECT …) is looked up first, and then its values by an index; from IN the planner makes a
# join of whole tables when it knows little of them.

# The event that a row of columns belongs to, looked up for each: OFFSET keeps the planner from
# joining all events before the LIMIT has said how many are wanted.
_EVENT = (
    "LEFT JOIN LATERAL (SELECT b.body, b.gone FROM whodid_event AS b "
    "WHERE b.received_at = s.received_at AND b.id = s.id AND b.arrival = s.arrival OFFSET 0) "
    "AS e ON TRUE"
)
_ROW = 's.position, s."index", e.body, e.gone, s.occurred_at'
_PLACE = 's.position, s."index", s.received_at, s.id, s.arrival, s.occurred_at'


@dataclass(frozen=True, slots=True)
class _PostgresDialect:
    """The leaves of a search in PostgreSQL's SQL, on `whodid_sealed AS s`."""

    dictionary: OpenPostgresDictionary
    tenants: Mapping[int, str]
    sees_all: bool
    key: bytes

    def between(self, column: NumberColumn, low: int | None, high: int | None) -> Where:
        parts, params = [], []
        for bound, comparison in ((low, ">="), (high, "<")):
            if bound is not None:
                parts.append(f's."{column}" {comparison} %s::bigint')
                params.append(max(min(bound, 2**63 - 1), -(2**63)))
        return Where(" AND ".join(parts), tuple(params)) if parts else ALL

    def code_in(self, column: CodeColumn, codes: Sequence[int]) -> Where:
        return Where(f"s.{column} = ANY(%s::smallint[])", (list(codes),))

    def value_in(self, column: DictionaryColumn, term: Term) -> Where:
        refs = self.dictionary.refs_that_pass(
            KINDS[column], term, tenants=None if self.sees_all else self.tenants
        )
        # An empty text is no value in the dictionary: the event decides if it has one.
        if column == "agent" and passes_empty(KINDS[column], term):
            return replace(_in(column, [0, *(refs or ())]), exact=False)
        return _in(column, refs or ())

    def address_between(self, low: bytes, high: bytes) -> Where:
        # Without the length 10.0.0.0 would sort among the IPv6 addresses.
        return Where(
            "s.ip IS NOT NULL AND s.ip BETWEEN %s AND %s AND length(s.ip) = %s",
            (low, high, len(low)),
        )

    def has_address(self) -> Where:
        return Where("s.ip IS NOT NULL")

    def refers_to(self, kind: RefColumn, name: str) -> Where:
        hashes = [
            reference_hash(self.key, tenant=tenant, name=name) for tenant in self.tenants.values()
        ]
        return Where(
            "s.position = ANY(ARRAY(SELECT r.position FROM whodid_event_ref AS r "
            "WHERE r.hash = ANY(%s::bigint[]) AND r.kind = %s))",
            (hashes, int(REF_KINDS[kind])),
        )

    def id_is(self, event_id: str) -> Where:
        return Where(
            "s.arrival = ANY(ARRAY(SELECT b.arrival FROM whodid_event AS b WHERE b.id = %s::uuid))",
            (event_id,),
        )

    def body_has(self, searched: Sequence[str]) -> Where:
        """ASCII bodies are looked into; how others fold, only `evaluate` knows."""
        needles = [word for text in searched for word in fold(text).split(" ")]
        if not needles:
            return Where("TRUE", exact=False)
        if not all(needle.isascii() for needle in needles):
            return Where("NOT s.plain", exact=False)
        # JSON escapes only put characters between words, never inside one; so do those of `encode`.
        # lower() under C: Turkish would make another letter of an ASCII I.
        has = " AND ".join(["strpos(t.body, %s) > 0"] * len(needles))
        return Where(
            "NOT s.plain OR EXISTS (SELECT 1 FROM (SELECT lower(encode(b.body, 'escape') "
            'COLLATE "C") AS body FROM whodid_event AS b WHERE b.received_at = s.received_at '
            f"AND b.id = s.id AND b.arrival = s.arrival OFFSET 0) AS t WHERE {has})",
            tuple(needles),
            exact=False,
        )


def _in(column: str, numbers: Sequence[int]) -> Where:
    if len(numbers) == 1:  # an index on one value has its events in order of time
        return Where(f"s.{column} = %s::bigint", (numbers[0],))
    return Where(f"s.{column} = ANY(%s::bigint[])", (list(numbers),))


@dataclass(frozen=True, slots=True)
class _Search:
    """A search ready to run.

    Attributes:
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
    is_pointed: bool
    is_strict: bool
    positions: Sequence[int] | None = None
    is_whole: bool = True

    def accepts(self, stored: StoredEvent) -> bool:
        return self.where.exact or self.decide(stored)


class Reader:
    """One caller's reads through one connection."""

    def __init__(
        self,
        connection: Connection,
        *,
        key: bytes,
        access: Access,
        dictionary: Dictionary,
        decisions: Decisions,
    ) -> None:
        self._connection = connection
        self._key = key
        self._access = access
        self._dictionary = OpenPostgresDictionary(dictionary, connection)
        self._decisions = decisions
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
        row = self._execute(
            f"SELECT {_ROW} FROM (SELECT {_PLACE} FROM whodid_sealed AS s "
            "WHERE s.arrival = ANY(ARRAY(SELECT b.arrival FROM whodid_event AS b "
            "WHERE b.id = %s::uuid)) AND s.tenant = ANY(%s::bigint[]) OFFSET 0) AS s "
            f"{_EVENT} ORDER BY s.position LIMIT 1",
            (packed.hex(), wanted),
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
        return [
            make_facet(field, self._group_by(search, field), limit=limit, exact=search.is_whole)
            for field in fields
        ]

    def histogram(self, query: Query, *, edges: Sequence[Instant], split_by: SplitBy) -> Histogram:
        search = self._decided(self._search(query))
        starts = [edge.micros for edge in edges]
        step = grid_of(starts)
        rows = self._execute(
            f"SELECT (s.occurred_at - %s) / %s, s.{split_by}, count(*) FROM whodid_sealed AS s "
            f"WHERE ({search.where.sql}) AND s.occurred_at >= %s AND s.occurred_at < %s "
            "GROUP BY 1, 2 ORDER BY 1, 2",
            (starts[0], step, *search.where.params, starts[0], starts[-1]),
        )
        counts = fill_buckets(rows, starts=starts, step=step, split_by=split_by)
        return make_histogram(edges, counts, split_by=split_by, exact=search.is_whole)

    def read_from(self, position: int, *, limit: int) -> list[StoredEvent]:
        search = self._search(_EVERYTHING)
        rows = self._execute(
            f"SELECT {_ROW} FROM (SELECT {_PLACE} FROM whodid_sealed AS s "
            f"WHERE s.position >= %s AND ({search.where.sql}) ORDER BY s.position LIMIT %s) AS s "
            f"{_EVENT} ORDER BY s.position",
            (position, *search.where.params, limit),
        )
        return [stored for stored in map(_stored, rows) if search.accepts(stored)]

    def stats(self) -> Stats:
        search = self._search(_EVERYTHING)
        oldest = next(self._matching(search, upwards=True, want=1), None)
        newest = next(self._matching(search, want=1), None)
        return Stats(
            events=self._size(),
            size_bytes=self._size_bytes() if self._access.tenants is None else None,
            oldest=oldest.occurred_at if oldest else None,
            newest=newest.occurred_at if newest else None,
        )

    def _size(self) -> int:
        if self._access.restriction is not None:
            return self._count(self._search(_EVERYTHING), cap=None).count
        return int(
            self._one(
                "SELECT coalesce(sum(size), 0) FROM whodid_log_state "
                "WHERE tenant = ANY(%s::bigint[])",
                (list(self._tenants),),
            )
        )

    def _size_bytes(self) -> int:
        """Of our tables with their indexes; the database may hold an application's as well."""
        return int(
            self._one(
                "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class AS c "
                "WHERE c.relkind = 'r' AND c.relname LIKE %s "
                "AND c.relnamespace = (SELECT relnamespace FROM pg_class "
                "WHERE oid = 'whodid_event'::regclass)",
                (r"whodid\_%",),
            )
        )

    def _execute(self, query: str, params: Sequence[Any] = ()) -> psycopg.Cursor[_Row]:
        return self._connection.execute(query.encode(), params)

    def _one(self, query: str, params: Sequence[Any] = ()) -> Any:
        row = self._execute(query, params).fetchone()
        return None if row is None else row[0]

    def _search(self, query: Query) -> _Search:
        node: Node = query.node
        restriction = self._access.restriction
        if restriction is not None:
            node = all_of(node, restriction)
        newest = newest_position(self._connection)
        where = self._where(node)
        search = _Search(
            text=query.text,
            now=query.now,
            where=where,
            decide=compile_matcher(node),
            newest=newest,
            key=(node, frozenset(self._tenants), newest),
            is_pointed=is_pointed(node),
            is_strict=not where.exact
            and restriction is not None
            and not self._where(restriction).exact,
        )
        known = None if where.exact else self._decisions.find(search.key)
        return _at(search, known) if known and known.is_whole else search

    def _where(self, node: Node) -> Where:
        """What selects the events that match a tree, and that may be seen."""
        sees_all = self._access.tenants is None
        dialect = _PostgresDialect(self._dictionary, self._tenants, sees_all, self._key)
        seen = ALL if sees_all else _in("tenant", list(self._tenants))
        return all_where([seen, compile_where(node, dialect)])

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
        # The server stops as well: it may go through many rows before it finds the first.
        try:
            with self._connection.transaction():
                self._execute(
                    "SELECT set_config('statement_timeout', %s, true)",
                    (str(max(1, int(DECIDE_S * 1000))),),
                )
                for stored in self._matching(search):
                    if len(found) == most or time.monotonic() > deadline:
                        return Decision(found, is_whole=False)
                    found.append(stored.position)
        except psycopg.errors.QueryCanceled:
            return Decision(found, is_whole=False)
        return Decision(found, is_whole=True)

    def _matching(
        self,
        search: _Search,
        *,
        after: tuple[int, int] | None = None,
        upwards: bool = False,
        want: int = _FIRST_CHUNK,
    ) -> Iterator[StoredEvent]:
        """Matching events up to the search's newest, from a place on, down or up in time."""
        comparison, direction = (">", "ASC") if upwards else ("<", "DESC")
        chunk = want
        while True:
            place = f" AND (s.occurred_at, s.position) {comparison} (%s, %s)" if after else ""
            order = f"ORDER BY s.occurred_at {direction}, s.position {direction}"
            chosen = (
                f"SELECT {_PLACE} FROM whodid_sealed AS s "
                f"WHERE ({search.where.sql}) AND s.position <= %s{place}"
            )
            if search.is_pointed:  # few: select them, then sort, and don't walk through time
                chosen = f"SELECT {_PLACE} FROM ({chosen} OFFSET 0) AS s"
            rows = self._execute(
                f"SELECT {_ROW} FROM ({chosen} {order} LIMIT %s) AS s {_EVENT} {order}",
                (*search.where.params, search.newest, *(after or ()), chunk),
            ).fetchall()
            for row in rows:
                stored = _stored(row)
                if search.accepts(stored):
                    yield stored
            if len(rows) < chunk:
                return
            after = (rows[-1][4], rows[-1][0])
            chunk = min(chunk * 4, _MAX_CHUNK)

    def _arrived(self, search: _Search) -> int:
        newest = newest_position(self._connection)
        if newest == search.newest:
            return 0
        where = search.where
        since = Where(
            f"s.position > %s AND ({where.sql})", (search.newest, *where.params), where.exact
        )
        return self._count(replace(search, where=since, newest=newest), cap=MAX_ARRIVED).count

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
        inner = f"SELECT 1 FROM whodid_sealed AS s WHERE {search.where.sql}"
        capped = inner if cap is None else f"{inner} LIMIT {int(cap) + 1}"
        return int(self._one(f"SELECT count(*) FROM ({capped}) AS t", search.where.params))

    def _group_by(self, search: _Search, field: FacetField) -> Counter[str]:
        counted: Counter[str] = Counter()
        rows = self._execute(
            f"SELECT s.{field}, count(*) FROM whodid_sealed AS s WHERE {search.where.sql} "
            f"GROUP BY s.{field} ORDER BY s.{field}",
            search.where.params,
        )
        for value, number in rows.fetchall():
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


def _at(search: _Search, decision: Decision) -> _Search:
    """The search as what it was decided to match."""
    where = Where("s.position = ANY(%s::bigint[])", (list(decision.positions),))
    return replace(search, where=where, positions=decision.positions, is_whole=decision.is_whole)


def _stored(row: _Row) -> StoredEvent:
    position, index, body, gone, _ = row
    if body is None:
        raise LedgerError(f"the event at index {index} has lost its body; run whodid verify")
    return canonical.restore(body, gone=gone, index=index, position=position)


def newest_position(connection: Connection) -> int:
    """The position given last, 0 when there is none."""
    row = connection.execute("SELECT position FROM whodid_seal WHERE one").fetchone()
    return int(row[0]) if row else 0


def keys(connection: Connection, *, key_id: str | None = None) -> list[ApiKey]:
    """All credentials, oldest first, or the one with this id."""
    rows = connection.execute(
        "SELECT id, name, tenant, scopes, digest, created_at, expires_at FROM whodid_api_key "
        "WHERE %s::text IS NULL OR id = %s ORDER BY created_at, id LIMIT 10000",
        (key_id, key_id),
    )
    return [
        ApiKey(
            id=found,
            name=name.decode(),
            tenant=tenant.decode(),
            scopes=frozenset(scopes.split()),
            digest=digest,
            created_at=Instant.from_micros(created_at),
            expires_at=None if expires_at is None else Instant.from_micros(expires_at),
        )
        for found, name, tenant, scopes, digest, created_at, expires_at in rows
    ]
