"""What tests around whodid are made of: events, searches and times that hold only what matters."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from whodid.access import Access
from whodid.canonical import Encoded
from whodid.event import Event, from_mapping
from whodid.query.ast import Query
from whodid.query.parse import parse
from whodid.recorder import prepare
from whodid.times import Instant

NOON = Instant.parse("2026-03-15T12:00:00Z")
EVERYTHING = Access.everything()


def an_event(**only_what_matters: Any) -> Event:
    """An event with the given keys, and ordinary ones where the schema needs some.

    `tenant` may be a plain id and `actor` a plain user id.
    """
    values = {"action": "invoice.update", "actor": "alice"} | only_what_matters
    if isinstance(values["actor"], str):
        values["actor"] = {"type": "user", "id": values["actor"]}
    if isinstance(values.get("tenant"), str):
        values["tenant"] = {"id": values["tenant"]}
    return from_mapping(values)


def a_query(text: str = "", *, now: Instant = NOON) -> Query:
    """A search as of noon."""
    return parse(text, now=now)


def minutes(number: float) -> Instant:
    """So many minutes after noon."""
    return Instant.of(NOON + timedelta(minutes=number))


def prepared(*events: Event) -> list[Encoded]:
    """Events as a store takes them."""
    return [prepare(event) for event in events]
