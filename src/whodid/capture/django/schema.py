"""The log's tables in the project's database, made by Django's migrations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from whodid.stores import sqlite_write
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
        apply_migrations(connection.connection, "sqlite", version=version)
        sqlite_write.index_key(connection.connection)

    return run
