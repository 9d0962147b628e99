"""Every store's searches agree with `evaluate`.

Every example is a log of its own and several searches made from the values that occur in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.postgres_server import PostgresServer
from tests.stores.agreement import ACCESS, EXAMPLES, check_a_log
from whodid.query.ast import Query
from whodid.stores.postgres import PostgresStore
from whodid.stores.sqlite import SqliteStore

_settings = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
# An example takes four times as long there, and most of the walk is the same.
_postgres_settings = settings(_settings, max_examples=max(EXAMPLES // 4, 1))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty log; every example works on a copy, since examples must not see each other."""
    path = tmp_path_factory.mktemp("agreement") / "empty.db"
    SqliteStore(path).close()
    return path


@_settings
@given(data=st.data())
def test_every_search_finds_what_evaluate_accepts(empty: Path, data: st.DataObject) -> None:
    path = empty.with_name("log.db")
    shutil.copy(empty, path)
    store = SqliteStore(path)

    def select(query: Query) -> tuple[set[int], bool]:
        with store._reader(ACCESS) as reader:
            where = reader._search(query).where
            rows = reader._connection.execute(
                f"SELECT position FROM whodid_event WHERE {where.sql}", where.params
            )
            return {row[0] for row in rows}, where.exact

    try:
        check_a_log(store, data, select=select)
    finally:
        store.close()


@pytest.fixture(scope="module")
def shared_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A log that every example empties, which is faster than a database for each."""
    with postgres_server.database() as url:
        PostgresStore(url).close()
        yield url


def _empty(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "TRUNCATE whodid_event, whodid_event_key, whodid_sealed, whodid_event_ref, "
            "whodid_leaf, whodid_log_state, whodid_dict, whodid_idempotency, whodid_refused"
        )
        connection.execute("UPDATE whodid_seal SET position = 0, snapshot = NULL")


@_postgres_settings
@given(data=st.data())
def test_so_does_every_search_in_postgresql(shared_url: str, data: st.DataObject) -> None:
    _empty(shared_url)
    store = PostgresStore(shared_url)

    def select(query: Query) -> tuple[set[int], bool]:
        with store._reader(ACCESS) as reader:
            where = reader._search(query).where
            rows = reader._execute(
                f"SELECT s.position FROM whodid_sealed AS s WHERE {where.sql}", where.params
            )
            return {row[0] for row in rows}, where.exact

    try:
        check_a_log(store, data, select=select)
    finally:
        store.close()
