"""Every way to tamper with a file behind the log's back that verification must find."""

from __future__ import annotations

import shutil
import sqlite3
from functools import partial
from pathlib import Path

import pytest

from whodid import canonical
from whodid.access import Access
from whodid.errors import PermissionRefusedError
from whodid.ledger.merkle import Frontier, leaf_hash
from whodid.stores.base import VerifyReport
from whodid.stores.sqlite import SqliteStore
from whodid.testing import EVERYTHING, an_event, minutes, prepared


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small log with a value in every column."""
    path = tmp_path_factory.mktemp("sound") / "log.db"
    store = SqliteStore(path)
    for tenant in ("acme", "beta"):
        store.append(
            prepared(
                *(
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
                )
            )
        )
    store.close()
    return path


def _columns() -> list[tuple[str, str]]:
    """Every column of the tables that hold evidence, read from the schema itself."""
    from whodid.stores.migrate import migrations, statements

    connection = sqlite3.connect(":memory:")
    for migration in migrations("sqlite"):
        for statement in statements(migration.sql):
            connection.execute(statement)
    tables = ("event", "event_ref", "leaf", "dict", "log_state")
    columns = [
        (f"whodid_{table}", row[1])
        for table in tables
        for row in connection.execute(f"PRAGMA table_info(whodid_{table})")
    ]
    connection.close()
    return columns


COLUMNS = _columns()


def _tampered(sound: Path, tmp_path: Path, *statements: str) -> VerifyReport:
    path = tmp_path / "tampered.db"
    shutil.copy(sound, path)
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        assert connection.execute(statement).rowcount != 0, statement
    connection.close()
    store = SqliteStore(path)
    report = store.verify(access=EVERYTHING)
    store.close()
    return report


Stored = str | bytes | int | None


def _flipped(value: Stored, *, byte: int, bit: int) -> Stored:
    """The same value with one bit changed in its byte number `byte` (counted from the end)."""
    match value:
        case None:
            return b"\0"
        case int():
            return value ^ (1 << (8 * byte + bit))
        case bytes():
            place = len(value) - 1 - byte % len(value)
            return value[:place] + bytes([value[place] ^ 1 << bit]) + value[place + 1 :]
        case str():
            flipped = _flipped(value.encode(), byte=byte, bit=min(bit, 2))
            assert isinstance(flipped, bytes)
            return flipped.decode()


def test_an_untouched_log_is_sound(sound: Path, tmp_path: Path) -> None:
    report = _tampered(sound, tmp_path)

    assert report.is_sound, report.problems
    assert report.events == 10
    assert [(tree.tenant, tree.size) for tree in report.trees] == [("acme", 5), ("beta", 5)]


def test_the_evidence_tables_are_the_ones_of_the_schema() -> None:
    assert len(COLUMNS) == 20 + 4 + 4 + 4 + 4


@pytest.mark.parametrize("byte", [0, 1, 5])
@pytest.mark.parametrize(
    ("table", "column"), COLUMNS, ids=lambda part: part.removeprefix("whodid_")
)
def test_one_flipped_byte_in_any_column_is_found(
    sound: Path, tmp_path: Path, table: str, column: str, byte: int
) -> None:
    path = tmp_path / "flipped.db"
    shutil.copy(sound, path)
    connection = sqlite3.connect(path, isolation_level=None)
    keys = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[5]]
    order = ", ".join(f'"{key}"' for key in keys)
    where = " AND ".join(f'"{key}" = ?' for key in keys)
    row = connection.execute(
        f"SELECT {order} FROM {table} ORDER BY {order} DESC LIMIT 1"
    ).fetchone()
    for bit in range(8):  # the first that doesn't make a key its neighbour's
        connection.create_function("flip", 1, partial(_flipped, byte=byte, bit=bit))
        try:
            changed = connection.execute(
                f'UPDATE {table} SET "{column}" = flip("{column}") WHERE {where}', row
            )
            break
        except sqlite3.IntegrityError:
            continue
    assert changed.rowcount == 1
    connection.close()

    store = SqliteStore(path)
    report = store.verify(access=EVERYTHING)
    store.close()

    assert not report.is_sound, f"a flipped byte in {table}.{column} went unnoticed"


@pytest.mark.parametrize(
    "statements",
    [
        ["DELETE FROM whodid_event WHERE position = 3"],
        ["DELETE FROM whodid_leaf WHERE position = 3"],
        [
            "DELETE FROM whodid_event WHERE position = 3",
            "DELETE FROM whodid_leaf WHERE position = 3",
        ],
        [
            "DELETE FROM whodid_event WHERE position = 10",
            "DELETE FROM whodid_leaf WHERE position = 10",
        ],
        ["UPDATE whodid_event SET body = NULL WHERE position = 3"],
        ["UPDATE whodid_event SET secret = NULL WHERE position = 3"],
        ["DELETE FROM whodid_log_state WHERE tenant = (SELECT max(tenant) FROM whodid_log_state)"],
        ["INSERT INTO whodid_log_state VALUES (99, 'x', 0, x'')"],
        ["DELETE FROM whodid_event_ref WHERE position = 3"],
        ["INSERT INTO whodid_event_ref VALUES (1, 1, 1, 1)"],
        ["INSERT INTO whodid_dict VALUES (999, 1, 2, 'x')"],
        ["UPDATE whodid_counter SET value = 9 WHERE name = 'position'"],
        ["UPDATE whodid_idempotency SET id = x'00'"],
        ["UPDATE whodid_event SET outcome = 0 WHERE outcome = 2"],
    ],
    ids=lambda statements: statements[0][:60],
)
def test_rows_removed_added_or_rewritten_are_found(
    sound: Path, tmp_path: Path, statements: list[str]
) -> None:
    assert not _tampered(sound, tmp_path, *statements).is_sound


@pytest.mark.parametrize(
    "statement",
    [
        "DROP INDEX whodid_e_time",
        "CREATE TRIGGER quiet AFTER INSERT ON whodid_event BEGIN DELETE FROM whodid_event; END",
        "CREATE INDEX whodid_extra ON whodid_event (id)",
    ],
)
def test_a_changed_schema_is_found(sound: Path, tmp_path: Path, statement: str) -> None:
    report = _tampered(sound, tmp_path, statement)

    assert "not those of the schema" in report.problems[0].what


def test_an_index_that_hides_an_event_is_found(sound: Path, tmp_path: Path) -> None:
    """Lists are read through an index: one without a row shows one event less."""
    path = tmp_path / "hidden.db"
    shutil.copy(sound, path)
    connection = sqlite3.connect(path, isolation_level=None)
    name = "whodid_e_time"
    [declared] = connection.execute(
        "SELECT sql FROM sqlite_master WHERE name = ?", (name,)
    ).fetchone()
    connection.execute(f"DROP INDEX {name}")
    connection.execute(f"{declared} WHERE position <> 3")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (declared, name))
    connection.close()

    store = SqliteStore(path)
    report = store.verify(access=EVERYTHING)
    store.close()

    assert "contradicts itself" in report.problems[0].what


def test_two_swapped_events_are_found(sound: Path, tmp_path: Path) -> None:
    report = _tampered(
        sound,
        tmp_path,
        'UPDATE whodid_event SET position = 1000, "index" = 1000 WHERE position = 2',
        'UPDATE whodid_event SET position = 2, "index" = 1 WHERE position = 3',
        'UPDATE whodid_event SET position = 3, "index" = 2 WHERE position = 1000',
    )

    assert not report.is_sound


def test_a_rewritten_body_with_a_recomputed_leaf_is_found_by_the_root(
    sound: Path, tmp_path: Path
) -> None:
    """Whoever can write the file can make an event and its leaf agree, but not with the tree."""
    path = tmp_path / "rewritten.db"
    shutil.copy(sound, path)
    connection = sqlite3.connect(path, isolation_level=None)
    body, secret = connection.execute(
        "SELECT body, secret FROM whodid_event WHERE position = 3"
    ).fetchone()
    body = body.replace(b"203.0.113.2", b"203.0.113.9")
    entry = canonical.recompute_entry(body, secret=secret, gone=None)
    connection.execute(
        "UPDATE whodid_event SET body = ?, ip = ? WHERE position = 3", (body, b"\xcb\x00\x71\x09")
    )
    connection.execute("UPDATE whodid_leaf SET entry = ? WHERE position = 3", (entry,))
    connection.close()

    store = SqliteStore(path)
    report = store.verify(access=EVERYTHING)
    store.close()

    assert [problem.index for problem in report.problems] == [None]
    assert "another root" in report.problems[0].what


def test_a_silent_erasure_is_found(sound: Path, tmp_path: Path) -> None:
    """A unit replaced by its true digest still leads to the leaf; no record excuses it."""
    path = tmp_path / "erased.db"
    shutil.copy(sound, path)
    connection = sqlite3.connect(path, isolation_level=None)
    body, secret = connection.execute(
        "SELECT body, secret FROM whodid_event WHERE position = 3"
    ).fetchone()
    erased = canonical.erase_units(body, secret=secret, gone=None, paths=["/actor"])
    connection.execute(
        "UPDATE whodid_event SET body = ?, secret = ?, gone = ? WHERE position = 3", erased
    )
    connection.close()

    store = SqliteStore(path)
    report = store.verify(access=EVERYTHING)
    store.close()

    assert [problem.what for problem in report.problems][:1] == [
        "units were erased without a control record"
    ]


def test_an_auditor_of_one_tenant_verifies_that_tree_alone(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    shutil.copy(sound, path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE whodid_event SET outcome = 3 WHERE position = 10")  # beta's
    connection.close()
    store = SqliteStore(path)

    acme = store.verify(
        access=Access(tenants=frozenset({"acme"}), permissions=frozenset({"verify"}))
    )
    beta = store.verify(
        access=Access(tenants=frozenset({"beta"}), permissions=frozenset({"verify"}))
    )

    assert (acme.is_sound, acme.events) == (True, 5)
    assert not beta.is_sound
    with pytest.raises(PermissionRefusedError):
        store.verify(access=Access.reader({"acme"}))
    store.close()


def test_the_reported_root_is_the_root_of_the_leaves(sound: Path) -> None:
    store = SqliteStore(sound)
    report = store.verify(access=EVERYTHING)
    store.close()
    connection = sqlite3.connect(sound)
    for tree in report.trees:
        frontier = Frontier()
        for (entry,) in connection.execute(
            "SELECT l.entry FROM whodid_leaf AS l JOIN whodid_log_state AS s "
            'ON s.tenant = l.tenant WHERE s.log_id = ? ORDER BY l."index"',
            (tree.log_id,),
        ):
            frontier.append(leaf_hash(entry))
        assert frontier.root() == tree.root
    connection.close()


def test_progress_ends_at_the_total(sound: Path) -> None:
    store = SqliteStore(sound)
    told: list[tuple[int, int]] = []
    store.verify(access=EVERYTHING, progress=lambda done, total: told.append((done, total)))
    store.close()

    assert told[-1] == (10, 10)
