"""Appending to SQLite: one transaction that stores, finds doubles, and seals.

Order inside the transaction: the counter and the trees' states are read (never kept in memory,
since other processes write too), doubles are answered, the rest gets index and position,
everything is inserted, states and counter are written. A crash anywhere leaves nothing; a commit
leaves all.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum

from whodid import canonical
from whodid.canonical import SEED_BYTES, Encoded
from whodid.errors import ConflictError
from whodid.ids import uuid7, uuid_bytes
from whodid.ledger.merkle import Frontier, leaf_hash
from whodid.stores.base import ApiKey, Receipt
from whodid.stores.rows import Columns, derive, log_id, reference_hash
from whodid.times import Instant

CODEC_RAW = 0
_MAX_CACHED_REFS = 200_000


class DictKind(IntEnum):
    """What a dictionary value is. Stored: never renumber."""

    TENANT = 1
    ACTOR = 2
    ACTION = 3
    APP = 4
    COUNTRY = 5
    AGENT = 6


DictKey = tuple[int, int, str]  # tenant, kind, value


@dataclass(slots=True)
class _Tree:
    """One tenant's tree inside a transaction."""

    tenant: str
    frontier: Frontier


@dataclass(frozen=True, slots=True)
class _Stored:
    """What is there already under an id or key."""

    receipt: Receipt
    body: bytes
    gone: bytes | None


@dataclass(slots=True)
class _Transaction:
    """All that one append learns and will insert."""

    connection: sqlite3.Connection
    key: bytes
    position: int
    cache: dict[DictKey, int]
    learnt: dict[DictKey, int] = field(default_factory=dict)
    trees: dict[int, _Tree] = field(default_factory=dict)
    by_id: dict[tuple[int, str], _Stored] = field(default_factory=dict)
    by_idempotency: dict[tuple[int, int, str], str] = field(default_factory=dict)
    events: list[tuple[object, ...]] = field(default_factory=list)
    leaves: list[tuple[int, int, bytes, int]] = field(default_factory=list)
    refs: list[tuple[int, int, int, int]] = field(default_factory=list)

    def ref(self, tenant: int, kind: DictKind, value: str) -> int:
        """The number of a text value, learnt when it is new; 0 for the empty text."""
        if not value:
            return 0
        wanted = (tenant, int(kind), value)
        known = self.cache.get(wanted) or self.learnt.get(wanted)
        if known is None:
            row = (
                self.connection.execute(
                    "SELECT ref FROM whodid_dict WHERE tenant = ? AND kind = ? AND val = ?", wanted
                ).fetchone()
                or self.connection.execute(
                    "INSERT INTO whodid_dict (tenant, kind, val) VALUES (?, ?, ?) RETURNING ref",
                    wanted,
                ).fetchone()
            )
            known = self.learnt[wanted] = int(row[0])
        return known

    def tree(self, tenant_ref: int, tenant: str) -> _Tree:
        """The tenant's tree as of the beginning of this transaction plus what was added in it."""
        known = self.trees.get(tenant_ref)
        if known is None:
            row = self.connection.execute(
                "SELECT size, frontier FROM whodid_log_state WHERE tenant = ?", (tenant_ref,)
            ).fetchone()
            if row is None:
                row = (0, b"")
                self.connection.execute(
                    "INSERT INTO whodid_log_state (tenant, log_id, size, frontier) "
                    "VALUES (?, ?, 0, x'')",
                    (tenant_ref, log_id(self.key, tenant=tenant)),
                )
            known = self.trees[tenant_ref] = _Tree(tenant, Frontier.from_bytes(row[0], row[1]))
        return known


class Writer:
    """Appends through one connection; the caller holds the lock."""

    def __init__(self, connection: sqlite3.Connection, *, key: bytes) -> None:
        self._connection = connection
        self._key = key
        self._cache: dict[DictKey, int] = {}

    def append(
        self, batch: Sequence[Encoded], *, writer: str | None, times: Sequence[Instant]
    ) -> list[Receipt]:
        """Store a batch, all or nothing; see `EventStore.append`."""
        if not batch:
            return []
        with transaction(self._connection):
            row = self._connection.execute(
                "SELECT value FROM whodid_counter WHERE name = 'position'"
            ).fetchone()
            work = _Transaction(self._connection, self._key, row[0], self._cache)
            seeds = os.urandom(SEED_BYTES * len(batch))
            receipts = [
                _add(
                    work,
                    encoded,
                    place=place,
                    writer=writer,
                    now=now,
                    seed=seeds[place * SEED_BYTES : (place + 1) * SEED_BYTES],
                )
                for place, (encoded, now) in enumerate(zip(batch, times, strict=True))
            ]
            _insert(work)
        # Only now: what a rolled back transaction learnt would point at nothing.
        if len(self._cache) > _MAX_CACHED_REFS:
            self._cache.clear()
        self._cache |= work.learnt
        return receipts


def _add(
    work: _Transaction,
    encoded: Encoded,
    *,
    place: int,
    writer: str | None,
    now: Instant,
    seed: bytes,
) -> Receipt:
    event = encoded.event
    tenant = canonical.tenant_of(event)
    tenant_ref = work.ref(0, DictKind.TENANT, tenant)
    stored = _find_double(work, encoded, tenant_ref=tenant_ref, tenant=tenant, place=place)
    if stored is not None:
        return stored
    event_id = event.id or uuid7()
    tree = work.tree(tenant_ref, tenant)
    stamp = canonical.stamp_bytes(event_id=event_id, received_at=now, tenant=tenant, writer=writer)
    entry = canonical.commit(encoded.core, stamp, encoded.units, seed=seed)
    body = canonical.body_bytes(encoded.core, stamp, encoded.units)
    index = tree.frontier.size
    tree.frontier.append(leaf_hash(entry))
    work.position += 1
    columns = derive(event, labels=encoded.labels, received_at=now)
    work.events.append(_event_row(work, columns, tenant_ref, index, event_id, body, seed))
    work.leaves.append((tenant_ref, index, entry, work.position))
    work.refs += [
        (
            int(kind),
            reference_hash(work.key, tenant=tenant, name=name),
            columns.occurred_at,
            work.position,
        )
        for kind, name in columns.refs
    ]
    receipt = Receipt(id=event_id, tenant=tenant, index=index, received_at=now)
    work.by_id[tenant_ref, event_id] = _Stored(receipt, body, None)
    if event.idempotency_key:
        app_ref = work.ref(tenant_ref, DictKind.APP, columns.app)
        work.by_idempotency[tenant_ref, app_ref, event.idempotency_key] = event_id
    return receipt


def _event_row(
    work: _Transaction,
    columns: Columns,
    tenant: int,
    index: int,
    event_id: str,
    body: bytes,
    seed: bytes,
) -> tuple[object, ...]:
    return (
        work.position,
        tenant,
        index,
        uuid_bytes(event_id),
        columns.occurred_at,
        columns.received_at,
        work.ref(tenant, DictKind.ACTOR, columns.actor),
        work.ref(tenant, DictKind.ACTION, columns.action),
        columns.category,
        columns.operation,
        columns.severity,
        columns.outcome,
        work.ref(tenant, DictKind.APP, columns.app),
        work.ref(tenant, DictKind.COUNTRY, columns.country),
        work.ref(tenant, DictKind.AGENT, columns.agent),
        columns.ip,
        CODEC_RAW,
        body,
        seed,
    )


def _find_double(
    work: _Transaction, encoded: Encoded, *, tenant_ref: int, tenant: str, place: int
) -> Receipt | None:
    """The first receipt, when this event was stored before.

    Raises:
        ConflictError: Its id or key was, with another body.
    """
    event = encoded.event
    for by, event_id in (
        ("id", event.id or None),
        ("idempotency key", _id_of_key(work, encoded, tenant_ref)),
    ):
        stored = event_id and _stored(work, tenant_ref, tenant, event_id)
        if stored:
            path = canonical.first_difference(encoded, body=stored.body, gone=stored.gone)
            if path is not None:
                raise ConflictError(path, index=place, by=by)
            first = stored.receipt
            return Receipt(
                id=first.id,
                tenant=first.tenant,
                index=first.index,
                received_at=first.received_at,
                duplicate=True,
            )
    return None


def _id_of_key(work: _Transaction, encoded: Encoded, tenant_ref: int) -> str | None:
    key = encoded.event.idempotency_key
    if not key:
        return None
    source = encoded.event.source
    # Looked up, not learnt: when this event proves to be a double, nothing may stay behind.
    app_ref = 0
    if source and source.app:
        app_ref = _known_ref(work, (tenant_ref, int(DictKind.APP), source.app))
        if not app_ref:
            return None
    pending = work.by_idempotency.get((tenant_ref, app_ref, key))
    if pending:
        return pending
    row = work.connection.execute(
        "SELECT id FROM whodid_idempotency WHERE tenant = ? AND app = ? AND key = ?",
        (tenant_ref, app_ref, key),
    ).fetchone()
    return _uuid_text(row[0]) if row else None


def _known_ref(work: _Transaction, wanted: DictKey) -> int:
    known = work.cache.get(wanted) or work.learnt.get(wanted)
    if known is None:
        row = work.connection.execute(
            "SELECT ref FROM whodid_dict WHERE tenant = ? AND kind = ? AND val = ?", wanted
        ).fetchone()
        known = row[0] if row else 0
    return known


def _stored(work: _Transaction, tenant_ref: int, tenant: str, event_id: str) -> _Stored | None:
    pending = work.by_id.get((tenant_ref, event_id))
    if pending:
        return pending
    row = work.connection.execute(
        'SELECT "index", received_at, body, gone FROM whodid_event WHERE tenant = ? AND id = ?',
        (tenant_ref, uuid_bytes(event_id)),
    ).fetchone()
    if row is None:
        return None
    receipt = Receipt(
        id=event_id, tenant=tenant, index=row[0], received_at=Instant.from_micros(row[1])
    )
    return _Stored(receipt, row[2], row[3])


def _insert(work: _Transaction) -> None:
    connection = work.connection
    connection.executemany(
        'INSERT INTO whodid_event (position, tenant, "index", id, occurred_at, received_at, actor, '
        "action, category, operation, severity, outcome, app, country, agent, ip, codec, body, "
        "secret) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        work.events,
    )
    connection.executemany(
        'INSERT INTO whodid_leaf (tenant, "index", entry, position) VALUES (?, ?, ?, ?)',
        work.leaves,
    )
    # Two ids may share a hash: the row is a hint, one is enough.
    connection.executemany(
        "INSERT OR IGNORE INTO whodid_event_ref (kind, hash, occurred_at, position) "
        "VALUES (?, ?, ?, ?)",
        work.refs,
    )
    connection.executemany(
        "INSERT INTO whodid_idempotency (tenant, app, key, id) VALUES (?, ?, ?, ?)",
        [(*key, uuid_bytes(event_id)) for key, event_id in work.by_idempotency.items()],
    )
    connection.executemany(
        "UPDATE whodid_log_state SET size = ?, frontier = ? WHERE tenant = ?",
        [
            (tree.frontier.size, tree.frontier.to_bytes(), tenant)
            for tenant, tree in work.trees.items()
        ],
    )
    connection.execute(
        "UPDATE whodid_counter SET value = ? WHERE name = 'position'", (work.position,)
    )


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A writing transaction: waits for other writers, commits durably or leaves nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk rolls back by itself; then there is nothing left to roll back.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def index_key(connection: sqlite3.Connection) -> bytes:
    """The store's own 32-byte key for hashes of ids and for cursors, made at first use."""
    select = "SELECT value FROM whodid_setting WHERE name = 'index_key'"
    row = connection.execute(select).fetchone()
    if row is None:
        with transaction(connection):
            connection.execute(
                "INSERT OR IGNORE INTO whodid_setting (name, value) VALUES ('index_key', ?)",
                (os.urandom(32),),
            )
            row = connection.execute(select).fetchone()
    return bytes(row[0])


def touch(connection: sqlite3.Connection, *, now: Instant) -> None:
    """Prove that a durable write works."""
    with transaction(connection):
        connection.execute(
            "INSERT INTO whodid_counter (name, value) VALUES ('checked_at', ?) "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (now.micros,),
        )


def add_key(connection: sqlite3.Connection, key: ApiKey) -> None:
    """Store a credential."""
    with transaction(connection):
        connection.execute(
            "INSERT INTO whodid_api_key (id, name, tenant, scopes, digest, created_at, expires_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                key.id,
                key.name,
                key.tenant,
                " ".join(sorted(key.scopes)),
                key.digest,
                key.created_at.micros,
                key.expires_at.micros if key.expires_at else None,
            ),
        )


def _uuid_text(packed: bytes) -> str:
    digits = packed.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
