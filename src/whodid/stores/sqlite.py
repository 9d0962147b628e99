"""The default store: one SQLite file, durable on return, sealed in the same transaction.

WAL with `synchronous=FULL`: what `append` acknowledged survives kill -9 and a power cut. One
writing connection behind a lock and a pool of reading ones, so it may be used from many threads;
other processes may write the same file at once, SQLite makes them take turns (`busy_timeout`).
Every event gets its index and position in the transaction that inserts it: nothing is ever
committed unsealed.

Appending lies in `sqlite_write`, searching in `sqlite_read`, verification in `sqlite_verify`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from whodid.access import Access
from whodid.canonical import Encoded
from whodid.errors import ConfigError, ConflictError, StoreUnavailableError
from whodid.stores import sqlite_read, sqlite_write
from whodid.stores.base import ApiKey, Batch, Receipt
from whodid.stores.dictionary import Dictionary
from whodid.stores.migrate import migrate_sqlite, migrations, schema_version
from whodid.stores.searching import Decisions
from whodid.stores.sqlite_indexer import Indexer, Progress, catch_up
from whodid.stores.sqlite_reading import SqliteReading
from whodid.stores.sqlite_sidecar import CACHE_BYTES, ColumnStep, Sidecar, clear_columns
from whodid.stores.sqlite_spans import Spans
from whodid.stores.sqlite_text import TextStep, ValueStep, clear
from whodid.stores.turns import Turns
from whodid.times import Instant

BUSY_TIMEOUT_S = 30.0
FAILURE_REMEMBERED_S = 30.0
# A group of events touches pages all over the file: with SQLite's 2 MiB each is read again, and
# with its 1,000 pages every commit copies the whole log into the file. 128 MiB of log are copied
# in less than a second, and a page that was written often is copied once.
WRITE_CACHE_KIB = 65_536
CHECKPOINT_PAGES = 32_768
ALONE_BATCH = 3_000
_MAX_IDLE_CONNECTIONS = 16


class SqliteStore(SqliteReading):
    """An `EventStore` in one SQLite file."""

    def __init__(
        self,
        path: str | Path,
        *,
        create: bool = True,
        indexes: bool = True,
        column_cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Open the file, and bring its schema up to date.

        Args:
            path: The database file.
            create: Make the file when there is none.
            indexes: Appends start the indexer here; without, another process is to index.
            column_cache_bytes: Of memory, at most, for what counting has read; 30 bytes an event
                keep all of it.

        Raises:
            ConfigError: No such file, no database, or one that a newer whodid made.
            StoreUnavailableError: The file or its folder can't be written.
        """
        self.path = Path(path)
        if not create and not self.path.exists():
            raise ConfigError(f"no database at {self.path}; check --db or WHODID_DB")
        self._lock = threading.Lock()
        self._idle: deque[sqlite3.Connection] = deque()
        self._is_closed = False
        self._failure: tuple[float, StoreUnavailableError] | None = None
        with translated(self.path):
            if create:
                _create_private(self.path)
            self._writing = _connect(self.path)
            try:
                if not create and not _schema(self._writing):
                    raise ConfigError(f"{self.path} holds no log; check --db or WHODID_DB")
                _prepare(self._writing, self.path)
                self._writing.execute(f"PRAGMA cache_size=-{WRITE_CACHE_KIB}")
                self._writing.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
                key = sqlite_write.index_key(self._writing)
            except BaseException:
                self._writing.close()
                raise
        self._inode = self.path.stat().st_ino
        self._key = key
        self._turns = Turns(self.path)
        self._writer = sqlite_write.Writer(self._writing, key=key)
        self._dictionary = Dictionary()
        self._decisions = Decisions()
        self._spans = Spans()
        self._sidecar = Sidecar(cache_bytes=column_cache_bytes)
        self._indexes = indexes
        # A turn of its own: within one process the queue has one place.
        self._indexer_turns = Turns(self.path)
        self._indexer = self._make_indexer()

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path.absolute()}"

    def append(
        self,
        batch: Sequence[Encoded],
        *,
        writer: str | None = None,
        now: Instant | Sequence[Instant] | None = None,
        connection: object = None,
    ) -> list[Receipt]:
        given = Batch(events=batch, writer=writer, now=now)
        if connection is not None:
            with translated(self.path):
                return sqlite_write.append_within(as_connection(connection), given, key=self._key)
        [answer] = self.append_each([given])
        if isinstance(answer, ConflictError):
            raise answer
        return answer

    def append_each(self, batches: Sequence[Batch]) -> list[list[Receipt] | ConflictError]:
        ready = self._writer.ready(batches)
        if not any(ready):
            return [[] for _ in batches]
        try:
            with self._exclusively():
                answers = self._writer.append_ready(batches, ready)
        except StoreUnavailableError as error:
            self._failure = (time.monotonic(), error)
            raise
        self._failure = None
        if self._indexes:
            self._indexer.wake()
        return answers

    def _index_key(self) -> bytes:
        return self._key

    def start_indexing(self, *, alone: bool = False) -> None:
        if alone:
            self._indexer.close()
            self._indexer = self._make_indexer(alone=True)
        self._indexer.wake()

    def _make_indexer(self, *, alone: bool = False) -> Indexer:
        # Longer transactions do more, and hold up writers for up to a fifth of a second.
        text = TextStep(batch=ALONE_BATCH) if alone else TextStep()
        return Indexer(
            self.path,
            (text, ValueStep(), ColumnStep()),
            turn=self._indexer_turns.turn,
            rests=not alone,
        )

    def index_now(self, *, rebuild: bool = False, progress: Progress | None = None) -> None:
        with translated(self.path), closing(Turns(self.path)) as turns:
            self._check_usable()
            if rebuild:
                with self._exclusively():
                    clear(self._writing)
                    clear_columns(self._writing)
            catch_up(self.path, self._indexer.steps, turn=turns.turn, progress=progress)

    def check_health(self) -> None:
        # The last append tells most: on a full disk a small write may still find room.
        if self._failure and time.monotonic() - self._failure[0] < FAILURE_REMEMBERED_S:
            raise self._failure[1]
        # A real durable write: a read-only or deleted file is found out here, not by a caller.
        with self._exclusively():
            sqlite_write.touch(self._writing, now=Instant.now())

    def add_key(self, key: ApiKey) -> None:
        with self._exclusively():
            sqlite_write.add_key(self._writing, key)

    def close(self) -> None:
        self._indexer.close()
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._writing.close()
            self._turns.close()
            self._indexer_turns.close()
            while self._idle:
                self._idle.pop().close()

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        """Hold the writing connection in its turn, with the file still where it was."""
        with self._lock, translated(self.path):
            self._check_usable()
            with self._turns.turn():
                yield

    @contextmanager
    def _reader(self, access: Access) -> Iterator[sqlite_read.Reader]:
        access.check("read")
        with self._connection() as connection:
            yield sqlite_read.Reader(
                connection,
                key=self._key,
                access=access,
                dictionary=self._dictionary,
                decisions=self._decisions,
                spans=self._spans,
                sidecar=self._sidecar,
            )

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with translated(self.path):
            self._check_usable()
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = _connect(self.path)
                sqlite_read.register_functions(connection)
            try:
                yield connection
            finally:
                if self._is_closed or len(self._idle) >= _MAX_IDLE_CONNECTIONS:
                    connection.close()
                else:
                    self._idle.append(connection)

    def _check_usable(self) -> None:
        if self._is_closed:
            raise StoreUnavailableError("the store is closed")
        try:
            inode = self.path.stat().st_ino
        except OSError:
            inode = None
        if inode != self._inode:
            # Writes would go to an unlinked file and be lost with it.
            raise StoreUnavailableError(
                f"{self.path} was moved, replaced or deleted while it was open; restart"
            )


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA synchronous=FULL")
    except BaseException:  # a file that is no database is noticed here
        connection.close()
        raise
    return connection


def _create_private(path: Path) -> None:
    """Make the file readable by its owner alone; SQLite gives its side files the same mode."""
    with contextlib.suppress(OSError):  # what can't be made here is explained when it is opened
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make an empty file ours, or bring ours up to date; leave a foreign file as it is."""
    if not _is_shared(connection):  # an application's own file keeps the mode that it chose
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise ConfigError(f"{path} cannot use write-ahead logging; put it on a local disk")
    if _schema(connection) != migrations("sqlite")[-1].version:
        migrate_sqlite(connection)


def _is_shared(connection: sqlite3.Connection) -> bool:
    """Does the file hold tables of somebody else's?"""
    [found] = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' "
        "AND name NOT LIKE 'whodid_%' AND name NOT LIKE 'sqlite_%')"
    ).fetchone()
    return bool(found)


def _schema(connection: sqlite3.Connection) -> int:
    known = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'whodid_schema'"
    ).fetchone()[0]
    return schema_version(connection) if known else 0


def as_connection(given: object) -> sqlite3.Connection:
    """The raw connection that an integration gave.

    Raises:
        ConfigError: It is none of SQLite's.
    """
    if not isinstance(given, sqlite3.Connection):
        raise ConfigError(
            f"connection: expected a sqlite3.Connection, got {type(given).__name__}; give the raw "
            "connection, not what an ORM wraps around it"
        )
    return given


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours, once, at this seam."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname == "SQLITE_ERROR":
            if str(error).startswith(("no such table: whodid", "no such column")):
                raise StoreUnavailableError(
                    f"{path} lacks a table or column of its schema; restore a backup"
                ) from error
            if str(error) == "no such module: fts5":
                raise ConfigError(
                    "this Python's SQLite was built without FTS5, which searches need; "
                    "use the Python of python.org or of your distribution"
                ) from error
            raise  # a fault in our own SQL: no retry helps, and hiding it would
        raise StoreUnavailableError(f"{path}: {remedy(error, path)}") from error
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname == "SQLITE_NOTADB":
            raise ConfigError(f"{path} is no SQLite database; name another file") from error
        if error.sqlite_errorname.startswith("SQLITE_CORRUPT"):
            raise StoreUnavailableError(
                f"{path} is damaged; stop, copy the file, and run whodid verify on a backup"
            ) from error
        raise


def remedy(error: sqlite3.OperationalError, path: Path) -> str:
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return "another process holds the database; try again"
    if name.startswith("SQLITE_FULL"):
        return "the disk is full; make room and try again"
    if name.startswith("SQLITE_READONLY"):
        return "the file or its folder is read-only; check its owner and mode"
    if name.startswith("SQLITE_CANTOPEN"):
        folder = path.absolute().parent
        if path.is_dir():
            return "this is a folder; name a file in it"
        if not folder.exists():
            return f"the folder {folder} does not exist; create it"
        if not os.access(folder, os.W_OK):
            return f"the folder {folder} is read-only; check its owner and mode"
        return "the file can't be opened; check its owner and mode"
    return str(error)
