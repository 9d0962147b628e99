"""`python manage.py demo`: make the database, put a few people into it, and serve."""

from datetime import timedelta
from decimal import Decimal

from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils.timezone import localdate

from invoices.models import Customer, Invoice, Preferences

PASSWORD = "lemon-grove-7"  # of made-up people, printed when the demo starts
PEOPLE = (
    ("ana", "Ana", "Lindqvist", "runs the office: sees everything, may do everything"),
    ("bo", "Bo", "Tanaka", "keeps the books"),
    ("cleo", "Cleo", "Mbeki", "audits: sees the log, changes nothing"),
)
CUSTOMERS = (
    ("Harbour Bakery", "till@harbour.example", "Bergen"),
    ("Studio Nord", "hello@nord.example", "Oslo"),
    ("Pine & Sons", "office@pine.example", "Malmö"),
)
DRAFT, SENT, PAID = Invoice.Status.DRAFT, Invoice.Status.SENT, Invoice.Status.PAID
INVOICES = (  # one after the other for the customers above; Studio Nord has paid nothing yet
    ("1250.00", PAID),
    ("480.50", DRAFT),
    ("9900.00", SENT),
    ("75.25", DRAFT),
    ("310.00", SENT),
    ("2400.00", PAID),
    ("64.90", SENT),
)


class Command(BaseCommand):
    """One command to start."""

    help = "Makes the database if there is none, and serves the example."

    def add_arguments(self, parser):
        parser.add_argument("address", nargs="?", default="127.0.0.1:8000")
        parser.add_argument("--only-data", action="store_true", help="Do not serve.")

    def handle(self, *, address, only_data, **options):
        call_command("migrate", verbosity=0)
        if not User.objects.exists():
            seed()
        self.stdout.write(f"Open http://{address}/ and sign in; everybody's password: {PASSWORD}")
        for name, _, _, what in PEOPLE:
            self.stdout.write(f"  {name:<5} {what}")
        self.stdout.write(f"What they do is at http://{address}/audit/")
        if not only_data:
            call_command("runserver", address, use_reloader=False, insecure_serving=True)


@transaction.atomic
def seed():
    """A small office."""
    bookkeepers = Group.objects.create(name="Bookkeepers")
    bookkeepers.permissions.set(
        Permission.objects.filter(content_type__app_label="invoices").exclude(
            content_type__model="preferences"
        )
    )
    auditors = Group.objects.create(name="Auditors")
    auditors.permissions.set(Permission.objects.filter(codename="view_event"))
    for name, first, last, _ in PEOPLE:
        names = {"first_name": first, "last_name": last}
        make = User.objects.create_superuser if name == "ana" else User.objects.create_user
        user = make(name, f"{name}@larkspur.example", PASSWORD, **names)
        if name == "bo":
            user.groups.add(bookkeepers)
        if name == "cleo":
            user.groups.add(auditors)
    Preferences.objects.create(pk=1)
    customers = [Customer.objects.create(name=n, email=e, city=c) for n, e, c in CUSTOMERS]
    for position, (amount, status) in enumerate(INVOICES):
        Invoice.objects.create(
            number=f"2026-{position + 1:03}",
            customer=customers[position % len(customers)],
            amount=Decimal(amount),
            status=status,
            due=localdate() + timedelta(days=7 * position),
        )
