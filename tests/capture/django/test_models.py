"""Every kind of model and field is told as the database has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import django
import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import connection
from django.db.migrations.state import ProjectState
from django.db.models import Count
from django.test import override_settings
from msgspec import UNSET

from tests.capture.django.shop import models as shop
from tests.capture.django.shop.models import (
    Code,
    Customer,
    Guarded,
    Hidden,
    Invoice,
    Line,
    Note,
    OpenInvoice,
    Parcel,
    Place,
    Rude,
    Tag,
    Warehouse,
)
from tests.capture.django.site import PASSWORD, actions, one, sides
from whodid.event import Event
from whodid.redaction import MASK

Told = Callable[[], list[Event]]


@pytest.fixture
def invoice(told: Told) -> Invoice:
    """One of which nothing is left to be told."""
    made = Invoice.objects.create(number="1", total="12.50")
    told()
    return made


# -- kinds of models -----------------------------------------------------------------------------


def test_an_inherited_model_is_one_event_with_all_its_fields(told: Told) -> None:
    warehouse = Warehouse.objects.create(name="North", capacity=3)
    warehouse.name, warehouse.capacity = "South", 4
    warehouse.save()
    warehouse.delete()

    events = told()
    assert actions(events) == ["warehouse.create", "warehouse.update", "warehouse.delete"]
    assert sides(events[0])["name"] == (UNSET, "North")
    assert sides(events[0])["capacity"] == (UNSET, 3)
    assert sides(events[1]) == {"name": ("North", "South"), "capacity": (3, 4)}
    assert "place_ptr" not in sides(events[2])


def test_a_parent_alone_is_itself(told: Told) -> None:
    Place.objects.create(name="Field")

    assert actions(told()) == ["place.create"]


def test_an_inherited_model_that_fails_half_way_leaves_nothing(told: Told) -> None:
    warehouse = Warehouse(name="North")
    warehouse.capacity = None

    with pytest.raises(Exception, match="NOT NULL"):
        warehouse.save()
    warehouse.capacity = 1
    warehouse.save()

    assert sides(one(told(), "warehouse.create"))["capacity"] == (UNSET, 1)


def test_a_proxy_is_what_it_stands_for(told: Told) -> None:
    made = OpenInvoice.objects.create(number="1")
    made.status = "sent"
    made.save()
    OpenInvoice.objects.update(status="paid")
    made.delete()

    assert actions(told()) == [
        "invoice.create", "invoice.update", "invoice.update", "invoice.delete",
    ]  # fmt: skip


def test_keys_of_their_own_are_told(told: Told) -> None:
    key = uuid.uuid4()
    Parcel.objects.create(pk=key, weight=1)
    Parcel(weight=2).save()
    Code.objects.create(code="a b/ü", meaning="x")

    events = told()
    assert [events[0].targets[0].id, events[2].targets[0].id] == [str(key), "a b/ü"]
    assert len(str(events[1].targets[0].id)) == 36


def test_a_key_that_is_given_is_a_create_or_an_update_as_the_table_has_it(told: Told) -> None:
    Code(code="a", meaning="1").save()
    Code(code="a", meaning="2").save()
    Code(code="a", meaning="3").save(force_update=True)

    assert actions(told()) == ["code.create", "code.update", "code.update"]


def test_an_instance_whose_key_is_changed_is_another_row(told: Told) -> None:
    code = Code.objects.create(code="a", meaning="x")
    told()

    code.code = "b"
    code.save()

    event = one(told(), "code.create")
    assert event.targets[0].id == "b"
    assert Code.objects.count() == 2


@pytest.mark.skipif(django.VERSION < (5, 2), reason="Django has no keys of two columns before 5.2")
def test_a_key_of_two_columns_is_told(told: Told) -> None:
    seat = shop.Seat.objects.create(row=3, number=7)
    seat.holder = "Ana"
    seat.save()
    shop.Seat.objects.filter(row=3).update(holder="Bo")
    seat.delete()

    events = told()
    assert actions(events) == ["seat.create", "seat.update", "seat.update", "seat.delete"]
    assert {event.targets[0].id for event in events} == {"3:7"}
    assert [sides(event) for event in events[1:3]] == [
        {"holder": ("", "Ana")}, {"holder": ("Ana", "Bo")},
    ]  # fmt: skip


@pytest.mark.skipif(django.VERSION < (5, 0), reason="Django has no such fields before 5.0")
def test_what_the_database_makes_is_told(told: Told) -> None:
    made = shop.Sum.objects.create(right=4)
    shop.Sum.objects.filter(pk=made.pk).update(right=5)

    events = told()
    assert sides(events[0])["left"] == (UNSET, 3)
    assert sides(events[0])["total"] == (UNSET, 7)
    assert sides(events[1]) == {"right": (4, 5), "total": (7, 8)}


def test_a_manager_that_leaves_rows_out_hides_nothing(told: Told) -> None:
    row = Guarded.everything.create(name="a")
    row.is_open = False
    row.save()
    row.name = "b"
    row.save()
    row.delete()

    assert actions(told()) == [
        "guarded.create", "guarded.update", "guarded.update", "guarded.delete",
    ]  # fmt: skip


def test_an_old_version_of_a_model_in_a_migration_is_told_with_the_same_care(told: Told) -> None:
    old: Any = ProjectState.from_apps(apps).apps.get_model("shop", "Invoice")
    made = old.objects.create(number="1", secret_note="tell nobody")
    old.objects.update(status="sent")
    made.delete()

    events = told()
    assert actions(events) == ["invoice.create", "invoice.update", "invoice.delete"]
    assert sides(events[0])["secret_note"] == (UNSET, MASK)


def test_an_old_version_of_an_account_keeps_its_password(told: Told) -> None:
    old: Any = ProjectState.from_apps(apps).apps.get_model("auth", "User")
    old.objects.create(username="ana", password="md5$salt$digest")

    assert all("digest" not in str(event) for event in told())


# -- what is recorded ----------------------------------------------------------------------------


def test_a_models_own_options_are_followed(told: Told) -> None:
    note = Note.objects.create(title="Plan", pin="1234")
    told()

    note.views = 5
    note.save()
    assert told() == []

    note.views, note.title = 6, "Plot"
    note.save()
    event = one(told(), "note.update")
    assert sides(event) == {"title": ("Plan", "Plot")}
    assert event.targets[0].name == "Plot"


def test_a_masked_field_says_that_it_changed_and_when_it_is_empty(told: Told) -> None:
    note = Note.objects.create(title="Plan")
    note.pin = "1234"
    note.save()
    note.pin = "4321"
    note.save()

    assert [sides(event)["pin"] for event in told()] == [(UNSET, ""), ("", MASK), (MASK, MASK)]


def test_a_row_is_in_the_history_of_its_parent(invoice: Invoice, told: Told) -> None:
    line = Line.objects.create(invoice=invoice, text="a")
    line.amount = 3
    line.save()
    line.delete()

    parents = [(event.targets[1].role, event.targets[1].id) for event in told()]
    assert parents == [("parent", str(invoice.pk))] * 3


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"only_models": ["shop.Tag"]}, ["tag.create"]),
        ({"exclude_models": ["shop"]}, []),
        ({"exclude_models": ["shop.tag"]}, ["hidden.create"]),
        ({"exclude_models": ["shop"], "include_models": ["shop"]}, ["tag.create", "hidden.create"]),
    ],
)
def test_a_project_chooses_its_models(
    choice: dict[str, Any], expected: list[str], told: Told
) -> None:
    with override_settings(WHODID=choice):
        Tag.objects.create(name="a")
        Hidden.objects.create(name="b")

        assert actions(told()) == expected


def test_what_django_itself_keeps_is_not_recorded(told: Told) -> None:
    user = User.objects.create_user("ana", password=PASSWORD)
    told()

    from django.contrib.sessions.backends.db import SessionStore

    session = SessionStore()
    session["user"] = user.pk
    session.save()
    session.delete()

    assert told() == []


# -- instances -----------------------------------------------------------------------------------


def test_a_deferred_field_is_neither_loaded_nor_told(invoice: Invoice, told: Told) -> None:
    part = Invoice.objects.only("status").get()
    part.status = "sent"
    part.save()

    assert part.get_deferred_fields() >= {"number", "total"}
    event = one(told(), "invoice.update")
    assert sides(event) == {"status": ("draft", "sent")}
    assert event.targets[0].name == "Invoice 1"


def test_an_annotated_instance_is_told_by_its_fields(invoice: Invoice, told: Told) -> None:
    row = Invoice.objects.annotate(size=Count("lines")).select_related("customer").get()
    row.status = "sent"
    row.save()

    assert sides(one(told(), "invoice.update")) == {"status": ("draft", "sent")}


def test_a_related_object_that_is_loaded_is_named(told: Told) -> None:
    ana = Customer.objects.create(name="Ana")
    told()
    Invoice.objects.create(number="1", customer=ana)
    Invoice.objects.create(number="2", customer_id=ana.pk)

    first, second = told()
    assert first.metadata == {"labels": {"customer": "Ana"}}
    assert second.metadata is UNSET


def test_a_related_object_that_was_never_saved_fails_as_without_us(told: Told) -> None:
    with pytest.raises(ValueError, match="unsaved related object"):
        Invoice(number="1", customer=Customer(name="Ana")).save()

    assert told() == []


@pytest.mark.parametrize("kind", ["raises", "queries"])
def test_an_object_that_cannot_say_its_name_has_none(kind: str, told: Told) -> None:
    rude = Rude.objects.create(kind=kind)
    rude.kind += "!"
    rude.save()
    Rude.objects.update(kind=kind)
    rude.delete()

    events = told()
    assert actions(events) == ["rude.create", "rude.update", "rude.update", "rude.delete"]
    assert events[0].targets[0].name is UNSET
    assert {event.targets[0].id for event in events} == {events[0].targets[0].id}


def test_a_fixture_is_told_row_by_row(tmp_path: Path, told: Told) -> None:
    rows = [
        {"model": "shop.tag", "pk": 7, "fields": {"name": "a"}},
        {"model": "shop.invoice", "pk": 8, "fields": {"number": "1", "tags": [7]}},
        {"model": "shop.place", "pk": 9, "fields": {"name": "North"}},
        {"model": "shop.warehouse", "pk": 9, "fields": {"capacity": 3}},
    ]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows), "utf-8")

    call_command("loaddata", str(file), verbosity=0)

    events = [event for event in told() if not event.action.startswith("command.")]
    assert sorted(actions(events)) == [
        "invoice.create", "invoice.update", "place.create", "tag.create", "warehouse.create",
    ]  # fmt: skip


# -- kinds of fields -----------------------------------------------------------------------------


def test_values_are_told_as_they_come_back_from_the_database(invoice: Invoice, told: Told) -> None:
    invoice.total = "3.1"
    invoice.due_on = "2026-03-04"
    invoice.touched_at = datetime(2026, 3, 4, 5, 6, 7, 890_123, UTC)
    invoice.reminders = "4"
    invoice.save()

    assert sides(one(told(), "invoice.update")) == {
        "total": ("12.50", "3.10"),
        "due_on": (None, "2026-03-04"),
        "touched_at": (None, "2026-03-04T05:06:07.890123Z"),
        "reminders": (0, 4),
    }


def test_a_time_without_a_zone_stays_so(invoice: Invoice, told: Told) -> None:
    with override_settings(USE_TZ=False):
        invoice.touched_at = datetime(2026, 3, 4, 5, 6)  # noqa: DTZ001 - what this is about
        invoice.save()

    assert sides(one(told(), "invoice.update"))["touched_at"] == (None, "2026-03-04T05:06:00")


def test_json_is_told_as_it_is_stored(invoice: Invoice, told: Told) -> None:
    invoice.data = {"a": [1, {"b": None}], 3: "key", "n": 1.5}
    invoice.save()
    invoice.data["a"].append("more")
    invoice.save()

    (first, second) = told()
    stored: dict[str, Any] = {"a": [1, {"b": None}], "3": "key", "n": 1.5}
    assert sides(first)["data"] == (None, stored)
    assert sides(second)["data"] == (stored, {**stored, "a": [1, {"b": None}, "more"]})


def test_json_of_any_depth_and_size_is_told(invoice: Invoice, told: Told) -> None:
    deep: Any = "end"
    for _ in range(50):
        deep = [deep]
    invoice.data = {"deep": deep, "wide": list(range(10_000)), "long": "x" * 100_000}
    invoice.save()

    _, new = sides(one(told(), "invoice.update"))["data"]
    assert len(json.dumps(new)) < 10_000


def test_numbers_that_json_lacks_are_told_as_text(told: Told) -> None:
    parcel = Parcel.objects.create(weight=1)
    told()
    parcel.weight = float("inf")
    parcel.save()

    assert sides(one(told(), "parcel.update"))["weight"] == (1.0, "inf")


def test_bytes_are_told_by_their_size(invoice: Invoice, told: Told) -> None:
    invoice.picture = b"\x00\xff" * 500
    invoice.save()

    assert sides(one(told(), "invoice.update"))["picture"] == (None, "[1,000 bytes]")


def test_a_file_is_told_by_its_name(invoice: Invoice, told: Told) -> None:
    invoice.scan.save("scan.pdf", ContentFile(b"%PDF"))

    old, new = sides(one(told(), "invoice.update"))["scan"]
    assert old == ""
    assert str(new).startswith("scans/scan")


def test_a_long_text_is_cut_with_a_mark(told: Told) -> None:
    code = Code.objects.create(code="a", meaning="")
    told()
    Code.objects.filter(pk=code.pk).update(meaning="x" * 1_000_000)  # SQLite takes it

    _, new = sides(one(told(), "code.update"))["meaning"]
    assert len(str(new)) <= 2_048
    assert str(new).endswith("[cut]")


def test_a_text_that_is_no_unicode_is_told(told: Told) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO shop_tag (name) VALUES (%s)", ["ok \U0001f600\x00\x1b"])
    told()

    Tag.objects.update(name="plain")

    assert str(sides(one(told(), "tag.update"))["name"][0]).startswith("ok \U0001f600")


def test_money_and_dates_that_do_not_change_are_no_change(invoice: Invoice, told: Told) -> None:
    invoice.total, invoice.due_on = Decimal("12.5"), None
    invoice.save()
    invoice.due_on = date(2026, 1, 2)
    invoice.save()
    invoice.due_on = "2026-01-02"
    invoice.save()

    assert [sides(event) for event in told()] == [{"due_on": (None, "2026-01-02")}]


# -- before there is a log -----------------------------------------------------------------------

_EMPTY = """
import sys, warnings
import django
from django.conf import settings
from django.core.management import call_command
warnings.simplefilter("error")
settings.configure(
    SECRET_KEY="k" * 50, USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth",
                    "whodid.capture.django", "tests.capture.django.shop"],
)
django.setup()
call_command("migrate", "contenttypes", verbosity=0)
call_command("migrate", "auth", verbosity=0)
from django.contrib.auth.models import Group
Group.objects.create(name="early")
call_command("migrate", run_syncdb=True, verbosity=0)
Group.objects.create(name="late")
call_command("check")
from whodid.capture.django import audit
audit.flush(5)
print([e.targets[0].name for e in reversed(audit.search("action:role.create"))])
"""


def test_an_empty_database_is_migrated_and_what_came_before_is_put_back(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _EMPTY, str(tmp_path / "new.db")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert sorted(eval(done.stdout.splitlines()[-1])) == ["early", "late"]
