"""The dictionary: texts by number, and which values pass a term, however many there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from whodid.errors import LedgerError
from whodid.query.ast import Term
from whodid.stores import dictionary as dictionary_module
from whodid.stores.dictionary import Dictionary, DictKind
from whodid.stores.sqlite import SqliteStore
from whodid.stores.sqlite_indexer import advance
from whodid.stores.sqlite_text import ValueStep
from whodid.stores.sqlite_values import OpenDictionary
from whodid.testing import an_event, prepared


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "log.db")
    yield store
    store.close()


@pytest.fixture
def connection(store: SqliteStore) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(store.path, isolation_level=None)
    yield connection
    connection.close()


def add_actors(store: SqliteStore, *names: str, tenant: str = "acme") -> None:
    store.append(prepared(*(an_event(actor=name, tenant=tenant) for name in names)))


def index(connection: sqlite3.Connection) -> None:
    step = ValueStep()
    while advance(connection, step, to=step.newest(connection)):
        pass


def passing(dictionary: OpenDictionary, text: str, **options: object) -> list[str] | None:
    """The ids of the actors that pass `actor.id:text`."""
    refs = dictionary.refs_that_pass(
        DictKind.ACTOR,
        Term("actor.id", ":", text),
        **{"tenants": None, **options},  # type: ignore[arg-type]  # mypy can't look in
    )
    if refs is None:
        return None
    return [dictionary.text(ref).split('"')[3] for ref in refs]


def test_new_values_are_asked_and_old_ones_remembered(
    store: SqliteStore, connection: sqlite3.Connection
) -> None:
    shared = Dictionary()
    add_actors(store, "ana", "bob")
    index(connection)
    assert passing(OpenDictionary(shared, connection), "*a*") == ["ana"]

    add_actors(store, "carla", "dorothy")
    index(connection)
    add_actors(store, "eva", "fritz")

    assert passing(OpenDictionary(shared, connection), "*a*") == ["ana", "carla", "eva"]
    assert passing(OpenDictionary(shared, connection), "EVA") == ["eva"]


def test_values_of_other_tenants_do_not_count(
    store: SqliteStore, connection: sqlite3.Connection
) -> None:
    add_actors(store, "ana", tenant="acme")
    add_actors(store, "ana", tenant="beta")
    index(connection)
    dictionary = OpenDictionary(Dictionary(), connection)
    [acme] = [value.ref for value in dictionary.values(DictKind.TENANT) if value.text == "acme"]

    assert passing(dictionary, "ana") == ["ana", "ana"]
    assert passing(dictionary, "ana", tenants={acme: "acme"}) == ["ana"]
    assert passing(dictionary, "a*", tenants={acme: "acme"}) == ["ana"]


def test_too_many_values_are_not_looked_through(
    store: SqliteStore, connection: sqlite3.Connection
) -> None:
    add_actors(store, *(f"user-{number}" for number in range(20)))
    index(connection)
    dictionary = OpenDictionary(Dictionary(), connection)

    assert passing(dictionary, "user-7", most=19) == ["user-7"]
    assert passing(dictionary, "user*", most=19) is None
    assert len(passing(dictionary, "user*", most=20) or ()) == 20
    assert passing(dictionary, "user*", most=19) is None


def test_an_index_entry_is_read_only_for_values_with_the_words(
    store: SqliteStore, connection: sqlite3.Connection
) -> None:
    add_actors(store, *(f"user-{number}" for number in range(20)))
    index(connection)
    rows = OpenDictionary(Dictionary(), connection)._candidates(
        DictKind.ACTOR, Term("actor.id", ":", "user-7"), tenants=None, after=0, newest=10_000
    )

    assert len(list(rows)) == 1


def test_texts_come_by_number_from_a_cache_of_bounded_size(
    store: SqliteStore, connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dictionary_module, "MAX_TEXTS", 5)
    add_actors(store, *(f"user-{number}" for number in range(20)))
    shared = Dictionary()
    dictionary = OpenDictionary(shared, connection)
    refs = connection.execute("SELECT ref, val FROM whodid_dict ORDER BY ref").fetchall()

    for _ in range(2):
        assert [(ref, dictionary.text(ref)) for ref, _ in refs] == refs
    assert len(shared._texts) == 5
    assert dictionary.text(0) == ""


def test_what_was_decided_is_kept_within_bounds(
    store: SqliteStore, connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dictionary_module, "MAX_DECIDED_REFS", 30)
    add_actors(store, *(f"user-{number}" for number in range(20)))
    shared = Dictionary()
    dictionary = OpenDictionary(shared, connection)

    for pattern in ("u*", "us*", "use*", "user*"):
        assert len(passing(dictionary, pattern) or ()) == 20

    assert sum(len(each.refs) for each in shared._decided.values()) <= 30


def test_a_value_that_is_gone_is_told(store: SqliteStore, connection: sqlite3.Connection) -> None:
    add_actors(store, "ana")

    with pytest.raises(LedgerError, match="run whodid verify"):
        OpenDictionary(Dictionary(), connection).text(999)
