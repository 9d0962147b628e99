"""The log in the application's own SQLite database, through the application's own connections.

An event is stored in the transaction of the change that it tells of: both are there, or neither.
No second connection is opened, so that nothing waits for a lock that the same thread holds, and an
in-memory database, or a test that never commits, has its log like any other. The host's file keeps
its journal mode; no background thread writes to it, so words that `whodid index` has not reached
are scanned.

What is read may be uncommitted and gone a moment later: nothing is remembered between calls.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from whodid.access import Access
from whodid.canonical import Encoded
from whodid.errors import ConfigError, ConflictError, StoreUnavailableError
from whodid.stores import sqlite_read, sqlite_write
from whodid.stores.base import ApiKey, Batch, Receipt
from whodid.stores.dictionary import Dictionary
from whodid.stores.searching import Decisions
from whodid.stores.sqlite import as_connection, remedy
from whodid.stores.sqlite_indexer import Progress
from whodid.stores.sqlite_reading import SqliteReading
from whodid.stores.sqlite_sidecar import Sidecar
from whodid.stores.sqlite_spans import Spans
from whodid.times import Instant

_SELECT_KEY = "SELECT value FROM whodid_setting WHERE name = 'index_key'"
Connect = Callable[[], AbstractContextManager[sqlite3.Connection]]


class HostedSqliteStore(SqliteReading):
    """An `EventStore` over connections that belong to the host. The host makes the schema."""

    def __init__(self, connect: Connect, *, path: Path | None = None) -> None:
        """Take the host's connections.

        Args:
            connect: Gives the raw connection of the calling thread.
            path: The database's file, for what is kept beside it; None for one in memory.
        """
        self._connect = connect
        self._keys = threading.local()  # Django's connections, and their like, are a thread's own
        if path is not None:
            self.path = path

    @property
    def url(self) -> str:
        path = getattr(self, "path", None)
        if path is None:
            raise ConfigError("a database in memory has no URL; use a file")
        return f"sqlite:///{path.absolute()}"

    def append(
        self,
        batch: Sequence[Encoded],
        *,
        writer: str | None = None,
        now: Instant | Sequence[Instant] | None = None,
        connection: object = None,
    ) -> list[Receipt]:
        given = Batch(events=batch, writer=writer, now=now)
        if not given.events:
            return []
        if connection is not None:
            with _translated():
                return self._append(as_connection(connection), given)
        with self._connection() as own:
            return self._append(own, given)

    def append_each(self, batches: Sequence[Batch]) -> list[list[Receipt] | ConflictError]:
        answers: list[list[Receipt] | ConflictError] = []
        with self._connection() as connection, sqlite_write.within(connection):
            for batch in batches:
                try:
                    answers.append(self._append(connection, batch) if batch.events else [])
                except ConflictError as error:
                    answers.append(error)
        return answers

    def _append(self, connection: sqlite3.Connection, batch: Batch) -> list[Receipt]:
        return sqlite_write.append_within(connection, batch, key=self._key_of(connection))

    def start_indexing(self, *, alone: bool = False) -> None:
        """Nothing: the host's file is written by the host's own transactions alone."""

    def index_now(self, *, rebuild: bool = False, progress: Progress | None = None) -> None:
        from whodid.stores.sqlite import SqliteStore

        path = getattr(self, "path", None)
        if path is None:
            return  # in memory: all of it is scanned
        store = SqliteStore(path, create=False, indexes=False)
        try:
            store.index_now(rebuild=rebuild, progress=progress)
        finally:
            store.close()

    def check_health(self) -> None:
        with self._connection() as connection:
            sqlite_write.touch(connection, now=Instant.now())

    def add_key(self, key: ApiKey) -> None:
        with self._connection() as connection:
            sqlite_write.add_key(connection, key)

    def close(self) -> None:
        """Nothing: the connections are the host's."""

    def _index_key(self) -> bytes:
        with self._connection() as connection:
            return self._key_of(connection)

    def _key_of(self, connection: sqlite3.Connection) -> bytes:
        """The key in this connection's database, read once; it never changes."""
        known: tuple[sqlite3.Connection, bytes] | None = getattr(self._keys, "known", None)
        if known is not None and known[0] is connection:
            return known[1]
        row = connection.execute(_SELECT_KEY).fetchone()
        if row is None:  # made by the migration, and by whoever rolled that back
            return sqlite_write.index_key(connection)
        self._keys.known = (connection, bytes(row[0]))
        return bytes(row[0])

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._connect() as connection, _translated():
            yield connection

    @contextmanager
    def _reader(self, access: Access) -> Iterator[sqlite_read.Reader]:
        access.check("read")
        with self._connection() as connection:
            sqlite_read.register_functions(connection)
            yield sqlite_read.Reader(
                connection,
                key=self._key_of(connection),
                access=access,
                dictionary=Dictionary(),
                decisions=Decisions(),
                spans=Spans(),
                sidecar=Sidecar(),
            )


@contextmanager
def _translated() -> Iterator[None]:
    """Turn SQLite's errors into ours, once, at this seam."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if str(error).startswith(("no such table: whodid", "no such column")):
            raise StoreUnavailableError(
                "the application's database has no table for events, or an old one; "
                "run its migrations, in Django with manage.py migrate"
            ) from error
        if error.sqlite_errorname == "SQLITE_ERROR":
            raise  # a fault in our own SQL: no retry helps, and hiding it would
        raise StoreUnavailableError(
            f"the application's database: {remedy(error, Path())}"
        ) from error
    except sqlite3.ProgrammingError as error:  # closed, or of another thread
        raise StoreUnavailableError(f"the application's database: {error}") from error
    except sqlite3.DatabaseError as error:
        raise StoreUnavailableError(
            "the application's database is damaged or of another kind; "
            "stop, copy the file, and check a backup"
        ) from error
