"""The schema in PostgreSQL: its migrations, and monthly partitions made ahead.

A partition is made beside its table and attached, which no reader or writer has to wait for; made
in place, it would wait for every open transaction of the application's that wrote an event.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import MAXYEAR, UTC, datetime
from typing import LiteralString, TypeAlias

from psycopg import sql
from psycopg.rows import TupleRow

from whodid.stores.migrate import check_known, migrations
from whodid.stores.postgres_connections import Connection
from whodid.times import Instant

PARTITIONED = ("whodid_event", "whodid_sealed", "whodid_event_ref")
MONTHS_AHEAD = 2
# Who migrates or makes partitions holds this lock until the end of the transaction: two bigints
# that mean nothing, but belong to us.
_LOCK = (0x77686F64, 0x69640001)

Month: TypeAlias = tuple[int, int]  # year, month


def migrate(connection: Connection) -> int:
    """Bring the database to the newest schema; the version it has now.

    One transaction: another process waits, a crash leaves the old schema. Idempotent.

    Raises:
        ConfigError: The database was made by a newer whodid.
    """
    known = migrations("postgres")
    found = schema_version(connection)
    check_known(found, known)
    if found == known[-1].version:
        return found
    with connection.transaction():
        _lock(connection)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS whodid_schema "
            "(version integer PRIMARY KEY, name text NOT NULL, applied_at bigint NOT NULL)"
        )
        found = schema_version(connection)
        check_known(found, known)
        for migration in known[found:]:
            connection.execute(migration.sql.encode())  # several statements, without parameters
            connection.execute(
                "INSERT INTO whodid_schema (version, name, applied_at) VALUES (%s, %s, %s)",
                (migration.version, migration.name, Instant.now().micros),
            )
    return known[-1].version


def schema_version(connection: Connection) -> int:
    """The newest migration that was applied, 0 for none."""
    [exists] = _one(connection, "SELECT to_regclass('whodid_schema') IS NOT NULL")
    if not exists:
        return 0
    [version] = _one(connection, "SELECT coalesce(max(version), 0) FROM whodid_schema")
    return int(version)


def month_of(micros: int) -> Month:
    """The month, in UTC, of a time in microseconds."""
    moment = Instant.from_micros(micros)
    return moment.year, moment.month


def months_ahead(now: Instant) -> list[Month]:
    """The months that there are to be partitions for: this one and the next."""
    first = now.year * 12 + now.month - 1
    return [((first + each) // 12, (first + each) % 12 + 1) for each in range(MONTHS_AHEAD + 1)]


def make_partitions(connection: Connection, months: Iterable[Month]) -> None:
    """Have every partitioned table have a partition for each of these months.

    Durable when it returns. Idempotent; several processes may do it at once.
    """
    wanted = sorted(set(months))
    if not _missing(connection, wanted):
        return
    with connection.transaction():
        _lock(connection)
        for table, month in _missing(connection, wanted):
            _make_partition(connection, table, month)


def _missing(connection: Connection, months: list[Month]) -> list[tuple[str, Month]]:
    named = {partition_name(table, each): (table, each) for table in PARTITIONED for each in months}
    # From the catalogue itself: to_regclass() may remember from before we waited for the lock.
    rows = connection.execute(
        "SELECT name FROM unnest(%s::text[]) AS wanted (name) WHERE NOT EXISTS (SELECT 1 "
        "FROM pg_class AS c WHERE c.relname = name AND c.relnamespace = (SELECT p.relnamespace "
        "FROM pg_class AS p WHERE p.oid = 'whodid_event'::regclass)) ORDER BY name",
        (list(named),),
    )
    return [named[name] for (name,) in rows]


def _make_partition(connection: Connection, table: str, month: Month) -> None:
    names = {
        "table": sql.Identifier(table),
        "name": sql.Identifier(partition_name(table, month)),
        "low": sql.Literal(_start_of(month)),
        "high": sql.Literal(_start_of(_next(month))),
    }
    connection.execute(
        sql.SQL("CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING STORAGE)").format(
            **names
        )
    )
    connection.execute(
        sql.SQL(
            "ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high})"
        ).format(**names)
    )


def partition_name(table: str, month: Month) -> str:
    return f"{table}_{month[0]:04d}{month[1]:02d}"


def _start_of(month: Month) -> int:
    year, number = month
    if year > MAXYEAR:
        return 2**63 - 1
    return Instant.of(datetime(year, number, 1, tzinfo=UTC)).micros


def _next(month: Month) -> Month:
    year, number = month
    return (year, number + 1) if number < 12 else (year + 1, 1)


def _lock(connection: Connection) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(%s::int, %s::int)", _LOCK)


def _one(connection: Connection, query: LiteralString) -> TupleRow:
    row = connection.execute(query).fetchone()
    if row is None:
        raise AssertionError("a query for one row gave none")
    return row
