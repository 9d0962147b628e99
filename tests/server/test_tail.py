from __future__ import annotations

import base64
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.server.conftest import MakeClient, MakeKey
from tests.server.serving import Serving, serving, start
from whodid.access import Access
from whodid.errors import StoreUnavailableError
from whodid.event import StoredEvent
from whodid.query.evaluate import matches
from whodid.server import tail
from whodid.server.tail import BATCH_EVENTS, Follower
from whodid.server.threads import Threads
from whodid.stores.base import Cursor
from whodid.stores.sqlite import SqliteStore
from whodid.testing import EVERYTHING, NOON, a_query, an_event, prepared
from whodid.times import Instant


class Tail:
    """A client of a tail, frame by frame."""

    def __init__(self, answer: HTTPResponse, connection: HTTPConnection) -> None:
        self.answer, self._connection = answer, connection
        self.token = ""
        self.comments = 0

    def frame(self) -> dict[str, Any] | None:
        """The event of the next frame, None for a frame without one.

        Raises:
            EOFError: The stream has ended.
        """
        found = None
        while line := self.answer.readline():
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                self.token = value
            elif name == "data":
                found = json.loads(value)
            elif name == ":":
                self.comments += 1
            elif not name:
                return found
        raise EOFError

    def messages(self, count: int) -> list[str]:
        """The messages of so many events."""
        found: list[str] = []
        while len(found) < count:
            event = self.frame()
            if event is not None:
                found.append(event["message"])
        return found

    def close(self) -> None:
        self._connection.close()


@contextmanager
def tailing(
    server: Serving, query: str = "", *, token: str | None = None, **headers: str
) -> Iterator[Tail]:
    """A tail that was opened, behind its first mark."""
    connection = server.connect()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        sent["Last-Event-ID"] = token
    connection.request("GET", f"/v1/tail{query}", headers=sent)
    answer = connection.getresponse()
    try:
        assert answer.status == 200, answer.read()
        opened = Tail(answer, connection)
        assert opened.frame() is None
        yield opened
    finally:
        connection.close()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def server(database: Path) -> Iterator[Serving]:
    with serving(database, tail_poll_s=0.05, max_tails=3) as server:
        yield server


@pytest.fixture
def store(database: Path) -> Iterator[SqliteStore]:
    """The server's store, opened by another process: this one."""
    store = SqliteStore(database)
    yield store
    store.close()


@pytest.fixture
def add(store: SqliteStore) -> Callable[..., None]:
    """Stores an event for each message."""

    def add_events(*messages: str, **more: Any) -> None:
        store.append(prepared(*(an_event(message=message, **more) for message in messages)))

    return add_events


Add = Callable[..., None]


def test_a_tail_shows_what_comes_in_order_and_nothing_from_before(
    server: Serving, add: Add
) -> None:
    add("before")
    with tailing(server) as opened:
        add("one", "two")
        add("three")

        assert opened.messages(3) == ["one", "two", "three"]


def test_an_event_on_a_tail_is_the_one_of_the_api(server: Serving, store: SqliteStore) -> None:
    with tailing(server, "?q=action:invoice") as opened:
        [receipt] = store.append(prepared(an_event(message="line\nfeed\r\u2028")))
        event = opened.frame()

    assert server.request("GET", f"/v1/events/{receipt.id}") == (200, event)


def test_a_tail_says_what_it_is(server: Serving) -> None:
    with tailing(server) as opened:
        headers = opened.answer.headers

    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"


def test_a_search_decides_what_is_on_a_tail(server: Serving, add: Add) -> None:
    with tailing(server, "?q=" + quote("outcome:denied -actor:bob")) as opened:
        add("no", outcome="success")
        add("yes", outcome="denied")
        add("no", outcome="denied", actor="bob")
        add("yes too", outcome="denied")

        assert opened.messages(2) == ["yes", "yes too"]


@pytest.mark.parametrize("way", ["header", "parameter", "both"])
def test_who_comes_back_goes_on_exactly_after_what_it_saw(
    server: Serving, add: Add, way: str
) -> None:
    with tailing(server, "?q=action:invoice") as opened:
        first = opened.token
        add("one", "two", "three")
        assert opened.messages(2) == ["one", "two"]
        token = opened.token
    add("four")
    after = {"header": "", "parameter": f"&after={token}", "both": f"&after={first}"}[way]

    with tailing(
        server, "?q=action:invoice" + after, token=None if way == "parameter" else token
    ) as again:
        assert again.messages(2) == ["three", "four"]


def test_what_comes_before_the_first_event_was_seen_is_not_lost(server: Serving, add: Add) -> None:
    with tailing(server) as opened:
        token = opened.token
    add("one", "two")

    with tailing(server, token=token) as again:
        assert again.messages(2) == ["one", "two"]


def test_a_token_outlives_the_server(database: Path, add: Add) -> None:
    with serving(database) as server, tailing(server) as opened:
        add("one")
        opened.messages(1)
        token = opened.token
    add("two")

    with serving(database) as server, tailing(server, token=token) as again:
        assert again.messages(1) == ["two"]


def test_relative_times_count_from_the_first_tail(server: Serving, store: SqliteStore) -> None:
    tokens = []
    with tailing(server, "?q=created:1h") as opened:
        tokens.append(opened.token)
    with tailing(server, "?q=created:1h", token=tokens[0]) as again:
        tokens.append(again.token)

    assert len({store.open_cursor(token, text="tail").now for token in tokens}) == 1


def test_signs_of_life_move_the_token(database: Path, store: SqliteStore, add: Add) -> None:
    with (
        serving(database, tail_heartbeat_s=0.1) as server,
        tailing(server, "?q=action:nothing.here") as opened,
    ):
        begin = opened.token
        add("no match")
        newest = store.newest_position()
        while store.open_cursor(opened.token, text="tail").position < newest:
            assert opened.frame() is None

    assert opened.comments > 0
    assert begin != opened.token


# Who may


def test_a_key_sees_its_own_tenant_alone(server: Serving, make_key: MakeKey, add: Add) -> None:
    key = make_key("acme", scopes={"read"})
    with tailing(server, **key) as opened:
        add("theirs", tenant="beta")
        add("ours", tenant="acme")
        add("theirs", tenant="beta")
        add("ours too", tenant="acme")

        assert opened.messages(2) == ["ours", "ours too"]


def test_a_token_tells_nothing_of_positions(server: Serving, store: SqliteStore, add: Add) -> None:
    add("a", "b", "c")
    tokens = []
    for _ in range(8):
        with tailing(server, "?q=action:invoice") as opened:
            tokens.append(base64.urlsafe_b64decode(opened.token + "=="))
    position = store.newest_position().to_bytes(8)

    # Equal places look different, in every byte that is not always the same by chance.
    assert len(set(tokens)) == 8
    assert all(len({token[at] for token in tokens}) > 1 for at in range(len(tokens[0])))
    assert not any(position in token for token in tokens)


@pytest.mark.parametrize(
    ("scopes", "status"), [({"ingest"}, 403), ({"read"}, 200), ({"export"}, 403)]
)
def test_a_tail_needs_the_scope_read(
    make_client: MakeClient, make_key: MakeKey, scopes: set[str], status: int
) -> None:
    # HEAD is asked: its answer ends.
    answer = make_client().head("/v1/tail", headers=make_key("acme", scopes=scopes))

    assert answer.status_code == status


def test_once_there_is_a_key_a_tail_needs_one(client: TestClient, make_key: MakeKey) -> None:
    make_key()

    assert client.get("/v1/tail").status_code == 401


def test_a_tail_ends_with_its_key(database: Path, make_key: MakeKey) -> None:
    soon = Instant.of(Instant.now() + timedelta(seconds=2))
    key = make_key("acme", scopes={"read"}, expires_at=soon)
    with (
        serving(database, tail_heartbeat_s=0.1) as server,
        tailing(server, **key) as opened,
        pytest.raises(EOFError),
    ):
        opened.messages(1)

    assert Instant.now() >= soon
    assert opened.comments > 0


def test_a_tail_without_a_key_ends_when_there_is_one(database: Path, make_key: MakeKey) -> None:
    with serving(database, tail_heartbeat_s=0.1) as server, tailing(server) as opened:
        opened.frame()
        make_key()

        with pytest.raises(EOFError):
            opened.messages(1)


def readings(store: SqliteStore) -> list[StoredEvent]:
    return list(store.scan(a_query("action:audit.log", now=Instant.now()), access=EVERYTHING))


def test_opening_a_tail_is_one_reading_and_coming_back_none(
    server: Serving, store: SqliteStore, add: Add
) -> None:
    for _ in range(3):
        with tailing(server, "?q=outcome:denied"):
            pass
    server.request("GET", "/v1/count?q=outcome:denied")

    [reading] = readings(store)
    assert reading.event.action == "audit.log.search"
    assert reading.event.metadata == {"query": "outcome:denied"}


def test_a_tail_does_not_begin_with_its_own_opening(
    server: Serving, store: SqliteStore, add: Add
) -> None:
    with tailing(server) as opened:
        add("first")

        assert opened.messages(1) == ["first"]
    assert [reading.event.action for reading in readings(store)] == ["audit.log.view"]


# What is refused, before anything is sent


@pytest.mark.parametrize(
    ("parameters", "kind"),
    [
        ("q=actr:alice", "query"),
        ("q=outcome:", "query"),
        ("tz=Nowhere", "parameter"),
        ("limit=5", "parameter"),
        ("q=a&q=b", "parameter"),
        ("from=2026-01-01", "parameter"),
        ("after=", "cursor"),
        ("after=nonsense", "cursor"),
        ("after=" + "A" * 66, "cursor"),
        ("after=%F0%9F%98%80", "cursor"),
    ],
)
def test_what_cannot_be_read_is_a_problem_and_no_stream(
    client: TestClient, store: SqliteStore, parameters: str, kind: str
) -> None:
    answer = client.get(f"/v1/tail?{parameters}")

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:whodid:problem:{kind}"
    assert readings(store) == []


def test_a_wrong_header_is_a_wrong_token(client: TestClient) -> None:
    answer = client.get("/v1/tail", headers={"Last-Event-ID": "nonsense"})

    assert answer.status_code == 400
    assert answer.json()["parameters"] == ["after"]


def test_a_cursor_of_a_page_is_no_token(client: TestClient, store: SqliteStore) -> None:
    store.append(prepared(an_event(), an_event()))
    older = client.get("/v1/events?limit=1").json()["older"]

    assert client.get(f"/v1/tail?after={older}").status_code == 400


def test_a_token_ahead_of_the_log_is_refused(client: TestClient, store: SqliteStore) -> None:
    cursor = Cursor(now=NOON, newest=0, occurred_at=0, position=1_000, direction="newer")
    token = store.seal_cursor(cursor, text="tail")

    answer = client.get(f"/v1/tail?after={token}")

    assert answer.status_code == 400
    assert "set back" in answer.json()["detail"]


def test_more_tails_than_allowed_are_told_to_come_back(server: Serving) -> None:
    with ExitStack() as several:
        for _ in range(3):
            several.enter_context(tailing(server))
        connection = server.connect()
        connection.request("GET", "/v1/tail")
        answer = connection.getresponse()
        problem = json.loads(answer.read())
        connection.close()

    assert (answer.status, problem["type"]) == (503, "urn:whodid:problem:busy")
    assert int(answer.headers["retry-after"]) > 0


def test_a_client_that_goes_away_makes_room(server: Serving) -> None:
    for _ in range(3):
        with tailing(server):
            pass
    with ExitStack() as several:
        while len(server_tails(server, several)) < 3:
            continue  # the server soon notices that the others have gone


def server_tails(server: Serving, several: ExitStack) -> list[Tail]:
    """Three tails at once, or fewer when the server has no room."""
    found = []
    for _ in range(3):
        try:
            found.append(several.enter_context(tailing(server)))
        except AssertionError:
            several.close()
            return []
    return found


def test_what_is_refused_takes_no_room(server: Serving) -> None:
    for _ in range(5):
        assert server.request("GET", "/v1/tail?after=nonsense")[0] == 400

    with tailing(server):
        pass


# How it ends, and what it costs


def test_a_server_that_stops_ends_its_tails_at_once(database: Path, add: Add) -> None:
    server = start(database)
    with tailing(server) as one, tailing(server) as other:
        add("last")
        assert one.messages(1) == other.messages(1) == ["last"]
        asked_at = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        for opened in (one, other):
            with pytest.raises(EOFError):  # a proper end: a broken one would be IncompleteRead
                opened.messages(1)
        said = server.process.communicate(timeout=30)
        took_s = time.monotonic() - asked_at

    assert said == ("", "")
    assert server.process.returncode in (0, -signal.SIGTERM)
    assert took_s < 5  # running requests would get ten seconds


def test_a_client_that_leaves_harms_nobody(database: Path, add: Add) -> None:
    server = start(database, tail_poll_s=0.05)
    with tailing(server) as staying:
        with tailing(server):
            add("one")
        add("two")
        seen = staying.messages(2)
    server.process.terminate()

    assert seen == ["one", "two"]
    assert server.process.communicate(timeout=30) == ("", "")


def memory_kb(server: Serving) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc on this system")
def test_a_client_that_takes_nothing_fills_no_memory(server: Serving, store: SqliteStore) -> None:
    connection = socket.create_connection(server.address, timeout=60)
    connection.sendall(b"GET /v1/tail HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    head = connection.recv(65_536)
    while b"id: " not in head:
        head += connection.recv(65_536)
    before = memory_kb(server)
    with tailing(server) as taking:
        for _ in range(10):
            store.append(prepared(*(an_event(metadata=LARGE) for _ in range(100))))
            taken = 0
            while taken < 100:
                taken += taking.frame() is not None
        grown = memory_kb(server) - before
    shown = 0
    while shown < 1_000:
        shown += connection.recv(1_000_000).count(b"data: ")
    connection.close()

    assert grown < 40_000  # of 60 MB
    assert shown == 1_000


LARGE = {f"k{number}": "x" * 4_000 for number in range(15)}


def test_a_store_that_cannot_be_read_ends_the_tail(database: Path, store: SqliteStore) -> None:
    server = start(database, tail_poll_s=0.05)
    with tailing(server) as opened:
        database.rename(database.with_name("elsewhere.db"))
        with pytest.raises(EOFError):
            opened.messages(1)
    server.process.terminate()
    _, complained = server.process.communicate(timeout=30)

    assert "a tail was ended" in complained
    assert "Traceback" not in complained


class CountingStore(SqliteStore):
    """A store that counts how often it is asked for the newest position."""

    asked = 0

    def newest_position(self) -> int:
        self.asked += 1
        return super().newest_position()


def test_many_tails_look_together(tmp_path: Path) -> None:
    store = CountingStore(tmp_path / "log.db")

    async def wait() -> None:
        news = tail._News(store, threads=Threads(readers=2), period_s=0.02)
        async with anyio.create_task_group() as group:
            for _ in range(200):
                group.start_soon(news.after, 0)
            while store.asked < 10:
                await anyio.sleep(0.01)
            store.append(prepared(an_event()))

    anyio.run(wait)

    assert store.asked < 30
    store.close()


def test_a_tail_that_gives_up_waiting_hands_the_look_on(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "log.db")

    async def wait() -> int:
        news = tail._News(store, threads=Threads(readers=2), period_s=0.02)
        with anyio.move_on_after(0.05):
            await news.after(0)
        store.append(prepared(an_event()))
        return await news.after(0)

    assert anyio.run(wait) == 1
    store.close()


# Following


def followed(follower: Follower, newest: int) -> list[str]:
    """Ids of all events up to the newest position, in the order in which they were given."""
    frames: list[bytes] = []
    before = -1
    while follower.after < newest:
        assert follower.after > before  # it always gets on
        before = follower.after
        frames += follower.read_on(newest)
    return [json.loads(frame.partition(b"data: ")[2])["id"] for frame in frames]


def test_a_restriction_that_takes_out_whole_batches_stops_nothing(store: SqliteStore) -> None:
    count = 3 * BATCH_EVENTS + 7
    store.append(prepared(*(an_event(message=f"no {n}", outcome="denied") for n in range(count))))
    [receipt] = store.append(prepared(an_event()))
    restriction = a_query("-outcome:denied").node
    access = Access.reader({"default"}, restriction=restriction)

    follower = Follower(store, query=a_query(), access=access, after=0)

    assert followed(follower, count + 1) == [receipt.id]


EVENTS = st.lists(
    st.builds(
        an_event,
        tenant=st.sampled_from(["acme", "beta", "gamma"]),
        outcome=st.sampled_from(["success", "denied"]),
        actor=st.sampled_from(["alice", "bob"]),
    ),
    max_size=20,
)
ACCESSES = st.sampled_from(
    [
        EVERYTHING,
        Access.reader({"acme"}),
        Access.reader({"acme", "gamma"}, restriction=a_query("-actor:bob").node),
        Access.reader({"nobody"}),
    ]
)


@given(before=EVENTS, after=EVENTS, access=ACCESSES, batch=st.integers(1, 7))
def test_followers_get_each_event_they_may_see_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[Any],
    after: list[Any],
    access: Access,
    batch: int,
) -> None:
    store = SqliteStore(tmp_path_factory.mktemp("tail") / "log.db")
    query = a_query("outcome:denied")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail, "BATCH_EVENTS", batch)
        follower = Follower(store, query=query, access=access, after=0)

        store.append(prepared(*before))
        known = store.newest_position()
        store.append(prepared(*after))  # came after it was asked how far there is
        found = followed(follower, known) + followed(follower, store.newest_position())

    assert found == [
        stored.id for stored in store.read_from(0, access=access) if matches(query.node, stored)
    ]
    store.close()


def test_a_follower_without_the_right_to_read_gets_nothing(store: SqliteStore) -> None:
    follower = Follower(store, query=a_query(), access=Access(), after=0)

    with pytest.raises(Exception, match="'read'"):
        follower.read_on(1)


def test_a_closed_store_is_told(store: SqliteStore) -> None:
    store.close()

    with pytest.raises(StoreUnavailableError):
        store.newest_position()
