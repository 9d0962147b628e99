"""The project of these tests with another user model, which a process can have one of.

For `pytest -p`, since it must be there before the settings of the others are; which model it is
stands in WHODID_USER_MODEL, and in WHODID_MORE_APPS what else is installed.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import django
from django.conf import settings

_FOLDER = Path(tempfile.mkdtemp(prefix="whodid-staff-"))

settings.configure(
    DEBUG=False,
    SECRET_KEY="a secret key for the tests of capture, long enough",
    ALLOWED_HOSTS=["*"],
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    AUTH_USER_MODEL=os.environ["WHODID_USER_MODEL"],
    DATABASES={
        alias: {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(_FOLDER / f"{alias}.db"),
            "OPTIONS": {"timeout": 20},
        }
        for alias in ("default", "other")
    },
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.admin",
        "whodid.capture.django",
        "tests.capture.django.staff",
        "tests.capture.django.shop",
        *os.environ.get("WHODID_MORE_APPS", "").split(),
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
    ROOT_URLCONF="tests.capture.django.staff.urls",
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
)
django.setup()
