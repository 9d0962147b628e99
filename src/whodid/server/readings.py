"""Readings by the server's callers, over HTTP and in the pages: see `viewer.readings`."""

from __future__ import annotations

from whodid.event import Actor, Source
from whodid.server.auth import Caller
from whodid.stores.base import EventStore
from whodid.times import Instant
from whodid.viewer import readings
from whodid.viewer.readings import OWN_TENANT, Reader, Reading

_SOURCE = Source(app="whodid", component="server")


class Readings:
    """Writes each reading of a caller's once. Safe for use from many threads."""

    def __init__(self, store: EventStore, *, period_s: float, capacity: int) -> None:
        self._readings = readings.Readings(store, period_s=period_s, capacity=capacity)

    def note(
        self, caller: Caller, *, query: str = "", event_id: str | None = None, now: Instant
    ) -> None:
        """Return when the reading is durably in the log.

        Args:
            query: The text of the search, empty for none.
            event_id: The single event that was opened.

        Raises:
            StoreUnavailableError: It can't be written, so the read must not be answered.
        """
        reading = Reading(query=query, event_id=event_id)
        self._readings.note(_reader_of(caller), reading, now=now)


def _reader_of(caller: Caller) -> Reader:
    key = caller.key
    return Reader(
        principal=caller.principal,
        actor=Actor(type="api_key", id=key.id, name=key.name) if key else Actor(type="anonymous"),
        tenant=caller.tenant or OWN_TENANT,
        address=caller.address,
        source=_SOURCE,
    )
