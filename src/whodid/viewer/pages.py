"""The viewer: one request in, one response out, the same for every web framework.

What a page shows lives in its address; the server keeps nothing about who looks at what. Every
page works without a script, and every answer carries a policy that lets in no other host and no
inline script.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from whodid import canonical
from whodid.actions import sentence
from whodid.errors import (
    ConfigError,
    InvalidError,
    LedgerError,
    PermissionRefusedError,
    UnavailableError,
)
from whodid.event import StoredEvent
from whodid.stores.base import EventStore
from whodid.times import Instant
from whodid.viewer import drawer, faults, render
from whodid.viewer.assets import serve_asset
from whodid.viewer.frame import (
    Link,
    TenantNames,
    chosen_tenant,
    counted_words,
    filter_count,
    find_bar,
    tenant_menu,
)
from whodid.viewer.http import Request, Response
from whodid.viewer.listing import (
    Absence,
    Listing,
    newest_index,
    read_absence,
    read_filters,
    read_listing,
    read_neighbours,
)
from whodid.viewer.moments import Moments, find_zone
from whodid.viewer.people import actor_of, second_name
from whodid.viewer.rows import days, headline, row_of
from whodid.viewer.search import READINGS, read_moments, read_search
from whodid.viewer.text import number, pretty_json
from whodid.viewer.window import ALL, RANGES, smallest_range_holding, zoomed_out

_EVENT_PATH = re.compile(
    r"/events/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(\.json)?"
)
_WINDOW_PARAMETERS = ("q", "range", "from", "to", "cursor")


class Viewer:
    """The pages over one store. Safe for use from many threads."""

    def __init__(
        self,
        store: EventStore,
        *,
        tenant_names: Mapping[str, str] | None = None,
        zone: str = "UTC",
    ) -> None:
        """Make the pages.

        Args:
            tenant_names: Id → what people call it; for others the name that events carry is used.
            zone: IANA name of the zone for times where the address names none.

        Raises:
            ConfigError: There is no such zone.
        """
        if find_zone(zone) is None:
            raise ConfigError(f"zone: expected the name of a time zone, got {zone!r}")
        self._store = store
        self._names = TenantNames(store, tenant_names or {})
        self._zone = zone

    def handle(self, request: Request, *, now: Instant | None = None) -> Response:
        """Answer a request; what a caller sends or a store can't do becomes a page as well.

        Args:
            now: What relative times count from; the present when absent.
        """
        if request.method in ("GET", "HEAD"):
            response = self._answer(request, now=now or Instant.now())
        else:
            response = render.plain_text(
                "only GET and HEAD are answered here", status=405, headers={"allow": "GET, HEAD"}
            )
        headers = dict(response.headers)
        if response.status != 304:
            headers["content-length"] = str(len(response.body))
        body = b"" if request.method == "HEAD" else response.body
        return replace(response, headers=headers, body=body)

    def _answer(self, request: Request, *, now: Instant) -> Response:
        if request.path.startswith("/static/"):
            found = serve_asset(request, headers=render.HEADERS)
            return found or render.plain_text("no such file", status=404)
        moments: Moments | None = None
        try:
            if request.access.tenants == frozenset():
                return faults.message(request, "forbidden")
            request.access.check("read")
            moments = read_moments(request, now=now, zone_name=self._zone)
            return self._page(request, moments=moments)
        except InvalidError as error:
            return faults.invalid(request, error, moments=moments)
        except PermissionRefusedError:
            return faults.message(request, "forbidden")
        except UnavailableError:
            return faults.message(request, "unavailable")
        except LedgerError:
            return faults.message(request, "damaged")

    def _page(self, request: Request, *, moments: Moments) -> Response:
        if request.path in ("/", ""):
            return _Visit(request, self._store, self._names, moments=moments).list()
        if request.path == "/events.json":
            return _Visit(request, self._store, self._names, moments=moments).list_json()
        if found := _EVENT_PATH.fullmatch(request.path):
            stored = self._store.find(
                found[1], access=request.access, tenant=request.query.get("tenant")
            )
            if stored is None:
                return faults.message(request, "missing_event")
            if found[2]:
                return render.json(canonical.api_form(stored))
            return _Visit(request, self._store, self._names, moments=moments).event(stored)
        return faults.message(request, "missing_page")


class _Visit:
    """One request for a list, and what all parts of its page need."""

    def __init__(
        self, request: Request, store: EventStore, names: TenantNames, *, moments: Moments
    ) -> None:
        self._started = time.perf_counter()
        self._request, self._store, self._access = request, store, request.access
        search = read_search(request, store=store, moments=moments)
        self._tenants = names.all(access=request.access, now=moments.now)
        address = replace(search.address, names_tenants=len(self._tenants) > 1)
        self._search = replace(search, address=address)
        self._terms = search.terms()
        self._tenant = chosen_tenant(self._terms, self._tenants)

    def list(self) -> Response:
        search = self._search
        listing = read_listing(search, store=self._store, access=self._access)
        filters = (
            read_filters(search, store=self._store, access=self._access, tenant_names=self._tenants)
            if listing.events
            else []
        )
        values = self._values(listing, current=None)
        values["filters"] = filters
        values["filter_url"] = "#filters" if filters else None
        return render.html("list.html", self._request, **values)

    def list_json(self) -> Response:
        search = self._search
        listing = read_listing(search, store=self._store, access=self._access)
        body = {
            "events": [msgspec.Raw(canonical.api_form(event)) for event in listing.events],
            "count": {"count": listing.counted.count, "exact": listing.counted.exact},
            "window": {
                "from": str(search.window.start) if search.window.start else None,
                "to": str(search.window.end) if search.window.end else None,
            },
            "older": search.address.paged_json(listing.older) if listing.older else None,
            "newer": search.address.paged_json(listing.newer) if listing.newer else None,
            "arrived": listing.arrived,
            "warnings": search.typed.warnings,
        }
        return render.json(msgspec.json.encode(body))

    def event(self, stored: StoredEvent) -> Response:
        is_bare = not any(self._request.query.get(key) for key in _WINDOW_PARAMETERS)
        if is_bare and not self._search.finds(stored):
            # A permalink says nothing about when; the list beside it must hold the event.
            self._search = self._search.reaching(stored)
        listing = read_listing(self._search, store=self._store, access=self._access, around=stored)
        values = self._values(listing, current=stored)
        values |= self._event_values(stored, listing)
        return render.html("event.html", self._request, **values)

    def _values(self, listing: Listing, *, current: StoredEvent | None) -> dict[str, Any]:
        search, address, moments = self._search, self._search.address, self._search.moments
        count_number, count_words = counted_words(listing.counted)
        rows = [
            row_of(
                event,
                url=address.event(event) + f"#e-{event.id}",
                moments=moments,
                is_current=current is not None and event.position == current.position,
            )
            for event in listing.events
        ]
        absence = (
            None if listing.events else read_absence(search, store=self._store, access=self._access)
        )
        values = find_bar(address, moments=moments, window=search.window)
        values |= tenant_menu(
            self._terms, address=address, tenants=self._tenants, tenant=self._tenant
        )
        return values | {
            "search": search,
            "listing": listing,
            "days": days(rows, moments=moments),
            "absence": absence,
            **(self._absence_values(absence) if absence else {}),
            "filters": [],
            "filter_count": filter_count(self._terms),
            "readings_url": self._readings_url(),
            "is_list": current is None,
            "is_event": current is not None,
            "is_open": current is not None,
            "show_tenant": self._tenant is None,
            "tenant_name": self._tenant_name,
            "count_number": count_number,
            "count_words": count_words,
            "first_url": address.changed().list,
            "self_url": address.list,
            "older_url": address.paged(listing.older) if listing.older else None,
            "newer_url": address.paged(listing.newer) if listing.newer else None,
            "json_url": address.list_json,
            "zoom_out_url": self._zoom_out_url(listing),
            "seal": self._seal(listing),
            "milliseconds": number(round((time.perf_counter() - self._started) * 1000)),
        }

    def _tenant_name(self, stored: StoredEvent) -> str:
        return self._tenants.get(stored.tenant_id, stored.tenant_id)

    def _seal(self, listing: Listing) -> tuple[str, str] | None:
        """Icon and words of the foot line."""
        if self._tenant is None:
            trees = len(self._tenants)
            return ("seal", f"Sealed in {number(trees)} trees") if trees else None
        index = newest_index(
            self._search,
            events=listing.events,
            tenant=self._tenant,
            store=self._store,
            access=self._access,
        )
        return ("seal", f"Sealed to #{number(index)}") if index is not None else None

    def _readings_url(self) -> str | None:
        """Where the hidden events show, if there are any."""
        search = self._search
        if not search.hides_readings:
            return None
        hidden = replace(search.typed, node=READINGS)
        if not self._store.page(hidden, access=self._access, limit=1).events:
            return None
        return search.address.changed(readings="1").list

    def _zoom_out_url(self, listing: Listing) -> str | None:
        window = self._search.window
        if window.range or window.is_searched or not (window.start and window.end):
            return None
        return self._search.address.spanning(*zoomed_out(window.start, window.end)).list

    def _absence_values(self, absence: Absence) -> dict[str, Any]:
        search, address = self._search, self._search.address
        name = search.window.range or ""
        values: dict[str, Any] = {
            "window_phrase": f"in the last {RANGES[name][1]}"
            if name in RANGES
            else f"in {search.window.words}",
            "absence_words": counted_words(absence.matching)[1] if absence.matching else "",
            "clear_url": address.searching("").list,
            "newest_url": address.ranging(ALL).list,
            "widen": None,
        }
        if absence.newest:
            wider = smallest_range_holding(absence.newest.occurred_at, now=search.moments.now)
            if wider != ALL:
                values["widen"] = Link(RANGES[wider][1], address.ranging(wider).list)
        return values

    def _event_values(self, stored: StoredEvent, listing: Listing) -> dict[str, Any]:
        search, address, moments = self._search, self._search.address, self._search.moments
        neighbours = read_neighbours(
            stored, listing=listing, search=search, store=self._store, access=self._access
        )
        fresh = address.changed()  # searches that start from here begin on their first page

        def step(event: StoredEvent | None) -> str | None:
            return address.event(event) + f"#e-{event.id}" if event else None

        return {
            "stored": stored,
            "headline": headline(stored),
            "who": actor_of(stored),
            "second": second_name(stored),
            "did": sentence(stored),
            "late": drawer.lateness(stored),
            "chain": drawer.chain(stored, address=fresh),
            "before": drawer.sections_before_changes(stored, moments=moments, address=fresh),
            "changes": drawer.changes(stored),
            "after": drawer.sections_after_changes(stored, moments=moments, address=fresh),
            "pivots": drawer.pivots(stored, address=fresh),
            "raw": pretty_json(canonical.api_form(stored)),
            "neighbours": neighbours,
            "newer_event_url": step(neighbours.newer),
            "older_event_url": step(neighbours.older),
            "close_url": address.list + f"#e-{stored.id}",
            "permalink": address.permalink(stored),
            "event_json_url": address.event_json(stored),
            "filter_url": address.list + "#filters",
        }
