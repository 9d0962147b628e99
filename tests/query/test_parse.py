"""Every search becomes a tree or an error that says where; never anything else."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.strategies import NOW, events, instants, query_texts, quoted, stored_events, texts
from whodid.errors import QuerySyntaxError
from whodid.query import And, Node, Not, Or, Query, Term, Text, parse
from whodid.query.fields import (
    ALIASES,
    FIELDS,
    FLAGS_HAS,
    FLAGS_IS,
    MISSING_FLAGS,
    SUGAR,
    find_field,
    ip_ranges,
    nearest_name,
    read_time,
)
from whodid.query.words import words
from whodid.times import Instant

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "query.json").read_bytes())
OSLO = ZoneInfo("Europe/Oslo")
ZONES = (
    UTC, OSLO, ZoneInfo("America/Havana"), ZoneInfo("Australia/Lord_Howe"),
    ZoneInfo("Pacific/Apia"), ZoneInfo("Asia/Kolkata"), ZoneInfo("America/Toronto"),
)  # fmt: skip
# `Any`, since it is JSON.
Json = Any


def read(text: str, *, zone: tzinfo = UTC) -> Query:
    return parse(text, now=NOW, zone=zone)


def tree(text: str, *, zone: tzinfo = UTC) -> Node:
    return read(text, zone=zone).node


def refusal(text: str) -> QuerySyntaxError:
    with pytest.raises(QuerySyntaxError) as caught:
        read(text)
    return caught.value


def attempt(text: str, *, zone: tzinfo = UTC) -> Query | QuerySyntaxError:
    try:
        return read(text, zone=zone)
    except QuerySyntaxError as error:
        return error


def in_json(node: Node) -> Json:
    """A tree in the shape of the vectors."""
    match node:
        case Text(text, phrase):
            return {"text": text, "phrase": phrase}
        case Not(term):
            return {"not": in_json(term)}
        case And(terms):
            return {"and": [in_json(term) for term in terms]}
        case Or(terms):
            return {"or": [in_json(term) for term in terms]}
        case Term(field, op, value):
            written = list(value) if isinstance(value, tuple) else value
            return {"field": field, "op": op, "value": written}


def meaning(given: Json) -> Json:
    """The same tree with one spelling for what means the same."""
    if "field" not in given:
        return {
            key: [meaning(item) for item in value]
            if isinstance(value, list)
            else meaning(value)
            if isinstance(value, dict)
            else value
            for key, value in given.items()
        }
    field, op, value = given["field"], given["op"], given["value"]
    if field == "action" and op == ":" and value.endswith(".*") and "*" not in value[:-1]:
        return {"field": field, "op": "prefix", "value": value[:-2]}
    if FIELDS.get(field) and FIELDS[field].kind == "enum" and op == ":":
        op = "="
    if isinstance(value, list):
        value = [moment(item) if isinstance(item, str) else item for item in value]
    return {"field": field, "op": op, "value": value}


def moment(text: str) -> Instant:
    return Instant.of(datetime.fromisoformat(text))


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["q"])
def test_an_accepted_search_has_the_tree_of_its_vector(vector: Json) -> None:
    zone = ZoneInfo(vector.get("zone", "UTC"))

    query = parse(vector["q"], now=moment(VECTORS["now"]), zone=zone)

    assert meaning(in_json(query.node)) == meaning(vector["ast"])
    assert query.text == vector["q"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["q"][:40])
def test_a_refused_search_says_what_where_and_what_instead(vector: Json) -> None:
    error = refusal(vector["q"])

    assert {
        "q": vector["q"],
        "code": error.code,
        "position": error.position,
        "length": error.length,
        "message": error.message,
        "hint": error.suggestion,
    } == vector


# ---- for every text


# Letters that the grammar knows, so that most texts nearly are searches.
_signs = st.sampled_from(
    [
        *("(", ")", '"', "\\", "-", ",", ":", "*", "..", "<", ">=", "=", " ", "\t"),
        *("OR", "AND", "NOT", "actor", "created", "status", "ip", "is", "meta.a", "new."),
        *(
            "2026-03-29",
            "7d",
            "1e9",
            "10.0",
            "\u202e",
            "\x00",
            "\ud800",
            "é",
            "東",
            "\u0301",
            "٣",
            "９",
        ),
    ]
)
anything = st.one_of(
    st.text(),
    st.text(st.characters(), max_size=50),  # with surrogates
    st.lists(_signs, max_size=40).map("".join),
    st.lists(st.sampled_from(sorted({*FIELDS, *ALIASES, *SUGAR})), max_size=3).flatmap(
        lambda names: st.text(max_size=20).map(lambda rest: ":".join([*names, rest]))
    ),
)


@given(anything, st.sampled_from(ZONES))
@example("created:" + "9" * 1900, UTC)
@example("duration:" + "9" * 1000 + "." + "9" * 900, UTC)
@example("ip:" + ":" * 1900, UTC)
@example("created:0001-01-01..9999-12-31", OSLO)
@example("created:0001-01-01T00:00+14:00", UTC)
@example("created:9999-12-31T23:59-14:00", UTC)
@example("a\ud800", UTC)
@example("new.\x00\u202e:", UTC)
def test_any_text_is_a_search_or_a_syntax_error(text: str, zone: tzinfo) -> None:
    found = attempt(text, zone=zone)

    assert found.text == text if isinstance(found, Query) else is_told(found, text)


def is_told(error: QuerySyntaxError, text: str) -> bool:
    """Can the error be shown below the text?"""
    str(error).encode()
    return (
        0 <= error.position <= len(text)
        and 1 <= error.length <= max(len(text) - error.position, 1)
        and error.code.isidentifier()
        and error.message.isprintable()
    )


@given(st.data())
def test_every_search_made_from_events_is_accepted(data: st.DataObject) -> None:
    found = data.draw(st.lists(stored_events(events()), max_size=2))

    read(data.draw(query_texts(found)))


@given(query_texts(), query_texts())
def test_a_blank_binds_tighter_than_or(left: str, right: str) -> None:
    if not left.strip() or not right.strip():
        return

    assert tree(f"({left}) x OR y ({right})") == tree(f"(({left}) AND x) OR (y AND ({right}))")


@given(query_texts())
def test_blanks_around_a_search_mean_nothing(text: str) -> None:
    assert tree(f" \t\u00a0{text}\n") == tree(text)


@given(texts.filter(words))
def test_any_words_in_quotes_are_searched_as_text(text: str) -> None:
    assert tree(quoted(text)) == Text(text, phrase=True)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 2000,
        '"' + "\\" * 1999,
        "-" * 2000,
        "a" * 2000,
        "NOT " * 500,
        "actor:" + "*a" * 997,
        "created:" + "1" * 1992,
        "ip:" + "1:" * 998,
        "(a OR " * 333,
        "a," * 1000,
        "tag:" + "a," * 998,
        "a:" * 1000,
        "." * 2000,
    ],
)
def test_the_longest_searches_are_read_at_once(text: str) -> None:
    started = time.perf_counter()

    attempt(text)

    assert time.perf_counter() - started < 1


# ---- limits


def test_a_hundred_terms_are_accepted_and_one_more_is_not() -> None:
    read("tag:" + ",".join("a" * 50) + " b" * 50)

    error = refusal("tag:" + ",".join("a" * 50) + " b" * 51)

    assert (error.code, error.position) == ("too_many_terms", 204)


def test_twenty_levels_are_accepted_and_one_more_is_not() -> None:
    read("(" * 20 + "a" + ")" * 20)
    read("NOT " * 10 + "-" * 10 + "a")

    assert refusal("NOT " * 10 + "(" * 11 + "a").code == "too_deep"


def test_two_thousand_characters_are_accepted_and_one_more_is_not() -> None:
    assert tree("a" * 2000) == Text("a" * 2000)
    assert refusal("a" * 2001).code == "too_long"


# ---- fields


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_every_field_can_be_asked_for_or_names_its_values(name: str) -> None:
    if FIELDS[name].kind == "flag":
        assert refusal(f"{name}:*").suggestion == "one of " + ", ".join(FIELDS[name].values)
    else:
        assert tree(f"{name.upper()}:*") == Term(name, "exists", True)


@pytest.mark.parametrize(("alias", "name"), sorted(ALIASES.items()))
def test_an_alias_means_its_field(alias: str, name: str) -> None:
    assert tree(f"{alias}:*") == tree(f"{name}:*")
    assert find_field(f"{alias}.id") == find_field(f"{name}.id")


@pytest.mark.parametrize("name", [n for n in FIELDS if FIELDS[n].kind in ("enum", "level", "flag")])
def test_every_value_of_a_closed_list_is_accepted_in_any_case(name: str) -> None:
    for value in FIELDS[name].values:
        assert tree(f"{name}:{value.upper()}") == Term(name, "=", value)
    assert refusal(f"{name}:nonsense").code == "unknown_value"


@pytest.mark.parametrize("flag", sorted(MISSING_FLAGS))
def test_a_state_beside_the_event_is_refused_and_never_false(flag: str) -> None:
    error = refusal(f"-{flag.upper()}")

    assert error.code == "not_available"
    assert f"{flag} needs" in error.message


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_only_what_has_an_order_is_compared(name: str) -> None:
    if FIELDS[name].has_order:
        read(f"{name}:>={FIELDS[name].values[0] if FIELDS[name].values else '2026'}")
    else:
        assert refusal(f"{name}:>=x").code in ("not_ordered", "no_operator")


@pytest.mark.parametrize(
    ("unknown", "near"),
    [
        ("actr", "actor"),
        ("cretaed", "created"),
        ("STATSU", "status"),
        ("targt.name", "target.name"),
        ("usr.id", "user.id"),
        ("who.nme", "who.name"),
        ("mta.order.id", "meta.order.id"),
        ("http", None),
        ("x" * 5000, None),
    ],
)
def test_the_nearest_name_is_suggested(unknown: str, near: str | None) -> None:
    assert nearest_name(unknown) == near


def test_a_wildcard_in_a_closed_list_stands_for_the_values_that_fit() -> None:
    expected = Or((Term("outcome", "=", "failure"), Term("outcome", "=", "denied")))

    assert tree("outcome:f*,d*") == expected
    assert refusal("outcome:x*").code == "unknown_value"


def test_a_star_is_a_star_in_quotes_and_after_an_equals_sign() -> None:
    assert tree('actor.id:"4*"') == tree("actor.id:=4*") == Term("actor.id", "=", "4*")
    assert tree("actor.id:4*") == Term("actor.id", ":", "4*")
    assert tree("actor.id:**") == Term("actor.id", "exists", True)


def test_a_backslash_stands_for_itself_unless_it_protects_a_quote() -> None:
    assert tree(r'"C:\temp\\x \"y\""') == Text(r'C:\temp\x "y"', phrase=True)


def test_flags_are_those_that_evaluate_knows() -> None:
    assert set(FLAGS_HAS) | set(FLAGS_IS) == {*FIELDS["has"].values, *FIELDS["is"].values}


# ---- warnings


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("actor:alice actor:bob", "actor: given twice can never match both; use actor:alice,bob"),
        ("who:a AND by:b", "actor: given twice can never match both; use actor:a,b"),
        (
            'actor.name:"Ana Novak" actor.name:=b',
            'actor.name: given twice can never match both; use actor.name:"Ana Novak",b',
        ),
        (
            "-(outcome:success outcome:denied)",
            "outcome: given twice can never match both; use outcome:success,denied",
        ),
        (
            "x OR (action:user.login action:user.logout)",
            "action: given twice can never match both; use action:user.login,user.logout",
        ),
        (
            "ip:private ip:8.8.8.8",
            "ip: given twice can never match both; use ip:private,8.8.8.8/32",
        ),
        ("status:404 status:5..9", "status: given twice can never match both"),
        ("status:>500 status:<=500", "status: given twice can never match both"),
        ("status:404 status:500", "status: given twice can never match both; use status:404,500"),
        ("severity:>high severity:low,high", "severity: given twice can never match both"),
        ("created:2026-01 since:2026-02-01", "created: given twice can never match both"),
    ],
)
def test_what_can_never_match_is_warned_of(text: str, warning: str) -> None:
    assert read(text).warnings == (warning,)


@pytest.mark.parametrize(
    "text",
    [
        "actor:alice,bob",
        "actor:alice OR actor:bob",
        "actor:alice -actor:bob",
        "actor:alice actor:ALICE",
        "actor:a* actor:b",
        "actor:* actor:b",
        "actor:alice,bob actor:bob,carol",
        "tag:gdpr tag:hr",
        "target:a target:b",
        "changed:a changed:b",
        "action:user action:user.login",
        "action:user.login action:=user.login",
        "ip:10.0.0.0/8 ip:10.1.0.0/16",
        "status:>=400 status:<500",
        "status:>=400 status:<=400",
        "severity:>=high severity:critical",
        "since:2026-01-01 until:2026-01-01",
        "created:* created:7d",
        "tenant:acme tenant:Acme",
        "path:/a path:/b",
    ],
)
def test_what_can_match_is_not_warned_of(text: str) -> None:
    assert read(text).warnings == ()


# ---- times


def span(text: str, *, zone: tzinfo = UTC) -> tuple[object, ...]:
    node = tree(text, zone=zone)
    assert isinstance(node, Term)
    assert isinstance(node.value, tuple)
    return node.value


def hours(text: str, *, zone: tzinfo) -> float:
    start, end = span(text, zone=zone)
    assert isinstance(start, Instant)
    assert isinstance(end, Instant)
    return (end - start) / timedelta(hours=1)


@pytest.mark.parametrize(
    ("text", "zone", "length"),
    [
        ("created:2026-03-28", OSLO, 24),
        ("created:2026-03-29", OSLO, 23),
        ("created:2026-10-25", OSLO, 25),
        ("created:2026-03-29T02", OSLO, 0),
        ("created:2026-10-25T02", OSLO, 2),
        ("created:2026-10-25T02Z", OSLO, 1),
        ("created:2026-10-04", ZoneInfo("Australia/Lord_Howe"), 23.5),
        ("created:2011-12-30", ZoneInfo("Pacific/Apia"), 0),
        ("created:2026-03-08", ZoneInfo("America/Havana"), 23),
        ("created:2026-10-31", ZoneInfo("America/Havana"), 24),
        ("created:2026-11-01", ZoneInfo("America/Havana"), 25),
        ("created:1919-03-30", ZoneInfo("America/Toronto"), 23.5),
        ("created:1919-03-31", ZoneInfo("America/Toronto"), 23.5),
        ("created:2026-02", OSLO, 28 * 24),
        ("created:2028", UTC, 366 * 24),
    ],
)
def test_a_day_lasts_as_long_as_it_does_in_the_zone(text: str, zone: tzinfo, length: int) -> None:
    assert hours(text, zone=zone) == length


@given(st.dates(), st.sampled_from(ZONES))
def test_days_follow_each_other_without_gap_or_overlap(day: Any, zone: tzinfo) -> None:
    if day.year == 9999 or day.year == 1:
        return

    today = read_time(day.isoformat(), now=NOW, zone=zone)
    tomorrow = read_time((day + timedelta(days=1)).isoformat(), now=NOW, zone=zone)

    assert today.end == tomorrow.start


@given(instants(), st.sampled_from(ZONES))
def test_an_instant_lies_in_its_local_day_hour_minute_and_second(
    instant: Instant, zone: tzinfo
) -> None:
    if not 2 < instant.year < 9998:
        return
    local = instant.astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")

    for length in (4, 7, 10, 13, 16, 19):
        found = read_time(local[:length], now=NOW, zone=zone)
        assert found.start <= instant
        assert found.end is None or instant < found.end


@given(query_texts(), st.sampled_from(ZONES))
def test_a_zone_changes_nothing_but_times(text: str, zone: tzinfo) -> None:
    def without_times(node: Node) -> Node:
        match node:
            case Not(term):
                return Not(without_times(term))
            case And(terms):
                return And(tuple(map(without_times, terms)))
            case Or(terms):
                return Or(tuple(map(without_times, terms)))
            case Term(field, "range") if FIELDS.get(field) and FIELDS[field].kind == "time":
                return Term(field, "range", (None, None))
            case _:
                return node

    there = attempt(text, zone=zone)

    if isinstance(there, Query):
        assert without_times(there.node) == without_times(tree(text))
    else:  # from a local time to one with an offset may be backwards in another zone
        assert there.code == "bad_range"


@given(instants(), st.sampled_from(ZONES))
def test_a_time_with_offset_means_the_same_in_every_zone(instant: Instant, zone: tzinfo) -> None:
    assert tree(f"created:{instant}", zone=zone) == tree(f"created:{instant}")
    assert tree(f"created:>={instant}", zone=zone) == Term("created", "range", (instant, None))


@given(st.integers(0, 500), st.sampled_from("mhdw"), st.sampled_from(ZONES))
def test_a_length_of_time_is_counted_back_from_now(count: int, unit: str, zone: tzinfo) -> None:
    length = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
    length["w"] = timedelta(weeks=1)

    assert span(f"created:{count}{unit}", zone=zone) == (NOW - count * length[unit], NOW)
    assert tree(f"created:-{count}{unit}") == tree(f"created:{count}{unit}")


@pytest.mark.parametrize(
    ("now", "text", "expected"),
    [
        ("2026-03-31T10:00:00Z", "1mo", "2026-02-28T10:00:00Z"),
        ("2024-02-29T10:00:00Z", "1y", "2023-02-28T10:00:00Z"),
        ("2026-03-31T10:00:00Z", "12mo", "2025-03-31T10:00:00Z"),
        ("2026-01-31T10:00:00Z", "0mo", "2026-01-31T10:00:00Z"),
        ("2026-01-01T00:00:00Z", "2025y", "0001-01-01T00:00:00Z"),
    ],
)
def test_months_and_years_go_by_the_calendar(now: str, text: str, expected: str) -> None:
    found = read_time(text, now=Instant.parse(now), zone=UTC)

    assert found.start == Instant.parse(expected)


@pytest.mark.parametrize("zone", ZONES)
def test_the_ends_of_time_are_open_and_not_an_overflow(zone: tzinfo) -> None:
    for text in ("created:9999", "created:9999-12-31", "created:>=9999-12-31T23:59:59.999999"):
        start, end = span(text, zone=zone)
        assert isinstance(start, Instant)
        assert end is None or isinstance(end, Instant)
    for text in ("created:0001", "created:<0001-01-01", "created:>9999-12-31", "created:<=9999"):
        read(text, zone=zone)


def test_nothing_comes_after_the_end_of_time() -> None:
    start, end = span("created:>9999-12-31")

    assert start == end


def test_a_range_includes_both_literals() -> None:
    start, end = span("created:2026-01..2026-03", zone=OSLO)

    assert start == Instant.parse("2025-12-31T23:00:00Z")
    assert end == Instant.parse("2026-03-31T22:00:00Z")


# ---- addresses


def test_private_and_public_divide_all_addresses() -> None:
    for size in (4, 16):
        pairs = sorted(
            pair
            for name in ("private", "public")
            for pair in ip_ranges(name)
            if len(pair[0]) == size
        )
        assert pairs[0][0] == b"\0" * size
        assert pairs[-1][1] == b"\xff" * size
        for (_, last), (first, _) in pairwise(pairs):
            assert int.from_bytes(last, "big") + 1 == int.from_bytes(first, "big")


@given(st.ip_addresses(), st.integers(0, 128))
def test_a_range_holds_its_address_and_is_canonical(address: Any, bits: int) -> None:
    bits = min(bits, address.max_prefixlen)
    if address.version == 6 and address.ipv4_mapped:
        return

    node = tree(f"ip:{address}/{bits}")

    assert isinstance(node, Term)
    [(first, last)] = ip_ranges(str(node.value))
    assert first <= address.packed <= last
    assert tree(f"ip:{node.value}") == node
    size = int.from_bytes(last, "big") - int.from_bytes(first, "big") + 1
    assert size == 1 << (address.max_prefixlen - bits)
