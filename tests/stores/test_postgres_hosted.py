"""Events in an application's own transactions on PostgreSQL, with the right to INSERT alone."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.rows import dict_row, tuple_row

from tests.stores.test_postgres import one_value, run_sql
from whodid import ids
from whodid.errors import ConfigError, ConflictError, StoreUnavailableError
from whodid.stores.postgres import PostgresStore
from whodid.testing import EVERYTHING, a_query, an_event, prepared
from whodid.times import Instant

APP_ROLE = "whodid_test_app"

Host = psycopg.Connection[Any]


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    """A store that seals when a test says so."""
    store = PostgresStore(postgres_url, indexes=False)
    yield store
    store.close()


@pytest.fixture
def host(postgres_url: str, store: PostgresStore) -> Iterator[Host]:
    """The application's connection, as psycopg opens one: its first statement begins."""
    with psycopg.connect(postgres_url, row_factory=dict_row) as connection:
        connection.execute("CREATE TABLE app (name text)")
        connection.commit()
        yield connection
        connection.rollback()


@pytest.fixture
def inserter(postgres_url: str, store: PostgresStore) -> Iterator[Host]:
    """A connection of a role that may insert events, and nothing else."""
    run_sql(
        postgres_url,
        f"DROP ROLE IF EXISTS {APP_ROLE}",
        f"CREATE ROLE {APP_ROLE} LOGIN",
        f"GRANT INSERT ON whodid_event, whodid_event_key, whodid_idempotency TO {APP_ROLE}",
    )
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"SET ROLE {APP_ROLE}")
        yield connection
    run_sql(postgres_url, f"DROP OWNED BY {APP_ROLE}", f"DROP ROLE {APP_ROLE}")


def _count(connection: Host, table: str) -> int:
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        row = cursor.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def test_an_event_is_committed_with_the_change(store: PostgresStore, host: Host) -> None:
    host.execute("INSERT INTO app VALUES ('a')")
    [receipt] = store.append(prepared(an_event()), connection=host)
    before = store.seal()
    host.commit()
    after = store.seal()

    found = store.find(receipt.id, access=EVERYTHING)

    assert (receipt.index, before, after) == (None, 0, 1)
    assert found is not None
    assert found.index == 0
    assert (_count(host, "app"), store.verify(access=EVERYTHING).problems) == (1, [])


def test_and_rolled_back_with_it(store: PostgresStore, host: Host) -> None:
    store.append(prepared(an_event()), connection=host)  # the first statement, too
    host.rollback()

    assert store.seal() == 0
    assert _count(host, "whodid_event_key") == 0


def test_without_a_transaction_it_is_durable_when_it_returns(
    store: PostgresStore, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        store.append(prepared(an_event()), connection=connection)

        assert store.seal() == 1


def test_a_savepoint_of_the_hosts_takes_its_events_along(store: PostgresStore, host: Host) -> None:
    store.append(prepared(an_event(actor="first")), connection=host)
    with host.transaction(force_rollback=True):
        store.append(prepared(an_event(actor="gone")), connection=host)
    store.append(prepared(an_event(actor="last")), connection=host)
    host.commit()
    store.seal()

    found = store.read_from(0, access=EVERYTHING)

    assert [each.event.actor.id for each in found] == ["first", "last"]


def test_events_of_one_transaction_keep_their_order(store: PostgresStore, host: Host) -> None:
    for number in range(10):
        store.append(
            prepared(*(an_event(actor=f"{number}.{place}") for place in range(5))), connection=host
        )
    host.commit()
    store.seal()

    found = store.read_from(0, access=EVERYTHING)

    assert [each.event.actor.id for each in found] == [
        f"{number}.{place}" for number in range(10) for place in range(5)
    ]


def test_a_failure_leaves_the_hosts_transaction_as_it_was(
    store: PostgresStore, host: Host, postgres_url: str
) -> None:
    run_sql(postgres_url, "ALTER TABLE whodid_event RENAME TO away")
    host.execute("INSERT INTO app VALUES ('a')")
    with pytest.raises(StoreUnavailableError, match="table or column of the log is missing"):
        store.append(prepared(an_event()), connection=host)
    host.execute("INSERT INTO app VALUES ('b')")
    host.commit()

    assert _count(host, "app") == 2
    assert _count(host, "whodid_event_key") == 0


def test_a_transaction_that_failed_before_is_said_to_have(store: PostgresStore, host: Host) -> None:
    with pytest.raises(errors.UndefinedTable):
        host.execute("SELECT 1 FROM nowhere")

    with pytest.raises(StoreUnavailableError, match="roll it back first"):
        store.append(prepared(an_event()), connection=host)


def test_a_double_has_the_first_receipt_and_another_body_conflicts(
    store: PostgresStore, host: Host
) -> None:
    event = an_event(id=ids.uuid7(), idempotency_key="k")
    [first] = store.append(prepared(event), connection=host)
    [again] = store.append(prepared(event), connection=host)
    with pytest.raises(ConflictError) as caught:
        store.append(
            prepared(an_event(), an_event(idempotency_key="k", actor="mallory")), connection=host
        )
    host.commit()

    assert (again.id, again.received_at, again.duplicate) == (first.id, first.received_at, True)
    assert (caught.value.path, caught.value.index) == ("/actor", 1)
    assert store.seal() == 1


def test_a_batch_may_hold_doubles_and_new_events(store: PostgresStore, host: Host) -> None:
    known, new = an_event(id=ids.uuid7()), an_event(id=ids.uuid7())
    [stored] = store.append(prepared(known))

    receipts = store.append(prepared(new, known, new), connection=host)
    host.commit()

    assert [(each.index, each.duplicate) for each in receipts] == [
        (None, False),
        (stored.index, True),
        (None, True),
    ]
    assert store.seal() == 1


@pytest.mark.parametrize("count", [1, 3, 40])
def test_the_right_to_insert_is_enough(store: PostgresStore, inserter: Host, count: int) -> None:
    events = [an_event(idempotency_key=f"k{number}") for number in range(count)]
    with inserter.transaction():
        store.append(prepared(*events), connection=inserter)

    assert store.seal() == count
    assert store.verify(access=EVERYTHING).is_sound


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT body FROM whodid_event",
        "SELECT id FROM whodid_event_key",
        "SELECT position FROM whodid_sealed",
        "SELECT value FROM whodid_setting",
        "UPDATE whodid_event SET codec = 1",
        "DELETE FROM whodid_event",
        "DELETE FROM whodid_event_key",
        "TRUNCATE whodid_event",
        "INSERT INTO whodid_leaf VALUES (1, 0, 1, '')",
        "UPDATE whodid_seal SET position = 0",
    ],
)
def test_and_gives_no_other(store: PostgresStore, inserter: Host, statement: str) -> None:
    store.append(prepared(an_event()), connection=inserter)

    with pytest.raises(errors.InsufficientPrivilege):
        inserter.execute(statement.encode())


def test_without_the_right_to_read_doubles_are_known_but_not_compared(
    store: PostgresStore, inserter: Host
) -> None:
    event_id = ids.uuid7()
    events = [an_event(id=event_id), an_event(idempotency_key="k")]
    first = store.append(prepared(*events), connection=inserter)
    again = store.append(prepared(*events, an_event()), connection=inserter)
    other = store.append(prepared(an_event(id=event_id, actor="mallory")), connection=inserter)

    assert [each.duplicate for each in again] == [True, True, False]
    assert [each.id for each in again[:2]] == [each.id for each in first]
    assert other[0].duplicate
    assert store.seal() == 3


def test_a_missing_right_is_named(store: PostgresStore, inserter: Host, postgres_url: str) -> None:
    run_sql(postgres_url, f"REVOKE INSERT ON whodid_event FROM {APP_ROLE}")

    with pytest.raises(ConfigError, match="permission denied for table whodid_event; grant"):
        store.append(prepared(an_event()), connection=inserter)
    assert one_value(postgres_url, "SELECT count(*) FROM whodid_event_key") == 0


def test_new_values_in_opposite_order_hold_nobody_up(
    store: PostgresStore, postgres_url: str
) -> None:
    apples, pears = an_event(actor="apples"), an_event(actor="pears")
    with psycopg.connect(postgres_url) as one, psycopg.connect(postgres_url) as other:
        for connection in (one, other):
            connection.execute("SET LOCAL lock_timeout = '1s'")
        store.append(prepared(apples), connection=one)
        store.append(prepared(pears), connection=other)
        store.append(prepared(pears), connection=one)
        store.append(prepared(apples), connection=other)
        one.commit()
        other.commit()

    assert store.seal() == 4


@pytest.mark.parametrize("given", [object(), sqlite3.Connection])
def test_only_raw_connections_of_psycopg_are_taken(store: PostgresStore, given: object) -> None:
    with pytest.raises(ConfigError, match=r"expected a psycopg\.Connection"):
        store.append(prepared(an_event()), connection=given)


def test_a_month_without_a_partition_is_named(
    store: PostgresStore, host: Host, postgres_url: str
) -> None:
    with pytest.raises(StoreUnavailableError, match="no partition for the month"):
        store.append(
            prepared(an_event()), now=Instant.parse("2300-01-01T00:00:00Z"), connection=host
        )


def test_what_a_host_commits_is_sealed_without_being_asked(
    postgres_url: str, host: Host, store: PostgresStore
) -> None:
    sealing = PostgresStore(postgres_url)
    sealing.append(prepared(an_event()), connection=host)
    committed = time.monotonic()
    host.commit()
    while not sealing.newest_position():
        assert time.monotonic() < committed + 10, "nobody sealed it"
    sealing.close()

    assert sealing is not store
    assert store.count(a_query(), access=EVERYTHING).count == 1
