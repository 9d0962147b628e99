"""Reading the log is itself an event: who looked, for what, when.

One `audit.log.search` or `audit.log.view` per principal, query text and period (10 minutes);
further pages, facets and polls inside it add none. It is durable before the first answer goes
out, and when it can't be written the read is refused: a log that can be read unseen is none.
What was read already is remembered in this process only; after a restart, or in a second process,
the same reading makes another event, never one too few.
"""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future
from datetime import timedelta
from threading import Lock

from msgspec import UNSET

from whodid import recorder
from whodid.event import Actor, Client, Event, Source, Target, Tenant, packed_ip
from whodid.server.auth import Caller
from whodid.stores.base import EventStore
from whodid.times import Instant

OWN_TENANT = "whodid"
"""The log's own tenant: where a reading goes that is bound to no other."""
MAX_QUERY_LENGTH = 500


class Readings:
    """Writes each reading once. Safe for use from many threads."""

    def __init__(self, store: EventStore, *, period_s: float, capacity: int) -> None:
        self._store = store
        self._period = timedelta(seconds=period_s)
        self._capacity = capacity
        self._lock = Lock()
        self._known: OrderedDict[tuple[str, str, str], tuple[Instant, Future[None]]] = OrderedDict()

    def note(
        self, caller: Caller, *, query: str = "", event_id: str | None = None, now: Instant
    ) -> None:
        """Return when the reading is durably in the log.

        Durable when it returns. Requests of one page arrive together: the first one writes, the
        others wait for it.

        Args:
            query: The text of the search, empty for none.
            event_id: The single event that was opened.

        Raises:
            StoreUnavailableError: It can't be written, so the read must not be answered.
        """
        key = (caller.principal, query, event_id or "")
        with self._lock:
            written = self._remembered(key, now=now)
            is_first = written is None
            if written is None:
                written = self._remember(key, now=now)
        if is_first:
            self._write(key, written, _reading(caller, query=query, event_id=event_id, now=now))
        written.result()

    def _remembered(self, key: tuple[str, str, str], *, now: Instant) -> Future[None] | None:
        entry = self._known.get(key)
        if entry is None:
            return None
        since, written = entry
        # A clock that was set back counts as a new period: one event too many, not one too few.
        return written if timedelta(0) <= now - since < self._period else None

    def _remember(self, key: tuple[str, str, str], *, now: Instant) -> Future[None]:
        written: Future[None] = Future()
        self._known.pop(key, None)
        self._known[key] = (now, written)
        if len(self._known) > self._capacity:
            self._known.popitem(last=False)
        return written

    def _write(self, key: tuple[str, str, str], written: Future[None], reading: Event) -> None:
        try:
            self._store.append([recorder.prepare_activity(reading)])
        except BaseException as error:  # noqa: BLE001 - raised by `note`, for whoever waits
            with self._lock:
                if self._known.get(key, (None, None))[1] is written:
                    del self._known[key]
            written.set_exception(error)
        else:
            written.set_result(None)


def _reading(caller: Caller, *, query: str, event_id: str | None, now: Instant) -> Event:
    key = caller.key
    has_address = packed_ip(caller.address) is not None
    return Event(
        action="audit.log.search" if query else "audit.log.view",
        actor=Actor(type="api_key", id=key.id, name=key.name) if key else Actor(type="anonymous"),
        targets=(Target(type="event", id=event_id),) if event_id else (),
        metadata={"query": query[:MAX_QUERY_LENGTH]} if query else UNSET,
        client=Client(ip=caller.address) if has_address else UNSET,
        occurred_at=now,
        tenant=Tenant(id=caller.tenant or OWN_TENANT),
        source=Source(app="whodid", component="server"),
    )
