from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from whodid.access import Access
from whodid.errors import ConfigError, StoreUnavailableError
from whodid.stores import open_store
from whodid.stores.base import ApiKey
from whodid.stores.migrate import migrations, statements
from whodid.stores.sqlite import SqliteStore
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


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> MakeStore:
        return lambda: SqliteStore(tmp_path / "log.db")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def _append_many(path: Path, tenant: str, batches: int) -> None:
    store = SqliteStore(path)
    for _ in range(batches):
        store.append(prepared(*(an_event(tenant=tenant) for _ in range(5)), an_event()))
    store.close()


def test_several_processes_write_at_once_without_loss(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_append_many, args=(path, name, 10)) for name in ("a", "b", "c")
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    store = SqliteStore(path)
    report = store.verify(access=EVERYTHING)
    store.close()

    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert {tree.tenant: tree.size for tree in report.trees} == {
        "a": 50,
        "b": 50,
        "c": 50,
        "default": 30,
    }
    assert report.is_sound, report.problems


def test_a_writer_sees_what_another_process_appended(path: Path) -> None:
    store, other = SqliteStore(path), SqliteStore(path)
    store.append(prepared(an_event()))
    other.append(prepared(an_event(actor="bob")))
    [receipt] = store.append(prepared(an_event()))

    found = store.count(a_query("actor:bob"), access=EVERYTHING)
    store.close()
    other.close()

    assert receipt.index == 2
    assert found.count == 1


def test_events_are_committed_with_full_synchronisation(path: Path) -> None:
    store = SqliteStore(path)
    assert store._writing.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert store._writing.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    store.close()


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("Dear diary, " * 200)

    with pytest.raises(ConfigError, match="no SQLite database"):
        SqliteStore(path)

    assert path.read_text().startswith("Dear diary")


def test_a_missing_database_is_not_made_when_it_must_exist(path: Path) -> None:
    with pytest.raises(ConfigError, match="no database at"):
        SqliteStore(path, create=False)

    assert not path.exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="does not exist; create it"):
        SqliteStore(tmp_path / "none" / "log.db")


def test_a_folder_in_place_of_a_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="this is a folder"):
        SqliteStore(tmp_path)


def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    # A process without privileges, since root may write everywhere.
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    for above in (tmp_path, *tmp_path.parents[:4]):
        above.chmod(above.stat().st_mode | 0o055)
    code = (
        "import os, sys\n"
        "from whodid.stores.sqlite import SqliteStore\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        f"SqliteStore({str(folder / 'log.db')!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert "read-only; check its owner and mode" in done.stderr
    assert done.returncode != 0


def test_a_full_disk_stores_nothing_and_says_so(path: Path) -> None:
    store = SqliteStore(path)
    store.append(prepared(an_event()))
    pages = store._writing.execute("PRAGMA page_count").fetchone()[0]
    store._writing.execute(f"PRAGMA max_page_count = {pages}")
    batch = prepared(*(an_event(message="x" * 4000) for _ in range(100)))

    with pytest.raises(StoreUnavailableError, match="the disk is full"):
        store.append(batch)

    store._writing.execute("PRAGMA max_page_count = 1000000")
    assert store.stats(access=EVERYTHING).events == 1
    [receipt] = store.append(batch[:1])
    assert receipt.index == 1
    assert store.verify(access=EVERYTHING).is_sound
    store.close()


@pytest.mark.skipif(os.name != "posix", reason="open files can't be deleted there")
def test_a_deleted_file_is_noticed_before_events_are_lost_with_it(path: Path) -> None:
    store = SqliteStore(path)
    path.unlink()

    with pytest.raises(StoreUnavailableError, match="moved, replaced or deleted"):
        store.append(prepared(an_event()))
    with pytest.raises(StoreUnavailableError):
        store.check_health()
    store.close()


def test_a_store_that_could_not_store_is_not_healthy(path: Path) -> None:
    store = SqliteStore(path)
    pages = store._writing.execute("PRAGMA page_count").fetchone()[0]
    store._writing.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailableError):
        store.append(prepared(*(an_event(message="x" * 4000) for _ in range(50))))

    with pytest.raises(StoreUnavailableError, match="the disk is full"):
        store.check_health()

    store._writing.execute("PRAGMA max_page_count = 1000000")
    store.append(prepared(an_event()))
    store.check_health()
    store.close()


def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    store = SqliteStore(path)
    store.append(prepared(an_event()))

    modes = {file.stat().st_mode & 0o777 for file in path.parent.glob("log.db*")}
    store.close()

    assert modes == {0o600}


def test_reading_makes_no_log_of_an_empty_or_foreign_file(path: Path) -> None:
    path.touch()
    with pytest.raises(ConfigError, match="holds no log"):
        SqliteStore(path, create=False)
    assert path.stat().st_size == 0

    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customer (id INTEGER PRIMARY KEY)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="holds no log"):
        SqliteStore(path, create=False)
    assert path.read_bytes() == before


def test_a_log_without_one_of_its_tables_is_refused_with_a_remedy(path: Path) -> None:
    store = SqliteStore(path)
    store.append(prepared(an_event(targets=[{"type": "invoice", "id": "42"}])))
    store._writing.execute("DROP TABLE whodid_event_ref")

    with pytest.raises(StoreUnavailableError, match="restore a backup"):
        store.verify(access=EVERYTHING)
    store.close()


def test_a_closed_store_says_so(path: Path) -> None:
    store = SqliteStore(path)
    store.close()
    store.close()

    with pytest.raises(StoreUnavailableError, match="closed"):
        store.append(prepared(an_event()))


def test_a_database_of_a_newer_whodid_is_refused(path: Path) -> None:
    SqliteStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO whodid_schema VALUES (9999, 'future', 0)")
    connection.close()

    with pytest.raises(ConfigError, match="upgrade whodid"):
        SqliteStore(path)


def test_the_log_lives_beside_an_applications_own_tables(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE event (id INTEGER PRIMARY KEY)")
    connection.close()

    store = SqliteStore(path)
    store.append(prepared(an_event()))
    tables = store._writing.execute("SELECT name FROM sqlite_master WHERE type = 'table'")

    names = {row[0] for row in tables if not row[0].startswith("sqlite_")}
    assert {name for name in names if not name.startswith("whodid_")} == {"event"}
    store.close()


def test_migrations_are_numbered_without_a_gap_and_end_with_statements() -> None:
    known = migrations("sqlite")

    assert [each.version for each in known] == list(range(1, len(known) + 1))
    for migration in known:
        assert statements(migration.sql)


def test_credentials_are_kept_without_their_secret(path: Path) -> None:
    store = SqliteStore(path)
    key = ApiKey(
        id="k1",
        name="billing",
        tenant="acme",
        scopes=frozenset({"ingest", "read"}),
        digest=b"\1" * 32,
        created_at=NOON,
        expires_at=minutes(5),
    )
    store.add_key(key)

    assert store.find_key("k1") == key
    assert store.find_key("k2") is None
    assert store.keys() == [key]
    store.close()


@pytest.mark.parametrize(
    "url", ["", "whodid.db", "sqlite://", "sqlite:///", "mysql://x/y", "file:///x", "sqlite:x"]
)
def test_a_url_of_no_known_store_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="expected a URL such as"):
        open_store(url)


def test_a_relative_url_names_a_file_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_store("sqlite:///relative.db").close()
    open_store(f"sqlite:///{tmp_path}/absolute.db").close()

    assert (tmp_path / "relative.db").exists()
    assert (tmp_path / "absolute.db").exists()


def test_values_of_other_tenants_are_not_even_asked(path: Path) -> None:
    """The dictionary holds all tenants' values; a search must only try those it may see."""
    store = SqliteStore(path)
    store.append(
        prepared(
            *(an_event(tenant="acme", actor=f"user{number}") for number in range(40)),
            an_event(tenant="beta", actor="user-beta"),
        )
    )
    access = Access.reader({"beta"})

    assert store.count(a_query("actor:user*"), access=access).count == 1
    assert store.count(a_query("-actor:user-beta"), access=access).count == 0
    store.close()
