"""Who a user is costs no query, whatever their class has in place of plain fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import Group
from django.db import connection

from whodid.capture.django.people import actor_of


class Remote:
    """A user whose rights are asked for in the database."""

    is_authenticated, is_staff, pk = True, True, 7

    def get_username(self) -> str:
        """What they sign in with."""
        return "ana"

    @property
    def is_superuser(self) -> bool:
        """As their groups say."""
        return not Group.objects.exists()


def test_a_right_that_would_have_to_be_asked_for_is_left_out() -> None:
    assert Remote().is_superuser
    asked: list[str] = []

    def note(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        asked.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(note):
        actor = actor_of(Remote())

    assert actor
    assert (actor.id, actor.name, actor.roles) == ("7", "ana", ("staff",))
    assert asked == []
