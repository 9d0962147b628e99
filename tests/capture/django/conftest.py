"""A Django project whose log lives in its own SQLite file; everything is really committed."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import django
import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.test.utils import setup_test_environment, teardown_test_environment

from whodid.access import Access
from whodid.event import Event

FOLDER = Path(tempfile.mkdtemp(prefix="whodid-django-"))
_ALL = Access.everything()


def _configure() -> None:
    settings.configure(
        DEBUG=False,
        SECRET_KEY="a secret key for the tests of capture, long enough",
        ALLOWED_HOSTS=["*"],
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        BASE_DIR=FOLDER,
        DATABASES=_databases(),
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.messages",
            "django.contrib.admin",
            *_OTHERS,
            "whodid.capture.django",
            "tests.capture.django.shop",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            "whodid.capture.django.AuditMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        ROOT_URLCONF="tests.capture.django.site_urls",
        CONSTANCE_BACKEND="constance.backends.database.DatabaseBackend",
        CONSTANCE_CONFIG={
            "THEME": ("light", "Colours", str),
            "MAIL_PASSWORD": ("", "Of the mail server", str),
        },
        PASSWORD_HASHERS=[
            "django.contrib.auth.hashers.MD5PasswordHasher",
            "django.contrib.auth.hashers.PBKDF2PasswordHasher",
        ],
        MEDIA_ROOT=str(FOLDER / "media"),
        WHODID={"exclude_models": ["shop.Hidden"]},
    )


def _databases() -> dict[str, dict[str, object]]:
    """SQLite, or two databases of the server that WHODID_DJANGO_POSTGRES names."""
    url = os.environ.get("WHODID_DJANGO_POSTGRES")
    if url is None:
        sqlite = "django.db.backends.sqlite3"
        return {
            "default": {
                "ENGINE": sqlite,
                "NAME": str(FOLDER / "site.db"),
                "OPTIONS": {"timeout": 20},
            },
            "other": {"ENGINE": sqlite, "NAME": str(FOLDER / "other.db")},
        }
    parts = urlsplit(url)
    of_server = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": unquote(parts.hostname or "") or parse_qs(parts.query).get("host", [""])[0],
        "PORT": parts.port or "",
        "USER": parts.username or "",
        "PASSWORD": parts.password or "",
    }
    name = parts.path.lstrip("/")
    return {"default": {**of_server, "NAME": name}, "other": {**of_server, "NAME": f"{name}_other"}}


# They need the Django of the newest release; the oldest one is tested without them.
_OTHERS = ["rest_framework", "rest_framework.authtoken", "constance"] if True else []

if not settings.configured:
    _configure()
    django.setup()


@pytest.fixture(scope="session", autouse=True)
def _project() -> Iterator[None]:
    setup_test_environment()
    for alias in ("default", "other"):
        # Apps without migrations last: their tables refer to those of the others.
        call_command("migrate", verbosity=0, database=alias)
        call_command("migrate", verbosity=0, database=alias, run_syncdb=True)
    yield
    teardown_test_environment()
    connections.close_all()


@pytest.fixture(autouse=True)
def _emptied() -> Iterator[None]:
    """Every table of the project's is empty when a test begins."""
    from whodid import context

    for connection in connections.all():
        if connection.vendor == "sqlite":  # a test about full disks may have left its limit
            connection.ensure_connection()
            connection.connection.execute("PRAGMA max_page_count = 1073741823")
    yield
    with context.disabled():
        for alias in ("default", "other"):
            connection = connections[alias]
            if connection.in_atomic_block:
                raise AssertionError("a test left its transaction open")
            for model in apps.get_models(include_auto_created=True):
                if model._meta.managed and model._meta.app_label != "contenttypes":
                    if model.__name__ == "Permission":
                        continue
                    _empty(connection, model._meta.db_table)


def _empty(connection: Any, table: str) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA foreign_keys = OFF")
            cursor.execute(f'DELETE FROM "{table}"')
            cursor.execute("PRAGMA foreign_keys = ON")
        else:
            cursor.execute(f'TRUNCATE "{table}" CASCADE')


@pytest.fixture
def told() -> Callable[[], list[Event]]:
    """The events that were committed since it was asked last."""
    from whodid.capture.django import get_audit

    store = get_audit().store
    seen = store.newest_position()

    def take() -> list[Event]:
        nonlocal seen
        found = store.read_from(seen + 1, access=_ALL, limit=100_000)
        seen = found[-1].position if found else seen
        return [stored.event for stored in found]

    return take


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Django's own lines about refused requests are no part of what is tested."""
    caplog.set_level(logging.CRITICAL, logger="django.request")
