"""Addresses of the office."""

from django.urls import path

from invoices import views

urlpatterns = [
    path("", views.invoices, name="invoices"),
    path("invoices/new/", views.invoice, name="new-invoice"),
    path("invoices/paid/", views.mark_all_paid, name="mark-all-paid"),
    path("invoices/<int:pk>/", views.invoice, name="invoice"),
    path("invoices/<int:pk>/delete/", views.delete_invoice, name="delete-invoice"),
    path("customers/", views.customers, name="customers"),
    path("customers/new/", views.customer, name="new-customer"),
    path("customers/<int:pk>/", views.customer, name="customer"),
    path("customers/<int:pk>/statement/", views.statement, name="statement"),
    path("people/", views.people, name="people"),
    path("people/<int:pk>/", views.person, name="person"),
    path("settings/", views.preferences, name="preferences"),
]
