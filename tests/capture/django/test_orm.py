"""A row that is made, changed or removed is one event, with what it was and what it became."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from msgspec import UNSET

from tests.capture.django.shop.models import Customer, Invoice
from tests.capture.django.site import actions, sides
from whodid.event import Event

Told = Callable[[], list[Event]]


def test_a_row_that_is_created_changed_and_deleted_is_told(told: Told) -> None:
    ana = Customer.objects.create(name="Ana")
    invoice = Invoice.objects.create(number="1", customer=ana, total="12.50")
    invoice.status = "sent"
    invoice.save()
    invoice.delete()

    events = told()
    assert actions(events) == [
        "customer.create", "invoice.create", "invoice.update", "invoice.delete",
    ]  # fmt: skip
    created, updated = events[1:3]
    assert created.targets[0].name == "Invoice 1"
    assert sides(created)["total"] == (UNSET, "12.50")
    assert sides(created)["customer"] == (UNSET, ana.pk)
    assert sides(updated) == {"status": ("draft", "sent")}
    assert sides(events[3])["status"] == ("sent", UNSET)
    assert Decimal("12.50") == Decimal(str(sides(events[3])["total"][0]))
