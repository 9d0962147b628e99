from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.server.conftest import MakeClient, MakeKey, plain
from whodid.access import Access
from whodid.errors import ConflictError, StoreUnavailableError
from whodid.event import StoredEvent
from whodid.server.auth import Caller
from whodid.server.readings import Readings
from whodid.stores.base import Batch, Receipt
from whodid.stores.sqlite import SqliteStore
from whodid.testing import NOON, a_query, an_event, minutes, prepared
from whodid.times import Instant

SOMEBODY = Caller(key=None, address="127.0.0.1")


def readings_in(store: SqliteStore) -> list[StoredEvent]:
    """All readings, oldest first."""
    page = store.page(
        a_query("action:audit.log", now=Instant.now()), access=Access.everything(), limit=1_000
    )
    return list(page.events)[::-1]


@pytest.fixture
def readings(store: SqliteStore) -> Readings:
    return Readings(store, period_s=600, capacity=3)


def test_a_search_is_in_the_log_with_who_what_and_from_where(
    client: TestClient, store: SqliteStore
) -> None:
    client.get("/v1/events?q=outcome:denied")

    [reading] = readings_in(store)
    assert reading.event.action == "audit.log.search"
    assert reading.event.actor.type == "anonymous"
    assert reading.event.client
    assert reading.event.client.ip == "127.0.0.1"
    assert reading.event.metadata == {"query": "outcome:denied"}
    assert reading.tenant_id == "whodid"


def test_reading_without_a_search_is_a_view(client: TestClient, store: SqliteStore) -> None:
    client.get("/v1/events")

    [reading] = readings_in(store)
    assert reading.event.action == "audit.log.view"
    assert not reading.event.metadata


def test_opening_an_event_names_it(client: TestClient, store: SqliteStore) -> None:
    [receipt] = client.post("/v1/events", json=plain()).json()["receipts"]

    client.get(f"/v1/events/{receipt['id']}")

    [reading] = readings_in(store)
    [target] = reading.event.targets
    assert reading.event.action == "audit.log.view"
    assert (target.type, target.id) == ("event", receipt["id"])


def test_an_event_that_is_not_there_was_not_read(client: TestClient, store: SqliteStore) -> None:
    client.get("/v1/events/01890a5d-ac96-774b-bcce-b302099a8057")

    assert readings_in(store) == []


def test_a_key_is_named_and_its_reading_lies_with_its_tenant(
    make_client: MakeClient, make_key: MakeKey, store: SqliteStore
) -> None:
    key = make_key("acme")

    make_client().get("/v1/count", headers=key)

    [reading] = readings_in(store)
    assert reading.event.actor.type == "api_key"
    assert reading.event.actor.id == key["Authorization"].split("_")[1]
    assert reading.event.actor.name == "key of acme"
    assert reading.tenant_id == "acme"


def test_a_key_for_all_tenants_leaves_its_reading_with_the_log_itself(
    make_client: MakeClient, make_key: MakeKey, store: SqliteStore
) -> None:
    make_client().get("/v1/count", headers=make_key("*"))

    [reading] = readings_in(store)
    assert reading.tenant_id == "whodid"


def test_all_endpoints_and_pages_of_one_search_are_one_reading(
    client: TestClient, store: SqliteStore
) -> None:
    store.append(prepared(*(an_event() for _ in range(5))))
    first = client.get("/v1/events?q=action:invoice&limit=2").json()

    client.get(f"/v1/events?q=action:invoice&limit=2&cursor={first['older']}")
    for path in ("facets", "histogram", "count", "events"):
        client.get(f"/v1/{path}?q=action:invoice")

    assert len(readings_in(store)) == 1


def test_another_search_and_another_key_are_readings_of_their_own(
    make_client: MakeClient, make_key: MakeKey, store: SqliteStore
) -> None:
    client, one, other = make_client(), make_key(), make_key()

    client.get("/v1/count?q=outcome:denied", headers=one)
    client.get("/v1/count?q=outcome:error", headers=one)
    client.get("/v1/count?q=outcome:denied", headers=other)

    assert len(readings_in(store)) == 3


def test_a_long_query_is_cut(client: TestClient, store: SqliteStore) -> None:
    client.get("/v1/count?q=" + "x" * 1_900)

    [reading] = readings_in(store)
    assert reading.event.metadata == {"query": "x" * 500}


def test_a_search_that_cannot_be_read_discloses_nothing_and_leaves_nothing(
    client: TestClient, store: SqliteStore
) -> None:
    client.get("/v1/events?q=actr:alice")
    client.get("/v1/events?limit=0")

    assert readings_in(store) == []


@pytest.mark.parametrize(
    "path", ["/healthz", "/openapi.json", "/static/nothing.css", "/v1/nothing"]
)
def test_what_shows_nothing_of_the_log_is_no_reading(
    client: TestClient, store: SqliteStore, path: str
) -> None:
    client.get(path)

    assert readings_in(store) == []


def test_opening_a_page_is_a_reading_like_the_api(client: TestClient, store: SqliteStore) -> None:
    [receipt] = client.post("/v1/events", json=plain()).json()["receipts"]

    for path in ("/", "/?q=outcome:denied", "/?q=outcome:denied", f"/events/{receipt['id']}"):
        assert client.get(path).status_code == 200
    client.get("/v1/count?q=outcome:denied")

    found = [reading.event for reading in readings_in(store)]
    assert [event.action for event in found] == [
        "audit.log.view",
        "audit.log.search",
        "audit.log.view",
    ]
    assert [target.id for target in found[2].targets] == [receipt["id"]]


def test_completing_a_search_is_one_view_however_many_keys_are_struck(
    client: TestClient, store: SqliteStore
) -> None:
    for typed in ("o", "ou", "outcome:", "outcome:d", "actor:ana outcome:d"):
        answer = client.get("/complete", params={"q": "app:billing", "typed": typed})
        assert answer.status_code == 200

    assert [reading.event.action for reading in readings_in(store)] == ["audit.log.view"]


def test_the_first_answer_waits_until_the_reading_is_durable(
    client: TestClient, store: SqliteStore
) -> None:
    found = client.get("/v1/events?q=action:audit.log.search").json()["events"]

    assert [event["action"] for event in found] == ["audit.log.search"]


def test_after_the_period_the_same_reading_is_written_again(
    readings: Readings, store: SqliteStore
) -> None:
    for minute in (0, 5, 9.99, 10, 19, 21):
        readings.note(SOMEBODY, query="outcome:denied", now=minutes(minute))

    assert [reading.occurred_at for reading in readings_in(store)] == [
        minutes(0),
        minutes(10),
        minutes(21),
    ]


def test_a_clock_set_back_writes_once_more_rather_than_once_less(
    readings: Readings, store: SqliteStore
) -> None:
    readings.note(SOMEBODY, now=NOON)
    readings.note(SOMEBODY, now=Instant.of(NOON - timedelta(hours=1)))

    assert len(readings_in(store)) == 2


def test_no_more_readings_are_remembered_than_allowed(
    readings: Readings, store: SqliteStore
) -> None:
    for query in ("a", "b", "c", "d", "a"):
        readings.note(SOMEBODY, query=query, now=NOON)

    assert len(readings_in(store)) == 5  # the first was forgotten, so it is written again


def test_requests_that_arrive_together_write_one_reading(
    readings: Readings, store: SqliteStore
) -> None:
    together = threading.Barrier(8)
    seen: list[int] = []

    def read() -> None:
        together.wait()
        readings.note(SOMEBODY, query="outcome:denied", now=NOON)
        seen.append(len(readings_in(store)))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == [1] * 8


class FullStore(SqliteStore):
    """A store whose disk is full: it can be read, but nothing can be stored."""

    is_full = True

    def append_each(self, batches: Sequence[Batch]) -> list[list[Receipt] | ConflictError]:
        if self.is_full:
            raise StoreUnavailableError("the disk is full; make room and try again")
        return super().append_each(batches)


def test_what_cannot_be_written_down_is_not_shown(tmp_path: Path) -> None:
    store = FullStore(tmp_path / "log.db")
    readings = Readings(store, period_s=600, capacity=3)

    with pytest.raises(StoreUnavailableError):
        readings.note(SOMEBODY, now=NOON)
    store.is_full = False
    readings.note(SOMEBODY, now=NOON)

    assert len(readings_in(store)) == 1  # the failed one is not taken for written
    store.close()
