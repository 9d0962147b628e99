"""Connections to PostgreSQL, kept for reuse, and its errors as ours.

Connections are in autocommit and hold no state between two uses: no prepared statements, no
settings, no session locks. So pgbouncer may give each transaction another server connection.

They are kept by our own few lines and not by psycopg's pool, which connects in threads of its own
and tells the caller no more than that it waited in vain.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from whodid.errors import AuditError, ConfigError, StoreUnavailableError

CONNECT_TIMEOUT_S = 10
_MAX_IDLE = 16

Connection = psycopg.Connection[TupleRow]


class Connections:
    """Connections to one database. Thread-safe; after a fork the child opens its own."""

    def __init__(self, url: str, *, keeps: bool = True) -> None:
        """Take a URL; connects when somebody asks.

        Args:
            keeps: Connections stay open for the next use.

        Raises:
            ConfigError: It can't be read.
        """
        try:
            given = conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            raise ConfigError(
                "expected a URL such as postgresql://user:password@host/database; this one can't "
                "be read: write special characters in it as %XX"
            ) from error
        self.where = _place(given)
        defaults: dict[str, str | int | None] = {
            "application_name": "whodid",
            "connect_timeout": CONNECT_TIMEOUT_S,
            "client_encoding": "UTF8",
        }
        self._conninfo = make_conninfo("", **{**defaults, **given})
        self._most_idle = _MAX_IDLE if keeps else 0
        self._idle: deque[Connection] = deque()
        self._process = os.getpid()
        self._is_closed = False

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for a while, its errors translated."""
        with translated(self.where):
            connection = self._take()
            try:
                yield connection
            finally:
                self._give_back(connection)

    def close(self) -> None:
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> Connection:
        if self._is_closed:
            raise StoreUnavailableError("the store is closed")
        if self._process != os.getpid():
            # They are the parent's: to close them would end its sessions.
            self._idle, self._process = deque(), os.getpid()
        while self._idle:
            with suppress(IndexError):  # another thread was faster
                connection = self._idle.pop()
                if _is_alive(connection):
                    return connection
                connection.close()
        connection = psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=None)
        # Said with each BEGIN, whatever the database's default is: the sealer needs a new snapshot
        # for each statement.
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        return connection

    def _give_back(self, connection: Connection) -> None:
        is_idle = connection.info.transaction_status == TransactionStatus.IDLE
        # One in the middle of something is closed: what it holds ends with it.
        if is_idle and not self._is_closed and len(self._idle) < self._most_idle:
            self._idle.append(connection)
        else:
            connection.close()


def _is_alive(connection: Connection) -> bool:
    """Has the server left an idle connection alone? It says goodbye before it closes one."""
    try:
        readable, _, _ = select.select([connection.fileno()], [], [], 0)
    except (OSError, ValueError, psycopg.Error):
        return False
    return not readable


def _place(given: dict[str, str | int | None]) -> str:
    """Where a URL leads, for messages: without user and password."""
    host = given.get("host") or given.get("hostaddr") or "the local server"
    port = f":{given['port']}" if given.get("port") else ""
    return f"PostgreSQL at {host}{port}, database {given.get('dbname') or 'of the user'}"


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn PostgreSQL's errors into ours, once, at this seam.

    Of the server's words only the first line goes on: details quote values.
    """
    try:
        yield
    except psycopg.Error as error:
        known = _known(error, where)
        if known is None:
            raise  # a fault in our own SQL: no retry helps, and hiding it would
        raise known from error


_CONFIG = {
    "28P01": "the user's password is wrong; check the URL, PGPASSWORD or ~/.pgpass",
    "28000": "the user may not connect; check the URL and the server's pg_hba.conf",
    "3D000": "there is no such database; make it with createdb",
}
_UNAVAILABLE = {
    "25006": "the database is read-only, as a standby is; name the primary",
    "40001": "another transaction came between; try again",
    "40P01": "two transactions waited for one another; try again",
    "53100": "the server's disk is full; make room and try again",
    "53200": "the server is out of memory; try again",
    "53300": "the server has too many connections; raise max_connections or use pgbouncer",
    "55P03": "another transaction holds a lock; try again",
    "57014": "it took longer than statement_timeout allows; try again",
}


def _known(error: psycopg.Error, where: str) -> AuditError | None:
    code = error.sqlstate or ""
    if code in _CONFIG:
        return ConfigError(f"{where}: {_CONFIG[code]}")
    if code in _UNAVAILABLE:
        return StoreUnavailableError(f"{where}: {_UNAVAILABLE[code]}")
    if code == "42501":
        return ConfigError(f"{where}: {_first_line(error)}; grant the right, or use another user")
    if code in ("42P01", "42703") and "whodid_" in str(error):
        return StoreUnavailableError(
            f"{where}: a table or column of the log is missing; run the migrations of the "
            "application, or open it once with whodid"
        )
    if code == "23514" and "no partition" in str(error):
        return StoreUnavailableError(
            f"{where}: there is no partition for the month of this event; run whodid, which makes "
            "them ahead, and check the clock of this machine"
        )
    if code.startswith(("57P", "08", "58", "53")):
        return StoreUnavailableError(f"{where}: the server is down or restarting; try again")
    if isinstance(error, psycopg.OperationalError) and not code:
        return _no_connection(error, where)
    return None


def _no_connection(error: psycopg.OperationalError, where: str) -> AuditError:
    """What kept us from connecting: then there is no code, but for words in English mostly."""
    text = str(error)
    for words, code in (
        ("password authentication failed", "28P01"),
        ("no password supplied", "28P01"),
        ("pg_hba.conf", "28000"),
        ("role ", "28000"),
        ('database "', "3D000"),
        ("too many", "53300"),
    ):
        if words in text and (code != "3D000" or "does not exist" in text):
            if code in _CONFIG:
                return ConfigError(f"{where}: {_CONFIG[code]}")
            return StoreUnavailableError(f"{where}: {_UNAVAILABLE[code]}")
    return StoreUnavailableError(
        f"{where}: no connection; check that the server runs and is reached from here, then try "
        "again"
    )


def _first_line(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error).splitlines()[0]
