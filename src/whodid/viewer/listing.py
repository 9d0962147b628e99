"""Everything that the list page shows, read from the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from whodid.access import Access
from whodid.event import StoredEvent
from whodid.query.buckets import bucket_edges
from whodid.stores.base import Counted, EventStore, Facet, FacetField, Page
from whodid.times import Instant
from whodid.viewer.chart import Chart, draw
from whodid.viewer.facets import FACET_LIMIT, TITLES, qualifiers
from whodid.viewer.search import Search

PAGE_SIZE = 50
COUNT_CAP = 100_000
VALUES_LIMIT = 200
"""Values of one field that can be searched within."""
_NEWER_SHOWN = 12  # rows above an event that is opened from elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One page of results and what stands around it.

    Attributes:
        is_first: Nothing newer was left out.
    """

    events: Sequence[StoredEvent]
    older: str | None
    newer: str | None
    arrived: int
    counted: Counted
    chart: Chart | None
    is_first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """The events above and below one in the results, and which in the list it is.

    Attributes:
        number: One-based, None when it is not known.
    """

    newer: StoredEvent | None = None
    older: StoredEvent | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """Why a list is empty.

    Attributes:
        has_events: There are events that the caller may see.
        newest: The newest match outside the window, None when nothing matches at all.
        matching: How many match outside the window.
    """

    has_events: bool
    newest: StoredEvent | None = None
    matching: Counted | None = None


def read_listing(
    search: Search, *, store: EventStore, access: Access, around: StoredEvent | None = None
) -> Listing:
    """A page of results with their number and chart.

    Args:
        around: An event that must be on the page, if it is among the results.
    """
    page = store.page(search.query, access=access, limit=PAGE_SIZE, cursor=search.cursor)
    is_first = search.cursor is None
    is_all = is_first and page.older is None
    if around and not _holds(page.events, around) and search.finds(around):
        page = _page_around(around, search=search, store=store, access=access)
        is_first, is_all = page.newer is None, page.newer is None and page.older is None
    counted = (
        Counted(count=len(page.events))
        if is_all
        else store.count(search.query, access=access, cap=COUNT_CAP)
    )
    return Listing(
        events=page.events,
        older=page.older,
        newer=page.newer,
        arrived=page.arrived,
        counted=counted,
        chart=_chart(search, page=page, is_all=is_all, store=store, access=access),
        is_first=is_first,
    )


def _holds(events: Sequence[StoredEvent], wanted: StoredEvent) -> bool:
    return any(event.position == wanted.position for event in events)


def _page_around(middle: StoredEvent, *, search: Search, store: EventStore, access: Access) -> Page:
    newer = store.page(
        search.query, access=access, limit=_NEWER_SHOWN, cursor=search.beside(middle, "newer")
    )
    older = store.page(
        search.query,
        access=access,
        limit=PAGE_SIZE - _NEWER_SHOWN,
        cursor=search.beside(middle, "older"),
    )
    return Page(
        events=[*newer.events, middle, *older.events],
        older=older.older,
        newer=newer.newer,
        arrived=0,
    )


def _chart(
    search: Search, *, page: Page, is_all: bool, store: EventStore, access: Access
) -> Chart | None:
    if not page.events:
        return None
    start, end = search.window.start, search.window.end or search.moments.now
    if start is None:
        # Of a longer list the oldest match is further down: the log's own beginning is cheaper.
        oldest = page.events[-1].occurred_at if is_all else store.stats(access=access).oldest
        start = oldest or page.events[-1].occurred_at
    elif search.window.range and not (is_all and page.events[-1].occurred_at < _middle(start, end)):
        start = _beginning(start, end, store=store, access=access)
    if start >= end:
        return None  # all of it lies ahead of the clock
    # A moment of its own for the very first event, so that no chart is without width.
    end = max(end, Instant.of(start + timedelta(seconds=1)))
    edges = bucket_edges(start, end, zone=search.moments.zone)
    histogram = store.histogram(
        search.query, access=access, edges=edges, split_by=search.address.split
    )
    return draw(histogram, address=search.address, moments=search.moments)


def _middle(start: Instant, end: Instant) -> Instant:
    return Instant.of(start + (end - start) / 2)


def _beginning(start: Instant, end: Instant, *, store: EventStore, access: Access) -> Instant:
    """Where the chart of a range begins: where a younger log does, else it is a bar at the edge.

    Not for restricted readers, to whom the beginning of what they see costs a count of all of it.
    """
    oldest = store.stats(access=access).oldest if access.restriction is None else None
    return oldest if oldest and start < oldest < end else start


def read_facets(
    search: Search, *, store: EventStore, access: Access, tenant_names: Mapping[str, str]
) -> list[Facet]:
    """What the filters beside the list count, all in one call."""
    fields = [field for field in TITLES if field != "tenant" or len(tenant_names) > 1]
    return store.facets(search.query, access=access, fields=fields, limit=FACET_LIMIT)


def read_values(search: Search, field: FacetField, *, store: EventStore, access: Access) -> Facet:
    """The values of one field, counted as if the search did not name it: to choose others."""
    query = search.windowed(search.terms().without_fields(*qualifiers(field)))
    [facet] = store.facets(query, access=access, fields=[field], limit=VALUES_LIMIT)
    return facet


def read_window_values(
    search: Search,
    field: FacetField,
    *,
    limit: int,
    holding: str = "",
    store: EventStore,
    access: Access,
) -> Facet:
    """Values in the window of the page, of the tenants it shows; whatever else it searches for.

    For completion: the box may hold a quite different search by now, so its terms count for
    nothing here.

    Args:
        holding: A word; when there is one, of the events that hold it in this field.
    """
    tenants = search.terms().only_fields("tenant")
    # The word alone as well: where no * stands, a name is found without its accents.
    held = f"{tenants} {field}:*{holding}*,{holding}"
    query = search.windowed(held if holding else tenants)
    [facet] = store.facets(query, access=access, fields=[field], limit=limit)
    return facet


def read_neighbours(
    stored: StoredEvent, *, listing: Listing, search: Search, store: EventStore, access: Access
) -> Neighbours:
    """The results right above and below an event."""
    places = [
        index for index, event in enumerate(listing.events) if event.position == stored.position
    ]
    if not places:
        return Neighbours()
    index = places[0]
    newer = listing.events[index - 1] if index else None
    older = listing.events[index + 1] if index + 1 < len(listing.events) else None
    if newer is None and listing.newer:
        newer = _next(search, stored, "newer", store=store, access=access)
    if older is None and listing.older:
        older = _next(search, stored, "older", store=store, access=access)
    return Neighbours(newer=newer, older=older, number=index + 1 if listing.is_first else None)


def _next(
    search: Search, stored: StoredEvent, direction: str, *, store: EventStore, access: Access
) -> StoredEvent | None:
    cursor = search.beside(stored, "newer" if direction == "newer" else "older")
    events = store.page(search.query, access=access, limit=1, cursor=cursor).events
    return events[0] if events else None


def read_absence(search: Search, *, store: EventStore, access: Access) -> Absence:
    """Why nothing was found."""
    if not store.page(search.everything, access=access, limit=1).events:
        return Absence(has_events=False)
    if search.window.is_searched or not search.window.is_bounded:
        return Absence(has_events=True)
    newest = store.page(search.anytime, access=access, limit=1).events
    if not newest:
        return Absence(has_events=True)
    matching = store.count(search.anytime, access=access, cap=COUNT_CAP)
    return Absence(has_events=True, newest=newest[0], matching=matching)
