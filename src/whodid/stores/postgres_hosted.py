"""The log in the application's own PostgreSQL database, written through its own connections.

An event is stored in the transaction of the change that it tells of, with the application's rights,
and sealed after the commit: by a thread in the processes that record, and by whoever reads. Reading
goes over connections of our own, so it sees what is committed and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from psycopg.pq import TransactionStatus

from whodid.access import Access
from whodid.canonical import Encoded
from whodid.errors import ConflictError
from whodid.stores import postgres_read
from whodid.stores.base import Batch, Receipt
from whodid.stores.postgres import PostgresStore
from whodid.stores.postgres_write import as_connection
from whodid.times import Instant

Connect = Callable[[], AbstractContextManager[object]]


class HostedPostgresStore(PostgresStore):
    """An `EventStore` whose events are written over a host's connections. It makes the schema."""

    def __init__(self, connect: Connect, url: str, *, is_test: bool = False) -> None:
        """Take the host's connections. Connects at first need: the tables may come later.

        Args:
            connect: Gives the calling thread's connection, as psycopg 3 has it.
            url: Of the same database, for reading and sealing.
            is_test: Nothing stays open and no thread runs: the database is dropped in a moment.
        """
        self._connect = connect
        self._begin(url, indexes=not is_test, keeps_connections=not is_test)

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
        with self._connect() as own, _ended(own):
            return self._append_within(own, given)

    def append_each(self, batches: Sequence[Batch]) -> list[list[Receipt] | ConflictError]:
        answers: list[list[Receipt] | ConflictError] = []
        with self._connect() as own, _ended(own):
            for batch in batches:
                try:
                    answers.append(self._append_within(own, batch))
                except ConflictError as error:
                    answers.append(error)
        return answers

    def newest_position(self) -> int:
        self._seal_now()
        return super().newest_position()

    @contextmanager
    def _reader(self, access: Access) -> Iterator[postgres_read.Reader]:
        access.check("read")
        self._seal_now()
        with super()._reader(access) as reader:
            yield reader

    def _seal_now(self) -> None:
        """What the application committed a moment ago is found at once."""
        with self._connections.connection() as connection:
            self._catch_up(connection)


@contextmanager
def _ended(connection: object) -> Iterator[None]:
    """End the transaction that a driver without autocommit begins for us, where none was open.

    Left open it would be the host's, which did not begin it.
    """
    own = as_connection(connection)
    is_ours = not own.autocommit and own.info.transaction_status == TransactionStatus.IDLE
    try:
        yield
    except BaseException:
        if is_ours:
            own.rollback()
        raise
    if is_ours:
        own.commit()
