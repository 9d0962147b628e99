"""`path("audit/", include("whodid.capture.django.urls"))`: the pages of the log, at any place."""

from __future__ import annotations

from django.urls import re_path

from whodid.capture.django import checks, pages

checks.check_app_is_installed("include('whodid.capture.django.urls')")

app_name = "whodid"

_page = pages.untouched_by_transactions(pages.page)
_page.login_required = False  # who may see what is said by `authorize`, also under
# LoginRequiredMiddleware: the viewer's style sheet is everybody's

urlpatterns = [
    re_path(r"^$", _page, name="events"),
    re_path(r"^(?P<path>.+)$", _page, name="page"),
]
