"""The event: every key and limit of the schema, exact paths of faults, and one form per fact."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from tests.schema_documents import (
    NAMELESS,
    SCHEMA,
    Place,
    Schema,
    document_with,
    documents,
    faults,
    json_values,
    minimal,
    mutated_documents,
    places,
    resolved,
)
from whodid.errors import EventError
from whodid.event import (
    Actor,
    Change,
    Client,
    Delegation,
    Event,
    Geo,
    Principal,
    StoredEvent,
    Target,
    Tenant,
    Window,
    checked,
    decode,
    from_mapping,
    packed_ip,
)
from whodid.times import Instant

ACTOR = Actor(type="user", id="7")
PLACES = [place for place in places() if place.steps]


def read(document: object) -> Event:
    return decode(json.dumps(document).encode())


def fault(document: object) -> EventError:
    with pytest.raises(EventError) as caught:
        read(document)
    return caught.value


def named(cases: list[Any]) -> list[Any]:
    """Parameters with their place as the name."""
    return [pytest.param(*case, id=f"{case[0].path} {number}") for number, case in enumerate(cases)]


# Every key


def fields_of(kind: Any) -> dict[str, Any]:
    """Fields of the struct that a type is or holds; none when it holds none."""
    for part in (kind, *get_args(kind)):
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            return {field.name: field.type for field in msgspec.structs.fields(part)}
        if part is not kind and (found := fields_of(part)):
            return found
    return {}


def test_the_structs_have_the_keys_of_the_schema_and_no_others() -> None:
    def compare(schema: Schema, kind: Any, path: str) -> int:
        schema = resolved(schema)
        if not isinstance(schema, dict):
            return 0
        if "items" in schema:
            return compare(schema["items"], kind, path + "[]")
        if "properties" not in schema:
            return 0
        fields = fields_of(kind)
        assert set(fields) == set(schema["properties"]), path
        below = schema["properties"].items()
        return len(fields) + sum(compare(item, fields[key], f"{path}.{key}") for key, item in below)

    assert compare(SCHEMA, Event, "$") > 120


def sample(schema: Schema) -> Any:
    """A value that is neither empty nor a default."""
    schema = resolved(schema)
    if schema is True:
        return [None]
    match schema.get("type"):
        case "array":
            return [sample(schema["items"])]
        case "object" if not schema.get("required"):
            key, below = next(iter(schema.get("properties", {"k": {"type": "integer"}}).items()))
            return {key: sample(below)}
        case "integer" | "number":
            return schema.get("minimum", 0) + 1
    return minimal(schema)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.path)
def test_every_key_of_the_schema_is_read_and_kept(place: Place) -> None:
    document = document_with(place.steps, sample(place.schema))

    kept = json.loads(msgspec.json.encode(read(document), enc_hook=str))

    assert {"schema": 1, **kept} == {"schema": 1, **document}


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.path)
def test_a_value_of_another_type_is_refused_with_its_path(place: Place) -> None:
    if place.schema is True:  # a change's old and new: anything
        read(document_with(place.steps, {"any": ["thing"]}))
        return
    for wrong in (None, 1.5, {"a": 1}, [1], "?", True):
        kind = place.schema.get("type", "string")
        if isinstance(wrong, bool) and kind == "boolean":
            continue
        if isinstance(wrong, str) and kind == "string" and "pattern" not in place.schema:
            continue
        if isinstance(wrong, float) and kind == "number":
            continue
        if isinstance(wrong, dict) and kind == "object" and "properties" not in place.schema:
            continue
        error = fault(document_with(place.steps, wrong))
        assert error.path.startswith(place.path)
        assert isinstance(wrong, dict | list) or error.path == place.path


OBJECTS = [Place((), resolved(next(places()).schema))] + [
    place for place in PLACES if isinstance(place.schema, dict) and "properties" in place.schema
]


@pytest.mark.parametrize("place", OBJECTS, ids=lambda place: place.path)
def test_an_unknown_key_is_refused_at_every_level(place: Place) -> None:
    value = {**minimal(place.schema), "surprise": 1}
    document = document_with(place.steps, value) if place.steps else value

    error = fault(document)

    assert str(error) == f"{place.path}.surprise: unknown key"


@pytest.mark.parametrize("place", OBJECTS, ids=lambda place: place.path)
def test_a_key_that_is_missing_is_named(place: Place) -> None:
    for key in place.schema.get("required", ()):
        value = minimal(place.schema)
        del value[key]
        document = document_with(place.steps, value) if place.steps else value

        assert str(fault(document)) == f"{place.path}.{key}: is required"


# Every limit


def filled(schema: Schema, length: int) -> str:
    """A string of this length that fits the pattern, if there is one."""
    return "a." + "a" * (length - 2) if r"\." in schema.get("pattern", "") else "a" * length


def items(schema: Schema, count: int) -> list[Any]:
    if schema.get("uniqueItems"):
        return [f"item{number}" for number in range(count)]
    return [minimal(schema["items"]) for _ in range(count)]


def limits() -> Iterator[tuple[Place, Any, Any]]:
    """Per limit of the schema the last value that passes and the first that does not."""
    for place in PLACES:
        schema = place.schema
        if schema is True:
            continue
        if "maxLength" in schema:
            longest = schema["maxLength"]
            yield place, filled(schema, longest), filled(schema, longest + 1)
            if "pattern" not in schema:  # counted in characters, not in bytes
                yield place, "\U0001f600" * longest, "é" * (longest + 1)
        if "minLength" in schema:
            yield place, "x" * schema["minLength"], "x" * (schema["minLength"] - 1)
        if "maxItems" in schema:
            yield place, items(schema, schema["maxItems"]), items(schema, schema["maxItems"] + 1)
        if "maxProperties" in schema:
            most = schema["maxProperties"]
            yield place, {f"k{n}": n for n in range(most)}, {f"k{n}": n for n in range(most + 1)}
        if "minimum" in schema:
            yield place, schema["minimum"], schema["minimum"] - 1
        if "maximum" in schema:
            yield place, schema["maximum"], schema["maximum"] + 1
        for allowed in schema.get("enum", ()):
            yield place, allowed, allowed.upper()


@pytest.mark.parametrize(("place", "good", "bad"), named(list(limits())))
def test_every_limit_holds_to_the_last_value(place: Place, good: Any, bad: Any) -> None:
    document = document_with(place.steps, good)
    if place.path in ("$.actor.type", "$.on_behalf_of.type", "$.via[0].type"):
        assert faults(document) == []
    read(document)

    error = fault(document_with(place.steps, bad))

    assert error.path == place.path


PATTERNS = {
    "action": (
        ["user.login", "a.b.c.d.e", "a1_.b2_"],
        ["user", "a.b.c.d.e.f", "User.login", "user.Login", "1a.b", "a.1b", "a..b", ".a.b", "a.b.",
         "a.b\n", "a b.c", "a-b.c", "ä.b"],
    ),
    "id": (
        ["0199d3a0-7b00-7000-8000-000000000001", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"],
        ["0199D3A0-7B00-7000-8000-000000000001", "0199d3a07b0070008000000000000001",
         "0199d3a0-7b00-9000-8000-000000000001", "0199d3a0-7b00-7000-c000-000000000001",
         "0199d3a0-7b00-0000-8000-000000000001", "0199d3a0-7b00-7000-8000-000000000001\n"],
    ),
    "code": (["bad_password", "http.404"], ["Bad", "4xx", "_x", "", "a b", "a\n"]),
    "type": (["invoice", "a.b_c.9"], ["Invoice", "9a", "", "a-b", "a\n"]),
    "country": (["DE"], ["de", "DEU", "D", "", "D1", "DE\n"]),
    "trace_id": (
        ["0af7651916cd43dd8448eb211c80319c"],
        ["0" * 32, "0af7651916cd43dd8448eb211c80319", "0AF7651916CD43DD8448EB211C80319C"],
    ),
    "span_id": (["b7ad6b7169203331"], ["0" * 16, "b7ad6b716920333", "B7AD6B7169203331"]),
    "tags": (
        ["hr", "9", "a:b.c-d_e", "a" * 64],
        ["HR", "-a", "", "a b", "a" * 65, "a\n", "é"],
    ),
    "sha256": (["0123456789abcdef" * 4], ["0" * 63, "0" * 65, "A" * 64, "0" * 63 + "\n"]),
}  # fmt: skip


def patterns() -> Iterator[tuple[Place, list[str], list[str]]]:
    for place in PLACES:
        if place.schema is not True and "pattern" in place.schema:
            name = next(str(step) for step in reversed(place.steps) if isinstance(step, str))
            yield place, *PATTERNS[name]


@pytest.mark.parametrize(("place", "good", "bad"), named(list(patterns())))
def test_every_pattern_takes_what_fits_to_the_last_character(
    place: Place, good: list[str], bad: list[str]
) -> None:
    for text in good:
        read(document_with(place.steps, text))
    for text in bad:
        error = fault(document_with(place.steps, text))
        assert error.path == place.path
        assert error.problem.startswith("expected ")
        assert "^" not in error.problem, "a pattern is shown in words"


@pytest.mark.parametrize("key", ["tags", "data_classes"])
def test_an_item_given_twice_is_refused(key: str) -> None:
    error = fault(document_with((key,), ["pii", "x", "pii"]))

    assert str(error) == f"$.{key}: expected each item once"


@pytest.mark.parametrize("kind", get_args(Principal.__annotations__["type"]) or ["user"])
def test_who_has_a_name_needs_an_id(kind: str) -> None:
    for steps in (("actor",), ("on_behalf_of",), ("via", 0)):
        document = document_with(steps, {"type": kind})
        path = "$.via[0].id" if steps[0] == "via" else f"$.{steps[0]}.id"
        if kind in NAMELESS:
            read(document)
        else:
            problem = "is required unless type is anonymous, system or unknown"
            assert str(fault(document)) == f"{path}: {problem}"


@pytest.mark.parametrize(
    "key", ["a", "A", "0", "_", "a.b-c_d", "a" * 64]
)  # fmt: skip
def test_a_metadata_key_of_letters_digits_and_marks_is_taken(key: str) -> None:
    assert read(document_with(("metadata",), {key: 1})).metadata == {key: 1}


@pytest.mark.parametrize("key", ["", "a b", ".a", "-a", "é", "a" * 65, "a\n", "a/b", "$", "\0"])
def test_other_metadata_keys_are_refused(key: str) -> None:
    error = fault(document_with(("metadata",), {"ok": 1, key: 1}))

    assert error.path == "$.metadata"
    assert "keys of 1 to 64 letters, digits" in error.problem


# Paths and messages

FAULTS = [
    ({"targets": [{"type": "x"}, {"type": "X"}]}, "$.targets[1].type", "expected a lower-case"),
    ({"targets": [{"type": 5}]}, "$.targets[0].type", "expected str, got int"),
    ({"targets": [{}]}, "$.targets[0].type", "is required"),
    ({"client": {"ip": "1.2.3"}}, "$.client.ip", "expected an IPv4 or IPv6 address"),
    ({"client": {"geo": {"lat": 90.5}}}, "$.client.geo.lat", "expected float <= 90.0"),
    ({"client": {"geo": {"lat": "x"}}}, "$.client.geo.lat", "expected int | float, got str"),
    ({"outcome": "hunter2"}, "$.outcome", "expected one of success, failure,"),
    ({"message": None}, "$.message", "expected str, got null"),
    ({"occurred_at": 5}, "$.occurred_at", "expected a time as a string"),
    ({"occurred_at": "monday"}, "$.occurred_at", "expected an RFC 3339 time with offset"),
    ({"window": {"start": "2026-02-30T00:00:00Z", "end": ""}}, "$.window.start", "no such day"),
    ({"metadata": {"a": [0, {"b": 2**53}]}}, "$.metadata.a[1].b", "integer beyond ±(2^53-1)"),
    ({"metadata": {"a": 10**30}}, "$.metadata.a", "integer beyond ±(2^53-1); send it as a string"),
    ({"changes": [{"path": "p", "old": -(2**53)}]}, "$.changes[0].old", "integer beyond"),
    ({"changes": [{"path": "p", "target": 2**53}]}, "$.changes[0].target", "expected int <="),
    ({"actor": {"type": "user", "id": "1", "attributes": {"a b": 2**60}}},
     '$.actor.attributes["a b"]', "integer beyond"),
    ({"zapp": 1}, "$.zapp", "unknown key"),
    ({"za\np`": 1}, '$["za\\np`"]', "unknown key"),
    ({"z" * 5000: 1}, '$["' + "z" * 64 + '"]', "unknown key"),
    ({"client": {"z`": 1}}, '$.client["z`"]', "unknown key"),
    ({"schema": 2}, "$.schema", "expected 1"),
    ({"count": 1.0}, "$.count", "expected int, got float"),
    ({"tags": "hr"}, "$.tags", "expected array, got str"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("extra", "path", "problem"), FAULTS, ids=[case[1][:40] for case in FAULTS]
)
def test_a_fault_is_named_by_its_exact_path(extra: Any, path: str, problem: str) -> None:
    document = {"action": "a.b", "actor": {"type": "user", "id": "7"}, **extra}
    error = fault(document)

    assert error.path == path
    assert problem in error.problem
    assert str(error) == f"{path}: {error.problem}"
    assert "hunter2" not in str(error)
    with pytest.raises(EventError) as caught:
        from_mapping(document)
    assert caught.value.path == path


BROKEN = [
    (b"", "the JSON ends too early"),
    (b'{"action":', "the JSON ends too early"),
    (b"[]", "expected object, got array"),
    (b"null", "expected object, got null"),
    (b'{"action":"a.b"}{}', "is required"),
    (b"{'action': 1}", "the JSON cannot be read: "),
    (b'{"action":"a.b","actor":{"type":"system"}} x', "the JSON cannot be read: "),
    (b'{"action":"a.b","actor":{"type":"system"},"message":"\xff"}', "the body is not UTF-8"),
    (b'{"action":"a.b","actor":{"type":"system"},"metadata":{"a":NaN}}', "the JSON cannot be read"),
    (b'{"action":"a.b","actor":{"type":"system"},"metadata":{"a":Infinity}}', "the JSON cannot"),
    (b'{"action":"a.b","actor":{"type":"system"},"metadata":{"a":1e999}}', "out of range"),
    (b'{"action":"a.b","actor":{"type":"system"},"metadata":{"a":' + b"9" * 5000 + b"}}",
     "out of range"),
    (b'{"action":"a.b","actor":{"type":"system"},"metadata":' + b"[" * 100_000, "expected object"),
    (b'{"action":"a.b","actor":{"type":"system"},"metadata":{"a":' + b"[" * 100_000, "nested too"),
    (b"\x00\x01\x02", "the JSON cannot be read"),
    (b"\x1f\x8b\x08\x00", "the JSON cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "problem"), BROKEN, ids=[str(case[0][:60]) for case in BROKEN])
def test_what_is_no_json_is_refused_with_a_clear_message(data: bytes, problem: str) -> None:
    with pytest.raises(EventError) as caught:
        decode(data)

    assert problem in caught.value.problem
    assert not caught.value.problem[0].isupper() or caught.value.problem.startswith("the JSON")


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_an_event_error(data: bytes) -> None:
    with pytest.raises(EventError):
        decode(data)


def test_a_lone_surrogate_is_refused_with_its_path() -> None:
    document = {
        "action": "a.b",
        "actor": {"type": "user", "id": "7", "attributes": {"a": ["ok", "\ud800"]}},
    }

    assert str(fault(document)) == "$.actor.attributes.a[1]: holds a lone surrogate"


def test_33_levels_in_a_value_are_refused_and_32_are_taken() -> None:
    def nested(levels: int) -> Any:
        return 1 if levels == 0 else [nested(levels - 1)]

    read(document_with(("changes", 0, "old"), nested(32)))
    assert (
        "deeper than 32 levels" in fault(document_with(("changes", 0, "old"), nested(33))).problem
    )
    read(document_with(("metadata",), {"a": nested(31)}))
    assert "deeper than 32 levels" in fault(document_with(("metadata",), {"a": nested(32)})).problem


# Agreement with another implementation of JSON Schema

# Where FORMAT is stricter than the schema can say: a number with a point is no integer, integers
# beyond 2^53 are read differently elsewhere, and nesting is bounded.
STRICTER = (
    "expected int, got float",
    "2^53-1",
    "9007199254740991",
    "nested deeper",
    "out of range",
)


def agree(document: Any) -> None:
    ours, theirs = fault_of(document), faults(document)
    if ours is None:
        assert theirs == []
    elif theirs:
        assert any(ours.path.startswith(path) for path in theirs), (ours, theirs)
    else:
        assert any(words in ours.problem for words in STRICTER), ours


def fault_of(document: object) -> EventError | None:
    try:
        read(document)
    except EventError as error:
        return error
    return None


@given(documents())
def test_what_the_schema_takes_is_taken(document: Any) -> None:
    assert faults(document) == []
    read(document)


@given(mutated_documents())
def test_a_document_with_one_change_gets_the_verdict_of_jsonschema(document: Any) -> None:
    agree(document)


@given(json_values)
def test_any_json_gets_the_verdict_of_jsonschema(value: Any) -> None:
    agree(value)


@given(documents())
def test_the_three_ways_to_read_an_event_agree(document: Any) -> None:
    event = read(document)

    assert from_mapping(json.loads(json.dumps(document))) == event
    assert checked(event) == event


# One form per fact

EMPTY = [
    ({"client": {}}, "client"),
    ({"client": {"device": {}, "geo": {}, "network": {}, "forwarded_for": []}}, "client"),
    ({"reason": {}}, "reason"),
    ({"source": {}}, "source"),
    ({"request": {}}, "request"),
    ({"error": {}}, "error"),
    ({"metadata": {}}, "metadata"),
]


@pytest.mark.parametrize(("extra", "key"), EMPTY, ids=str)
def test_an_empty_object_is_absent(extra: Any, key: str) -> None:
    bare = {"action": "a.b", "actor": {"type": "user", "id": "7"}}

    assert getattr(read({**bare, **extra}), key) is UNSET
    assert read({**bare, **extra}) == read(bare)


def test_empty_parts_of_an_actor_and_a_target_are_absent() -> None:
    event = read(
        {
            "action": "a.b",
            "actor": {
                "type": "user", "id": "7", "roles": [], "attributes": {}, "auth": {}, "agent": {},
            },
            "targets": [{"type": "t", "attributes": {}}],
        }
    )  # fmt: skip

    assert event == Event(action="a.b", actor=ACTOR, targets=(Target(type="t"),))


def test_null_and_absent_are_two_values_of_a_change() -> None:
    event = read(
        {
            "action": "a.b",
            "actor": {"type": "system"},
            "changes": [{"path": "a", "old": None}, {"path": "b"}],
        }
    )

    assert [change.old for change in event.changes] == [None, UNSET]


def test_a_time_becomes_utc_with_microseconds() -> None:
    event = read(
        {
            "action": "a.b",
            "actor": {"type": "system"},
            "occurred_at": "2026-03-15t12:00:00.1234569+01:00",
        }
    )

    assert str(event.occurred_at) == "2026-03-15T11:00:00.123456Z"


# The constructor


def test_the_constructor_turns_lists_into_tuples() -> None:
    event = Event(
        action="a.b",
        actor=Actor(type="user", id="7", roles=["admin"]),  # type: ignore[arg-type]  # on purpose
        targets=[Target(type="t")],  # type: ignore[arg-type]  # on purpose
        tags=[],  # type: ignore[arg-type]  # on purpose
    )

    assert (event.targets, event.tags, event.actor.roles) == ((Target(type="t"),), (), ("admin",))


def test_the_constructor_takes_aware_datetimes_and_makes_instants_of_them() -> None:
    moment = datetime(2026, 3, 15, 12, tzinfo=timezone(timedelta(hours=1)))
    event = Event(
        action="a.b",
        actor=ACTOR,
        occurred_at=moment,  # type: ignore[arg-type]  # on purpose
        delegation=Delegation(kind="sudo", expires_at=moment),  # type: ignore[arg-type]  # too
        window=Window(start=moment, end=moment),  # type: ignore[arg-type]  # too
    )

    assert event.delegation
    assert event.window
    times = [event.occurred_at, event.delegation.expires_at, event.window.start, event.window.end]
    assert [str(time) for time in times] == ["2026-03-15T11:00:00.000000Z"] * 4
    assert all(type(time) is Instant for time in times)


WORD: Any = "now"
NUMBERED: Any = {5: 1}
NAIVE: Any = datetime(2026, 3, 15)  # noqa: DTZ001  # what must be refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Event(action="a.b", actor=ACTOR, occurred_at=NAIVE), r"\.occurred_at: .*naive"),
        (lambda: Event(action="a.b", actor=ACTOR, occurred_at=WORD), r"\.occurred_at: .*got str"),
        (lambda: Window(start=Instant.now(), end=NAIVE), r"\.end: "),
        (
            lambda: Event(action="a.b", actor=ACTOR, metadata={"a": float("nan")}),
            r"\.metadata\.a: ",
        ),
        (lambda: Event(action="a.b", actor=ACTOR, metadata={"a": [{1}]}), r"\.a\[0\]: .*got set"),
        (lambda: Event(action="a.b", actor=ACTOR, metadata={"a": b"x"}), r"\.a: .*got bytes"),
        (lambda: Event(action="a.b", actor=ACTOR, metadata=NUMBERED), r"\.metadata: expected keys"),
        (lambda: Event(action="a.b", actor=ACTOR, metadata={"a": {5: 1}}), r"string keys, got int"),
        (lambda: Event(action="a.b", actor=ACTOR, tags=("a", "a")), r"\.tags: expected each"),
        (lambda: Actor(type="user"), r"\.id: is required"),
        (lambda: Actor(type="user", id="7", attributes={"a": 2**53}), r"\.attributes\.a: integer"),
        (lambda: Change(path="p", old=2**53), r"\.old: integer beyond"),
        (lambda: Change(path="p", new=float("inf")), r"\.new: expected a finite number"),
        (lambda: Target(type="t", attributes={"a": object()}), r"\.a: .*got object"),
        (lambda: Client(ip="localhost"), r"\.ip: expected an IPv4 or IPv6"),
        (lambda: Client(ip=""), r"\.ip: expected an IPv4 or IPv6"),
        (lambda: Geo(lat=float("nan")), r"\.lat: expected a finite number"),
    ],
)
def test_the_constructor_refuses_what_would_corrupt_the_bytes(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_an_event_cannot_be_changed() -> None:
    event = Event(action="a.b", actor=ACTOR)
    with pytest.raises(AttributeError):
        event.action = "a.c"  # type: ignore[misc]  # on purpose


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"action": "Not An Action"}, "$.action"),
        ({"message": "x" * 4097}, "$.message"),
        ({"message": b"bytes"}, "$.message"),
        ({"message": 5}, "$.message"),
        ({"outcome": "perhaps"}, "$.outcome"),
        ({"targets": (Target(type="t"), Target(type="Bad Type"))}, "$.targets[1].type"),
        ({"tenant": Tenant(id="")}, "$.tenant.id"),
        ({"message": object()}, "$"),
    ],
)
def test_checked_finds_what_the_constructor_let_pass(values: Any, path: str) -> None:
    event = Event(**{"action": "a.b", "actor": ACTOR, **values})
    with pytest.raises(EventError) as caught:
        checked(event)

    assert caught.value.path == path


def test_from_mapping_takes_aware_datetimes() -> None:
    event = from_mapping(
        {
            "action": "a.b",
            "actor": {"type": "system"},
            "occurred_at": datetime(2026, 3, 15, tzinfo=UTC),
        }
    )
    assert str(event.occurred_at) == "2026-03-15T00:00:00.000000Z"

    with pytest.raises(EventError, match=r"\$\.occurred_at: expected a datetime with a zone"):
        from_mapping({"action": "a.b", "actor": {"type": "system"}, "occurred_at": NAIVE})


# What a store gives back


def test_a_stored_event_answers_with_what_was_filled_in() -> None:
    received = Instant.parse("2026-03-15T11:00:00Z")
    bare = Event(action="a.b", actor=ACTOR)
    stored = StoredEvent(event=bare, received_at=received, index=None, position=0)

    assert stored.occurred_at == received
    assert (stored.tenant_id, stored.outcome, stored.severity) == ("default", "success", "info")

    occurred = Instant.parse("2026-03-14T11:00:00Z")
    told = Event(
        action="a.b", actor=ACTOR, occurred_at=occurred, tenant=Tenant(id="acme"),
        outcome="denied", severity="high", id="0199d3a0-7b00-7000-8000-000000000001",
    )  # fmt: skip
    stored = StoredEvent(event=told, received_at=received, index=0, position=0)

    assert stored.occurred_at == occurred
    assert (stored.tenant_id, stored.outcome, stored.severity) == ("acme", "denied", "high")
    assert stored.id == "0199d3a0-7b00-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("text", "packed"),
    [
        ("203.0.113.7", b"\xcb\x00\x71\x07"),
        ("::ffff:203.0.113.7", b"\xcb\x00\x71\x07"),
        ("::1", b"\0" * 15 + b"\x01"),
        ("2001:db8::1", b"\x20\x01\x0d\xb8" + b"\0" * 11 + b"\x01"),
        ("01.2.3.4", None),
        ("1.2.3", None),
        ("1.2.3.4 ", None),
        ("1.2.3.4\0", None),
        ("fe80::1%eth0", None),
        ("::1\ud800", None),
        ("", None),
        ("localhost", None),
    ],
)
def test_an_address_is_packed_and_what_is_none_is_not(text: str, packed: bytes | None) -> None:
    assert packed_ip(text) == packed
