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
    QuerySyntaxError,
    UnavailableError,
)
from whodid.event import StoredEvent
from whodid.stores.base import EventStore, Facet, FacetField
from whodid.times import Instant
from whodid.viewer import drawer, faults, render
from whodid.viewer.assets import serve_asset
from whodid.viewer.chart import LAYERS
from whodid.viewer.chips import chips, names_of
from whodid.viewer.completion import complete
from whodid.viewer.facets import (
    TITLES,
    filters,
    find_facet_field,
    holds_words,
    named,
    options,
)
from whodid.viewer.frame import (
    Link,
    TenantNames,
    chosen_tenant,
    counted_words,
    filter_count,
    find_bar,
    tenant_menu,
    window_steps,
)
from whodid.viewer.http import Request, Response
from whodid.viewer.listing import (
    Absence,
    Listing,
    read_absence,
    read_facets,
    read_listing,
    read_neighbours,
    read_values,
    read_window_values,
)
from whodid.viewer.moments import Moments, find_zone
from whodid.viewer.people import actor_of, second_name
from whodid.viewer.rows import days, headline, row_of
from whodid.viewer.search import read_moments, read_search
from whodid.viewer.text import number, pretty_json
from whodid.viewer.window import ALL, RANGES, smallest_range_holding

_EVENT_PATH = re.compile(
    r"/events/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(\.json)?"
)
_PATHS = frozenset({"", "/", "/values", "/complete", "/events.json"})
_FAVICON = "/favicon.ico"
MAX_FIND_LENGTH = 200
_WINDOW_PARAMETERS = ("q", "range", "from", "to", "cursor")


def _is_page(path: str) -> bool:
    """Is there a page at all? What there is not is no secret, so it needs no permission."""
    return path in _PATHS or _EVENT_PATH.fullmatch(path) is not None


class Viewer:
    """The pages over one store. Safe for use from many threads."""

    def __init__(
        self,
        store: EventStore,
        *,
        tenant_names: Mapping[str, str] | None = None,
        zone: str = "UTC",
        command: str = "whodid",
    ) -> None:
        """Make the pages.

        Args:
            tenant_names: Id → what people call it; for others the name that events carry is used.
            zone: IANA name of the zone for times where the address names none.
            command: What runs the program on this log: pages say it where there is work for it.

        Raises:
            ConfigError: There is no such zone.
        """
        if find_zone(zone) is None:
            raise ConfigError(f"zone: expected the name of a time zone, got {zone!r}")
        self._store = store
        self._names = TenantNames(store, tenant_names or {})
        self._zone = zone
        self._command = command

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
        if request.path == _FAVICON:  # asked for by browsers that know no icon of a page's
            request = replace(request, path="/static/logo.svg")
        if request.path.startswith("/static/"):
            found = serve_asset(request, headers=render.HEADERS)
            return found or render.plain_text("no such file", status=404)
        if not _is_page(request.path):
            return faults.message(request, "missing_page")
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
            return faults.message(request, "damaged", command=self._command)

    def _page(self, request: Request, *, moments: Moments) -> Response:
        if request.path in ("/", ""):
            return self._visit(request, moments=moments).list()
        if request.path == "/values":
            return self._visit(request, moments=moments).values()
        if request.path == "/complete":
            return _completed(request, self._store, self._names, moments=moments)
        if request.path == "/events.json":
            return self._visit(request, moments=moments).list_json()
        if found := _EVENT_PATH.fullmatch(request.path):
            stored = self._store.find(
                found[1], access=request.access, tenant=request.query.get("tenant")
            )
            if stored is None:
                return faults.message(request, "missing_event")
            if found[2]:
                return render.json(canonical.api_form(stored))
            return self._visit(request, moments=moments).event(stored)
        return faults.message(request, "missing_page")

    def _visit(self, request: Request, *, moments: Moments) -> _Visit:
        return _Visit(request, self._store, self._names, moments=moments, command=self._command)


class _Visit:
    """One request for a list, and what all parts of its page need."""

    def __init__(
        self,
        request: Request,
        store: EventStore,
        names: TenantNames,
        *,
        moments: Moments,
        command: str,
    ) -> None:
        self._started = time.perf_counter()
        self._request, self._store, self._access = request, store, request.access
        self._command = command
        search = read_search(request, store=store, moments=moments)
        self._tenants = names.all(access=request.access, now=moments.now)
        address = replace(search.address, names_tenants=len(self._tenants) > 1)
        self._search = replace(search, address=address)
        self._terms = search.terms()
        self._tenant = chosen_tenant(self._terms, self._tenants)

    def list(self) -> Response:
        search = self._search
        listing = read_listing(search, store=self._store, access=self._access)
        facets = (
            read_facets(search, store=self._store, access=self._access, tenant_names=self._tenants)
            if listing.events
            else []
        )
        values = self._values(listing, current=None)
        values["filters"] = filters(
            facets, terms=self._terms, address=search.address, tenant_names=self._tenants
        )
        values["filter_url"] = "#filters" if values["filters"] else None
        values["chips"] = chips(
            self._terms, address=search.address, names=names_of(facets, self._tenants)
        )
        return render.html("list.html", self._request, **values)

    def values(self) -> Response:
        """All values of one field, to search within."""
        field = find_facet_field(self._request.query.get("field", ""))
        if field is None:
            return faults.message(self._request, "missing_page")
        wanted = self._request.query.get("find", "").strip()[:MAX_FIND_LENGTH]
        search, address = self._search, self._search.address
        facet = read_values(search, field, store=self._store, access=self._access)
        found = [
            option
            for option in options(
                facet, terms=self._terms, address=address, tenant_names=self._tenants
            )
            if holds_words(option.label, wanted)
        ]
        frame: dict[str, Any] = find_bar(address, moments=search.moments, window=search.window)
        frame |= tenant_menu(
            self._terms, address=address, tenants=self._tenants, tenant=self._tenant
        )
        frame["is_event"] = True
        if search.hides_readings:
            frame["readings_url"] = address.changed(readings="1").values(field)
        return render.html(
            "values.html",
            self._request,
            **frame,
            title=TITLES[field],
            field=field,
            find=wanted,
            options=found,
            facet=facet,
            search=search,
        )

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
            "chips": chips(self._terms, address=address, names=names_of((), self._tenants)),
            "is_list": current is None,
            "is_event": current is not None,
            "is_open": current is not None,
            "show_tenant": self._tenant is None,
            "tenant_name": self._tenant_name,
            "command": self._command,
            "count_number": count_number,
            "count_words": count_words,
            **self._urls(listing),
            "seal": self._seal(listing),
            "milliseconds": number(round((time.perf_counter() - self._started) * 1000)),
        }

    def _urls(self, listing: Listing) -> dict[str, Any]:
        """Where one can go from here."""
        search, address = self._search, self._search.address
        return {
            "self_url": address.list,
            "first_url": address.changed().list,
            "older_url": address.paged(listing.older) if listing.older else None,
            "newer_url": address.paged(listing.newer) if listing.newer else None,
            "json_url": address.list_json,
            "clear_url": address.searching("").list,
            "readings_url": address.changed(readings="1").list if search.hides_readings else None,
            "brush_url": address.spanning(None, None).list,
            "splits": [
                Link(name.capitalize(), address.splitting(name).list, name == address.split)
                for name in LAYERS
            ],
            **window_steps(address, moments=search.moments, window=search.window),
        }

    def _tenant_name(self, stored: StoredEvent) -> str:
        return self._tenants.get(stored.tenant_id, stored.tenant_id)

    def _seal(self, listing: Listing) -> tuple[str, str] | None:
        """Icon and words of the foot line, about the events on the page and no others."""
        waiting = sum(event.index is None for event in listing.events)
        if waiting:
            return "wait", f"{number(waiting)} of these not sealed yet"
        if not listing.events:
            return None
        is_newest = listing.is_first and self._search.window.end is None
        if not is_newest or self._terms.fields() - {"tenant"} or self._terms.has_text:
            return "seal", "All of these sealed"
        if self._tenant is None:
            return "seal", f"Sealed in {number(len(self._tenants))} trees"
        newest = max(event.index or 0 for event in listing.events)
        return "seal", f"Sealed to #{number(newest)}"

    def _absence_values(self, absence: Absence) -> dict[str, Any]:
        search, address = self._search, self._search.address
        name = search.window.range or ""
        values: dict[str, Any] = {
            "window_phrase": f"in the last {RANGES[name][1]}"
            if name in RANGES
            else f"in {search.window.words}",
            "absence_words": counted_words(absence.matching)[1] if absence.matching else "",
            "newest_url": address.ranging(ALL).list,
            "widen": None,
            "looser": [
                Link(term, address.searching(text).list) for term, text in self._terms.loosened()
            ],
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
            "is_side_by_side": address.is_side_by_side,
            "other_diff_url": address.changed(
                diff=None if address.is_side_by_side else "side"
            ).event(stored)
            + "#changes",
            "after": drawer.sections_after_changes(
                stored, moments=moments, address=fresh, link_of=self._request.host.link_of
            ),
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


def _completed(
    request: Request, store: EventStore, names: TenantNames, *, moments: Moments
) -> Response:
    """What may stand where the caret is, for the script of the search box."""
    try:
        search = read_search(request, store=store, moments=moments)
    except QuerySyntaxError:  # the search of the page is what somebody is about to mend
        blank = replace(request, query={**request.query, "q": ""})
        search = read_search(blank, store=store, moments=moments)

    def count(field: FacetField, limit: int, holding: str) -> Facet:
        facet = read_window_values(
            search, field, limit=limit, holding=holding, store=store, access=request.access
        )
        if field != "tenant":
            return facet
        return named(facet, names.all(access=request.access, now=moments.now))

    completion = complete(
        request.query.get("typed", ""),
        caret=_caret(request.query.get("at", "")),
        wants_operator=request.query.get("step") == "operator",
        moments=moments,
        count=count,
    )
    return render.html("complete.html", request, completion=completion, window=search.window)


def _caret(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,4}", text) else None
