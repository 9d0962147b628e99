"""Events of a database that does not hold the log: kept beside the change until the log has them.

Two databases can't commit together. So an event is written into the table `whodid_waiting` in the
transaction of its change, given to the log right after the commit, and deleted with the next
transaction that keeps one: no commit more than without us, and no thread that writes to the host's
database. What a crash leaves behind is given to the log when the host connects again, at most once
a minute; the log knows ids, so that nothing is there twice.

Not here: which events these are, and when they are written (`unit`).
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from django.db import connections
from django.db.backends.signals import connection_created

from whodid import event as events_module
from whodid.capture.django.conf import get_audit, holds_log
from whodid.capture.django.guard import claimed
from whodid.errors import EventError
from whodid.event import Event

TABLE = "whodid_waiting"
LEFT_AFTER_S = 60.0  # younger ones are still on their way
LOOK_EVERY_S = 60.0
_AT_ONCE = 500

_write = msgspec.json.Encoder(enc_hook=events_module.write_hook).encode
_lock = threading.Lock()
_kept: dict[str, str] = {}  # event's id → alias, until the log has it
_done: defaultdict[str, list[str]] = defaultdict(list)  # alias → ids that may be deleted
_looked_at: dict[str, float] = {}


def install(settings: object) -> None:
    """Look for what was left behind whenever the host connects. Idempotent."""
    connection_created.connect(_look_on_connect, dispatch_uid="whodid.handoff")


def create_table(schema_editor: Any) -> None:
    """Make the table, unless it is there. For Django's migrations, in every database."""
    connection = schema_editor.connection
    if TABLE not in connection.introspection.table_names():
        schema_editor.execute(
            f"CREATE TABLE {TABLE} (id varchar(36) NOT NULL PRIMARY KEY, "
            "added_at bigint NOT NULL, body text NOT NULL)"
        )


def keep(connection: Any, events: Sequence[Event]) -> None:
    """Write events into the open transaction, and delete those that the log has by now.

    In a savepoint: a failure leaves the transaction as it was.

    Raises:
        Exception: Of the database's; the table may be missing.
    """
    alias, now = connection.alias, int(time.time())
    rows = [(each.event.id, now, _write(each.event).decode()) for each in _prepared(events)]
    with _lock:
        gone, _done[alias] = _done[alias], []
    try:
        with claimed(), _savepoint(connection), connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {TABLE} (id, added_at, body) VALUES (%s, %s, %s)", rows
            )
            _delete(cursor, gone)
    except BaseException:
        with _lock:
            _done[alias] += gone
        raise
    with _lock:
        _kept.update((row[0], alias) for row in rows)


@contextmanager
def _savepoint(connection: Any) -> Iterator[None]:
    # Not `atomic`: Django is about to commit and would take this for another transaction.
    name = "whodid_keep"
    connection._savepoint(name)
    try:
        yield
    except BaseException:
        connection._savepoint_rollback(name)
        connection._savepoint_commit(name)
        raise
    connection._savepoint_commit(name)


def _prepared(events: Sequence[Event]) -> list[Any]:
    """As they are stored: what waits is redacted."""
    audit = get_audit()
    prepared = []
    for each in events:
        try:
            prepared.append(audit.prepare(each))
        except EventError:
            continue  # can never be stored; who delivers it counts that and says so
    return prepared


def taken(events: Sequence[Event]) -> None:
    """The log has these events, or what was agreed on for failures has been done."""
    with _lock:
        for each in events:
            alias = _kept.pop(str(each.id), None)
            if alias is not None:
                _done[alias].append(str(each.id))


def look(alias: str) -> int:
    """Give to the log what was left behind in a database, and delete it there; how many.

    Raises:
        Exception: Of the database's; the table may be missing.
        AuditError: The log can't take them now, and fails closed.
    """
    connection = connections[alias]
    found = 0
    for rows in _left(connection):
        events = [events_module.decode(body.encode()) for _, body in rows]
        get_audit().deliver(events)
        with claimed(), connection.cursor() as cursor:
            _delete(cursor, [number for number, _ in rows])
        found += len(rows)
    return found


def _left(connection: Any) -> Iterator[list[tuple[str, str]]]:
    last = ""
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id, body FROM {TABLE} WHERE added_at <= %s AND id > %s "
                f"ORDER BY id LIMIT {_AT_ONCE}",
                (int(time.time() - LEFT_AFTER_S), last),
            )
            rows = cursor.fetchall()
        if not rows:
            return
        yield rows
        last = rows[-1][0]


def _delete(cursor: Any, ids: Sequence[str]) -> None:
    for start in range(0, len(ids), _AT_ONCE):
        part = ids[start : start + _AT_ONCE]
        cursor.execute(f"DELETE FROM {TABLE} WHERE id IN ({', '.join(['%s'] * len(part))})", part)


def look_now_and_then(connection: Any) -> None:
    """Look into a database that the host has open, at most once a minute. Never raises."""
    alias = connection.alias
    # Asked first: while the log is being made it connects here, and can't be asked for itself.
    if holds_log(alias):
        return
    if time.monotonic() - _looked_at.get(alias, -LOOK_EVERY_S) < LOOK_EVERY_S:
        return
    _looked_at[alias] = time.monotonic()
    with get_audit().guarded("events that a crash left behind"):
        if TABLE in connection.introspection.table_names():
            look(alias)


def _look_on_connect(connection: Any, **_: object) -> None:
    look_now_and_then(connection)
