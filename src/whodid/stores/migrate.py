"""The migration runner: numbered `.sql` files, applied once each, in order, under a lock.

Files lie in `schema/<engine>/NNNN_name.sql` and are never edited after a release. Which were
applied stands in the table `whodid_schema`. A database made by a newer whodid is refused.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from whodid.errors import ConfigError
from whodid.times import Instant

_NAME = re.compile(r"(\d{4})_(\w+)\.sql", re.ASCII)


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str


def migrations(engine: str) -> list[Migration]:
    """All migrations of an engine, ascending."""
    found = []
    for file in resources.files("whodid.stores").joinpath("schema", engine).iterdir():
        match = _NAME.fullmatch(file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], file.read_text("utf-8")))
    return sorted(found, key=lambda migration: migration.version)


def migrate_sqlite(connection: sqlite3.Connection) -> int:
    """Bring a SQLite database to the newest schema; the version it has now.

    One transaction: another process waits, a crash leaves the old schema. Idempotent.

    Raises:
        ConfigError: The database was made by a newer whodid.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = apply_migrations(connection, "sqlite")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return version


def apply_migrations(
    connection: sqlite3.Connection, engine: str, *, version: int | None = None
) -> int:
    """Bring a database to a version of the schema, in the transaction that is open.

    Idempotent.

    Args:
        version: The newest when absent.

    Returns:
        The version it has now.

    Raises:
        ConfigError: The database was made by a newer whodid.
    """
    known = migrations(engine)
    connection.execute(
        "CREATE TABLE IF NOT EXISTS whodid_schema "
        "(version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT"
    )
    found = schema_version(connection)
    check_known(found, known)
    for migration in known[found:version]:
        for statement in statements(migration.sql):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO whodid_schema (version, name, applied_at) VALUES (?, ?, ?)",
            (migration.version, migration.name, Instant.now().micros),
        )
    return max(found, version or known[-1].version)


def check_known(version: int, known: Sequence[Migration]) -> None:
    """Return if a database of this version is not ahead of us.

    Raises:
        ConfigError: It was made by a newer whodid.
    """
    if version > known[-1].version:
        raise ConfigError(
            f"the database has schema {version}, this whodid knows {known[-1].version}; "
            "upgrade whodid"
        )


def schema_version(connection: sqlite3.Connection) -> int:
    """The newest migration that was applied, 0 for none."""
    row = connection.execute("SELECT coalesce(max(version), 0) FROM whodid_schema").fetchone()
    return int(row[0])


def statements(sql: str) -> list[str]:
    """Split a script into its statements, so that they run in one transaction of ours."""
    found, current = [], ""
    for line in sql.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            found.append(current)
            current = ""
    if current.strip():
        raise AssertionError("a migration ends in the middle of a statement")
    return found
