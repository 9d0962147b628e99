"""The columns: they say what the events say, whatever of them the indexer has reached."""

from __future__ import annotations

import ipaddress
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from msgspec import UNSET, structs

from tests.strategies import events, query_nodes
from whodid.access import Access
from whodid.canonical import Encoded
from whodid.errors import EventError, InvalidError, LedgerError
from whodid.event import Event, StoredEvent, Tenant
from whodid.ids import derived_id
from whodid.query.ast import EVERYTHING, Node, Query, all_of
from whodid.query.evaluate import compile_matcher
from whodid.recorder import prepare
from whodid.stores import columns, sqlite_column_blocks, sqlite_columns, sqlite_read
from whodid.stores.base import FacetField
from whodid.stores.rows import derive_stored
from whodid.stores.sqlite import SqliteStore
from whodid.stores.sqlite_columns import ColumnCache, Columns, Snapshot
from whodid.stores.sqlite_indexer import advance, watermark
from whodid.stores.sqlite_sidecar import ColumnStep, Sidecar
from whodid.testing import (
    EVERYTHING as SEES_ALL,
)
from whodid.testing import (
    NOON,
    MakeStore,
    StoreContract,
    a_query,
    an_event,
    minutes,
    prepared,
)

FIELDS: Sequence[FacetField] = (
    "action", "actor", "app", "category", "country", "ip", "operation", "outcome", "severity",
    "tenant",
)  # fmt: skip
TENANTS = ("acme", "beta", "gamma")
EDGES = [minutes(-1e8), minutes(-30), minutes(0), minutes(1), minutes(1e8)]
SEARCHES = 6
NEVER = 2**62


def open_counting(path: Path, *, least: int = 0) -> SqliteStore:
    """A store that counts in columns from so many events on, without an indexer of its own."""
    store = SqliteStore(path)
    store._indexer.close()
    store._sidecar = Sidecar(least=least)
    return store


def index(path: Path, *, to: int) -> None:
    """Let the columns reach up to a position."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        while watermark(connection, "columns") < to:
            advance(connection, ColumnStep(), to=to)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 4 events that become blocks of 16, so that a few events fill some."""
    make_blocks_small(monkeypatch)


def make_blocks_small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (columns, sqlite_column_blocks):
        monkeypatch.setattr(module, "BLOCK_EVENTS", 16)
    monkeypatch.setattr(sqlite_column_blocks, "_TIERS", (4, 16))
    monkeypatch.setattr(sqlite_column_blocks, "REF_CHUNK", 8)
    monkeypatch.setattr(sqlite_columns, "REF_CHUNK", 8)
    monkeypatch.setattr(sqlite_columns, "GROUP_BLOCKS", 2)
    monkeypatch.setattr(columns, "PIECE_EVENTS", 4)
    monkeypatch.setattr(sqlite_column_blocks, "_LOOKUP", 3)
    monkeypatch.setattr(ColumnStep, "batch", 6)


class TestSqliteStoreThatCountsInColumns(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> MakeStore:
        return lambda: open_counting(tmp_path / "log.db")


# ---- columns of numbers


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=600))
def test_a_column_comes_back_as_it_was_stored(numbers: list[int]) -> None:
    column = columns.make_column(np.array(numbers))
    stored = columns.encode_column(column)

    assert columns.decode_column(stored, size=len(numbers)).numbers.tolist() == numbers


@given(st.lists(st.integers(-(2**62), 2**62 - 1), max_size=50))
def test_times_come_back_as_they_were_stored(moments: list[int]) -> None:
    stored = columns.encode_moments(np.array(moments, np.int64))

    assert columns.decode_moments(stored, size=len(moments)).tolist() == moments


def test_one_value_in_a_whole_block_takes_no_byte_for_an_event() -> None:
    column = columns.make_column(np.full(columns.BLOCK_EVENTS, 7))

    assert len(columns.encode_column(column)) == 9


@pytest.mark.parametrize(
    "damage",
    [
        lambda stored: stored[:-1],
        lambda stored: stored[:3],
        lambda stored: stored + b"\0",
        lambda stored: stored[:-1] + b"\xff",
        lambda stored: b"\x03" + stored[1:],
    ],
)
def test_a_damaged_column_is_refused(damage: Callable[[bytes], bytes]) -> None:
    stored = columns.encode_column(columns.make_column(np.array([1, 2, 3])))

    with pytest.raises(LedgerError, match="run whodid verify"):
        columns.decode_column(damage(stored), size=3)


def test_damaged_times_are_refused() -> None:
    stored = columns.encode_moments(np.array([5, 6]))

    for damaged in (stored[:-1], stored[:4], b"\x05" + stored[1:], stored + b"\0" * 4):
        with pytest.raises(LedgerError):
            columns.decode_moments(damaged, size=2)


def test_the_cache_keeps_the_newest_blocks_within_its_bound() -> None:
    cache = ColumnCache(max_bytes=100)
    for first in (5, 1, 9, 3):
        cache.keep((first, first, (0,), "actor"), f"block {first}", 40)

    assert cache.bytes_held == 80
    assert [bool(cache.find((first, first, (0,), "actor"))) for first in (1, 3, 5, 9)] == [
        False,
        False,
        True,
        True,
    ]


# ---- the law: counts, facets, charts and pages are what `evaluate` makes of the events


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("columns") / "empty.db"
    SqliteStore(path).close()
    return path


def _storable(found: list[Event], tenants: Sequence[str]) -> list[Encoded]:
    batch = []
    for number, (each, tenant) in enumerate(zip(found, tenants, strict=False)):
        event_id = derived_id("columns", str(number).encode())
        own = structs.replace(each, tenant=Tenant(id=tenant), id=event_id, idempotency_key=UNSET)
        try:
            batch.append(prepare(own))
        except EventError:
            continue  # too large, or an action of the log's own
    return batch


def _query(node: Node) -> Query:
    return Query(text="", node=node, now=NOON)


@settings(
    max_examples=int(os.environ.get("WHODID_AGREEMENT_EXAMPLES", "120")),
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
@given(data=st.data())
def test_columns_with_and_without_a_tail_answer_as_sql_and_as_evaluate(
    empty: Path, small_blocks: None, data: st.DataObject
) -> None:
    found = data.draw(st.lists(events(), max_size=24))
    tenants = data.draw(
        st.lists(st.sampled_from(TENANTS), min_size=len(found), max_size=len(found))
    )
    batch = _storable(found, tenants)
    path = empty.with_name("log.db")
    shutil.copy(empty, path)
    store, plain = open_counting(path), open_counting(path, least=NEVER)
    try:
        store.append(batch, now=NOON)
        index(path, to=data.draw(st.integers(0, len(batch)), label="indexed"))
        there = list(plain.scan(_query(EVERYTHING), access=SEES_ALL))
        for _ in range(SEARCHES):
            node = data.draw(query_nodes(there))
            access = data.draw(_accesses(there))
            _check(store, plain, node, access, there)
    finally:
        store.close()
        plain.close()


@st.composite
def _accesses(draw: st.DrawFn, there: list[StoredEvent]) -> Access:
    restriction = draw(st.one_of(st.none(), query_nodes(there)))
    seen = draw(st.one_of(st.none(), st.sets(st.sampled_from(TENANTS))))
    if seen is not None:
        return Access.reader(seen, restriction=restriction)
    return Access(tenants=None, permissions=frozenset({"read"}), restriction=restriction)


def _check(
    store: SqliteStore, plain: SqliteStore, node: Node, access: Access, there: list[StoredEvent]
) -> None:
    whole = node if access.restriction is None else all_of(node, access.restriction)
    decide = compile_matcher(whole)
    accepted = [each for each in there if access.sees(each.tenant_id) and decide(each)]
    event("hits" if accepted else "no hit")
    query = _query(node)

    assert list(store.scan(query, access=access)) == accepted
    assert store.page(query, access=access, limit=3).events == accepted[:3]
    counted = store.count(query, access=access)
    assert (counted.count, counted.exact) == (len(accepted), True)

    facets = store.facets(query, access=access, fields=FIELDS, limit=99)
    for facet in facets:
        by_hand = _by_hand(facet.field, accepted)
        shown = Counter[str]()
        for value in facet.values:
            shown[f"{value.field}:{value.value.casefold()}"] += value.count
        assert shown == by_hand, facet.field
        assert facet.distinct == len(by_hand)
        assert facet.exact
    few = store.facets(query, access=access, fields=FIELDS, limit=2)
    assert [facet.values for facet in few] == [facet.values[:2] for facet in facets]
    assert facets == plain.facets(query, access=access, fields=FIELDS, limit=99)

    for split in ("outcome", "severity"):
        histogram = store.histogram(query, access=access, edges=EDGES, split_by=split)
        for bucket in histogram.buckets:
            inside = [e for e in accepted if bucket.start <= e.occurred_at < bucket.end]
            assert bucket.counts == Counter(
                e.outcome if split == "outcome" else e.severity for e in inside
            )
        assert histogram == plain.histogram(query, access=access, edges=EDGES, split_by=split)


def _by_hand(field: FacetField, found: list[StoredEvent]) -> Counter[str]:
    counted = Counter[str]()
    for stored in found:
        actor = stored.event.actor
        if field == "actor":
            name, value = ("actor.id", actor.id) if actor.id else ("actor.type", actor.type)
        elif field == "tenant":
            name, value = field, stored.tenant_id
        elif field == "ip":
            packed = derive_stored(stored).ip
            name, value = field, str(ipaddress.ip_address(packed)) if packed else ""
        elif field in ("app", "action", "country"):
            name, value = field, getattr(derive_stored(stored), field)
        else:
            name, value = field, getattr(stored.event, field)
        if value:
            counted[f"{name}:{str(value).casefold()}"] += 1
    return counted


# ---- blocks


def _many(number: int, *, first: int = 0) -> list[Encoded]:
    return prepared(
        *(
            an_event(
                actor=f"u{each % 5}",
                tenant=TENANTS[each % 3],
                action=f"invoice.{('create', 'update')[each % 2]}",
                outcome="denied" if each % 7 == 0 else "success",
                client={"ip": f"203.0.113.{each % 11}"},
                occurred_at=str(minutes(each)),
            )
            for each in range(first, first + number)
        )
    )


@pytest.fixture
def store(path: Path, small_blocks: None) -> Iterator[SqliteStore]:
    store = open_counting(path)
    yield store
    store.close()


def _blocks(path: Path) -> list[tuple[int, int]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT first, last FROM whodid_column_block ORDER BY first"
        ).fetchall()


def test_small_blocks_become_larger_ones(store: SqliteStore, path: Path) -> None:
    store.append(_many(41))

    index(path, to=41)

    assert _blocks(path) == [(1, 16), (17, 32), (33, 36), (37, 40), (41, 41)]


@pytest.mark.parametrize("step", [1, 3, 7, 20])
def test_blocks_are_the_same_however_many_events_came_at_once(
    store: SqliteStore, path: Path, step: int
) -> None:
    store.append(_many(40))

    for last in [*range(step, 40, step), 40]:
        index(path, to=last)

    assert _blocks(path)[:2] == [(1, 16), (17, 32)]
    assert store.count(a_query(), access=SEES_ALL).count == 40
    assert store.verify(access=SEES_ALL).is_sound


def test_a_reader_notices_blocks_that_another_process_wrote(store: SqliteStore, path: Path) -> None:
    other = open_counting(path)
    for round_ in range(6):
        other.append(_many(7, first=7 * round_))
        if round_ % 2:
            index(path, to=7 * round_ + 3)

        [actions] = store.facets(a_query(), access=SEES_ALL, fields=["action"])

        assert sum(value.count for value in actions.values) == 7 * (round_ + 1)
    other.close()


def test_an_answer_is_of_one_moment_while_blocks_are_merged(store: SqliteStore, path: Path) -> None:
    store.append(_many(20))
    index(path, to=10)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with _snapshot(store, connection) as snapshot:
            store.append(_many(20, first=20))
            index(path, to=40)
            before = snapshot.count(snapshot.asked(None))
            [facet] = snapshot.facets(snapshot.asked(None), fields=["actor"], limit=9)
        with _snapshot(store, connection) as snapshot:
            after = snapshot.count(snapshot.asked(None))

    assert (before, after) == (20, 40)
    assert sum(value.count for value in facet.values) == 20


def _snapshot(store: SqliteStore, connection: sqlite3.Connection) -> _Certain:
    source = store._sidecar.columns(1)
    assert source is not None
    return _Certain(source, connection)


class _Certain:
    """A snapshot that is there."""

    def __init__(self, source: Columns, connection: sqlite3.Connection) -> None:
        self._context = source.snapshot(connection)

    def __enter__(self) -> Snapshot:
        found = self._context.__enter__()
        assert found is not None
        return found

    def __exit__(self, *_: object) -> None:
        self._context.__exit__(None, None, None)


def test_blocks_that_follow_one_another_are_counted_as_one(store: SqliteStore, path: Path) -> None:
    store.append(_many(110))
    index(path, to=100)

    with (
        closing(sqlite3.connect(path, isolation_level=None)) as connection,
        _snapshot(store, connection) as snapshot,
    ):
        parts = [(type(part).__name__, part.first, part.last) for part in snapshot.parts]

    assert parts == [
        ("Group", 1, 32), ("Group", 33, 64), ("Group", 65, 96), ("Block", 97, 100),
        ("Block", 101, 110),
    ]  # fmt: skip


GROUPED = (
    "", "-action:audit", "action:invoice", "action:invoice.create", "outcome:denied",
    "-outcome:denied", "tenant:acme", "actor:u1 OR actor:u3", "ip:*", "-ip:*",
    "ip:203.0.113.0/30", "created:>=2026-03-15T12:40:00Z", "created:<2026-03-15T12:33:00Z",
    "created:2026-03-15T12:05:00Z..2026-03-15T13:20:00Z -tenant:beta", "country:NO", "-country:NO",
    "created:>=2026-03-15T12:40:00Z OR outcome:denied", "severity:high OR app:none",
)  # fmt: skip


@pytest.mark.parametrize("gone", [(), (5, 6), range(33, 49), range(33, 65), range(1, 110, 3)])
def test_groups_answer_as_sql_before_and_after_events_are_deleted(
    store: SqliteStore, path: Path, gone: Sequence[int]
) -> None:
    store.append(_many(80))
    store.append(_many(30, first=20))  # back-dated: pieces, blocks and groups overlap in time
    index(path, to=105)
    plain = open_counting(path, least=NEVER)
    _check_groups(store, plain)  # and now it remembers

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("DELETE FROM whodid_event WHERE position = ?", zip(gone))
        sqlite_column_blocks.rebuild(connection, first=1, last=110)
        connection.execute("COMMIT")

    _check_groups(store, plain)
    assert store.count(a_query(), access=SEES_ALL).count == 110 - len(gone)
    plain.close()


def _check_groups(store: SqliteStore, plain: SqliteStore) -> None:
    every = [minutes(minute) for minute in range(-3, 120)]
    for text in GROUPED:
        query, access = a_query(text), SEES_ALL
        assert store.count(query, access=access) == plain.count(query, access=access), text
        counted = store.facets(query, access=access, fields=FIELDS, limit=99)
        assert counted == plain.facets(query, access=access, fields=FIELDS, limit=99), text
        for edges in (every, every[::7], every[::50], [minutes(-1e8), minutes(1e8)], every[30:33]):
            chart = store.histogram(query, access=access, edges=edges, split_by="outcome")
            expected = plain.histogram(query, access=access, edges=edges, split_by="outcome")
            assert chart == expected, text


def test_what_whole_groups_hold_is_read_once(store: SqliteStore, path: Path) -> None:
    store.append(_many(96))
    index(path, to=96)
    source, read = Columns(), list[str]()
    source._columns = ColumnCache(max_bytes=0)  # so that what is not read was remembered as totals
    edges = [minutes(at).micros for at in (-9, 28, 64, 999)]  # between pieces
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for trace in (None, read.append):
            connection.set_trace_callback(trace)
            with _Certain(source, connection) as snapshot:
                facets = snapshot.facets(snapshot.asked(None), fields=FIELDS, limit=9)
                chart = snapshot.histogram(snapshot.asked(None), edges=edges, split_by="outcome")

    assert sum(value.count for value in facets[0].values) == 96
    assert [bucket.total() for bucket in chart] == [28, 36, 32]
    assert read
    assert not [statement for statement in read if "FROM whodid_column WHERE" in statement]


def test_memory_stays_within_the_bound(path: Path, small_blocks: None) -> None:
    store = open_counting(path)
    store.append(_many(200))
    index(path, to=200)
    source = Columns(max_bytes=2_000)
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as connection,
        source.snapshot(connection) as snapshot,
    ):
        assert snapshot is not None
        for _ in range(2):
            facets = snapshot.facets(snapshot.asked(None), fields=FIELDS, limit=9)
    store.close()

    assert 0 < source.bytes_held <= 2_000
    assert sum(value.count for value in facets[0].values) == 200


def test_the_memory_of_a_store_can_be_chosen(path: Path) -> None:
    store = SqliteStore(path, indexes=False, column_cache_bytes=3_000)
    store.append(_many(2_000))
    index(path, to=2_000)

    [facet] = store.facets(a_query(), access=SEES_ALL, fields=["actor"])
    source = store._sidecar.columns(2_000)
    store.close()

    assert facet.distinct == 5
    assert source is not None
    assert 0 < source.bytes_held <= 3_000


def test_with_a_long_tail_sql_answers(path: Path) -> None:
    store = open_counting(path)
    store.append(_many(30))
    source = Columns(max_tail=29)
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as connection,
        source.snapshot(connection) as snapshot,
    ):
        assert snapshot is None
    store.close()


def test_blocks_are_made_anew_when_retention_took_events(store: SqliteStore, path: Path) -> None:
    store.append(_many(40))
    index(path, to=36)
    assert store.count(a_query(), access=SEES_ALL).count == 40

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM whodid_event WHERE position IN (2, 3, 33, 38)")
        sqlite_column_blocks.rebuild(connection, first=2, last=38)
        connection.execute("COMMIT")

    assert store.count(a_query(), access=SEES_ALL).count == 36
    assert store.count(a_query("outcome:success"), access=SEES_ALL).count == 36 - 6
    [actors] = store.facets(a_query(), access=SEES_ALL, fields=["actor"])
    assert sum(value.count for value in actors.values) == 36
    found = store.page(a_query("-outcome:denied"), access=SEES_ALL, limit=100).events
    assert len(found) == 36 - 6
    whole = store.histogram(a_query(), access=SEES_ALL, edges=EDGES)
    assert sum(bucket.total for bucket in whole.buckets) == 36


def test_a_batch_that_was_read_before_retention_is_read_again(
    store: SqliteStore, path: Path
) -> None:
    store.append(_many(14))
    index(path, to=3)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        stale = sqlite_column_blocks.prepare(connection, after=3, last=8)
        connection.execute("DELETE FROM whodid_event WHERE position IN (2, 5)")
        sqlite_column_blocks.rebuild(connection, first=2, last=5)

        sqlite_column_blocks.write(connection, stale)
        connection.execute("UPDATE whodid_counter SET value = 8 WHERE name = 'indexed.columns'")

    assert _blocks(path) == [(1, 4), (5, 8)]
    assert store.count(a_query(), access=SEES_ALL).count == 12


def test_answers_hold_while_events_arrive_and_blocks_grow(store: SqliteStore, path: Path) -> None:
    """Within one answer all fields count the same events; none is behind an earlier one."""
    done = threading.Event()
    seen: list[list[int]] = []

    def write() -> None:
        try:
            for batch in range(40):
                store.append(_many(5, first=5 * batch))
                index(path, to=5 * batch + batch % 5)
        finally:
            done.set()

    def read() -> None:
        mine = [0]
        while not done.is_set():
            facets = store.facets(a_query(), access=SEES_ALL, fields=FIELDS[:4], limit=99)
            sums = {sum(value.count for value in facet.values) for facet in facets[:2]}
            assert len(sums) == 1
            mine.append(sums.pop())
        seen.append(mine)

    threads = [threading.Thread(target=each) for each in (write, read, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(seen) == 3  # a reader that failed has left nothing
    assert all(mine == sorted(mine) for mine in seen)
    assert store.count(a_query(), access=SEES_ALL).count == 200
    assert store.verify(access=SEES_ALL).is_sound


def test_columns_that_were_doctored_are_made_anew(store: SqliteStore, path: Path) -> None:
    store.append(_many(40))
    index(path, to=36)
    [before] = store.facets(a_query(), access=SEES_ALL, fields=["actor"])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE whodid_column_code SET code = 99 - code")

    store.index_now(rebuild=True)

    assert store.facets(a_query(), access=SEES_ALL, fields=["actor"]) == [before]
    assert _blocks(path)[-1] == (37, 40)
    assert store.verify(access=SEES_ALL).is_sound


def test_pages_of_columns_go_down_and_up_over_the_same_events(
    store: SqliteStore, path: Path
) -> None:
    store.append(_many(40))
    store.append(_many(10, first=12))  # back-dated, at times that others have
    index(path, to=45)
    query = a_query("action:invoice outcome:success")
    expected = [e.position for e in store.scan(query, access=SEES_ALL)]

    down = [store.page(query, access=SEES_ALL, limit=7)]
    while token := down[-1].older:
        cursor = store.open_cursor(token, text=query.text)
        down.append(store.page(query, access=SEES_ALL, limit=7, cursor=cursor))
    up = [down[-1]]
    while token := up[-1].newer:
        cursor = store.open_cursor(token, text=query.text)
        up.append(store.page(query, access=SEES_ALL, limit=7, cursor=cursor))

    assert [e.position for page in down for e in page.events] == expected
    assert len(expected) == len(set(expected)) == 42
    assert [[e.position for e in page.events] for page in reversed(up)] == [
        [e.position for e in page.events] for page in down
    ]


# ---- what can't be decided in time


def test_what_was_not_counted_to_the_end_says_so(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(prepared(*(an_event(metadata={"team": "a"}) for _ in range(20))))
    monkeypatch.setattr(sqlite_read, "MAX_DECIDED", 5)
    query = a_query("meta.team:a")

    counted = store.count(query, access=SEES_ALL)
    [actors] = store.facets(query, access=SEES_ALL, fields=["actor"])
    histogram = store.histogram(query, access=SEES_ALL, edges=[minutes(-1e8), minutes(1e8)])

    assert (counted.count, counted.exact) == (5, False)
    assert (actors.values[0].count, actors.exact) == (5, False)
    assert (histogram.buckets[0].total, histogram.exact) == (5, False)
    assert len(store.page(query, access=SEES_ALL).events) == 20


def test_counting_ends_when_its_time_is_over(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(prepared(*(an_event(metadata={"team": "a"}) for _ in range(20))))
    monkeypatch.setattr(sqlite_read, "DECIDE_S", -1.0)
    query = a_query("meta.team:a")

    for cap in (None, 10):
        counted = store.count(query, access=SEES_ALL, cap=cap)
        assert (counted.count, counted.exact) == (0, False)
    assert len(store.page(query, access=SEES_ALL).events) == 20


def test_counting_ends_even_while_the_database_finds_nothing(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(prepared(*(an_event(metadata={"team": "a"}) for _ in range(300))))
    monkeypatch.setattr(sqlite_read, "DECIDE_S", -1.0)

    counted = store.count(a_query("meta.team:zebra"), access=SEES_ALL)
    again = store.page(a_query("meta.team:zebra"), access=SEES_ALL)

    assert (counted.count, counted.exact) == (0, False)
    assert again.events == []


def test_a_restriction_that_can_not_be_decided_in_time_gives_no_number(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(prepared(*(an_event(metadata={"team": "a"}) for _ in range(20))))
    monkeypatch.setattr(sqlite_read, "DECIDE_S", -1.0)
    access = Access.reader({"default"}, restriction=a_query("meta.team:a").node)

    for read in (
        lambda: store.count(a_query(), access=access),
        lambda: store.count(a_query(), access=access, cap=10),
        lambda: store.facets(a_query(), access=access, fields=["actor"]),
        lambda: store.histogram(a_query(), access=access, edges=EDGES),
    ):
        with pytest.raises(InvalidError, match="ask for a shorter time"):
            read()


# ---- verification


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE whodid_column SET data = (SELECT data FROM whodid_column AS o "
        "WHERE o.name = 'severity' AND o.first = 1) WHERE name = 'outcome' AND first = 1",
        "UPDATE whodid_column SET data = x'00' WHERE name = 'actor' AND first = 1",
        "DELETE FROM whodid_column WHERE name = 'ip' AND first = 17",
        "DELETE FROM whodid_column_block WHERE first = 17",
        "INSERT INTO whodid_column VALUES (18, 'ip', x'')",
        "UPDATE whodid_column_block SET oldest = oldest + 1 WHERE first = 1",
        "UPDATE whodid_column_block SET newest = newest - 1 WHERE first = 1",
        "UPDATE whodid_column_block SET events = 15 WHERE first = 1",
        "UPDATE whodid_column_block SET last = 15 WHERE first = 1",
        "UPDATE whodid_counter SET value = 33 WHERE name = 'indexed.columns'",
        "UPDATE whodid_column_code SET name = 'id:mallory' WHERE name = 'id:u1'",
        "UPDATE whodid_column_code SET name = '198.51.100.1' WHERE name = '203.0.113.1'",
        "UPDATE whodid_column_code SET ip = x'01020304' WHERE name = '203.0.113.1'",
        "DELETE FROM whodid_column_code WHERE name = 'id:u1'",
        "UPDATE whodid_column_ref SET codes = zeroblob(length(codes)) WHERE first = 0",
        "DELETE FROM whodid_column_ref WHERE first = 0",
        "DELETE FROM whodid_column_ref",
    ],
    ids=lambda statement: statement[:70],
)
def test_doctored_columns_are_found(store: SqliteStore, path: Path, statement: str) -> None:
    store.append(_many(40))
    index(path, to=36)
    assert store.verify(access=SEES_ALL).is_sound
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount != 0

    report = store.verify(access=SEES_ALL)

    assert not report.is_sound


@pytest.mark.parametrize("name", ["occurred_at", *columns.NUMBERED])
def test_one_flipped_bit_in_any_column_is_found(store: SqliteStore, path: Path, name: str) -> None:
    store.append(_many(16))
    index(path, to=16)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        [data] = connection.execute(
            "SELECT data FROM whodid_column WHERE name = ?", (name,)
        ).fetchone()
        connection.execute(
            "UPDATE whodid_column SET data = ? WHERE name = ?",
            (data[:-1] + bytes([data[-1] ^ 1]), name),
        )

    assert not store.verify(access=SEES_ALL).is_sound


# ---- without numpy


def test_numpy_is_loaded_for_large_logs_alone(path: Path) -> None:
    code = (
        "import sys\n"
        "from whodid.access import Access\n"
        "from whodid.stores.sqlite import SqliteStore\n"
        "from whodid.testing import a_query, an_event, prepared\n"
        f"store = SqliteStore({str(path)!r})\n"
        "store.append(prepared(an_event()))\n"
        "store.facets(a_query(), access=Access.everything(), fields=['actor'])\n"
        "store.close()\n"
        "print('numpy' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "False"


def test_without_numpy_sql_gives_the_same_answers(path: Path) -> None:
    store = open_counting(path)
    store.append(_many(40))
    index(path, to=30)
    expected = [
        store.facets(a_query("action:invoice"), access=SEES_ALL, fields=FIELDS, limit=3),
        store.histogram(a_query("outcome:denied"), access=SEES_ALL, edges=EDGES),
        store.count(a_query("ip:203.0.113.0/29"), access=SEES_ALL),
        [e.position for e in store.scan(a_query("actor:u1 -outcome:denied"), access=SEES_ALL)],
    ]
    store.close()
    code = (
        "import sys\n"
        "sys.modules['numpy'] = None\n"
        "from pathlib import Path\n"
        "from whodid.access import Access\n"
        "from whodid.stores.sqlite import SqliteStore\n"
        "from whodid.stores.sqlite_sidecar import Sidecar\n"
        "from whodid.testing import a_query, minutes\n"
        f"store = SqliteStore({str(path)!r})\n"
        "store._sidecar = Sidecar(least=0)\n"
        "everything = Access.everything()\n"
        f"fields, edges = {tuple(FIELDS)!r}, [minutes(m) for m in (-1e8, -30, 0, 1, 1e8)]\n"
        "print([\n"
        "    store.facets(a_query('action:invoice'), access=everything, fields=fields, limit=3),\n"
        "    store.histogram(a_query('outcome:denied'), access=everything, edges=edges),\n"
        "    store.count(a_query('ip:203.0.113.0/29'), access=everything),\n"
        "    [e.position for e in"
        " store.scan(a_query('actor:u1 -outcome:denied'), access=everything)],\n"
        "])\n"
        "store.index_now()\n"
        "store.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == str(expected)


# ---- values


def test_a_value_with_a_nul_is_a_value_of_its_own(store: SqliteStore, path: Path) -> None:
    names = ("a\0b", "a", "a\0c", "A\0B")
    store.append(prepared(*(an_event(actor=name) for name in names)))
    index(path, to=2)
    store.append(prepared(*(an_event(actor=name) for name in names)))
    for covered in (2, 5, 8):
        index(path, to=covered)

        [facet] = store.facets(a_query(), access=SEES_ALL, fields=["actor"])

        assert {value.value.casefold(): value.count for value in facet.values} == {
            "a": 2,
            "a\0b": 4,
            "a\0c": 2,
        }
        assert facet.distinct == 3


def test_of_an_actors_names_the_commonest_is_shown(store: SqliteStore, path: Path) -> None:
    names = ["Ana Berg"] * 3 + ["Ana Cole"] * 2 + ["Ana Dahl"] * 4
    store.append(
        prepared(*(an_event(actor={"type": "user", "id": "7", "name": name}) for name in names))
    )
    index(path, to=6)

    [facet] = store.facets(a_query(), access=SEES_ALL, fields=["actor"])

    assert [(value.label, value.count) for value in facet.values] == [("Ana Dahl", 9)]


def test_values_that_are_as_common_come_in_the_order_of_their_names(
    store: SqliteStore, path: Path
) -> None:
    store.append(prepared(*(an_event(actor=name) for name in "dbcadebf")))
    index(path, to=5)

    [facet] = store.facets(a_query(), access=SEES_ALL, fields=["actor"], limit=4)

    assert [value.value for value in facet.values] == ["b", "d", "a", "c"]
    assert facet.distinct == 6


def test_a_log_of_the_first_schema_is_counted_in_columns(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    shutil.copy(Path(__file__).parents[1] / "fixtures" / "schema-1.db", path)
    store, plain = open_counting(path), open_counting(path, least=NEVER)
    for covered in (0, 7, 12):
        index(path, to=covered)
        for text in ("", "action:user", "outcome:denied", "ip:203.0.113.0/31 -tenant:acme"):
            query = a_query(text)
            assert store.count(query, access=SEES_ALL) == plain.count(query, access=SEES_ALL)
            facets = store.facets(query, access=SEES_ALL, fields=FIELDS)
            assert facets == plain.facets(query, access=SEES_ALL, fields=FIELDS)
    assert store.verify(access=SEES_ALL).is_sound
    store.close()
    plain.close()
