"""Reading the log is itself an event: who looked, for what, when.

One `audit.log.search` or `audit.log.view` per principal, query text and period (10 minutes);
further pages, facets and polls inside it add none. It is durable before the first answer goes
out, and when it can't be written the read is refused: a log that can be read unseen is none.
What was read already is remembered in this process only; after a restart, or in a second process,
the same reading makes another event, never one too few.

Which request of the viewer is which reading is said here once (`readings_of`), for the server and
for every adapter that mounts the viewer into an application. Who the reader is, each of them says.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Lock
from typing import TypeAlias

from msgspec import UNSET

from whodid.errors import StoreUnavailableError
from whodid.event import Actor, Client, Event, Source, Target, Tenant, packed_ip
from whodid.recorder import prepare_activity
from whodid.stores.base import EventStore
from whodid.times import Instant

OWN_TENANT = "whodid"
"""The log's own tenant: where a reading goes that is bound to no other."""
MAX_QUERY_LENGTH = 500
PERIOD_S = 600.0
CAPACITY = 10_000
"""Readings remembered in one process, about 500 bytes each."""

_COMPLETE = "/complete"
_UNREAD = ("/static/", "/favicon.ico")  # these show nothing of the log
_EVENT = re.compile(
    r"/events/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(\.json)?", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who reads the log.

    Attributes:
        principal: The same for the same reader in the same session, and for nobody else.
        actor: Who that is, for the event.
        tenant: In whose log the reading lies.
        address: Where the request comes from; left out of the event when it is no IP address.
        source: The application that shows the log.
    """

    principal: str
    actor: Actor
    tenant: str = OWN_TENANT
    address: str = ""
    source: Source = field(default_factory=lambda: Source(app="whodid", component="viewer"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is read: the events that a search finds, or a single one.

    Attributes:
        query: The text of the search, empty for none.
        event_id: The single event that is opened.
    """

    query: str = ""
    event_id: str | None = None


def shows_events(path: str) -> bool:
    """Does this path of the viewer show anything of the log?"""
    return not path.startswith(_UNREAD)


def readings_of(path: str, *, query: str) -> list[Reading]:
    """What a request of the viewer reads; empty for what shows nothing of the log.

    Args:
        path: Below the mount point, beginning with `/`.
        query: The search in the address, as the viewer reads it.
    """
    if not shows_events(path):
        return []
    found = _EVENT.fullmatch(path)
    readings = [Reading(event_id=found[1])] if found else []
    if not (found and found[2]):  # an event's page shows a list beside it
        # What is offered while somebody types says what the log holds, not what they search for:
        # all of it is one look at the log, however many keys were struck.
        readings.append(Reading(query="" if path == _COMPLETE else query.strip()))
    return readings


_Key: TypeAlias = tuple[str, Reading]


class Readings:
    """Writes each reading once. Safe for use from many threads."""

    def __init__(
        self,
        store: EventStore,
        *,
        period_s: float = PERIOD_S,
        capacity: int = CAPACITY,
        is_lasting: Callable[[], bool] = lambda: True,
    ) -> None:
        """Remember nothing yet.

        Args:
            period_s: Seconds in which the same reading adds no event.
            capacity: Readings remembered; the oldest is forgotten first.
            is_lasting: Says right after an event was written whether it stays. What lies in an
                open transaction of the application's may be rolled back: it is not remembered.
        """
        self._store, self._is_lasting = store, is_lasting
        self._period = timedelta(seconds=period_s)
        self._capacity = capacity
        self._lock = Lock()
        self._known: OrderedDict[_Key, tuple[Instant, Future[None]]] = OrderedDict()

    def note(self, reader: Reader, reading: Reading, *, now: Instant) -> None:
        """Return when the reading is in the log.

        Durable when it returns, unless the store writes inside a transaction of the application's
        that is open. Requests of one page arrive together: the first one writes, the others wait
        for it.

        Raises:
            StoreUnavailableError: It can't be written, so the read must not be answered.
        """
        key = (reader.principal, reading)
        with self._lock:
            written = self._remembered(key, now=now)
            is_first = written is None
            if written is None:
                written = self._remember(key, now=now)
        if is_first:
            self._write(key, written, event_of(reader, reading, now=now))
        written.result()

    def _remembered(self, key: _Key, *, now: Instant) -> Future[None] | None:
        entry = self._known.get(key)
        if entry is None:
            return None
        since, written = entry
        # A clock that was set back counts as a new period: one event too many, not one too few.
        return written if timedelta(0) <= now - since < self._period else None

    def _remember(self, key: _Key, *, now: Instant) -> Future[None]:
        written: Future[None] = Future()
        self._known.pop(key, None)
        self._known[key] = (now, written)
        if len(self._known) > self._capacity:
            self._known.popitem(last=False)
        return written

    def _write(self, key: _Key, written: Future[None], event: Event) -> None:
        try:
            self._store.append([prepare_activity(event)])
        except Exception as error:  # noqa: BLE001 - raised by `note`, for whoever waits
            self._forget(key, written)
            written.set_exception(error)
        except BaseException:
            # This thread is told to end; those that wait for it are not.
            self._forget(key, written)
            written.set_exception(StoreUnavailableError("the reading was not written; try again"))
            raise
        else:
            if not self._is_lasting():
                self._forget(key, written)
            written.set_result(None)

    def _forget(self, key: _Key, written: Future[None]) -> None:
        with self._lock:
            if self._known.get(key, (None, None))[1] is written:
                del self._known[key]


def event_of(reader: Reader, reading: Reading, *, now: Instant) -> Event:
    """The event that says who read what."""
    has_address = packed_ip(reader.address) is not None
    query, event_id = reading.query, reading.event_id
    return Event(
        action="audit.log.search" if query else "audit.log.view",
        actor=reader.actor,
        targets=(Target(type="event", id=event_id),) if event_id else (),
        metadata={"query": query[:MAX_QUERY_LENGTH]} if query else UNSET,
        client=Client(ip=reader.address) if has_address else UNSET,
        occurred_at=now,
        tenant=Tenant(id=reader.tenant),
        source=reader.source,
    )
