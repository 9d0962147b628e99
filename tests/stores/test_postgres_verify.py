"""Every way to tamper with a database behind the log's back that verification must find."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import errors

from tests.postgres_server import PostgresServer
from whodid import canonical
from whodid.access import Access
from whodid.errors import PermissionRefusedError
from whodid.ledger.merkle import Frontier, leaf_hash
from whodid.stores.base import VerifyReport
from whodid.stores.postgres import PostgresStore
from whodid.testing import EVERYTHING, an_event, minutes, prepared

COLUMNS = [
    (table, column)
    for table, columns in {
        "whodid_event": "received_at arrival id tenant codec body secret gone",
        "whodid_sealed": "received_at arrival position tenant index occurred_at actor action app "
        "country agent id category operation severity outcome plain ip",
        "whodid_event_ref": "received_at hash position kind",
        "whodid_event_key": "id tenant received_at",
        "whodid_leaf": "tenant index position entry",
        "whodid_dict": "ref tenant kind val",
        "whodid_log_state": "tenant log_id size frontier",
        "whodid_seal": "position",
    }.items()
    for column in columns.split()
]


@pytest.fixture(scope="module")
def sound(postgres_server: PostgresServer) -> Iterator[PostgresStore]:
    """A small log with a value in every column. Tests change it in transactions they roll back."""
    with postgres_server.database() as url:
        store = PostgresStore(url, indexes=False)
        for tenant in ("acme", "beta"):
            events = [
                an_event(
                    tenant=tenant,
                    occurred_at=str(minutes(number)),
                    actor={"type": "user", "id": f"u{number}", "name": "Ana"},
                    targets=[{"type": "invoice", "id": str(number)}],
                    outcome="denied" if number % 2 else "success",
                    severity="high",
                    source={"app": "billing"},
                    client={
                        "ip": f"203.0.113.{number}",
                        "user_agent": "curl/8",
                        "geo": {"country": "NO"},
                    },
                    idempotency_key=f"k{number}",
                )
                for number in range(5)
            ]
            store.append(prepared(*events))
        yield store
        store.close()


class _Undo(Exception):
    pass


def _tampered(store: PostgresStore, *statements: str) -> VerifyReport:
    """What verification says inside a transaction that changed something."""
    from whodid.stores import postgres_verify

    report: VerifyReport | None = None
    try:
        with store._connections.connection() as connection, connection.transaction():
            for statement in statements:
                cursor = connection.execute(statement.encode())
                assert cursor.rowcount != 0, statement
            report = postgres_verify.verify(
                connection, key=store._key, access=EVERYTHING, progress=None
            )
            raise _Undo
    except _Undo:
        pass
    assert report is not None
    return report


def test_an_untouched_log_is_sound(sound: PostgresStore) -> None:
    calls: list[tuple[int, int]] = []
    report = sound.verify(access=EVERYTHING, progress=lambda *done: calls.append(done))

    assert report.is_sound, report.problems
    assert report.events == 10
    assert [(tree.tenant, tree.size) for tree in report.trees] == [("acme", 5), ("beta", 5)]
    assert calls[-1] == (10, 10)


def test_every_column_of_the_evidence_is_tried(sound: PostgresStore) -> None:
    """But the transaction's number, which the sealer alone reads, and only before it seals."""
    tables = sorted({table for table, _ in COLUMNS})
    with sound._connections.connection() as connection:
        rows = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns "
            "WHERE table_name = ANY(%s) ORDER BY table_name",
            (tables,),
        ).fetchall()

    untried = {(table, column) for table, column in rows} - set(COLUMNS)
    assert untried == {
        ("whodid_event", "xid"),
        ("whodid_seal", "one"),
        ("whodid_seal", "snapshot"),
        ("whodid_seal", "cluster"),
    }


def _flipped(value: Any, *, byte: int, bit: int) -> Any:  # whatever a column holds
    match value:
        case None:
            return b"{}"
        case bool():
            return not value
        case int():
            return value ^ (1 << (8 * (byte % 4) + bit))
        case UUID():
            return UUID(int=value.int ^ (1 << (8 * byte + bit)))
        case str():
            return _flipped(value.encode(), byte=byte, bit=bit % 3).decode()
        case _:
            place = len(value) - 1 - byte % len(value)
            return value[:place] + bytes([value[place] ^ 1 << bit]) + value[place + 1 :]


@pytest.mark.parametrize("byte", [0, 1, 5])
@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_one_flipped_byte_in_any_column_is_found(
    sound: PostgresStore, table: str, column: str, byte: int
) -> None:
    changed: list[str] = []
    for bit in range(8):  # the first that the database takes
        try:
            report = _with_flip(sound, table, column, byte=byte, bit=bit)
        except (errors.IntegrityError, errors.DataError, errors.ObjectNotInPrerequisiteState):
            continue
        changed.append(column)
        assert not report.is_sound, f"a flipped byte in {table}.{column} went unnoticed"
        break
    assert changed or table in ("whodid_event", "whodid_sealed", "whodid_event_ref")


def _with_flip(
    store: PostgresStore, table: str, column: str, *, byte: int, bit: int
) -> VerifyReport:
    from whodid.stores import postgres_verify

    report: VerifyReport | None = None
    try:
        with store._connections.connection() as connection, connection.transaction():
            if (table, column) == ("whodid_event", "arrival"):
                connection.execute("ALTER TABLE whodid_event ALTER arrival DROP IDENTITY")
            row = connection.execute(
                f'SELECT ctid, tableoid, "{column}" FROM {table} ORDER BY 1 DESC LIMIT 1'.encode()
            ).fetchone()
            assert row is not None
            kind = "smallint" if column in _SMALL else "bigint"
            cast = f"::{kind}" if isinstance(row[2], int) and column != "plain" else ""
            value = _flipped(row[2], byte=byte % 2 if kind == "smallint" else byte, bit=bit)
            changed = connection.execute(
                f'UPDATE {table} SET "{column}" = %s{cast} '
                "WHERE ctid = %s AND tableoid = %s".encode(),
                (value, row[0], row[1]),
            )
            assert changed.rowcount == 1
            report = postgres_verify.verify(
                connection, key=store._key, access=EVERYTHING, progress=None
            )
            raise _Undo
    except _Undo:
        pass
    assert report is not None
    return report


_SMALL = ("codec", "category", "operation", "severity", "outcome", "kind")


@pytest.mark.parametrize(
    "statements",
    [
        ["DELETE FROM whodid_event WHERE arrival = 3"],
        ["DELETE FROM whodid_sealed WHERE position = 3"],
        ["DELETE FROM whodid_leaf WHERE position = 3"],
        [
            "DELETE FROM whodid_event WHERE arrival = 3",
            "DELETE FROM whodid_sealed WHERE position = 3",
            "DELETE FROM whodid_leaf WHERE position = 3",
        ],
        ["DELETE FROM whodid_event_ref WHERE position = 3"],
        ["DELETE FROM whodid_event_key WHERE received_at = (SELECT max(received_at) "
         "FROM whodid_event_key)"],
        ["DELETE FROM whodid_log_state WHERE size = 5"],
        ["DELETE FROM whodid_dict WHERE ref = 2"],
        ["INSERT INTO whodid_dict VALUES (99, 1, 2, 'x')"],
        ["INSERT INTO whodid_leaf VALUES (1, 5, 11, decode(repeat('00', 32), 'hex'))"],
        ["INSERT INTO whodid_leaf VALUES (77, 0, 11, decode(repeat('00', 32), 'hex'))"],
        ["INSERT INTO whodid_event_ref SELECT received_at, hash + 1, position, kind "
         "FROM whodid_event_ref WHERE position = 3"],
        ["INSERT INTO whodid_idempotency VALUES ('acme', '', 'x', gen_random_uuid())"],
        ["UPDATE whodid_seal SET position = 11"],
    ],
    ids=lambda statements: statements[0][:60],
)  # fmt: skip
def test_rows_removed_and_added_are_found(sound: PostgresStore, statements: list[str]) -> None:
    assert not _tampered(sound, *statements).is_sound


def test_an_event_rewritten_with_its_leaf_is_found(sound: PostgresStore) -> None:
    """Whoever computes the entry anew changes the root, which the state of the tree tells."""
    with sound._connections.connection() as connection:
        row = connection.execute(
            "SELECT body, secret FROM whodid_event WHERE arrival = 3"
        ).fetchone()
    assert row is not None
    forged = row[0].replace(b"203.0.113", b"198.51.100")
    entry = canonical.recompute_entry(forged, secret=row[1], gone=None)

    report = _tampered(
        sound,
        f"UPDATE whodid_event SET body = '\\x{forged.hex()}' WHERE arrival = 3",
        "UPDATE whodid_sealed SET ip = '\\xc6336402' WHERE position = 3",
        f"UPDATE whodid_leaf SET entry = '\\x{entry.hex()}' WHERE position = 3",
    )

    assert len(report.problems) == 1
    assert "another root" in report.problems[0].what


def test_each_tree_has_the_root_of_its_entries(sound: PostgresStore) -> None:
    with sound._connections.connection() as connection:
        rows = connection.execute(
            "SELECT d.val, l.entry FROM whodid_leaf AS l JOIN whodid_dict AS d ON d.ref = l.tenant "
            'ORDER BY l.tenant, l."index"'
        ).fetchall()

    for tree in sound.verify(access=EVERYTHING).trees:
        frontier = Frontier()
        for tenant, entry in rows:
            if tenant.decode() == tree.tenant:
                frontier.append(leaf_hash(entry))
        assert frontier.root() == tree.root


def test_somebody_limited_to_a_tenant_verifies_that_tree(sound: PostgresStore) -> None:
    access = Access(tenants=frozenset({"acme"}), permissions=frozenset({"read", "verify"}))

    report = sound.verify(access=access)

    assert report.is_sound
    assert [(tree.tenant, tree.size) for tree in report.trees] == [("acme", 5)]
    with pytest.raises(PermissionRefusedError):
        sound.verify(access=Access.reader({"acme"}))


def test_the_store_writes_nothing_when_it_verifies(sound: PostgresStore) -> None:
    with sound._connections.connection() as connection, connection.transaction():
        connection.execute("SET TRANSACTION READ ONLY")
        from whodid.stores import postgres_verify

        report = postgres_verify.verify(
            connection, key=sound._key, access=EVERYTHING, progress=None
        )

    assert report.is_sound
    assert isinstance(connection, psycopg.Connection)
