"""The reading half of an `EventStore`, for stores that read through a reader of one caller's.

Each store says how a reader is come by, and which of its caches may outlive a call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from whodid.access import Access
from whodid.event import StoredEvent
from whodid.query.ast import Query
from whodid.stores import cursors
from whodid.stores.base import (
    Counted,
    Cursor,
    Facet,
    FacetField,
    Histogram,
    Page,
    SplitBy,
    Stats,
)
from whodid.times import Instant


class EventReader(Protocol):
    """One caller's reads, who may read; the methods are those of `EventStore`."""

    def find(self, event_id: str, *, tenant: str | None) -> StoredEvent | None: ...
    def page(self, query: Query, *, limit: int, cursor: Cursor | None) -> Page: ...
    def scan(self, query: Query) -> Iterator[StoredEvent]: ...
    def count(self, query: Query, *, cap: int | None) -> Counted: ...
    def facets(self, query: Query, *, fields: Sequence[FacetField], limit: int) -> list[Facet]: ...
    def histogram(
        self, query: Query, *, edges: Sequence[Instant], split_by: SplitBy
    ) -> Histogram: ...
    def tenants(self) -> list[str]: ...
    def read_from(self, position: int, *, limit: int) -> list[StoredEvent]: ...
    def stats(self) -> Stats: ...


class StoreReading(ABC):
    """What every store reads in the same way."""

    @abstractmethod
    def _reader(self, access: Access) -> AbstractContextManager[EventReader]:
        """A reader for a caller that may read."""

    @abstractmethod
    def _index_key(self) -> bytes:
        """The store's own key for hashes of ids and for cursors."""

    def find(
        self, event_id: str, *, access: Access, tenant: str | None = None
    ) -> StoredEvent | None:
        with self._reader(access) as reader:
            return reader.find(event_id, tenant=tenant)

    def page(
        self, query: Query, *, access: Access, limit: int = 50, cursor: Cursor | None = None
    ) -> Page:
        with self._reader(access) as reader:
            return reader.page(query, limit=limit, cursor=cursor)

    def open_cursor(self, token: str, *, text: str) -> Cursor:
        return cursors.open_cursor(token, key=self._index_key(), text=text)

    def seal_cursor(self, cursor: Cursor, *, text: str) -> str:
        return cursors.seal_cursor(cursor, key=self._index_key(), text=text)

    def scan(self, query: Query, *, access: Access) -> Iterator[StoredEvent]:
        with self._reader(access) as reader:
            yield from reader.scan(query)

    def count(self, query: Query, *, access: Access, cap: int | None = None) -> Counted:
        with self._reader(access) as reader:
            return reader.count(query, cap=cap)

    def facets(
        self, query: Query, *, access: Access, fields: Sequence[FacetField], limit: int = 10
    ) -> list[Facet]:
        with self._reader(access) as reader:
            return reader.facets(query, fields=fields, limit=limit)

    def histogram(
        self,
        query: Query,
        *,
        access: Access,
        edges: Sequence[Instant],
        split_by: SplitBy = "outcome",
    ) -> Histogram:
        with self._reader(access) as reader:
            return reader.histogram(query, edges=edges, split_by=split_by)

    def tenants(self, *, access: Access) -> list[str]:
        with self._reader(access) as reader:
            return reader.tenants()

    def read_from(self, position: int, *, access: Access, limit: int = 1000) -> list[StoredEvent]:
        with self._reader(access) as reader:
            return reader.read_from(position, limit=limit)

    def stats(self, *, access: Access) -> Stats:
        with self._reader(access) as reader:
            return reader.stats()
