"""Statements about many rows are told as if each row had been saved, or as one above the limit."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, connections
from django.db.models import Count, F, Model, Value
from django.db.models.functions import Concat
from django.db.models.signals import pre_delete
from django.test import override_settings
from msgspec import UNSET

from tests.capture.django.shop.models import (
    Club,
    Code,
    Customer,
    Guarded,
    Hidden,
    Invoice,
    Line,
    Member,
    Parcel,
    Tag,
)
from tests.capture.django.site import actions, one, sides
from whodid.event import Event

Told = Callable[[], list[Event]]


@pytest.fixture
def invoices(told: Told) -> list[Invoice]:
    """Three invoices, of which nothing is left to be told."""
    made = Invoice.objects.bulk_create([Invoice(number=str(number)) for number in range(3)])
    told()
    return made


def few(limit: int = 2) -> override_settings:
    """A project that has one event made of more rows than this."""
    return override_settings(WHODID={"bulk_limit": limit})


def names(events: Sequence[Event]) -> list[str]:
    return sorted(str(event.targets[0].name) for event in events)


def digest_of(rows: Sequence[Model]) -> str:
    return hashlib.sha256("".join(f"{each.pk}\n" for each in rows).encode()).hexdigest()


@contextmanager
def receiving(receive: Callable[..., None]) -> Iterator[None]:
    """A receiver of the project's runs before a tag is deleted."""
    pre_delete.connect(receive, sender=Tag)
    try:
        yield
    finally:
        pre_delete.disconnect(receive, sender=Tag)


# -- creating ------------------------------------------------------------------------------------


def test_rows_that_are_created_together_have_an_event_each(told: Told) -> None:
    ana = Customer.objects.create(name="Ana")
    told()

    Invoice.objects.bulk_create([Invoice(number="1", customer=ana), Invoice(number="2")])

    events = told()
    assert actions(events) == ["invoice.create"] * 2
    assert names(events) == ["Invoice 1", "Invoice 2"]
    assert sides(events[0])["customer"] == (UNSET, ana.pk)
    assert [event.targets[0].id for event in events] == [
        str(each.pk) for each in Invoice.objects.order_by("pk")
    ]


def test_what_one_statement_did_shares_a_correlation_id(told: Told) -> None:
    Tag.objects.bulk_create([Tag(name="a"), Tag(name="b")])
    first = told()
    Tag.objects.update(name=Concat("name", Value("x")))
    second = told()

    ids = [{event.correlation_id for event in events} for events in (first, second)]
    assert [len(each) for each in ids] == [1, 1]
    assert UNSET not in ids[0] | ids[1]
    assert ids[0] != ids[1]


def test_one_row_needs_no_correlation_id(told: Told) -> None:
    Tag.objects.bulk_create([Tag(name="a")])

    assert one(told(), "tag.create").correlation_id is UNSET


def test_conflicts_that_are_ignored_make_no_event(told: Told) -> None:
    Tag.objects.create(name="a")
    told()

    Tag.objects.bulk_create([Tag(name="a"), Tag(name="b")], ignore_conflicts=True)

    assert names(told()) == ["b"]


def test_conflicts_that_update_are_updates(told: Told) -> None:
    Invoice.objects.create(number="1", status="draft")
    told()

    Invoice.objects.bulk_create(
        [Invoice(number="1", status="sent"), Invoice(number="2", status="sent")],
        update_conflicts=True, unique_fields=["number"], update_fields=["status"],
    )  # fmt: skip

    events = told()
    assert sorted(actions(events)) == ["invoice.create", "invoice.update"]
    assert sides(one(events, "invoice.update")) == {"status": ("draft", "sent")}


def test_conflicts_of_rows_whose_keys_are_given_are_seen(told: Told) -> None:
    Code.objects.create(code="a", meaning="old")
    told()

    Code.objects.bulk_create(
        [Code(code="a", meaning="new"), Code(code="b", meaning="new")],
        update_conflicts=True, unique_fields=["code"], update_fields=["meaning"],
    )  # fmt: skip

    assert sides(one(told(), "code.update")) == {"meaning": ("old", "new")}


def test_rows_with_keys_of_their_own_are_told(told: Told) -> None:
    made = Parcel.objects.bulk_create([Parcel(weight=1.5), Parcel(weight=2)])

    assert {event.targets[0].id for event in told()} == {str(each.pk) for each in made}


def test_more_rows_than_the_limit_are_created_as_one_event(told: Told) -> None:
    with few():
        made = Tag.objects.bulk_create([Tag(name=str(number)) for number in range(3)])

        event = one(told(), "tag.create")
    assert event.metadata == {"summary": True, "rows": 3, "keys_sha256": digest_of(made)}
    assert event.tags == ("summary",)


# -- updating ------------------------------------------------------------------------------------


def test_rows_that_are_updated_together_are_named(invoices: list[Invoice], told: Told) -> None:
    Invoice.objects.exclude(number="2").update(status="sent", reminders=F("reminders") + 2)

    events = told()
    assert names(events) == ["Invoice 0", "Invoice 1"]
    assert all(
        sides(event) == {"status": ("draft", "sent"), "reminders": (0, 2)} for event in events
    )


def test_rows_that_an_update_leaves_as_they_were_are_not_told(
    invoices: list[Invoice], told: Told
) -> None:
    Invoice.objects.filter(number="0").update(status="sent")
    told()

    Invoice.objects.update(status="sent")

    assert names(told()) == ["Invoice 1", "Invoice 2"]


def test_an_update_that_finds_nothing_is_silent(told: Told) -> None:
    assert Invoice.objects.update(status="sent") == 0

    assert told() == []


def test_rows_that_no_longer_match_after_the_update_are_told(
    invoices: list[Invoice], told: Told
) -> None:
    Invoice.objects.filter(status="draft").update(status="sent")

    assert len(told()) == 3


def test_an_ordered_annotated_or_joined_update_is_told(invoices: list[Invoice], told: Told) -> None:
    Line.objects.bulk_create([Line(invoice=invoices[0], text=text) for text in "ab"])
    told()

    Invoice.objects.order_by("-number").annotate(n=Count("lines")).filter(n=2).update(status="a")
    Invoice.objects.filter(lines__text__in="ab").distinct().update(status="b")
    Invoice.objects.select_related("customer").only("number").filter(number="0").update(status="c")

    assert [sides(event)["status"] for event in told()] == [
        ("draft", "a"), ("a", "b"), ("b", "c"),
    ]  # fmt: skip


def test_more_rows_than_the_limit_are_updated_as_one_event_without_values(
    invoices: list[Invoice], told: Told
) -> None:
    with few():
        Invoice.objects.filter(status="draft", customer__isnull=True).update(status="top-secret")

        event = one(told(), "invoice.update")
    metadata: Any = event.metadata
    assert (metadata["rows"], metadata["fields"]) == (3, ["status"])
    assert metadata["keys_sha256"] == digest_of(invoices)
    assert '"status" = %s' in metadata["filter"]
    assert "draft" not in str(metadata)
    assert "top-secret" not in str(metadata)
    assert event.changes == ()


def test_as_many_rows_as_the_limit_are_still_told_one_by_one(
    invoices: list[Invoice], told: Told
) -> None:
    with few(3):
        Invoice.objects.update(status="sent")

        assert actions(told()) == ["invoice.update"] * 3


def test_an_updated_key_is_told_with_the_old_one(told: Told) -> None:
    Code.objects.create(code="a", meaning="x")
    told()

    Code.objects.filter(code="a").update(code="b")

    event = one(told(), "code.update")
    assert event.targets[0].id == "a"
    assert sides(event) == {"code": ("a", "b")}


def test_the_objects_of_a_bulk_update_are_told_as_one_group(
    invoices: list[Invoice], told: Told
) -> None:
    for number, invoice in enumerate(invoices):
        invoice.reminders = number
    Invoice.objects.bulk_update(invoices, ["reminders"], batch_size=2)

    events = told()
    assert [sides(event) for event in events] == [{"reminders": (0, 1)}, {"reminders": (0, 2)}]
    assert len({event.correlation_id for event in events}) == 1


def test_more_rows_than_the_limit_are_bulk_updated_as_one_event(
    invoices: list[Invoice], told: Told
) -> None:
    for number, invoice in enumerate(invoices):
        invoice.reminders = number
    with few():
        Invoice.objects.bulk_update(invoices, ["reminders"], batch_size=1)

        metadata: Any = one(told(), "invoice.update").metadata
    assert (metadata["rows"], metadata["fields"]) == (3, ["reminders"])
    assert metadata["keys_sha256"] == digest_of(invoices)


def test_a_parent_is_told_with_lines_that_are_updated_together(
    invoices: list[Invoice], told: Told
) -> None:
    Line.objects.bulk_create([Line(invoice=invoices[1], text=text) for text in "ab"])
    told()

    Line.objects.update(amount=3)

    parents = {(event.targets[1].type, event.targets[1].id) for event in told()}
    assert parents == {("invoice", str(invoices[1].pk))}


# -- deleting ------------------------------------------------------------------------------------


def test_rows_that_are_deleted_together_are_told_with_what_hangs_on_them(
    invoices: list[Invoice], told: Told
) -> None:
    Line.objects.create(invoice=invoices[0], text="a")
    told()

    Invoice.objects.filter(number__in="01").delete()

    events = told()
    assert sorted(actions(events)) == ["invoice.delete", "invoice.delete", "line.delete"]
    assert names(events) == ["Invoice 0", "Invoice 1", "a"]
    assert len({event.correlation_id for event in events}) == 1


def test_a_foreign_key_that_loses_its_object_is_an_update(told: Told) -> None:
    ana = Customer.objects.create(name="Ana")
    key = ana.pk
    Invoice.objects.create(number="1", customer=ana)
    told()

    ana.delete()

    events = told()
    assert sorted(actions(events)) == ["customer.delete", "invoice.update"]
    assert sides(one(events, "invoice.update")) == {"customer": (key, None)}


def test_a_raw_delete_is_told(invoices: list[Invoice], told: Told) -> None:
    Invoice.objects.filter(number="1")._raw_delete("default")

    assert names(told()) == ["Invoice 1"]


def test_more_rows_than_the_limit_are_deleted_as_one_event(
    invoices: list[Invoice], told: Told
) -> None:
    expected = digest_of(invoices)
    with few():
        Invoice.objects.all().delete()

        metadata: Any = one(told(), "invoice.delete").metadata
    assert (metadata["rows"], metadata["keys_sha256"]) == (3, expected)


def test_more_rows_than_the_limit_are_deleted_raw_as_one_event(
    invoices: list[Invoice], told: Told
) -> None:
    expected = digest_of(invoices)
    with few():
        Invoice.objects.all()._raw_delete("default")

        metadata: Any = one(told(), "invoice.delete").metadata
    assert (metadata["rows"], metadata["keys_sha256"]) == (3, expected)


def test_more_rows_than_the_limit_that_go_with_another_are_one_event(
    invoices: list[Invoice], told: Told
) -> None:
    Line.objects.bulk_create([Line(invoice=invoices[0], text=text) for text in "abc"])
    told()

    with few():
        invoices[0].delete()

        events = told()
    metadata: Any = one(events, "line.delete").metadata
    assert metadata["rows"] == 3
    assert one(events, "invoice.delete").targets[0].name == "Invoice 0"


# -- in other ways -------------------------------------------------------------------------------


def test_the_async_variants_are_told(told: Told) -> None:
    async def work() -> None:
        made = await Invoice.objects.abulk_create([Invoice(number="1"), Invoice(number="2")])
        await Invoice.objects.filter(number="1").aupdate(status="sent")
        made[1].reminders = 5
        await Invoice.objects.abulk_update(made, ["reminders"])
        await Invoice.objects.aget_or_create(number="3")
        await Invoice.objects.aupdate_or_create(number="3", defaults={"status": "sent"})
        await Invoice.objects.all().adelete()

    asyncio.run(work())

    assert actions(told()) == [
        "invoice.create", "invoice.create", "invoice.update", "invoice.update", "invoice.create",
        "invoice.update", "invoice.delete", "invoice.delete", "invoice.delete",
    ]  # fmt: skip


def test_get_or_create_and_update_or_create_are_told_once(told: Told) -> None:
    Invoice.objects.get_or_create(number="1")
    Invoice.objects.get_or_create(number="1")
    Invoice.objects.update_or_create(number="1", defaults={"status": "sent"})
    Invoice.objects.update_or_create(number="2", defaults={"status": "sent"})

    assert actions(told()) == ["invoice.create", "invoice.update", "invoice.create"]


def test_the_manager_of_a_foreign_keys_other_side_is_told(told: Told) -> None:
    ana: Any = Customer.objects.create(name="Ana")
    bo: Any = Customer.objects.create(name="Bo")
    first, second = (Invoice.objects.create(number=number) for number in "12")
    told()

    ana.invoice_set.add(first, second)
    ana.invoice_set.remove(first)
    bo.invoice_set.set([first, second])
    bo.invoice_set.clear()
    bo.invoice_set.create(number="3")

    moves = [(event.targets[0].name, *sides(event)["customer"]) for event in told()]
    assert moves == [
        ("Invoice 1", None, ana.pk), ("Invoice 2", None, ana.pk), ("Invoice 1", ana.pk, None),
        ("Invoice 1", None, bo.pk), ("Invoice 2", ana.pk, bo.pk),
        ("Invoice 1", bo.pk, None), ("Invoice 2", bo.pk, None), ("Invoice 3", UNSET, bo.pk),
    ]  # fmt: skip


def test_links_with_a_table_of_the_projects_own_are_rows_of_it(told: Told) -> None:
    ana, club = Customer.objects.create(name="Ana"), Club.objects.create(name="Chess")
    told()

    club.members.add(ana, through_defaults={"since": "2026-01-02"})
    club.members.clear()

    events = told()
    assert actions(events) == ["member.create", "member.delete"]
    assert sides(events[0])["since"] == (UNSET, "2026-01-02")
    assert not Member.objects.exists()


def test_rows_that_a_manager_leaves_out_are_told(told: Told) -> None:
    Guarded.everything.create(name="shut", is_open=False)
    Guarded.everything.filter(is_open=False).update(name="locked")
    Guarded.everything.all().delete()

    assert actions(told()) == ["guarded.create", "guarded.update", "guarded.delete"]


def test_statements_about_a_model_that_is_left_out_are_silent(told: Told) -> None:
    Hidden.objects.bulk_create([Hidden(name="a"), Hidden(name="b")])
    Hidden.objects.update(name="c")
    Hidden.objects.all().delete()

    assert told() == []


# -- what no layer knows of: SQL -----------------------------------------------------------------


def test_sql_that_changes_a_recorded_table_is_told_without_its_values(
    invoices: list[Invoice], told: Told
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE shop_invoice SET status = %s, reminders = 4711", ["top-secret"])
        cursor.execute("DELETE FROM shop_invoice WHERE number = 'it''s 0' OR number = '0'")

    events = told()
    assert actions(events) == ["data.sql", "data.sql"]
    assert [event.targets[0].name for event in events] == ["shop_invoice"] * 2
    metadata: list[Any] = [event.metadata for event in events]
    assert metadata[0] == {
        "statement": "UPDATE shop_invoice SET status = %s, reminders = ?", "rows": 3,
    }  # fmt: skip
    assert metadata[1] == {
        "statement": "DELETE FROM shop_invoice WHERE number = ? OR number = ?", "rows": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT OR REPLACE INTO shop_tag (name) VALUES ('a')",
        "REPLACE INTO shop_tag (name) VALUES ('a')",
        "insert into \"shop_tag\" (name) values ('a')",
        "WITH new AS (SELECT 'a' AS name) INSERT INTO shop_tag (name) SELECT name FROM new",
        "/* nightly */ INSERT INTO shop_tag (name) VALUES ('a')",
        "-- nightly\nINSERT INTO shop_tag (name) VALUES ('a')",
        "INSERT INTO main.shop_tag (name) VALUES ('a')",
    ],
)
def test_sql_is_told_however_it_is_written(sql: str, told: Told) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)

    event = one(told(), "data.sql")
    assert event.targets[0].id == "shop_tag"
    assert "'a'" not in str(event.metadata)


@pytest.mark.parametrize(
    "value", ["'ana@example.com'", '"ana@example.com"', "4711", "0x4711", "47.11e3", "x'4711'"]
)
def test_no_value_in_sql_is_kept_however_it_is_written(value: str, told: Told) -> None:
    Tag.objects.create(name="a")
    told()
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE shop_tag SET name = {value} -- for ana@example.com, 4711")

    statement = str(one(told(), "data.sql").metadata)
    assert "ana@example" not in statement
    assert "47" not in statement


def test_names_in_double_quotes_are_kept(told: Told) -> None:
    Tag.objects.create(name="a")
    told()
    with connection.cursor() as cursor:
        cursor.execute('UPDATE "shop_tag" SET "name" = \'b\'')

    metadata: Any = one(told(), "data.sql").metadata
    assert metadata["statement"] == 'UPDATE "shop_tag" SET "name" = ?'


def test_sql_with_many_sets_of_values_is_told(told: Told) -> None:
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO shop_tag (name) VALUES (%s)", [["a"], ["b"]])

    metadata: Any = one(told(), "data.sql").metadata
    assert metadata["rows"] == 2


def test_sql_that_reads_or_is_about_other_tables_is_silent(told: Told) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 'DELETE FROM shop_tag'")
        cursor.execute("WITH found AS (SELECT 'DELETE FROM shop_tag') SELECT * FROM found")
        cursor.execute("CREATE TABLE scratch (a)")
        cursor.execute("INSERT INTO scratch VALUES (1)")
        cursor.execute("DROP TABLE scratch")
        cursor.execute("UPDATE shop_tag SET name = 'b' WHERE name = 'nobody'")

    assert told() == []


def test_sql_of_a_receiver_inside_of_a_deletion_is_told(told: Told) -> None:
    def receive(**_: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO shop_code (code, meaning) VALUES ('x', '')")

    tag = Tag.objects.create(name="a")
    told()
    with receiving(receive):
        tag.delete()

    assert sorted(actions(told())) == ["data.sql", "tag.delete"]


def test_statements_of_a_receiver_inside_of_a_deletion_are_told(told: Told) -> None:
    def receive(**_: object) -> None:
        Code.objects.filter(code="x").update(meaning="changed")
        Code.objects.filter(code="y")._raw_delete("default")

    Code.objects.bulk_create([Code(code="x"), Code(code="y")])
    tag = Tag.objects.create(name="a")
    told()
    with receiving(receive):
        tag.delete()

    assert sorted(actions(told())) == ["code.delete", "code.update", "tag.delete"]


def test_a_link_is_told_as_the_first_change_of_a_new_connection(told: Told) -> None:
    invoice, tag = Invoice.objects.create(number="first"), Tag.objects.create(name="first")
    told()

    def link() -> None:
        try:
            invoice.tags.add(tag)
        finally:
            connections.close_all()

    thread = threading.Thread(target=link)
    thread.start()
    thread.join()

    assert [event.action for event in told()] == ["invoice.update"]
