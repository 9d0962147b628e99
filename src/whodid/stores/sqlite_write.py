"""Appending to SQLite: one transaction that stores, finds doubles, and seals.

What needs no database is made before the transaction begins: stamp, entry, body and columns of
every event, so that the write lock is held for statements alone. Inside: the counter and the
trees' states are read (never kept in memory, since other processes write too), doubles are
answered, the rest gets index and position, everything is inserted, states and counter are written.
A crash anywhere leaves nothing; a commit leaves all.

Several batches may share a transaction and so its one fsync. Each is all or nothing for itself:
whether a batch conflicts is decided before anything of it is inserted.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from whodid.errors import ConflictError
from whodid.ledger.merkle import Frontier
from whodid.stores.base import ApiKey, Batch, Receipt
from whodid.stores.dictionary import DictKey, DictKind, dictionary_texts
from whodid.stores.doubles import (
    Doubles,
    EventId,
    EventKey,
    Ready,
    Stored,
    make_ready,
    uuid_text,
    wanted,
)
from whodid.stores.rows import CODEC_RAW, log_id
from whodid.times import Instant

_MAX_CACHED_REFS = 200_000
_LOOKED_UP_AT_ONCE = 128


_TENANT, _ACTOR, _ACTION, _APP, _COUNTRY, _AGENT = (int(kind) for kind in DictKind)


class Writer:
    """Appends through one connection; the caller holds the lock."""

    def __init__(self, connection: sqlite3.Connection, *, key: bytes) -> None:
        self._connection = connection
        self._key = key
        self._cache: dict[DictKey, int] = {}

    def ready(self, batches: Sequence[Batch]) -> list[list[Ready]]:
        """What `append_ready` takes; made without the lock."""
        return [make_ready(batch, key=self._key) for batch in batches]

    def append_ready(
        self, batches: Sequence[Batch], ready: Sequence[Sequence[Ready]]
    ) -> list[list[Receipt] | ConflictError]:
        """Store batches in one transaction; see `EventStore.append_each`."""
        with transaction(self._connection):
            work = _Transaction(self._connection, self._key, self._cache)
            work.find_trees(ready)
            work.find_doubles(batches, ready)
            answers = [
                work.take(events, batch=batch) for batch, events in zip(batches, ready, strict=True)
            ]
            work.insert()
        # Only now: what a rolled back transaction learnt would point at nothing.
        if len(self._cache) > _MAX_CACHED_REFS:
            self._cache.clear()
        self._cache |= work.learnt
        return answers


def append_within(connection: sqlite3.Connection, batch: Batch, *, key: bytes) -> list[Receipt]:
    """Store a batch in the transaction that is open on a connection of the host's.

    Durable when the host commits; without an open transaction, when it returns. In a savepoint: a
    failure leaves the host's transaction as it was. Nothing is remembered from one call to the
    next, since the host may roll back.

    Raises:
        ConflictError: One of them was stored before with another body.
    """
    ready = make_ready(batch, key=key)
    has_keys = any(event.encoded.event.idempotency_key for event in ready)
    if not has_keys:
        # Ids made a moment ago are in no database: the index on them tells if one is after all.
        with suppress(sqlite3.IntegrityError), within(connection):
            return _append_ready(connection, batch, ready, key=key, looks_for_doubles=False)
    with within(connection):
        return _append_ready(connection, batch, ready, key=key, looks_for_doubles=True)


def _append_ready(
    connection: sqlite3.Connection,
    batch: Batch,
    ready: Sequence[Ready],
    *,
    key: bytes,
    looks_for_doubles: bool,
) -> list[Receipt]:
    work = _Transaction(connection, key, {})
    work.find_trees([ready])
    if looks_for_doubles:
        work.find_doubles([batch], [ready])
    answer = work.take(ready, batch=batch)
    if isinstance(answer, ConflictError):
        raise answer
    work.insert()
    return answer


@contextmanager
def within(connection: sqlite3.Connection) -> Iterator[None]:
    """A savepoint in the host's transaction, or a transaction where there is none."""
    if not connection.in_transaction:
        with transaction(connection):
            yield
        return
    connection.execute("SAVEPOINT whodid_append")
    try:
        yield
    except BaseException:
        # A full disk rolls back the whole transaction by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK TO whodid_append")
            connection.execute("RELEASE whodid_append")
        raise
    connection.execute("RELEASE whodid_append")


@dataclass(slots=True)
class _Transaction:
    """All that one transaction learns and will insert.

    Everything is kept by the tenant's name: a tenant gets its number when an event of it is
    inserted, so that a refused batch leaves none behind.

    Attributes:
        position: The newest one that was given.
        known: Tenants that have a tree.
    """

    connection: sqlite3.Connection
    key: bytes
    cache: dict[DictKey, int]
    learnt: dict[DictKey, int] = field(default_factory=dict)
    position: int = 0
    known: set[str] = field(default_factory=set)
    trees: dict[str, Frontier] = field(default_factory=dict)
    doubles: Doubles[Ready] = field(default_factory=Doubles)
    taken: list[Ready] = field(default_factory=list)

    def find_trees(self, ready: Sequence[Sequence[Ready]]) -> None:
        """Take up the tree of every tenant, and the newest position; a new tenant's is empty."""
        names = {event.tenant for events in ready for event in events}
        self.trees = {name: Frontier() for name in names}
        for name, number, size, frontier, newest in _look_up(
            self.connection,
            "SELECT w.a, d.ref, s.size, s.frontier, c.value FROM wanted AS w "
            "CROSS JOIN whodid_counter AS c ON c.name = 'position' "
            f"LEFT JOIN whodid_dict AS d ON d.tenant = 0 AND d.kind = {_TENANT} AND d.val = w.a "
            "LEFT JOIN whodid_log_state AS s ON s.tenant = d.ref WHERE w.a IS NOT NULL",
            [(name,) for name in names],
        ):
            self.position = newest
            if number is not None:
                self.learnt[0, _TENANT, name] = number
            if frontier is not None:
                self.known.add(name)
                self.trees[name] = Frontier.from_bytes(size, frontier)

    def find_doubles(self, batches: Sequence[Batch], ready: Sequence[Sequence[Ready]]) -> None:
        """Look up all that is stored under the ids and keys that the senders gave."""
        ids, keys = wanted(batches, ready)
        if keys:
            self._find_keys(keys)
            ids |= {(tenant, packed) for (tenant, _, _), packed in self.doubles.by_key.items()}
        self._find_ids(ids)

    def _find_keys(self, keys: set[EventKey]) -> None:
        apps = {(number, _APP, app) for name, app, _ in keys if (number := self._tenant(name))}
        self._know({known for known in apps if known[2]})
        numbered: dict[tuple[int, int, str], EventKey] = {}
        for name, app, key in keys:
            tenant = self._tenant(name)
            app_number = self._number((tenant, _APP, app)) if app else 0
            if tenant and app_number is not None:  # else nothing can be stored under the key
                numbered[tenant, app_number, key] = (name, app, key)
        for tenant, number, key, packed in _look_up(
            self.connection,
            "SELECT i.tenant, i.app, i.key, i.id FROM wanted AS w CROSS JOIN whodid_idempotency "
            "AS i WHERE i.tenant = w.a AND i.app = w.b AND i.key = w.c",
            list(numbered),
        ):
            self.doubles.by_key[numbered[tenant, number, key]] = packed

    def _find_ids(self, ids: set[EventId]) -> None:
        names = {number: name for name in self.trees if (number := self._tenant(name))}
        numbers = {name: number for number, name in names.items()}
        for tenant, packed, index, received_at, body, gone in _look_up(
            self.connection,
            'SELECT e.tenant, e.id, e."index", e.received_at, e.body, e.gone FROM wanted AS w '
            "CROSS JOIN whodid_event AS e WHERE e.tenant = w.a AND e.id = w.b",
            [(numbers[name], packed) for name, packed in ids if name in numbers],
        ):
            self.doubles.by_id[names[tenant], packed] = Stored(
                uuid_text(packed), names[tenant], index, received_at, body, gone
            )

    def take(self, events: Sequence[Ready], *, batch: Batch) -> list[Receipt] | ConflictError:
        """Take up a batch for insertion, or answer why it conflicts and leave no trace of it."""
        answers = self.doubles.take(events, batch=batch)
        if isinstance(answers, ConflictError):
            return answers
        self._seal(event for answer, event in zip(answers, events, strict=True) if answer is event)
        return [
            answer.receipt(duplicate=answer is not event)
            for answer, event in zip(answers, events, strict=True)
        ]

    def _seal(self, fresh: Iterable[Ready]) -> None:
        """Give new events their leaves, in their order."""
        for event in fresh:
            tree = self.trees[event.tenant]
            event.index = tree.size
            tree.append(event.leaf)
            self.taken.append(event)

    def insert(self) -> None:
        """Write everything that was taken."""
        if not self.taken:
            return
        self._learn({(0, _TENANT, event.tenant) for event in self.taken})
        self._learn(
            {
                (tenant, kind, value)
                for event in self.taken
                for tenant in (self._tenant(event.tenant),)
                for kind, value in dictionary_texts(event.columns)
                if value
            }
        )
        self._insert_events(self.position + 1)
        self._insert_trees()
        self.connection.execute(
            "UPDATE whodid_counter SET value = ? WHERE name = 'position'",
            (self.position + len(self.taken),),
        )

    def _insert_events(self, first: int) -> None:
        events, leaves, refs, keys = [], [], [], []
        for position, event in enumerate(self.taken, first):
            tenant = self._tenant(event.tenant)
            events.append(self._row(event, position=position, tenant=tenant))
            leaves.append((tenant, event.index, event.entry, position))
            occurred_at = event.columns.occurred_at
            refs += [(kind, hash_, occurred_at, position) for kind, hash_ in event.hashes]
            key = event.encoded.event.idempotency_key
            if key:
                app = event.columns.app
                number = self._number((tenant, _APP, app)) if app else 0
                keys.append((tenant, number, key, event.packed_id))
        many = self.connection.executemany
        many(
            'INSERT INTO whodid_event (position, tenant, "index", id, occurred_at, received_at, '
            "actor, action, category, operation, severity, outcome, app, country, agent, ip, "
            "codec, body, secret) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            events,
        )
        many(
            'INSERT INTO whodid_leaf (tenant, "index", entry, position) VALUES (?, ?, ?, ?)',
            leaves,
        )
        # Two ids may share a hash: the row is a hint, one is enough.
        many(
            "INSERT OR IGNORE INTO whodid_event_ref (kind, hash, occurred_at, position) "
            "VALUES (?, ?, ?, ?)",
            refs,
        )
        if keys:
            many("INSERT INTO whodid_idempotency (tenant, app, key, id) VALUES (?, ?, ?, ?)", keys)

    def _row(self, event: Ready, *, position: int, tenant: int) -> tuple[object, ...]:
        columns = event.columns
        return (
            position,
            tenant,
            event.index,
            event.packed_id,
            columns.occurred_at,
            columns.received_at,
            self._number((tenant, _ACTOR, columns.actor)),
            self._number((tenant, _ACTION, columns.action)),
            columns.category,
            columns.operation,
            columns.severity,
            columns.outcome,
            self._number((tenant, _APP, columns.app)) if columns.app else 0,
            self._number((tenant, _COUNTRY, columns.country)) if columns.country else 0,
            self._number((tenant, _AGENT, columns.agent)) if columns.agent else 0,
            columns.ip,
            CODEC_RAW,
            event.body,
            event.seed,
        )

    def _insert_trees(self) -> None:
        new, grown = [], []
        for name in dict.fromkeys(event.tenant for event in self.taken):
            tenant, tree = self._tenant(name), self.trees[name]
            grown.append((tree.size, tree.to_bytes(), tenant))
            if name not in self.known:
                new.append((tenant, log_id(self.key, tenant=name)))
        if new:
            self.connection.executemany(
                "INSERT INTO whodid_log_state (tenant, log_id, size, frontier) "
                "VALUES (?, ?, 0, x'')",
                new,
            )
        self.connection.executemany(
            "UPDATE whodid_log_state SET size = ?, frontier = ? WHERE tenant = ?", grown
        )

    # -- the dictionary

    def _number(self, wanted: DictKey) -> int | None:
        return self.cache.get(wanted) or self.learnt.get(wanted)

    def _tenant(self, name: str) -> int:
        """The number of a tenant; 0 while it has none."""
        return self._number((0, _TENANT, name)) or 0

    def _know(self, wanted: Iterable[DictKey]) -> list[DictKey]:
        """Look up the numbers that are not known yet; what has none."""
        unknown = [key for key in wanted if key not in self.cache and key not in self.learnt]
        for tenant, kind, value, ref in _look_up(
            self.connection,
            "SELECT d.tenant, d.kind, d.val, d.ref FROM wanted AS w CROSS JOIN whodid_dict AS d "
            "WHERE d.tenant = w.a AND d.kind = w.b AND d.val = w.c",
            unknown,
        ):
            self.learnt[tenant, kind, value] = ref
        return [key for key in unknown if key not in self.learnt]

    def _learn(self, wanted: Iterable[DictKey]) -> None:
        """Give a number to every value that has none, in an order that does not vary."""
        new = sorted(self._know(wanted))
        if not new:
            return
        [newest] = self.connection.execute(
            "SELECT coalesce(max(ref), 0) FROM whodid_dict"
        ).fetchone()
        rows = [(ref, *key) for ref, key in enumerate(new, newest + 1)]
        self.connection.executemany(
            "INSERT INTO whodid_dict (ref, tenant, kind, val) VALUES (?, ?, ?, ?)", rows
        )
        self.learnt |= {(tenant, kind, value): ref for ref, tenant, kind, value in rows}


def _look_up(
    connection: sqlite3.Connection, select: str, rows: Sequence[tuple[object, ...]]
) -> Iterator[tuple[Any, ...]]:
    """Rows that `select` finds for a table `wanted` with the columns a, b, c of these values.

    One statement for many: each statement costs more than what it looks up. Lists are filled up
    with NULL, which equals nothing, so that few different statements are prepared.
    """
    for start in range(0, len(rows), _LOOKED_UP_AT_ONCE):
        part = rows[start : start + _LOOKED_UP_AT_ONCE]
        width, size = len(part[0]), 1 << (len(part) - 1).bit_length()
        place = f"({', '.join('?' * width)})"
        params = [*chain.from_iterable(part), *[None] * (width * (size - len(part)))]
        yield from connection.execute(
            f"WITH wanted ({', '.join('abc'[:width])}) AS (VALUES {', '.join([place] * size)}) "
            f"{select}",
            params,
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
        with within(connection):
            connection.execute(
                "INSERT OR IGNORE INTO whodid_setting (name, value) VALUES ('index_key', ?)",
                (os.urandom(32),),
            )
            row = connection.execute(select).fetchone()
    return bytes(row[0])


def touch(connection: sqlite3.Connection, *, now: Instant) -> None:
    """Prove that a durable write works."""
    with within(connection):
        connection.execute(
            "INSERT INTO whodid_counter (name, value) VALUES ('checked_at', ?) "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (now.micros,),
        )


def add_key(connection: sqlite3.Connection, key: ApiKey) -> None:
    """Store a credential."""
    with within(connection):
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
