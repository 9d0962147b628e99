"""Searching SQLite: SQL selects a superset in order, `evaluate` decides on the decoded event.

Rows come in keyset chunks, so no transaction stays open while a caller thinks and memory is flat.
When the condition is exact, counts, facets and histograms stay in the database.
"""

from __future__ import annotations

import itertools
import json
import math
import socket
import sqlite3
import threading
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from whodid import canonical
from whodid.access import Access
from whodid.errors import LedgerError
from whodid.event import (
    CATEGORIES,
    OPERATIONS,
    OUTCOMES,
    SEVERITIES,
    Actor,
    Client,
    Event,
    Geo,
    Source,
    StoredEvent,
    Tenant,
)
from whodid.ids import uuid_bytes
from whodid.query.ast import EVERYTHING, Node, Query, all_of
from whodid.query.evaluate import compile_matcher
from whodid.query.sql import (
    CodeColumn,
    DictionaryColumn,
    NumberColumn,
    RefColumn,
    Where,
    compile_where,
)
from whodid.query.words import fold
from whodid.stores import cursors
from whodid.stores.base import (
    ApiKey,
    Bucket,
    Counted,
    Cursor,
    Facet,
    FacetField,
    FacetValue,
    Histogram,
    Page,
    SplitBy,
    Stats,
)
from whodid.stores.rows import RefKind, actor_from_text, derive_stored, reference_hash
from whodid.stores.sqlite_write import DictKind
from whodid.times import Instant

MAX_ARRIVED = 1_000
_FIRST_CHUNK = 200
_MAX_CHUNK = 4_000
_MAX_DECIDED = 100_000
_MAX_DECISIONS = 8
_EPOCH = Instant.from_micros(0)
_NAMES: Mapping[str, tuple[str, ...]] = {
    "category": CATEGORIES,
    "operation": OPERATIONS,
    "severity": SEVERITIES,
    "outcome": OUTCOMES,
}
_KINDS: Mapping[DictionaryColumn, DictKind] = {
    "actor": DictKind.ACTOR,
    "action": DictKind.ACTION,
    "app": DictKind.APP,
    "country": DictKind.COUNTRY,
    "agent": DictKind.AGENT,
    "tenant": DictKind.TENANT,
}
_REF_KINDS: Mapping[RefColumn, RefKind] = {
    "target": RefKind.TARGET,
    "actor": RefKind.ACTOR,
    "behalf": RefKind.BEHALF,
    "via": RefKind.VIA,
}
_EVERYTHING = Query(text="", node=EVERYTHING, now=_EPOCH)
_ROW = 'position, "index", body, gone, occurred_at'


@dataclass(frozen=True, slots=True)
class DictValue:
    """One dictionary value, and an event that has nothing but it for terms to be asked on."""

    ref: int
    tenant: int
    text: str
    probe: StoredEvent


class Dictionary:
    """The dictionary's committed values in memory, read on from where it was. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest = 0
        self._by_kind: dict[int, list[DictValue]] = {}
        self._by_ref: dict[int, DictValue] = {}

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Learn what other connections and processes have added."""
        with self._lock:
            for ref, tenant, kind, text in connection.execute(
                "SELECT ref, tenant, kind, val FROM whodid_dict WHERE ref > ? ORDER BY ref",
                (self._newest,),
            ):
                value = DictValue(ref, tenant, text, _probe(kind, text))
                self._by_kind.setdefault(kind, []).append(value)
                self._by_ref[ref] = value
                self._newest = ref

    def values(self, kind: DictKind) -> Sequence[DictValue]:
        """All values of a kind, oldest first."""
        return self._by_kind.get(kind, ())

    def text(self, ref: int) -> str:
        """The value behind a number; "" for 0."""
        return self._by_ref[ref].text if ref else ""


def _probe(kind: int, text: str) -> StoredEvent:
    nobody = Actor(type="unknown")
    match kind:
        case DictKind.TENANT:
            event = Event(action="no.action", actor=nobody, tenant=Tenant(id=text))
        case DictKind.ACTOR:
            event = Event(action="no.action", actor=actor_from_text(text))
        case DictKind.ACTION:
            event = Event(action=text, actor=nobody)
        case DictKind.APP:
            event = Event(action="no.action", actor=nobody, source=Source(app=text))
        case DictKind.COUNTRY:
            event = Event(action="no.action", actor=nobody, client=Client(geo=Geo(country=text)))
        case DictKind.AGENT:
            event = Event(action="no.action", actor=nobody, client=Client(user_agent=text))
        case _:
            raise AssertionError(f"the dictionary holds a value of the unknown kind {kind}")
    return StoredEvent(event=event, received_at=_EPOCH, index=None, position=0)


class Decisions:
    """Positions of events that recent searches were decided to match. Thread-safe.

    A page of the viewer asks for events, their count, facets and a histogram: where SQL can't
    decide, the events are decoded once for all of these, not once each.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, list[int]] = OrderedDict()

    def find(self, search: Hashable) -> list[int] | None:
        with self._lock:
            return self._kept.get(search)

    def keep(self, search: Hashable, positions: list[int]) -> None:
        with self._lock:
            self._kept[search] = positions
            while len(self._kept) > _MAX_DECISIONS:
                self._kept.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _SqliteDialect:
    """The leaves of a search in SQLite's SQL, for the tenants (numbers) that may be seen."""

    dictionary: Dictionary
    tenants: Mapping[int, str]
    key: bytes

    def between(self, column: NumberColumn, low: int | None, high: int | None) -> Where:
        name = '"index"' if column == "index" else column
        parts, params = [], []
        for bound, comparison in ((low, ">="), (high, "<")):
            if bound is not None:
                parts.append(f"{name} {comparison} ?")
                params.append(max(min(bound, 2**63 - 1), -(2**63)))
        return Where(" AND ".join(parts) or "1", tuple(params))

    def code_in(self, column: CodeColumn, codes: Sequence[int]) -> Where:
        return _in(column, codes)

    def value_in(self, column: DictionaryColumn, test: Callable[[StoredEvent], bool]) -> Where:
        refs = [
            value.ref
            for value in self.dictionary.values(_KINDS[column])
            if (value.ref if column == "tenant" else value.tenant) in self.tenants
            and test(value.probe)
        ]
        return _in(column, refs)

    def address_between(self, low: bytes, high: bytes) -> Where:
        # Without the length 10.0.0.0 would sort among the IPv6 addresses.
        return Where(
            "ip IS NOT NULL AND ip BETWEEN ? AND ? AND length(ip) = ?", (low, high, len(low))
        )

    def has_address(self) -> Where:
        return Where("ip IS NOT NULL")

    def refers_to(self, kind: RefColumn, name: str) -> Where:
        hashes = [
            reference_hash(self.key, tenant=tenant, name=name) for tenant in self.tenants.values()
        ]
        return Where(
            "position IN (SELECT r.position FROM whodid_event_ref AS r WHERE r.kind = ? "
            "AND r.hash IN (SELECT value FROM json_each(?)))",
            (int(_REF_KINDS[kind]), json.dumps(hashes)),
        )

    def id_is(self, event_id: str) -> Where:
        return Where("id = ?", (uuid_bytes(event_id),))

    def body_has(self, searched: Sequence[str]) -> Where:
        return Where("whodid_has(body, ?)", (" ".join(map(fold, searched)),))


def _in(column: str, numbers: Sequence[int]) -> Where:
    if len(numbers) <= 32:
        return Where(f"{column} IN ({', '.join(str(int(number)) for number in numbers)})")
    return Where(f"{column} IN (SELECT value FROM json_each(?))", (json.dumps(list(numbers)),))


def register_functions(connection: sqlite3.Connection) -> None:
    """Give a connection the functions that our conditions use."""
    connection.create_function("whodid_has", 2, _body_has, deterministic=True)


def _body_has(body: bytes | None, searched: str) -> bool:
    # JSON escapes only put characters between words, never inside one: no match is missed.
    text = (body or b"").decode()
    folded = text.lower() if text.isascii() else fold(text)
    return all(word in folded for word in _needles(searched))


@lru_cache(maxsize=64)
def _needles(searched: str) -> tuple[str, ...]:
    return tuple(searched.split(" "))


@dataclass(frozen=True, slots=True)
class _Search:
    """A search ready to run: what SQL selects, and what decides."""

    text: str
    now: Instant
    where: Where
    decide: Callable[[StoredEvent], bool]
    newest: int
    key: Hashable

    def accepts(self, stored: StoredEvent) -> bool:
        return self.where.exact or self.decide(stored)


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
    ) -> None:
        dictionary.refresh(connection)
        self._connection = connection
        self._key = key
        self._access = access
        self._dictionary = dictionary
        self._decisions = decisions
        self._tenants = {
            value.ref: value.text
            for value in dictionary.values(DictKind.TENANT)
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
        found = list(
            itertools.islice(
                self._matching(search, after=after, upwards=upwards, want=limit + 1),
                limit + 1,
            )
        )
        more = len(found) > limit
        events = found[:limit][::-1] if upwards else found[:limit]
        has_older = upwards or more
        has_newer = more if upwards else cursor is not None

        def link(event: StoredEvent, direction: Literal["older", "newer"]) -> str:
            return cursors.seal_cursor(
                Cursor(
                    now=search.now,
                    newest=search.newest,
                    occurred_at=event.occurred_at.micros,
                    position=event.position,
                    direction=direction,
                ),
                key=self._key,
                text=search.text,
            )

        return Page(
            events=events,
            older=link(events[-1], "older") if events and has_older else None,
            newer=link(events[0], "newer") if events and has_newer else None,
            arrived=self._arrived(search) if cursor else 0,
        )

    def scan(self, query: Query) -> Iterator[StoredEvent]:
        return self._matching(self._search(query))

    def count(self, query: Query, *, cap: int | None) -> Counted:
        search = self._search(query)
        return self._count(search if cap is not None else self._decided(search), cap=cap)

    def facets(self, query: Query, *, fields: Sequence[FacetField], limit: int) -> list[Facet]:
        search = self._decided(self._search(query))
        if search.where.exact:
            counted = {field: self._group_by(search, field) for field in fields}
        else:
            counted = self._group_decoded(search, fields)
        return [_facet(field, counted[field], limit) for field in fields]

    def histogram(self, query: Query, *, edges: Sequence[Instant], split_by: SplitBy) -> Histogram:
        search = self._decided(self._search(query))
        starts = [edge.micros for edge in edges]
        counts: list[Counter[str]] = [Counter() for _ in starts[:-1]]
        for moment, name, number in self._moments(search, starts, split_by):
            if starts[0] <= moment < starts[-1]:
                counts[bisect_right(starts, moment) - 1][name] += number
        buckets = [
            Bucket(start=start, end=end, counts=dict(count))
            for start, end, count in zip(edges, edges[1:], counts, strict=False)
        ]
        return Histogram(buckets=buckets, split_by=split_by)

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
        dialect = _SqliteDialect(self._dictionary, self._tenants, self._key)
        where = compile_where(node, dialect)
        seen = Where("1") if self._access.tenants is None else _in("tenant", list(self._tenants))
        search = _Search(
            text=query.text,
            now=query.now,
            where=Where(
                f"({seen.sql}) AND ({where.sql})",
                seen.params + where.params,
                where.exact,
            ),
            decide=compile_matcher(node),
            newest=newest,
            key=(node, frozenset(self._tenants), newest),
        )
        known = None if where.exact else self._decisions.find(search.key)
        return search if known is None else _at(search, known)

    def _decided(self, search: _Search) -> _Search:
        """The same search, exact, if it doesn't match too many events to remember."""
        if search.where.exact:
            return search
        matching = self._matching(search)
        positions = [each.position for each in itertools.islice(matching, _MAX_DECIDED + 1)]
        if len(positions) > _MAX_DECIDED:
            return search
        self._decisions.keep(search.key, positions)
        return _at(search, positions)

    def _newest_position(self) -> int:
        return int(self._one("SELECT value FROM whodid_counter WHERE name = 'position'"))

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
            place = f" AND (occurred_at, position) {comparison} (?, ?)" if after else ""
            rows = self._connection.execute(
                f"SELECT {_ROW} FROM whodid_event "
                f"WHERE {search.where.sql} AND position <= ?{place} "
                f"ORDER BY occurred_at {direction}, position {direction} LIMIT ?",
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
        where = search.where
        since = Where(f"position > ? AND {where.sql}", (search.newest, *where.params), where.exact)
        later = replace(search, where=since, newest=self._newest_position())
        return self._count(later, cap=MAX_ARRIVED).count

    def _count(self, search: _Search, *, cap: int | None) -> Counted:
        if search.where.exact:
            inner = f"SELECT 1 FROM whodid_event WHERE {search.where.sql}"
            capped = inner if cap is None else f"{inner} LIMIT {int(cap) + 1}"
            number = self._one(f"SELECT count(*) FROM ({capped})", search.where.params)
        else:
            matching = self._matching(search)
            number = sum(1 for _ in itertools.islice(matching, None if cap is None else cap + 1))
        if cap is not None and number > cap:
            return Counted(count=cap, exact=False)
        return Counted(count=number)

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
            family = socket.AF_INET if len(value) == 4 else socket.AF_INET6
            return socket.inet_ntop(family, value)
        if field in _NAMES:
            return _NAMES[field][int(value)]
        return self._dictionary.text(value)

    def _group_decoded(
        self, search: _Search, fields: Sequence[FacetField]
    ) -> dict[FacetField, Counter[str]]:
        counted: dict[FacetField, Counter[str]] = {field: Counter() for field in fields}
        for stored in self._matching(search):
            columns = derive_stored(stored)
            for field in fields:
                if field == "tenant":
                    counted[field][stored.tenant_id] += 1
                else:
                    value = getattr(columns, field)
                    is_code = field in _NAMES or field == "ip"
                    counted[field][self._text(field, value) if is_code else value] += 1
        return counted

    def _moments(
        self, search: _Search, starts: Sequence[int], split_by: SplitBy
    ) -> Iterator[tuple[int, str, int]]:
        """Triples of a time in microseconds, an outcome or severity, and how many."""
        if not search.where.exact:
            for stored in self._matching(search):
                name = stored.outcome if split_by == "outcome" else stored.severity
                yield stored.occurred_at.micros, name, 1
            return
        # All edges lie on a grid of this step, so counting per step loses nothing.
        step = math.gcd(*(end - start for start, end in itertools.pairwise(starts)))
        rows = self._connection.execute(
            f"SELECT (occurred_at - ?) / ?, {split_by}, count(*) FROM whodid_event "
            f"WHERE {search.where.sql} AND occurred_at >= ? AND occurred_at < ? "
            "GROUP BY 1, 2 ORDER BY 1, 2",
            (starts[0], step, *search.where.params, starts[0], starts[-1]),
        )
        for number, code, count in rows:
            yield starts[0] + number * step, _NAMES[split_by][code], count


def _at(search: _Search, positions: Sequence[int]) -> _Search:
    """The search as what it was decided to match."""
    where = Where(
        "position IN (SELECT value FROM json_each(?))", (json.dumps(positions),), exact=True
    )
    return replace(search, where=where)


def _stored(row: tuple[Any, ...]) -> StoredEvent:
    position, index, body, gone, _ = row
    if body is None:
        raise LedgerError(f"the event at index {index} has lost its body; run whodid verify")
    return canonical.restore(body, gone=gone, index=index, position=position)


def _facet(field: FacetField, counted: Counter[str], limit: int) -> Facet:
    """Merge what searches can't tell apart, and take the commonest."""
    merged: dict[tuple[str, str], FacetValue] = {}
    for text, count in counted.items():
        value = _facet_value(field, text, count) if text else None
        if value is None:
            continue
        same = (value.field, fold(value.value))
        before = merged.get(same)
        # Names change: the one with more events is shown for the id.
        shown = value if before is None or value.count > before.count else before
        merged[same] = FacetValue(
            field=shown.field,
            value=shown.value,
            label=shown.label,
            count=value.count + (before.count if before else 0),
        )
    ordered = sorted(merged.values(), key=lambda value: (-value.count, value.value))
    return Facet(field=field, values=ordered[:limit], distinct=len(ordered))


def _facet_value(field: FacetField, text: str, count: int) -> FacetValue:
    if field != "actor":
        return FacetValue(field=field, value=text, label=text, count=count)
    actor = actor_from_text(text)
    label = actor.name or actor.email or actor.id or actor.type
    if actor.id:
        return FacetValue(field="actor.id", value=actor.id, label=label, count=count)
    return FacetValue(field="actor.type", value=actor.type, label=label, count=count)


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
