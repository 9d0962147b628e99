"""`settings.WHODID`: one dict, checked once, and the log that it describes.

```python
WHODID = {
    "app": "billing",
    "authorize": "billing.audit.authorize",
    "trusted_proxies": 1,
}
```

Every key may be left out. Without `url` the log lives in the project's own database, so that an
event is committed with the change that it tells of.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings as project
from django.core import mail
from django.core.exceptions import SynchronousOnlyOperation
from django.core.signals import setting_changed
from django.db import connections
from django.utils.module_loading import import_string

from whodid.capture.web import WebOptions
from whodid.errors import ConfigError
from whodid.log import AuditLog
from whodid.redaction import SECRET_NAMES, Rules
from whodid.stores import EventStore
from whodid.stores.sqlite_hosted import HostedSqliteStore

_EXCLUDED = frozenset(
    {"admin.logentry", "contenttypes", "sessions", "migrations", "whodid",
     "django_celery_results", "silk", "axes"}
)  # fmt: skip
"""Apps and models that keep books of their own, or change with every request."""

Callback = Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a project chose.

    Attributes:
        url: Of a log outside of the project's database, else None.
        outbox: File for events on their way to a server, where `url` names one.
        key: Its key; what the environment has as WHODID_KEY when absent.
        database: Alias of the database that holds the log.
        app: What the project is called in its events.
        tenant: Whose events these are where `find_tenant` does not say.
        find_tenant: Asked with the request.
        find_actor: Asked with the request; None is "ask Django".
        authorize: Says what a request's sender may see of the log.
        excluded: Apps and models (`app`, `app.model`) that are not recorded.
        only: If not empty, only these are.
        settings_models: Models whose rows are settings.
        bulk_limit: Rows; above it a statement makes one event in place of one a row.
        admin_history: Show whodid's history in place of the admin's.
    """

    url: str | None = None
    outbox: str | None = None
    key: str | None = field(default=None, repr=False)
    database: str = "default"
    app: str | None = None
    tenant: str = "default"
    find_tenant: Callback | None = None
    find_actor: Callback | None = None
    authorize: Callback | None = None
    web: WebOptions = field(default_factory=WebOptions)
    excluded: frozenset[str] = _EXCLUDED
    only: frozenset[str] = frozenset()
    settings_models: tuple[str, ...] = ()
    bulk_limit: int = 10_000
    on_failure: str = "spool"
    spool: str | None = None
    buffer: int = 0
    redaction: Rules = field(default_factory=Rules)
    admin_history: bool = True
    zone: str | None = None


_WEB_KEYS = {
    "trusted_proxies": "trusted_proxies",
    "forwarded_header": "forwarded_header",
    "exclude_paths": "exclude",
    "request_id_header": "request_id_header",
    "record_requests": "record_requests",
}
_PLAIN: Mapping[str, type] = {
    "url": str, "outbox": str, "key": str, "database": str, "app": str, "bulk_limit": int,
    "on_failure": str, "spool": str, "buffer": int, "admin_history": bool, "zone": str,
}  # fmt: skip
_KNOWN = frozenset(
    {*_PLAIN, *_WEB_KEYS, "tenant", "actor", "authorize", "exclude_models", "include_models",
     "only_models", "settings_models", "redact_names", "redact_fields"}
)  # fmt: skip


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The project's choices.

    Raises:
        ConfigError: Names the key and what it may be.
    """
    return read_settings(getattr(project, "WHODID", {}))


def read_settings(given: object) -> Settings:
    """The same from a dict.

    Raises:
        ConfigError: Names the key and what it may be.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f"WHODID: expected a dict, got {type(given).__name__}")
    if unknown := sorted(map(str, given.keys() - _KNOWN)):
        raise ConfigError(
            f"WHODID: there is no {', '.join(unknown)}; known are {', '.join(sorted(_KNOWN))}"
        )
    chosen: dict[str, Any] = {}
    for name, kind in _PLAIN.items():
        if given.get(name) is not None:
            chosen[name] = _checked(name, given[name], kind)
    chosen["redaction"] = _rules(given)
    chosen["web"] = WebOptions(
        **{ours: given[name] for name, ours in _WEB_KEYS.items() if name in given},
        secret_names=chosen["redaction"].names,
    )
    chosen |= _callbacks(given)
    names = _models(given, "exclude_models"), _models(given, "include_models")
    chosen["excluded"] = (_EXCLUDED | names[0]) - names[1]
    chosen["only"] = _models(given, "only_models")
    chosen["settings_models"] = _listed(given, "settings_models", "site.Preferences")
    if chosen.get("on_failure", "spool") not in ("spool", "raise", "drop"):
        raise ConfigError("WHODID['on_failure']: expected spool, raise or drop")
    if chosen.get("bulk_limit", 1) < 1:
        raise ConfigError("WHODID['bulk_limit']: expected a number of rows above 0")
    return Settings(**chosen)


def _checked(name: str, value: object, kind: type) -> object:
    if kind is str and isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"WHODID[{name!r}]: expected {kind.__name__}, got {type(value).__name__}")
    return value


def _callbacks(given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, ours in (("actor", "find_actor"), ("authorize", "authorize")):
        if given.get(name) is not None:
            found[ours] = _callback(name, given[name])
    tenant = given.get("tenant")
    if isinstance(tenant, str) and "." not in tenant:
        found["tenant"] = tenant
    elif tenant is not None:
        found["find_tenant"] = _callback("tenant", tenant)
    return found


def _callback(name: str, given: Any) -> Callback:  # whatever the project has there
    if callable(given):
        function: Callback = given
        return function
    try:
        found = import_string(given)
    except (ImportError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"WHODID[{name!r}]: expected a function or the path of one such as "
            f"'shop.audit.{name}'; {error}"
        ) from error
    if not callable(found):
        raise ConfigError(f"WHODID[{name!r}]: {given} is no function")
    return found  # type: ignore[no-any-return]  # whatever the project has there


def _rules(given: Mapping[str, Any]) -> Rules:
    fields = given.get("redact_fields", {})
    if not isinstance(fields, Mapping):
        raise ConfigError("WHODID['redact_fields']: expected a dict such as {'salary': 'hash'}")
    names = _listed(given, "redact_names", "loyalty_number")
    return Rules(names=SECRET_NAMES | frozenset(names), fields=fields)


def _models(given: Mapping[str, Any], name: str) -> frozenset[str]:
    return frozenset(each.lower() for each in _listed(given, name, "shop.Invoice"))


def _listed(given: Mapping[str, Any], name: str, example: str) -> tuple[str, ...]:
    listed = given.get(name, ())
    # One text would be taken for a list of its letters.
    if not isinstance(listed, Collection) or isinstance(listed, str | bytes | Mapping):
        raise ConfigError(f"WHODID[{name!r}]: expected a list of names such as {example}")
    return tuple(map(str, listed))


# -- the log -------------------------------------------------------------------------------------

_lock = threading.Lock()
_log: tuple[tuple[object, ...], AuditLog] | None = None


def get_audit() -> AuditLog:
    """The project's log, made at first use.

    Raises:
        ConfigError: A setting is wrong.
    """
    global _log
    settings = get_settings()
    key = _key_of(settings)
    known = _log
    if known is not None and known[0] == key:
        return known[1]
    with _lock:
        if _log is None or _log[0] != key:
            replaced, _log = _log, (key, _make(settings))
            if replaced is not None:
                replaced[1].close()  # what it holds is written, what it spooled is free to all
        return _log[1]


def holds_log(using: str) -> bool:
    """Is the log in the database with this alias?"""
    settings = get_settings()
    return settings.url is None and settings.database == using


def _key_of(settings: Settings) -> tuple[object, ...]:
    # The name of a database changes when tests begin: their log, and what could not be written
    # to it, must never be taken for the real one's.
    name = None if settings.url else connections[settings.database].settings_dict["NAME"]
    return (
        settings.url, settings.outbox, settings.key, settings.database, name, settings.app,
        settings.tenant, settings.on_failure, settings.spool, settings.buffer, settings.redaction,
    )  # fmt: skip


def _make(settings: Settings) -> AuditLog:
    from whodid.capture.django.people import DjangoDescriber

    alias = settings.database
    store = settings.url or hosted_store(alias)
    return AuditLog(
        store,
        app=settings.app or _project_name(),
        tenant=settings.tenant,
        on_failure=settings.on_failure,  # type: ignore[arg-type]  # checked when it was read
        spool=settings.spool or _spool_of(store),
        buffer=settings.buffer,
        outbox=settings.outbox,
        key=settings.key,
        redaction=settings.redaction,
        describers=[DjangoDescriber()],
        opens_late=settings.on_failure != "raise",  # else every request would fail until it does
        is_lasting=lambda: settings.url is not None or not connections[alias].in_atomic_block,
    )


def hosted_store(alias: str) -> EventStore:
    """The store in the project's own database.

    Raises:
        ConfigError: It is of a kind that there is no store for.
    """
    connection = connections[alias]
    if connection.vendor == "sqlite":
        return _hosted_sqlite(alias)
    if connection.vendor == "postgresql":
        return _hosted_postgres(alias)
    raise ConfigError(
        f"WHODID: no log can be kept in a database of {connection.vendor} yet; "
        "set 'url' to sqlite:////path/to/audit.db, or 'database' to an alias of SQLite or "
        "PostgreSQL"
    )


def _hosted_sqlite(alias: str) -> HostedSqliteStore:
    connection = connections[alias]
    name = str(connection.settings_dict["NAME"])
    in_memory = connection.is_in_memory_db()  # type: ignore[attr-defined]  # SQLite has it

    @contextmanager
    def connect() -> Iterator[Any]:
        own = connections[alias]
        try:
            own.ensure_connection()
        except SynchronousOnlyOperation:
            _connect_beside_loop(own)
        yield own.connection

    return HostedSqliteStore(connect, path=None if in_memory else Path(name))


def _hosted_postgres(alias: str) -> EventStore:
    try:
        from whodid.stores.postgres_hosted import HostedPostgresStore
    except ImportError as error:
        raise ConfigError(
            "WHODID: a log in PostgreSQL needs psycopg 3; pip install 'whodid[django,postgres]'"
        ) from error

    @contextmanager
    def connect() -> Iterator[Any]:
        own = connections[alias]
        try:
            own.ensure_connection()
        except SynchronousOnlyOperation:
            _connect_beside_loop(own)
        yield own.connection

    return HostedPostgresStore(connect, _url_of(alias), is_test=hasattr(mail, "outbox"))


def _url_of(alias: str) -> str:
    """How libpq reaches the database that Django reaches with its settings."""
    from psycopg.conninfo import make_conninfo

    given: dict[str, Any] = dict(connections[alias].get_connection_params())
    known = {name: given[name] for name in _LIBPQ if given.get(name) not in (None, "")}
    return make_conninfo("", **known)


_LIBPQ = (
    "service", "dbname", "user", "password", "host", "port", "options", "passfile", "sslmode",
    "sslrootcert", "sslcert", "sslkey", "connect_timeout", "target_session_attrs",
)  # fmt: skip


def _connect_beside_loop(own: Any) -> None:
    """Have a connection in the thread of an event loop, where Django opens none.

    It is for us alone there, and no task comes in between while an event is written: what Django
    guards against can't happen. Writing blocks the loop, as in every async host.
    """
    if own.connection is None:
        with ThreadPoolExecutor(1) as beside:
            beside.submit(own.ensure_connection).result()


def _spool_of(store: object) -> str | None:
    """A folder for what can't be written, made at first need; None where the log knows one.

    For a database in memory it is this log's own. Nobody can have put events there: its name is a
    secret until then.
    """
    if isinstance(store, str) or hasattr(store, "path"):
        return None
    if isinstance(store, HostedSqliteStore):
        return str(Path(tempfile.gettempdir()) / f"whodid-spool-{secrets.token_hex(16)}")
    return str(Path(getattr(project, "BASE_DIR", None) or Path.cwd()) / "whodid-spool")


def _project_name() -> str:
    return str(project.SETTINGS_MODULE or "django").partition(".")[0]


def _forget(*, setting: str, **_: object) -> None:
    if setting == "WHODID":
        get_settings.cache_clear()


setting_changed.connect(_forget, dispatch_uid="whodid.conf")
