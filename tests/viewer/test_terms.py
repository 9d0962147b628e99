"""Terms that filters add to a search and take from it."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.strategies import query_texts, stored_events
from whodid.errors import QuerySyntaxError
from whodid.query.ast import Node, Not, Query, all_of
from whodid.query.evaluate import matches
from whodid.query.parse import parse
from whodid.testing import NOON
from whodid.viewer.terms import Terms, spell


def meaning(text: str) -> Node:
    return parse(text, now=NOON).node


def terms(text: str) -> Terms:
    return Terms(text, parse=meaning)


@pytest.mark.parametrize(
    ("text", "field", "value", "expected"),
    [
        ("", "outcome", "failure", "outcome:failure"),
        ("alice", "outcome", "failure", "alice outcome:failure"),
        ("outcome:failure", "outcome", "denied", "outcome:failure,denied"),
        ("RESULT:failure x", "outcome", "denied", "RESULT:failure,denied x"),
        ("-outcome:failure", "outcome", "failure", "outcome:failure"),
        ("-outcome:failure,error", "outcome", "failure", "-outcome:error outcome:failure"),
        ("NOT outcome:failure", "outcome", "denied", "NOT outcome:failure outcome:denied"),
        ("a OR b", "outcome", "failure", "(a OR b) outcome:failure"),
        ("(a OR b)", "outcome", "failure", "(a OR b) outcome:failure"),
        ("a AND b", "app", "billing", "a b app:billing"),
        ('target:"Order #5"', "app", "x y", 'target:"Order #5" app:"x y"'),
        ("severity:>=high", "severity", "low", "severity:low"),
        ("country:*", "country", "NO", "country:NO"),
        ("country:no", "country", "NO", "country:NO"),
        ("action:=user.login", "action", "user.logout", "action:=user.login,user.logout"),
        ('app:"a, b"', "app", "c", 'app:"a, b",c'),
    ],
)
def test_a_value_is_demanded(text: str, field: str, value: str, expected: str) -> None:
    assert terms(text).including(field, value) == expected


@pytest.mark.parametrize(
    ("text", "field", "value", "expected"),
    [
        ("", "outcome", "failure", "-outcome:failure"),
        ("outcome:failure", "outcome", "failure", "-outcome:failure"),
        ("outcome:failure,denied x", "outcome", "failure", "outcome:denied x -outcome:failure"),
        ("-outcome:failure", "outcome", "denied", "-outcome:failure,denied"),
        ("-severity:>=high", "severity", "low", "-severity:>=high -severity:low"),
        ("a OR b", "ip", "2001:db8::1", "(a OR b) -ip:2001:db8::1"),
        ("", "ip", "::1", '-ip:"::1"'),
    ],
)
def test_a_value_is_ruled_out(text: str, field: str, value: str, expected: str) -> None:
    assert terms(text).excluding(field, value) == expected


def test_a_value_is_let_go() -> None:
    search = terms('country:de,fr alice -app:"x y"')

    assert search.without("country", "DE") == 'country:fr alice -app:"x y"'
    assert search.without("app", "x y") == "country:de,fr alice"
    assert search.without_fields("country", "app") == "alice"


def test_alternatives_are_one_term_that_is_not_taken_apart() -> None:
    search = terms("outcome:failure OR outcome:denied")

    assert search.state("outcome", "failure") is None
    assert search.fields() == set()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("angstr", ["target:*angstr*", "actor:*angstr*"]),
        ("app:x ång -cat", ["app:x target:*ång* -cat", "app:x actor:*ång* -cat"]),
        ("actor:angstr app:x", ["actor:*angstr* app:x"]),
        ("target:a.b-c", ["target:*a.b-c*"]),
        *((text, []) for text in ("a", '"a b"', "-cat", "actor:a*", "actor:a,b", "(ab OR cd)", "")),
    ],
)
def test_a_word_that_is_found_whole_can_be_a_part_of_a_name(text: str, expected: list[str]) -> None:
    found = terms(text).loosened()

    assert [search for _, search in found] == expected
    for _, search in found:
        meaning(search)


@pytest.mark.parametrize("value", ["high", "low"])
def test_a_comparison_names_no_value(value: str) -> None:
    assert terms("severity:>=high").state("severity", value) is None


_AWKWARD = ('"', "\\", "a,b", "x*", "-", "a..b", "(", "NOT", "OR", ">5", "=x", "a:b")
_VALUES = st.one_of(st.text(min_size=1, max_size=20), st.sampled_from(_AWKWARD))
_FIELDS = st.sampled_from(
    ["action", "actor.id", "app", "country", "session", "request", "target.id"]
)


@given(_FIELDS, _VALUES)
def test_a_spelled_value_is_exactly_this_value(field: str, value: str) -> None:
    assume(not any("\ud800" <= character <= "\udfff" for character in value))
    added = terms("alice").including(field, value)

    assert terms(added).state(field, value) == "included"
    assert terms(added).without(field, value) == "alice"


@given(query_texts(), _FIELDS, st.sampled_from(["user.login", "7", "NO", "a b", "é"]), st.data())
def test_adding_and_taking_change_nothing_else(
    text: str, field: str, value: str, data: st.DataObject
) -> None:
    stored = data.draw(stored_events())
    try:
        before = meaning(text)
        apart = terms(text)
        excluding, including = apart.excluding(field, value), apart.including(field, value)
        after = meaning(excluding)
    except QuerySyntaxError:  # more than a search may hold
        assume(False)
    term = meaning(spell(field, value))

    if apart.state(field, value) is None:
        assert matches(after, stored) == matches(all_of(before, Not(term)), stored)
        if field not in apart.fields():
            assert matches(meaning(including), stored) == matches(all_of(before, term), stored)
            assert matches(meaning(terms(including).without(field, value)), stored) == matches(
                before, stored
            )


def test_a_search_is_read_at_the_page_s_moment() -> None:
    query: Query = parse("created:today", now=NOON)

    assert terms("created:today app:x").without("app", "x") == query.text
