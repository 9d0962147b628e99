"""The list: one event as a row, days as groups."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from whodid.actions import Fragment, sentence
from whodid.event import StoredEvent, packed_ip
from whodid.times import Instant
from whodid.viewer.countries import country_name
from whodid.viewer.moments import Moments
from whodid.viewer.people import Person, actor_of, second_name

OUTCOMES = {
    "success": ("check", "Success"),
    "failure": ("cross", "Failure"),
    "denied": ("ban", "Denied"),
    "error": ("err", "Error"),
    "unknown": ("minus", "Unknown"),
}
"""Outcome → icon and word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One event of the list.

    Attributes:
        place: Where it came from, in words.
        place_code: What a machine made of it: an address, a host.
    """

    stored: StoredEvent
    url: str
    clock: str
    moment: Instant
    title: str
    who: Person
    second: tuple[str, str] | None
    did: tuple[Fragment, ...]
    place: str
    place_code: str
    is_current: bool = False

    @property
    def anchor(self) -> str:
        """The row's id in the page."""
        return f"e-{self.stored.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    name: str
    date: str
    rows: tuple[Row, ...]


def row_of(stored: StoredEvent, *, url: str, moments: Moments, is_current: bool = False) -> Row:
    """An event as a row."""
    place, place_code = origin(stored)
    moment = stored.occurred_at
    return Row(
        stored=stored,
        url=url,
        clock=moments.clock(moment),
        moment=moment,
        title=f"{moments.ago(moment)} · {moments.full(moment)}",
        who=actor_of(stored),
        second=second_name(stored),
        did=sentence(stored),
        place=place,
        place_code=place_code,
        is_current=is_current,
    )


def days(rows: Iterable[Row], *, moments: Moments) -> list[Day]:
    """Rows under the day they fall on in the zone, in the order they come."""
    return [
        Day(name=name, date=date, rows=tuple(group))
        for (name, date), group in itertools.groupby(rows, key=lambda row: moments.day(row.moment))
    ]


def origin(stored: StoredEvent) -> tuple[str, str]:
    """From where: a place in words, and the address; both may be empty."""
    client, source = stored.event.client, stored.event.source
    if "/client" in stored.gone:
        return "erased", ""
    address = (client.ip or "") if client else ""
    geo = client.geo if client else None
    if geo and geo.city:
        return (f"{geo.city}, {geo.country}" if geo.country else geo.city), address
    if geo and geo.country:
        return country_name(geo.country), address
    if stored.event.actor.type == "ai_agent" and not address:
        via = stored.event.via[0] if stored.event.via else None
        name = (via.name or via.id) if via else None
        return "Agent", name or (source.host if source and source.host else "")
    if address:
        return ("Internal" if is_internal(address) else ""), address
    return ("Server", source.host) if source and source.host else ("", "")


def is_internal(address: str) -> bool:
    """Is this an address of a private network or of the machine itself?"""
    packed = packed_ip(address)
    if packed is None:
        return False
    if len(packed) == 16:
        return packed[0] & 0xFE == 0xFC or packed == b"\0" * 15 + b"\x01"
    first, second = packed[0], packed[1]
    return (
        first in (10, 127)
        or (first == 172 and 16 <= second < 32)
        or (first == 192 and second == 168)
    )


def headline(stored: StoredEvent) -> str:
    """The event as one sentence: `Ledgerbot, for Mira Okafor, moved …`."""
    did = "".join(fragment.text for fragment in sentence(stored))
    second = second_name(stored)
    name = actor_of(stored).name
    return f"{name}, {second[0]} {second[1]}, {did}" if second else f"{name} {did}"
