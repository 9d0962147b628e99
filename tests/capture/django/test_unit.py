"""Where the transaction of a change ends: with a log that fails closed, in tests, with odd rows."""

from __future__ import annotations

import sqlite3
import unittest
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from django.contrib.auth import authenticate
from django.db import transaction
from django.test import TestCase, override_settings

from tests.capture.django import breaking
from tests.capture.django.shop.models import Invoice, Tag
from tests.capture.django.site import a_user, actions
from tests.capture.django.test_relations import City, Country, Legacy, _legacy
from whodid.capture.django import get_audit
from whodid.errors import AuditError
from whodid.event import Event

Told = Callable[[], list[Event]]


@pytest.fixture
def strict() -> Iterator[None]:
    """What can't be told is not to happen."""
    with override_settings(WHODID={"on_failure": "raise"}):
        yield


def test_what_the_host_does_on_commit_is_done_though_a_log_elsewhere_fails(
    tmp_path: Path,
) -> None:
    called: list[str] = []
    with override_settings(WHODID={"on_failure": "raise", "url": f"sqlite:///{tmp_path}/a.db"}):
        get_audit()
        raw = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        raw.execute("DROP TABLE whodid_event")
        raw.close()
        with suppress(AuditError), transaction.atomic():
            Tag.objects.create(name="a")
            transaction.on_commit(lambda: called.append("on commit"))

    assert called == ["on commit"] * Tag.objects.count()


def test_a_test_case_of_the_hosts_sees_links_and_bulk_updates_at_once(told: Told) -> None:
    seen: list[list[str]] = []

    def work() -> None:
        invoice, tag = Invoice.objects.create(number="1"), Tag.objects.create(name="a")
        told()
        invoice.tags.add(tag)
        seen.append([event.action for event in told()])
        invoice.status = "sent"
        Invoice.objects.bulk_update([invoice], ["status"])
        seen.append([event.action for event in told()])

    result = _in_a_test_case(work)

    assert result.wasSuccessful(), result.errors
    assert seen == [["invoice.update"], ["invoice.update"]]


def _in_a_test_case(work: Callable[[], object]) -> unittest.TestResult:
    class Example(TestCase):
        def test_it(self) -> None:
            work()

    result = unittest.TestResult()
    unittest.TestSuite([Example("test_it")]).run(result)
    return result


def test_what_the_host_does_on_commit_is_done_though_a_failed_attempt_could_not_be_told(
    strict: None, told: Told
) -> None:
    a_user("ana")
    called: list[str] = []

    with breaking.without_table(), suppress(AuditError), transaction.atomic():
        transaction.on_commit(lambda: called.append("on commit"))
        with suppress(AuditError):
            authenticate(username="ana", password="wrong")

    assert called == ["on commit"]


def test_what_the_host_does_on_commit_is_not_done_after_a_rollback(
    strict: None, told: Told
) -> None:
    a_user("ana")
    called: list[str] = []

    with breaking.without_table(), suppress(AuditError, LookupError), transaction.atomic():
        transaction.on_commit(lambda: called.append("on commit"))
        authenticate(username="ana", password="wrong")
        raise LookupError
    with transaction.atomic():
        Tag.objects.create(name="a")

    assert called == []


def test_a_row_that_can_t_be_read_is_saved_as_without_us_and_never_told_as_new(told: Told) -> None:
    legacy = _legacy(told, column="code", value="of a lost key")

    legacy.name, legacy.code = "new", "readable"
    legacy.save()

    assert Legacy.objects.get().name == "new"
    assert actions(told()) in ([], ["legacy.update"])


def test_a_child_by_another_field_is_in_its_parent_s_history(told: Told) -> None:
    pt = Country.objects.create(code="pt")
    City.objects.create(name="Faro", country=pt)

    event = next(event for event in told() if event.action == "city.create")
    assert [each.id for each in event.targets if each.role == "parent"] == [str(pt.pk)]
