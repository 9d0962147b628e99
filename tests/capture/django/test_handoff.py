"""Changes in a database that does not hold the log: their events survive what comes between."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connections, transaction
from django.test import override_settings

from tests.capture.django.shop.models import Invoice, Tag
from whodid.capture.django import get_audit, handoff
from whodid.event import Event
from whodid.stores.sqlite import SqliteStore
from whodid.testing import EVERYTHING

Told = Callable[[], list[Event]]


def waiting() -> list[str]:
    """Names of the objects whose events are in the other database."""
    with connections["other"].cursor() as cursor:
        cursor.execute(f"SELECT body FROM {handoff.TABLE} ORDER BY id")
        bodies = [json.loads(body) for (body,) in cursor.fetchall()]
    return [body["targets"][0]["name"] for body in bodies]


def names(events: list[Event]) -> list[object]:
    return [event.targets[0].name for event in events]


@pytest.fixture(autouse=True)
def _nothing_waits() -> None:
    for alias in ("default", "other"):
        with connections[alias].cursor() as cursor:
            cursor.execute(f"DELETE FROM {handoff.TABLE}")
    handoff._looked_at.clear()


def make(name: str) -> Tag:
    return Tag.objects.using("other").create(name=name)


def test_an_event_waits_beside_its_change_until_the_log_has_it(told: Told) -> None:
    seen: list[list[str]] = []
    with transaction.atomic(using="other"):
        transaction.on_commit(lambda: seen.append(waiting()), using="other")  # before ours
        make("first")
    assert seen == [["first"]]
    assert names(told()) == ["first"]

    make("second")  # takes the first one's away, in its own transaction

    assert waiting() == ["second"]
    assert names(told()) == ["second"]


def test_what_is_rolled_back_waits_nowhere(told: Told) -> None:
    with suppress(LookupError), transaction.atomic(using="other"):
        make("lost")
        raise LookupError
    with transaction.atomic(using="other"):
        with suppress(LookupError), transaction.atomic(using="other"):
            make("lost, too")
            raise LookupError
        make("kept")

    assert waiting() == ["kept"]
    assert names(told()) == ["kept"]


def test_what_waits_is_redacted() -> None:
    Invoice.objects.using("other").create(number="AKIAIOSFODNN7EXAMPLE")

    with connections["other"].cursor() as cursor:
        cursor.execute(f"SELECT body FROM {handoff.TABLE}")
        [(body,)] = cursor.fetchall()
    assert "AKIAIOSFODNN7EXAMPLE" not in body
    assert "[masked]" in body


def test_what_a_crash_left_behind_is_given_to_the_log_once(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("told")
    with connections["other"].cursor() as cursor:  # as if it had never been told
        cursor.execute(f"SELECT id FROM {handoff.TABLE}")
    told()
    assert handoff.look("other") == 0  # so young that it may be on its way

    monkeypatch.setattr(handoff, "LEFT_AFTER_S", -1)
    assert handoff.look("other") == 1
    assert handoff.look("other") == 0

    assert told() == []  # the log knows its id
    assert waiting() == []


def test_it_is_looked_for_when_the_host_connects_once_a_minute(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("first")
    monkeypatch.setattr(handoff, "LEFT_AFTER_S", -1)
    handoff._looked_at.clear()
    connections["other"].close()
    assert waiting() == []

    make("second")
    connections["other"].close()

    assert waiting() == ["second"]


def test_where_the_log_is_nothing_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handoff, "LEFT_AFTER_S", -1)
    with connections["default"].cursor() as cursor:
        cursor.execute(f"INSERT INTO {handoff.TABLE} VALUES ('x', 0, 'no event')")
        handoff.look_now_and_then(connections["default"])
        cursor.execute(f"DELETE FROM {handoff.TABLE}")
        assert cursor.rowcount == 1


@contextmanager
def without_table() -> Any:
    raw = connections["other"]
    raw.ensure_connection()
    raw.connection.execute(f"ALTER TABLE {handoff.TABLE} RENAME TO away")
    try:
        yield
    finally:
        raw.connection.execute(f"ALTER TABLE away RENAME TO {handoff.TABLE}")


def test_without_the_table_the_change_and_its_event_go_on_and_the_remedy_is_said(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    with without_table(), caplog.at_level(logging.WARNING, "whodid"):
        make("kept")

    assert Tag.objects.using("other").filter(name="kept").exists()
    assert names(told()) == ["kept"]
    assert "manage.py migrate --database other" in caplog.text


def test_without_the_table_a_log_that_fails_closed_lets_nothing_be_changed(told: Told) -> None:
    with (
        override_settings(WHODID={"on_failure": "raise"}),
        without_table(),
        pytest.raises(DatabaseError, match="could not be kept"),
    ):
        make("refused")

    assert not Tag.objects.using("other").filter(name="refused").exists()
    assert told() == []


def test_with_a_log_in_a_file_of_its_own_events_wait_in_the_projects_database(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    seen: list[int] = []

    def count() -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {handoff.TABLE}")
            seen.append(cursor.fetchone()[0])

    with override_settings(WHODID={"url": url}):
        with transaction.atomic():
            transaction.on_commit(count)
            Tag.objects.create(name="a")
            Tag.objects.create(name="b")
        store = get_audit().store
        assert names([each.event for each in store.read_from(1, access=EVERYTHING)]) == ["a", "b"]
        Tag.objects.create(name="c")
        count()
        get_audit().close()

    assert seen == [2, 1]


# -- when the process is killed between the two commits ------------------------------------------

_WRITER = """
import os, signal, sys
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="k" * 50, USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth",
                    "whodid.capture.django", "tests.capture.django.shop"],
    WHODID={"url": "sqlite:///" + sys.argv[2]},
)
django.setup()
from django.core.management import call_command
from django.db import connection, transaction
call_command("migrate", run_syncdb=True, verbosity=0)
from tests.capture.django.shop.models import Tag
from whodid.capture.django import handoff
if sys.argv[3] == "die":
    Tag.objects.create(name="before")
    with transaction.atomic():
        transaction.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))
        Tag.objects.create(name="between")
else:
    connection.close()
    handoff.LEFT_AFTER_S = -1
    handoff._looked_at.clear()
    Tag.objects.count()
"""


def test_killed_between_the_two_commits_the_event_is_told_by_the_next_process_once(
    tmp_path: Path,
) -> None:
    arguments = [sys.executable, "-c", _WRITER, str(tmp_path / "site.db"), str(tmp_path / "log.db")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(how: str) -> int:
        done = subprocess.run([*arguments, how], env=environment, capture_output=True, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
        return done.returncode

    def in_log() -> list[object]:
        store = SqliteStore(tmp_path / "log.db", create=False)
        found = [each.event for each in store.read_from(1, access=EVERYTHING)]
        store.close()
        return names([event for event in found if event.action == "tag.create"])

    assert run("die") == -signal.SIGKILL
    with sqlite3.connect(tmp_path / "site.db") as raw:
        assert raw.execute("SELECT name FROM shop_tag").fetchall() == [("before",), ("between",)]
    raw.close()
    assert in_log() == ["before"]

    run("look")
    run("look")

    assert in_log() == ["before", "between"]
