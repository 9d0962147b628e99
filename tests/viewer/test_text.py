"""How values become HTML."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.viewer.html import read
from whodid.viewer.text import brief, flat, initials, leaves, pretty_json, shown, told, visible


def test_markup_in_a_value_is_only_text() -> None:
    assert shown("<b>&\"'") == "<bdi>&lt;b&gt;&amp;&#34;&#39;</bdi>"


@pytest.mark.parametrize(
    ("character", "mark"),
    [
        ("\u202e", "‹U+202E›"),
        ("\u2066", "‹U+2066›"),
        ("\u200b", "‹U+200B›"),
        ("\ufeff", "‹U+FEFF›"),
        ("\x00", "‹U+0000›"),
        ("\x1b", "‹U+001B›"),
        ("\u2028", "‹U+2028›"),
        ("\U000e0041", "‹U+E0041›"),
    ],
)
def test_what_cannot_be_seen_gets_a_mark(character: str, mark: str) -> None:
    html = visible(f"a{character}b")

    assert character not in html
    assert read(html.encode()).text == f"a{mark}b"
    assert character not in flat(f"a{character}b")


def test_joiners_that_scripts_need_stay() -> None:
    persian, family = "می\u200cخواهم", "👩\u200d💻"

    assert visible(persian) == persian
    assert visible(family) == family


def test_accents_that_pile_up_are_counted_instead_of_drawn() -> None:
    assert (
        read(visible("Z" + "\u0301" * 40 + "y").encode()).text
        == "Z" + "\u0301" * 3 + "‹+37 accents›y"
    )
    assert visible("Zo\u0308\u0301\u0323e") == "Zo\u0308\u0301\u0323e"


def test_a_mark_at_the_beginning_does_not_climb_onto_its_neighbour() -> None:
    assert visible("\u0301a") == "\u25cc\u0301a"


@given(st.text())
def test_a_value_reads_as_it_is_but_for_its_marks(text: str) -> None:
    page = read(shown(text).encode("utf-8", "replace"))

    assert [element.tag for element in page][1] == "bdi"
    assert {element.tag for element in page} <= {"", "bdi", "span"}
    if text.isprintable() and not any(element.tag == "span" for element in page):
        assert page.raw_text.removeprefix("\u25cc") == text.removeprefix("\u25cc")


def test_a_long_value_is_cut_in_a_row() -> None:
    html = brief("a" * 64_000)

    assert len(html) < 300
    assert html.endswith("…</bdi>")


def test_what_was_masked_before_it_was_stored_is_hatched() -> None:
    html = shown("Bearer [masked]")

    assert html == '<bdi>Bearer <span class="mask">•••• masked</span></bdi>'
    assert "[masked]" in pretty_json(b'{"token":"[masked]"}')


def test_lines_become_one_in_a_row() -> None:
    assert "\n" not in brief("one\ntwo")


@pytest.mark.parametrize(
    ("name", "letters"),
    [
        ("Ana García", "AG"),
        ("ana.garcia@example.com", "AG"),
        ("Ana", "A"),
        ("Anna Maria von Trapp", "AT"),
        ("山田 太郎", "山太"),
        ("usr_0417", "U0"),
        ("", ""),
        ("<script>", ""),
        ("\u202e", ""),
    ],
)
def test_initials_are_first_letters_of_names(name: str, letters: str) -> None:
    assert initials(name) == letters


def test_the_leaves_of_a_value_have_paths() -> None:
    value = {"a": {"b": 1, "c": []}, "d": [{"e": None}, 2], "f": ["x", "y"]}

    assert list(leaves(value)) == [
        ("a.b", 1),
        ("a.c", []),
        ("d[0].e", None),
        ("d[1]", 2),
        ("f", ["x", "y"]),
    ]


def test_json_is_shown_on_lines_with_its_keys_marked() -> None:
    page = read(pretty_json(b'{"a":"<i>","b":{"c: d":[1]}}').encode())

    assert [key.text for key in page.all("span", class_="k")] == ['"a"', '"b"', '"c: d"']
    assert page.raw_text.startswith('{\n  "a": "<i>",\n')


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            [{"id": "1", "name": "new"}, {"id": "4", "name": ""}, {"id": 7, "name": None}],
            "new, 4, 7",
        ),
        ([{"id": "1", "name": "new", "more": 1}], '[{"id":"1","name":"new","more":1}]'),
        ([], "[]"),
        ("a", "a"),
    ],
)
def test_linked_objects_are_told_by_name_and_all_else_as_it_is(
    value: object, expected: str
) -> None:
    assert told(value) == expected
