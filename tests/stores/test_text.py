"""The law of the text index: what a search matches, the index and its tail find; and quickly."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from msgspec import UNSET, structs

from tests.strategies import events, query_nodes
from whodid.access import Access
from whodid.canonical import Encoded
from whodid.errors import EventError, StoreUnavailableError
from whodid.event import Event, StoredEvent, Tenant
from whodid.ids import derived_id
from whodid.query.ast import EVERYTHING as ALL_NODES
from whodid.query.ast import And, Node, Query, Text
from whodid.query.evaluate import compile_matcher
from whodid.query.parse import parse
from whodid.query.words import words
from whodid.recorder import prepare
from whodid.stores.sqlite import SqliteStore
from whodid.stores.sqlite_indexer import advance
from whodid.stores.sqlite_text import TextStep, ValueStep, clear, event_tokens, needed_by_search
from whodid.testing import EVERYTHING, NOON, a_query, an_event, minutes, prepared

FIXTURE = Path(__file__).parents[1] / "fixtures" / "schema-1.db"
ACME = Access.reader({"acme"})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "log.db")
    yield store
    store.close()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty log; every example works on a copy, since examples must not see each other."""
    path = tmp_path_factory.mktemp("text") / "empty.db"
    SqliteStore(path).close()
    return path


def index(store: SqliteStore, *, to: int | None = None) -> None:
    """Index the first so many events and all values of the dictionary, or everything."""
    connection = sqlite3.connect(store.path, isolation_level=None)
    for step, end in ((TextStep(), to), (ValueStep(), None)):
        while advance(connection, step, to=step.newest(connection) if end is None else end):
            pass
    connection.close()


def found(store: SqliteStore, text: str, *, access: Access = EVERYTHING) -> list[str]:
    """The messages of what a search finds, in its order."""
    events = store.page(a_query(text), access=access, limit=500).events
    return [str(each.event.message) for each in events]


def goes_through_index(store: SqliteStore, text: str, *, access: Access = EVERYTHING) -> bool:
    with store._reader(access) as reader:
        return reader._search(a_query(text)).indexed is not None


# ---- the law


def _storable(drawn: list[Event], tenants: list[str]) -> list[Encoded]:
    """The events as a store takes them, with ids that are the same whenever they are drawn."""
    storable = []
    for number, (each, tenant) in enumerate(zip(drawn, tenants, strict=True)):
        event_id = derived_id("text", str(number).encode())
        own = structs.replace(each, tenant=Tenant(id=tenant), id=event_id, idempotency_key=UNSET)
        try:
            storable.append(prepare(own))
        except EventError:
            continue  # too large, or an action of the log's own
    return storable


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_whatever_matches_is_found_indexed_or_not(empty: Path, data: st.DataObject) -> None:
    drawn = data.draw(st.lists(events(), max_size=6))
    tenants = data.draw(st.lists(st.sampled_from(["acme", "beta"]), min_size=6, max_size=6))
    path = empty.with_name("log.db")
    shutil.copy(empty, path)
    store = SqliteStore(path)
    try:
        store.append(_storable(drawn, tenants[: len(drawn)]), now=NOON)
        there = list(store.scan(_query(ALL_NODES), access=ACME))
        indexed = data.draw(st.integers(3, 6))
        index(store, to=min(indexed, store.newest_position()))
        for _ in range(6):
            node = data.draw(query_nodes(there))
            _check_law(store, node, there)
    finally:
        store.close()


def _query(node: Node) -> Query:
    return Query(text="", node=node, now=NOON)


def _check_law(store: SqliteStore, node: Node, there: list[StoredEvent]) -> None:
    accepted = [each.position for each in filter(compile_matcher(node), there)]
    event("hits" if accepted else "no hit")
    with store._reader(ACME) as reader:
        search = reader._search(_query(node))
        event("through the index" if search.indexed else "otherwise")
        down = [each.position for each in reader._matching(search)]
        up = [each.position for each in reader._matching(search, upwards=True, want=1)]
    assert down == accepted
    assert up == accepted[::-1]


@given(texts=st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=5))
def test_every_word_of_any_script_is_a_token_that_fts5_leaves_alone(texts: list[str]) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE VIRTUAL TABLE t USING fts5(words, content='', columnsize=0, detail=none, "
        "tokenize=\"ascii tokenchars '_'\")"
    )
    connection.execute("CREATE VIRTUAL TABLE v USING fts5vocab(t, row)")
    tokens = {word for text in texts for word in words(text)} | {"_t1", "_b10_39", "_wx"}

    connection.execute("INSERT INTO t(rowid, words) VALUES (1, ?)", (" ".join(tokens),))

    assert {row[0] for row in connection.execute("SELECT term FROM v")} == tokens
    for token in tokens:
        assert connection.execute("SELECT rowid FROM t WHERE t MATCH ?", (f'"{token}"',)).fetchall()
    connection.close()


# ---- what is found


SENTENCES = (
    ("Straße in Žilina gesperrt", "strasse"),
    ("mail to Alice.O'Neil+x@Example.com", "alice.o'neil+x@example.com"),
    ("came from 10.39.136.13 twice", "10.39.136.13"),
    ("came from 2001:DB8::1", '"2001:db8::1"'),
    ("东京都の請求書を削除", "請求書"),
    ("한국어 감사 로그", "감사"),
    ("foo-bar_baz/qux", "foo-bar"),
    ("İstanbul ΑΣΊΑΣ ﬁnal", "ασιασ final"),
    ("ᾳ and αι", "ᾳ"),
    ("the invoice 2026-1184 was paid", '"2026-1184 was"'),
)


@pytest.mark.parametrize(("message", "searched"), SENTENCES)
@pytest.mark.parametrize("indexed", [0, 3])
def test_a_message_is_found_by_what_stands_in_it(
    store: SqliteStore, message: str, searched: str, indexed: int
) -> None:
    store.append(prepared(an_event(message="before"), an_event(message="x y z")))
    store.append(prepared(an_event(message=message)))
    index(store, to=indexed)

    assert found(store, searched) == [message]


TERMS = (
    "changed:role", "CHANGED:Role", "meta.order.no:77", "meta.ratio:0.5", "target:Ledger",
    'target.name:"Main ledger"', "target.type:book", "reason:bad_password", "tag:gdpr",
    "session:s-1", "request:r-9", "correlation:c-4", "method:post", "path:/books/7", "path:/b/*",
    "error:timeout", "new.role:admin", "old.role:user", "env:prod", "city:Ōsaka", "status:403",
    "actor.role:hr", "behalf:bob", "via:bot", "has:changes", "has:error", "ip:10.0.0.7",
    "scope:emea", "device:d1", "trace:4bf92f3577b34da6a3ce929d0e0e4736", "credential:k1",
    "is:impersonated", "actor:ana", "actor.email:ana@x.org", "10.0.0.7", "new.role:adm*",
    "is:privileged", "severity:>=high", "severity:high", "severity:>medium", "outcome:denied",
    "is:failed", "old.seats:5", "new.seats:6", "new.seats:7.5", "NEW.seats:null",
)  # fmt: skip


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_answered_by_the_index(store: SqliteStore, term: str) -> None:
    full = an_event(
        message="this one",
        outcome="denied",
        severity="high",
        actor={
            "type": "user", "id": "7", "name": "Ana Özil", "email": "ana@x.org",
            "roles": ["hr", "admin"],
            "auth": {"session_id": "s-1", "credential_id": "k1"},
        },
        on_behalf_of={"type": "user", "id": "bob"},
        via=[{"type": "service_account", "id": "bot"}],
        targets=[{"type": "book", "id": "9", "name": "Main ledger"}],
        changes=[
            {"path": "role", "old": "user", "new": "admin"},
            {"path": "Seats", "old": 5, "new": ["6", [7.5, None, {"a": "8"}]]},
        ],
        metadata={"order": {"no": 77}, "ratio": 0.5},
        reason={"code": "bad_password"},
        tags=["gdpr"],
        scope=[{"id": "emea"}],
        correlation_id="c-4",
        trace={"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"},
        request={
            "id": "r-9", "method": "POST", "url": "https://x.org/books/7?a=1",
            "route": "/b/{id}", "status": 403,
        },
        error={"message": "a timeout"},
        source={"environment": "prod"},
        client={"ip": "10.0.0.7", "geo": {"city": "ōsaka"}, "device": {"id": "d1"}},
    )  # fmt: skip
    store.append(prepared(full, *(an_event(message=f"role {each}") for each in range(3))))
    index(store)

    assert found(store, term) == ["this one"]
    with store._reader(EVERYTHING) as reader:
        search = reader._search(a_query(f"{term} one"))
        assert search.indexed is not None
        rows = reader._through_index(search, after=None, upwards=False, want=10)
        assert len(list(rows)) == 1


def test_hits_come_in_order_of_time_wherever_they_stand_in_the_log(store: SqliteStore) -> None:
    times = [5, 900, -40, 7, 7, 10_000, 6, -90]
    store.append(
        prepared(*(an_event(message=f"hit {at}", occurred_at=str(minutes(at))) for at in times))
    )
    times += [at % 50 for at in range(3_000)]
    store.append(
        prepared(*(an_event(message=f"hit {at}", occurred_at=str(minutes(at))) for at in times[8:]))
    )
    index(store, to=2_500)
    expected = [f"hit {at}" for at in sorted(times, reverse=True)]

    assert found(store, "hit") == expected[:500]
    paged: list[str] = []
    page = store.page(a_query("hit"), access=EVERYTHING, limit=400)
    while True:
        paged += [str(each.event.message) for each in page.events]
        if page.older is None:
            break
        cursor = store.open_cursor(page.older, text="hit")
        page = store.page(a_query("hit"), access=EVERYTHING, limit=400, cursor=cursor)
    assert paged == expected
    assert page.newer is not None
    cursor = store.open_cursor(page.newer, text="hit")
    newer = store.page(a_query("hit"), access=EVERYTHING, limit=400, cursor=cursor)
    before = len(times) - len(page.events) - 400
    assert [str(each.event.message) for each in newer.events] == expected[before : before + 400]


def test_a_time_window_and_a_tenant_narrow_the_hits(store: SqliteStore) -> None:
    store.append(
        prepared(
            *(
                an_event(
                    message=f"hit {at}",
                    occurred_at=str(minutes(at)),
                    tenant="acme" if at % 2 else "beta",
                )
                for at in range(3_000)
            )
        )
    )
    index(store)
    window = f"created:{minutes(100)!s}..{minutes(103)!s}"

    assert found(store, f"hit {window}", access=ACME) == ["hit 103", "hit 101"]
    assert found(store, f"hit tenant:beta {window}") == ["hit 102", "hit 100"]


def test_a_reader_of_one_tenant_finds_nothing_of_another_in_the_index(store: SqliteStore) -> None:
    store.append(prepared(an_event(message="secret", tenant="beta"), an_event(tenant="acme")))
    index(store)

    assert found(store, "secret", access=ACME) == []


def test_events_of_a_log_of_schema_1_are_found(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    shutil.copy(FIXTURE, path)
    store = SqliteStore(path)
    there = list(store.scan(_query(ALL_NODES), access=EVERYTHING))
    before = store.count(a_query('actor:zana "2026-1184"'), access=EVERYTHING)
    index(store)
    after = store.count(a_query('actor:zana "2026-1184"'), access=EVERYTHING)
    report = store.verify(access=EVERYTHING)
    store.close()

    assert len(there) > 3
    assert before.count == after.count == 3
    assert report.is_sound, report.problems


def test_a_number_that_no_event_can_have_finds_nothing(store: SqliteStore) -> None:
    store.append(prepared(an_event(request={"status": 403})))
    index(store)

    assert found(store, "status:-1") == []
    assert found(store, "status:403.5") == []


def test_a_damaged_body_is_still_indexed_by_its_letters() -> None:
    assert "harbour" in event_tokens(b'{"core":{"action":"harbour', tenant=3).split()
    assert event_tokens(None, tenant=3) == "_t3"


def test_what_free_text_is_not_searched_in_does_not_slow_it_down(store: SqliteStore) -> None:
    store.append(prepared(*(an_event(outcome="failure", message="x") for _ in range(20))))
    index(store)

    with store._reader(EVERYTHING) as reader:
        search = reader._search(a_query("failure"))
        assert search.indexed is not None
        assert not list(reader._through_index(search, after=None, upwards=False, want=10))


def test_a_searched_id_goes_by_its_own_index(store: SqliteStore) -> None:
    store.append(prepared(an_event(targets=[{"type": "book", "id": "7"}], message="m")))
    index(store)

    assert not goes_through_index(store, "target.id:7 m")
    assert goes_through_index(store, "m")


def test_a_search_that_an_index_is_rebuilt_under_is_not_answered_wrongly(
    store: SqliteStore,
) -> None:
    store.append(prepared(*(an_event(message="harbour") for _ in range(20))))
    index(store)
    with store._reader(EVERYTHING) as reader:
        search = reader._search(a_query("harbour"))
        connection = sqlite3.connect(store.path, isolation_level=None)
        clear(connection)
        connection.close()

        with pytest.raises(StoreUnavailableError, match="try again"):
            list(reader._matching(search))

    assert len(found(store, "harbour")) == 20


# ---- bounds


HARD = (
    " ".join(f"w{number}" for number in range(90)),
    "a" * 1_990,
    '"' + "a-" * 990 + '"',
    "東" * 600,
    " OR ".join(f"x{number}" for number in range(100)),
    "meta.a:" + ",".join(f"v{number}" for number in range(100)),
    "actor:" + "*a" * 600,
    "(" * 19 + " OR ".join(f"x{number}" for number in range(90)) + ")" * 19,
    "path:" + "/a" * 900,
    "ͣ" * 1_900 + "a",
)


@pytest.mark.parametrize("text", HARD, ids=range(len(HARD)))
def test_no_search_takes_long_to_compile(text: str) -> None:
    node = parse(text, now=NOON).node
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5(w, content='', detail=none)")

    started = time.process_time()
    needed = needed_by_search(And((node, Text("x"))), tenants=range(16))
    connection.execute("SELECT rowid FROM t WHERE t MATCH ?", (needed,)).fetchall()
    took = time.process_time() - started

    connection.close()
    assert took < 0.1


# ---- the dictionary


def test_actors_are_found_by_name_mail_and_pattern_indexed_or_not(store: SqliteStore) -> None:
    def actor(number: int) -> dict[str, str]:
        return {
            "type": "user",
            "id": f"u{number}",
            "name": f"Žana Nr {number}",
            "email": f"z{number}@x.org",
        }

    store.append(prepared(*(an_event(actor=actor(n), message=f"m{n}") for n in range(40))))
    index(store)
    store.append(prepared(*(an_event(actor=actor(n), message=f"m{n}") for n in range(40, 60))))

    for number in (7, 47):
        for text in (
            f"actor:u{number}",
            f"actor.email:Z{number}@X.org",
            f'actor.name:"žana nr {number}"',
            f'actor:"zana {number}"',
            f"actor:*z{number}@x.org",
        ):
            assert found(store, text) == [f"m{number}"], text
    assert len(found(store, "actor:zana")) == 60
    assert len(found(store, "-actor:u7")) == 59
    assert found(store, "actor:nobody") == []


def test_an_empty_user_agent_is_one(store: SqliteStore) -> None:
    store.append(
        prepared(an_event(client={"user_agent": ""}, message="empty"), an_event(message="none"))
    )

    assert found(store, "agent:*") == ["empty"]
    assert found(store, "-agent:*") == ["none"]
