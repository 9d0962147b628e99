"""What `manage.py check` says about whodid: wrong settings, and a line that is missing.

Of the three lines each works without the others, and what is missing is seen late: without the
middleware changes have no actor and no address. So a missing middleware is a warning, and a
middleware or pages without the app are refused (`check_app_is_installed`): nothing would be
recorded then, and the pages would show an empty log.

The order of `MIDDLEWARE` is not checked: who acts is asked when an event is made, not when a
request comes in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.conf import settings as project
from django.core import checks
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

APP = "whodid.capture.django"
_MIDDLEWARE = f"{APP}.AuditMiddleware"
_AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"


def check_app_is_installed(whose: str) -> None:
    """Let those parts work that need the app.

    Args:
        whose: Which part asks, as its path.

    Raises:
        ImproperlyConfigured: `INSTALLED_APPS` lacks the app, so that nothing would be recorded.
    """
    if not apps.is_installed(APP):
        raise ImproperlyConfigured(
            f'{whose} needs the app: add "{APP}" to INSTALLED_APPS, then run manage.py migrate'
        )


def register_checks() -> None:
    """Have `manage.py check` ask the functions below. Idempotent."""
    checks.register(wrong_settings)
    checks.register(missing_middleware)
    checks.register(unreachable_pages, checks.Tags.urls)


def wrong_settings(**_: object) -> list[CheckMessage]:
    """E001: `settings.WHODID` can't be read, or names no log."""
    from whodid.capture.django.conf import get_audit, get_settings
    from whodid.errors import AuditError

    try:
        get_settings()
        get_audit().ensure_open()
    except AuditError as error:
        return [checks.Error(str(error), id="whodid.E001")]
    return []


def missing_middleware(**_: object) -> list[CheckMessage]:
    """W001: changes are recorded, but not who made them, from where, and in which request."""
    from whodid.capture.django.middleware import AuditMiddleware

    if _has_middleware(AuditMiddleware):
        return []
    return [
        checks.Warning(
            "MIDDLEWARE lacks whodid's: events have no actor, no address and no request",
            hint=f'Add "{_MIDDLEWARE}" to MIDDLEWARE, at any place.',
            id="whodid.W001",
        )
    ]


def unreachable_pages(**_: object) -> list[CheckMessage]:
    """W002: the urls hold the pages of the log, and nothing says who asks for them."""
    from whodid.capture.django.conf import get_settings
    from whodid.errors import ConfigError

    try:
        has_authorize = get_settings().authorize is not None
    except ConfigError:
        return []  # which is told as E001
    if has_authorize or not apps.is_installed("django.contrib.auth") or not _are_included():
        return []
    if _has_middleware(import_string(_AUTHENTICATION)):
        return []
    return [
        checks.Warning(
            "nobody can see the pages of the audit log: requests have no user",
            hint=f"Add \"{_AUTHENTICATION}\" to MIDDLEWARE, or set WHODID['authorize'].",
            id="whodid.W002",
        )
    ]


def _has_middleware(wanted: type[Any]) -> bool:
    """Is it in `MIDDLEWARE`, or a class that is made of it?"""
    return any(
        isinstance(found, type) and issubclass(found, wanted)
        for found in map(_imported, project.MIDDLEWARE)
    )


def _imported(path: str) -> object:
    try:
        return import_string(path)
    except ImportError:
        return None  # Django says so when it starts


def _are_included() -> bool:
    """Are the pages of the log anywhere among the project's urls?"""
    from django.urls import get_resolver

    return bool(getattr(project, "ROOT_URLCONF", "")) and _is_among(get_resolver().url_patterns)


def _is_among(patterns: Iterable[Any]) -> bool:
    """Is the app that `urls` names among these, at any depth?"""
    return any(
        getattr(each, "app_name", None) == "whodid" or _is_among(getattr(each, "url_patterns", ()))
        for each in patterns
    )
