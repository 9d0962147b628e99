"""Ways in which the audit log breaks while the host goes on. Real ones: SQLite refuses."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connection, connections


@contextmanager
def without_table() -> Iterator[None]:
    """The table for events is missing, as before the first migration."""
    _raw().execute("ALTER TABLE whodid_event RENAME TO whodid_event_away")
    try:
        yield
    finally:
        _raw().execute("ALTER TABLE whodid_event_away RENAME TO whodid_event")


@contextmanager
def refused() -> Iterator[None]:
    """SQLite refuses to write to the log's tables from now on, also within a transaction."""

    def authorize(action: int, table: str | None, *_: Any) -> int:
        is_ours = action == sqlite3.SQLITE_INSERT and str(table).startswith("whodid_event")
        return sqlite3.SQLITE_DENY if is_ours else sqlite3.SQLITE_OK

    raw = _raw()
    raw.set_authorizer(authorize)
    try:
        yield
    finally:
        raw.set_authorizer(None)


@contextmanager
def full_disk(*, spare_pages: int = 1) -> Iterator[None]:
    """The database may grow by so many pages, and no more."""
    raw = _raw()
    pages = raw.execute("PRAGMA page_count").fetchone()[0]
    raw.execute(f"PRAGMA max_page_count = {pages + spare_pages}")
    try:
        yield
    finally:
        _raw().execute("PRAGMA max_page_count = 1000000")


@contextmanager
def locked(alias: str) -> Iterator[None]:
    """Another program is writing to this database, and does not end."""
    other = sqlite3.connect(str(connections[alias].settings_dict["NAME"]), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def spooled(folder: Path) -> int:
    """How many events wait on the local disk."""
    return sum(
        file.read_bytes().count(b"\n") for file in folder.rglob("*") if file.is_file()
    )  # one a line


def _raw() -> Any:
    connection.ensure_connection()
    return connection.connection
