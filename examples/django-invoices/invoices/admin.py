"""The same in Django's admin, whose History button shows what whodid knows."""

from django.contrib import admin

from invoices.models import Customer, Invoice, Preferences


@admin.register(Invoice)
class InvoiceAdmin(admin.ModelAdmin):
    list_display = ("number", "customer", "amount", "status", "due")
    list_filter = ("status",)


admin.site.register([Customer, Preferences])
