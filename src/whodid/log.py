"""`AuditLog`: what an application has of whodid. It records, and it reads what was recorded.

```python
audit = whodid.AuditLog("sqlite:///audit.db", app="billing")
audit.record("invoice.approve", actor=user, target=invoice, changes={"status": ("draft", "sent")})
audit.search("action:invoice.* outcome:failure 7d")
```

Here the parts are put together: the store that the URL names, the recorder that drafts, the
delivery that writes and knows what to do when that fails. What integrations need besides what an
application calls is here, too: `draft`, `write`, `deliver`, `failed`, `guarded`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import msgspec

from whodid import context
from whodid.access import Access
from whodid.canonical import Encoded
from whodid.delivery import (
    Buffered,
    Delivery,
    Direct,
    Notices,
    OnFailure,
    WhenFull,
    words_of,
)
from whodid.describe import Describer, target_of
from whodid.errors import AuditError, ConfigError, StoreUnavailableError, UnavailableError
from whodid.event import DEFAULT_TENANT, Event, Source, StoredEvent
from whodid.hash_key import find_hash_key
from whodid.query.parse import parse
from whodid.recorder import Recorder, check_words, prepare_draft
from whodid.redaction import Rules
from whodid.scope import Scope
from whodid.spool import Spool
from whodid.stores import EventStore, open_store
from whodid.times import Instant

if TYPE_CHECKING:
    from whodid.client import Client
    from whodid.outbox import Outbox
    from whodid.viewer.asgi import Authorize, ViewerApp

_logger = logging.getLogger("whodid")
_P = ParamSpec("_P")
_R = TypeVar("_R")
_FAILURES = ("spool", "raise", "drop")


class AuditLog:
    """One application's audit log. Safe for use from many threads and in async code."""

    def __init__(
        self,
        store: str | Path | EventStore,
        *,
        app: str | None = None,
        component: str | None = None,
        version: str | None = None,
        environment: str | None = None,
        tenant: str = DEFAULT_TENANT,
        on_failure: OnFailure = "spool",
        spool: str | Path | None = None,
        buffer: int = 0,
        when_full: WhenFull = "block",
        outbox: str | Path | None = None,
        key: str | None = None,
        redaction: Rules | None = None,
        describers: Sequence[Describer] = (),
        opens_late: bool = False,
        is_lasting: Callable[[], bool] = lambda: True,
    ) -> None:
        """Open the log, and make its database when there is none.

        Args:
            store: `sqlite:///audit.db`, the path of such a file, a store, or the URL of a server
                such as `https://audit.example.com`.
            app: What the application is called in its events.
            environment: E.g. `production`.
            tenant: Whose events these are where neither a call nor its context says.
            on_failure: What becomes of events that the store does not take: `spool` keeps them on
                the local disk and puts them back later, `raise` fails the caller as well (closed),
                `drop` goes on without them. What is lost is counted, logged and itself recorded.
            spool: Folder for those; beside the database's file when absent.
            buffer: So many events may wait in memory for a thread that writes them; a crash of the
                process loses those. 0: every event is durable when `record` returns.
            when_full: `block` the caller for up to 5 s, or `drop` the event.
            outbox: A SQLite file for what is on its way to a server: durable there when `record`
                returns, and sent in the background until the server has it.
            key: For the server, `whodid_…`; what the environment has as WHODID_KEY when absent.
            redaction: What is secret in this application.
            describers: Know the application's own objects.
            opens_late: A store that can't be opened now is one that can't be written now: events
                are dealt with as `on_failure` says, and it is tried again.
            is_lasting: As of `delivery.Direct`.

        Raises:
            ConfigError: The URL names no store, or an option can't be meant.
            StoreUnavailableError: The store can't be opened now.
        """
        if on_failure not in _FAILURES:
            raise ConfigError(f"on_failure: expected spool, raise or drop, got {on_failure!r}")
        self.outbox: Outbox | None = None
        self._client: Client | None = None
        self._store: EventStore | None = None
        if isinstance(store, str) and store.startswith(("http://", "https://")):
            self._client, self.outbox = _served(store, key=key, outbox=outbox)
        else:
            self._store = _opened(store, late=opens_late)
        self._owns_store = self._store is not store
        self.on_failure = on_failure
        self.tenant = tenant
        self.describers: list[Describer] = list(describers)
        self._rules = self._rules_with_key(redaction or Rules())
        self._recorder = Recorder(
            tenant=tenant,
            source=_source(app=app, component=component, version=version, environment=environment),
            describers=self.describers,
        )
        self._notices = Notices()
        self._redirected: Delivery | None = None
        self._spool = Spool(self._spool_folder(spool)) if on_failure == "spool" else None
        choices: dict[str, Any] = {
            "prepare": self.prepare,
            "on_failure": on_failure,
            "spool": self._spool,
            "is_lasting": is_lasting,
        }
        self._delivery: Direct | Buffered
        writer = self.outbox or self.store
        if buffer:
            self._delivery = Buffered(writer, capacity=buffer, when_full=when_full, **choices)
        else:
            self._delivery = Direct(writer, **choices)

    @property
    def store(self) -> EventStore:
        """Where the events are.

        Raises:
            ConfigError: On a server: they are read there, or with `search`, `get` and `history`.
        """
        if self._store is None:
            where = self._client.url if self._client is not None else "a server"
            raise ConfigError(f"the events of this log are at {where}; look at them there")
        return self._store

    # -- recording

    def record(self, action: str, **fields: Any) -> str | None:
        """Record that something was done; the event's id, None while recording is off.

        Durable on return, unless the log has a buffer, or the store failed and the choice was not
        to raise. Not idempotent, unless an `id` or `idempotency_key` is given.

        Args:
            action: `noun.verb`, e.g. `invoice.approve`.
            fields: See `Recorder.draft`: actor, target, targets, outcome, reason, message, changes,
                metadata, tenant, on_behalf_of, error, occurred_at, severity, tags …

        Raises:
            EventError: No such action or outcome can be.
            AuditError: It could not be written, and the choice is to raise.
        """
        if not context.is_recording():
            return None
        event = self._recorder.draft(action, **fields)
        self.deliver([event])
        return str(event.id)

    def scope(self, action: str, **fields: Any) -> Scope:
        """A piece of work that becomes one event: a context manager, and a decorator.

        Args:
            action: `noun.verb`.
            fields: As of `record`; the target is looked at before and after.

        Raises:
            EventError: No such action or outcome can be.
        """
        return Scope(self, action, fields)

    def context(self, **fields: Any) -> AbstractContextManager[None]:
        """What events of a block have in common: actor, tenant, on_behalf_of, request and others.

        Right in threads that were started with `carry`, in tasks, in generators, and nested.
        """
        return context.bind(**self._recorder.bound(fields))

    def disable(self) -> AbstractContextManager[None]:
        """Nothing is recorded in a block, in this thread or task."""
        return context.disabled()

    def carry(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """The function in the context of now, for another thread."""
        return context.carry(function)

    def settings_changed(self, name: str, old: Any, new: Any, **fields: Any) -> str | None:
        """Record that a setting has another value."""
        return self.record(
            "settings.update", target=("setting", name, name), changes={name: (old, new)}, **fields
        )

    # -- reading

    def search(
        self, query: str = "", *, tenant: str | None = None, access: Access | None = None,
        limit: int = 50,
    ) -> list[Event]:  # fmt: skip
        """The newest events that a search finds, in one tenant.

        Args:
            query: In the search language, e.g. `actor:ana outcome:failure 7d`.
            tenant: The context's, else the log's own, when absent.
            access: Who asks, instead of somebody who may read that tenant and nothing else. Not
                where the events are on a server: its key decides.

        Raises:
            QuerySyntaxError: Says at which character; a server's answer is an InvalidError.
            StoreUnavailableError: The store or the server can't be asked now.
        """
        if self._client is not None:
            return self._client.search(query, tenant=self._asked(tenant, access), limit=limit)
        found = self.store.page(
            parse(query, now=Instant.now()), access=access or self._reader(tenant), limit=limit
        )
        return [_with_time(stored) for stored in found.events]

    def get(
        self, event_id: str, *, tenant: str | None = None, access: Access | None = None
    ) -> Event | None:
        """The event with this id, None when there is none that may be seen.

        Raises:
            StoreUnavailableError: The store or the server can't be asked now.
        """
        if self._client is not None:
            return self._client.find(event_id, tenant=self._asked(tenant, access))
        stored = self.store.find(event_id, access=access or self._reader(tenant))
        return _with_time(stored) if stored else None

    def history(
        self, target: object, *, tenant: str | None = None, access: Access | None = None,
        limit: int = 50,
    ) -> list[Event]:  # fmt: skip
        """The newest events about an object, which need not exist any more."""
        return self.search(self.history_query(target), tenant=tenant, access=access, limit=limit)

    def history_query(self, target: object) -> str:
        """The search that finds an object's events."""
        found = target_of(target, self.describers)
        if not found.id:
            return f"target.type:{_quoted(found.type)}"
        return f"target.type:{_quoted(found.type)} target.id:{_quoted(found.id)}"

    def _asked(self, tenant: str | None, access: Access | None) -> str | None:
        """The tenant that a server is asked for; None is "all that the key may see"."""
        if access is not None:
            raise ConfigError(
                "access: the key decides what may be read from a server; leave it out"
            )
        known = context.current().tenant
        found = tenant or (known.id if known else self.tenant)
        return found if found != DEFAULT_TENANT else None

    def _reader(self, tenant: str | None) -> Access:
        known = context.current().tenant
        return Access.reader({tenant or (known.id if known else self.tenant)})

    def viewer(self, authorize: Authorize, *, zone: str = "UTC") -> ViewerApp:
        """The pages, as an ASGI application to mount.

        Args:
            authorize: Says what the caller of a request may see; None is nothing.
            zone: IANA name of the zone for times where the address names none.
        """
        from whodid.viewer.asgi import ViewerApp
        from whodid.viewer.pages import Viewer

        return ViewerApp(Viewer(self.store, zone=zone), authorize)

    # -- for integrations

    @property
    def rules(self) -> Rules:
        """What is secret in this application."""
        return self._rules

    @property
    def is_buffered(self) -> bool:
        """Does `deliver` only put events into a queue?"""
        return isinstance(self._delivery, Buffered)

    @property
    def delivery(self) -> Delivery:
        """Where events go now."""
        return self._redirected or self._delivery

    def ensure_open(self) -> None:
        """Return if the store is open, also where it may open late.

        Raises:
            StoreUnavailableError: It is not, and can't be opened now.
        """
        from whodid.stores.late import LateStore

        if isinstance(self._store, LateStore):
            self._store.open()

    def check(self, action: str, *, outcome: str | None = None) -> None:
        """Return if such an event can be.

        Raises:
            EventError: It can't.
        """
        check_words(action, outcome=outcome)

    def draft(self, action: str, **fields: Any) -> Event:
        """An event that is not delivered yet; see `Recorder.draft`."""
        return self._recorder.draft(action, **fields)

    def prepare(self, event: Event) -> Encoded:
        """The event as it is stored: checked, redacted, encoded.

        Raises:
            EventError: It breaks the schema.
        """
        return prepare_draft(event, rules=self._rules)

    def write(self, events: Sequence[Event], *, connection: object = None) -> None:
        """Write events now, in the transaction that is open on a connection of the store's kind.

        Durable when that commits. What can never be stored is left out, and counted, unless the
        log fails closed.

        Raises:
            AuditError: They were not written; nothing of them is in the transaction.
        """
        if self._redirected is not None:
            self._redirected.deliver(events)
            return
        batch = self._delivery.prepared(events)
        if batch:
            self.store.append(batch, connection=connection)

    def deliver(self, events: Sequence[Event]) -> None:
        """Have events written, in the way and with the care that were chosen.

        Raises:
            AuditError: They could not be, and the choice is to raise.
        """
        self.delivery.deliver(events)

    def failed(self, events: Sequence[Event], error: Exception) -> None:
        """Do what was agreed on with events that an integration could not write.

        Raises:
            AuditError: The choice is to raise.
        """
        self.delivery.failed(events, error)

    def guarded(self, where: str) -> Guard:
        """Code of ours inside a request of the host's, which must not fail because of it.

        What is raised inside is logged, at most once a minute, and ends the block; but if the log
        fails closed it goes on, as an AuditError.

        Args:
            where: A word for the line in the log, e.g. `django.orm`.
        """
        return Guard(self.on_failure == "raise", self._notices, where)

    @contextmanager
    def redirected(self, delivery: Delivery) -> Iterator[None]:
        """Give events to another delivery while a block runs, in all threads: for tests."""
        before, self._redirected = self._redirected, delivery
        try:
            yield
        finally:
            self._redirected = before

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until all that was recorded is written, or a server has it.

        Returns:
            False when `timeout_s` seconds passed before that.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        if not self.delivery.flush(timeout_s):
            return False
        if self.outbox is None:
            return True
        return self.outbox.flush(None if until is None else max(until - time.monotonic(), 0.0))

    def close(self) -> None:
        """Write what waits, and let go of the store. Idempotent."""
        self._delivery.close()
        if self._spool is not None:
            self._spool.close()
        if self.outbox is not None:
            self.outbox.close()
        if self._client is not None:
            self._client.close()
        if self._store is not None and self._owns_store:
            self._store.close()

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _beside(self, what: str) -> Path | None:
        """The path of a companion of the database's file, None where there is no file."""
        path = getattr(self.outbox or self._store, "path", None)
        return path.with_name(f"{path.name}-{what}") if isinstance(path, Path) else None

    def _rules_with_key(self, rules: Rules) -> Rules:
        if not rules.needs_hash_key:
            return rules
        key = find_hash_key(self._beside("hash-key"))
        return Rules(names=rules.names, fields=rules.fields, hash_key=key)

    def _spool_folder(self, given: str | Path | None) -> Path:
        folder = Path(given) if given is not None else self._beside("spool")
        if folder is None:
            raise ConfigError(
                "spool: name a folder for events that can't be written, since this store is no "
                "file; or choose on_failure='raise' or 'drop'"
            )
        return folder


class Guard:
    """See `AuditLog.guarded`. A class, since this stands around every change that is captured."""

    __slots__ = ("_is_strict", "_notices", "_where")

    def __init__(self, is_strict: bool, notices: Notices, where: str) -> None:
        self._is_strict, self._notices, self._where = is_strict, notices, where

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        if self._is_strict:
            if isinstance(error, AuditError):
                return False
            raise UnavailableError(
                f"{self._where}: an event could not be made: {type(error).__name__}"
            ) from error
        self._notices.say(
            self._where,
            f"{self._where}: an event may be missing ({{count}} times): {words_of(error)}",
        )
        _logger.debug("%s: what went wrong", self._where, exc_info=error)
        return True


def _opened(store: str | Path | EventStore, *, late: bool) -> EventStore:
    if isinstance(store, Path):
        store = str(store)
    if not isinstance(store, str):
        return store
    url = store if "://" in store else f"sqlite:///{store}"
    try:
        return open_store(url)
    except StoreUnavailableError as error:
        if not late:
            raise
        from whodid.stores.late import LateStore

        path = Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None
        found: Any = LateStore(partial(open_store, url), error, path=path)  # has all of a store's
        return found  # type: ignore[no-any-return]


def _served(url: str, *, key: str | None, outbox: str | Path | None) -> tuple[Client, Outbox]:
    if outbox is None:
        raise ConfigError(
            "outbox: name a file for events that are on their way to the server, such as "
            "outbox='audit-outbox.db'; it must be on a disk that lasts"
        )
    # Loaded for those who have a server: http and ssl are a tenth of what this module costs.
    from whodid.client import Client
    from whodid.outbox import Outbox

    client = Client(url, key=key or os.environ.get("WHODID_KEY") or None)
    return client, Outbox(outbox, client.send)


def _source(**values: str | None) -> Source | None:
    given = {name: value for name, value in values.items() if value}
    return Source(**given) if given else None


def _with_time(stored: StoredEvent) -> Event:
    """The event as it was recorded; one whose sender named no time has that of its receipt."""
    if stored.event.occurred_at:
        return stored.event
    return msgspec.structs.replace(stored.event, occurred_at=stored.received_at)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
