"""What changed between two values."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from tests.viewer.conftest import Keep
from whodid.testing import EVERYTHING, NOON, an_event, minutes
from whodid.viewer import Request, Viewer
from whodid.viewer.diffs import MAX_DIFFERENCES, MAX_LINES, Line, compare, matching_blocks


def told(line: Line) -> list[tuple[str, str]]:
    return [(piece.text, piece.kind) for piece in line.pieces]


@pytest.mark.parametrize(
    ("old", "new", "pieces"),
    [
        (
            "Mail all to Ana",
            "Mail none to Ana",
            [("Mail ", "same"), ("all", "old"), ("none", "new"), (" to Ana", "same")],
        ),
        ("cat", "dog", [("cat", "old"), ("dog", "new")]),
        ("ops_lead", "admin", [("ops_lead", "old"), ("admin", "new")]),
        ("same", "same", [("same", "same")]),
        (["a"], ["a", "b"], [("a", "same"), ("b", "new")]),
        (["a", "b"], ["b"], [("a", "old"), ("b", "same")]),
        (500, UNSET, [("500", "old")]),
        (UNSET, None, [("null", "new")]),
        ("", "x", [("empty", "old"), ("x", "new")]),
        (True, False, [("true", "old"), ("false", "new")]),
        ([], ["a"], [("[]", "old"), ('["a"]', "new")]),
        (UNSET, [{"id": "1", "name": "new"}], [("new", "new")]),
        ([{"id": "1", "name": "a"}, {"id": "4", "name": ""}], UNSET, [("a, 4", "old")]),
        ([], [{"id": 1, "name": "a"}], [("empty", "old"), ("a", "new")]),
        (
            [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
            [{"id": 1, "name": "a"}],
            [("a", "same"), ("b", "old")],
        ),
        (
            [{"id": 1, "name": "a"}],
            [{"id": 2, "name": "a"}],
            [("a (1)", "old"), ("a (2)", "new")],
        ),
        ({"a": 1}, "a", [('{"a":1}', "old"), ("a", "new")]),
        ("x " * 1_000, "y " * 1_000, [("x " * 1_000, "old"), ("y " * 1_000, "new")]),
    ],
)
def test_a_change_is_told_by_word_and_never_by_letter(
    old: Any, new: Any, pieces: list[tuple[str, str]]
) -> None:
    [line] = compare(old, new)

    assert told(line) == pieces


def test_of_objects_the_members_that_differ_are_told_by_their_path() -> None:
    lines = compare(
        {"a": 1, "b": {"c": "to all", "d": 2}, "gone": [1]},
        {"a": 1, "b": {"c": "to none", "d": 2}, "come": {"x": None}},
    )

    assert [(line.path, told(line)) for line in lines] == [
        ("b.c", [("to ", "same"), ("all", "old"), ("none", "new")]),
        ("gone", [("[1]", "old")]),
        ("come.x", [("null", "new")]),
    ]


def test_true_is_not_one() -> None:
    [line] = compare({"a": 1, "b": 1}, {"a": True, "b": 1})

    assert told(line) == [("1", "old"), ("true", "new")]


def test_an_object_of_very_many_members_is_shown_whole() -> None:
    [line] = compare(
        {str(n): n for n in range(MAX_LINES + 1)}, {str(n): -n - 1 for n in range(MAX_LINES + 1)}
    )

    assert line.is_whole
    assert len(line.pieces) == 2


def test_a_line_knows_both_sides() -> None:
    [line] = compare("Mail all to Ana", "Mail none to Ana")

    assert "".join(piece.text for piece in line.before) == "Mail all to Ana"
    assert "".join(piece.text for piece in line.after) == "Mail none to Ana"


_WORDS = st.lists(st.sampled_from("abc"), max_size=12)


@given(_WORDS, _WORDS)
def test_what_both_have_is_a_longest_common_subsequence(
    before: list[str], after: list[str]
) -> None:
    blocks = matching_blocks(before, after)

    assert blocks is not None
    here = there = 0
    for start, other, length in blocks:
        assert length > 0
        assert start >= here
        assert other >= there
        assert before[start : start + length] == after[other : other + length]
        here, there = start + length, other + length
    assert sum(length for *_, length in blocks) == _longest_common(before, after)


def _longest_common(before: list[str], after: list[str]) -> int:
    row = [0] * (len(after) + 1)
    for word in before:
        above = row
        row = [0]
        for place, other in enumerate(after):
            row.append(above[place] + 1 if word == other else max(above[place + 1], row[-1]))
    return row[-1]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab \n,", max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("kl.", max_size=2), inner),
    max_leaves=12,
)


@given(st.text("ab \n.", max_size=40), st.text("ab \n.", max_size=40))
def test_nothing_of_a_text_is_lost(old: str, new: str) -> None:
    [line] = compare(old, new)

    assert "".join(piece.text for piece in line.before) == (old or "empty")
    assert "".join(piece.text for piece in line.after) == (new or "empty")


@given(_JSON, _JSON)
def test_any_two_values_can_be_told(old: Any, new: Any) -> None:
    assert compare(old, new)


def test_more_differences_than_a_reader_waits_for_are_not_compared() -> None:
    few, many = MAX_DIFFERENCES // 2, MAX_DIFFERENCES

    assert matching_blocks(["x"] * few, ["y"] * few) == []
    assert matching_blocks(["x"] * many, ["y"] * many) is None


# As large as an event may be: 64 KiB for both values and everything around them.
HOSTILE: dict[str, tuple[Any, Any]] = {
    "no word in common": (
        " ".join(f"a{n}" for n in range(4_500)),
        " ".join(f"b{n}" for n in range(4_500)),
    ),
    "one word again and again": ("a " * 15_000, "a b " * 7_500),
    "in another order": ("x y " * 7_500, "y x " * 7_500),
    "signs only": ("!" * 30_000, "!?" * 15_000),
    "invisible characters": ("\u202e\u2066" * 5_000, "\u2066\u202e" * 5_000),
    "marks on marks": ("e\u0301\u0302\u0303\u0304" * 3_300, "o\u0301\u0302\u0303\u0304" * 3_300),
    "letters only": ("a" * 30_000, "b" * 30_000),
    "a list": ([str(n) for n in range(3_000)], [str(-n) for n in range(3_000)]),
    "an object": ({f"k{n}": "a" for n in range(2_000)}, {f"k{n}": "b" for n in range(2_000)}),
}


@pytest.mark.parametrize("kind", list(HOSTILE))
def test_the_page_of_a_hostile_change_takes_less_than_100_ms(
    kind: str, keep: Keep, viewer: Viewer
) -> None:
    old, new = HOSTILE[kind]
    [event_id] = keep(
        an_event(changes=[{"path": "a", "old": old, "new": new}], occurred_at=str(minutes(-1)))
    )

    def taken_s() -> float:
        started = time.process_time()
        asked = Request(path=f"/events/{event_id}", access=EVERYTHING)
        assert viewer.handle(asked, now=NOON).status == 200
        return time.process_time() - started

    assert min(taken_s() for _ in range(3)) < 0.1
