from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from starlette.testclient import TestClient

from tests.server.conftest import MakeKey, plain
from whodid import event as events
from whodid.errors import EventError
from whodid.event import Event
from whodid.server import openapi

WIRE_SCHEMA = Path(__file__).parents[2] / "docs" / "spec" / "event.schema.json"

FULL = {
    "schema": 1,
    "id": "01890a5d-ac96-774b-bcce-b302099a8057",
    "idempotency_key": "k",
    "occurred_at": "2026-03-15T11:00:00.25+01:00",
    "action": "user.role.grant",
    "category": "iam",
    "operation": "grant",
    "severity": "medium",
    "outcome": "success",
    "reason": {"code": "not_permitted", "message": "m", "policy": "p"},
    "message": "m",
    "actor": {
        "type": "ai_agent", "id": "7", "roles": ["r"], "attributes": {"a": [1, None, {"b": 2.5}]},
        "auth": {"method": "otp", "mfa": True}, "agent": {"model": "m", "autonomy": "approved"},
    },
    "on_behalf_of": {"type": "user", "id": "9"},
    "via": [{"type": "system"}],
    "delegation": {"kind": "agent", "expires_at": "2026-03-15T11:00:00Z"},
    "targets": [{"type": "user", "id": "9", "role": "primary", "attributes": {"x": 1}}],
    "changes": [{"path": "role", "op": "add", "old": None, "new": {"a": []}, "target": 0}],
    "tenant": {"id": "acme", "name": "Acme"},
    "scope": [{"type": "team", "id": "1"}],
    "source": {"app": "web"},
    "client": {"ip": "2001:db8::1", "port": 1, "geo": {"country": "AT", "lat": 48.2, "lon": 16}},
    "request": {"method": "GET", "status": 200, "duration_ms": 1.5},
    "trace": {"trace_id": "0" * 31 + "1", "span_id": "0" * 15 + "1"},
    "correlation_id": "c",
    "error": {"type": "E"},
    "metadata": {"a.b-c_1": {"deep": [True]}},
    "tags": ["gdpr"],
    "data_classes": ["pii"],
    "attachments": [{"name": "a", "sha256": "0" * 64, "size": 1}],
    "count": 2,
    "window": {"start": "2026-03-15T11:00:00Z", "end": "2026-03-15T11:00:00Z"},
}  # fmt: skip
GOOD: list[dict[str, Any]] = [
    plain(),
    FULL,
    openapi.EXAMPLE,
    plain(actor={"type": "anonymous"}),
    plain(changes=[{"path": "a", "old": None}, {"path": "b", "new": None}]),
    plain(metadata={}, tags=[], targets=[]),
    plain(client={"ip": "203.0.113.7"}),
]
BAD: list[dict[str, Any]] = [
    {},
    {"action": "a.b"},
    plain(surprise=1),
    plain(action="invoice"),
    plain(action="Invoice.update"),
    plain(action="invoice.update\n"),
    plain(action="a.b.c.d.e.f"),
    plain(actor={"type": "user"}),
    plain(actor={"type": "robot", "id": "1"}),
    plain(actor={"type": "user", "id": ""}),
    plain(actor={"type": "user", "id": "x" * 257}),
    plain(actor={"type": "user", "id": 7}),
    plain(via=[{"type": "user"}]),
    plain(on_behalf_of={"type": "user"}),
    plain(outcome="fail"),
    plain(outcome=None),
    plain(schema=2),
    plain(id="01890a5d-ac96-974b-bcce-b302099a8057"),
    plain(idempotency_key=""),
    plain(tags=["Not lower"]),
    plain(tags=["a", "a"]),
    plain(data_classes=["a", "a"]),
    plain(targets=[{"id": "1"}]),
    plain(targets=[{"type": "a"}] * 51),
    plain(changes=[{"old": 1}]),
    plain(changes=[{"path": "a", "target": -1}]),
    plain(metadata={"bad key": 1}),
    plain(metadata={str(number): 1 for number in range(101)}),
    plain(metadata=[]),
    plain(count=0),
    plain(count="1"),
    plain(trace={"span_id": "0" * 15 + "1"}),
    plain(trace={"trace_id": "0" * 32}),
    plain(client={"geo": {"country": "at"}}),
    plain(client={"geo": {"lat": 91}}),
    plain(client={"port": 65_536}),
    plain(request={"status": 99}),
    plain(window={"start": "2026-03-15T11:00:00Z"}),
    plain(attachments=[{"name": "a", "sha256": "x"}]),
    plain(tenant={"name": "Acme"}),
    plain(delegation={}),
    plain(message="x" * 4_097),
]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return json.loads(openapi.document_bytes())  # type: ignore[no-any-return]  # it is JSON


def checker(document: dict[str, Any], name: str) -> jsonschema.Draft202012Validator:
    """A validator of one component."""
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    )


def decodes(sample: dict[str, Any]) -> bool:
    try:
        events.decode(json.dumps(sample).encode())
    except EventError:
        return False
    return True


def test_every_route_is_described(client: TestClient, document: dict[str, Any]) -> None:
    routes = {route.path for route in client.app.routes}  # type: ignore[attr-defined]  # a Starlette
    fallbacks = {"", "/v1", "/v1/{rest:path}"}  # the viewer, and what is not found

    assert set(document["paths"]) == routes - fallbacks


def test_every_method_is_described(client: TestClient, document: dict[str, Any]) -> None:
    for path, described in document["paths"].items():
        allowed = client.request("DELETE", path.replace("{event_id}", "x")).headers["allow"]

        assert {name.upper() for name in described} == set(allowed.split(", ")) - {"HEAD"}


def test_it_is_served(client: TestClient, document: dict[str, Any]) -> None:
    answer = client.get("/openapi.json")

    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == document
    assert document["openapi"].startswith("3.1")


def _walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _walk(item)


def test_every_reference_leads_somewhere_and_every_schema_is_one(
    document: dict[str, Any],
) -> None:
    names = document["components"]["schemas"]
    references = {node["$ref"] for node in _walk(document) if isinstance(node.get("$ref"), str)}

    assert {name.rpartition("/")[2] for name in references} <= set(names)
    for schema in names.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_patterns_are_those_of_javascript(document: dict[str, Any]) -> None:
    patterns = {node["pattern"] for node in _walk(document) if isinstance(node.get("pattern"), str)}

    assert len(patterns) > 5
    assert not [pattern for pattern in patterns if re.search(r"\\[AZz]|\(\?[P<#aiLmsux]", pattern)]


def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    names = [node["operationId"] for node in _walk(document["paths"]) if "operationId" in node]

    assert len(names) == len(set(names)) == 10


@pytest.mark.parametrize("sample", GOOD)
def test_an_event_that_we_read_is_one_by_our_schema(
    document: dict[str, Any], sample: dict[str, Any]
) -> None:
    assert decodes(sample)
    checker(document, "Event").validate(sample)


@pytest.mark.parametrize("sample", BAD)
def test_an_event_that_we_refuse_is_none_by_our_schema(
    document: dict[str, Any], sample: dict[str, Any]
) -> None:
    assert not decodes(sample)
    # JavaScript's `$` is the end of the text, Python's would pass over a line feed.
    if sample.get("action") != "invoice.update\n":
        assert not checker(document, "Event").is_valid(sample)


@pytest.mark.parametrize("sample", [*GOOD, *BAD])
def test_the_schema_of_the_format_says_the_same_as_our_reader(sample: dict[str, Any]) -> None:
    schema = json.loads(WIRE_SCHEMA.read_text())
    if sample.get("action") == "invoice.update\n":
        return

    assert jsonschema.Draft202012Validator(schema).is_valid(sample) == decodes(sample)


def test_the_schema_of_the_format_has_the_same_keys_as_ours(document: dict[str, Any]) -> None:
    theirs = json.loads(WIRE_SCHEMA.read_text())["properties"]

    assert set(theirs) == set(document["components"]["schemas"]["Event"]["properties"])
    assert set(theirs) == set(Event.__struct_fields__)


def test_answers_are_what_the_document_says(
    client: TestClient, document: dict[str, Any], make_key: MakeKey
) -> None:
    receipts = client.post("/v1/events", json={"events": [FULL, plain()]}).json()
    event_id = receipts["receipts"][0]["id"]
    answers = {
        "Receipts": receipts,
        "EventPage": client.get("/v1/events?limit=1").json(),
        "StoredEvent": client.get(f"/v1/events/{event_id}").json(),
        "Facets": client.get("/v1/facets").json(),
        "Histogram": client.get("/v1/histogram").json(),
        "Count": client.get("/v1/count").json(),
        "Health": client.get("/healthz").json(),
    }

    for name, answer in answers.items():
        checker(document, name).validate(answer)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/events?q=actr:x", None),
        ("GET", "/v1/events?limit=x", None),
        ("GET", "/v1/nothing", None),
        ("PUT", "/v1/events", None),
        ("POST", "/v1/events", {"events": [{}, 1]}),
        ("POST", "/v1/events", []),
    ],
)
def test_problems_are_what_the_document_says(
    client: TestClient, document: dict[str, Any], method: str, path: str, body: object
) -> None:
    answer = client.request(method, path, json=body)

    problem = answer.json()
    checker(document, "Problem").validate(problem)
    assert problem["status"] == answer.status_code
    assert set(problem) <= set(document["components"]["schemas"]["Problem"]["properties"])
