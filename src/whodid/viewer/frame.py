"""What stands around every page: whose events they are, the search box, the window, the zone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from whodid.access import Access
from whodid.event import DEFAULT_TENANT
from whodid.query.ast import Not, Query
from whodid.stores.base import Counted, EventStore
from whodid.times import Instant
from whodid.viewer.address import Address
from whodid.viewer.moments import Moments
from whodid.viewer.search import READINGS
from whodid.viewer.terms import Terms
from whodid.viewer.text import number
from whodid.viewer.window import (
    ALL,
    DEFAULT_RANGE,
    RANGES,
    Window,
    next_wider,
    shifted,
    zoomed_out,
)

_MOST_TENANTS_IN_MENU = 50
_LEARNED_AT_ONCE = 20  # each is a look into the log
_ASK_AGAIN_AFTER = timedelta(seconds=10)
"""A tenant without events of its own is not looked for on every page."""


@dataclass(frozen=True, slots=True)
class Link:
    """Somewhere to go."""

    name: str
    url: str
    is_current: bool = False


class TenantNames:
    """The tenants to choose from, and what they are called: as the host says, else their events.

    A tenant that has nothing but records of who looked at the log is none to choose.
    """

    def __init__(self, store: EventStore, given: Mapping[str, str]) -> None:
        self._store = store
        self._given = dict(given)
        self._learned: dict[str, str] = {}
        self._nameless: dict[str, Instant] = {}

    def all(self, *, access: Access, now: Instant) -> dict[str, str]:
        """Id → name of the tenants that the caller may see, in the order of their ids.

        A page learns a few names at most; until all are learned some tenants go by their ids.
        """
        names: dict[str, str] = {}
        left = _LEARNED_AT_ONCE
        for tenant in self._store.tenants(access=access):
            is_known = tenant in self._given or tenant in self._learned or tenant in self._nameless
            left -= not is_known
            name = (
                self._given.get(tenant) or self._learn(tenant, access=access, now=now)
                if is_known or left >= 0
                else tenant
            )
            if name:
                names[tenant] = name
        return names

    def _learn(self, tenant: str, *, access: Access, now: Instant) -> str | None:
        asked = self._nameless.get(tenant)
        if asked and timedelta(0) <= now - asked < _ASK_AGAIN_AFTER:
            return None
        if tenant not in self._learned:
            alone = replace(access, tenants=frozenset({tenant}))
            anything = Query(text="", node=Not(READINGS), now=now)
            newest = self._store.page(anything, access=alone, limit=1).events
            if not newest:
                self._nameless[tenant] = now
                return None
            told = newest[0].event.tenant
            self._learned[tenant] = (told.name or tenant) if told else tenant
        return self._learned[tenant]


def chosen_tenant(terms: Terms, tenants: Mapping[str, str]) -> str | None:
    """The one tenant whose events are looked at, None when there may be several."""
    if len(tenants) == 1:
        return next(iter(tenants))
    included = [tenant for tenant in tenants if terms.state("tenant", tenant) == "included"]
    return included[0] if len(included) == 1 else None


def tenant_menu(
    terms: Terms, *, address: Address, tenants: Mapping[str, str], tenant: str | None
) -> dict[str, Any]:  # Any: values for a template
    """The menu beside the product's name."""
    others = terms.without_fields("tenant")
    listed = list(tenants.items())[:_MOST_TENANTS_IN_MENU]

    def only(tenant_id: str) -> str:
        return Terms(others, parse=terms.parse).including("tenant", tenant_id)

    # The one tenant of a log that knows of none says nothing to anybody.
    is_plain = len(tenants) == 1 and tenants.get(DEFAULT_TENANT) == DEFAULT_TENANT
    return {
        "is_plain_log": is_plain,
        "tenants": []
        if is_plain
        else [
            Link(name, address.searching(only(key)).list, is_current=key == tenant)
            for key, name in listed
        ],
        "tenant": tenant,
        "tenant_label": tenants[tenant] if tenant else f"All tenants ({number(len(tenants))})",
        "all_tenants_url": address.searching(others).list,
    }


def find_bar(
    address: Address, *, moments: Moments, window: Window | None
) -> dict[str, Any]:  # Any: values for a template
    """The search box, the quick ranges, the window and the zone."""
    current = window.range if window else address.params.get("range") or DEFAULT_RANGE
    return {
        "address": address,
        "moments": moments,
        "ranges": [
            Link(name, address.ranging(name).list, is_current=name == current) for name in RANGES
        ]
        + [Link("All", address.ranging(ALL).list, is_current=current == ALL)],
        "window_name": _window_name(window, moments),
        "window_from": _local_input(window.start if window else None, moments),
        "window_to": _local_input(window.end if window else None, moments),
        "zones": _zones(address, moments),
        "complete_url": address.complete,
        "chips": (),
        "is_list": False,
        "is_event": False,
        "is_open": False,
        "fault": None,
        "filter_url": None,
        "filter_count": 0,
        "readings_url": None,
    }


def _zones(address: Address, moments: Moments) -> list[Link]:
    """The zone that pages have by themselves, UTC, and the chosen one."""
    names = dict.fromkeys((moments.home, "UTC", moments.name))
    return [
        Link(
            name,
            address.changed(tz=None if name == moments.home else name).list,
            is_current=name == moments.name,
        )
        for name in names
    ]


def window_steps(address: Address, *, moments: Moments, window: Window) -> dict[str, str | None]:
    """Where one window earlier, one later and a wider one are; None where there is none.

    What the search itself says about time only the search can change.
    """
    steps: dict[str, str | None] = dict.fromkeys(("earlier_url", "later_url", "zoom_out_url"))
    if window.is_searched or window.start is None:
        return steps
    start, end = window.start, window.end or moments.now
    if start >= end:
        return steps
    if window.range:
        steps["zoom_out_url"] = address.ranging(next_wider(window.range)).list
    else:
        steps["zoom_out_url"] = address.spanning(*zoomed_out(start, end)).list
    start, end = _whole_second(start), _whole_second(end)
    if start < end:
        for name, by in (("earlier_url", -1), ("later_url", 1)):
            stretch = shifted(start, end, by=by, zone=moments.zone)
            if stretch and stretch[0] < moments.now:
                # What reaches the present stays open, for what is about to come.
                last = stretch[1] if stretch[1] < moments.now else None
                steps[name] = address.spanning(stretch[0], last).list
    if window.end is None:
        steps["later_url"] = None
    return steps


def _whole_second(moment: Instant) -> Instant:
    return Instant.of(moment.replace(microsecond=0))


def filter_count(terms: Terms) -> int:
    """How many fields the search is about, besides when."""
    return len(terms.fields() - {"created"})


def _window_name(window: Window | None, moments: Moments) -> str:
    if window is None or not window.is_bounded:
        return "Any time"
    if window.start is None and window.end:
        return f"Before {moments.short(window.end)}"
    if window.start is None:
        return "Any time"
    end = window.end or moments.now
    if window.range in ("15m", "1h"):
        return f"{moments.clock(window.start)[:5]} – {moments.clock(end)[:5]}"
    if window.range or window.end is None:
        return moments.days(window.start, end)
    return moments.between(window.start, end)


def _local_input(moment: Instant | None, moments: Moments) -> str:
    if moment is None:
        return ""
    return moments.local(moment).replace(tzinfo=None).isoformat(timespec="minutes")


def counted_words(counted: Counted) -> tuple[str, str]:
    """The number alone, and with its noun: `6,284` and `6,284 events`."""
    text = number(counted.count)
    if not counted.exact:
        text = f"at least {text}"
    return text, f"{text} {'event' if counted.count == 1 and counted.exact else 'events'}"
