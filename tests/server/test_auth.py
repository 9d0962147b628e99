from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
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
from whodid.testing import a_query
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
    assert store.stats(access=Access.everything()).events == 0


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
    assert client.get("/log/").status_code == 401
    assert client.get("/log/", headers=key).status_code == 200
    assert client.get("/log/static/viewer.css").status_code == 200


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


# -- the pages, once there are keys

CHALLENGE = 'Basic realm="whodid", charset="UTF-8"'
ABSENT = "01890a5d-ac96-774b-bcce-b302099a8057"
PAST = Instant.parse("2020-01-01T00:00:00Z")


def basic(key: dict[str, str], *, name: str = "ana") -> dict[str, str]:
    """The header that a browser sends when the key is typed as its password."""
    text = key["Authorization"].removeprefix("Bearer ")
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{text}".encode()).decode()}


def bearer(key: dict[str, str]) -> dict[str, str]:
    return key


def _pages(event_id: str = ABSENT) -> list[str]:
    """Every page there is, and paths of the viewer's that are none."""
    return [
        "/",
        "/?q=tenant:globex",
        "/?q=tenant:globex&range=all",
        "/?readings=1",
        "/?q=actr:x",
        "/events.json",
        "/events.json?q=tenant:globex",
        f"/events/{event_id}",
        f"/events/{event_id}?q=tenant:globex",
        f"/events/{event_id}?tenant=globex",
        f"/events/{event_id}.json",
        f"/events/{event_id}.json?tenant=globex",
        "/events/nothing",
        "/favicon.ico",
        "/static",
        "/nothing",
        "//",
        "/V1/events",
    ]


def _post(client: TestClient, key: dict[str, str], tenant: str) -> str:
    """Store an event of which every part names its tenant, and give its id."""
    event = plain(
        tenant={"id": tenant, "name": f"The {tenant} company"},
        actor={"type": "user", "id": f"{tenant}-alice", "name": f"Alice of {tenant}"},
    )
    [receipt] = client.post("/v1/events", json=event, headers=key).json()["receipts"]
    return str(receipt["id"])


@pytest.mark.parametrize("send", [bearer, basic])
def test_once_there_is_a_key_no_page_opens_without_a_good_one_that_may_read(
    make_client: MakeClient,
    make_key: MakeKey,
    send: Callable[[dict[str, str]], dict[str, str]],
) -> None:
    good = make_key()
    wrong = {"Authorization": _secret_changed(good["Authorization"])}
    unknown = {"Authorization": "Bearer whodid_k0000000000_" + "x" * 43}
    expired = make_key(now=PAST, expires_at=Instant.of(PAST + timedelta(days=1)))
    ingest = make_key(scopes={"ingest"})
    client = make_client(LOCAL)
    event_id = _post(client, good, "globex")
    refused = [{}, *(send(key) for key in (wrong, unknown, expired, ingest))]

    answers = [
        client.request(method, path, headers=headers)
        for path in _pages(event_id)
        for method in ("GET", "HEAD", "POST")
        for headers in refused
    ]

    assert {answer.status_code for answer in answers} == {401}
    assert {answer.headers["www-authenticate"] for answer in answers} == {CHALLENGE}
    assert len({answer.content for answer in answers if answer.request.method != "HEAD"}) == 1
    assert client.get("/", headers=send(good)).status_code == 200
    assert client.get(f"/events/{event_id}", headers=send(good)).status_code == 200


def test_the_answer_without_a_key_says_what_to_type(client: TestClient, make_key: MakeKey) -> None:
    make_key()

    answer = client.get("/")

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert "Name: anything" in answer.text
    assert "Password: the whole key" in answer.text
    assert "whodid keys create" in answer.text
    assert "--scope read" in answer.text


def test_the_first_key_shuts_the_pages_from_the_next_request_on(
    client: TestClient, make_key: MakeKey
) -> None:
    before = client.get("/").status_code
    key = make_key()

    assert (before, client.get("/").status_code) == (200, 401)
    assert client.get("/", headers=basic(key)).status_code == 200


def test_an_expired_key_does_not_open_the_pages_again(
    client: TestClient, make_key: MakeKey
) -> None:
    make_key(now=PAST, expires_at=Instant.of(PAST + timedelta(days=1)))

    assert client.get("/").status_code == 401
    assert client.get("/events.json").status_code == 401


def test_a_proxy_that_adds_no_header_does_not_make_the_pages_public(
    client: TestClient, make_key: MakeKey
) -> None:
    key = make_key()
    sent_by_nginx = {"Host": "127.0.0.1:8787", "Connection": "close"}

    assert {client.get(path, headers=sent_by_nginx).status_code for path in _pages()} == {401}
    assert client.get("/", headers=sent_by_nginx | basic(key)).status_code == 200


def test_without_keys_what_a_browser_sends_as_login_does_not_matter(client: TestClient) -> None:
    assert client.get("/", headers={"Authorization": "Basic YTpi"}).status_code == 200
    assert client.get("/events.json", headers={"Authorization": "nonsense"}).status_code == 200


def test_static_files_need_no_key_and_nothing_else_hides_below_them(
    client: TestClient, make_key: MakeKey
) -> None:
    make_key()

    assert client.get("/static/viewer.css").status_code == 200
    for path in ("/static/", "/static/events.json", f"/static/events/{ABSENT}", "/static/%2e%2e/"):
        assert client.get(path).status_code == 404


def test_whoever_comes_for_static_files_sees_nothing_else() -> None:
    assert Caller(key=None, address="127.0.0.1", is_stranger=True).access == Access()


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"Via": "1.1 proxy"},
    ],
)
def test_a_key_does_not_stand_in_for_being_at_this_machine(
    client: TestClient, make_key: MakeKey, headers: dict[str, str]
) -> None:
    key = make_key()

    answers = [
        client.get(path, headers=headers | login)
        for path in _pages()
        for login in ({}, key, basic(key))
    ]

    assert {answer.status_code for answer in answers} == {403}
    assert not any("www-authenticate" in answer.headers for answer in answers)
    assert "with and without a key" in answers[0].json()["detail"]


def test_a_key_opens_no_page_from_another_machine(
    make_client: MakeClient, make_key: MakeKey
) -> None:
    key = make_key()

    assert make_client(peer=FAR_PEER).get("/", headers=basic(key)).status_code == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_foreign_page_gets_no_use_of_a_browsers_login(
    client: TestClient, make_key: MakeKey, method: str
) -> None:
    login = basic(make_key())
    origin = {"Origin": "http://evil.example"}

    assert client.request(method, "/", headers=login | origin).status_code == 403
    assert client.request(method, "/v1/events", headers=login).status_code == 401


@pytest.mark.parametrize("path", ["/v1/events", "/v1/count", "/v1/facets", "/openapi.json"])
def test_the_api_takes_no_basic(client: TestClient, make_key: MakeKey, path: str) -> None:
    key = make_key()

    answer = client.get(path, headers=basic(key))

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert client.get(path, headers=key).status_code == 200


@pytest.mark.parametrize("send", [bearer, basic])
def test_pages_show_a_key_of_one_tenant_nothing_of_another(
    make_client: MakeClient,
    make_key: MakeKey,
    send: Callable[[dict[str, str]], dict[str, str]],
) -> None:
    everywhere, acme = make_key("*"), make_key("acme")
    client = make_client(LOCAL)
    own, foreign = _post(client, everywhere, "acme"), _post(client, everywhere, "globex")
    # Whoever sees all has been there before: what the pages remember must not leak either.
    seen_by_all = client.get("/", headers=send(everywhere)).text
    events_of_all = client.get("/events.json", headers=send(everywhere)).json()

    for path in ["/", "/?range=all", "/events.json", f"/events/{own}", f"/events/{own}.json"]:
        answer = client.get(path, headers=send(acme))

        assert answer.status_code == 200
        assert "globex" not in answer.text
        assert foreign not in answer.text
        assert "acme" in answer.text
    listed = client.get("/events.json", headers=send(acme)).json()
    assert "The globex company" in seen_by_all
    assert {event["id"] for event in events_of_all["events"]} == {own, foreign}
    assert [event["id"] for event in listed["events"]] == [own]
    assert listed["count"] == {"count": 1, "exact": True}


@pytest.mark.parametrize("query", ["tenant:globex", "globex", "actor:globex-alice"])
def test_a_search_for_another_tenant_finds_and_counts_nothing(
    make_client: MakeClient, make_key: MakeKey, query: str
) -> None:
    everywhere, acme = make_key("*"), make_key("acme")
    client = make_client(LOCAL)
    foreign = _post(client, everywhere, "globex")
    path = f"/events.json?range=all&q={query}"

    found = client.get(path, headers=basic(acme)).json()
    page = client.get(f"/?range=all&q={query}", headers=basic(acme)).text

    assert (found["events"], found["count"]["count"]) == ([], 0)
    assert foreign not in page
    assert "The globex company" not in page
    assert "Alice of globex" not in page
    assert client.get(path, headers=basic(everywhere)).json()["count"]["count"] == 1


@pytest.mark.parametrize(
    "address",
    ["/events/{}", "/events/{}.json", "/events/{}?tenant=globex", "/events/{}.json?tenant=globex"],
)
def test_another_tenants_event_is_the_page_of_one_that_does_not_exist(
    make_client: MakeClient, make_key: MakeKey, address: str
) -> None:
    everywhere, acme = make_key("*"), basic(make_key("acme"))
    client = make_client(LOCAL)
    _post(client, everywhere, "acme")
    foreign = _post(client, everywhere, "globex")

    refused = client.get(address.format(foreign), headers=acme)
    absent = client.get(address.format(ABSENT), headers=acme)

    assert (refused.status_code, absent.status_code) == (404, 404)
    assert refused.text.replace(foreign, "ID") == absent.text.replace(ABSENT, "ID")
    assert "globex company" not in refused.text
    assert client.get(address.format(foreign), headers=basic(everywhere)).status_code == 200


def test_a_cursor_of_one_who_sees_all_shows_no_more_with_a_key_of_one_tenant(
    make_client: MakeClient, make_key: MakeKey
) -> None:
    everywhere, acme = make_key("*"), make_key("acme")
    client = make_client(LOCAL)
    for number in range(120):
        event = plain(tenant={"id": "acme" if number % 3 == 0 else "globex"})
        client.post("/v1/events", json=event, headers=everywhere)
    older = client.get("/events.json?range=all", headers=basic(everywhere)).json()["older"]

    answer = client.get(older, headers=basic(acme))

    assert answer.status_code == 200
    assert {event["tenant"]["id"] for event in answer.json()["events"]} == {"acme"}


@pytest.mark.parametrize("send", [bearer, basic])
def test_a_page_opened_with_a_key_is_recorded_under_that_key(
    client: TestClient,
    make_key: MakeKey,
    store: SqliteStore,
    send: Callable[[dict[str, str]], dict[str, str]],
) -> None:
    key = make_key("acme")

    client.get("/", headers=send(key))
    client.get("/?q=outcome:denied", headers=send(key))
    client.get("/")

    readings = store.page(
        a_query("action:audit.log", now=Instant.now()), access=Access.everything()
    ).events
    assert [stored.event.action for stored in readings] == ["audit.log.search", "audit.log.view"]
    assert {stored.event.actor.type for stored in readings} == {"api_key"}
    assert {stored.event.actor.id for stored in readings} == {key["Authorization"].split("_")[1]}
    assert {stored.tenant_id for stored in readings} == {"acme"}


@pytest.mark.parametrize("name", ["", "ana", "Ána Ünïcode", "a name", "日本", "x" * 500])
def test_any_name_will_do(client: TestClient, make_key: MakeKey, name: str) -> None:
    assert client.get("/", headers=basic(make_key(), name=name)).status_code == 200


@pytest.mark.parametrize("change", [str.lower, str.upper])
def test_the_word_basic_is_read_in_any_case(
    client: TestClient, make_key: MakeKey, change: Callable[[str], str]
) -> None:
    scheme, _, rest = basic(make_key())["Authorization"].partition(" ")

    answer = client.get("/", headers={"Authorization": f"{change(scheme)}  {rest} "})

    assert answer.status_code == 200


def test_space_around_a_pasted_key_does_not_matter(client: TestClient, make_key: MakeKey) -> None:
    pasted = {"Authorization": f"Bearer  {make_key()['Authorization'][7:]}\n"}

    assert client.get("/", headers=basic(pasted)).status_code == 200


def test_the_key_as_the_name_is_no_login(client: TestClient, make_key: MakeKey) -> None:
    text = make_key()["Authorization"].removeprefix("Bearer ")
    swapped = base64.b64encode(f"{text}:".encode()).decode()

    assert client.get("/", headers={"Authorization": f"Basic {swapped}"}).status_code == 401


def test_two_logins_are_none(client: TestClient, make_key: MakeKey) -> None:
    login = basic(make_key())["Authorization"]

    answer = client.get("/", headers=[("Authorization", login), ("Authorization", login)])

    assert answer.status_code == 401


@pytest.fixture(scope="module")
def shut() -> Iterator[TestClient]:
    """A running server with a key, for many requests that change nothing."""
    with TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "log.db")
        _a_key_in(store)
        with TestClient(create_app(store, LOCAL), base_url=LOCAL_URL, client=LOCAL_PEER) as client:
            yield client


_base64 = st.binary(max_size=80).map(base64.b64encode)
_garbage = st.one_of(
    st.binary(max_size=80),
    st.builds(bytes.__add__, st.sampled_from([b"Basic ", b"basic  ", b"Bearer "]), st.binary()),
    _base64.map(lambda text: b"Basic " + text),
    _base64.map(lambda text: b"Basic " + text[:-1]),
)


@settings(deadline=None)
@given(_garbage)
@example(b"")
@example(b"Basic")
@example(b"Basic ")
@example(b"Basic =")
@example(b"Basic ====")
@example(b"Basic \xff\xfe")
@example(b"Basic YQ")  # no padding
@example(b"Basic YWJj")  # no colon
@example(b"Basic Og==")  # nothing but a colon
@example(b"Basic /zr/")  # not UTF-8
@example(b"Basic AAAAOgAA")  # zeros
@example(b"Basic " + base64.b64encode(b":whodid_k_" + "é".encode() * 30))
@example(b"Basic " + b"QUFB" * 5_000)
@example(b"Digest username=x")
def test_what_is_no_login_is_401_and_never_an_error_of_ours(
    shut: TestClient, header: bytes
) -> None:
    for path in ("/", "/events.json", f"/events/{ABSENT}"):
        answer = shut.get(path, headers=[(b"authorization", header)])

        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == CHALLENGE
