"""What a search means: which events it finds, and that erased values are found by nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import (
    NOW,
    events,
    facts_of,
    json_values,
    query_nodes,
    stored_events,
)
from whodid import actions, canonical
from whodid.event import MAX_SAFE_INTEGER, Event, StoredEvent, checked, from_mapping, packed_ip
from whodid.query import And, Node, Not, Or, Term, Text, matches, parse
from whodid.query.ast import Op
from whodid.query.evaluate import compile_matcher, url_path
from whodid.query.fields import FIELDS, FLAGS_HAS, FLAGS_IS, glob, ip_ranges
from whodid.query.words import words
from whodid.times import Instant

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "query.json").read_bytes())
# `Any`: metadata and changes hold whatever JSON an application has.
Json = Any


def finds(text: str, stored: StoredEvent) -> bool:
    return matches(parse(text, now=NOW).node, stored)


def stored(
    event: Event,
    *,
    erased: Sequence[str] = (),
    index: int | None = 0,
    received_at: str = "2026-03-15T11:00:00Z",
) -> StoredEvent:
    """An event as a store gives it back."""
    encoded = canonical.encode(event, defaults=actions.defaults(event.action))
    stamp = canonical.stamp_bytes(
        event_id=event.id or "0199d3a0-7b00-7000-8000-000000000009",
        received_at=Instant.parse(received_at),
        tenant=event.tenant.id if event.tenant else "default",
    )
    body, gone = canonical.body_bytes(encoded.core, stamp, encoded.units), None
    if erased:
        body, _, gone = canonical.erase_units(body, secret=bytes(16), gone=None, paths=erased)
    return canonical.restore(body, gone=gone, index=index, position=0)


def an_event(**values: Json) -> StoredEvent:
    return stored(
        from_mapping({"action": "user.login", "actor": {"type": "user", "id": "7"}, **values})
    )


EVENTS = {
    name: stored(
        from_mapping(given["event"]), index=given["index"], received_at=given["received_at"]
    )
    for name, given in VECTORS["events"].items()
}


@pytest.mark.parametrize("vector", VECTORS["found"], ids=lambda vector: vector["q"])
def test_a_search_finds_the_events_of_its_vector(vector: Json) -> None:
    assert [name for name, each in EVENTS.items() if finds(vector["q"], each)] == vector["finds"]


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_the_vectors_ask_for_every_field(name: str) -> None:
    asked = {
        part.partition(":")[0] for v in VECTORS["found"] for part in re.split(r"[ (-]", v["q"])
    }

    assert name in asked


# ---- laws


found = st.lists(stored_events(), min_size=1, max_size=4)


@given(st.data())
def test_a_negation_finds_the_others(data: st.DataObject) -> None:
    each = data.draw(stored_events())
    node = data.draw(query_nodes([each]))

    assert matches(Not(node), each) is not matches(node, each)


@given(st.data())
def test_and_is_all_and_or_is_any(data: st.DataObject) -> None:
    each = data.draw(stored_events())
    nodes = tuple(data.draw(st.lists(query_nodes([each]), max_size=4)))

    assert matches(And(nodes), each) is all(matches(node, each) for node in nodes)
    assert matches(Or(nodes), each) is any(matches(node, each) for node in nodes)


@given(st.data())
def test_a_compiled_search_answers_for_each_event_alone(data: st.DataObject) -> None:
    several = data.draw(found)
    node = data.draw(query_nodes(several))

    matcher = compile_matcher(node)

    assert [matcher(each) for each in several] == [matches(node, each) for each in several]


@given(st.data())
def test_a_search_made_twice_means_the_same(data: st.DataObject) -> None:
    several = data.draw(found)
    node = data.draw(query_nodes(several))
    matcher = compile_matcher(node)

    assert [matcher(each) for each in several] == [matcher(each) for each in several]


OTHERWISE = {"free", "target", "path"}  # facts of these may be a type, or a whole URL
WRITTEN = ("dotted", "enum", "exact", "smart", "text", "value")


@given(stored_events())
def test_every_value_an_event_has_finds_it(each: StoredEvent) -> None:
    for name, values in facts_of(each).items():
        field = FIELDS.get(name)
        kind = field.kind if field else "value"
        if name in OTHERWISE or kind not in WRITTEN or is_stand_in(name, each):
            continue
        if name.startswith(("old.", "new.")) and name.count("."):
            continue  # a member of an object that a change holds has no name
        for value in values:
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            assert matches(Term(name, "=", text), each), f"{name}:={text}"
            assert matches(Term(name, "exists", True), each)


def is_stand_in(name: str, each: StoredEvent) -> bool:
    """Is the fact only what stands in the place of an erased unit?"""
    return (name == "actor.type" and "/actor" in each.gone) or (
        name == "target.type" and any(path.startswith("/targets/") for path in each.gone)
    )


@given(stored_events())
def test_every_name_and_message_is_found_as_free_text(each: StoredEvent) -> None:
    event = each.event
    values = [event.action, event.message, event.actor.name, event.actor.email]
    values += [principal.name for principal in event.via]
    values += [target.name for target in event.targets]
    values += [change.path for change in event.changes]
    for value in values:
        if value and words(value):
            assert matches(Text(value, phrase=True), each)
            assert matches(Text(" ".join(reversed(words(value)))), each)
            assert finds(f'"{" ".join(words(value))}"'.upper(), each)


@given(st.data())
def test_a_phrase_is_found_where_its_words_follow_each_other(data: st.DataObject) -> None:
    pool = st.lists(st.sampled_from(["a", "b", "ab", "é", "東"]), min_size=1, max_size=6)
    there, wanted = data.draw(pool), data.draw(pool)
    each = an_event(message=" ".join(there))
    follow = [there[at : at + len(wanted)] for at in range(len(there))]
    expected = wanted in follow

    assert matches(Text(" ".join(wanted), phrase=True), each) is expected
    assert matches(Text("-".join(wanted)), each) is expected
    assert matches(Term("message", ":", " ".join(wanted)), each) is expected
    assert matches(Text(" ".join(wanted)), each) is (set(wanted) <= set(there))


pieces = st.text(alphabet="ab*\n", max_size=6)


@given(pieces, st.text(alphabet="ab\n", max_size=8))
def test_a_star_stands_for_any_characters(pattern: str, text: str) -> None:
    as_expression = ".*".join(map(re.escape, pattern.split("*")))

    assert glob(pattern)(text) is bool(re.fullmatch(as_expression, text, re.DOTALL))


def test_many_stars_take_no_longer() -> None:
    assert not glob("*a" * 500 + "b")("a" * 60_000)


# ---- what is missing


def is_positive(node: Node) -> bool:
    """Does the tree ask only for what is there?"""
    match node:
        case Not():
            return False
        case And(terms) | Or(terms):
            return all(map(is_positive, terms))
        case Term(value="redacted"):
            return False
        case _:
            return True


@given(st.data())
def test_an_erasure_makes_nothing_found_that_was_not(data: st.DataObject) -> None:
    event = data.draw(events())
    whole = stored(event)
    units = [path for path, _ in canonical.encode(event, defaults=DEFAULTS).units]
    paths = data.draw(st.lists(st.sampled_from(units), unique=True, min_size=1, max_size=6))
    rest = stored(event, erased=paths)
    node = data.draw(query_nodes([whole, rest]))

    if is_positive(node):
        assert matches(node, whole) >= matches(node, rest)


DEFAULTS = {"category": "system", "operation": "other", "severity": "info"}
KEPT = {
    "action", "app", "category", "created", "env", "id", "index", "operation", "outcome",
    "received", "severity", "tenant", "trace",
}  # fmt: skip
"""Fields of what stays when every unit is erased."""


@given(events())
def test_of_an_event_without_units_nothing_but_its_core_is_found(event: Event) -> None:
    units = [path for path, _ in canonical.encode(event, defaults=DEFAULTS).units]
    husk = stored(event, erased=units)

    for name in FIELDS.keys() - KEPT - {"has", "is"}:
        assert not matches(Term(name, "exists", True), husk), name
    for text in ("erased", "unknown", "actor.type:unknown", "target.type:erased", "actor:unknown"):
        assert not finds(text, husk), text
    for flag in set(FLAGS_HAS) - {"trace"}:
        assert not finds(f"has:{flag}", husk), flag
    assert not finds("is:agent OR is:anonymous OR is:impersonated", husk)
    assert finds("is:redacted -actor:* -target:*", husk)


def test_an_erased_target_leaves_the_others_in_their_place() -> None:
    targets = [{"type": "erased", "id": "a"}, {"type": "user", "id": "b"}]
    event = from_mapping({"action": "a.b", "actor": {"type": "system"}, "targets": targets})

    assert finds("target.type:erased target.id:b", stored(event))
    assert finds("target.type:user -target.type:erased", stored(event, erased=["/targets/0"]))
    assert finds("target.type:erased -target:b", stored(event, erased=["/targets/1"]))


@pytest.mark.parametrize("name", sorted(FIELDS.keys() - {"has", "is"}))
def test_a_missing_value_matches_no_positive_term(name: str) -> None:
    bare = stored(from_mapping({"action": "a.b", "actor": {"type": "system"}}), index=None)
    there = {"actor.type", *KEPT} - {"app", "env", "trace", "index"}

    assert finds(f"{name}:*", bare) is (name in there)
    assert finds(f"-{name}:*", bare) is (name not in there)


def test_an_unsealed_event_has_no_index() -> None:
    unsealed = stored(from_mapping({"action": "a.b", "actor": {"type": "system"}}), index=None)

    assert not finds("index:>=0 OR index:0 OR index:..5 OR index:*", unsealed)
    assert finds("-index:<9", unsealed)


def test_an_event_without_time_occurred_when_it_was_received() -> None:
    assert finds("created:2026-03-15 received:2026-03-15", an_event())


# ---- flags


@pytest.mark.parametrize("flag", [*(f"has:{f}" for f in FLAGS_HAS), *(f"is:{f}" for f in FLAGS_IS)])
def test_every_flag_that_parse_accepts_is_known(flag: str) -> None:
    assert not finds(flag, stored(from_mapping({"action": "a.b", "actor": {"type": "system"}})))


@pytest.mark.parametrize("outcome", ["failure", "denied", "error"])
def test_failed_is_every_bad_outcome(outcome: str) -> None:
    assert finds("is:failed", an_event(outcome=outcome))
    assert not finds("is:failed", an_event(outcome="unknown"))
    assert not finds("is:failed", an_event())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"delegation": {"kind": "impersonation"}}, True),
        ({"delegation": {"kind": "support_access"}}, True),
        ({"delegation": {"kind": "sudo"}}, False),
        ({"on_behalf_of": {"type": "user", "id": "1"}}, True),
        (
            {
                "on_behalf_of": {"type": "user", "id": "1"},
                "actor": {"type": "ai_agent", "id": "2"},
            },
            False,
        ),
        ({}, False),
    ],
)
def test_impersonated_is_a_person_in_the_place_of_another(values: Json, expected: bool) -> None:
    assert finds("is:impersonated", an_event(**values)) is expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"category": "iam", "operation": "update"}, True),
        ({"category": "authorization", "operation": "grant"}, True),
        ({"category": "configuration", "operation": "configure"}, True),
        ({"category": "audit", "operation": "delete"}, True),
        ({"category": "iam", "operation": "read"}, False),
        ({"category": "data", "operation": "delete"}, False),
        ({"category": "data", "operation": "read", "actor": ["ADMIN"]}, True),
        ({"category": "data", "operation": "read", "actor": ["user", "Root"]}, True),
        ({"category": "data", "operation": "read", "actor": ["administrator"]}, False),
    ],
)
def test_privileged_is_who_may_or_does_change_rights(values: Json, expected: bool) -> None:
    roles = values.pop("actor", [])
    actor = {"type": "user", "id": "7", "roles": roles}

    assert finds("is:privileged", an_event(actor=actor, **values)) is expected


# ---- JSON values


@pytest.mark.parametrize(
    ("metadata", "text", "expected"),
    [
        ({"a.b": 1}, "meta.a.b:1", True),
        ({"a": {"b": 1}}, "meta.a.b:1", True),
        ({"a": {"b.c": 1}}, "meta.a.b.c:1", True),
        ({"a.b": {"c": 1}}, "META.A.B.C:1", True),
        ({"A": {"B": 1}}, "meta.a.b:1", True),
        ({"a": [{"b": 1}, {"b": [2, [3]]}]}, "meta.a.b:1 meta.a.b:2 meta.a.b:3", True),
        ({"a": {"b": 1}}, "meta.a:1", False),
        ({"a": {"b": 1}}, "meta.a:*", True),
        ({"a": {"b": 1}}, "meta.b:1", False),
        ({"a": {"b": 1}}, "meta.*:1 meta.a.*:1 meta.*.b:1", True),
        ({"a": {"b": 1}}, "meta.b*:1", False),
        ({"a": None}, "meta.a:null meta.a:*", True),
        ({"a": ""}, 'meta.a:"" meta.a:*', True),
        ({"a": []}, "meta.a:*", True),
        ({"a": []}, 'meta.a:""', False),
        ({"a": True}, "meta.a:TRUE -meta.a:1", True),
        ({"a": 1}, "-meta.a:true meta.a:=1", True),
        ({"a": 1.0}, "meta.a:1.0 -meta.a:1", True),
        ({"a": 100}, "meta.a:1* -meta.a:1", True),
        ({"a": "2026-17"}, "meta.a:2026-*", True),
        ({"a": "a*b"}, 'meta.a:"A*B" -meta.a:"a*c"', True),
        ({"a": "Ärger"}, "meta.a:ärger -meta.a:arger", True),
        ({"a": MAX_SAFE_INTEGER}, f"meta.a:{MAX_SAFE_INTEGER}", True),
    ],
)
def test_metadata_is_compared_by_its_json(metadata: Json, text: str, expected: bool) -> None:
    assert finds(text, an_event(metadata=metadata)) is expected


@pytest.mark.parametrize(
    ("change", "text", "expected"),
    [
        ({"path": "role", "old": "user", "new": "admin"}, "old.role:user new.role:ADMIN", True),
        ({"path": "role", "old": "user", "new": "admin"}, "old.role:admin", False),
        ({"path": "role", "new": None}, "new.role:null new.role:*", True),
        ({"path": "role", "new": None}, "old.role:* OR old.role:null", False),
        ({"path": "Role", "new": 5}, "new.role:5 changed:role changed:r*", True),
        ({"path": "role.name", "new": 5}, "new.role:5 OR changed:role", False),
        ({"path": "roles", "new": ["a", "b"]}, "new.roles:b", True),
        ({"path": "roles", "new": {"a": "b"}}, "new.roles:b", False),
        ({"path": "items[0].price", "new": 5}, "new.items[0].price:5 new.items*:5", True),
        ({"path": "note", "new": ""}, 'new.note:""', True),
    ],
)
def test_a_change_is_compared_by_its_path_and_json(change: Json, text: str, expected: bool) -> None:
    assert finds(text, an_event(changes=[change])) is expected


def test_what_a_change_says_of_one_path_is_not_said_of_another() -> None:
    changes = [{"path": "a", "new": 1}, {"path": "b", "new": 2}]

    assert not finds("new.a:2", an_event(changes=changes))


@given(st.dictionaries(st.from_regex(r"[a-z]{1,3}", fullmatch=True), json_values, max_size=3))
def test_every_member_of_metadata_is_found_at_its_path(metadata: Json) -> None:
    each = an_event(metadata=metadata)

    for key, value in metadata.items():
        assert finds(f"meta.{key}:* meta.{key.upper()}:*", each)
        if isinstance(value, dict):
            for inner in value:
                assert matches(Term(f"meta.{key}.{inner}", "exists", True), each)


# ---- other values


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://app.example.com/a/b?x=/c#/d", "/a/b"),
        ("https://app.example.com", "/"),
        ("/a//b", "/a//b"),
        ("//host/a", "/a"),
        ("a/b?c", "a/b"),
        ("http://[broken/a", "/a"),
        ("?", ""),
    ],
)
def test_the_path_of_a_url_is_without_host_and_query(url: str, path: str) -> None:
    assert url_path(url) == path


@given(st.ip_addresses(), st.sampled_from([0, 8, 24, 32, 96, 128]))
def test_an_address_is_in_a_range_exactly_when_its_first_bits_are(address: Any, bits: int) -> None:
    bits = min(bits, address.max_prefixlen)
    if address.version == 6 and address.ipv4_mapped:
        return
    each = an_event(client={"ip": str(address)})

    assert finds(f"ip:{address}/{bits}", each)
    assert finds("ip:private", each) is not finds("ip:public", each)
    if bits:
        flipped = int(address) ^ (1 << (address.max_prefixlen - bits))
        other = type(address)(flipped)
        if packed_ip(str(other)) == other.packed:
            assert not finds(f"ip:{other}/{bits}", each)


def test_an_ipv4_mapped_address_is_an_ipv4_address() -> None:
    each = an_event(client={"ip": "::ffff:10.1.2.3"})

    assert finds("ip:10.0.0.0/8 ip:private ip:10.1.2.3 ip:::ffff:10.1.2.3", each)
    assert not finds("ip:::/0", each)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1999", False), ("2000", False), ("2000.5", True), ("2s", False), ("2000.5ms", True)],
)
def test_a_duration_is_compared_exactly(text: str, expected: bool) -> None:
    assert finds(f"duration:{text}", an_event(request={"duration_ms": 2000.5})) is expected


@given(st.integers(100, 599), st.integers(0, 700))
def test_numbers_are_ordered(status: int, bound: int) -> None:
    each = an_event(request={"status": status})

    assert finds(f"status:>{bound}", each) is (status > bound)
    assert finds(f"status:>={bound}", each) is (status >= bound)
    assert finds(f"status:<{bound}", each) is (status < bound)
    assert finds(f"status:<={bound}", each) is (status <= bound)
    assert finds(f"status:{bound}", each) is (status == bound)
    assert finds(f"status:{bound}..{bound + 100}", each) is (bound <= status <= bound + 100)


def test_the_bounds_of_a_range_of_times_are_from_inclusive_to_exclusive() -> None:
    start, end = Instant.parse("2026-03-15T11:00:00Z"), Instant.parse("2026-03-15T11:00:00.000001Z")

    for inside in ((start, end), (start, None), (None, end), (None, None)):
        assert matches(Term("received", "range", inside), an_event())
    for outside in ((end, None), (None, start), (start, start)):
        assert not matches(Term("received", "range", outside), an_event())


def test_text_without_words_finds_nothing() -> None:
    each = an_event(message="…", actor={"type": "user", "id": "--", "name": "…"})

    assert not matches(Text("…"), each)
    assert not matches(Text("", phrase=True), each)
    assert not matches(Term("message", ":", "…"), each)
    assert finds('actor:"--" actor:… -actor:"-"', each)


@pytest.mark.parametrize(
    ("field", "op", "value"),
    [
        ("nothing", ":", "x"),
        ("actor.id", ">", "x"),
        ("status", "prefix", 5),
        ("created", ">", 5),
        ("is", "=", "verified"),
        ("status", "=", "5"),
    ],
)
def test_a_tree_that_parse_would_not_make_is_our_own_fault(
    field: str, op: Op, value: str | int
) -> None:
    with pytest.raises(AssertionError, match="a tree"):
        compile_matcher(Term(field, op, value))


@given(events())
def test_the_events_that_tests_draw_are_valid(event: Event) -> None:
    assert checked(event) == event


def test_a_term_for_an_address_must_hold_a_range() -> None:
    with pytest.raises(AssertionError):
        ip_ranges("somewhere")
