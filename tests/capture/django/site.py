"""Who visits the site of `site_urls`, and with what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.auth.models import User
from django.test import AsyncClient, Client, override_settings

from whodid.event import Event

URLS = "tests.capture.django.site_urls"
PASSWORD = "correct-horse-9"
MIDDLEWARE = (
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
)
AUDIT = "whodid.capture.django.AuditMiddleware"
VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]


def site(**settings: Any) -> override_settings:
    """The site's settings while a block runs."""
    ours: dict[str, Any] = {
        "ROOT_URLCONF": URLS,
        "MIDDLEWARE": [*MIDDLEWARE, AUDIT],
        "ALLOWED_HOSTS": ["*"],
        "AUTH_PASSWORD_VALIDATORS": VALIDATORS,
    }
    return override_settings(**ours | settings)


def a_user(name: str = "ana", **fields: Any) -> User:
    """An account whose password is PASSWORD."""
    return User.objects.create_user(name, f"{name}@example.com", PASSWORD, **fields)


def an_admin(name: str = "root") -> User:
    return a_user(name, is_staff=True, is_superuser=True)


def a_browser(user: User | None = None) -> Client:
    """What the site calls an answer is one, also if a view raised."""
    browser = Client(raise_request_exception=False)
    if user is not None:
        browser.force_login(user)
    return browser


def an_async_browser(user: User | None = None) -> AsyncClient:
    browser = AsyncClient(raise_request_exception=False)
    if user is not None:
        browser.force_login(user)
    return browser


def actions(events: Sequence[Event]) -> list[str]:
    return [event.action for event in events]


def one(events: Sequence[Event], action: str) -> Event:
    """The only one of these events with this action."""
    found = [event for event in events if event.action == action]
    if len(found) != 1:
        raise AssertionError(f"expected one {action}, got {actions(events)}")
    return found[0]


def sides(event: Event) -> dict[str, tuple[object, object]]:
    """Old and new by field; UNSET where there is none."""
    return {change.path: (change.old, change.new) for change in event.changes}
