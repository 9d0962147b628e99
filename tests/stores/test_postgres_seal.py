"""The sealer: whatever others do, each committed event gets its index once."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.postgres_server import PostgresServer, running_server
from tests.stores.test_postgres import one_value, run_sql
from whodid.stores import postgres_seal
from whodid.stores.postgres import PostgresStore
from whodid.testing import EVERYTHING, NOON, an_event, minutes, prepared


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(postgres_url, indexes=False)
    yield store
    store.close()


def _actors(store: PostgresStore) -> list[str | object]:
    return [each.event.actor.id for each in store.read_from(0, access=EVERYTHING)]


def test_a_long_transaction_holds_nobody_up_and_is_not_passed_by(
    store: PostgresStore, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url) as long, psycopg.connect(postgres_url) as longer:
        store.append(prepared(an_event(actor="longer")), connection=longer)
        store.append(prepared(an_event(actor="long")), connection=long)
        store.append(prepared(an_event(actor="short")))
        long.commit()
        store.append(prepared(an_event(actor="later")))
        longer.commit()
    store.seal()

    assert _actors(store) == ["short", "long", "later", "longer"]
    assert store.verify(access=EVERYTHING).is_sound


def test_a_transaction_that_was_prepared_is_sealed_when_it_commits(
    store: PostgresStore, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url) as connection:
        store.append(prepared(an_event(actor="prepared")), connection=connection)
        connection.execute("PREPARE TRANSACTION 'whodid'")
    store.append(prepared(an_event(actor="other")))
    before = store.seal()
    run_sql(postgres_url, "COMMIT PREPARED 'whodid'")

    assert (before, store.seal(), _actors(store)) == (0, 1, ["other", "prepared"])


def test_a_large_backlog_is_sealed_piece_by_piece(
    store: PostgresStore, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_seal, "BATCH", 10)
    with psycopg.connect(postgres_url) as connection:
        store.append(prepared(*(an_event(actor=f"u{n}") for n in range(35))), connection=connection)
        connection.commit()

    sealed = store.seal()

    assert (sealed, store.seal()) == (35, 0)
    assert _actors(store) == [f"u{number}" for number in range(35)]


@pytest.mark.parametrize("count", [9, 10, 11, 20])
def test_what_was_sealed_is_not_looked_at_again(
    store: PostgresStore, postgres_url: str, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(postgres_seal, "BATCH", 10)
    store.append(prepared(*(an_event() for _ in range(count))))

    again = one_value(
        postgres_url,
        "SELECT count(*) FROM whodid_event AS e, whodid_seal AS s "
        "WHERE NOT pg_visible_in_snapshot(e.xid, s.snapshot)",
    )

    assert (store.newest_position(), again) == (count, 0)


def test_sealing_with_nothing_to_seal_writes_nothing(
    store: PostgresStore, postgres_url: str
) -> None:
    store.append(prepared(an_event()))
    before = one_value(postgres_url, "SELECT xmin::text || ctid::text FROM whodid_seal")

    assert store.seal() == 0
    assert one_value(postgres_url, "SELECT xmin::text || ctid::text FROM whodid_seal") == before


@pytest.mark.parametrize(
    "change",
    [
        "tenant = 'other'",
        "id = '00000000-0000-0000-0000-000000000000'",
        "received_at = received_at + 1",
        "body = 'no JSON'",
        "body = replace(convert_from(body, 'UTF8'), '{\"core', '{ \"core')::bytea",
        "body = NULL",
        "secret = NULL",
        "secret = '\\x00'",
        "codec = 7",
        "gone = '{}'",
        "tenant = '\\xff'",
    ],
)
def test_a_row_that_is_no_event_is_put_aside_and_the_others_sealed(
    store: PostgresStore, postgres_url: str, change: str
) -> None:
    with psycopg.connect(postgres_url) as connection:
        store.append(prepared(an_event(actor="bad"), an_event()), connection=connection)
        connection.execute(
            f"UPDATE whodid_event SET {change} "
            "WHERE arrival = (SELECT min(arrival) FROM whodid_event)".encode()
        )
        connection.commit()

    sealed = [store.seal(), store.seal(), store.seal(everything=True)]
    [receipt] = store.append(prepared(an_event()))

    assert (sealed, receipt.index) == ([1, 0, 0], 1)
    [problem, *_] = store.verify(access=EVERYTHING).problems
    assert "no events" in problem.what or "key" in problem.what
    assert one_value(postgres_url, "SELECT count(*) FROM whodid_refused") == 1


def test_an_event_with_a_forged_number_is_reported_and_found_by_a_sweep(
    store: PostgresStore, postgres_url: str
) -> None:
    store.append(prepared(an_event()))
    with psycopg.connect(postgres_url) as connection:
        store.append(prepared(an_event(actor="late")), connection=connection)
        connection.execute("UPDATE whodid_event SET xid = '3'")
        connection.commit()

    missed = store.seal()
    problems = [each.what for each in store.verify(access=EVERYTHING).problems]
    found, again = store.sweep(), store.sweep()

    assert (missed, found, again, _actors(store)) == (0, 1, 0, ["alice", "late"])
    assert problems == ["there are events that the sealer passed by; run whodid index --rebuild"]
    assert store.verify(access=EVERYTHING).is_sound


def test_one_process_a_day_sweeps(store: PostgresStore) -> None:
    with store._connections.connection() as connection:
        due = [
            postgres_seal.is_sweep_due(connection, now=moment)
            for moment in (NOON, minutes(1), minutes(24 * 60 + 1), minutes(24 * 60 + 2))
        ]

    assert due == [True, False, True, False]


def test_a_log_restored_into_another_cluster_goes_on(
    own_server: PostgresServer, own_url: str
) -> None:
    """There transaction numbers begin anew, lower than those that were seen."""
    store = PostgresStore(own_url, indexes=False)
    store.append(prepared(*(an_event(actor=f"u{number}") for number in range(30))))
    with psycopg.connect(own_url) as connection:
        store.append(prepared(an_event(actor="waiting")), connection=connection)
        connection.commit()
    store.close()
    dump = own_server.own.dump(own_url)

    with running_server() as other, other.database() as url:
        other.own.restore(url, dump)
        run_sql(url, "UPDATE whodid_event SET xid = '999999999'", "UPDATE whodid_seal SET snapshot "
                "= '999999990:999999990:'")  # fmt: skip
        restored = PostgresStore(url, indexes=False)
        actors = _actors(restored)
        [receipt] = restored.append(prepared(an_event(actor="new")))
        with psycopg.connect(url) as connection:
            restored.append(prepared(an_event(actor="hosted")), connection=connection)
            connection.commit()
        sealed = restored.seal()
        problems = restored.verify(access=EVERYTHING).problems
        ahead = one_value(
            url,
            "SELECT count(*) FROM whodid_event WHERE xid > pg_snapshot_xmax(pg_current_snapshot())",
        )
        restored.close()

    assert actors == [*(f"u{number}" for number in range(30)), "waiting"]
    assert (receipt.index, sealed, problems, ahead) == (31, 1, [], 0)
