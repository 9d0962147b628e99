"""The disk is full at any statement: change and events are both there, or neither, and it verifies.

The file may grow by no page, by one, by two …, so that the failure moves through the statements of
the host and of the log; the log's tables refuse one by one; and a process may write no further than
a limit of the system's, which is met when SQLite commits.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import override_settings

from tests.capture.django import breaking
from tests.capture.django.seams import rows
from tests.capture.django.shop.models import Customer, Invoice, Line, Tag
from tests.capture.django.site import actions
from whodid.access import Access
from whodid.capture.django import get_audit
from whodid.event import Actor, Event
from whodid.ids import uuid7

pytestmark = pytest.mark.skipif(connection.vendor != "sqlite", reason="the limits are of SQLite's")

Told = Callable[[], list[Event]]
_VERIFIER = Access(tenants=None, permissions=frozenset({"read", "verify"}))
_MOST_PAGES = 200
_TABLE = re.compile(r"(?:INSERT (?:OR IGNORE )?INTO|UPDATE|DELETE FROM) \"?(\w+)")
CHANGES = 28


def _work() -> None:
    """One transaction with changes of each kind: 28 events."""
    with transaction.atomic():
        customer = Customer.objects.create(name="Ana", email="x" * 200)
        invoice = Invoice.objects.create(number="1", customer=customer, data={"text": "y" * 1_500})
        Invoice.objects.update(secret_note="s" * 20_000)  # pages of the host's own
        invoice.refresh_from_db()
        Line.objects.bulk_create([Line(invoice=invoice, text=f"{n:0100}") for n in range(10)])
        with transaction.atomic():
            Line.objects.update(amount=7)
        invoice.tags.add(Tag.objects.create(name="z" * 40))
        invoice.status = "sent"
        invoice.save()
        customer.delete()


@pytest.fixture(params=["spool", "raise"])
def spooling(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A log of each kind; what can't be written goes to a folder of this test's own."""
    ours = {"on_failure": request.param, "spool": str(tmp_path / "spool")}
    with override_settings(WHODID=ours):
        yield tmp_path / "spool"


@contextmanager
def growing_by(pages: int) -> Iterator[list[str]]:
    """The database may grow by so many pages. Gives the tables that are written to, in order."""
    connection.ensure_connection()
    raw: Any = connection.connection
    raw.execute("VACUUM")  # no page of it is free
    written: list[str] = []

    def note(statement: str) -> None:
        if found := _TABLE.match(statement.strip()):
            written.append(found[1])

    with breaking.full_disk(spare_pages=pages):
        raw.set_trace_callback(note)
        try:
            yield written
        finally:
            raw.set_trace_callback(None)


def _outcome(work: Callable[[], object]) -> bool:
    """Was it committed?"""
    try:
        work()
    except DatabaseError:
        return False
    return True


def _check(before: Any, *, was_committed: bool, spool: Path, told: Told) -> None:
    """Change and events are both there, or neither; what was spooled comes back once."""
    if was_committed:
        assert rows() != before
    else:
        assert rows() == before
        assert not spool.exists() or breaking.spooled(spool) == 0
    delivery: Any = get_audit().delivery
    delivery.recover(within_s=10)
    events = told()
    assert len(events) == (CHANGES if was_committed else 0), actions(events)
    assert len({event.id for event in events}) == len(events)
    report = get_audit().store.verify(access=_VERIFIER)
    # Other tests take its tables away and bring them back, and SQLite remembers how.
    assert [each for each in report.problems if not each.what.startswith("tables, ")] == []
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _empty() -> None:
    """Take back what `_work` does."""
    from whodid import context

    with context.disabled():
        for model in (Line, Invoice, Customer, Tag):
            model.objects.all().delete()


def test_a_disk_that_is_full_at_any_page_leaves_change_and_events_or_neither(
    spooling: Path, told: Told
) -> None:
    before, places = rows(), set()
    for pages in range(_MOST_PAGES):
        with growing_by(pages) as written:
            was_committed = _outcome(_work)

        _check(before, was_committed=was_committed, spool=spooling, told=told)
        if was_committed and len(written) and _is_whole(written):
            break
        places.add(written[-1].partition("_")[0])
        _empty()

    assert was_committed
    assert places == {"shop", "whodid"}  # it failed in the host's statements and in the log's


def _is_whole(written: list[str]) -> bool:
    """Did the log's statements come to their end?"""
    return written[-1] == "whodid_counter"


@contextmanager
def refusing(table: str) -> Iterator[None]:
    """SQLite refuses to write to one table, also within a transaction."""

    def authorize(action: int, name: str | None, *_: Any) -> int:
        is_meant = action in (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE) and name == table
        return sqlite3.SQLITE_DENY if is_meant else sqlite3.SQLITE_OK

    connection.ensure_connection()
    raw: Any = connection.connection
    raw.set_authorizer(authorize)
    try:
        yield
    finally:
        raw.set_authorizer(None)


LOG_TABLES = (
    "whodid_counter",
    "whodid_dict",
    "whodid_event",
    "whodid_event_ref",
    "whodid_leaf",
    "whodid_log_state",
)  # fmt: skip


@pytest.mark.parametrize("table", LOG_TABLES)
def test_a_log_that_fails_at_any_of_its_statements_has_nothing_of_the_batch(
    table: str, spooling: Path, told: Told
) -> None:
    before = rows()
    somebody = get_audit().context(actor=Actor(type="user", id=uuid7()))  # new to the dictionary
    with refusing(table), somebody:
        was_committed = _outcome(_work)

    assert was_committed == (get_audit().on_failure == "spool")
    _check(before, was_committed=was_committed, spool=spooling, told=told)


# -- a limit of the system's ---------------------------------------------------------------------

_PROGRAM = """
import json, os, resource, sys
import django
from django.conf import settings
name, choice, cached = sys.argv[1:]
settings.configure(
    SECRET_KEY="k" * 50, USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": name}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth",
                    "whodid.capture.django", "tests.capture.django.shop"],
    WHODID={"on_failure": choice},
)
django.setup()
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from tests.capture.django.shop.models import Invoice, Tag
from whodid import context
from whodid.access import Access
from whodid.capture.django import get_audit
call_command("migrate", run_syncdb=True, verbosity=0)
connection.ensure_connection()
raw = connection.connection
raw.execute(f"PRAGMA cache_size = {cached}")
store = get_audit().store
store.verify(access=Access(tenants=None, permissions=frozenset({"read", "verify"})))

def work():
    with transaction.atomic():
        Tag.objects.bulk_create([Tag(name=f"{number:050}") for number in range(60)])
        Invoice.objects.create(number="1", secret_note="s" * 20_000)
        Tag.objects.update(name=django.db.models.functions.Concat(
            "name", django.db.models.Value("!")))

for pages in range(200):
    raw.execute("VACUUM")
    seen = store.newest_position()
    size = os.path.getsize(name)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + pages * 4096, resource.RLIM_INFINITY))
    try:
        work()
        outcome = "committed"
    except DatabaseError:
        outcome = "failed"
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    rows = Tag.objects.count() + Invoice.objects.count()
    spooled = get_audit().delivery.tally.spooled
    get_audit().delivery.recover(within_s=10)
    everything = Access(tenants=None, permissions=frozenset({"read", "verify"}))
    events = len(store.read_from(seen + 1, access=everything, limit=1000))
    problems = [each.what for each in store.verify(access=everything).problems
                if not each.what.startswith("tables, ")]
    print(json.dumps([pages, outcome, rows, events, spooled, problems]), flush=True)
    if outcome == "committed" and not spooled:
        break
    with context.disabled():
        Tag.objects.all().delete()
        Invoice.objects.all().delete()
"""
_ROWS, _EVENTS = 61, 121


@pytest.mark.parametrize("cached", [2_000, 10])
@pytest.mark.parametrize("choice", ["spool", "raise"])
def test_a_process_that_may_write_no_further_commits_change_and_events_or_neither(
    choice: str, cached: int, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tmp_path / "limited.db"), choice, str(cached)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False, capture_output=True, text=True, timeout=240,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    for pages, outcome, rows_there, events, _, problems in steps:
        whole = (_ROWS, _EVENTS) if outcome == "committed" else (0, 0)
        assert (rows_there, events, problems) == (*whole, []), pages
    assert steps[0][1] == "failed"
    assert steps[-1][1] == "committed"
