"""The door to the columns of a SQLite store: loads numpy when columns are first read or written.

Without numpy there are none; SQL answers then, as exactly and slower.
"""

from __future__ import annotations

import sqlite3
import threading
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from whodid.stores.sqlite_indexer import newest_position
from whodid.stores.sqlite_write import transaction

if TYPE_CHECKING:
    from whodid.stores.sqlite_columns import Columns

LEAST_EVENTS = 2_000
CACHE_BYTES = 256 * 2**20


@cache
def has_numpy() -> bool:
    """Is numpy installed?"""
    return find_spec("numpy") is not None


class Sidecar:
    """The columns of one store, opened at first use. Thread-safe."""

    def __init__(self, *, least: int = LEAST_EVENTS, cache_bytes: int = CACHE_BYTES) -> None:
        """Nothing is loaded before it is asked for.

        Args:
            least: With fewer events than this there are no columns: SQL is as fast.
            cache_bytes: Of memory, at most, for decoded columns.
        """
        self._least = least
        self._cache_bytes = cache_bytes
        self._lock = threading.Lock()
        self._columns: Columns | None = None

    def columns(self, newest: int) -> Columns | None:
        """The columns of a store up to this position; None where SQL is to answer."""
        if newest < self._least or not has_numpy():
            return None
        if self._columns is None:
            from whodid.stores.sqlite_columns import Columns

            with self._lock:
                self._columns = self._columns or Columns(max_bytes=self._cache_bytes)
        return self._columns


class ColumnStep:
    """The indexer's step that keeps the columns up; does nothing where numpy is not installed."""

    name = "columns"
    batch = 8_192
    least = LEAST_EVENTS

    def newest(self, connection: sqlite3.Connection) -> int:
        return newest_position(connection) if has_numpy() else 0

    def prepare(self, connection: sqlite3.Connection, *, after: int, last: int) -> Any:
        from whodid.stores.sqlite_column_blocks import prepare

        return prepare(connection, after=after, last=last)

    def write(self, connection: sqlite3.Connection, prepared: Any) -> None:
        from whodid.stores.sqlite_column_blocks import write

        write(connection, prepared)


def clear_columns(connection: sqlite3.Connection) -> None:
    """Forget all columns, so that the indexer writes them anew; SQL answers meanwhile.

    One transaction: a crash leaves the old ones.
    """
    with transaction(connection):
        for table in ("block", "code", "ref"):
            connection.execute(f"DELETE FROM whodid_column_{table}")
        connection.execute("DELETE FROM whodid_column")
        connection.execute("DELETE FROM whodid_counter WHERE name = 'indexed.columns'")
        revise(connection)


def revise(connection: sqlite3.Connection) -> int:
    """Tell all readers that blocks change which they may know; the new revision."""
    row = connection.execute(
        "INSERT INTO whodid_counter (name, value) VALUES ('columns.revision', 1) "
        "ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"
    ).fetchone()
    return int(row[0])
