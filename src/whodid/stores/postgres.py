"""The store in PostgreSQL: for teams that run one, and for logs beside an application's own data.

What `append` acknowledged is committed and sealed: it stores the events in one transaction and then
seals in another, so a receipt has its index. Both are durable with the second's commit. There is
one way to an index, the sealer's, whoever stored the event; a host's events, stored in the host's
transaction by `append(connection=…)`, have theirs as soon as any process of ours seals after the
host's commit. Searches read what is sealed.

Appending lies in `postgres_write`, sealing in `postgres_seal`, searching in `postgres_read`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property

import psycopg
from psycopg import errors

from whodid.access import Access
from whodid.canonical import Encoded
from whodid.errors import ConfigError, ConflictError, StoreUnavailableError
from whodid.stores import postgres_read, postgres_verify, postgres_write
from whodid.stores.base import ApiKey, Batch, Receipt, VerifyReport
from whodid.stores.dictionary import Dictionary
from whodid.stores.doubles import EventId, Ready, Stored, make_ready
from whodid.stores.postgres_connections import Connection, Connections, translated
from whodid.stores.postgres_schema import (
    Month,
    make_partitions,
    migrate,
    month_of,
    months_ahead,
    schema_version,
)
from whodid.stores.postgres_seal import Sealer, has_passed_by, is_sweep_due, is_waiting
from whodid.stores.postgres_sealing import SealingThread, Waiting
from whodid.stores.reading import StoreReading
from whodid.stores.searching import Decisions
from whodid.times import Instant

FAILURE_REMEMBERED_S = 30.0
LOOK_FOR_SWEEP_S = 600.0
_NOT_OURS_TO_SEAL = (
    errors.InsufficientPrivilege,
    errors.ReadOnlySqlTransaction,
    errors.LockNotAvailable,
)

_log = logging.getLogger("whodid.sealer")


class PostgresStore(StoreReading):
    """An `EventStore` in a PostgreSQL database."""

    def __init__(self, url: str, *, create: bool = True, indexes: bool = True) -> None:
        """Connect, bring the schema up to date, and seal what waits.

        Args:
            url: As libpq reads it: `postgresql://user:password@host:port/database`.
            create: Make our tables when there are none.
            indexes: Events stored in a host's transactions are sealed by a thread here; without,
                another process is to.

        Raises:
            ConfigError: The URL, the user or the database is wrong, or a newer whodid made it.
            StoreUnavailableError: The server is down, full or read-only.
        """
        self._begin(url, indexes=indexes)
        try:
            with self._connections.connection() as connection:
                if not create and not schema_version(connection):
                    raise ConfigError(
                        f"{self._connections.where} holds no log; check --db or WHODID_DB"
                    )
                migrate(connection)
                self._catch_up(connection)
        except BaseException:
            self._connections.close()
            raise

    def _begin(self, url: str, *, indexes: bool, keeps_connections: bool = True) -> None:
        """Set up everything that needs no connection."""
        self._url, self._indexes = url, indexes
        self._connections = Connections(url, keeps=keeps_connections)
        self._failure: tuple[float, StoreUnavailableError] | None = None
        self._months: set[Month] = set()
        self._look_at = 0.0
        self._waiting = Waiting()
        self._dictionary = Dictionary()
        self._decisions = Decisions()
        self._sealing = SealingThread(self._work_ahead)

    @cached_property
    def _key(self) -> bytes:
        with self._connections.connection() as connection:
            return postgres_write.index_key(connection)

    @cached_property
    def _sealer(self) -> Sealer:
        return Sealer(key=self._key)

    @property
    def url(self) -> str:
        return self._url

    def append(
        self,
        batch: Sequence[Encoded],
        *,
        writer: str | None = None,
        now: Instant | Sequence[Instant] | None = None,
        connection: object = None,
    ) -> list[Receipt]:
        given = Batch(events=batch, writer=writer, now=now)
        if connection is not None:
            return self._append_within(connection, given)
        [answer] = self.append_each([given])
        if isinstance(answer, ConflictError):
            raise answer
        return answer

    def append_each(self, batches: Sequence[Batch]) -> list[list[Receipt] | ConflictError]:
        ready = [make_ready(batch, key=self._key) for batch in batches]
        if not any(ready):
            return [[] for _ in batches]
        try:
            with self._waiting.announced(ready), self._connections.connection() as connection:
                self._make_partitions(
                    connection, {month_of(e.received_at.micros) for each in ready for e in each}
                )
                answers = postgres_write.append_ready(connection, batches, ready)
                indexes = self._seal_answers(connection, answers)
        except StoreUnavailableError as error:
            self._failure = (time.monotonic(), error)
            raise
        self._failure = None
        return [
            answer
            if isinstance(answer, ConflictError)
            else _receipts(answer, events, indexes=indexes)
            for answer, events in zip(answers, ready, strict=True)
        ]

    def _append_within(self, connection: object, batch: Batch) -> list[Receipt]:
        host = postgres_write.as_connection(connection)
        if not batch.events:
            return []
        with translated("the application's database"):
            receipts = postgres_write.append_within(host, batch)
        if self._indexes:
            self._sealing.wake()
        return receipts

    def _seal_answers(
        self, connection: Connection, answers: Sequence[list[Ready | Stored] | ConflictError]
    ) -> Mapping[EventId, int]:
        """The index of every event that answers; sealed here, or by whoever was faster."""
        wanted = {
            _name(each)
            for answer in answers
            if not isinstance(answer, ConflictError)
            for each in answer
            if not isinstance(each, Stored) or each.index is None
        }
        try:
            indexes = self._waiting.seal(wanted, lambda known: self._seal(connection, known=known))
        except psycopg.Error as error:
            # They are stored, and the next sealer seals them: to say that they are not would have
            # the caller store them again. What is still to be had is that they are on the disk.
            _log.warning("stored, and not sealed yet: %s", type(error).__name__)
            postgres_write.touch(connection, now=Instant.now())
            indexes = {}
        missing = sorted(wanted - indexes.keys())
        if missing:
            indexes |= postgres_write.find_indexes(connection, missing)
        return indexes

    def seal(self, *, everything: bool = False) -> int:
        """Seal all events that are committed now; how many it sealed.

        Durable, idempotent, and safe beside other sealers; a crash leaves what was done.

        Args:
            everything: Look at all events, not only at what came since the last time.
        """
        with self._connections.connection() as connection:
            return len(self._seal(connection, everything=everything))

    def _seal(
        self,
        connection: Connection,
        *,
        known: Mapping[EventId, Ready] | None = None,
        everything: bool = False,
    ) -> dict[EventId, int]:
        indexes: dict[EventId, int] = {}
        while True:
            sealed = self._sealer.seal_once(connection, known=known, everything=everything)
            indexes |= sealed.indexes
            if sealed.is_done:
                return indexes

    def _catch_up(self, connection: Connection) -> None:
        """Have the next months ready, and seal what waits, as far as this user may."""
        try:
            self._make_partitions(connection, months_ahead(Instant.now()))
            if is_waiting(connection):
                self._seal(connection)
        except _NOT_OURS_TO_SEAL:
            pass  # who may only read, here or on a standby, reads what others have sealed

    def _work_ahead(self) -> None:
        """What the thread does again and again."""
        now = Instant.now()
        with self._connections.connection() as connection:
            self._make_partitions(connection, months_ahead(now))
            if is_waiting(connection):
                self._seal(connection)
            if time.monotonic() < self._look_at:
                return
            self._look_at = time.monotonic() + LOOK_FOR_SWEEP_S
            if is_sweep_due(connection, now=now):
                self.sweep()

    def sweep(self) -> int:
        """Seal events that the sealer passed by; how many: 0, unless somebody forged their rows."""
        with self._connections.connection() as connection:
            if not has_passed_by(connection):
                return 0
            sealed = len(self._seal(connection, everything=True))
        _log.error("%d events had been passed by, and are sealed now; who wrote them?", sealed)
        return sealed

    def _make_partitions(
        self, connection: Connection, months: Sequence[Month] | set[Month]
    ) -> None:
        new = [month for month in months if month not in self._months]
        if new:
            make_partitions(connection, new)
            self._months |= set(new)

    def start_indexing(self, *, alone: bool = False) -> None:
        self._sealing.wake()

    def index_now(
        self, *, rebuild: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Seal all that waits; with `rebuild`, whatever the last round is said to have seen.

        There is no index of text to rebuild yet.
        """
        sealed = self.seal(everything=rebuild)
        if progress:
            progress(sealed, sealed)

    def check_health(self) -> None:
        # The last append tells most: on a full disk a small write may still find room.
        if self._failure and time.monotonic() - self._failure[0] < FAILURE_REMEMBERED_S:
            raise self._failure[1]
        with self._connections.connection() as connection:
            postgres_write.touch(connection, now=Instant.now())

    def newest_position(self) -> int:
        with self._connections.connection() as connection:
            return postgres_read.newest_position(connection)

    def verify(
        self, *, access: Access, progress: Callable[[int, int], None] | None = None
    ) -> VerifyReport:
        access.check("verify")
        with self._connections.connection() as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return postgres_verify.verify(
                connection, key=self._key, access=access, progress=progress
            )

    def add_key(self, key: ApiKey) -> None:
        with self._connections.connection() as connection:
            postgres_write.add_key(connection, key)

    def find_key(self, key_id: str) -> ApiKey | None:
        with self._connections.connection() as connection:
            return next(iter(postgres_read.keys(connection, key_id=key_id)), None)

    def keys(self) -> list[ApiKey]:
        with self._connections.connection() as connection:
            return postgres_read.keys(connection)

    def close(self) -> None:
        self._sealing.close()
        self._connections.close()

    @contextmanager
    def _reader(self, access: Access) -> Iterator[postgres_read.Reader]:
        access.check("read")
        with self._connections.connection() as connection:
            yield postgres_read.Reader(
                connection,
                key=self._key,
                access=access,
                dictionary=self._dictionary,
                decisions=self._decisions,
            )

    def _index_key(self) -> bytes:
        return self._key


def _name(answer: Ready | Stored) -> EventId:
    if isinstance(answer, Stored):
        return answer.tenant, bytes.fromhex(answer.id.replace("-", ""))
    return answer.name


def _receipts(
    answers: Sequence[Ready | Stored], events: Sequence[Ready], *, indexes: Mapping[EventId, int]
) -> list[Receipt]:
    receipts = []
    for answer, event in zip(answers, events, strict=True):
        index = indexes.get(_name(answer), answer.index if isinstance(answer, Stored) else None)
        received_at = answer.received_at
        receipts.append(
            Receipt(
                id=answer.id,
                tenant=answer.tenant,
                index=index,
                received_at=Instant.from_micros(received_at)
                if isinstance(received_at, int)
                else received_at,
                duplicate=answer is not event,
            )
        )
    return receipts
