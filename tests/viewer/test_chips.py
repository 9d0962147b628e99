"""The search as chips."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.strategies import query_texts, stored_events
from tests.viewer.conftest import Keep, View
from tests.viewer.html import Element, query_of
from whodid.errors import QuerySyntaxError
from whodid.query.ast import Node, Not, all_of
from whodid.query.evaluate import matches
from whodid.query.parse import parse
from whodid.testing import NOON, an_event, minutes
from whodid.viewer.terms import Terms


def meaning(text: str) -> Node:
    return parse(text, now=NOON).node


def chips(page: Element) -> list[str]:
    return [
        " ".join(chip.text.split())
        for chip in page.one("ul", class_="chips").all("li", class_="chip")
    ]


def test_each_term_is_a_chip_and_the_text_stays_in_the_box(view: View, keep: Keep) -> None:
    keep(an_event(occurred_at=str(minutes(-1))))
    text = 'alice -outcome:failure,denied "new role" (a OR b) NOT app:x'
    page = view(q=text)

    assert chips(page) == [
        "alice",
        "notoutcome:failure,denied",
        '"new role"',
        "(a OR b)",
        "notapp:x",
    ]
    assert page.one("input", id="q").attributes["value"] == text


def test_a_chip_is_removed_by_a_link(view: View) -> None:
    page = view(q="alice -outcome:failure app:x", range="30d")

    assert query_of(page.link("Remove outcome:failure")) == {"q": "alice app:x", "range": "30d"}
    assert query_of(page.link("Clear all")) == {"range": "30d"}


def test_a_chip_is_turned_into_its_opposite_by_a_link(view: View) -> None:
    page = view(q="alice -outcome:failure")
    turned = view(page.link("Rule out alice instead"))

    assert chips(turned) == ["notalice", "notoutcome:failure"]
    assert query_of(turned.link("Demand alice instead"))["q"] == "alice -outcome:failure"


def test_a_chip_names_whom_it_knows(view: View, keep: Keep) -> None:
    keep(
        an_event(
            actor={"type": "user", "id": "u1", "name": "Ana"},
            tenant={"id": "acme", "name": "Acme Ltd"},
            occurred_at=str(minutes(-1)),
        )
    )

    assert chips(view(q="actor.id:u1 tenant:acme")) == ["actor.id:Ana", "tenant:Acme Ltd"]


def test_without_a_search_there_are_no_chips(view: View, keep: Keep) -> None:
    keep(an_event(occurred_at=str(minutes(-1))))

    assert not view().all("ul", class_="chips")


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("a b", 0, "-a b"),
        ("-a b", 0, "a b"),
        ("NOT a b", 0, "a b"),
        ("a OR b", 0, "-(a OR b)"),
        ("-(a OR b) c", 0, "(a OR b) c"),
        ('"a b" x:y', 0, '-"a b" x:y'.replace("x:y", "app:y")),
    ],
)
def test_a_term_is_negated(text: str, place: int, expected: str) -> None:
    assert Terms(text.replace("x:y", "app:y"), parse=meaning).negated(place) == expected


@given(query_texts(), st.data())
def test_negating_and_removing_mean_what_they_say(text: str, data: st.DataObject) -> None:
    stored = data.draw(stored_events())
    try:
        terms = Terms(text, parse=meaning)
    except QuerySyntaxError:
        assume(False)
    assume(len(terms))
    place = data.draw(st.integers(0, len(terms) - 1))
    chosen = meaning(terms.text(place))
    try:
        others = meaning(terms.without_place(place))
        negated = meaning(terms.negated(place))
    except QuerySyntaxError:  # more than a search may hold
        assume(False)

    assert matches(all_of(others, chosen), stored) == matches(meaning(text), stored)
    assert matches(negated, stored) == matches(all_of(others, Not(chosen)), stored)
