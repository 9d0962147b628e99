"""Random programs against the shop, and the tables that their events lead to.

What a program does is decided by its seed alone. `Tables` applies events to empty tables; an event
that does not fit what came before it (an old value that was not there, a row that is made twice, a
link that is made twice) is a fault of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Model, QuerySet, Value
from django.db.models.functions import Concat
from msgspec import UNSET

from tests.capture.django.shop.models import (
    Code,
    Customer,
    Invoice,
    Line,
    OpenInvoice,
    Parcel,
    Tag,
    Warehouse,
)
from whodid.event import Event, Json
from whodid.jsonable import plain

MODELS: tuple[type[Model], ...] = (Customer, Tag, Invoice, Line, Parcel, Code, Warehouse)
MASKED = frozenset({"password_hint", "api_token", "secret_note"})  # told without their values
LINKS: dict[str, Any] = {"invoice.tags": Invoice.tags, "customer.friends": Customer.friends}
Row = dict[str, Json]


class Tables:
    """What the tables hold according to the events."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.links: set[tuple[str, str, str]] = set()

    def apply(self, events: Iterable[Event]) -> None:
        for event in events:
            kind, _, verb = event.action.partition(".")
            key = str(event.targets[0].id)
            sides: dict[str, tuple[Any, Any]] = {
                change.path: (change.old, change.new) for change in event.changes
            }
            for field in [name for name in sides if f"{kind}.{name}" in LINKS]:
                self._link(f"{kind}.{field}", key, *sides.pop(field))
            for name in MASKED & sides.keys():
                del sides[name]
            if sides:
                self._change(kind, key, verb, sides)

    def _change(self, kind: str, key: str, verb: str, sides: dict[str, tuple[Any, Any]]) -> None:
        if verb == "create":
            if (kind, key) in self.rows:
                raise AssertionError(f"{kind} {key} was made twice")
            self.rows[kind, key] = {}
        row = self.rows[kind, key]
        for name, (old, new) in sides.items():
            if old is not UNSET and row.get(name) != old:
                raise AssertionError(f"{kind} {key}.{name} was {row.get(name)!r}, told {old!r}")
            row[name] = None if new is UNSET else new
        if verb == "delete":
            del self.rows[kind, key]
        elif kind == "code" and row["code"] != key:
            self.rows[kind, str(row["code"])] = self.rows.pop((kind, key))

    def _link(self, field: str, key: str, old: Any, new: Any) -> None:
        removed = {(field, key, link["id"]) for link in old or ()}
        added = {(field, key, link["id"]) for link in new or ()}
        if not removed <= self.links or added & self.links:
            raise AssertionError(f"{field} of {key}: links do not fit what was told before")
        self.links = (self.links - removed) | added


def told(tables: Tables) -> tuple[dict[tuple[str, str], Row], set[tuple[str, str, str]]]:
    """The tables of events, as `real` gives the true ones."""
    rows = {
        key: {name: value for name, value in row.items() if value is not None}
        for key, row in tables.rows.items()
    }
    return rows, tables.links


def real() -> tuple[dict[tuple[str, str], Row], set[tuple[str, str, str]]]:
    """The tables of the database: what is not null, as JSON; and the links."""
    rows: dict[tuple[str, str], Row] = {}
    for model in MODELS:
        fields = [
            each
            for each in model._meta.concrete_fields
            if each.name not in MASKED and not getattr(each.remote_field, "parent_link", False)
        ]
        listed: QuerySet[Model] = QuerySet(model=model)
        for row in listed:
            values = {each.name: _plain(getattr(row, each.attname)) for each in fields}
            key = str(model._meta.model_name), str(row.pk)
            rows[key] = {name: value for name, value in values.items() if value is not None}
    links = set()
    for name, field in LINKS.items():
        columns = field.field.m2m_field_name(), field.field.m2m_reverse_field_name()
        pairs = field.through.objects.values_list(*columns)
        links |= {(name, str(near), str(far)) for near, far in pairs}
    return rows, links


def _plain(value: Any) -> Json:
    return plain(value.name if hasattr(value, "storage") else value)


class Program:
    """One random program. Its objects are its own if it has a name of its own."""

    def __init__(self, seed: int, *, name: str = "") -> None:
        self._random = random.Random(seed)
        self._prefix = f"{name}{seed}-"
        self._made = 0
        self._stale: list[Model] = []

    def run(self) -> None:
        for _ in range(self._random.randint(5, 30)):
            self._step(0)

    def _step(self, depth: int) -> None:
        if depth < 3 and self._random.random() < 0.15:
            self._block(depth)
            return
        step = self._random.choice(_STEPS)
        # A name may be taken. In a block of its own, or the block around it could not go on.
        is_alone = depth == 0 and self._random.random() < 0.6
        with (
            suppress(IntegrityError, ObjectGone),
            nullcontext() if is_alone else transaction.atomic(),
        ):
            step(self)

    def _block(self, depth: int) -> None:
        ends_well = self._random.random() < 0.6
        with suppress(LookupError), transaction.atomic():
            for _ in range(self._random.randint(1, 6)):
                self._step(depth + 1)
            if not ends_well:
                raise LookupError

    # -- what there is to choose from

    def text(self) -> str:
        self._made += 1
        return f"{self._prefix}{self._made}"

    def number(self) -> int:
        return self._random.randint(0, 9)

    def one(self, model: Any) -> Any:
        """A row that this program may change."""
        rows = list(self.all(model))
        if not rows:
            raise ObjectGone
        return self._random.choice(rows)

    def all(self, model: Any) -> Any:
        name = "number" if issubclass(model, Invoice) else {Line: "text", Code: "code"}.get(
            model, "name"
        )  # fmt: skip
        return model.objects.filter(**{f"{name}__startswith": self._prefix}).order_by("pk")

    def some(self, model: Any) -> Any:
        keys = [row.pk for row in self.all(model) if self._random.random() < 0.5]
        return model.objects.filter(pk__in=keys)

    def keep(self, row: Model) -> None:
        self._stale.append(row)

    def stale(self) -> Any:
        if not self._stale:
            raise ObjectGone
        return self._random.choice(self._stale)


class ObjectGone(Exception):
    """There is nothing to do this step with."""


# -- the steps -----------------------------------------------------------------------------------


def _create(p: Program) -> None:
    Customer.objects.create(name=p.text(), api_token="t", password_hint=p.text())
    Tag.objects.create(name=p.text())
    owner = p.one(Customer)
    p.keep(Invoice.objects.create(number=p.text(), customer=owner, total=p.number(), data=[1]))
    Line.objects.create(invoice=p.one(Invoice), text=p.text())
    Code.objects.create(code=p.text())
    Warehouse.objects.create(name=p.text(), capacity=p.number())


def _save(p: Program) -> None:
    row = p.one(Invoice)
    row.status, row.total, row.secret_note = p.text()[:20], p.number(), p.text()
    p.keep(Invoice.objects.get(pk=row.pk))
    row.save()


def _save_nothing(p: Program) -> None:
    p.one(Invoice).save()


def _save_part(p: Program) -> None:
    row = p.one(Invoice)
    row.status, row.reminders = p.text()[:20], p.number()
    row.save(update_fields=p._random.choice([["status"], ["reminders"], []]))


def _save_stale(p: Program) -> None:
    row = p.stale()
    row.customer = None
    row.save()  # makes it anew if it is gone


def _save_expression(p: Program) -> None:
    row = p.one(Invoice)
    row.reminders = F("reminders") + 1
    row.save()


def _save_inherited(p: Program) -> None:
    row = p.one(Warehouse)
    row.name, row.capacity = p.text(), p.number()
    row.save()


def _save_copy(p: Program) -> None:
    row = p.one(Line)
    row.pk = None
    row.save()
    Parcel(weight=p.number()).save()


def _bulk_create(p: Program) -> None:
    Tag.objects.bulk_create([Tag(name=p.text()) for _ in range(3)])


def _bulk_create_ignoring(p: Program) -> None:
    names = [p.one(Tag).name, p.text()]
    Tag.objects.bulk_create([Tag(name=name) for name in names], ignore_conflicts=True)


def _bulk_create_updating(p: Program) -> None:
    numbers = [p.one(Invoice).number, p.text()]
    Invoice.objects.bulk_create(
        [Invoice(number=number, status="bulk", total=p.number()) for number in numbers],
        update_conflicts=True, unique_fields=["number"], update_fields=["status", "total"],
    )  # fmt: skip


def _bulk_update(p: Program) -> None:
    rows = list(p.some(Invoice))
    for row in rows:
        row.reminders, row.status = p.number(), F("number")
    Invoice.objects.bulk_update(rows, ["reminders", "status"], batch_size=2)


def _update(p: Program) -> None:
    p.some(Invoice).update(status=Concat(Value("s"), "number"), reminders=F("reminders") + 1)
    p.some(OpenInvoice).filter(status="draft").update(customer=p.one(Customer))
    p.some(Warehouse).update(name=p.text())


def _update_key(p: Program) -> None:
    Code.objects.filter(pk=p.one(Code).pk).update(code=p.text(), meaning="moved")


def _delete(p: Program) -> None:
    p.one(p._random.choice([Customer, Tag, Invoice, Line, Code, Warehouse])).delete()


def _delete_some(p: Program) -> None:
    p.some(p._random.choice([Customer, Tag, Invoice, Line, Code, Warehouse])).delete()


def _get_or_create(p: Program) -> None:
    Tag.objects.get_or_create(name=p._random.choice([p.one(Tag).name, p.text()]))
    Invoice.objects.update_or_create(
        number=p._random.choice([p.one(Invoice).number, p.text()]),
        defaults={"total": p.number()},
    )


def _link(p: Program) -> None:
    p.one(Invoice).tags.add(*p.some(Tag))
    p.one(Tag).invoices.add(p.one(Invoice))
    p.one(Customer).friends.add(*p.some(Customer))


def _unlink(p: Program) -> None:
    p.one(Invoice).tags.remove(*p.some(Tag))
    p.one(Tag).invoices.remove(*p.some(Invoice))
    p.one(Customer).friends.remove(*p.some(Customer))


def _set_links(p: Program) -> None:
    p.one(Invoice).tags.set(p.some(Tag))
    p.one(Tag).invoices.set(p.some(Invoice))
    p.one(Customer).friends.set(p.some(Customer))


def _clear_links(p: Program) -> None:
    p._random.choice([p.one(Invoice).tags, p.one(Tag).invoices, p.one(Customer).friends]).clear()


def _reverse_key(p: Program) -> None:
    p.one(Customer).invoice_set.set(p.some(Invoice))
    p.one(Customer).invoice_set.clear()


_STEPS: tuple[Callable[[Program], None], ...] = (
    _create, _create, _create, _save, _save_nothing, _save_part, _save_stale, _save_expression,
    _save_inherited, _save_copy, _bulk_create, _bulk_create_ignoring, _bulk_create_updating,
    _bulk_update, _update, _update_key, _delete, _delete_some, _get_or_create, _link, _unlink,
    _set_links, _clear_links, _reverse_key,
)  # fmt: skip
