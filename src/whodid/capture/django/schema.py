"""The log's tables in the project's database, made by Django's migrations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from whodid.stores.migrate import apply_migrations


def migrate_to(version: int) -> Callable[[Any, Any], None]:
    """What a Django migration runs: whodid's own scripts, up to a version.

    Idempotent; does nothing in databases that do not hold the log.
    """

    def run(apps: object, schema_editor: Any) -> None:
        from whodid.capture.django.conf import holds_log, hosted_store

        connection = schema_editor.connection
        if not holds_log(connection.alias):
            return
        hosted_store(connection.alias)  # refuses a database of another kind
        if connection.vendor == "sqlite":
            _migrate_sqlite(connection.connection, version)
        else:
            _migrate_postgres(connection)

    return run


def _migrate_sqlite(raw: Any, version: int) -> None:
    from whodid.stores import sqlite_write

    apply_migrations(raw, "sqlite", version=version)
    sqlite_write.index_key(raw)


def _migrate_postgres(connection: Any) -> None:
    """The newest schema: its versions are others than SQLite's, and each is safe to repeat."""
    from whodid.stores import postgres_schema, postgres_write
    from whodid.times import Instant

    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")  # so that what follows is in Django's transaction, if it has one
    raw = connection.connection
    postgres_schema.migrate(raw)
    postgres_schema.make_partitions(raw, postgres_schema.months_ahead(Instant.now()))
    postgres_write.index_key(raw)
