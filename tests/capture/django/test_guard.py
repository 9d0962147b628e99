"""What stands around Django's statements lets every one of them through as it was."""

# Names of the module's own are looked at, where what they hold can't be seen from outside.
# mypy: disable-error-code="attr-defined"

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from tests.capture.django.site import actions, one
from whodid.capture.django import guard
from whodid.event import Event

Told = Callable[[], list[Event]]


class Composed:
    """A statement that is no text, as psycopg's are."""

    def __init__(self, text: str) -> None:
        self.text = text

    def as_string(self, context: object) -> str:
        """The same as text."""
        return self.text


class Unreadable:
    """One that can't be read but by the database."""

    text = "DELETE FROM auth_group"

    def as_string(self, context: object) -> str:
        raise RuntimeError("no connection")


def _as_text(execute: Callable[..., Any], sql: Any, *rest: Any) -> Any:
    """What a driver does with statements of its own."""
    return execute(sql.decode() if isinstance(sql, bytes) else sql.text, *rest)


@pytest.mark.parametrize("form", [Composed, str.encode])
def test_a_statement_that_is_no_text_is_seen_as_well(
    form: Callable[[str], Any], told: Told
) -> None:
    with connection.execute_wrapper(_as_text), connection.cursor() as cursor:
        cursor.execute(form("INSERT INTO auth_group (name) VALUES ('editors')"))

    assert one(told(), "data.sql").targets[0].id == "auth_group"


def test_a_statement_that_can_not_be_read_is_executed_all_the_same(told: Told) -> None:
    Group.objects.create(name="editors")
    told()

    with connection.execute_wrapper(_as_text), connection.cursor() as cursor:
        cursor.execute(Unreadable())  # type: ignore[arg-type]  # drivers have more than the stubs say

    assert not Group.objects.exists()
    assert told() == []


def test_a_long_statement_is_seen_and_not_remembered(told: Told) -> None:
    known = guard._table_of.cache_info().currsize
    values = ", ".join(f"('group {number}')" for number in range(2_000))

    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO auth_group (name) VALUES {values}")

    assert actions(told()) == ["data.sql"]
    assert guard._table_of.cache_info().currsize == known


def test_a_statement_with_many_comments_is_read_in_no_time() -> None:
    comments = "/* by a tool */ " * 5_000

    assert guard._WRITES.match(comments + "UPDATE auth_group SET name = 'a'")
    assert guard._WRITES.match(comments + "SELECT 1") is None  # would take years otherwise


def test_what_others_have_wrapped_is_not_taken_for_ours() -> None:
    def djangos() -> None:
        """What Django has."""

    @functools.wraps(djangos)
    def theirs() -> None:
        """What another library puts in its place."""

    assert not guard.is_ours(theirs)
    assert guard.is_ours(guard.ours(theirs))
