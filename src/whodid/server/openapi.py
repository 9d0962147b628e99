"""The OpenAPI 3.1 document of the API.

Made from the types that are read and written, so that it cannot say anything else than they do.

The few rules of the event that its types cannot carry (an id unless the actor is nameless, the
form of metadata's keys) are added here as JSON Schema; a test holds them against the reader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from whodid import __version__
from whodid.event import DEFAULT_TENANT, MAX_SAFE_INTEGER, NAMELESS_ACTOR_TYPES, Event
from whodid.query.parse import MAX_CHARACTERS
from whodid.server import search, tail, wire
from whodid.server.bodies import MAX_KEY_LENGTH
from whodid.server.problems import MEDIA_TYPE
from whodid.times import Instant

# `Any`, since JSON Schema is whatever JSON it is.
Schema: TypeAlias = dict[str, Any]

EXAMPLE: Schema = {
    "action": "user.role.grant",
    "actor": {"type": "user", "id": "7", "name": "Bob", "email": "bob@example.com"},
    "targets": [{"type": "user", "id": "9", "name": "Ana"}],
    "changes": [{"path": "role", "old": None, "new": "admin"}],
    "client": {"ip": "203.0.113.7"},
    "occurred_at": "2026-03-15T11:00:00.250Z",
}
_SEARCHES = ["outcome:denied", "actor:alice created:7d", 'action:invoice.* -"paid in full"']
_REF = "#/components/schemas/{name}"
_DAY = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME_OF_DAY = (
    r"[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
    "([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)
_DATE_TIME: Schema = {
    "type": "string",
    "format": "date-time",
    "pattern": f"^{_DAY}{_TIME_OF_DAY}$",
}
_MOMENT: Schema = {"pattern": f"^{_DAY}({_TIME_OF_DAY})?$"}
_ZONE: Schema = {
    "default": "UTC",
    "examples": ["Europe/Vienna"],
    "pattern": "^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}$",
    "maxLength": 64,
}
_TOKEN: Schema = {"pattern": "^[A-Za-z0-9_-]+$"}
_TOKEN_OR_NONE = "^[A-Za-z0-9_-]*$"
_NAMELESS: Schema = {
    "if": {"properties": {"type": {"enum": sorted(NAMELESS_ACTOR_TYPES)}}},
    "then": True,
    "else": {"required": ["id"]},
}
_METADATA_KEYS: Schema = {"pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"}
_IP: Schema = {"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}
_FIELDS: Schema = {
    "name": "fields",
    "in": "query",
    "description": "some of them, with commas; all when absent",
    "style": "form",
    "explode": False,
    "schema": {
        "type": "array",
        "items": {"type": "string", "enum": list(search.FIELDS)},
        "minItems": 1,
        "uniqueItems": True,
    },
}
_ERASED: Schema = {
    "type": "object",
    "description": "its content was erased; that it was there can still be proved",
    "properties": {"erased": {"const": True}},
    "required": ["erased"],
    "additionalProperties": False,
}


@lru_cache(maxsize=1)
def document_bytes() -> bytes:
    """The document as JSON."""
    return msgspec.json.encode(document())


def document() -> Schema:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "whodid",
            "version": __version__,
            "description": "The audit log for web applications: who did what, when, from where, "
            "with what result.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`whodid_<id>_<secret>`, made with `whodid keys create`. Not "
                    "needed on the server's own machine as long as no key exists.",
                }
            },
        },
        "security": [{"key": []}, {}],
    }


def _schemas() -> Schema:
    roots = [
        Event, wire.Receipts, wire.EventPage, wire.Facets, wire.Histogram, wire.Count,
        wire.Health, wire.Problem,
    ]  # fmt: skip
    _, components = msgspec.json.schema_components(roots, schema_hook=_schema_of, ref_template=_REF)
    schemas: Schema = {name: _tidied(schema) for name, schema in components.items()}
    for name in ("Actor", "Principal"):
        schemas[name] |= _NAMELESS
    event = schemas["Event"]["properties"]
    event["metadata"]["propertyNames"] = _METADATA_KEYS
    event["tags"]["uniqueItems"] = event["data_classes"]["uniqueItems"] = True
    schemas["Client"]["properties"]["ip"] |= _IP
    schemas["Request"]["properties"]["duration_ms"]["maximum"] = MAX_SAFE_INTEGER
    event["tenant"] |= {
        "description": f"whose data; the key's tenant when left out, else `{DEFAULT_TENANT}`"
    }
    schemas["Event"]["examples"] = [EXAMPLE]
    schemas["Erased"] = _ERASED
    schemas["StoredEvent"] = _stored(schemas["Event"])
    return schemas


def _schema_of(kind: type) -> Schema:
    if kind is Instant:
        return dict(_DATE_TIME)
    raise AssertionError(f"no schema for {kind}: a field has a type that msgspec does not know")


def _tidied(schema: Any) -> Any:
    """The same with the regular expressions of JavaScript and one-line descriptions."""
    if isinstance(schema, list):
        return [_tidied(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    tidy: Schema = {}
    for key, value in schema.items():
        if key == "pattern" and isinstance(value, str):
            tidy[key] = value.replace(r"\Z", "$")
        elif key == "description" and isinstance(value, str):
            tidy[key] = re.sub(r"\s+", " ", value.split("\n\n")[0]).strip()
        elif not (key == "title" and isinstance(value, str) or key == "required" and not value):
            tidy[key] = _tidied(value)
    return tidy


def _stored(event: Schema) -> Schema:
    """An event as it comes back: the claim, what was filled in, and what the store added."""
    erasable = {
        "actor": {"anyOf": [event["properties"]["actor"], {"$ref": "#/components/schemas/Erased"}]},
        "targets": _erasable_items(event["properties"]["targets"]),
        "changes": _erasable_items(event["properties"]["changes"]),
    }
    added: Schema = {
        "received_at": _DATE_TIME,
        "index": {"type": ["integer", "null"], "minimum": 0},
        "erased": {
            "type": "array",
            "items": {"type": "string"},
            "description": "paths of what was erased, such as `/actor`",
        },
        "control": {"type": "object"},
        "control_signature": {"type": "string"},
        "enriched": {"type": "object", "description": "what the store found out by itself"},
    }
    kept = {k: v for k, v in event["properties"].items() if k != "idempotency_key"}
    return {
        "description": "An event as it is kept.",
        "type": "object",
        "properties": kept | erasable | added,
        "required": [
            "action", "category", "id", "index", "operation", "outcome", "received_at", "schema",
            "severity", "tenant",
        ],
        "additionalProperties": False,
    }  # fmt: skip


def _erasable_items(schema: Schema) -> Schema:
    return schema | {"items": {"anyOf": [schema["items"], {"$ref": "#/components/schemas/Erased"}]}}


def _paths() -> Schema:
    return {
        "/v1/events": {"post": _ingest(), "get": _events()},
        "/v1/events/{event_id}": {"get": _event()},
        "/v1/facets": {"get": _facets()},
        "/v1/histogram": {"get": _histogram()},
        "/v1/count": {"get": _count()},
        "/v1/tail": {"get": _tail()},
        "/healthz": {"get": _health()},
        "/metrics": {"get": _metrics()},
        "/openapi.json": {"get": _document()},
    }


def _ingest() -> Schema:
    batch = {
        "type": "object",
        "properties": {
            "events": {"type": "array", "items": _ref("Event"), "minItems": 1, "maxItems": 1_000}
        },
        "required": ["events"],
        "additionalProperties": False,
    }
    return {
        "operationId": "recordEvents",
        "summary": "Store one event or a batch: all of it or nothing",
        "description": "Durable when answered. Send the same again after a lost answer: what is "
        "there already is answered with its first receipt. The body may be packed: "
        "`Content-Encoding: gzip` or `zstd`.",
        "parameters": [
            _parameter(
                "Idempotency-Key",
                "names this request, so that it can be sent again: its events get the idempotency "
                "keys `<key>#0`, `<key>#1` … where they have none of their own",
                {"pattern": "^[!-~]+$", "minLength": 1, "maxLength": MAX_KEY_LENGTH},
            )
            | {"in": "header"},
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"oneOf": [_ref("Event"), batch]},
                    "example": EXAMPLE,
                },
                "application/x-ndjson": {
                    "schema": {"type": "string", "description": "one event a line"},
                    "example": json.dumps(EXAMPLE) + "\n",
                },
            },
        },
        "responses": {
            "201": _answer("Receipts", "stored"),
            "200": _answer("Receipts", "all of it was stored before"),
            **_problems(400, 401, 403, 408, 409, 413, 415, 422, 429, 500, 503),
        },
    }


def _events() -> Schema:
    return {
        "operationId": "searchEvents",
        "summary": "Events, newest first",
        "description": "Later pages show only what was there at the first one, so they neither "
        "skip nor repeat; `arrived` says how much came since.",
        "parameters": [
            *_search_parameters(),
            _parameter("cursor", "`older` or `newer` of another page of the same search", _TOKEN),
            _number("limit", search.DEFAULT_LIMIT, search.MAX_LIMIT),
        ],
        "responses": {"200": _answer("EventPage", "one page"), **_reading_problems()},
    }


def _event() -> Schema:
    return {
        "operationId": "getEvent",
        "summary": "One event",
        "parameters": [
            {"name": "event_id", "in": "path", "required": True, "schema": {"type": "string"}},
            _parameter("tenant", "whose event, when several tenants have one with this id", {}),
        ],
        "responses": {
            "200": _answer("StoredEvent", "the event"),
            **_problems(404),
            **_reading_problems(),
        },
    }


def _facets() -> Schema:
    return {
        "operationId": "countFacets",
        "summary": "The commonest values of fields among the matching events",
        "parameters": [
            *_search_parameters(),
            _FIELDS,
            _number("limit", search.DEFAULT_VALUES, search.MAX_VALUES),
        ],
        "responses": {"200": _answer("Facets", "one per field"), **_reading_problems()},
    }


def _histogram() -> Schema:
    return {
        "operationId": "countOverTime",
        "summary": "Matching events over time",
        "description": "Buckets have round edges in the zone `tz`. When neither `q` nor `from` "
        "says since when, the last 30 days are counted.",
        "parameters": [
            *_search_parameters(),
            _number("buckets", search.DEFAULT_BUCKETS, search.MAX_BUCKETS),
            _parameter(
                "split", "what each bucket is split by",
                {"enum": list(search.SPLITS), "default": "outcome"},
            ),
        ],
        "responses": {"200": _answer("Histogram", "the buckets"), **_reading_problems()},
    }  # fmt: skip


def _count() -> Schema:
    return {
        "operationId": "countEvents",
        "summary": "How many events match",
        "parameters": _search_parameters(),
        "responses": {"200": _answer("Count", "how many"), **_reading_problems()},
    }


def _tail() -> Schema:
    token = "the `id` of an event of a tail: go on exactly after it; from now on when absent"
    text, zone, *_ = _search_parameters()
    return {
        "operationId": "tailEvents",
        "summary": "Matching events as they are stored, without end",
        "description": "Server-Sent Events in the order in which events were sealed: `id` is a "
        "token to go on after, `data` a StoredEvent. An `id` without `data` moves the token only. "
        "A comment at least every 15 seconds is a sign of life. Relative times in the search "
        "count from the moment at which the first of these tails was opened.",
        "parameters": [
            text,
            zone,
            _parameter("after", token, _TOKEN),
            _parameter(
                "Last-Event-ID", "the same as `after`, and before it", {"pattern": _TOKEN_OR_NONE}
            )
            | {"in": "header"},
        ],
        "responses": {
            "200": {
                "description": "the stream",
                "content": {tail.MEDIA_TYPE: {"schema": {"type": "string"}}},
            },
            **_reading_problems(),
        },
    }


def _health() -> Schema:
    return {
        "operationId": "checkHealth",
        "summary": "Can events be stored and read now?",
        "security": [],
        "responses": {"200": _answer("Health", "they can"), **_problems(400, 500, 503)},
    }


def _metrics() -> Schema:
    return {
        "operationId": "getMetrics",
        "summary": "What came in and what was sent away, for Prometheus",
        "responses": {
            "200": {
                "description": "counters by key and by tenant since the server started",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
            **_problems(400, 401, 403, 500, 503),
        },
    }


def _document() -> Schema:
    return {
        "operationId": "getDocument",
        "summary": "This document",
        "responses": {
            "200": {"description": "OpenAPI 3.1", "content": {"application/json": {"schema": {}}}},
            **_problems(400, 401, 403, 500, 503),
        },
    }


def _search_parameters() -> list[Schema]:
    return [
        _parameter(
            "q",
            "the search; everything when absent",
            {"maxLength": MAX_CHARACTERS, "examples": _SEARCHES},
        ),
        _parameter("tz", "IANA zone that times without offset are read in", _ZONE),
        _parameter("from", "RFC 3339 time with offset, or a date; inclusive", _MOMENT),
        _parameter(
            "to", "RFC 3339 time with offset, exclusive; or a date, the whole day included", _MOMENT
        ),
    ]


def _parameter(name: str, description: str, schema: Mapping[str, Any]) -> Schema:
    return {
        "name": name,
        "in": "query",
        "description": description,
        "schema": {"type": "string", **schema},
    }


def _number(name: str, default: int, high: int) -> Schema:
    limits = {"type": "integer", "minimum": 1, "maximum": high, "default": default}
    return _parameter(name, "how many at most", limits)


def _ref(name: str) -> Schema:
    return {"$ref": _REF.format(name=name)}


def _answer(name: str, description: str) -> Schema:
    return {
        "description": description,
        "content": {"application/json": {"schema": _ref(name)}},
    }


_MEANINGS = {
    400: "the request or the query cannot be read",
    401: "no key, or none that is valid",
    403: "not allowed: the scope, the tenant, or a stranger without a key",
    404: "not there, or not for this key",
    408: "the body did not arrive in time",
    409: "the same id or idempotency key was stored before with another body",
    413: "the body or the batch is too large",
    415: "the body is of a kind, or packed in a way, that is not read",
    422: "some events are not as the schema wants; nothing was stored",
    429: "a quota is used up; try again after `Retry-After` seconds",
    500: "something broke; `error_id` names it in the server's log",
    503: "the store cannot do it now; try again after `Retry-After` seconds",
}
_RETRY_AFTER: Schema = {
    "Retry-After": {
        "description": "seconds to wait",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}
_HEADERS: Mapping[int, Schema] = {
    401: {
        "WWW-Authenticate": {
            "description": "how to show a key",
            "required": True,
            "schema": {"type": "string"},
        }
    },
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
}


def _reading_problems() -> Schema:
    return _problems(400, 401, 403, 500, 503)


def _problems(*statuses: int) -> Schema:
    return {
        str(status): {
            "description": _MEANINGS[status],
            "content": {MEDIA_TYPE: {"schema": _ref("Problem")}},
        }
        | ({"headers": _HEADERS[status]} if status in _HEADERS else {})
        for status in statuses
    }
