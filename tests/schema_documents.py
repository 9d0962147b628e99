"""Documents made from `docs/spec/event.schema.json`: valid ones, broken ones, and a checker.

Everything is derived from the schema, so that a key or a limit that is added there is tested
without anybody thinking of it.
"""

from __future__ import annotations

import copy
import ipaddress
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema
from hypothesis import strategies as st

SCHEMA_FILE = Path(__file__).parents[1] / "docs" / "spec" / "event.schema.json"

Schema: TypeAlias = Any  # an object of the schema, or `true`
Step: TypeAlias = str | int
Steps: TypeAlias = tuple[Step, ...]

SCHEMA: Schema = json.loads(SCHEMA_FILE.read_bytes())
NAMELESS = ("anonymous", "system", "unknown")


@dataclass(frozen=True)
class Place:
    """A place where the schema says something: which keys lead there, and what it says."""

    steps: Steps
    schema: Schema

    @property
    def path(self) -> str:
        return json_path(self.steps)


def json_path(steps: Steps) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def resolved(schema: Schema) -> Schema:
    while isinstance(schema, dict) and "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return schema


def places(schema: Schema = SCHEMA, steps: Steps = ()) -> Iterator[Place]:
    """Every place of the schema, the outermost first."""
    schema = resolved(schema)
    yield Place(steps, schema)
    if isinstance(schema, dict):
        for key, below in schema.get("properties", {}).items():
            yield from places(below, (*steps, key))
        if "items" in schema:
            yield from places(schema["items"], (*steps, 0))


def minimal(schema: Schema = SCHEMA) -> Any:
    """The least that the schema takes."""
    schema = resolved(schema)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    if "anyOf" in schema:
        return "203.0.113.7"
    match schema["type"]:
        case "object":
            value = {key: minimal(schema["properties"][key]) for key in schema.get("required", ())}
            return {**value, "id": "7"} if "if" in schema else value
        case "array":
            return []
        case "boolean":
            return True
        case "string":
            return _minimal_string(schema)
    return schema.get("minimum", 0)


def _minimal_string(schema: Schema) -> str:
    if schema.get("format") == "date-time":
        return "2026-03-15T11:00:00.000000Z"
    # Letters and digits of the patterns: the first that fits is good enough.
    candidates = ["a", "a.b", "DE", "1" * 64, "1" * 32, "1" * 16]
    candidates.append("0199d3a0-7b00-7000-8000-000000000001")
    return next(text for text in candidates if re.search(schema.get("pattern", ""), text))


def document_with(steps: Steps, value: Any) -> dict[str, Any]:
    """The least document that has `value` at a place."""
    document = minimal()
    here, schema = document, SCHEMA
    for step, following in zip(steps, (*steps[1:], None), strict=True):
        schema = resolved(schema)
        schema = schema["items"] if isinstance(step, int) else schema["properties"][step]
        if following is None:
            _put(here, step, value)
        elif isinstance(step, int):
            here.append(minimal(schema))
            here = here[step]
        else:
            here = here.setdefault(step, minimal(schema))
    return dict(document)


def _put(container: Any, step: Step, value: Any) -> None:
    if isinstance(step, int):
        container.append(value)
    else:
        container[step] = value


# Valid documents

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
)
json_values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


def _times() -> st.SearchStrategy[str]:
    def spelled(moment: datetime, fraction: str, zone: str, lower: bool) -> str:
        text = moment.isoformat(timespec="seconds") + fraction + zone
        return text.lower() if lower else text

    moments = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1))  # noqa: DTZ001  # the zone is text
    fractions = st.one_of(st.just(""), st.from_regex(r"\.[0-9]{1,9}", fullmatch=True))
    zones = st.sampled_from(["Z", "+00:00", "-00:00", "+05:45", "-23:59", "+14:00"])
    return st.builds(spelled, moments, fractions, zones, st.booleans())


@cache
def documents(key: str = "") -> st.SearchStrategy[Any]:
    """Documents that the schema takes; `key` for the values at one key of it."""
    return _valid(SCHEMA["properties"][key] if key else SCHEMA)


def _valid(schema: Schema) -> st.SearchStrategy[Any]:
    schema = resolved(schema)
    if schema is True:
        return json_values
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.ip_addresses().map(str)
    match schema["type"]:
        case "object":
            return _valid_object(schema)
        case "array":
            unique = (lambda item: item) if schema.get("uniqueItems") else None
            size = min(schema["maxItems"], 12 if schema["items"].get("$ref") else 4)
            return st.lists(_valid(schema["items"]), max_size=size, unique_by=unique)
        case "boolean":
            return st.booleans()
        case "string":
            return _valid_string(schema)
    low, high = schema.get("minimum", -(2**53) + 1), schema.get("maximum", 2**53 - 1)
    if schema["type"] == "integer":
        return st.integers(low, high)
    return st.one_of(st.integers(low, high), st.floats(low, high))


def _valid_object(schema: Schema) -> st.SearchStrategy[Any]:
    if "properties" not in schema:
        names = schema.get("propertyNames", {}).get("pattern")
        keys = st.from_regex(names, fullmatch=True) if names else st.text(max_size=8)
        return st.dictionaries(keys, json_values, max_size=4)
    values = {key: _valid(below) for key, below in schema["properties"].items()}
    required = {key: values.pop(key) for key in schema.get("required", ())}
    made = st.fixed_dictionaries(required, optional=values)
    return made.map(_with_id) if "if" in schema else made


def _with_id(principal: dict[str, Any]) -> dict[str, Any]:
    return principal if principal["type"] in NAMELESS else {"id": "7", **principal}


def _valid_string(schema: Schema) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return _times()
    longest = schema.get("maxLength", 64)
    if "pattern" in schema:
        made = st.from_regex(schema["pattern"], fullmatch=True)
        return made.filter(lambda text: len(text) <= longest)
    return st.text(min_size=schema.get("minLength", 0), max_size=min(longest, 24))


# Broken documents


@st.composite
def mutated_documents(draw: st.DrawFn) -> Any:
    """A valid document with one thing in it replaced, removed, added or doubled."""
    document = copy.deepcopy(draw(documents()))
    container, step = draw(st.sampled_from(list(_slots(document))))
    match draw(st.sampled_from(["replace", "remove", "add", "double", "stretch"])):
        case "replace":
            container[step] = draw(st.one_of(json_values, st.sampled_from(_LURES)))
        case "remove":
            del container[step]
        case "add" if isinstance(container, dict):
            container[draw(st.sampled_from(_KEYS))] = draw(json_values)
        case "double" if isinstance(container, list):
            container.append(container[step])
        case "stretch":
            container[step] = _stretched(container[step])
    return document


# What looks right in some place and is wrong in others.
_LURES: tuple[Any, ...] = (
    "", "user", "user.login", "User.Login", "2026-03-15T11:00:00Z", "2026-03-15", "::1", "1.2.3",
    "de", "DE", "system", "a\n", "0" * 32, -1, 0, 600, 65536, 91, [], {}, [None], {"type": "user"},
    {"type": "system"}, {"id": "7"}, 1, True, "1.2.3.4 ", "01.2.3.4", "fe80::1%eth0",
)  # fmt: skip
_KEYS = ("type", "id", "name", "extra", "Actor", "kind", "")


def _slots(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        for step, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, step
            yield from _slots(item)


def _stretched(value: Any) -> Any:
    if isinstance(value, str):
        return value + "a" * 256
    if isinstance(value, list):
        return value * 40
    if isinstance(value, bool | None) or not isinstance(value, int | float):
        return value
    return value * 1000


# The checker

_formats = jsonschema.FormatChecker(formats=())


@_formats.checks("ipv4")
def _is_ipv4(value: object) -> bool:
    return not isinstance(value, str) or _is_address(ipaddress.IPv4Address, value)


@_formats.checks("ipv6")
def _is_ipv6(value: object) -> bool:
    # A zone ("%eth0") names a machine's own interface: no part of the address in RFC 4291.
    return not isinstance(value, str) or (
        "%" not in value and _is_address(ipaddress.IPv6Address, value)
    )


def _is_address(kind: type, value: str) -> bool:
    try:
        kind(value)
    except ValueError:
        return False
    return True


@_formats.checks("date-time")
def _is_time(value: object) -> bool:
    if not isinstance(value, str):
        return True
    if not re.fullmatch(r"[0-9T:.Zz+-]+", value.upper()) or re.search(r"T2[4-9]", value.upper()):
        return False
    try:
        moment = datetime.fromisoformat(value.upper())
        moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return False
    return moment.tzinfo is not None and len(value) >= len("2026-03-15T11:00:00Z")


def _ecma(schema: Any) -> Any:
    """The schema with `$` meaning the very end, as in ECMA 262, not "or before a newline"."""
    if isinstance(schema, dict):
        return {
            key: value.removesuffix("$") + r"\Z" if key == "pattern" else _ecma(value)
            for key, value in schema.items()
        }
    return [_ecma(item) for item in schema] if isinstance(schema, list) else schema


_validator = jsonschema.Draft202012Validator(_ecma(SCHEMA), format_checker=_formats)


def faults(document: object) -> list[str]:
    """What jsonschema finds wrong with a document, as paths."""
    return [json_path(tuple(error.absolute_path)) for error in _validator.iter_errors(document)]
