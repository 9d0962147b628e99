"""A log in a file of its own, and one with a buffer: in requests, blocks, tests, and at the end."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import threading
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection, connections, transaction
from django.test import TestCase, override_settings
from django.urls import include, path

from tests.capture.django import breaking
from tests.capture.django.seams import ORM, Seam
from tests.capture.django.shop.models import Customer, Tag
from tests.capture.django.site import (
    PASSWORD,
    a_browser,
    a_user,
    actions,
    an_admin,
    an_async_browser,
    site,
)
from tests.capture.django.site_urls import urlpatterns as of_the_site
from whodid.access import Access
from whodid.capture.django import audit, get_audit
from whodid.event import Actor, Event

Told = Callable[[], list[Event]]
HERE = __name__
ALL = Access.everything()

urlpatterns = [path("audit/", include("whodid.capture.django.urls")), *of_the_site]

KINDS: dict[str, Any] = {
    "file": {"url": "sqlite:///{}/log/audit.db"},
    "file and buffer": {"url": "sqlite:///{}/log/audit.db", "buffer": 1_000},
    "buffer": {"buffer": 1_000},
}


@contextmanager
def kept_in(kind: str, folder: Path) -> Iterator[None]:
    """The project's log is of this kind."""
    (folder / "log").mkdir()
    ours = {name: value.format(folder) if isinstance(value, str) else value
            for name, value in KINDS[kind].items()}  # fmt: skip
    with override_settings(WHODID={**ours, "spool": str(folder / "spool")}):
        yield
    get_audit()  # lets go of the one before


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with site(ROOT_URLCONF=HERE), kept_in(request.param, tmp_path):
        yield request.param


@pytest.fixture
def told(kind: str) -> Told:
    """The events that are in this log since it was asked last."""
    seen = get_audit().store.newest_position()

    def take() -> list[Event]:
        nonlocal seen
        assert get_audit().flush(10)
        found = get_audit().store.read_from(seen + 1, access=ALL, limit=10_000)
        seen = found[-1].position if found else seen
        return [stored.event for stored in found]

    return take


def names(events: list[Event]) -> list[object]:
    return [event.targets[0].name for event in events]


# -- transactions --------------------------------------------------------------------------------


@pytest.mark.parametrize("seam", ORM[::4], ids=str)
def test_each_change_is_told(seam: Seam, told: Told) -> None:
    arranged = seam.arrange()
    told()

    seam.act(arranged)

    assert sorted(actions(told())) == list(seam.told)


def test_a_block_is_told_when_it_is_committed(told: Told) -> None:
    with transaction.atomic():
        Tag.objects.create(name="1")
        with suppress(LookupError), transaction.atomic():
            Tag.objects.create(name="2")
            raise LookupError
        Tag.objects.create(name="3")
        assert told() == []

    assert names(told()) == ["1", "3"]


def test_a_block_that_is_rolled_back_is_not_told(told: Told) -> None:
    with suppress(LookupError), transaction.atomic():
        Tag.objects.bulk_create([Tag(name=str(number)) for number in range(600)])
        raise LookupError

    assert told() == []


def test_the_project_s_database_keeps_no_event_that_the_log_has(told: Told) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM whodid_waiting")  # what other tests have left there
    Tag.objects.create(name="1")
    assert names(told()) == ["1"]
    Tag.objects.create(name="2")
    assert names(told()) == ["2"]

    with connection.cursor() as cursor:
        waiting = cursor.execute("SELECT count(*) FROM whodid_waiting").fetchone()[0]
    assert waiting <= 1


def test_threads_tell_what_is_theirs(told: Told) -> None:
    def work(number: int) -> None:
        with get_audit().context(actor=Actor(type="user", id=str(number))):
            for each in range(5):
                Tag.objects.create(name=f"{number}-{each}")
        connections.close_all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    events = told()
    assert len(events) == 20
    assert all(str(event.targets[0].name).split("-")[0] == event.actor.id for event in events)


def test_what_the_host_writes_in_a_long_block_holds_up_no_event(told: Told) -> None:
    """The thread that writes waits for the host, or has a file of its own; nothing is lost."""
    with transaction.atomic():
        Tag.objects.create(name="1")
        audit.record("invoice.send", target="invoice:1")
        Tag.objects.create(name="2")

    assert sorted(actions(told())) == ["invoice.send", "tag.create", "tag.create"]


# -- requests ------------------------------------------------------------------------------------


def test_requests_are_told(told: Told) -> None:
    a_user("ana")
    told()
    browser = a_browser()

    browser.post("/login/", {"username": "ana", "password": "wrong"})
    browser.post("/login/", {"username": "ana", "password": PASSWORD})
    browser.get("/make/editors/")
    browser.get("/refuse/")
    browser.get("/make-then-break/authors/")
    browser.post("/logout/")

    events = told()
    assert sorted(actions(events)) == sorted(
        ["user.login", "user.login", "role.create", "access.check", "role.create", "error.raise",
         "user.logout"]
    )  # fmt: skip
    made = next(event for event in events if event.action == "role.create")
    assert made.actor.name == "ana"


def test_a_request_whose_transaction_is_rolled_back_tells_its_error_alone(told: Told) -> None:
    settings = connections["default"].settings_dict
    settings["ATOMIC_REQUESTS"] = True
    try:
        assert a_browser().get("/make-then-break/editors/").status_code == 500
    finally:
        settings["ATOMIC_REQUESTS"] = False

    assert actions(told()) == ["error.raise"]
    assert not Group.objects.exists()


def test_async_requests_are_told(told: Told) -> None:
    async def visit() -> None:
        browser = an_async_browser()
        await browser.get("/make-async/editors/")
        await browser.get("/break-async/")

    asyncio.run(visit())

    assert sorted(actions(told())) == ["error.raise", "role.create", "role.update"]


def test_the_pages_show_what_was_just_done(told: Told) -> None:
    browser = a_browser(an_admin())
    browser.get("/make/editors/")

    answer = browser.get("/audit/")

    assert answer.status_code == 200
    assert b"editors" in answer.content
    assert "audit.log.view" in actions(told())


def test_the_history_in_the_admin_is_of_that_log(told: Told) -> None:
    group = Group.objects.create(name="as it was called")
    group.name = "editors"
    group.save()

    answer = a_browser(an_admin()).get(f"/admin/auth/group/{group.pk}/history/")

    assert answer.status_code == 200
    assert b"as it was called" in answer.content


# -- when the file breaks ------------------------------------------------------------------------


@contextmanager
def without_its_table(folder: Path) -> Iterator[None]:
    """The file of the log lacks the table for events."""
    raw = sqlite3.connect(folder / "log" / "audit.db", isolation_level=None)
    raw.execute("ALTER TABLE whodid_event RENAME TO whodid_event_away")
    try:
        yield
    finally:
        raw.execute("ALTER TABLE whodid_event_away RENAME TO whodid_event")
        raw.close()


@pytest.mark.parametrize("kind", ["file", "file and buffer"])
def test_the_host_goes_on_without_the_file_and_its_events_come_back(
    kind: str, tmp_path: Path
) -> None:
    with site(ROOT_URLCONF=HERE), kept_in(kind, tmp_path):
        store = get_audit().store
        with without_its_table(tmp_path):
            with transaction.atomic():
                Tag.objects.create(name="1")
                Tag.objects.create(name="2")
            Customer.objects.create(name="Ana")
            assert a_browser().get("/make/editors/").status_code == 200
            assert a_browser().get("/refuse/").status_code == 403
            assert a_browser().get("/make-then-break/authors/").status_code == 500
            assert get_audit().flush(10)
            assert breaking.spooled(tmp_path / "spool") == 7
        delivery: Any = get_audit().delivery
        delivery.recover(within_s=10)

        found = [stored.event for stored in store.read_from(1, access=ALL, limit=100)]
    assert sorted(actions(found)) == sorted(
        ["tag.create", "tag.create", "customer.create", "role.create", "access.check",
         "role.create", "error.raise"]
    )  # fmt: skip
    assert len({event.id for event in found}) == 7


# -- tests of the host's -------------------------------------------------------------------------


def test_a_test_case_of_the_hosts_sees_its_events(told: Told) -> None:
    seen: dict[str, Any] = {}

    class Example(TestCase):
        databases: Any = frozenset({"default", "other"})

        def test_it(self) -> None:
            Tag.objects.create(name="a")
            with transaction.atomic():
                Tag.objects.create(name="b")
            seen["names"] = names(told())

    result = unittest.TestResult()
    unittest.TestSuite([Example("test_it")]).run(result)

    assert result.wasSuccessful(), result.errors + result.failures
    assert seen == {"names": ["a", "b"]}


_PROJECT = """
SECRET_KEY = "of a test"
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.auth", "django.contrib.contenttypes", "whodid.capture.django", "office",
]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {name!r}}}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
WHODID = {ours!r}
"""
_TESTS = """
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.test import TestCase, TransactionTestCase, tag
from whodid.capture.django import audit

class Told:
    def test_a_change(self):
        Group.objects.create(name="editors")
        self.assertEqual(self.told("role.create"), ["editors"])

    def test_a_block(self):
        with transaction.atomic():
            Group.objects.create(name="editors")
        self.assertEqual(self.told("role.create"), ["editors"])

    @tag("beside a block")
    def test_what_is_recorded(self):
        audit.record("invoice.send", target="invoice:1")
        self.assertEqual(len(self.told("invoice.send")), 1)

    def test_a_failed_sign_in(self):
        self.client.login(username="nobody", password="wrong")
        self.assertEqual(len(self.told("user.login")), 1)

    def told(self, action):
        audit.flush(10)
        found = [event for event in audit.search(f"action:{action}") if event.id not in self.seen]
        return [event.targets[0].name for event in found]

    def setUp(self):
        audit.flush(10)
        self.seen = {event.id for event in audit.search()}

class InBlock(Told, TestCase):
    pass

class Committed(Told, TransactionTestCase):
    pass
"""


@pytest.mark.parametrize("kind", ["file", "file and buffer", "buffer", "plain"])
def test_the_tests_of_a_project_find_what_they_did(kind: str, tmp_path: Path) -> None:
    """`manage.py test`, with Django's database in memory."""
    (tmp_path / "log").mkdir()
    ours = {key: value.format(tmp_path) if isinstance(value, str) else value
            for key, value in KINDS.get(kind, {}).items()}  # fmt: skip
    # The thread of a buffer is locked out of a database in memory while a test's block is open.
    left_out = ["--exclude-tag=beside a block"] if kind == "buffer" else []
    settings = _PROJECT.format(name=str(tmp_path / "office.db"), ours=ours)
    (tmp_path / "office").mkdir()
    (tmp_path / "office" / "__init__.py").write_text("")
    (tmp_path / "office" / "settings.py").write_text(settings)
    (tmp_path / "office" / "tests.py").write_text(_TESTS)

    done = subprocess.run(
        [sys.executable, "-m", "django", "test", "office", "--settings=office.settings",
         f"--pythonpath={tmp_path}", *left_out],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path, check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Ran {6 if left_out else 8} tests" in done.stderr
    assert not (tmp_path / "office.db").exists()


# -- the end of the process ----------------------------------------------------------------------

_ENDING = """
import sys
import django
from django.conf import settings
settings.configure(**__import__("json").loads(sys.argv[1]))
django.setup()
from django.contrib.auth.models import Group
from django.core.management import call_command
from whodid.capture.django import audit
call_command("migrate", verbosity=0)
for number in range(40):
    Group.objects.create(name=str(number))
    audit.record("invoice.send", target=f"invoice:{number}")
how = sys.argv[2]
if how == "raise":
    raise LookupError("the end")
if how == "exit":
    sys.exit(3)
"""


@pytest.mark.parametrize("how", ["end", "exit", "raise"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_process_that_ends_has_told_everything(kind: str, how: str, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    ours = {key: value.format(tmp_path) if isinstance(value, str) else value
            for key, value in KINDS[kind].items()}  # fmt: skip
    settings = {
        "SECRET_KEY": "k" * 50,
        "USE_TZ": True,
        "DATABASES": {
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "site.db")}
        },
        "INSTALLED_APPS": [
            "django.contrib.contenttypes", "django.contrib.auth", "whodid.capture.django"
        ],
        "WHODID": ours,
    }  # fmt: skip

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _ENDING, json.dumps(settings), how],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    assert done.returncode == {"end": 0, "exit": 3, "raise": 1}[how], done.stderr
    assert ("LookupError" in done.stderr) == (how == "raise")
    assert "whodid" not in done.stderr
    file = tmp_path / ("log/audit.db" if "url" in ours else "site.db")
    raw = sqlite3.connect(file)
    told_ids = raw.execute("SELECT count(*) FROM whodid_event").fetchone()[0]
    raw.close()
    assert told_ids >= 80
    assert not list(tmp_path.glob("**/*spool/*.jsonl"))
