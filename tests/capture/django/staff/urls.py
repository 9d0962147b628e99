"""The pages of the site with another user model."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth import get_user_model, views
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse
from django.urls import include, path


class UserAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # of whichever model it is
    """The plainest one: its form saves the row as it is."""

    exclude = ("password", "last_login")


if not admin.site.is_registered(get_user_model()):
    admin.site.register(get_user_model(), UserAdmin)


def make(request: HttpRequest, name: str) -> HttpResponse:
    Group.objects.create(name=name)
    return HttpResponse()


urlpatterns = [
    path("", lambda request: HttpResponse("nothing happens here")),
    path("admin/", admin.site.urls),
    path("audit/", include("whodid.capture.django.urls")),
    path("login/", views.LoginView.as_view(template_name="admin/login.html", next_page="/")),
    path("logout/", views.LogoutView.as_view(next_page="/")),
    path(
        "password/",
        views.PasswordChangeView.as_view(template_name="admin/login.html", success_url="/"),
    ),
    path(
        "reset/<uidb64>/<token>/",
        views.PasswordResetConfirmView.as_view(template_name="admin/login.html", success_url="/"),
    ),
    path("make/<str:name>/", make),
]
