"""The sealer of PostgreSQL: gives every committed event its index and position, exactly once.

Numbers that are given at INSERT don't become visible in their order: a transaction that began
earlier may commit later, and a reader that remembers "the last number" skips its events for good.
So the sealer remembers what it could see: the snapshot of its last round. A transaction that had
ended by then was seen; all others are its `xip` list or begin at its `xmax`. What is visible now
and was not then is sealed in this round, found by an index on the transaction's number. Nobody's
long transaction holds up the others. (INTEGRITY 3.2)

One row's lock makes sealers take turns; no session holds anything, and a sealer that is killed
leaves nothing. The order inside a round is that of arrival: who waits for another transaction's
lock inserts after it has committed, so of two changes of one row the later one comes later, which
the numbers of transactions don't tell. The columns of an event, its references and its entry are
computed here from its body: of what an application inserted, nothing is trusted but that it is what
the application claims.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from msgspec import Struct

from whodid import canonical
from whodid.errors import LedgerError
from whodid.ids import uuid_bytes
from whodid.ledger.merkle import Frontier, leaf_hash
from whodid.stores.dictionary import DictKey, DictKind, dictionary_texts
from whodid.stores.doubles import EventId, Ready, hashes_of
from whodid.stores.postgres_connections import Connection
from whodid.stores.postgres_tables import COPY_FROM, Table
from whodid.stores.rows import CODEC_RAW, Columns, derive_stored, log_id
from whodid.times import Instant

BATCH = 2_000
"""Events sealed by one transaction, at most; their bodies are in memory at once."""
LOCK_TIMEOUT = "10s"
_MAX_CACHED_REFS = 200_000
_TENANT = int(DictKind.TENANT)

_log = logging.getLogger("whodid.sealer")

# One message, for it is sent for every round; the settings end with the transaction. Whoever turned
# synchronous_commit off gets it on here: from the sealer's commit on, an index is promised.
_LOCK = """
SELECT set_config('lock_timeout', '{timeout}', true),
  CASE WHEN current_setting('synchronous_commit') = 'off'
       THEN set_config('synchronous_commit', 'on', true) END;
SELECT position, snapshot::text, cluster, (SELECT system_identifier FROM pg_control_system())
FROM whodid_seal WHERE one FOR UPDATE
"""
# One statement, so one snapshot: what it shows and what it is compared with later are the same.
# NOT EXISTS makes it possible to seal a large backlog piece by piece; OFFSET keeps it a look-up for
# each event, where a join might read all that was ever sealed.
_FIND = """
WITH now AS MATERIALIZED (SELECT pg_current_snapshot()::text AS snapshot)
SELECT now.snapshot, e.arrival, e.received_at, e.tenant, e.id, e.codec, e.body, e.secret, e.gone
FROM now LEFT JOIN whodid_event AS e ON ({condition})
  AND NOT EXISTS (
    SELECT 1 FROM whodid_sealed AS s
    WHERE s.arrival = e.arrival AND s.received_at = e.received_at OFFSET 0
  )
  AND NOT EXISTS (SELECT 1 FROM whodid_refused AS r WHERE r.arrival = e.arrival OFFSET 0)
ORDER BY e.arrival LIMIT %(limit)s
"""
_SINCE = _FIND.format(
    condition="e.xid >= pg_snapshot_xmax(%(snapshot)s::pg_snapshot) "
    "OR e.xid = ANY(ARRAY(SELECT pg_snapshot_xip(%(snapshot)s::pg_snapshot)))"
)
_ALL = _FIND.format(condition="TRUE")
_IS_WAITING = """
SELECT s.snapshot IS NULL
  OR EXISTS (SELECT 1 FROM whodid_event AS e WHERE e.xid >= pg_snapshot_xmax(s.snapshot))
  OR EXISTS (SELECT 1 FROM whodid_event AS e
             WHERE e.xid = ANY(ARRAY(SELECT pg_snapshot_xip(s.snapshot))))
FROM whodid_seal AS s
"""
# What the last round is said to have seen, and is not sealed: there should be none. A number that
# somebody forged may do it.
_PASSED_BY = """
SELECT EXISTS (SELECT 1 FROM whodid_event AS e, whodid_seal AS n
WHERE pg_visible_in_snapshot(e.xid, n.snapshot)
  AND NOT EXISTS (
    SELECT 1 FROM whodid_sealed AS s
    WHERE s.arrival = e.arrival AND s.received_at = e.received_at OFFSET 0
  )
  AND NOT EXISTS (SELECT 1 FROM whodid_refused AS r WHERE r.arrival = e.arrival OFFSET 0))
"""
SWEEP_EVERY_S = 86_400
_IS_SWEEP_DUE = """
INSERT INTO whodid_counter AS c (name, value) VALUES ('swept_at', %(now)s)
ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE c.value < %(due)s RETURNING 1
"""


_LEAF = Table(
    "whodid_leaf", ("tenant", '"index"', "position", "entry"), ("int8", "int8", "int8", "bytea")
)
_REF = Table(
    "whodid_event_ref",
    ("received_at", "hash", "position", "kind"),
    ("int8", "int8", "int8", "int2"),
)
_DICT = Table("whodid_dict", ("ref", "tenant", "kind", "val"), ("int8", "int8", "int2", "bytea"))
_SEALED = Table(
    "whodid_sealed",
    (
        "received_at", "arrival", "position", "tenant", '"index"', "occurred_at", "actor", "action",
        "app", "country", "agent", "id", "category", "operation", "severity", "outcome", "plain",
        "ip",
    ),
    (*["int8"] * 11, "uuid", *["int2"] * 4, "bool", "bytea"),
)  # fmt: skip


class _Found(Struct):
    """An event that waits, with everything that the sealer makes of its body."""

    arrival: int
    received_at: int
    tenant: str
    id: Any  # as the driver has UUIDs
    entry: bytes
    leaf: bytes
    columns: Columns
    hashes: Sequence[tuple[int, int]]
    is_plain: bool
    index: int = -1


@dataclass(frozen=True, slots=True)
class Round:
    """What one transaction of the sealer did.

    Attributes:
        indexes: The index of every event that it sealed.
        is_done: False when more were waiting than it takes at once.
    """

    indexes: Mapping[EventId, int]
    is_done: bool


class Sealer:
    """Seals; several threads and processes may, one after the other."""

    def __init__(self, *, key: bytes) -> None:
        self._key = key
        self._cache: dict[DictKey, int] = {}

    def seal_once(
        self,
        connection: Connection,
        *,
        known: Mapping[EventId, Ready] | None = None,
        everything: bool = False,
    ) -> Round:
        """Seal what is committed and waits, at most `BATCH` events, in one transaction.

        Durable when it returns. A crash inside leaves nothing; the next round does the same again.

        Args:
            known: Events whose entries and columns this process computed when it stored them. One
                is used where body and secret are the same, and saves computing it again.
            everything: Look at all events and not only at what came since the last round: finds
                what was inserted with a forged or a foreign transaction number.

        Raises:
            psycopg.errors.LockNotAvailable: Another sealer took very long; it seals these too.
        """
        with connection.transaction(), connection.cursor() as cursor:
            work = _Work(cursor, self._key, self._cache)
            state = work.lock()
            since = None if everything else state.snapshot
            found, snapshot, is_done = work.find(since, known=known or {})
            # Until all that this snapshot shows is sealed, the last one says what to look at.
            seen = snapshot if is_done else state.snapshot
            now = _State(state.position + len(found), seen, state.cluster)
            if found:
                work.seal(found, before=state, now=now)
            elif work.refused or state.snapshot is None or everything:
                work.remember(now)
        self._learn(work.learnt)
        return Round(
            indexes={(each.tenant, each.id.bytes): each.index for each in found}, is_done=is_done
        )

    def _learn(self, learnt: Mapping[DictKey, int]) -> None:
        # Only after the commit: what a rolled back transaction learnt would point at nothing.
        if len(self._cache) > _MAX_CACHED_REFS:
            self._cache.clear()
        self._cache |= learnt


def is_waiting(connection: Connection) -> bool:
    """May there be something to seal? Cheap, and takes no lock."""
    row = connection.execute(_IS_WAITING).fetchone()
    return row is not None and bool(row[0])


def has_passed_by(connection: Connection) -> bool:
    """Is there an event that no round will look at? Looks at every event, and takes no lock."""
    row = connection.execute(_PASSED_BY).fetchone()
    return row is not None and bool(row[0])


def is_sweep_due(connection: Connection, *, now: Instant) -> bool:
    """Has no process looked for such events for a day? The one that is told so is to look."""
    due = now.micros - SWEEP_EVERY_S * 1_000_000
    row = connection.execute(_IS_SWEEP_DUE, {"now": now.micros, "due": due}).fetchone()
    return row is not None


@dataclass(frozen=True, slots=True)
class _State:
    position: int
    snapshot: str | None
    cluster: int


@dataclass(slots=True)
class _Work:
    """One transaction of the sealer's."""

    cursor: psycopg.Cursor[Any]
    key: bytes
    cache: Mapping[DictKey, int]
    learnt: dict[DictKey, int] = field(default_factory=dict)
    refused: int = 0

    def lock(self) -> _State:
        """Wait for the turn, and read where the last sealer ended."""
        self.cursor.execute(_LOCK.format(timeout=LOCK_TIMEOUT).encode())
        self.cursor.nextset()
        row = self.cursor.fetchone()
        if row is None:
            raise LedgerError("the state of the sealer is gone; run whodid verify on a backup")
        position, snapshot, known, cluster = row
        if known is not None and known != cluster:
            self._adopt()
            snapshot = None
        return _State(position, snapshot, cluster)

    def _adopt(self) -> None:
        """Take over events from another cluster, whose transaction numbers mean nothing here.

        After a dump was restored they may lie ahead of ours, and would look like new ones for ever.
        """
        _log.warning("the log was restored into another cluster: all events are looked at once")
        self.cursor.execute(
            "UPDATE whodid_event SET xid = '3' "
            "WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()) AND xid <> '3'"
        )

    def find(
        self, snapshot: str | None, *, known: Mapping[EventId, Ready]
    ) -> tuple[list[_Found], str, bool]:
        """What waits, in the order in which it is sealed; what was visible; is that all of it?"""
        query = _ALL if snapshot is None else _SINCE
        rows = self.cursor.execute(
            query.encode(), {"snapshot": snapshot, "limit": BATCH + 1}
        ).fetchall()
        found = []
        for _, arrival, received_at, *row in rows[:BATCH]:
            if arrival is None:
                continue  # of the outer join, when nothing waits
            try:
                found.append(self._open(arrival, received_at, row, known=known))
            except LedgerError as error:
                self._refuse(arrival, received_at, str(error))
        return found, rows[0][0], len(rows) <= BATCH

    def _open(
        self, arrival: int, received_at: int, row: Sequence[Any], *, known: Mapping[EventId, Ready]
    ) -> _Found:
        tenant, event_id, codec, body, secret, gone = row
        try:
            name = tenant.decode()
        except UnicodeDecodeError:
            raise LedgerError("the tenant is no UTF-8") from None
        ready = known.get((name, event_id.bytes))
        if ready and (ready.body, ready.seed, codec, gone) == (body, secret, CODEC_RAW, None):
            return _Found(
                arrival, received_at, name, event_id, ready.entry, ready.leaf, ready.columns,
                ready.hashes, body.isascii(),
            )  # fmt: skip
        if codec != CODEC_RAW or body is None or secret is None or gone is not None:
            raise LedgerError("the row lacks its body or secret, or has them in an unknown form")
        entry = canonical.recompute_entry(body, secret=secret, gone=None)
        stored = canonical.restore(body, index=None, position=0)
        told = (stored.tenant_id, uuid_bytes(stored.id), stored.received_at.micros)
        if told != (name, event_id.bytes, received_at):
            raise LedgerError("tenant, id or time of the row differ from the body")
        columns = derive_stored(stored)
        return _Found(
            arrival, received_at, name, event_id, entry, leaf_hash(entry), columns,
            hashes_of(columns, tenant=name, key=self.key), body.isascii(),
        )  # fmt: skip

    def _refuse(self, arrival: int, received_at: int, reason: str) -> None:
        """Put a row that is no event aside, so that it doesn't hold up the others."""
        _log.error("a row in whodid_event is no event and was not sealed: %s", reason)
        self.refused += 1
        self.cursor.execute(
            "INSERT INTO whodid_refused (arrival, received_at, refused_at, reason) "
            "VALUES (%s, %s, %s, %s)",
            (arrival, received_at, Instant.now().micros, reason),
        )

    def seal(self, found: Sequence[_Found], *, before: _State, now: _State) -> None:
        """Give events their leaves, and write all that is derived from them."""
        self._learn({(0, _TENANT, each.tenant) for each in found})
        tenants = {each.tenant: self._number((0, _TENANT, each.tenant)) for each in found}
        self._learn(
            {
                (tenants[each.tenant], kind, text)
                for each in found
                for kind, text in dictionary_texts(each.columns)
                if text
            }
        )
        trees = self._trees(tenants)
        leaves, sealed, refs = [], [], []
        for position, each in enumerate(found, before.position + 1):
            tree, tenant = trees[each.tenant], tenants[each.tenant]
            each.index = tree.size
            tree.append(each.leaf)
            leaves.append((tenant, each.index, position, each.entry))
            sealed.append(self._row(each, tenant=tenant, position=position))
            refs += [(each.received_at, hash_, position, kind) for kind, hash_ in set(each.hashes)]
        if max(len(leaves), len(refs)) < COPY_FROM:  # COPY can't be part of a pipeline
            with self.cursor.connection.pipeline():
                self._write(leaves, sealed, refs)
                self._write_trees(trees, tenants)
                self.remember(now)
            return
        self._write(leaves, sealed, refs)
        self._write_trees(trees, tenants)
        self.remember(now)

    def _write(
        self,
        leaves: Sequence[tuple[object, ...]],
        sealed: Sequence[tuple[object, ...]],
        refs: Sequence[tuple[object, ...]],
    ) -> None:
        for start in range(0, len(refs), BATCH):
            _REF.put(self.cursor, refs[start : start + BATCH])
        _LEAF.put(self.cursor, leaves)
        _SEALED.put(self.cursor, sealed)

    def _row(self, found: _Found, *, tenant: int, position: int) -> tuple[object, ...]:
        columns = found.columns
        numbers = [
            self._number((tenant, kind, text)) if text else 0
            for kind, text in dictionary_texts(columns)
        ]
        return (
            found.received_at, found.arrival, position, tenant, found.index, columns.occurred_at,
            *numbers, found.id, columns.category, columns.operation, columns.severity,
            columns.outcome, found.is_plain, columns.ip,
        )  # fmt: skip

    def _trees(self, tenants: Mapping[str, int]) -> dict[str, Frontier]:
        trees = {name: Frontier() for name in tenants}
        names = {number: name for name, number in tenants.items()}
        rows = self.cursor.execute(
            "SELECT tenant, size, frontier FROM whodid_log_state "
            "WHERE tenant = ANY(%s::bigint[]) ORDER BY tenant",
            (list(names),),
        )
        for number, size, frontier in rows:
            trees[names[number]] = Frontier.from_bytes(size, frontier)
        return trees

    def _write_trees(self, trees: Mapping[str, Frontier], tenants: Mapping[str, int]) -> None:
        self.cursor.executemany(
            "INSERT INTO whodid_log_state (tenant, log_id, size, frontier) "
            "VALUES (%s, %s, %s, %s) ON CONFLICT (tenant) DO UPDATE "
            "SET size = excluded.size, frontier = excluded.frontier",
            [
                (tenants[name], log_id(self.key, tenant=name), tree.size, tree.to_bytes())
                for name, tree in trees.items()
            ],
        )

    def remember(self, now: _State) -> None:
        self.cursor.execute(
            "UPDATE whodid_seal SET position = %s, snapshot = %s::pg_snapshot, cluster = %s",
            (now.position, now.snapshot, now.cluster),
        )

    # -- the dictionary

    def _number(self, wanted: DictKey) -> int:
        return self.learnt.get(wanted) or self.cache[wanted]

    def _learn(self, wanted: Iterable[DictKey]) -> None:
        """Give a number to every value that has none, in an order that does not vary."""
        unknown = sorted(key for key in wanted if key not in self.cache and key not in self.learnt)
        if not unknown:
            return
        rows = self.cursor.execute(
            "SELECT d.tenant, d.kind, d.val, d.ref "
            "FROM unnest(%s::bigint[], %s::smallint[], %s::bytea[]) AS w (tenant, kind, val) "
            "JOIN whodid_dict AS d ON d.tenant = w.tenant AND d.kind = w.kind "
            "AND sha256(d.val) = sha256(w.val) ORDER BY d.ref",
            (
                [tenant for tenant, _, _ in unknown],
                [kind for _, kind, _ in unknown],
                [text.encode() for _, _, text in unknown],
            ),
        )
        for tenant, kind, text, ref in rows.fetchall():
            self.learnt[tenant, kind, text.decode()] = ref
        new = [key for key in unknown if key not in self.learnt]
        if not new:
            return
        row = self.cursor.execute("SELECT coalesce(max(ref), 0) FROM whodid_dict").fetchone()
        newest = row[0] if row else 0
        numbered = dict(zip(new, range(newest + 1, newest + 1 + len(new)), strict=True))
        _DICT.put(
            self.cursor,
            [(ref, tenant, kind, text.encode()) for (tenant, kind, text), ref in numbered.items()],
        )
        self.learnt |= numbered
