"""Reading a SQLite database of ours, whoever owns the connection.

What `SqliteStore` and `HostedSqliteStore` have in common; each says how a connection is come by,
and which of the caches that a `Reader` has may outlive a call.
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from whodid.access import Access
from whodid.event import StoredEvent
from whodid.query.ast import Query
from whodid.stores import cursors, sqlite_read, sqlite_verify
from whodid.stores.base import (
    ApiKey,
    Counted,
    Cursor,
    Facet,
    FacetField,
    Histogram,
    Page,
    SplitBy,
    Stats,
    VerifyReport,
)
from whodid.times import Instant


class SqliteReading(ABC):
    """The reading half of an `EventStore`."""

    @abstractmethod
    def _connection(self) -> AbstractContextManager[sqlite3.Connection]:
        """A connection to read with, its errors translated."""

    @abstractmethod
    def _reader(self, access: Access) -> AbstractContextManager[sqlite_read.Reader]:
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

    def newest_position(self) -> int:
        with self._connection() as connection:
            return sqlite_read.newest_position(connection)

    def verify(
        self, *, access: Access, progress: Callable[[int, int], None] | None = None
    ) -> VerifyReport:
        access.check("verify")
        with self._connection() as connection, _snapshot(connection):
            return sqlite_verify.verify(
                connection, key=self._index_key(), access=access, progress=progress
            )

    def stats(self, *, access: Access) -> Stats:
        with self._reader(access) as reader:
            return reader.stats()

    def find_key(self, key_id: str) -> ApiKey | None:
        with self._connection() as connection:
            return next(iter(sqlite_read.keys(connection, key_id=key_id)), None)

    def keys(self) -> list[ApiKey]:
        with self._connection() as connection:
            return sqlite_read.keys(connection)


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """One moment of the database for everything read inside."""
    if connection.in_transaction:  # of the host's, which sees one moment already
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
