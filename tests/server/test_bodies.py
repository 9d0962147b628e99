"""Packed bodies, JSON lines and the request's idempotency key, over HTTP."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from backports import zstd
from starlette.testclient import TestClient

from tests.server.conftest import MakeClient, plain
from whodid.access import Access
from whodid.server.settings import Settings
from whodid.stores.sqlite import SqliteStore

JSON = {"Content-Type": "application/json"}
LINES = {"Content-Type": "application/x-ndjson"}
PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress}


def stored_events(store: SqliteStore) -> int:
    return store.stats(access=Access.everything()).events


def batch(*events: dict[str, Any]) -> bytes:
    return json.dumps({"events": events or [plain(), plain(message="two")]}).encode()


def packed_as(coding: str, headers: dict[str, str] = JSON) -> dict[str, str]:
    return headers | {"Content-Encoding": coding}


@pytest.mark.parametrize("coding", PACK)
class TestPackedBodies:
    def test_are_unpacked(self, client: TestClient, store: SqliteStore, coding: str) -> None:
        answer = client.post(
            "/v1/events", content=PACK[coding](batch()), headers=packed_as(coding.upper())
        )

        assert answer.status_code == 201
        assert stored_events(store) == 2

    def test_may_have_several_members(
        self, client: TestClient, store: SqliteStore, coding: str
    ) -> None:
        body, pack = batch(), PACK[coding]
        members = pack(body[:10]) + pack(body[10:])

        answer = client.post("/v1/events", content=members, headers=packed_as(coding))

        assert answer.status_code == 201
        assert stored_events(store) == 2

    @pytest.mark.parametrize("kept", [0, 1, 5, 20, -1, -4, -9])
    def test_that_end_too_early_are_refused(
        self, client: TestClient, store: SqliteStore, coding: str, kept: int
    ) -> None:
        whole = PACK[coding](batch())

        answer = client.post("/v1/events", content=whole[:kept], headers=packed_as(coding))

        assert answer.status_code == 400
        assert answer.json()["type"] == "urn:whodid:problem:coding"
        assert "too early" in answer.json()["detail"]
        assert stored_events(store) == 0

    @pytest.mark.parametrize("damage", [b"no such thing", b"\0" * 40, b"\xff" * 1_000])
    def test_that_are_none_are_refused(
        self, client: TestClient, coding: str, damage: bytes
    ) -> None:
        answer = client.post("/v1/events", content=damage, headers=packed_as(coding))

        assert answer.status_code == 400
        assert answer.json()["type"] == "urn:whodid:problem:coding"

    def test_followed_by_rubbish_are_refused(self, client: TestClient, coding: str) -> None:
        body = PACK[coding](batch()) + b"rubbish, and more of it"

        answer = client.post("/v1/events", content=body, headers=packed_as(coding))

        assert answer.status_code == 400

    def test_larger_than_a_body_may_be_are_refused(
        self, make_client: MakeClient, store: SqliteStore, coding: str
    ) -> None:
        client = make_client(Settings(max_body_bytes=100_000))
        body = PACK[coding](json.dumps(plain(metadata={"a": "x" * 200_000})).encode())

        answer = client.post("/v1/events", content=body, headers=packed_as(coding))

        assert len(body) < 1_000
        assert answer.status_code == 413
        assert answer.json()["type"] == "urn:whodid:problem:size"
        assert stored_events(store) == 0

    def test_packed_like_a_bomb_are_refused(self, client: TestClient, coding: str) -> None:
        bomb = PACK[coding](b'{"a":"' + b"0" * 4_900_000)

        answer = client.post("/v1/events", content=bomb, headers=packed_as(coding))

        assert answer.status_code == 413
        assert answer.json()["type"] == "urn:whodid:problem:ratio"

    def test_of_a_gigabyte_cost_no_gigabyte(self, client: TestClient, coding: str) -> None:
        import tracemalloc

        bomb = b"".join(PACK[coding](b"0" * 10_000_000) for _ in range(100))
        tracemalloc.start()

        answer = client.post("/v1/events", content=bomb, headers=packed_as(coding))

        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert answer.status_code == 413
        assert peak < 30_000_000


def test_a_zstd_window_larger_than_every_reader_has_is_refused(client: TestClient) -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27}
    packer = zstd.ZstdCompressor(options=options)
    body = packer.compress(batch()) + packer.flush()

    answer = client.post("/v1/events", content=body, headers=packed_as("zstd"))

    assert answer.status_code == 400


def test_raw_deflate_is_no_gzip(client: TestClient) -> None:
    answer = client.post("/v1/events", content=zlib.compress(batch()), headers=packed_as("gzip"))

    assert answer.status_code == 400


@pytest.mark.parametrize(
    "kind", ["application/x-ndjson", "application/ndjson", "application/jsonl; charset=utf-8"]
)
def test_each_line_is_an_event(client: TestClient, store: SqliteStore, kind: str) -> None:
    body = json.dumps(plain(message="a\nb")) + "\r\n\n  \n" + json.dumps(plain())

    answer = client.post("/v1/events", content=body, headers={"Content-Type": kind})

    assert answer.status_code == 201
    assert len(answer.json()["receipts"]) == 2
    assert stored_events(store) == 2


def test_a_faulty_line_is_named_and_nothing_is_stored(
    client: TestClient, store: SqliteStore
) -> None:
    body = "\n".join([json.dumps(plain()), "", "{", '"text"', json.dumps(plain(surprise=1))])

    answer = client.post("/v1/events", content=body, headers=LINES)

    assert answer.status_code == 422
    assert [fault["index"] for fault in answer.json()["errors"]] == [1, 2, 3]
    assert stored_events(store) == 0


@pytest.mark.parametrize("body", [b"", b"\n\n", b"  \r\n"])
def test_no_line_is_no_batch(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/events", content=body, headers=LINES)

    assert answer.status_code == 422


def test_lines_may_be_packed_and_are_a_thousand_at_most(client: TestClient) -> None:
    line = json.dumps(plain()).encode() + b"\n"

    most = client.post(
        "/v1/events", content=gzip.compress(line * 1_000), headers=packed_as("gzip", LINES)
    )
    over = client.post("/v1/events", content=line * 1_001, headers=LINES)

    assert most.status_code == 201
    assert over.status_code == 413


class TestIdempotencyKey:
    def test_the_same_request_again_adds_nothing(
        self, client: TestClient, store: SqliteStore
    ) -> None:
        headers = JSON | {"Idempotency-Key": "order-7"}

        first = client.post("/v1/events", content=batch(), headers=headers)
        again = client.post("/v1/events", content=batch(), headers=headers)

        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json()["receipts"] == [
            receipt | {"duplicate": True} for receipt in first.json()["receipts"]
        ]
        assert stored_events(store) == 2

    def test_quotes_around_it_are_not_part_of_it(self, client: TestClient) -> None:
        bare = client.post("/v1/events", json=plain(), headers={"Idempotency-Key": "a-b"})
        quoted = client.post("/v1/events", json=plain(), headers={"Idempotency-Key": '"a-b"'})

        assert (bare.status_code, quoted.status_code) == (201, 200)

    def test_another_body_conflicts(self, client: TestClient, store: SqliteStore) -> None:
        headers = JSON | {"Idempotency-Key": "order-7"}
        client.post("/v1/events", content=batch(), headers=headers)

        answer = client.post(
            "/v1/events", content=batch(plain(), plain(message="three")), headers=headers
        )

        assert answer.status_code == 409
        assert answer.json()["index"] == 1
        assert stored_events(store) == 2

    def test_more_events_than_the_first_time_conflict(
        self, client: TestClient, store: SqliteStore
    ) -> None:
        headers = JSON | {"Idempotency-Key": "order-7"}
        client.post("/v1/events", content=batch(plain()), headers=headers)

        answer = client.post("/v1/events", content=batch(plain(), plain()), headers=headers)

        assert answer.status_code == 409
        assert stored_events(store) == 1

    def test_fewer_events_than_the_first_time_conflict(
        self, client: TestClient, store: SqliteStore
    ) -> None:
        headers = JSON | {"Idempotency-Key": "order-7"}
        client.post("/v1/events", content=batch(), headers=headers)

        answer = client.post("/v1/events", content=batch(plain()), headers=headers)

        assert answer.status_code == 409
        assert stored_events(store) == 2

    def test_another_request_with_another_key_is_another(
        self, client: TestClient, store: SqliteStore
    ) -> None:
        for key in ("a", "b"):
            client.post("/v1/events", json=plain(), headers={"Idempotency-Key": key})

        assert stored_events(store) == 2

    def test_an_events_own_key_goes_before(self, client: TestClient, store: SqliteStore) -> None:
        own = plain(idempotency_key="own")

        client.post("/v1/events", json=own, headers={"Idempotency-Key": "a"})
        again = client.post("/v1/events", json=own)

        assert again.status_code == 200
        assert stored_events(store) == 1

    @pytest.mark.parametrize("key", ["", '""', "x" * 101, "a b", "\x7f", "ключ".encode()])
    def test_what_is_no_key_is_refused(
        self, client: TestClient, store: SqliteStore, key: str | bytes
    ) -> None:
        headers = {b"Idempotency-Key": key if isinstance(key, bytes) else key.encode()}

        answer = client.post("/v1/events", json=plain(), headers=headers)

        assert answer.status_code == 400
        assert answer.json()["type"] == "urn:whodid:problem:idempotency-key"
        assert stored_events(store) == 0
