"""Where events are kept: one store per engine, all behind `stores.base.EventStore`."""

from __future__ import annotations

from pathlib import Path

from whodid.errors import ConfigError
from whodid.stores.base import EventStore

__all__ = ["EventStore", "open_store"]


def open_store(url: str, *, create: bool = True, indexes: bool = True) -> EventStore:
    """Open the store that a URL names.

    Args:
        url: `sqlite:///relative/path.db` or `sqlite:////absolute/path.db`.
        create: Make the database when there is none.
        indexes: Appends start the background indexer in this process.

    Raises:
        ConfigError: The URL names no store that this whodid knows, or there is no database.
        StoreUnavailableError: It can't be opened now.
    """
    scheme, _, rest = url.partition("://")
    if scheme != "sqlite" or not rest.startswith("/") or rest == "/":
        raise ConfigError(
            "expected a URL such as sqlite:///whodid.db (relative) or sqlite:////var/lib/whodid.db "
            f"(absolute), got one with {scheme[:20] + '://' if rest else 'no'} scheme"
        )
    from whodid.stores.sqlite import SqliteStore  # the driver is imported with its store alone

    return SqliteStore(Path(rest[1:]), create=create, indexes=indexes)
