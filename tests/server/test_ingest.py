from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from starlette.testclient import TestClient
from starlette.types import Message

from tests.server.conftest import MakeClient, MakeKey, plain
from whodid.access import Access
from whodid.server.app import create_app
from whodid.server.settings import Settings
from whodid.stores.sqlite import SqliteStore
from whodid.times import Instant

ID = "01890a5d-ac96-774b-bcce-b302099a8057"


def stored_events(store: SqliteStore) -> int:
    return store.stats(access=Access.everything()).events


def test_one_event_gets_one_receipt(client: TestClient, store: SqliteStore) -> None:
    answer = client.post("/v1/events", json=plain(id=ID))

    [receipt] = answer.json()["receipts"]
    assert answer.status_code == 201
    assert Instant.parse(receipt.pop("received_at")) <= Instant.now()
    assert receipt == {"id": ID, "tenant": "default", "index": 0, "duplicate": False}
    assert store.find(ID, access=Access.everything()) is not None


def test_a_batch_gets_its_receipts_in_order(client: TestClient) -> None:
    batch = {"events": [plain(tenant={"id": name}) for name in ("a", "b", "a")]}

    receipts = client.post("/v1/events", json=batch).json()["receipts"]

    assert [(receipt["tenant"], receipt["index"]) for receipt in receipts] == [
        ("a", 0),
        ("b", 0),
        ("a", 1),
    ]
    assert len({receipt["id"] for receipt in receipts}) == 3


def test_the_same_again_is_answered_with_the_first_receipt(
    client: TestClient, store: SqliteStore
) -> None:
    batch = {"events": [plain(id=ID), plain(idempotency_key="once", source={"app": "web"})]}
    first = client.post("/v1/events", json=batch)

    second = client.post("/v1/events", json=batch)

    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["receipts"] == [
        receipt | {"duplicate": True} for receipt in first.json()["receipts"]
    ]
    assert stored_events(store) == 2


def test_a_batch_with_something_new_in_it_is_created(client: TestClient) -> None:
    client.post("/v1/events", json=plain(id=ID))

    answer = client.post("/v1/events", json={"events": [plain(id=ID), plain()]})

    assert answer.status_code == 201
    assert [receipt["duplicate"] for receipt in answer.json()["receipts"]] == [True, False]


def test_the_same_id_with_another_body_is_a_conflict(
    client: TestClient, store: SqliteStore
) -> None:
    client.post("/v1/events", json=plain(id=ID))

    answer = client.post(
        "/v1/events", json={"events": [plain(), plain(id=ID, message="something else")]}
    )

    problem = answer.json()
    assert answer.status_code == 409
    assert problem["type"] == "urn:whodid:problem:conflict"
    assert (problem["index"], problem["path"]) == (1, "/message")
    assert stored_events(store) == 1


def test_each_bad_event_of_a_batch_is_named_and_nothing_is_stored(
    client: TestClient, store: SqliteStore
) -> None:
    batch: list[dict[str, Any]] = [plain() for _ in range(6)]
    batch[1] = {"actor": {"type": "system"}}
    batch[3] = plain(targets=[{"type": "Not A Type"}])
    batch[4] = plain(surprise=1)

    answer = client.post("/v1/events", json={"events": batch})

    problem = answer.json()
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [(fault["index"], fault["path"]) for fault in problem["errors"]] == [
        (1, "$.action"),
        (3, "$.targets[0].type"),
        (4, "$.surprise"),
    ]
    assert all(fault["problem"] for fault in problem["errors"])
    assert problem["faulty"] == 3
    assert stored_events(store) == 0


def test_at_most_a_hundred_bad_events_are_named(client: TestClient) -> None:
    problem = client.post("/v1/events", json={"events": [{}] * 300}).json()

    assert len(problem["errors"]) == 100
    assert problem["faulty"] == 300


def test_a_single_bad_event_is_named_as_the_first(client: TestClient) -> None:
    problem = client.post("/v1/events", json=plain(outcome="fail")).json()

    assert problem["errors"] == [
        {
            "index": 0,
            "path": "$.outcome",
            "problem": "expected one of success, failure, denied, error, unknown",
        }
    ]


def test_the_logs_own_actions_are_not_taken_from_outside(
    client: TestClient, store: SqliteStore
) -> None:
    batch = {"events": [plain(), plain(action="audit.log.view"), plain(action="audit.erasure.run")]}

    answer = client.post("/v1/events", json=batch)

    assert answer.status_code == 422
    assert [fault["index"] for fault in answer.json()["errors"]] == [1, 2]
    assert stored_events(store) == 0


def test_an_event_over_its_limit_is_refused(client: TestClient) -> None:
    answer = client.post("/v1/events", json=plain(metadata={"note": "x" * 70_000}))

    assert answer.status_code == 422
    assert "65,536" in answer.json()["errors"][0]["problem"]


def test_a_key_of_one_tenant_fills_it_in(make_client: MakeClient, make_key: MakeKey) -> None:
    key = make_key("acme")
    client = make_client()
    batch = {"events": [plain(), plain(tenant={"id": "acme", "name": "Acme Ltd"})]}

    receipts = client.post("/v1/events", json=batch, headers=key).json()["receipts"]

    assert [receipt["tenant"] for receipt in receipts] == ["acme", "acme"]


def test_a_key_of_one_tenant_cannot_write_into_another(
    make_client: MakeClient, make_key: MakeKey, store: SqliteStore
) -> None:
    key = make_key("acme")
    client = make_client()
    batch = {"events": [plain(), plain(tenant={"id": "globex"}), plain()]}

    answer = client.post("/v1/events", json=batch, headers=key)

    assert answer.status_code == 403
    assert [fault["index"] for fault in answer.json()["errors"]] == [1]
    assert "globex" not in answer.text
    assert stored_events(store) == 0


def test_a_key_for_all_tenants_writes_into_any(make_client: MakeClient, make_key: MakeKey) -> None:
    key = make_key("*")
    client = make_client()
    batch = {"events": [plain(), plain(tenant={"id": "globex"})]}

    receipts = client.post("/v1/events", json=batch, headers=key).json()["receipts"]

    assert [receipt["tenant"] for receipt in receipts] == ["default", "globex"]


def test_the_stamp_says_which_key_wrote(
    make_client: MakeClient, make_key: MakeKey, store: SqliteStore
) -> None:
    key = make_key("acme")
    make_client().post("/v1/events", json=plain(id=ID), headers=key)

    stored = store.find(ID, access=Access.everything())

    assert stored is not None
    assert stored.writer == f"key:{key['Authorization'].split('_')[1]}"


def test_nobody_is_named_as_writer_without_a_key(client: TestClient, store: SqliteStore) -> None:
    client.post("/v1/events", json=plain(id=ID))

    stored = store.find(ID, access=Access.everything())

    assert stored is not None
    assert stored.writer is None


def test_secrets_are_redacted_before_anything_is_stored(
    client: TestClient, store: SqliteStore
) -> None:
    client.post("/v1/events", json=plain(id=ID, metadata={"password": "hunter2-hunter2"}))

    stored = store.find(ID, access=Access.everything())

    assert stored is not None
    assert b"hunter2" not in stored.body


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON; charset=UTF-8",
        'application/json;charset="utf-8"',
        "application/json ; charset=utf-8",
    ],
)
def test_json_is_taken_however_its_type_is_written(client: TestClient, content_type: str) -> None:
    answer = client.post(
        "/v1/events", content=json.dumps(plain()), headers={"Content-Type": content_type}
    )

    assert answer.status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/jsonx"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/json", "Content-Encoding": "br"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip, gzip"},
    ],
)
def test_another_type_or_encoding_is_refused(
    client: TestClient, store: SqliteStore, headers: dict[str, str]
) -> None:
    answer = client.post("/v1/events", content=json.dumps(plain()), headers=headers)

    assert answer.status_code == 415
    assert stored_events(store) == 0


def test_a_body_in_pieces_is_one_body(client: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        for byte in json.dumps(plain()).encode():
            yield bytes([byte])

    answer = client.post(
        "/v1/events", content=pieces(), headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 201


def test_a_body_over_the_limit_is_refused_while_it_arrives(store: SqliteStore) -> None:
    app = create_app(store, Settings(max_body_bytes=1_000))
    received = 0
    sent: list[Message] = []

    async def receive() -> Message:
        nonlocal received
        received += 100
        return {"type": "http.request", "body": b" " * 100, "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    anyio.run(app, post_scope(), receive, send)

    assert sent[0]["status"] == 413
    assert received == 1_100


def post_scope() -> dict[str, Any]:
    """A POST by a person at this machine, as an ASGI server hands it over."""
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/events",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8787"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 50_000),
    }


def test_a_body_that_says_it_is_over_the_limit_is_not_read_at_all(client: TestClient) -> None:
    answer = client.post(
        "/v1/events",
        content=b"{}",
        headers={"Content-Type": "application/json", "Content-Length": "5000001"},
    )

    assert answer.status_code == 413
    assert "5,000,000" in answer.json()["detail"]


@pytest.mark.parametrize("length", ["-1", "1e3", "x", "9" * 400, "0" * 5_000])
def test_a_length_that_is_none_is_refused(client: TestClient, length: str) -> None:
    answer = client.post(
        "/v1/events",
        content=b"{}",
        headers={"Content-Type": "application/json", "Content-Length": length},
    )

    assert answer.status_code == 413


def test_a_thousand_events_are_taken_and_one_more_is_not(
    client: TestClient, store: SqliteStore
) -> None:
    most = client.post("/v1/events", json={"events": [plain()] * 1_000})
    over = client.post("/v1/events", json={"events": [plain()] * 1_001})

    assert most.status_code == 201
    assert over.status_code == 413
    assert "1,001" in over.json()["detail"]
    assert stored_events(store) == 1_000


def test_a_body_just_under_the_limit_is_read(client: TestClient, store: SqliteStore) -> None:
    body = json.dumps(plain()).encode().ljust(5_000_000)

    answer = client.post("/v1/events", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 201
    assert stored_events(store) == 1
