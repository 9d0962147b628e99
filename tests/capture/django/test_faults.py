"""What other audit logs for Django do wrong, each tried for real: sixteen faults, by number.

Several are tested more thoroughly elsewhere; here is the list as one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import F
from django.test import override_settings
from msgspec import UNSET

from tests.capture.django import breaking
from tests.capture.django.shop.models import Customer, Invoice, Tag
from tests.capture.django.site import PASSWORD, a_browser, a_user, actions, one, sides, site
from whodid.access import Access
from whodid.capture.django import get_audit
from whodid.event import Actor, Event, write_hook
from whodid.redaction import MASK

Told = Callable[[], list[Event]]


@pytest.fixture
def invoice(told: Told) -> Invoice:
    """One of which nothing is left to be told."""
    made = Invoice.objects.create(number="1", reminders=2)
    told()
    return made


def _names(side: Any) -> list[str]:
    """What the links of one side of a change are called."""
    return [] if side is UNSET else sorted(link["name"] for link in side)


def test_fault_1_a_save_that_failed_leaves_no_event(invoice: Invoice, told: Told) -> None:
    with pytest.raises(IntegrityError):
        Invoice.objects.create(number="1")

    assert told() == []


def test_fault_2_a_rollback_leaves_no_event(told: Told) -> None:
    with suppress(LookupError), transaction.atomic():
        Tag.objects.create(name="lost")
        raise LookupError

    assert told() == []


def test_fault_2_a_rollback_to_a_savepoint_leaves_the_events_around_it(told: Told) -> None:
    with transaction.atomic():
        Tag.objects.create(name="before")
        with suppress(LookupError), transaction.atomic():
            Tag.objects.create(name="lost")
            raise LookupError
        Tag.objects.create(name="after")

    assert [event.targets[0].name for event in told()] == ["before", "after"]


def test_fault_3_a_row_is_not_committed_without_its_event() -> None:
    with override_settings(WHODID={"on_failure": "raise"}), breaking.without_table():
        with pytest.raises(DatabaseError, match="the audit log"):
            Tag.objects.create(name="unseen")

        assert not Tag.objects.exists()


def test_fault_4_clear_and_remove_name_what_was_removed(invoice: Invoice, told: Told) -> None:
    tags = [Tag.objects.create(name=name) for name in ("blue", "red", "tall")]
    invoice.tags.add(*tags)
    told()

    invoice.tags.remove(tags[0])
    invoice.tags.clear()

    removed = [sides(event)["tags"] for event in told()]
    assert [_names(old) for old, _ in removed] == [["blue"], ["red", "tall"]]
    assert [new for _, new in removed] == [UNSET, UNSET]


def test_fault_5_links_that_are_made_from_the_other_side_are_told(
    invoice: Invoice, told: Told
) -> None:
    tag: Any = Tag.objects.create(name="blue")
    told()

    tag.invoices.add(invoice)
    tag.invoices.remove(invoice)

    events = told()
    assert {event.targets[0].name for event in events} == {"Invoice 1"}
    assert [_names(sides(event)["tags"][1]) for event in events] == [["blue"], []]
    assert _names(sides(events[1])["tags"][0]) == ["blue"]


def test_fault_6_neither_password_nor_token_is_stored(told: Told) -> None:
    user = User(username="ana")
    user.set_password(PASSWORD)
    user.save()
    customer = Customer.objects.create(name="Bo", api_token="tok_4711")
    customer.api_token = "tok_4712"
    customer.save()

    events = told()
    stored = msgspec.json.encode(events, enc_hook=write_hook)
    for secret in (user.password, "tok_4711", "tok_4712"):
        assert secret.encode() not in stored
    assert sides(events[-1]) == {"api_token": (MASK, MASK)}


def test_fault_7_an_expression_is_told_as_the_number_that_it_gave(
    invoice: Invoice, told: Told
) -> None:
    invoice.reminders = F("reminders") + 5
    invoice.save()

    assert sides(one(told(), "invoice.update")) == {"reminders": (2, 7)}


def test_fault_8_a_field_that_was_not_saved_did_not_change(invoice: Invoice, told: Told) -> None:
    invoice.status, invoice.reminders = "sent", 9
    invoice.save(update_fields=["status"])

    assert sides(one(told(), "invoice.update")) == {"status": ("draft", "sent")}


def test_fault_9_what_a_stale_object_reverts_is_told(invoice: Invoice, told: Told) -> None:
    Invoice.objects.update(status="paid")
    told()

    invoice.reminders = 3
    invoice.save()

    assert sides(one(told(), "invoice.update")) == {
        "status": ("paid", "draft"), "reminders": (2, 3),
    }  # fmt: skip


def test_fault_10_a_save_that_changes_nothing_makes_no_event(invoice: Invoice, told: Told) -> None:
    invoice.save()
    Invoice.objects.get().save()
    Invoice.objects.update(total=Decimal("0.0"))

    assert told() == []


def test_fault_11_statements_about_many_rows_are_told_row_by_row(told: Told) -> None:
    made = Invoice.objects.bulk_create(Invoice(number=str(number)) for number in range(3))
    Invoice.objects.filter(number__in="01").update(status="sent")
    for row in made:
        row.reminders = 1
    Invoice.objects.bulk_update(made, ["reminders"])
    Invoice.objects.all().delete()

    events = told()
    assert actions(events) == (
        ["invoice.create"] * 3 + ["invoice.update"] * 5 + ["invoice.delete"] * 3
    )
    assert {event.targets[0].name for event in events} == {f"Invoice {each}" for each in range(3)}


def test_fault_12_two_actors_in_tasks_that_take_turns_are_not_mixed_up(told: Told) -> None:
    async def work(name: str) -> None:
        with get_audit().context(actor=Actor(type="user", id=name)):
            for number in range(5):
                await Tag.objects.acreate(name=f"{name}{number}")
                await asyncio.sleep(0)  # the other one's turn

    async def both() -> None:
        await asyncio.gather(work("ana"), work("bo"))

    asyncio.run(both())

    events = told()
    assert len(events) == 10
    assert all(str(event.targets[0].name).startswith(str(event.actor.id)) for event in events)


def test_fault_13_a_forged_x_forwarded_for_is_not_believed(told: Told) -> None:
    with site():
        a_browser().post(
            "/admin/login/", {"username": "x", "password": "y"}, HTTP_X_FORWARDED_FOR="6.6.6.6"
        )

    client: Any = told()[-1].client
    assert client.ip == "127.0.0.1"


def test_fault_14_signing_in_and_failing_to_are_told(told: Told) -> None:
    a_user()
    told()

    with site():
        browser = a_browser()
        browser.login(username="ana", password="wrong")
        browser.login(username="ana", password=PASSWORD)

    events = told()
    assert [(event.action, event.outcome) for event in events] == [
        ("user.login", "failure"), ("user.login", "success"),
    ]  # fmt: skip


def test_fault_15_an_actor_who_is_gone_keeps_id_name_and_address(told: Told) -> None:
    user = a_user(first_name="Ana", last_name="Ruiz")
    key = str(user.pk)
    with get_audit().context(actor=user):
        Tag.objects.create(name="hers")
    user.delete()

    actor = one(told(), "tag.create").actor
    assert (actor.id, actor.name, actor.email) == (key, "Ana Ruiz", "ana@example.com")


def test_fault_16_history_outlives_its_content_type_and_its_objects() -> None:
    Tag.objects.create(name="a")
    audit = get_audit()
    before = audit.store.stats(access=Access.everything()).events
    kept = list(ContentType.objects.filter(app_label="shop"))

    with audit.disable():
        ContentType.objects.filter(app_label="shop").delete()
        Tag.objects.all().delete()
        ContentType.objects.bulk_create(kept)

    assert audit.store.stats(access=Access.everything()).events == before
