"""One model of ten columns, and what the library of this process wants to be told of it."""

# The libraries that are compared are in an environment of their own, without types.
# mypy: ignore-errors

from __future__ import annotations

import os

from django.db import models


class Item(models.Model):
    """A row like those of invoices, orders and customers."""

    number = models.CharField(max_length=30)
    name = models.CharField(max_length=100)
    email = models.EmailField()
    status = models.CharField(max_length=20, default="draft")
    price = models.DecimalField(max_digits=12, decimal_places=2)
    count = models.IntegerField(default=0)
    is_open = models.BooleanField(default=True)
    due_on = models.DateField()
    note = models.TextField(default="")

    if os.environ.get("BENCH_VARIANT") == "simple-history":
        from simple_history.models import HistoricalRecords

        history = HistoricalRecords()

    def __str__(self) -> str:
        return f"{self.number} {self.name}"


if os.environ.get("BENCH_VARIANT") == "auditlog":
    from auditlog.registry import auditlog

    auditlog.register(Item)
