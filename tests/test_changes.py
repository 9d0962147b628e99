"""Before and after give the list of changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from whodid.changes import MAX_CHANGES, changes_of, diff
from whodid.event import Change

_snapshots = st.dictionaries(
    st.sampled_from("abcdef"), st.none() | st.integers(-5, 5) | st.text(max_size=3)
)


def test_what_is_equal_is_no_change() -> None:
    assert diff({"a": 1, "b": [1]}, {"a": 1, "b": [1]}) == []


def test_a_field_that_came_went_or_changed_is_one() -> None:
    assert diff({"a": 1, "b": 2}, {"b": 3, "c": None}) == [
        Change(path="b", old=2, new=3),
        Change(path="c", new=None),
        Change(path="a", old=1),
    ]


def test_another_type_is_another_value() -> None:
    assert diff({"a": 1}, {"a": True}) == [Change(path="a", old=1, new=True)]


@given(_snapshots, _snapshots)
def test_the_changes_lead_from_one_snapshot_to_the_other(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    replayed = dict(before)
    for change in diff(before, after):
        assert replayed.get(change.path, UNSET) == change.old
        if change.new is UNSET:
            del replayed[change.path]
        else:
            replayed[change.path] = change.new

    assert replayed == after


@pytest.mark.parametrize(
    "given",
    [
        {"status": ("draft", "sent")},
        {"status": ["draft", "sent"]},
        {"status": {"old": "draft", "new": "sent"}},
        [{"path": "status", "old": "draft", "new": "sent"}],
        [Change(path="status", old="draft", new="sent")],
        {"status": Change(path="status", old="draft", new="sent")},
    ],
)
def test_changes_may_be_given_in_several_forms(given: Any) -> None:
    assert changes_of(given) == (Change(path="status", old="draft", new="sent"),)


@pytest.mark.parametrize("given", [{"status": "sent"}, ["status"], [{"old": 1}]])
def test_any_other_form_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="expected"):
        changes_of(given)


def test_too_many_changes_end_with_how_many_there_were() -> None:
    made = changes_of({f"f{number}": (0, number) for number in range(MAX_CHANGES + 10)})

    assert len(made) == MAX_CHANGES
    assert (made[-1].new, made[-1].redacted) == ("11 more changes", "truncated")
