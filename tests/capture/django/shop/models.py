"""A small shop, with a model for every kind of field and relation that capture must get right."""

# The stubs of Django's fields say nothing without their plugin.
# mypy: disable-error-code="var-annotated, no-any-return"

from __future__ import annotations

import uuid
from typing import ClassVar

import django
from django.conf import settings
from django.db import models


class Customer(models.Model):
    name = models.CharField(max_length=100)
    email = models.EmailField(blank=True, default="")
    password_hint = models.CharField(max_length=100, blank=True, default="")
    api_token = models.CharField(max_length=100, blank=True, default="")
    friends = models.ManyToManyField("self", blank=True)

    def __str__(self) -> str:
        return self.name


class Tag(models.Model):
    name = models.CharField(max_length=50, unique=True)

    def __str__(self) -> str:
        return self.name


class Invoice(models.Model):
    number = models.CharField(max_length=30, unique=True)
    customer = models.ForeignKey(Customer, models.SET_NULL, null=True, blank=True)
    total = models.DecimalField(max_digits=12, decimal_places=2, default=0)
    status = models.CharField(max_length=20, default="draft")
    due_on = models.DateField(null=True, blank=True)
    touched_at = models.DateTimeField(null=True, blank=True)
    reminders = models.IntegerField(default=0)
    data = models.JSONField(null=True, blank=True)
    secret_note = models.TextField(blank=True, default="")
    scan = models.FileField(upload_to="scans", blank=True, default="")
    picture = models.BinaryField(null=True, blank=True)
    tags = models.ManyToManyField(Tag, blank=True, related_name="invoices")

    class Audit:
        sensitive = ("secret_note",)

    def __str__(self) -> str:
        return f"Invoice {self.number}"


class Line(models.Model):
    invoice = models.ForeignKey(Invoice, models.CASCADE, related_name="lines")
    text = models.CharField(max_length=100)
    amount = models.DecimalField(max_digits=12, decimal_places=2, default=0)

    class Audit:
        parent = "invoice"

    def __str__(self) -> str:
        return self.text


class Place(models.Model):
    name = models.CharField(max_length=50)


class Warehouse(Place):
    capacity = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.name


class OpenInvoice(Invoice):
    class Meta:
        proxy = True


class Parcel(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    weight = models.FloatField(default=0)


class Code(models.Model):
    code = models.CharField(primary_key=True, max_length=20)
    meaning = models.CharField(max_length=50, default="")


class Rude(models.Model):
    """Its text raises, or queries, as that of applications does."""

    kind = models.CharField(max_length=10, default="raises")
    invoice = models.ForeignKey(Invoice, models.CASCADE, null=True)

    def __str__(self) -> str:
        if self.kind == "raises":
            raise RuntimeError("no text today")
        return f"{Invoice.objects.count()} invoices"


class Member(models.Model):
    """A link with a table of the project's own."""

    customer = models.ForeignKey(Customer, models.CASCADE)
    club = models.ForeignKey("Club", models.CASCADE)
    since = models.DateField(null=True)


class Club(models.Model):
    name = models.CharField(max_length=50)
    members = models.ManyToManyField(Customer, through=Member)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)


class Hidden(models.Model):
    """Left out by `exclude_models`."""

    name = models.CharField(max_length=50)


class OnlyOpen(models.Manager["Guarded"]):
    def get_queryset(self) -> models.QuerySet[Guarded]:
        return super().get_queryset().filter(is_open=True)


class Guarded(models.Model):
    """Its default manager leaves rows out."""

    name = models.CharField(max_length=50)
    is_open = models.BooleanField(default=True)

    objects = OnlyOpen()
    everything: ClassVar[models.Manager[Guarded]] = models.Manager()


class Note(models.Model):
    """Says which attribute names it, and what of it is nobody's business."""

    title = models.CharField(max_length=50)
    views = models.IntegerField(default=0)
    pin = models.CharField(max_length=10, blank=True, default="")

    class Audit:
        exclude = ("views",)
        label = "title"


if django.VERSION >= (5, 0):

    class Sum(models.Model):
        """The database has two of its values made."""

        left = models.IntegerField(db_default=3)
        right = models.IntegerField(default=0)
        total = models.GeneratedField(
            expression=models.F("left") + models.F("right"),
            output_field=models.IntegerField(),
            db_persist=True,
        )


if django.VERSION >= (5, 2):

    class Seat(models.Model):
        """A key of two columns."""

        pk = models.CompositePrimaryKey("row", "number")
        row = models.IntegerField()
        number = models.IntegerField()
        holder = models.CharField(max_length=50, default="")
