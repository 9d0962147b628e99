from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from tests.server.conftest import LOCAL_PEER, LOCAL_URL, MakeClient, plain
from tests.server.test_readings import FullStore
from whodid.access import Access
from whodid.errors import ConflictError, StoreUnavailableError
from whodid.server.app import create_app
from whodid.server.settings import Settings
from whodid.stores.base import Batch, Receipt
from whodid.stores.sqlite import SqliteStore

EVENT_PATH = "/v1/events/01890a5d-ac96-774b-bcce-b302099a8057"


def test_health_is_good_while_the_store_is(client: TestClient) -> None:
    answer = client.get("/healthz")

    assert answer.status_code == 200
    assert answer.json() == {"status": "ok"}


def test_health_fails_when_the_store_does_and_recovers_with_it(
    make_client: MakeClient, store: SqliteStore
) -> None:
    client = make_client(Settings(health_memory_s=0))
    moved = store.path.with_suffix(".moved")
    store.path.rename(moved)

    broken = client.get("/healthz")
    moved.rename(store.path)

    assert broken.status_code == 503
    assert broken.headers["retry-after"]
    assert broken.headers["content-type"] == "application/problem+json"
    assert str(store.path.parent) not in broken.text  # a stranger may ask
    assert client.get("/healthz").status_code == 200


def test_health_is_asked_of_the_store_once_in_a_while(
    make_client: MakeClient, store: SqliteStore
) -> None:
    client = make_client(Settings(health_memory_s=1_000))
    client.get("/healthz")
    store.close()

    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/v1/events", "/v1/facets", "/v1/count", "/v1/histogram", "/"])
def test_a_store_that_fails_is_answered_with_503_and_when_to_try_again(
    client: TestClient, store: SqliteStore, path: str
) -> None:
    store.close()

    answer = client.get(path)

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["type"] == "urn:whodid:problem:unavailable"


def test_ingest_into_a_store_that_fails_is_answered_with_503(
    client: TestClient, store: SqliteStore
) -> None:
    store.close()

    answer = client.post("/v1/events", json=plain())

    assert answer.status_code == 503
    assert "retry-after" in answer.headers


def test_a_full_disk_refuses_events_and_readings_but_tells_no_paths(tmp_path: Path) -> None:
    app = create_app(FullStore(tmp_path / "log.db"), Settings())
    with TestClient(app, base_url=LOCAL_URL, client=LOCAL_PEER) as client:
        answers = [
            client.post("/v1/events", json=plain()),
            client.get("/v1/events"),
            client.get("/"),
        ]

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert all(str(tmp_path) not in answer.text for answer in answers)


class BrokenStore(SqliteStore):
    """A store with a bug in it."""

    def append_each(self, batches: Sequence[Batch]) -> list[list[Receipt] | ConflictError]:
        raise ZeroDivisionError("secret detail")


def test_an_error_nobody_foresaw_is_logged_under_an_id_and_shows_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(BrokenStore(tmp_path / "log.db"), Settings())
    with (
        caplog.at_level(logging.ERROR, logger="whodid.server"),
        TestClient(app, base_url=LOCAL_URL, client=LOCAL_PEER) as client,
    ):
        answer = client.post("/v1/events", json=plain())

    problem = answer.json()
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret detail" not in answer.text
    assert "Traceback" not in answer.text
    [record] = [record for record in caplog.records if record.name == "whodid.server"]
    assert problem["error_id"] in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_stored_bytes_that_do_not_hold_together_are_answered_with_what_to_do(
    client: TestClient, store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    [receipt] = client.post("/v1/events", json=plain()).json()["receipts"]
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE whodid_event SET body = ?", (b"{}",))
    connection.close()

    with caplog.at_level(logging.ERROR, logger="whodid.server"):
        answer = client.get(f"/v1/events/{receipt['id']}")

    assert answer.status_code == 500
    assert "whodid verify" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/nothing", "/v1/events/", "/v1/events/a/b"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_no_such_path_of_the_api_is_not_found(client: TestClient, path: str, method: str) -> None:
    answer = client.request(method, path, follow_redirects=False)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/events", "GET, HEAD, POST"),
        (EVENT_PATH, "GET, HEAD"),
        ("/v1/facets", "GET, HEAD"),
        ("/v1/histogram", "GET, HEAD"),
        ("/v1/count", "GET, HEAD"),
        ("/healthz", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "NONSENSE"])
def test_another_method_is_refused_with_those_there_are(
    client: TestClient, path: str, allowed: str, method: str
) -> None:
    answer = client.request(method, path)

    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path", ["/v1/events", "/v1/nothing", "/healthz", "/openapi.json", "/v1/events?limit=0"]
)
def test_answers_of_the_api_are_neither_sniffed_framed_kept_nor_run(
    client: TestClient, path: str
) -> None:
    headers = client.get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["referrer-policy"] == "no-referrer"


def test_a_page_keeps_the_policy_that_it_needs(client: TestClient) -> None:
    policy = client.get("/").headers.get_list("content-security-policy")

    assert len(policy) == 1
    assert "script-src 'self'" in policy[0]


def test_the_viewer_lies_at_the_root(client: TestClient) -> None:
    answer = client.get("/?q=" + quote("outcome:denied"))

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")


def test_the_store_is_closed_when_the_server_stops(store: SqliteStore) -> None:
    app = create_app(store, Settings())
    with TestClient(app, base_url=LOCAL_URL, client=LOCAL_PEER) as client:
        assert client.get("/healthz").status_code == 200

    with pytest.raises(StoreUnavailableError):
        store.check_health()


def test_what_came_in_over_http_verifies(client: TestClient, store: SqliteStore) -> None:
    client.post("/v1/events", json={"events": [plain()] * 10})
    client.get("/v1/events")

    report = store.verify(access=Access.everything())

    assert report.is_sound, report.problems
    assert report.events == 11
