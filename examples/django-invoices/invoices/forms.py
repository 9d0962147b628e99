"""What can be typed in."""

from django import forms
from django.contrib.auth.models import Group, User

from invoices.models import Customer, Invoice, Preferences


class InvoiceForm(forms.ModelForm):
    due = forms.DateField(widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}))

    class Meta:
        model = Invoice
        fields = ("number", "customer", "amount", "status", "due")


class CustomerForm(forms.ModelForm):
    class Meta:
        model = Customer
        fields = ("name", "email", "city")


class PreferencesForm(forms.ModelForm):
    class Meta:
        model = Preferences
        fields = ("company", "payment_days", "sends_reminders")


class PersonForm(forms.ModelForm):
    """Whether somebody may sign in, and what as."""

    is_active = forms.BooleanField(label="May sign in", required=False)
    groups = forms.ModelMultipleChoiceField(
        Group.objects.order_by("name"),
        label="Roles",
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )

    class Meta:
        model = User
        fields = ("first_name", "last_name", "email", "is_active", "groups")
