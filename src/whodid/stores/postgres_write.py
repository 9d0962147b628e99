"""Appending to PostgreSQL: what an event is stored as, and that it is stored once.

An append inserts three things at most: the event, its key, and the idempotency key. Index, position
and columns come from the sealer (`postgres_seal`), so that no append waits for another but for one
with the same id or key.

In the store's own transactions, doubles are looked up and compared first; somebody who stores the
same in the same moment is noticed by the keys, and then it is looked up again. In a transaction of
the host's the right to INSERT is enough: there, what the keys let pass is new, and doubles are
compared only where the connection may read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString, TypeAlias, TypeVar
from uuid import UUID

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow, tuple_row

from whodid.errors import ConfigError, ConflictError, StoreUnavailableError
from whodid.stores.base import ApiKey, Batch, Receipt
from whodid.stores.doubles import (
    Doubles,
    EventId,
    EventKey,
    Ready,
    Stamped,
    Stored,
    stamp,
    uuid_text,
    wanted,
)
from whodid.stores.postgres_connections import Connection
from whodid.stores.postgres_tables import (
    COPY_FROM,
    Table,
    number_array,
    text_array,
    uuid_array,
)
from whodid.times import Instant

MAX_TRIES = 20
_Cursor: TypeAlias = psycopg.Cursor[TupleRow]
_New = TypeVar("_New", bound=Stamped)
_SELECT_KEY = "SELECT value FROM whodid_setting WHERE name = 'index_key'"

_INSERT = """
WITH stored AS (
  INSERT INTO whodid_event (id, tenant, received_at, body, secret)
  SELECT id, tenant, received_at, body, secret FROM unnest(
    %s::uuid[], %s::bytea[], %s::bigint[], %s::bytea[], %s::bytea[]
  ) WITH ORDINALITY AS g (id, tenant, received_at, body, secret, place) ORDER BY place
)
INSERT INTO whodid_event_key (id, tenant, received_at)
SELECT id, tenant, received_at FROM unnest(%s::uuid[], %s::bytea[], %s::bigint[])
AS k (id, tenant, received_at) ORDER BY id, tenant ON CONFLICT DO NOTHING
"""
_INSERT_KEYS = """
INSERT INTO whodid_event_key (id, tenant, received_at)
SELECT id, tenant, received_at FROM unnest(%s::uuid[], %s::bytea[], %s::bigint[])
AS k (id, tenant, received_at) ORDER BY id, tenant ON CONFLICT DO NOTHING
"""
_INSERT_NAMES = """
INSERT INTO whodid_idempotency (tenant, app, key, id)
SELECT tenant, app, key, id FROM unnest(%s::bytea[], %s::bytea[], %s::bytea[], %s::uuid[])
AS k (tenant, app, key, id) ORDER BY tenant, app, key ON CONFLICT DO NOTHING
"""
_EVENTS = Table(
    "whodid_event",
    ("id", "tenant", "received_at", "body", "secret"),
    ("uuid", "bytea", "int8", "bytea", "bytea"),
)
# Each looked up by its index: OFFSET keeps the planner from joining whole tables.
_OF_WANTED = (
    "JOIN LATERAL (SELECT b.arrival, b.tenant, b.id, b.received_at, b.body, b.gone "
    "FROM whodid_event_key AS k JOIN whodid_event AS b USING (id, tenant, received_at) "
    "WHERE k.id = w.id AND k.tenant = w.tenant OFFSET 0) AS e ON TRUE"
)
_SEALED_OF = (
    'JOIN LATERAL (SELECT z."index" FROM whodid_sealed AS z WHERE z.arrival = e.arrival '
    "AND z.received_at = e.received_at OFFSET 0) AS s ON TRUE"
)


class _Taken(Exception):
    """Somebody stored an event under one of these ids or keys a moment ago."""


def append_ready(
    connection: Connection, batches: Sequence[Batch], ready: Sequence[Sequence[Ready]]
) -> list[list[Ready | Stored] | ConflictError]:
    """Store batches in one transaction of ours; for each what answers its events.

    Not durable before the sealer's next commit: this one doesn't wait for the disk, the sealer's
    does, and takes this one along. A crash before leaves nothing, and nothing was acknowledged.

    Raises:
        StoreUnavailableError: Others stored the same over and over.
    """
    for _ in range(MAX_TRIES):
        try:
            with connection.transaction(), connection.cursor() as cursor:
                doubles = _find_doubles(connection, batches, ready)
                answers = [
                    doubles.take(events, batch=batch)
                    for batch, events in zip(batches, ready, strict=True)
                ]
                fresh = _new_events(answers, ready)
                if fresh:
                    cursor.execute("SET LOCAL synchronous_commit = off")
                    _insert(cursor, fresh)
                return answers
        except _Taken:
            continue
    raise StoreUnavailableError("others store the same events all the time; try again")


def _new_events(
    answers: Sequence[list[Ready | Stored] | ConflictError], ready: Sequence[Sequence[Ready]]
) -> list[Ready]:
    return [
        event
        for answer, events in zip(answers, ready, strict=True)
        if not isinstance(answer, ConflictError)
        for given, event in zip(answer, events, strict=True)
        if given is event
    ]


def _insert(cursor: _Cursor, events: Sequence[Stamped]) -> None:
    """Insert events that are new, with the right to INSERT alone; the number of rows tells.

    Raises:
        _Taken: One is stored already, or its idempotency key is.
    """
    keys = _key_columns(events)
    keyed = [(key, event.id) for event in events if (key := event.key)]
    if keyed:
        tenants, apps, names = (text_array(key[part] for key, _ in keyed) for part in range(3))
        ids = uuid_array(event_id for _, event_id in keyed)
        _insert_all(cursor, _INSERT_NAMES, (tenants, apps, names, ids), count=len(keyed))
    if len(events) < COPY_FROM:
        bodies, seeds = [event.body for event in events], [event.seed for event in events]
        _insert_all(cursor, _INSERT, (*keys, bodies, seeds, *keys), count=len(events))
        return
    _insert_all(cursor, _INSERT_KEYS, keys, count=len(events))
    _EVENTS.put(
        cursor,
        [
            (UUID(bytes=event.packed_id), event.tenant.encode(), event.received_at.micros,
             event.body, event.seed)
            for event in events
        ],
    )  # fmt: skip


def _insert_all(
    cursor: _Cursor, statement: LiteralString, params: Sequence[object], *, count: int
) -> None:
    cursor.execute(statement, params)
    if cursor.rowcount != count:
        raise _Taken


def _key_columns(events: Sequence[Stamped]) -> tuple[str, str, str]:
    return (
        uuid_array(event.id for event in events),
        text_array(event.tenant for event in events),
        number_array(event.received_at.micros for event in events),
    )


def _find_doubles(
    connection: Connection | _Cursor, batches: Sequence[Batch], events: Sequence[Sequence[_New]]
) -> Doubles[_New]:
    """What is stored under the ids and keys that the senders gave."""
    doubles: Doubles[_New] = Doubles()
    ids, keys = wanted(batches, events)
    if keys:
        doubles.by_key = _find_keys(connection, sorted(keys))
        ids |= {(tenant, packed) for (tenant, _, _), packed in doubles.by_key.items()}
    if ids:
        doubles.by_id |= _find_ids(connection, sorted(ids))
    return doubles


def _find_keys(connection: Connection | _Cursor, keys: Sequence[EventKey]) -> dict[EventKey, bytes]:
    rows = connection.execute(
        "SELECT i.tenant, i.app, i.key, i.id FROM "
        "unnest(%s::bytea[], %s::bytea[], %s::bytea[]) AS w (tenant, app, key) "
        "JOIN whodid_idempotency AS i USING (tenant, app, key) ORDER BY tenant, app, key",
        tuple([key[part].encode() for key in keys] for part in range(3)),
    )
    return {
        (tenant.decode(), app.decode(), key.decode()): event_id.bytes
        for tenant, app, key, event_id in rows
    }


def _find_ids(connection: Connection | _Cursor, ids: Sequence[EventId]) -> dict[EventId, Stored]:
    rows = connection.execute(
        'SELECT e.tenant, e.id, s."index", e.received_at, e.body, e.gone FROM '
        "unnest(%s::bytea[], %s::uuid[]) AS w (tenant, id) "
        f"{_OF_WANTED} LEFT {_SEALED_OF} "
        "ORDER BY e.arrival",
        ([tenant.encode() for tenant, _ in ids], [uuid_text(packed) for _, packed in ids]),
    )
    return {
        (tenant.decode(), event_id.bytes): Stored(
            str(event_id), tenant.decode(), index, received_at, body, gone
        )
        for tenant, event_id, index, received_at, body, gone in rows
    }


def find_indexes(connection: Connection, ids: Sequence[EventId]) -> dict[EventId, int]:
    """The index of each of these events that is sealed."""
    rows = connection.execute(
        'SELECT e.tenant, e.id, s."index" FROM '
        "unnest(%s::bytea[], %s::uuid[]) AS w (tenant, id) "
        f"{_OF_WANTED} {_SEALED_OF} "
        "ORDER BY e.arrival",
        ([tenant.encode() for tenant, _ in ids], [uuid_text(packed) for _, packed in ids]),
    )
    return {(tenant.decode(), event_id.bytes): index for tenant, event_id, index in rows}


# -- in the host's transaction


def append_within(given: psycopg.Connection[Any], batch: Batch) -> list[Receipt]:
    """Store a batch in the transaction that is open on a connection of the host's.

    Durable when the host commits; on a connection in autocommit, when it returns. In a savepoint: a
    failure leaves the host's transaction as it was. Needs the right to INSERT into whodid_event,
    whodid_event_key and whodid_idempotency, and no other.

    Receipts have no index: what isn't committed can't be sealed. Where the connection may not read,
    an event that was stored before is a duplicate whatever its body, and its receipt has the time
    of this call.

    Raises:
        ConflictError: One of them was stored before with another body, and the connection may read.
    """
    events = stamp(batch)
    with psycopg.Cursor(given, row_factory=tuple_row) as cursor:
        try:
            with _within(given, cursor):
                _insert(cursor, events)
                return [_unsealed(event, duplicate=False) for event in events]
        except _Taken:
            pass  # and now with a look at what there is
        with _within(given, cursor):
            if _may_read(cursor):
                return _append_compared(cursor, batch, events)
            return [_append_unread(cursor, event) for event in events]


def _append_compared(cursor: _Cursor, batch: Batch, events: Sequence[Stamped]) -> list[Receipt]:
    doubles = _find_doubles(cursor, [batch], [events])
    answers = doubles.take(events, batch=batch)
    if isinstance(answers, ConflictError):
        raise answers
    fresh = [event for answer, event in zip(answers, events, strict=True) if answer is event]
    try:
        _insert(cursor, fresh)
    except _Taken:
        raise StoreUnavailableError("another transaction came between; try again") from None
    return [
        _unsealed(answer, duplicate=answer is not event)
        if isinstance(answer, Stamped)
        else answer.receipt(duplicate=True)
        for answer, event in zip(answers, events, strict=True)
    ]


def _append_unread(cursor: _Cursor, event: Stamped) -> Receipt:
    try:
        cursor.execute("SAVEPOINT whodid_one")
        _insert(cursor, [event])
        cursor.execute("RELEASE whodid_one")
    except _Taken:
        cursor.execute("ROLLBACK TO whodid_one")
        return _unsealed(event, duplicate=True)
    return _unsealed(event, duplicate=False)


def _may_read(cursor: _Cursor) -> bool:
    cursor.execute(
        "SELECT bool_and(has_table_privilege(name, 'SELECT')) FROM unnest(%s::text[]) AS t (name)",
        (["whodid_event", "whodid_event_key", "whodid_idempotency", "whodid_sealed"],),
    )
    row = cursor.fetchone()
    return row is not None and row[0] is True


def _unsealed(event: Stamped, *, duplicate: bool) -> Receipt:
    return Receipt(
        id=event.id,
        tenant=event.tenant,
        index=None,
        received_at=event.received_at,
        duplicate=duplicate,
    )


@contextmanager
def _within(given: psycopg.Connection[Any], cursor: _Cursor) -> Iterator[None]:
    """A savepoint in the host's transaction; a transaction where the host wants none."""
    status = given.info.transaction_status
    if status == TransactionStatus.INERROR:
        raise StoreUnavailableError(
            "the transaction of this connection has failed before; roll it back first"
        )
    # Without autocommit the driver begins the host's transaction before our first statement.
    is_own = given.autocommit and status == TransactionStatus.IDLE
    begin, undo, end = (
        (["BEGIN"], ["ROLLBACK"], ["COMMIT"])
        if is_own
        else (
            ["SAVEPOINT whodid_append"],
            ["ROLLBACK TO whodid_append", "RELEASE whodid_append"],
            ["RELEASE whodid_append"],
        )
    )
    _execute_all(cursor, begin)
    try:
        yield
    except BaseException:
        if given.info.transaction_status != TransactionStatus.UNKNOWN:  # a lost connection
            _execute_all(cursor, undo)
        raise
    _execute_all(cursor, end)


def _execute_all(cursor: _Cursor, statements: Sequence[LiteralString]) -> None:
    for statement in statements:
        cursor.execute(statement)


def as_connection(given: object) -> psycopg.Connection[Any]:
    """The raw connection that an integration gave; its rows are the host's, hence `Any`.

    Raises:
        ConfigError: It is none of psycopg's, or one to be awaited.
    """
    if not isinstance(given, psycopg.Connection):
        raise ConfigError(
            f"connection: expected a psycopg.Connection, got {type(given).__name__}; give the raw "
            "connection of psycopg 3, not what an ORM wraps around it"
        )
    return given


# -- the rest


def index_key(connection: Connection) -> bytes:
    """The store's own 32-byte key for hashes of ids and for cursors, made at first use."""
    row = connection.execute(_SELECT_KEY).fetchone()
    if row is None:
        connection.execute(
            "INSERT INTO whodid_setting (name, value) VALUES ('index_key', %s) "
            "ON CONFLICT DO NOTHING",
            (os.urandom(32),),
        )
        row = connection.execute(_SELECT_KEY).fetchone()
    if row is None:
        raise StoreUnavailableError("the index key of the log is gone; restore a backup")
    return bytes(row[0])


def touch(connection: Connection, *, now: Instant) -> None:
    """Prove that a durable write works."""
    connection.execute(
        "INSERT INTO whodid_counter (name, value) VALUES ('checked_at', %s) "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (now.micros,),
    )


def add_key(connection: Connection, key: ApiKey) -> None:
    """Store a credential."""
    connection.execute(
        "INSERT INTO whodid_api_key (id, name, tenant, scopes, digest, created_at, expires_at) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (
            key.id,
            key.name.encode(),
            key.tenant.encode(),
            " ".join(sorted(key.scopes)),
            key.digest,
            key.created_at.micros,
            key.expires_at.micros if key.expires_at else None,
        ),
    )
