"""The log breaks under each change: the host goes on and nothing is lost, or fails as it chose."""

from __future__ import annotations

import unittest
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import TestCase, override_settings

from tests.capture.django import breaking
from tests.capture.django.seams import ORM, Seam, rows
from tests.capture.django.shop.models import Customer, Tag
from tests.capture.django.site import actions
from whodid.capture.django import get_audit, unit
from whodid.errors import AuditError
from whodid.event import Event

Told = Callable[[], list[Event]]
by_seam = pytest.mark.parametrize("seam", ORM, ids=str)


@pytest.fixture
def spooling(tmp_path: Path) -> Iterator[Path]:
    """What can't be written goes to a folder of this test's own."""
    with override_settings(WHODID={"spool": str(tmp_path / "spool")}):
        yield tmp_path / "spool"


@pytest.fixture
def strict() -> Iterator[None]:
    """What can't be told is not to happen."""
    with override_settings(WHODID={"on_failure": "raise"}):
        yield


@contextmanager
def table_gone() -> Iterator[None]:
    """As `breaking.without_table`, also where a rollback brings the table back."""
    connection.ensure_connection()
    raw: Any = connection.connection
    raw.execute("ALTER TABLE whodid_event RENAME TO whodid_event_away")
    try:
        yield
    finally:
        if raw.execute("SELECT 1 FROM sqlite_schema WHERE name = 'whodid_event_away'").fetchone():
            raw.execute("ALTER TABLE whodid_event_away RENAME TO whodid_event")


def put_back() -> None:
    """Have what was spooled written, now that it can be."""
    delivery: Any = get_audit().delivery
    delivery.recover(within_s=10)


BREAKS = [table_gone, breaking.refused]
by_break = pytest.mark.parametrize("broken", BREAKS)


# -- the ORM, going on ---------------------------------------------------------------------------


@by_break
@by_seam
def test_a_change_goes_on_and_its_events_come_back(
    seam: Seam, broken: Any, spooling: Path, told: Told
) -> None:
    arranged = seam.arrange()
    told()
    before = rows()

    with broken():
        seam.act(arranged)

        assert rows() != before
        assert breaking.spooled(spooling) == len(seam.told)
    put_back()
    assert sorted(actions(told())) == list(seam.told)
    assert breaking.spooled(spooling) == 0


@by_break
@by_seam
def test_a_block_that_the_log_breaks_in_goes_on_and_its_events_come_back(
    seam: Seam, broken: Any, spooling: Path, told: Told
) -> None:
    arranged = seam.arrange()
    told()
    before = rows()

    with ExitStack() as until_the_end:
        with transaction.atomic():
            Customer.objects.create(name="before")
            until_the_end.enter_context(broken())
            with transaction.atomic():
                seam.act(arranged)
            Customer.objects.create(name="after")

        assert rows() != before
        assert Customer.objects.filter(name__in=["before", "after"]).count() == 2
        assert breaking.spooled(spooling) == len(seam.told) + 2
    put_back()
    assert sorted(actions(told())) == sorted([*seam.told, "customer.create", "customer.create"])


@by_seam
def test_a_block_that_is_rolled_back_after_the_log_broke_leaves_nothing(
    seam: Seam, spooling: Path, told: Told
) -> None:
    arranged = seam.arrange()
    told()
    before = rows()

    with breaking.refused(), suppress(LookupError), transaction.atomic():
        seam.act(arranged)
        raise LookupError

    assert rows() == before
    assert breaking.spooled(spooling) == 0
    put_back()
    assert told() == []


@by_break
def test_a_change_goes_on_where_nothing_can_be_spooled_either_and_the_loss_is_told(
    broken: Any, tmp_path: Path, told: Told
) -> None:
    (tmp_path / "file").write_text("no folder")

    with override_settings(WHODID={"spool": str(tmp_path / "file" / "spool")}):
        with broken():
            Tag.objects.create(name="a")
            with transaction.atomic():
                Tag.objects.create(name="b")
                Tag.objects.create(name="c")
        assert Tag.objects.count() == 3
        put_back()

    [loss] = told()
    assert (loss.action, loss.metadata) == ("audit.logging.drop", {"records": 3})


# -- the ORM, failing closed ---------------------------------------------------------------------


@by_seam
def test_a_log_that_fails_closed_takes_a_change_with_it(
    seam: Seam, strict: None, told: Told
) -> None:
    arranged = seam.arrange()
    told()
    before = rows()

    with (
        breaking.refused(),
        pytest.raises(DatabaseError, match="the audit log could not be written"),
    ):
        seam.act(arranged)

    assert rows() == before
    assert told() == []


@by_break
@by_seam
def test_a_log_that_fails_closed_takes_the_whole_block_with_it(
    seam: Seam, broken: Any, strict: None, told: Told
) -> None:
    arranged = seam.arrange()
    told()
    before = rows()

    def work(until_the_end: ExitStack) -> None:
        with transaction.atomic():
            Customer.objects.create(name="before")
            until_the_end.enter_context(broken())
            with transaction.atomic():
                seam.act(arranged)
            Customer.objects.create(name="after")

    with ExitStack() as stack, pytest.raises(DatabaseError, match="the audit log"):
        work(stack)

    assert rows() == before
    assert told() == []
    Tag.objects.create(name="the connection is as good as it was")
    assert actions(told()) == ["tag.create"]


def test_more_events_than_are_held_fail_closed_when_they_are_written_early(
    strict: None, told: Told
) -> None:
    def work() -> None:
        with transaction.atomic():
            with breaking.refused():
                Tag.objects.bulk_create([Tag(name=str(number)) for number in range(unit.AT_ONCE)])
            Customer.objects.create(name="after")

    with pytest.raises((DatabaseError, AuditError)):
        work()

    assert Tag.objects.count() == 0
    assert told() == []


def _in_a_test_case(work: Callable[[], object]) -> unittest.TestResult:
    class Example(TestCase):
        def test_it(self) -> None:
            work()

    result = unittest.TestResult()
    unittest.TestSuite([Example("test_it")]).run(result)
    return result


@by_seam
def test_in_a_test_of_the_hosts_a_change_goes_on(seam: Seam, spooling: Path) -> None:
    def work() -> None:
        arranged = seam.arrange()
        before = rows()
        with breaking.refused():
            seam.act(arranged)
        assert rows() != before

    result = _in_a_test_case(work)

    assert result.wasSuccessful(), result.errors + result.failures


def test_in_a_test_of_the_hosts_a_log_that_fails_closed_refuses_the_change(strict: None) -> None:
    def work() -> None:
        with breaking.refused(), pytest.raises((DatabaseError, AuditError)):
            Tag.objects.create(name="a")

    result = _in_a_test_case(work)

    assert result.wasSuccessful(), result.errors + result.failures
