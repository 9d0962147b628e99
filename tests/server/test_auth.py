from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from tests.server.conftest import FAR_PEER, LOCAL_PEER, LOCAL_URL, MakeClient, MakeKey, plain
from whodid.access import Access
from whodid.errors import ConfigError
from whodid.server import openapi
from whodid.server.app import create_app
from whodid.server.auth import Caller, KeyRing, new_key
from whodid.server.settings import Settings
from whodid.stores.base import ApiKey
from whodid.stores.sqlite import SqliteStore
from whodid.times import Instant

PUBLIC = Settings(host="0.0.0.0", key_memory_s=0)
LOCAL = Settings(key_memory_s=0)
PUBLIC_URL = "http://audit.example.com"


def test_a_key_shows_its_id_and_keeps_only_a_digest_of_its_secret() -> None:
    now = Instant.now()

    text, key = new_key(name="web", tenant="acme", scopes={"ingest"}, now=now)

    found = re.fullmatch(r"whodid_([a-z0-9]+)_([A-Za-z0-9_-]{43})", text)
    assert found
    assert found[1] == key.id
    assert key.digest == hashlib.sha256(found[2].encode()).digest()
    assert found[2] not in repr(key)


def test_two_keys_are_never_the_same() -> None:
    made = [new_key(name="web", tenant="*", scopes={"read"}, now=Instant.now()) for _ in range(100)]

    assert len({text for text, _ in made}) == len({key.id for _, key in made}) == 100


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "x" * 201},
        {"tenant": ""},
        {"scopes": set()},
        {"scopes": {"read", "everything"}},
        {"expires_at": Instant.parse("2020-01-01T00:00:00Z")},
    ],
)
def test_a_key_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    given = {"name": "web", "tenant": "acme", "scopes": {"read"}, "now": Instant.now()} | wrong

    with pytest.raises(ConfigError):
        new_key(**given)  # type: ignore[arg-type]  # wrong on purpose


def test_a_key_without_the_scope_read_sees_nothing() -> None:
    _, key = new_key(name="web", tenant="*", scopes={"ingest"}, now=Instant.now())

    assert Caller(key=key, address="203.0.113.9").access == Access()


def test_a_server_that_others_reach_does_not_start_without_a_key(store: SqliteStore) -> None:
    with pytest.raises(ConfigError, match="whodid keys create"):
        create_app(store, PUBLIC)


def _requests(client: TestClient) -> Iterator[tuple[str, str]]:
    """Every route there is, by every method, and paths that are none."""
    app = client.app
    paths = {
        getattr(route, "path", "")
        for route in app.routes  # type: ignore[attr-defined]  # it is a Starlette
    }
    assert set(openapi.document()["paths"]) <= paths
    paths |= {
        "/",
        "/static/app.css",
        "/events/01890a5d-ac96-774b-bcce-b302099a8057",
        "/events.json",
    }
    paths |= {"//v1/events", "/v1/", "/V1/events", "/v1/../v1/events", "/healthz/", "/nothing"}
    for path in sorted(paths - {"/healthz"}):
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            yield method, path.replace("{event_id}", "1").replace("{rest:path}", "x") or "/"


@pytest.mark.parametrize("peer", [FAR_PEER, ("127.0.0.1", 50_000)])
@pytest.mark.parametrize("url", [PUBLIC_URL, LOCAL_URL])
def test_on_a_public_address_nothing_answers_without_a_key_but_health(
    make_client: MakeClient, make_key: MakeKey, peer: tuple[str, int], url: str
) -> None:
    make_key()
    client = make_client(PUBLIC, peer=peer, url=url)

    answers = {
        (method, path): client.request(method, path, follow_redirects=False).status_code
        for method, path in _requests(client)
    }

    assert len(answers) > 80
    assert set(answers.values()) == {401, 403}
    assert client.get("/healthz").json() == {"status": "ok"}


def test_the_walk_knows_every_route(client: TestClient) -> None:
    routes = client.app.routes  # type: ignore[attr-defined]  # it is a Starlette

    assert all(isinstance(route, Route | Mount) for route in routes)
    assert [route.path for route in routes if isinstance(route, Mount)] == [""]


def test_with_a_key_the_api_answers_from_anywhere(
    make_client: MakeClient, make_key: MakeKey
) -> None:
    key = make_key()
    client = make_client(PUBLIC, peer=FAR_PEER, url=PUBLIC_URL)

    stored = client.post("/v1/events", json=plain(), headers=key)
    proxied = client.get("/v1/events", headers=key | {"X-Forwarded-For": "198.51.100.1"})

    assert stored.status_code == 201
    assert proxied.status_code == 200


def test_on_a_public_address_the_pages_stay_shut_with_a_key_too(
    make_client: MakeClient, make_key: MakeKey
) -> None:
    key = make_key()
    client = make_client(PUBLIC, peer=FAR_PEER, url=PUBLIC_URL)

    answer = client.get("/", headers=key)

    assert answer.status_code == 403
    assert "until there are users" in answer.json()["detail"]


def _secret_changed(header: str) -> str:
    return header[:-1] + ("A" if header[-1] != "A" else "B")


def test_unknown_wrong_and_expired_keys_get_the_same_answer(
    make_client: MakeClient, make_key: MakeKey, store: SqliteStore
) -> None:
    good = make_key()["Authorization"]
    past = Instant.parse("2020-01-01T00:00:00Z")
    expired = make_key(now=past, expires_at=Instant.of(past + timedelta(days=1)))["Authorization"]
    unknown = "Bearer whodid_k0000000000_" + good.rpartition("_")[2].rjust(43, "x")
    client = make_client(LOCAL)

    answers = [
        client.get("/v1/events", headers={"Authorization": header})
        for header in (_secret_changed(good), expired, unknown)
    ]

    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert all(answer.headers["www-authenticate"].startswith("Bearer") for answer in answers)
    assert client.get("/v1/events", headers={"Authorization": good}).status_code == 200


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer x", "Basic YTpi", "Bearer whodid__", "whodid_a_b"]
)
def test_what_is_no_key_is_refused_even_where_none_is_needed(
    client: TestClient, header: str
) -> None:
    answer = client.get("/v1/events", headers={"Authorization": header})

    assert answer.status_code == 401
    assert "www-authenticate" in answer.headers


def test_two_authorization_headers_are_refused(client: TestClient, make_key: MakeKey) -> None:
    key = make_key()["Authorization"]

    answer = client.get("/v1/events", headers=[("Authorization", key), ("Authorization", key)])

    assert answer.status_code == 401


def test_without_keys_this_machine_gets_in(client: TestClient) -> None:
    assert client.post("/v1/events", json=plain()).status_code == 201
    assert client.get("/v1/events").status_code == 200
    assert client.get("/openapi.json").status_code == 200
    assert client.get("/").status_code == 200


def test_as_soon_as_there_is_a_key_the_api_needs_one(client: TestClient, make_key: MakeKey) -> None:
    before = client.get("/v1/count").status_code
    key = make_key()

    without = client.get("/v1/count")

    assert (before, without.status_code) == (200, 401)
    assert client.get("/v1/count", headers=key).status_code == 200
    assert client.get("/").status_code == 200  # the pages follow the rule of this machine


def test_an_expired_key_does_not_open_the_api_again(client: TestClient, make_key: MakeKey) -> None:
    past = Instant.parse("2020-01-01T00:00:00Z")
    make_key(now=past, expires_at=Instant.of(past + timedelta(days=1)))

    assert client.get("/v1/count").status_code == 401


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8787", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:9"],
)
def test_names_of_this_machine_are_accepted_as_host(client: TestClient, host: str) -> None:
    assert client.get("/v1/count", headers={"Host": host}).status_code == 200
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8787",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "localhost.",
        "127.0.0.2",
        "2130706433",
        "0.0.0.0:8787",
        "[::]:8787",
        "::1",
        "localhost:8787@evil.example",
        "localhost, evil.example",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/v1/events", "/", "/static/app.css", "/openapi.json"])
def test_a_page_that_rebinds_its_name_to_this_machine_gets_nothing(
    client: TestClient, host: str, path: str
) -> None:
    answer = client.get(path, headers={"Host": host})

    assert answer.status_code == 403
    assert "whodid keys create" in answer.json()["detail"]


def test_two_hosts_are_refused(client: TestClient) -> None:
    answer = client.get("/v1/count", headers=[("Host", "localhost"), ("Host", "localhost")])

    assert answer.status_code == 403


@pytest.mark.parametrize(
    "header",
    [
        "Forwarded",
        "Via",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "x-forwarded-",
    ],
)
@pytest.mark.parametrize("path", ["/v1/events", "/"])
def test_what_came_through_a_proxy_is_not_local(client: TestClient, header: str, path: str) -> None:
    answer = client.get(path, headers={header: "127.0.0.1"})

    assert answer.status_code == 403
    assert header.lower() in answer.json()["detail"]
    assert "whodid keys create" in answer.json()["detail"]


def test_another_machine_gets_nothing_even_with_the_right_host(make_client: MakeClient) -> None:
    client = make_client(peer=FAR_PEER)

    assert client.get("/v1/count").status_code == 403
    assert client.get("/").status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "https://127.0.0.1:8787"},
        {"Origin": "http://localhost:8787"},
        {"Origin": "http://127.0.0.1:8787.evil.example"},
        {"Origin": "http://127.0.0.1:8787@evil.example"},
        {"Origin": "http://127.0.0.1:8787/"},
        {"Origin": "http://[bad"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:8787"},
    ],
)
def test_a_foreign_page_cannot_write(
    client: TestClient, store: SqliteStore, headers: dict[str, str]
) -> None:
    answer = client.post("/v1/events", json=plain(), headers=headers)

    assert answer.status_code == 403
    assert "another origin" in answer.json()["detail"]
    assert store.stats().events == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://127.0.0.1:8787"},
        {"Origin": "HTTP://127.0.0.1:8787"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:8787"},
        {"Sec-Fetch-Site": "none"},
        {"Host": "localhost", "Origin": "http://localhost:80"},
    ],
)
def test_its_own_page_can_write(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/v1/events", json=plain(), headers=headers).status_code == 201


def test_a_key_needs_the_scope_of_what_it_does(make_client: MakeClient, make_key: MakeKey) -> None:
    ingest, read = make_key(scopes={"ingest"}), make_key(scopes={"read"})
    client = make_client(LOCAL)

    reading = client.get("/v1/events", headers=ingest)
    writing = client.post("/v1/events", json=plain(), headers=read)

    assert (reading.status_code, writing.status_code) == (403, 403)
    assert "'read'" in reading.json()["detail"]
    assert "'ingest'" in writing.json()["detail"]
    assert client.get("/openapi.json", headers=ingest).status_code == 200


@pytest.mark.parametrize("path", ["events", "facets", "histogram", "count"])
def test_a_key_of_one_tenant_reads_nothing_of_another(
    make_client: MakeClient, make_key: MakeKey, path: str
) -> None:
    everywhere, acme = make_key("*"), make_key("acme")
    client = make_client(LOCAL)
    client.post("/v1/events", json=plain(tenant={"id": "globex"}), headers=everywhere)

    seen = client.get(f"/v1/{path}?q=tenant:globex", headers=acme).text

    assert "globex" not in seen
    assert "globex" in client.get("/v1/facets?q=tenant:globex", headers=everywhere).text


def test_a_key_of_one_tenant_cannot_fetch_anothers_event_by_id(
    make_client: MakeClient, make_key: MakeKey
) -> None:
    everywhere, acme = make_key("*"), make_key("acme")
    client = make_client(LOCAL)
    posted = client.post("/v1/events", json=plain(tenant={"id": "globex"}), headers=everywhere)
    event_id = posted.json()["receipts"][0]["id"]

    foreign = client.get(f"/v1/events/{event_id}", headers=acme)
    absent = client.get("/v1/events/01890a5d-ac96-774b-bcce-b302099a8057", headers=acme)
    malformed = client.get("/v1/events/nothing", headers=acme)
    named = client.get(f"/v1/events/{event_id}?tenant=globex", headers=acme)

    assert foreign.status_code == 404
    assert foreign.content == absent.content == malformed.content == named.content
    assert client.get(f"/v1/events/{event_id}", headers=everywhere).status_code == 200


def test_mounted_elsewhere_the_same_rules_hold(store: SqliteStore, make_key: MakeKey) -> None:
    key = make_key()
    host = Starlette(routes=[Mount("/log", app=create_app(store, LOCAL))])
    client = TestClient(host, base_url=LOCAL_URL, client=LOCAL_PEER)

    assert client.get("/log/v1/count").status_code == 401
    assert client.get("/log/v1/count", headers=key).status_code == 200
    assert client.get("/log/healthz").status_code == 200
    assert client.get("/log/").status_code == 200


def _a_key_in(store: SqliteStore) -> ApiKey:
    _, key = new_key(name="web", tenant="*", scopes={"read"}, now=Instant.now())
    store.add_key(key)
    return key


def test_a_key_is_believed_for_as_long_as_set(store: SqliteStore) -> None:
    key = _a_key_in(store)
    believing, asking = KeyRing(store, memory_s=1_000), KeyRing(store, memory_s=0)

    assert believing.find(key.id) == asking.find(key.id) == key
    assert believing.remembered(key.id) == key
    assert asking.remembered(key.id) is None


def test_an_unknown_key_is_not_remembered(store: SqliteStore) -> None:
    ring = KeyRing(store, memory_s=1_000)

    assert ring.find("k1") is None
    key = replace(_a_key_in(store), id="k1")
    store.add_key(key)

    assert ring.find("k1") == key


def test_a_websocket_is_refused(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/events"):
        pass
