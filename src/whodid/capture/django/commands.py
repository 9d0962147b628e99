"""Management commands: what they change is the system's doing, under the command's name.

A command that a request or another command calls is a part of that. Those that serve others
(`runserver`, `celery` …) run for as long as these do, and give their name to nothing.
"""

from __future__ import annotations

import functools
import getpass
import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from whodid import context
from whodid.capture.django.failures import record_error
from whodid.capture.django.guard import is_ours, ours
from whodid.event import Actor

_SERVERS = frozenset(
    {"runserver", "runserver_plus", "testserver", "test", "celery", "daphne", "rqworker",
     "qcluster", "run_huey", "procrastinate"}
)  # fmt: skip


def install(settings: object) -> None:
    """Wrap Django's method. Idempotent."""
    execute = BaseCommand.execute
    if is_ours(execute):
        return

    @ours
    @functools.wraps(execute)
    def told(self: BaseCommand, *args: Any, **options: Any) -> Any:
        name = type(self).__module__.rpartition(".")[2]
        if name in _SERVERS or context.current_occasion() is not None:
            return execute(self, *args, **options)
        with context.occasion(occasion_of(name)):
            try:
                return execute(self, *args, **options)
            except CommandError:
                raise  # it was called wrongly: nothing broke
            except Exception as error:
                record_error(error)
                raise

    BaseCommand.execute = told  # type: ignore[method-assign]  # what this module is for


def occasion_of(name: str) -> context.Occasion:
    """What is known of a command while it runs."""
    called = f"manage.py {name}"
    actor = Actor(type="system", id=called, name=called, attributes={"os_user": _account()})
    return context.Occasion(actor=actor, metadata={"command": name})


def _account() -> str:
    """Whose shell it is: the name of the account, or its number where it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
