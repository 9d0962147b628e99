"""Where events are kept: one store per engine, all behind `stores.base.EventStore`."""

from __future__ import annotations

from pathlib import Path

from whodid.errors import ConfigError
from whodid.stores.base import EventStore

__all__ = ["EventStore", "open_store"]


def open_store(url: str, *, create: bool = True, indexes: bool = True) -> EventStore:
    """Open the store that a URL names.

    Args:
        url: `sqlite:///relative/path.db`, `sqlite:////absolute/path.db`, or
            `postgresql://user:password@host:port/database` as libpq reads it.
        create: Make the database when there is none.
        indexes: Appends start the background indexer in this process.

    Raises:
        ConfigError: The URL names no store that this whodid knows, or there is no database.
        StoreUnavailableError: It can't be opened now.
    """
    scheme, _, rest = url.partition("://")
    if scheme in ("postgresql", "postgres"):
        try:
            from whodid.stores.postgres import PostgresStore
        except ImportError as error:  # also when it lacks the library that it wraps
            if (error.name or "psycopg").partition(".")[0] != "psycopg":
                raise
            raise ConfigError(
                f"{scheme}:// needs the package psycopg; pip install 'whodid[postgres]'"
            ) from error
        return PostgresStore(url, create=create, indexes=indexes)
    if scheme != "sqlite" or not rest.startswith("/") or rest == "/":
        raise ConfigError(
            "expected a URL such as sqlite:///whodid.db (relative), sqlite:////var/lib/whodid.db "
            "(absolute) or postgresql://user@host/database, got one with "
            f"{scheme[:20] + '://' if rest else 'no'} scheme"
        )
    from whodid.stores.sqlite import SqliteStore  # the driver is imported with its store alone

    return SqliteStore(Path(rest[1:]), create=create, indexes=indexes)
