"""Customers, what they owe, and how the office wants it."""

from django.db import models
from django.urls import reverse


class Customer(models.Model):
    """Somebody who gets invoices."""

    name = models.CharField(max_length=100)
    email = models.EmailField()
    city = models.CharField(max_length=100)

    def __str__(self):
        return self.name

    def get_absolute_url(self):
        return reverse("customer", args=[self.pk])


class Invoice(models.Model):
    """What a customer owes."""

    class Status(models.TextChoices):
        DRAFT = "draft"
        SENT = "sent"
        PAID = "paid"

    number = models.CharField(max_length=20, unique=True)
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE)
    amount = models.DecimalField(max_digits=10, decimal_places=2)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.DRAFT)
    due = models.DateField()

    class Meta:
        ordering = ("-number",)

    def __str__(self):
        return self.number

    def get_absolute_url(self):
        return reverse("invoice", args=[self.pk])


class Preferences(models.Model):
    """The settings of the office: one row."""

    company = models.CharField(max_length=100, default="Larkspur Office")
    payment_days = models.PositiveIntegerField("days to pay", default=14)
    sends_reminders = models.BooleanField("remind of invoices that are due", default=True)

    class Meta:
        verbose_name_plural = "preferences"

    def __str__(self):
        return "Preferences"
