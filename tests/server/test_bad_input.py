"""What must not break the server, whoever sends it: a clear message each, nothing half written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.server.conftest import LOCAL_PEER, LOCAL_URL, plain
from whodid.access import Access
from whodid.server.app import create_app
from whodid.server.settings import Settings
from whodid.stores.sqlite import SqliteStore

JSON_TYPE = {"Content-Type": "application/json"}
HOSTILE = {
    "html": "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "sql": "'); DROP TABLE whodid_event; --",
    "template": "{{ 7*7 }} {0.__class__} %s ${jndi:ldap://x}",
    "right to left": "مرحبا \u202eabc\u202c \u2066x\u2069 שלום",
    "combining": "Z\u0351\u036b\u0343a\u0310l\u0302go e\u0301 \u1112\u1161\u11ab",
    "nul": "a\x00b\x00",
    "controls": "".join(map(chr, range(32))) + "\x7f\x85\u2028\u2029",
    "astral": "😀\U0010ffff\ufffe",
    "path": "../../etc/hosts",
}


def post(client: TestClient, body: bytes) -> Any:
    """The answer to a body; a problem must be a problem of the client's, in our form."""
    answer = client.post("/v1/events", content=body, headers=JSON_TYPE)
    if answer.status_code >= 300:
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert "Traceback" not in answer.text
        assert answer.json()["detail"]
    return answer


def stored(store: SqliteStore) -> int:
    return store.stats(access=Access.everything()).events


@pytest.mark.parametrize(
    ("body", "byte"),
    [
        (b'{"action": nul}', 13),
        (b'{"action": "a.b",}', 17),
        (b'{"action": "a.b"} x', 18),
        (b"\xef\xbb\xbf{}", 0),
        (b"{'action': 1}", 1),
        (b'{"action": "a\x00b"}', 13),
        (b'{"metadata": {"a": NaN}}', 19),
        (b'{"metadata": {"a": Infinity}}', 19),
        (b'{"metadata": {"a": 01}}', 20),
        (b'{"events": [{"action": "a.b"}, {"action": tru}]}', None),
        (b'{"events": [{"action": "\\x"}]}', None),
        (b"", None),
        (b"  \n", None),
        (b'{"action": "a.b"', None),
        (b'{"events": [', None),
        (b'{"action": "\xff\xfe"}', None),
        (b'{"\xff": 1}', None),
        (b'{"events": [{"action": "\xc3\x28"}]}', None),
        (b'{"message": "\\ud800"}', None),
        (b'{"message": "\\udc00\\ud800"}', None),
        (b'{"events": [{"metadata": {"a": "\\ud800x"}}]}', None),
        (json.dumps(plain()).encode("utf-16"), None),
        (b"\x1f\x8b\x08\x00\x00", None),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(
    client: TestClient, store: SqliteStore, body: bytes, byte: int | None
) -> None:
    answer = post(client, body)

    assert answer.status_code == 400
    if byte is not None:
        assert abs(answer.json()["byte"] - byte) <= 1
        assert "jSON" not in answer.text
    assert stored(store) == 0


@pytest.mark.parametrize(
    "body",
    [
        "[]", "1", '"text"', "null", "true", "[1]",
        '{"events": {}}', '{"events": null}', '{"events": "x"}', '{"events": []}',
        '{"events": [], "action": "a.b"}', '{"events": [[]]}', '{"events": [1]}',
        '{"events": [{"events": []}]}', "{}", '{"": 1}',
    ],
)  # fmt: skip
def test_json_of_another_shape_is_refused(
    client: TestClient, store: SqliteStore, body: str
) -> None:
    answer = post(client, body.encode())

    assert answer.status_code == 422
    assert stored(store) == 0


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"action": 1}, "$.action"),
        ({"action": "Invoice.Delete"}, "$.action"),
        ({"action": "a.b\n"}, "$.action"),
        ({"actor": "alice"}, "$.actor"),
        ({"actor": {"type": "user"}}, "$.actor.id"),
        ({"actor": {"type": "user", "id": 7}}, "$.actor.id"),
        ({"actor": None}, "$.actor"),
        ({"targets": {}}, "$.targets"),
        ({"targets": [{"type": "x"}, {"id": "1"}]}, "$.targets[1].type"),
        ({"occurred_at": 1_700_000_000}, "$.occurred_at"),
        ({"occurred_at": "yesterday"}, "$.occurred_at"),
        ({"occurred_at": "2026-03-15T11:00:00"}, "$.occurred_at"),
        ({"occurred_at": "9999-12-31T23:59:59-01:00"}, "$.occurred_at"),
        ({"occurred_at": "0001-01-01T00:00:00+14:00"}, "$.occurred_at"),
        ({"occurred_at": "2016-12-31T23:59:60Z"}, "$.occurred_at"),
        ({"occurred_at": "10000-01-01T00:00:00Z"}, "$.occurred_at"),
        ({"client": {"ip": "300.0.0.1"}}, "$.client.ip"),
        ({"metadata": {"a": 2**60}}, "$.metadata.a"),
        ({"metadata": {"a": -(2**53)}}, "$.metadata.a"),
        ({"count": 2**60}, "$.count"),
        ({"count": 0}, "$.count"),
        ({"message": "x" * 1_000_000}, "$.message"),
        ({"actor": {"type": "user", "id": "x" * 1_000_000}}, "$.actor.id"),
        ({"id": "x" * 1_000_000}, "$.id"),
        ({"id": "not-a-uuid"}, "$.id"),
        ({"tags": ["a", "a"]}, "$.tags"),
        ({"tenant": {"id": ""}}, "$.tenant.id"),
        ({"schema": 2}, "$.schema"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_by_its_path(
    client: TestClient, store: SqliteStore, wrong: dict[str, Any], path: str
) -> None:
    answer = post(client, json.dumps(plain(**wrong)).encode())

    assert answer.status_code == 422
    assert [fault["path"] for fault in answer.json()["errors"]] == [path]
    assert len(answer.content) < 2_000  # a value is never sent back
    assert stored(store) == 0


def test_the_last_moment_of_the_calendar_is_stored_and_found(client: TestClient) -> None:
    for moment in ("9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z"):
        assert post(client, json.dumps(plain(occurred_at=moment)).encode()).status_code == 201

    found = client.get("/v1/events?q=action:invoice").json()["events"]
    assert [event["occurred_at"][:4] for event in found] == ["9999", "0001"]


def test_a_number_that_no_float_holds_is_refused(client: TestClient, store: SqliteStore) -> None:
    body = json.dumps(plain(metadata={"a": 1})).replace('"a": 1', '"a": 1e999')

    assert post(client, body.encode()).status_code == 422
    assert stored(store) == 0


@pytest.mark.parametrize("name", list(HOSTILE))
def test_hostile_text_in_every_field_comes_back_as_it_was(
    client: TestClient, store: SqliteStore, name: str
) -> None:
    text = HOSTILE[name]
    event = plain(
        message=text,
        actor={"type": "user", "id": text, "name": text, "email": text, "roles": [text]},
        targets=[{"type": "invoice", "id": text, "name": text, "url": text}],
        changes=[{"path": text, "old": text, "new": {text: [text]}, "label": text}],
        tenant={"id": text, "name": text},
        source={"app": text, "environment": text},
        client={"user_agent": text, "geo": {"city": text}},
        request={"route": text, "url": text},
        reason={"message": text},
        correlation_id=text,
        error={"type": text, "message": text},
        metadata={"note": text, "list": [{text: text}]},
        data_classes=[text[:32]],
    )

    posted = post(client, json.dumps(event).encode())
    assert posted.status_code == 201
    event_id = posted.json()["receipts"][0]["id"]
    back = client.get(f"/v1/events/{event_id}").json()

    assert {key: back[key] for key in event} == event
    query = quote(f'tenant:"{text}"' if '"' not in text and "\\" not in text else "")
    for path in ("events", "facets", "histogram", "count"):
        assert client.get(f"/v1/{path}?q={query}").status_code in (200, 400)
    for page in ("/", f"/events/{event_id}"):
        shown = client.get(page)
        assert shown.status_code == 200
        assert "<script>alert(1)" not in shown.text
    assert store.verify(access=Access.everything()).is_sound


def test_of_a_key_that_comes_twice_the_last_one_counts(client: TestClient) -> None:
    body = b'{"action": "a.b", "actor": {"type": "system"}, "action": "c.d"}'

    post(client, body)

    [event] = client.get("/v1/events?q=actor.type:system").json()["events"]
    assert event["action"] == "c.d"


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"metadata":{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}}",
        b'{"events":[' + b"[" * 200_000 + b"]" * 200_000 + b"]}",
        b'{"events":[{"action":"a.b","actor":{"type":"system"},"metadata":{"a":'
        + b"[" * 40 + b"]" * 40 + b"}}]}",
    ],
)  # fmt: skip
def test_what_is_nested_too_deeply_is_refused(
    client: TestClient, store: SqliteStore, body: bytes
) -> None:
    answer = post(client, body)

    assert answer.status_code in (400, 422)
    assert stored(store) == 0


def test_a_list_of_a_million_nothings_is_refused(client: TestClient) -> None:
    answer = post(client, b'{"events":[' + b"1," * 1_000_000 + b"1]}")

    assert answer.status_code == 413


def test_long_names_are_not_sent_back(client: TestClient) -> None:
    answer = post(client, json.dumps(plain(**{"k" * 100_000: 1})).encode())
    parameter = client.get(f"/v1/events?{'k' * 10_000}=1")

    assert answer.status_code == 422
    assert len(parameter.content) < 2_000


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One application for all examples of a property."""
    store = SqliteStore(tmp_path_factory.mktemp("fuzz") / "log.db")
    app = create_app(store, Settings())
    with TestClient(app, base_url=LOCAL_URL, client=LOCAL_PEER) as client:
        yield client


_text = st.text(max_size=20)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=12,
)
_keys = st.sampled_from(
    ["id", "action", "actor", "targets", "changes", "tenant", "client", "metadata", "occurred_at",
     "source", "via", "count", "tags", "reason", "request", "trace", "window", "outcome"]
)  # fmt: skip
_nearly_events = st.builds(
    lambda changed: plain() | changed, st.dictionaries(_keys, _json, max_size=3)
)
_bodies = (
    _json
    | _nearly_events
    | st.builds(lambda events: {"events": events}, st.lists(_nearly_events | _json, max_size=4))
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(document=_bodies)
def test_no_document_breaks_the_server(lasting: TestClient, document: Any) -> None:
    post(lasting, json.dumps(document).encode())


@given(body=st.binary(max_size=200))
def test_no_bytes_break_the_server(lasting: TestClient, body: bytes) -> None:
    post(lasting, body)


_words = st.sampled_from(
    ["actor:", "action:user", "outcome:denied", "created:", "2026-03", "..", "7d", "-", "NOT",
     "OR", "(", ")", '"', "ip:10.0.0.0/8", "ip:", "meta.a:", "*", ",", ">=", "severity:", "status:",
     "9999-12-31", "0001-01-01", "tenant:", "é", "\x00", "x", "id:", "index:", "duration:>2s"]
)  # fmt: skip


@given(
    query=st.lists(_words | _text, max_size=8).map(" ".join),
    path=st.sampled_from(["events", "facets", "histogram", "count"]),
    tz=st.sampled_from(
        ["UTC", "Europe/Vienna", "America/Havana", "Pacific/Apia", "Asia/Kathmandu"]
    ),
)
def test_no_query_breaks_the_server(lasting: TestClient, query: str, path: str, tz: str) -> None:
    encoded = quote(query.encode("utf-8", "replace"))

    answer = lasting.get(f"/v1/{path}?q={encoded}&tz={tz}")

    assert answer.status_code in (200, 400), answer.text


@given(
    name=st.sampled_from(
        ["q", "tz", "from", "to", "cursor", "limit", "fields", "buckets", "split", "tenant"]
    ),
    value=st.text() | st.sampled_from(["9999-12-31", "0001-01-01", "-1", "1e9", "Europe", ".."]),
    path=st.sampled_from(["events", "facets", "histogram", "count", "events/x"]),
)
def test_no_parameter_breaks_the_server(
    lasting: TestClient, name: str, value: str, path: str
) -> None:
    encoded = quote(value.encode("utf-8", "replace"))

    answer = lasting.get(f"/v1/{path}?{name}={encoded}")

    assert answer.status_code in (200, 400, 404), answer.text


SYSTEM = b'"action":"a.b","actor":{"type":"system"}'
LINES_TYPE = {"Content-Type": "application/x-ndjson"}


def system(**members: bytes) -> bytes:
    """An event, with members as they are written."""
    more = b"".join(b',"%s":%s' % (name.encode(), value) for name, value in members.items())
    return b"{" + SYSTEM + more + b"}"


def many(what: Any) -> list[Any]:
    return [what] * 10_000


MANY_FIELDS: dict[str, tuple[Any, str]] = {
    "keys of metadata": ({"metadata": {f"k{n}": 1 for n in range(10_000)}}, "$.metadata"),
    "keys in metadata": ({"metadata": {"a": {f"k{n}": 1 for n in range(10_000)}}}, "$"),
    "keys that are unknown": ({f"k{n}": 1 for n in range(10_000)}, "$.k0"),
    "changes": ({"changes": many({"path": "a"})}, "$.changes"),
    "targets": ({"targets": many({"type": "a", "id": "1"})}, "$.targets"),
    "delegates": ({"via": many({"type": "user", "id": "1"})}, "$.via"),
    "tags": ({"tags": [f"t{n}" for n in range(10_000)]}, "$.tags"),
    "attributes": (
        {"actor": {"type": "system", "attributes": {f"k{n}": 1 for n in range(10_000)}}},
        "$.actor.attributes",
    ),
}


@pytest.mark.parametrize("name", MANY_FIELDS)
def test_ten_thousand_of_anything_are_refused_and_named_once(
    client: TestClient, store: SqliteStore, name: str
) -> None:
    wrong, path = MANY_FIELDS[name]

    answer = post(client, json.dumps(plain(**wrong)).encode())

    assert answer.status_code == 422
    assert [fault["path"] for fault in answer.json()["errors"]] == [path]
    assert len(answer.content) < 1_000
    assert stored(store) == 0


def test_ten_thousand_keys_beside_a_batch_are_refused(client: TestClient) -> None:
    body = {"events": [plain()]} | {f"k{number}": 1 for number in range(10_000)}

    assert post(client, json.dumps(body).encode()).status_code == 422


def test_the_same_key_ten_thousand_times_is_one_key(client: TestClient) -> None:
    body = b"{" + b'"action":"c.d",' * 10_000 + SYSTEM + b"}"

    assert post(client, body).status_code == 201


@pytest.mark.parametrize(
    ("written", "path"),
    [
        (b"1e400", "$.metadata[...]"),
        (b"-1e400", "$.metadata[...]"),
        (b"1e" + b"9" * 10_000, "$.metadata[...]"),
        (b"9" * 10_000, "$.metadata[...]"),
        (b"9007199254740992", "$.metadata.a"),
    ],
)
def test_a_number_too_large_is_refused(
    client: TestClient, store: SqliteStore, written: bytes, path: str
) -> None:
    answer = post(client, system(metadata=b'{"a":' + written + b"}"))

    assert answer.status_code == 422
    assert [fault["path"] for fault in answer.json()["errors"]] == [path]
    assert len(answer.content) < 1_000
    assert stored(store) == 0


@pytest.mark.parametrize(
    "members",
    [
        {"count": b"9" * 10_000},
        {"schema": b"1" + b"0" * 400},
        {"request": b'{"duration_ms":1e308}'},
        {"request": b'{"status":1e2}'},
        {"client": b'{"port":-0.5}'},
    ],
)
def test_a_number_too_large_for_its_field_is_refused(
    client: TestClient, members: dict[str, bytes]
) -> None:
    assert post(client, system(**members)).status_code == 422


@pytest.mark.parametrize("written", [b"0." + b"9" * 10_000, b"1e-99999", b"-0", b"5e-324"])
def test_a_number_that_a_float_holds_is_stored_and_read(client: TestClient, written: bytes) -> None:
    posted = post(client, system(metadata=b'{"a":' + written + b"}"))

    event_id = posted.json()["receipts"][0]["id"]
    found = client.get(f"/v1/events/{event_id}").json()["metadata"]["a"]
    assert found == float(written)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"[" * 100_000, 422),
        (system(metadata=b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), 422),
        (b'{"a":' * 100_000, 422),
        (b"\x00", 422),
        (b'{"message":"\xff"}', 422),
        (b'{"message":"\\ud800"}', 422),
        (b"\xef\xbb\xbf" + system(), 422),
        (b"{}\n" * 100_000, 413),
        (b"x" * 1_000_000, 422),
    ],
)
def test_a_broken_line_among_good_ones_is_named_and_nothing_is_stored(
    client: TestClient, store: SqliteStore, line: bytes, status: int
) -> None:
    body = system() + b"\n" + line + b"\n" + system()

    answer = client.post("/v1/events", content=body, headers=LINES_TYPE)

    assert answer.status_code == status
    if status == 422:
        assert [fault["index"] for fault in answer.json()["errors"]] == [1]
    assert len(answer.content) < 1_000
    assert stored(store) == 0


def test_a_million_blank_lines_are_none(client: TestClient, store: SqliteStore) -> None:
    body = b"\n" * 1_000_000 + system() + b"\r\n" * 1_000_000

    assert client.post("/v1/events", content=body, headers=LINES_TYPE).status_code == 201
    assert stored(store) == 1


@pytest.mark.parametrize("where", ["action", "id", "idempotency_key", "message"])
@pytest.mark.parametrize("half", [b"\\ud800", b"\\udfff", b"\\udc00\\ud800"])
def test_half_a_surrogate_pair_is_refused_anywhere(
    client: TestClient, where: str, half: bytes
) -> None:
    answer = post(client, system(**{where: b'"' + half + b'"'}))

    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:whodid:problem:json"
