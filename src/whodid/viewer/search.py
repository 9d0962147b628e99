"""What an address asks of the store: the search, its window, and the moment both are read at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from whodid.errors import InvalidError
from whodid.event import StoredEvent
from whodid.query.ast import EVERYTHING, And, Node, Not, Or, Query, Term, all_of, within
from whodid.query.evaluate import matches
from whodid.query.parse import parse
from whodid.stores.base import Cursor, EventStore
from whodid.times import Instant
from whodid.viewer.address import Address
from whodid.viewer.http import Request
from whodid.viewer.moments import Moments, find_zone
from whodid.viewer.terms import Terms
from whodid.viewer.window import ALL, Window, quick, read_window

_NO_LIMIT = 2**63 - 1


READINGS = Term("action", "prefix", "audit.log")
"""Who looked at the log: events of their own, but not what people look for in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A search ready to be asked.

    Attributes:
        typed: What stands in the search box, parsed.
        window: When.
        hides_readings: Events about the reading of the log itself are left out.
        cursor: Where the page begins, None for the first.
    """

    address: Address
    moments: Moments
    typed: Query
    window: Window
    hides_readings: bool
    cursor: Cursor | None

    @property
    def query(self) -> Query:
        """What is asked for; its text is what page cursors are bound to."""
        # A searched window is in the tree already; asking twice would only cost time.
        frame = EVERYTHING if self.window.is_searched else self._frame
        return replace(
            self.typed,
            text=_cursor_text(self.address),
            node=all_of(frame, self._scope, self.typed.node),
        )

    @property
    def anytime(self) -> Query:
        """The same without the window."""
        return replace(self.typed, node=all_of(self._scope, self.typed.node))

    @property
    def everything(self) -> Query:
        """All that the page could ever show."""
        return replace(self.typed, text="", node=self._scope)

    def windowed(self, text: str) -> Query:
        """Another search in the same window."""
        node = self.parse(text)
        return replace(self.typed, text=text, node=all_of(self._frame, self._scope, node))

    def terms(self) -> Terms:
        """The search as terms to add to and take from."""
        return Terms(self.typed.text, parse=self.parse)

    def parse(self, text: str) -> Node:
        """Read another search at the same moment in the same zone."""
        return parse(text, now=self.moments.now, zone=self.moments.zone).node

    def finds(self, stored: StoredEvent) -> bool:
        """Is this event among the results?"""
        return matches(self.query.node, stored)

    def reaching(self, stored: StoredEvent) -> Search:
        """This search in as much of time, and of events, as an event needs to be found by it."""
        address, hides = self.address.ranging(ALL), self.hides_readings
        if matches(READINGS, stored):
            address, hides = address.changed(readings="1"), False
        return replace(
            self,
            address=address,
            window=quick(ALL, now=self.moments.now),
            hides_readings=hides,
            cursor=None,
        )

    @property
    def _frame(self) -> Node:
        return within(self.window.start, self.window.end)

    @property
    def _scope(self) -> Node:
        return Not(READINGS) if self.hides_readings else EVERYTHING

    def beside(self, stored: StoredEvent, direction: Literal["older", "newer"]) -> Cursor:
        """A place in the results right below or above an event."""
        newest = max(self.cursor.newest, stored.position) if self.cursor else _NO_LIMIT
        return Cursor(
            now=self.moments.now,
            newest=newest,
            occurred_at=stored.occurred_at.micros,
            position=stored.position,
            direction=direction,
        )


def read_moments(request: Request, *, now: Instant, zone_name: str) -> Moments:
    """The zone that a page writes its times in.

    Args:
        zone_name: Used when the address names none.

    Raises:
        InvalidError: There is no such zone.
    """
    name = request.query.get("tz") or zone_name
    zone = find_zone(name)
    if zone is None:
        raise InvalidError("tz: expected the name of a time zone such as UTC or Europe/Oslo")
    return Moments(now=now, zone=zone, name=_proper(name), home=_proper(zone_name))


def _proper(zone_name: str) -> str:
    return "UTC" if zone_name.upper() == "UTC" else zone_name


def read_search(request: Request, *, store: EventStore, moments: Moments) -> Search:
    """What a request asks for.

    Raises:
        QuerySyntaxError: The search can't be read.
        CursorError: The page belongs to another search, or its address is damaged.
        InvalidError: The window can't be read.
    """
    address = Address.of(request)
    cursor = None
    if token := request.query.get("cursor"):
        cursor = store.open_cursor(token, text=_cursor_text(address))
        # Relative times of later pages count from the moment of the first.
        moments = replace(moments, now=cursor.now)
    typed = parse(address.query, now=moments.now, zone=moments.zone)
    window = read_window(request.query, node=typed.node, moments=moments)
    return Search(
        address=address,
        moments=moments,
        typed=typed,
        window=window,
        hides_readings="readings" not in address.params and not _asks_for_readings(typed.node),
        cursor=cursor,
    )


def _asks_for_readings(node: Node) -> bool:
    """Does a search name the log's own events, or one single event?"""
    match node:
        case Term(field="action", value=str(name)):
            return name.startswith("audit")
        case Term(field="category", value="audit") | Term(field="id"):
            return True
        case And(terms) | Or(terms):
            return any(_asks_for_readings(term) for term in terms)
        case _:  # what a search rules out it does not ask for
            return False


def _cursor_text(address: Address) -> str:
    return f"{address.query}\n{address.window}"
