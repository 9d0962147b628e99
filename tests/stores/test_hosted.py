"""The log in an application's own database: in its transactions, on its connections."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from whodid.access import Access
from whodid.errors import ConfigError, ConflictError, StoreUnavailableError
from whodid.stores.migrate import migrate_sqlite
from whodid.stores.sqlite import SqliteStore
from whodid.stores.sqlite_hosted import HostedSqliteStore
from whodid.testing import StoreContract, a_query, an_event, prepared
from whodid.testing.contract import MakeStore

ALL = Access.everything()
ID = "0199d3a0-7b00-7000-8000-000000000001"


def a_connection(path: str | Path = ":memory:") -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE IF NOT EXISTS app (id INTEGER PRIMARY KEY, name TEXT)")
    if not connection.execute(
        "SELECT 1 FROM sqlite_master WHERE name = 'whodid_schema'"
    ).fetchone():
        migrate_sqlite(connection)
    return connection


def a_store(connection: sqlite3.Connection, path: Path | None = None) -> HostedSqliteStore:
    @contextmanager
    def connect() -> Iterator[sqlite3.Connection]:
        yield connection

    return HostedSqliteStore(connect, path=path)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    made = a_connection()
    yield made
    made.close()


class TestContract(StoreContract):
    """A host with one connection for each thread, as frameworks have them."""

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Iterator[MakeStore]:
        path = tmp_path / "app.db"
        made: list[sqlite3.Connection] = []
        local = threading.local()

        @contextmanager
        def connect() -> Iterator[sqlite3.Connection]:
            if not hasattr(local, "connection"):
                local.connection = a_connection(path)
                local.connection.execute("PRAGMA busy_timeout = 20000")
                made.append(local.connection)
            yield local.connection

        yield lambda: HostedSqliteStore(connect, path=path)
        for connection in made:
            connection.close()


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_an_event_is_committed_with_the_change(connection: sqlite3.Connection) -> None:
    store = a_store(connection)
    connection.execute("BEGIN")
    connection.execute("INSERT INTO app (name) VALUES ('a')")
    store.append(prepared(an_event()), connection=connection)
    connection.execute("COMMIT")

    assert (_count(connection, "app"), store.count(a_query(), access=ALL).count) == (1, 1)
    assert store.verify(access=ALL).is_sound


def test_and_rolled_back_with_it(connection: sqlite3.Connection) -> None:
    store = a_store(connection)
    store.append(prepared(an_event()))
    connection.execute("BEGIN")
    connection.execute("INSERT INTO app (name) VALUES ('a')")
    store.append(prepared(an_event(actor="new")), connection=connection)
    connection.execute("ROLLBACK")
    store.append(prepared(an_event(actor="newer")), connection=connection)

    assert (_count(connection, "app"), store.count(a_query(), access=ALL).count) == (0, 2)
    assert [each.index for each in store.read_from(1, access=ALL)] == [0, 1]
    assert store.verify(access=ALL).is_sound


def test_a_savepoint_of_the_hosts_takes_its_events_along(connection: sqlite3.Connection) -> None:
    store = a_store(connection)
    connection.execute("BEGIN")
    store.append(prepared(an_event()), connection=connection)
    connection.execute("SAVEPOINT host")
    store.append(prepared(an_event()), connection=connection)
    connection.execute("ROLLBACK TO host")
    store.append(prepared(an_event()), connection=connection)
    connection.execute("COMMIT")

    assert store.count(a_query(), access=ALL).count == 2
    assert store.verify(access=ALL).is_sound


def test_a_failure_leaves_the_hosts_transaction_as_it_was(connection: sqlite3.Connection) -> None:
    store = a_store(connection)
    connection.execute("BEGIN")
    connection.execute("INSERT INTO app (name) VALUES ('a')")
    connection.execute("ALTER TABLE whodid_leaf RENAME TO away")
    with pytest.raises(StoreUnavailableError, match="run its migrations"):
        store.append(prepared(an_event()), connection=connection)
    connection.execute("ALTER TABLE away RENAME TO whodid_leaf")
    connection.execute("INSERT INTO app (name) VALUES ('b')")
    connection.execute("COMMIT")

    assert (_count(connection, "app"), store.count(a_query(), access=ALL).count) == (2, 0)


def test_what_is_not_committed_yet_is_read_on_the_same_connection(
    connection: sqlite3.Connection,
) -> None:
    store = a_store(connection)
    connection.execute("BEGIN")
    store.append(prepared(an_event()), connection=connection)

    assert len(store.page(a_query(), access=ALL).events) == 1
    connection.execute("ROLLBACK")
    assert store.page(a_query(), access=ALL).events == []


def test_the_same_event_again_is_its_first_receipt(connection: sqlite3.Connection) -> None:
    store = a_store(connection)
    event = an_event(id=ID)
    [first] = store.append(prepared(event))
    connection.execute("BEGIN")
    [again] = store.append(prepared(event), connection=connection)
    with pytest.raises(ConflictError):
        store.append(prepared(an_event(id=ID, action="a.b")), connection=connection)
    connection.execute("COMMIT")

    assert (again.id, again.index, again.duplicate) == (first.id, first.index, True)


def test_a_log_of_its_own_takes_a_host_connection_too(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "app.db")
    connection = a_connection(tmp_path / "app.db")
    connection.execute("BEGIN IMMEDIATE")
    store.append(prepared(an_event()), connection=connection)
    connection.execute("ROLLBACK")

    assert store.count(a_query(), access=ALL).count == 0
    with pytest.raises(ConfigError, match="raw connection"):
        store.append(prepared(an_event()), connection=object())
    connection.close()
    store.close()


def test_opening_an_applications_file_leaves_its_journal_as_it_is(tmp_path: Path) -> None:
    connection = a_connection(tmp_path / "app.db")
    hosted = a_store(connection, tmp_path / "app.db")
    hosted.append(prepared(an_event(message="findable words")))

    store = SqliteStore(tmp_path / "app.db", create=False)
    store.index_now()

    assert store.count(a_query("findable"), access=ALL).count == 1
    assert hosted.count(a_query("findable"), access=ALL).count == 1
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    store.close()
    connection.close()


def test_a_database_in_memory_has_no_url(connection: sqlite3.Connection) -> None:
    with pytest.raises(ConfigError, match="memory"):
        _ = a_store(connection).url


def test_a_closed_connection_is_a_store_that_is_not_there(connection: sqlite3.Connection) -> None:
    store = a_store(connection)
    connection.close()

    with pytest.raises(StoreUnavailableError):
        store.append(prepared(an_event()))
