"""The store in PostgreSQL, on a real server: opening, appending, and what it says when it can't."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Iterator

import psycopg
import pytest

from tests.postgres_server import WITH_PASSWORD, PostgresServer, with_database
from whodid import ids
from whodid.errors import AuditError, ConfigError, StoreUnavailableError
from whodid.stores import open_store, postgres_seal
from whodid.stores.base import ApiKey
from whodid.stores.postgres import PostgresStore
from whodid.stores.postgres_schema import PARTITIONED, months_ahead, partition_name
from whodid.testing import (
    EVERYTHING,
    NOON,
    MakeStore,
    StoreContract,
    a_query,
    an_event,
    minutes,
    prepared,
)
from whodid.times import Instant

READER = "whodid_test_reader"


class TestPostgresStore(StoreContract):
    @pytest.fixture
    def make_store(self, postgres_url: str) -> MakeStore:
        return lambda: PostgresStore(postgres_url)


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(postgres_url)
    yield store
    store.close()


def run_sql(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def one_value(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


# -- opening


def _open_and_append(url: str, tenant: str) -> None:
    store = PostgresStore(url)
    for _ in range(10):
        store.append(prepared(*(an_event(tenant=tenant) for _ in range(5)), an_event()))
    store.close()


def test_several_processes_make_the_schema_and_write_at_once(postgres_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_open_and_append, args=(postgres_url, name)) for name in "abcd"
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    store = PostgresStore(postgres_url)
    report = store.verify(access=EVERYTHING)
    store.close()

    assert [worker.exitcode for worker in workers] == [0] * 4
    assert {tree.tenant: tree.size for tree in report.trees} == {
        **dict.fromkeys("abcd", 50),
        "default": 40,
    }
    assert report.is_sound, report.problems


def test_a_url_opens_it_again(postgres_url: str) -> None:
    store = open_store(postgres_url)
    store.append(prepared(an_event()))
    again = open_store(store.url)
    count = again.count(a_query(), access=EVERYTHING).count
    store.close()
    again.close()

    assert count == 1


def test_without_the_driver_the_package_is_named() -> None:
    program = (
        "import sys; sys.modules['psycopg'] = None; from whodid.stores import open_store; "
        "open_store('postgresql://host/log')"
    )

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert ran.returncode == 1
    assert ran.stderr.endswith(
        "ConfigError: postgresql:// needs the package psycopg; pip install 'whodid[postgres]'\n"
    )


def test_partitions_are_there_before_their_month(postgres_url: str, store: PostgresStore) -> None:
    months = months_ahead(Instant.now())

    for table in PARTITIONED:
        for month in months:
            name = partition_name(table, month)
            assert one_value(postgres_url, f"SELECT to_regclass('{name}') IS NOT NULL") is True
    assert len(months) == 3


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "2024-12-31T23:59:59Z"])
def test_an_event_of_any_month_has_a_place(store: PostgresStore, moment: str) -> None:
    times = [Instant.parse(moment), Instant.parse("9999-12-31T23:59:59.999999Z")]
    store.append(prepared(an_event(), an_event()), now=times)

    found = store.page(a_query(), access=EVERYTHING)

    assert [each.received_at for each in found.events] == times[::-1]
    assert store.verify(access=EVERYTHING).is_sound


def test_a_database_of_a_newer_whodid_is_refused(postgres_url: str, store: PostgresStore) -> None:
    run_sql(postgres_url, "INSERT INTO whodid_schema VALUES (99, 'later', 0)")

    with pytest.raises(ConfigError, match="upgrade whodid"):
        PostgresStore(postgres_url)


def test_an_empty_database_is_no_log_unless_one_is_to_be_made(postgres_url: str) -> None:
    with pytest.raises(ConfigError, match="holds no log; check --db"):
        PostgresStore(postgres_url, create=False)
    assert one_value(postgres_url, "SELECT count(*) FROM pg_tables WHERE tablename ~ 'whodid'") == 0


def test_keys_are_kept(store: PostgresStore) -> None:
    key = ApiKey(
        id="k1",
        name="billing\0",
        tenant="acme",
        scopes=frozenset({"ingest", "read"}),
        digest=b"\1" * 32,
        created_at=NOON,
        expires_at=minutes(5),
    )
    store.add_key(key)

    assert (store.find_key("k1"), store.find_key("k2"), store.keys()) == (key, None, [key])


def test_who_may_only_read_reads_what_is_sealed(postgres_url: str, store: PostgresStore) -> None:
    store.append(prepared(an_event()))
    with psycopg.connect(postgres_url) as host:
        store.append(prepared(an_event()), connection=host)
        host.commit()
    run_sql(
        postgres_url,
        f"DROP ROLE IF EXISTS {READER}",
        f"CREATE ROLE {READER} LOGIN",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}",
    )
    reader = PostgresStore(postgres_url.replace("postgres@", f"{READER}@", 1), create=False)
    count = reader.count(a_query(), access=EVERYTHING).count
    with pytest.raises(ConfigError, match="permission denied"):
        reader.append(prepared(an_event()))
    reader.close()
    run_sql(postgres_url, f"DROP OWNED BY {READER}", f"DROP ROLE {READER}")

    assert count >= 1


def test_the_isolation_that_a_database_prefers_changes_nothing(postgres_url: str) -> None:
    name = one_value(postgres_url, "SELECT current_database()")
    run_sql(
        postgres_url, f'ALTER DATABASE "{name}" SET default_transaction_isolation = serializable'
    )
    stores = [PostgresStore(postgres_url) for _ in range(4)]
    threads = [threading.Thread(target=_append_often, args=(each,), daemon=True) for each in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = stores[0].verify(access=EVERYTHING)
    for each in stores:
        each.close()

    assert (report.events, report.problems) == (40, [])


def _append_often(store: PostgresStore) -> None:
    for _ in range(10):
        [receipt] = store.append(prepared(an_event()))
        assert receipt.index is not None


# -- appending


def test_receipts_wait_for_no_sealer_that_hangs(
    postgres_url: str, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_seal, "LOCK_TIMEOUT", "50ms")
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT position FROM whodid_seal FOR UPDATE")
        [receipt] = store.append(prepared(an_event(id=ids.uuid7())))
        other.rollback()
    store.seal()

    found = store.find(receipt.id, access=EVERYTHING)

    assert receipt.index is None
    assert found is not None
    assert found.index == 0


def test_a_double_of_what_is_not_sealed_yet_is_one(
    postgres_url: str, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_seal, "LOCK_TIMEOUT", "50ms")
    event = an_event(id=ids.uuid7())
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT position FROM whodid_seal FOR UPDATE")
        [first] = store.append(prepared(event))
        [again] = store.append(prepared(event))
        other.rollback()
    [sealed] = store.append(prepared(event))

    assert [(each.index, each.duplicate) for each in (first, again, sealed)] == [
        (None, False),
        (None, True),
        (0, True),
    ]


def test_many_events_are_one_append(store: PostgresStore) -> None:
    events = [an_event(actor=f"user{number}", tenant=f"t{number % 7}") for number in range(4_500)]

    receipts = store.append(prepared(*events))

    assert [each.index for each in receipts] == [number // 7 for number in range(4_500)]
    assert store.newest_position() == 4_500


def test_a_connection_that_the_server_ended_is_replaced(
    postgres_url: str, store: PostgresStore
) -> None:
    store.append(prepared(an_event()))
    run_sql(
        postgres_url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )

    [receipt] = store.append(prepared(an_event()))

    assert receipt.index == 1


def test_no_session_keeps_anything_between_two_uses(
    postgres_url: str, store: PostgresStore
) -> None:
    """As pgbouncer demands it, which gives each transaction whatever connection is free."""
    store.append(prepared(*(an_event() for _ in range(50))))
    store.count(a_query("alice invoice"), access=EVERYTHING)
    with store._connections.connection() as connection:
        prepared_statements = connection.execute("SELECT count(*) FROM pg_prepared_statements")
        locks = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        settings = connection.execute(
            "SELECT count(*) FROM pg_settings WHERE source = 'session' "
            "AND name NOT IN ('client_encoding', 'application_name')"
        )

        assert prepared_statements.fetchone() == (0,)
        assert locks.fetchone() == (0,)
        assert settings.fetchone() == (0,)


# -- what it says when it can't


def _complaint(url: str) -> AuditError:
    with pytest.raises(AuditError) as caught:
        PostgresStore(url).close()
    return caught.value


def test_a_server_that_is_down_is_said_to_be() -> None:
    error = _complaint("postgresql://nobody:secret@127.0.0.1:1/whodid")

    assert isinstance(error, StoreUnavailableError)
    assert "PostgreSQL at 127.0.0.1:1, database whodid: no connection" in str(error)
    assert "secret" not in str(error)


def test_a_missing_database_is_named_with_the_remedy(postgres_url: str) -> None:
    error = _complaint(with_database(postgres_url, "nowhere"))

    assert isinstance(error, ConfigError)
    assert "database nowhere: there is no such database; make it with createdb" in str(error)


def test_a_wrong_password_is_said_to_be(own_url: str) -> None:
    run_sql(
        own_url,
        f"DROP ROLE IF EXISTS {WITH_PASSWORD}",
        f"CREATE ROLE {WITH_PASSWORD} LOGIN PASSWORD 'right'",
    )
    url = own_url.replace("postgres@", f"{WITH_PASSWORD}:wrong@", 1)

    error = _complaint(url)
    run_sql(own_url, f"DROP ROLE {WITH_PASSWORD}")

    assert isinstance(error, ConfigError)
    assert "password is wrong" in str(error)
    assert "wrong@" not in str(error)


def test_a_url_that_cannot_be_read_is_refused() -> None:
    assert isinstance(_complaint("postgresql://user:p%zz@host/db"), ConfigError)


def test_a_read_only_database_is_said_to_be(postgres_url: str, store: PostgresStore) -> None:
    name = one_value(postgres_url, "SELECT current_database()")
    run_sql(postgres_url, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    run_sql(
        postgres_url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )

    with pytest.raises(StoreUnavailableError, match="read-only, as a standby is"):
        store.append(prepared(an_event()))
    with pytest.raises(StoreUnavailableError, match="read-only"):
        store.check_health()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("53100", "disk is full; make room"),
        ("53300", "too many connections"),
        ("40P01", "waited for one another"),
        ("57014", "statement_timeout"),
    ],
)
def test_what_the_server_refuses_is_said_with_the_remedy(
    postgres_url: str, store: PostgresStore, code: str, words: str
) -> None:
    run_sql(
        postgres_url,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON whodid_event_key "
        "FOR EACH ROW EXECUTE FUNCTION refuse()",
    )

    with pytest.raises(StoreUnavailableError, match=words):
        store.append(prepared(an_event()))
    with pytest.raises(StoreUnavailableError, match=words):
        store.check_health()  # the last append tells most


def test_a_missing_table_and_a_missing_right_are_said(
    postgres_url: str, store: PostgresStore
) -> None:
    run_sql(postgres_url, "ALTER TABLE whodid_event_key RENAME TO away")

    with pytest.raises(StoreUnavailableError, match="table or column of the log is missing"):
        store.append(prepared(an_event()))


def test_a_closed_store_says_so(store: PostgresStore) -> None:
    store.close()
    store.close()

    with pytest.raises(StoreUnavailableError, match="closed"):
        store.append(prepared(an_event()))


def test_a_server_that_went_away_is_found_again(own_server: PostgresServer, own_url: str) -> None:
    store = PostgresStore(own_url)
    store.append(prepared(an_event()))
    own_server.own.stop()
    try:
        with pytest.raises(StoreUnavailableError, match="try again"):
            store.append(prepared(an_event()))
    finally:
        own_server.own.start()

    [receipt] = store.append(prepared(an_event()))

    store.check_health()
    store.close()

    assert receipt.index == 1
