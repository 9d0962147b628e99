"""An event is committed with the change that it tells of, or not at all, whatever breaks."""

from __future__ import annotations

import asyncio
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
from django.contrib.auth.models import User
from django.db import DatabaseError, IntegrityError, connection, connections, transaction
from django.db.models.signals import post_save, pre_save
from django.test import TestCase, override_settings

from tests.capture.django import breaking
from tests.capture.django.shop.models import Customer, Invoice, Line, Tag
from tests.capture.django.site import actions
from whodid.access import Access
from whodid.capture.django import get_audit, unit
from whodid.event import Actor, Event
from whodid.stores import sqlite_write
from whodid.stores.migrate import apply_migrations
from whodid.stores.sqlite_hosted import HostedSqliteStore

Told = Callable[[], list[Event]]
ALL = Access.everything()


def names(events: list[Event]) -> list[object]:
    return [event.targets[0].name for event in events]


@contextmanager
def receiving(signal: Any, receive: Callable[..., None]) -> Iterator[None]:
    """A receiver of the project's for tags."""
    signal.connect(receive, sender=Tag)
    try:
        yield
    finally:
        signal.disconnect(receive, sender=Tag)


# -- when nothing breaks -------------------------------------------------------------------------


def test_events_are_not_there_before_the_commit_and_are_after_it(told: Told) -> None:
    with transaction.atomic():
        Tag.objects.create(name="a")
        assert told() == []

    assert names(told()) == ["a"]


def test_events_have_the_order_of_the_changes(told: Told) -> None:
    with transaction.atomic():
        Tag.objects.create(name="1")
        with transaction.atomic():
            Tag.objects.create(name="2")
            with transaction.atomic():
                Tag.objects.create(name="3")
            Tag.objects.create(name="4")
        Tag.objects.create(name="5")

    assert names(told()) == ["1", "2", "3", "4", "5"]


def test_what_a_savepoint_takes_back_is_not_told(told: Told) -> None:
    with transaction.atomic():
        Tag.objects.create(name="1")
        with suppress(LookupError), transaction.atomic():
            Tag.objects.create(name="2")
            with transaction.atomic():
                Tag.objects.create(name="3")
            raise LookupError
        sid = transaction.savepoint()
        Tag.objects.create(name="4")
        transaction.savepoint_rollback(sid)
        Tag.objects.create(name="5")

    assert names(told()) == ["1", "5"]


def test_an_exception_in_the_middle_leaves_nothing(told: Told) -> None:
    with suppress(LookupError), transaction.atomic():
        Tag.objects.bulk_create([Tag(name="a"), Tag(name="b")])
        Tag.objects.all().delete()
        raise LookupError

    assert told() == []


def _count() -> int:
    """How many events this connection sees."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM whodid_event")
        return int(cursor.fetchone()[0])


def test_more_events_than_are_held_are_written_early_and_still_rolled_back() -> None:
    before = _count()
    with suppress(LookupError), transaction.atomic():
        for number in range(unit.AT_ONCE + 100):
            Tag.objects.create(name=str(number))
        assert _count() == before + unit.AT_ONCE
        raise LookupError

    assert Tag.objects.count() == 0
    assert _count() == before


def test_many_events_with_inner_rollbacks_are_told_in_order(told: Told) -> None:
    expected = []
    with transaction.atomic():
        Tag.objects.create(name="first")
        expected.append("first")
        for number in range(700):
            with suppress(LookupError), transaction.atomic():
                Tag.objects.create(name=str(number))
                if number % 3 == 0:
                    raise LookupError
                expected.append(str(number))
        Tag.objects.create(name="last")
        expected.append("last")

    assert names(told()) == expected


def test_links_that_a_block_takes_back_do_not_hide_those_around_it(told: Told) -> None:
    invoice, tag = Invoice.objects.create(number="1"), Tag.objects.create(name="a")
    told()
    with transaction.atomic():
        invoice.tags.add(tag)
        with transaction.atomic():
            invoice.tags.remove(tag)
        invoice.tags.add(tag)

    moves = [bool(event.changes[0].new) for event in told()]
    assert moves[-1] is True
    assert invoice.tags.count() == 1


def test_autocommit_by_hand_is_told_with_its_commits(told: Told) -> None:
    transaction.set_autocommit(False)
    try:
        Tag.objects.create(name="kept")
        transaction.commit()
        Tag.objects.create(name="lost")
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)

    assert names(told()) == ["kept"]


def test_a_failed_attempt_is_told_after_the_rollback_that_it_is_part_of(told: Told) -> None:
    with suppress(LookupError), transaction.atomic():
        Tag.objects.create(name="lost")
        unit.record_apart(get_audit().draft("tag.create", outcome="failure"))
        raise LookupError
    transaction.set_autocommit(False)
    try:
        unit.record_apart(get_audit().draft("tag.delete", outcome="failure"))
        transaction.rollback()
        assert actions(told()) == ["tag.create", "tag.delete"]
    finally:
        transaction.set_autocommit(True)


def test_threads_tell_what_is_theirs(told: Told) -> None:
    def work(number: int) -> None:
        with get_audit().context(actor=Actor(type="user", id=str(number))):
            for each in range(5):
                Tag.objects.create(name=f"{number}-{each}")
        connections.close_all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    events = told()
    assert len(events) == 40
    assert all(str(event.targets[0].name).split("-")[0] == event.actor.id for event in events)


def test_the_async_methods_of_objects_are_told(told: Told) -> None:
    async def work() -> None:
        tag = await Tag.objects.acreate(name="a")
        tag.name = "b"
        await tag.asave()
        await tag.adelete()

    asyncio.run(work())

    assert actions(told()) == ["tag.create", "tag.update", "tag.delete"]


def test_a_change_in_another_database_is_told_after_its_commit(told: Told) -> None:
    with transaction.atomic(using="other"):
        Tag.objects.using("other").create(name="far")
        assert told() == []
    with suppress(LookupError), transaction.atomic(using="other"):
        Tag.objects.using("other").create(name="lost")
        raise LookupError

    assert names(told()) == ["far"]


def test_a_test_case_of_the_hosts_sees_its_events(told: Told) -> None:
    seen: dict[str, Any] = {}

    class Example(TestCase):
        databases: Any = frozenset({"default", "other"})

        def test_it(self) -> None:
            Tag.objects.create(name="a")
            with transaction.atomic():
                Tag.objects.create(name="b")
            Tag.objects.using("other").create(name="c")
            seen["names"] = names(told())
            with self.captureOnCommitCallbacks(execute=True) as callbacks:
                Tag.objects.create(name="d")
                transaction.on_commit(lambda: seen.setdefault("called", True))
            seen["callbacks"] = len(callbacks)

    result = unittest.TestResult()
    unittest.TestSuite([Example("test_it")]).run(result)

    assert result.wasSuccessful(), result.errors + result.failures
    assert seen == {"names": ["a", "b", "c"], "called": True, "callbacks": 1}


# -- receivers of the host's ---------------------------------------------------------------------


def test_a_receiver_that_raises_inside_a_block_is_caught_as_without_us(told: Told) -> None:
    def refuse(**_: object) -> None:
        raise LookupError

    with receiving(pre_save, refuse), transaction.atomic():
        Customer.objects.create(name="before")
        with suppress(LookupError):
            Tag.objects.create(name="refused")
        Customer.objects.create(name="after")

    assert names(told()) == ["before", "after"]


def test_a_receiver_that_raises_after_the_row_was_saved_leaves_row_and_event(told: Told) -> None:
    def refuse(**_: object) -> None:
        raise LookupError

    with receiving(post_save, refuse), suppress(LookupError):
        Tag.objects.create(name="saved")

    assert Tag.objects.filter(name="saved").exists()
    assert names(told()) == ["saved"]


def test_a_receiver_that_survives_a_refused_row_does_not_undo_the_one_it_was_called_for(
    told: Told,
) -> None:
    Customer.objects.create(pk=1, name="taken")
    told()

    def try_again(**_: object) -> None:
        with suppress(IntegrityError):
            Customer.objects.create(pk=1, name="twice")

    with receiving(post_save, try_again):
        Tag.objects.create(name="saved")

    assert Tag.objects.filter(name="saved").exists()
    assert names(told()) == ["saved"]


def test_a_refused_row_in_a_block_leaves_the_transaction_as_broken_as_without_us() -> None:
    Tag.objects.create(name="a")

    def work() -> None:
        with transaction.atomic():
            with suppress(IntegrityError):
                Tag.objects.create(name="a")
            Tag.objects.count()

    with pytest.raises(transaction.TransactionManagementError):
        work()


# -- when the log breaks -------------------------------------------------------------------------

BREAKS = [breaking.without_table, breaking.refused]


@pytest.fixture
def spooling(tmp_path: Path) -> Iterator[Path]:
    """What can't be written goes to a folder of this test's own."""
    with override_settings(WHODID={"spool": str(tmp_path / "spool")}):
        yield tmp_path / "spool"


def _come_back(told: Told) -> list[object]:
    """The names of what is told once the spool was put back."""
    assert get_audit().flush(10)
    delivery: Any = get_audit().delivery
    delivery.recover(within_s=10)
    return names(told())


@pytest.mark.parametrize("broken", BREAKS)
def test_the_host_goes_on_and_commits_and_the_events_come_back(
    broken: Any, spooling: Path, told: Told
) -> None:
    with broken():
        with transaction.atomic():
            Tag.objects.create(name="a")
            with transaction.atomic():
                Tag.objects.create(name="b")
            Tag.objects.create(name="c")
        Tag.objects.create(name="d")

        assert Tag.objects.count() == 4
        assert breaking.spooled(spooling) == 4
    assert sorted(map(str, _come_back(told))) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("broken", BREAKS)
def test_a_rollback_after_events_could_not_be_written_leaves_nothing(
    broken: Any, spooling: Path, told: Told
) -> None:
    with broken(), suppress(LookupError), transaction.atomic():
        for number in range(unit.AT_ONCE + 1):  # the first of them are written early
            Tag.objects.create(name=str(number))
        raise LookupError

    assert breaking.spooled(spooling) == 0
    assert _come_back(told) == []


@pytest.mark.parametrize("broken", BREAKS)
def test_a_log_that_fails_closed_takes_the_change_with_it(broken: Any, told: Told) -> None:
    with override_settings(WHODID={"on_failure": "raise"}), broken():
        with pytest.raises(DatabaseError, match="audit log"):
            Tag.objects.create(name="a")
        with pytest.raises(DatabaseError, match="audit log"), transaction.atomic():
            Tag.objects.create(name="b")

        assert Tag.objects.count() == 0
    assert told() == []


@pytest.mark.parametrize("broken", BREAKS)
def test_a_log_that_drops_loses_the_event_alone(broken: Any, told: Told) -> None:
    with override_settings(WHODID={"on_failure": "drop"}), broken():
        Tag.objects.create(name="a")

        assert Tag.objects.count() == 1
    assert [name for name in names(told()) if name == "a"] == []


def test_a_full_disk_in_the_middle_of_a_block_loses_neither_row_nor_event(
    spooling: Path, told: Told
) -> None:
    with transaction.atomic():
        Tag.objects.create(name="a")
        connection.connection.execute("PRAGMA max_page_count = 1")  # no more than there is now
        made = 0
        with suppress(DatabaseError):
            for number in range(5):
                Line.objects.filter(pk=number).update(text="x")
                made += 1
    _end_of_full_disk()

    rows = set(Tag.objects.values_list("name", flat=True))
    assert made == 5
    assert rows == {"a"}
    assert set(_come_back(told)) == rows


def _end_of_full_disk() -> None:
    connection.ensure_connection()
    connection.connection.execute("PRAGMA max_page_count = 1000000")


def test_a_disk_that_is_full_when_the_events_are_written_is_no_silent_rollback(
    spooling: Path, told: Told
) -> None:
    committed = False
    connection.ensure_connection()
    connection.connection.execute("PRAGMA max_page_count = 1")
    try:
        with transaction.atomic():
            Tag.objects.bulk_create([Tag(name=f"{number:050}") for number in range(20)])
            Invoice.objects.update(status="sent")
        committed = True
    except DatabaseError:
        pass
    _end_of_full_disk()

    rows = set(Tag.objects.values_list("name", flat=True))
    assert bool(rows) == committed
    assert set(_come_back(told)) == rows


def test_a_log_elsewhere_that_is_locked_holds_up_no_change(
    tmp_path: Path, spooling: Path, told: Told
) -> None:
    choice = {"database": "other", "spool": str(tmp_path / "spool")}
    connections["other"].ensure_connection()
    raw: Any = connections["other"].connection
    apply_migrations(raw, "sqlite")
    sqlite_write.index_key(raw)
    raw.execute("PRAGMA busy_timeout = 50")
    with override_settings(WHODID=choice):
        with breaking.locked("other"):
            with transaction.atomic():
                Tag.objects.create(name="a")
                Tag.objects.create(name="b")

            assert Tag.objects.count() == 2
        audit = get_audit()
        delivery: Any = audit.delivery
        delivery.recover(within_s=10)
        kept = [event.targets[0].name for event in audit.search("action:tag.create")]
    connections["other"].close()
    assert sorted(map(str, kept)) == ["a", "b"]


def test_a_database_that_another_program_writes_to_refuses_as_without_us(told: Told) -> None:
    connection.ensure_connection()
    connection.connection.execute("PRAGMA busy_timeout = 50")
    try:
        with breaking.locked("default"), pytest.raises(DatabaseError, match="locked"):
            Tag.objects.create(name="a")
    finally:
        connection.connection.execute("PRAGMA busy_timeout = 20000")

    assert told() == []


# -- when the process is killed ------------------------------------------------------------------

_WRITER = """
import sys
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="k" * 50, USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth",
                    "whodid.capture.django", "tests.capture.django.shop"],
)
django.setup()
from django.core.management import call_command
from django.db import transaction
call_command("migrate", run_syncdb=True, verbosity=0)
from tests.capture.django.shop.models import Tag
number = 0
while True:
    with transaction.atomic():
        for _ in range(3):
            Tag.objects.create(name=str(number))
            number += 1
    Tag.objects.create(name=str(number))
    number += 1
    Tag.objects.filter(name=str(number - 2)).delete()
    print(number, flush=True)
"""


@pytest.mark.parametrize("after", [1, 7, 20])
def test_killed_at_any_moment_every_row_has_its_event_and_every_event_its_row(
    after: int, tmp_path: Path
) -> None:
    database = tmp_path / "killed.db"
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(database)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    out: Any = process.stdout
    for _ in range(after):
        assert out.readline(), process.communicate()[1]
    process.kill()
    process.communicate()

    raw = sqlite3.connect(database, isolation_level=None)
    rows = {name for (name,) in raw.execute("SELECT name FROM shop_tag")}

    @contextmanager
    def connect() -> Iterator[sqlite3.Connection]:
        yield raw

    told_rows: set[object] = set()
    for stored in HostedSqliteStore(connect).read_from(1, access=ALL, limit=100_000):
        name = stored.event.targets[0].name if stored.event.targets else None
        if stored.event.action == "tag.create":
            told_rows.add(name)
        elif stored.event.action == "tag.delete":
            told_rows.discard(name)
    raw.close()
    assert len(rows) >= after
    assert told_rows == rows


def test_an_account_and_its_events_are_of_one_transaction(told: Told) -> None:
    with suppress(LookupError), transaction.atomic():
        User.objects.create_user("ana")
        raise LookupError

    assert told() == []
