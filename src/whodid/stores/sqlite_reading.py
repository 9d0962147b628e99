"""Reading a SQLite database of ours, whoever owns the connection.

What `SqliteStore` and `HostedSqliteStore` have in common.
"""

from __future__ import annotations

import sqlite3
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from whodid.access import Access
from whodid.stores import sqlite_read, sqlite_verify
from whodid.stores.base import ApiKey, VerifyReport
from whodid.stores.reading import StoreReading


class SqliteReading(StoreReading):
    """The reading half of an `EventStore` in SQLite."""

    @abstractmethod
    def _connection(self) -> AbstractContextManager[sqlite3.Connection]:
        """A connection to read with, its errors translated."""

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
