"""Reading over HTTP: events, one event, facets, histogram, count.

Each function is one endpoint's work in a thread: read the parameters, parse the query, write down
that somebody looks (`readings`), ask the store, shape the answer. The caller's `Access` goes to
the store with every question; nothing is filtered here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import cast, get_args

from msgspec import Raw

from whodid.canonical import api_form
from whodid.query.ast import Query, all_of, time_window, within
from whodid.query.buckets import bucket_edges, bucket_name
from whodid.query.parse import parse
from whodid.server import wire
from whodid.server.auth import Caller
from whodid.server.parameters import Parameters
from whodid.server.problems import refuse, wrong_parameters
from whodid.server.readings import Readings
from whodid.stores.base import Cursor, EventStore, Facet, FacetField, SplitBy
from whodid.times import Instant

FIELDS: tuple[FacetField, ...] = get_args(FacetField)
SPLITS: tuple[str, ...] = get_args(SplitBy)
SEARCH = frozenset({"q", "tz", "from", "to"})
DEFAULT_LIMIT, MAX_LIMIT = 50, 1_000
DEFAULT_VALUES, MAX_VALUES = 10, 100
DEFAULT_BUCKETS, MAX_BUCKETS = 84, 500
DEFAULT_SPAN = timedelta(days=30)
"""How far back a histogram reaches when neither the query nor `from` says."""

_FIRST = Instant.parse("0001-01-01T00:00:00Z")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What the reading endpoints share: whom they answer, from what, and who is told."""

    store: EventStore
    readings: Readings

    def events(self, query_string: bytes, *, caller: Caller) -> wire.EventPage:
        """One page of events, newest first."""
        given = Parameters(query_string, allowed=SEARCH | {"cursor", "limit"})
        limit = given.number("limit", default=DEFAULT_LIMIT, low=1, high=MAX_LIMIT)
        cursor = self._cursor(given)
        # Relative times of later pages count from the first page's moment, else pages would shift.
        query = _query(given, now=cursor.now if cursor else Instant.now())
        self.readings.note(caller, query=given.text("q"), now=Instant.now())
        page = self.store.page(
            replace(query, text=_key(given)), access=caller.access, limit=limit, cursor=cursor
        )
        return wire.EventPage(
            events=[Raw(api_form(stored)) for stored in page.events],
            older=page.older,
            newer=page.newer,
            arrived=page.arrived,
            warnings=list(query.warnings),
        )

    def event(self, event_id: str, query_string: bytes, *, caller: Caller) -> bytes:
        """One event as JSON. Absent, another tenant's and no id at all look the same."""
        given = Parameters(query_string, allowed=frozenset({"tenant"}))
        wanted = event_id.lower()
        stored = None
        if _ID.fullmatch(wanted):
            stored = self.store.find(
                wanted, access=caller.access, tenant=given.values.get("tenant")
            )
        if stored is None:
            raise refuse(404, "event", "there is no such event, or none that this key may see")
        self.readings.note(caller, event_id=stored.id, now=Instant.now())
        return api_form(stored)

    def facets(self, query_string: bytes, *, caller: Caller) -> wire.Facets:
        """The commonest values of some fields among the matching events."""
        given = Parameters(query_string, allowed=SEARCH | {"fields", "limit"})
        fields = _fields(given)
        limit = given.number("limit", default=DEFAULT_VALUES, low=1, high=MAX_VALUES)
        query = _query(given, now=Instant.now())
        self.readings.note(caller, query=given.text("q"), now=Instant.now())
        found = self.store.facets(query, access=caller.access, fields=fields, limit=limit)
        return wire.Facets(
            facets=[_shown_facet(facet) for facet in found], warnings=list(query.warnings)
        )

    def histogram(self, query_string: bytes, *, caller: Caller) -> wire.Histogram:
        """Matching events over time, in buckets whose edges are round times of the zone."""
        given = Parameters(query_string, allowed=SEARCH | {"buckets", "split"})
        target = given.number("buckets", default=DEFAULT_BUCKETS, low=1, high=MAX_BUCKETS)
        split = cast(SplitBy, given.choice("split", default="outcome", of=SPLITS))
        query = _query(given, now=Instant.now())
        edges = _edges(query, target=target)
        self.readings.note(caller, query=given.text("q"), now=Instant.now())
        found = self.store.histogram(query, access=caller.access, edges=edges, split_by=split)
        return wire.Histogram(
            split=found.split_by,
            size=bucket_name(edges),
            buckets=[
                wire.Bucket(
                    start=str(bucket.start),
                    end=str(bucket.end),
                    total=bucket.total,
                    counts={name: count for name, count in bucket.counts.items() if count},
                )
                for bucket in found.buckets
            ],
            exact=found.exact,
            warnings=list(query.warnings),
        )

    def count(self, query_string: bytes, *, caller: Caller) -> wire.Count:
        """How many events match."""
        given = Parameters(query_string, allowed=SEARCH)
        query = _query(given, now=Instant.now())
        self.readings.note(caller, query=given.text("q"), now=Instant.now())
        counted = self.store.count(query, access=caller.access)
        return wire.Count(count=counted.count, exact=counted.exact, warnings=list(query.warnings))

    def _cursor(self, given: Parameters) -> Cursor | None:
        token = given.values.get("cursor")
        return None if token is None else self.store.open_cursor(token, text=_key(given))


def _key(given: Parameters) -> str:
    """What ties a cursor to its search; as JSON, so that no two searches look the same."""
    return json.dumps([given.values.get(name) for name in ("q", "from", "to", "tz")])


def _query(given: Parameters, *, now: Instant) -> Query:
    query = parse(given.text("q"), now=now, zone=given.zone)
    return replace(query, node=all_of(within(*given.window), query.node))


def _fields(given: Parameters) -> list[FacetField]:
    text = given.values.get("fields")
    if text is None:
        return list(FIELDS)
    names = text.split(",")
    if not set(names) <= set(FIELDS) or len(set(names)) != len(names):
        raise wrong_parameters(
            ["fields"], f"fields: expected some of {', '.join(FIELDS)}, each once, with commas"
        )
    return cast("list[FacetField]", names)


def _edges(query: Query, *, target: int) -> list[Instant]:
    start, end = time_window(query.node)
    end = end or max(query.now, start or query.now)
    try:
        start = start or Instant.of(end - DEFAULT_SPAN)
    except OverflowError:
        start = _FIRST
    return bucket_edges(start, end, zone=query.zone, target=target)


def _shown_facet(facet: Facet) -> wire.Facet:
    return wire.Facet(
        field=facet.field,
        values=[
            wire.FacetValue(
                field=value.field, value=value.value, label=value.label, count=value.count
            )
            for value in facet.values
        ],
        distinct=facet.distinct,
        exact=facet.exact,
    )
