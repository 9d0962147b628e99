"""The server over PostgreSQL: the API, the pages, and workers that store beside it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.server.conftest import MakeClient, MakeKey
from tests.server.serving import serving
from whodid import ids
from whodid.stores.postgres import PostgresStore
from whodid.testing import an_event, prepared


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(postgres_url)
    yield store
    store.close()


def test_events_are_taken_found_and_shown(make_client: MakeClient, make_key: MakeKey) -> None:
    client, key = make_client(), make_key()
    events = [{"action": "invoice.delete", "actor": {"type": "user", "id": "ana"}}] * 3
    answer = client.post("/v1/events", json={"events": events}, headers=key)
    [first, *_] = answer.json()["receipts"]

    found = client.get("/v1/events", params={"q": "actor.id:ana"}, headers=key).json()
    counted = client.get("/v1/count", params={"q": "action:invoice"}, headers=key).json()
    page = client.get("/", headers=key)
    shown = client.get(f"/events/{first['id']}", headers=key)

    assert answer.status_code == 201
    assert (first["index"], len(found["events"])) == (0, 3)
    assert counted["count"] == 3
    assert (page.status_code, "invoice.delete" in page.text) == (200, True)
    assert shown.status_code == 200


def test_what_a_host_stored_is_found_after_its_commit(
    make_client: MakeClient, store: PostgresStore, postgres_url: str
) -> None:
    client = make_client()
    with psycopg.connect(postgres_url) as host:
        store.append(prepared(an_event(actor="hosted")), connection=host)
        before = client.get("/v1/events", params={"q": "action:invoice"}).json()["events"]
        host.commit()
    store.seal()
    after = client.get("/v1/events", params={"q": "action:invoice"}).json()["events"]

    assert (before, [each["actor"]["id"] for each in after]) == ([], ["hosted"])


def test_workers_store_once_what_comes_twice(postgres_url: str) -> None:
    with serving(postgres_url, ingest_workers=2) as server:
        batch = {
            "events": [
                {"id": ids.uuid7(), "action": "user.login", "actor": {"type": "user", "id": "ana"}}
                for _ in range(2)
            ]
        }
        first = server.request("POST", "/v1/events", batch)
        again = server.request("POST", "/v1/events", batch)

    assert (first[0], again[0]) == (201, 200)
    assert again[1]["receipts"] == [each | {"duplicate": True} for each in first[1]["receipts"]]
    assert [each["index"] for each in first[1]["receipts"]] == [0, 1]
