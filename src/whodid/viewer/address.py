"""Addresses of the viewer's pages: what is looked at lives in them and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import quote, urlencode

from whodid.event import StoredEvent
from whodid.stores.base import SplitBy
from whodid.times import Instant
from whodid.viewer.http import Request

SEARCH_PARAMETERS = ("q", "range", "from", "to", "tz", "readings", "split", "diff", "cursor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """What a person looks at.

    Attributes:
        prefix: The mount point without a slash at the end.
        params: Of `SEARCH_PARAMETERS`, those that are set.
        names_tenants: Events of several tenants may stand in the list, so an event's address
            says whose it is: ids are unique within a tenant only.
    """

    prefix: str
    params: Mapping[str, str]
    names_tenants: bool = False

    @classmethod
    def of(cls, request: Request) -> Self:
        """The address of a request."""
        params = {key: request.query[key] for key in SEARCH_PARAMETERS if request.query.get(key)}
        return cls(prefix=request.prefix, params=params)

    @property
    def query(self) -> str:
        return self.params.get("q", "")

    @property
    def zone(self) -> str | None:
        return self.params.get("tz")

    @property
    def split(self) -> SplitBy:
        """What the bars of the chart are made of."""
        return "severity" if self.params.get("split") == "severity" else "outcome"

    @property
    def is_side_by_side(self) -> bool:
        """Do changes stand in two columns?"""
        return self.params.get("diff") == "side"

    def changed(self, **changes: str | None) -> Address:
        """This address with parameters set, or left out when None; always the first page.

        Args:
            changes: `from` is written `from_`.
        """
        params = {key: value for key, value in self.params.items() if key != "cursor"}
        for key, value in changes.items():
            name = key.rstrip("_")
            params.pop(name, None)
            if value:
                params[name] = value
        return replace(self, params=params)

    def searching(self, text: str) -> Address:
        """The same window with another search."""
        return self.changed(q=text)

    def ranging(self, name: str | None) -> Address:
        """The same search in a quick range; None leaves the choice to the search."""
        return self.changed(range=name, from_=None, to=None)

    def spanning(self, start: Instant | None, end: Instant | None) -> Address:
        """The same search from `start` to `end`."""
        return self.changed(
            range=None,
            from_=brief_time(start) if start else None,
            to=brief_time(end) if end else None,
        )

    def splitting(self, by: SplitBy) -> Address:
        """The same with the chart's bars split by something else."""
        return self.changed(split=None if by == "outcome" else by)

    @property
    def window(self) -> str:
        """What ties a page cursor to its window, beside the search."""
        kept = ("range", "from", "to", "tz", "readings")
        return "\n".join(self.params.get(key, "") for key in kept)

    @property
    def list(self) -> str:
        """URL of the list."""
        return self._url("/")

    @property
    def list_json(self) -> str:
        return self._url("/events.json")

    def values(self, field: str) -> str:
        """URL of all values of a field."""
        return self.changed()._url("/values", {"field": field})

    @property
    def complete(self) -> str:
        """URL that answers what may be typed next."""
        return self.changed()._url("/complete")

    def event(self, stored: StoredEvent) -> str:
        """URL of an event's page with this list beside it."""
        return self._url(f"/events/{stored.id}", self._tenant(stored))

    def event_json(self, stored: StoredEvent) -> str:
        return _with_query(f"{self.prefix}/events/{stored.id}.json", self._tenant(stored))

    def permalink(self, stored: StoredEvent) -> str:
        """URL of an event's page that says nothing about a search."""
        zone = {"tz": self.zone} if self.zone else {}
        return _with_query(f"{self.prefix}/events/{stored.id}", self._tenant(stored) | zone)

    def paged(self, cursor: str) -> str:
        """URL of another page of this list."""
        return self._at(cursor).list

    def paged_json(self, cursor: str) -> str:
        return self._at(cursor).list_json

    def _at(self, cursor: str) -> Address:
        return replace(self, params={**self.params, "cursor": cursor})

    def _tenant(self, stored: StoredEvent) -> dict[str, str]:
        return {"tenant": stored.tenant_id} if self.names_tenants else {}

    def _url(self, path: str, extra: Mapping[str, str] | None = None) -> str:
        return _with_query(self.prefix + path, {**self.params, **(extra or {})})


def _with_query(path: str, params: Mapping[str, str]) -> str:
    encoded = urlencode(params, quote_via=quote, safe=":,/*", errors="replace")
    return f"{path}?{encoded}" if encoded else path


def brief_time(moment: Instant) -> str:
    """The shortest canonical spelling of a moment: `2026-11-19T01:00Z`."""
    seconds, _, fraction = str(moment).removesuffix("Z").partition(".")
    if fraction := fraction.rstrip("0"):
        return f"{seconds}.{fraction}Z"
    return seconds.removesuffix(":00") + "Z"
