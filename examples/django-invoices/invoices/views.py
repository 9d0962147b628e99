"""The pages of the office. None of them says a word about the audit log."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required, user_passes_test
from django.contrib.auth.models import User
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from invoices.forms import CustomerForm, InvoiceForm, PersonForm, PreferencesForm
from invoices.models import Customer, Invoice, Preferences

managers_only = user_passes_test(lambda user: user.is_staff)


@login_required
def invoices(request):
    listed = Invoice.objects.select_related("customer")
    return render(request, "invoices/invoices.html", {"invoices": listed})


@login_required
def invoice(request, pk=None):
    found = get_object_or_404(Invoice, pk=pk) if pk else None
    return edit(request, InvoiceForm, found, back="invoices", deletes="delete-invoice")


@login_required
@require_POST
def delete_invoice(request, pk):
    get_object_or_404(Invoice, pk=pk).delete()
    messages.success(request, "The invoice was deleted.")
    return redirect("invoices")


@login_required
@require_POST
def mark_all_paid(request):
    count = Invoice.objects.filter(status=Invoice.Status.SENT).update(status=Invoice.Status.PAID)
    messages.success(request, f"{count} invoices were marked as paid.")
    return redirect("invoices")


@login_required
def customers(request):
    return render(request, "invoices/customers.html", {"customers": Customer.objects.all()})


@login_required
def customer(request, pk=None):
    found = get_object_or_404(Customer, pk=pk) if pk else None
    return edit(request, CustomerForm, found, back="customers")


@login_required
@managers_only
def people(request):
    listed = User.objects.prefetch_related("groups").order_by("username")
    return render(request, "invoices/people.html", {"people": listed})


@login_required
@managers_only
def person(request, pk):
    return edit(request, PersonForm, get_object_or_404(User, pk=pk), back="people")


@login_required
@managers_only
def preferences(request):
    found, _ = Preferences.objects.get_or_create(pk=1)
    return edit(request, PreferencesForm, found, back="preferences")


@login_required
def statement(request, pk):
    """The error to provoke: a statement needs at least one invoice that is paid."""
    found = get_object_or_404(Customer, pk=pk)
    paid = found.invoice_set.filter(status=Invoice.Status.PAID)
    average = sum(each.amount for each in paid) / paid.count()
    return render(request, "invoices/statement.html", {"customer": found, "average": average})


def edit(request, form_class, found, *, back, deletes=None):
    """Show a form, and save what was typed."""
    form = form_class(request.POST or None, instance=found)
    if request.method == "POST" and form.is_valid():
        saved = form.save()
        messages.success(request, f"{saved} was saved.")
        return redirect(back)
    values = {"form": form, "object": found, "back": back, "deletes": deletes}
    return render(request, "invoices/edit.html", values, status=400 if form.errors else 200)
