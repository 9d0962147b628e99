from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodid.cli.text import csv_cell, one_line, pointed_at, safe_json, visible, width
from whodid.errors import QuerySyntaxError

HOSTILE = "\x1b[2J\x07\x9b31m\u202eevil\u2066\u200b\ufeff\x7f\x00\ud800\U000e0041"


def is_harmless(text: str) -> bool:
    return all(char.isprintable() or char in "\u200c\u200d\xa0\u2003" for char in text)


def test_nothing_that_moves_the_cursor_or_turns_the_text_is_left() -> None:
    assert is_harmless(visible(HOSTILE))
    assert "‹U+001B›[2J" in visible(HOSTILE)
    assert "‹U+202E›evil" in visible(HOSTILE)


@given(st.text())
def test_whatever_a_value_holds_it_is_shown_harmlessly(text: str) -> None:
    assert all(
        char.isprintable() or char in "\u200c\u200d" or char.isspace() for char in visible(text)
    )
    assert not set(visible(text)) & set("\n\r\t\x0b\x0c\x1c\x1d\x1e\x1f\x85\u2028\u2029")


@pytest.mark.parametrize("text", ["Žana Petrović", "日本語", "שלום", "می‌خواهم", "👩‍💻", "a\xa0b"])
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_a_combining_mark_does_not_climb_onto_its_neighbour() -> None:
    assert visible("\u0301a") == "\u25cc\u0301a"


def test_a_row_has_no_line_breaks() -> None:
    assert one_line("a\r\nb\nc\td") == "a b c d"


def test_the_width_counts_columns() -> None:
    assert [width(text) for text in ("abc", "日本", "e\u0301", "")] == [3, 4, 1, 0]


@pytest.mark.parametrize(
    ("query", "position", "length", "carets"),
    [
        ("actr:alice", 0, 4, "^^^^"),
        ("a b:c", 2, 2, "  ^^"),
        ("日本 x:", 3, 2, "     ^^"),
        ("\x1b x:", 2, 2, " " * (len("‹U+001B›") + 1) + "^^"),
        ("a:", 2, 1, "  ^"),
        ("a:", 99, 1, "  ^"),
    ],
)
def test_the_caret_stands_under_the_fault(
    query: str, position: int, length: int, carets: str
) -> None:
    error = QuerySyntaxError("x", "m", position=position, length=length, suggestion="try b")

    lines = pointed_at(query, error).split("\n")

    assert lines == ["  " + one_line(query), "  " + carets, "  try b"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert csv_cell(text)[:1] in ("'", "‹")


def test_other_cells_stay() -> None:
    assert [csv_cell(value) for value in ("a=1", None, 7, "")] == ["a=1", "", "7", ""]


@given(st.recursive(st.text() | st.integers(), st.lists))
def test_json_keeps_its_values_and_loses_what_is_unprintable(value: object) -> None:
    data = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")

    text = safe_json(data)

    assert json.loads(text) == json.loads(data)
    assert is_harmless(text.replace("\n", ""))
