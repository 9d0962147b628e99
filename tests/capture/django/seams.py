"""Every way in which this project changes something, and what is told of it.

For tests that break the log under each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.db import connections
from django.db.models import F

from tests.capture.django.shop.models import Customer, Invoice, Line, Tag

_BOOKKEEPING = frozenset({"sessions", "contenttypes", "admin", "whodid"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seam:
    """One way.

    Attributes:
        arrange: What must be there before; while nothing is broken.
        act: Takes what was arranged.
        told: The actions of the events that it makes, sorted.
    """

    name: str
    act: Callable[[Any], object]
    told: tuple[str, ...]
    arrange: Callable[[], Any] = lambda: None

    def __str__(self) -> str:
        return self.name


def rows(using: str = "default") -> dict[str, list[tuple[Any, ...]]]:
    """All that the project has in a database, its log and its sessions apart."""
    found = {}
    with connections[using].cursor() as cursor:
        for model in apps.get_models(include_auto_created=True):
            if model._meta.managed and model._meta.app_label not in _BOOKKEEPING:
                table = model._meta.db_table
                found[table] = list(cursor.execute(f'SELECT * FROM "{table}" ORDER BY 1'))
    return found


def _invoice_with_lines() -> Invoice:
    invoice = Invoice.objects.create(number="1")
    Line.objects.bulk_create([Line(invoice=invoice, text=text) for text in "ab"])
    return invoice


def _two_tags() -> list[Tag]:
    return [Tag.objects.create(name=name) for name in "ab"]


def _tagged_invoice() -> tuple[Invoice, list[Tag]]:
    invoice, tags = Invoice.objects.create(number="1"), _two_tags()
    invoice.tags.set(tags)
    return invoice, tags


def _user_and_group() -> tuple[User, Group, Permission]:
    return (
        User.objects.create_user("ana", password="correct-horse-9"),
        Group.objects.create(name="editors"),
        Permission.objects.get(codename="view_event"),
    )


def _renamed(tag: Tag) -> Tag:
    tag.name += " renamed"
    return tag


def _saved(instance: Any, **values: Any) -> None:
    for name, value in values.items():
        setattr(instance, name, value)
    instance.save()


def _new_password(user: User) -> None:
    user.set_password("another-horse-9")
    user.save()


def _by_hand(statement: str) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute(statement)


ORM = (
    Seam(
        name="create",
        act=lambda _: Tag.objects.create(name="a"),
        told=("tag.create",),
    ),
    Seam(
        name="save",
        arrange=lambda: Customer.objects.create(name="Ana"),
        act=lambda customer: _saved(customer, name="Ann"),
        told=("customer.update",),
    ),
    Seam(
        name="save with an expression",
        arrange=lambda: Invoice.objects.create(number="1"),
        act=lambda invoice: _saved(invoice, reminders=F("reminders") + 1),
        told=("invoice.update",),
    ),
    Seam(
        name="delete",
        arrange=lambda: Tag.objects.create(name="a"),
        act=lambda tag: tag.delete(),
        told=("tag.delete",),
    ),
    Seam(
        name="delete with a cascade",
        arrange=_invoice_with_lines,
        act=lambda invoice: invoice.delete(),
        told=("invoice.delete", "line.delete", "line.delete"),
    ),
    Seam(
        name="get_or_create",
        act=lambda _: Tag.objects.get_or_create(name="a"),
        told=("tag.create",),
    ),
    Seam(
        name="update_or_create",
        arrange=lambda: Invoice.objects.create(number="1"),
        act=lambda _: Invoice.objects.update_or_create({"status": "sent"}, number="1"),
        told=("invoice.update",),
    ),
    Seam(
        name="bulk_create",
        act=lambda _: Tag.objects.bulk_create([Tag(name=name) for name in "ab"]),
        told=("tag.create", "tag.create"),
    ),
    Seam(
        name="bulk_update",
        arrange=_two_tags,
        act=lambda tags: Tag.objects.bulk_update([_renamed(tag) for tag in tags], ["name"]),
        told=("tag.update", "tag.update"),
    ),
    Seam(
        name="update of a query",
        arrange=_invoice_with_lines,
        act=lambda _: Line.objects.update(text="c"),
        told=("line.update", "line.update"),
    ),
    Seam(
        name="delete of a query",
        arrange=_two_tags,
        act=lambda _: Tag.objects.all().delete(),
        told=("tag.delete", "tag.delete"),
    ),
    Seam(
        name="delete of a query without its instances",
        arrange=_two_tags,
        act=lambda _: Tag.objects.all()._raw_delete("default"),
        told=("tag.delete", "tag.delete"),
    ),
    Seam(
        name="links added",
        arrange=lambda: (Invoice.objects.create(number="1"), _two_tags()),
        act=lambda both: both[0].tags.add(*both[1]),
        told=("invoice.update",),
    ),
    Seam(
        name="links added from the other side",
        arrange=lambda: (Invoice.objects.create(number="1"), Tag.objects.create(name="a")),
        act=lambda both: both[1].invoices.add(both[0]),
        told=("invoice.update",),
    ),
    Seam(
        name="links removed",
        arrange=_tagged_invoice,
        act=lambda both: both[0].tags.remove(both[1][0]),
        told=("invoice.update",),
    ),
    Seam(
        name="links cleared",
        arrange=_tagged_invoice,
        act=lambda both: both[0].tags.clear(),
        told=("invoice.update",),
    ),
    Seam(
        name="links set",
        arrange=_tagged_invoice,
        act=lambda both: both[0].tags.set([both[1][1]]),
        told=("invoice.update",),
    ),
    Seam(
        name="SQL",
        act=lambda _: _by_hand("INSERT INTO shop_tag (name) VALUES ('a')"),
        told=("data.sql",),
    ),
    Seam(
        name="an account",
        act=lambda _: User.objects.create_user("ana", is_staff=True),
        told=("user.create", "user.role.grant"),
    ),
    Seam(
        name="a password",
        arrange=lambda: User.objects.create_user("ana"),
        act=_new_password,
        told=("user.password.reset",),
    ),
    Seam(
        name="a role",
        arrange=_user_and_group,
        act=lambda known: known[0].groups.add(known[1]),
        told=("user.role.grant",),
    ),
    Seam(
        name="a right",
        arrange=_user_and_group,
        act=lambda known: known[1].permissions.add(known[2]),
        told=("permission.grant",),
    ),
)  # fmt: skip
