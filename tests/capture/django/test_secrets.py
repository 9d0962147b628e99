"""Nothing secret that passes through a Django site is in the log, wherever one looks."""

# Django REST framework and django-constance have no types.
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from constance import config
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.contrib.auth.tokens import default_token_generator
from django.db import connection
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode
from rest_framework.authtoken.models import Token
from rest_framework_simplejwt.tokens import AccessToken

from tests.capture.django.site import a_browser, a_user, an_admin, site
from whodid.capture.django import get_audit
from whodid.capture.django.logins import kept_username
from whodid.event import Event

Told = Callable[[], list[Event]]
Visit = Callable[[], object]

TYPED = "Zq8-typed-password"
NEW = "Zq8-new-password-1"
WRONG = "Zq8-wrong-password"
MISPLACED = "Zq8-in-the-wrong-field"
PARAMETER = "Zq8parameter4711"
CARD = "4111 1111 1111 1111"


@pytest.fixture(autouse=True)
def _site() -> Iterator[None]:
    with site():
        yield


def _everything() -> bytes:
    """All that the log has kept: its tables, its files, and its events as they are read."""
    events = get_audit().search("", limit=1_000)
    kept = [repr(events).encode(), *_rows()]
    name = str(connection.settings_dict["NAME"])
    spool = getattr(get_audit(), "_spool", None)
    folders = [] if spool is None else [Path(spool.folder)]
    kept += [
        path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()
    ]
    assert events, f"nothing was recorded in {name}"
    return b"\n".join(kept)


def _rows() -> Iterator[bytes]:
    """Every value of every table that is the log's own."""
    theirs = {*connection.introspection.django_table_names(), "django_migrations"}
    with connection.cursor() as cursor:
        # Virtual tables are made of others, which are here.
        cursor.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0 ORDER BY name"
        )
        for (table,) in cursor.fetchall():
            if table in theirs or table.startswith("sqlite_"):
                continue
            cursor.execute(f'SELECT * FROM "{table}"')
            for row in cursor.fetchall():
                yield b" ".join(_bytes(value) for value in row)


def _bytes(value: object) -> bytes:
    return bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()


def test_no_secret_of_a_day_s_work_is_kept() -> None:
    secrets = {TYPED, NEW, WRONG, MISPLACED, PARAMETER, CARD, CARD.replace(" ", "")}
    secrets |= set(_a_day_s_work())

    kept = _everything()

    found = [secret for secret in secrets if secret.encode() in kept]
    assert found == []
    assert b"error.raise" in kept  # it did look
    assert b"user.password.change" in kept


def _a_day_s_work() -> Iterator[str]:
    """Use the site as people and attackers do; gives what else became a secret on the way."""
    ana, root = a_user(), an_admin()
    ana.set_password(TYPED)
    ana.save()
    browser = a_browser()
    for name, password in (("ana", WRONG), (MISPLACED, WRONG), ("ana", TYPED)):
        browser.post("/login/", {"username": name, "password": password})
    yield str(browser.session.session_key)
    _err(browser)
    yield from _passwords(ana, root)
    yield from _tokens(ana)
    config.MAIL_PASSWORD = PARAMETER
    for user in User.objects.all():
        yield user.password
        yield user.password.rpartition("$")[2]


def _err(browser: Any) -> None:
    browser.get(f"/make-then-break/password={PARAMETER}/?token={PARAMETER}&q={CARD}")
    browser.get(f"/invite/{PARAMETER}/")
    browser.post(
        f"/make-then-break/x/?api_key={PARAMETER}",
        {"card": CARD, "password": TYPED},
        headers={"authorization": f"Bearer {PARAMETER}", "cookie": f"sid={PARAMETER}",
                 "x-api-key": PARAMETER, "user-agent": f"curl token={PARAMETER}"},
    )  # fmt: skip


def _passwords(ana: User, root: User) -> Iterator[str]:
    admin = a_browser(root)
    form = {"password1": NEW, "password2": NEW, "usable_password": "true"}
    admin.post(f"/admin/auth/user/{ana.pk}/password/", form)
    admin.post("/admin/auth/user/add/", {"username": "ben", **form})
    own = a_browser(User.objects.get(username="root"))
    own.post(
        "/admin/password_change/",
        {"old_password": "correct-horse-9", "new_password1": NEW, "new_password2": NEW},
    )
    ana = User.objects.get(username="ana")
    key, token = urlsafe_base64_encode(force_bytes(ana.pk)), default_token_generator.make_token(ana)
    visitor = a_browser()
    address = visitor.get(f"/reset/{key}/{token}/")["Location"]
    visitor.post(address, {"new_password1": NEW + "x", "new_password2": NEW + "x"})
    User.objects.filter(username="ben").update(password=make_password(NEW))
    yield token


def _tokens(ana: User) -> Iterator[str]:
    token = Token.objects.create(user=ana).key
    jwt = str(AccessToken.for_user(ana))
    for scheme, value in (("Token", token), ("Bearer", jwt), ("Bearer", jwt[:-4] + "AAAA")):
        a_browser().post("/api/editors/", headers={"authorization": f"{scheme} {value}"})
        yield value
    Token.objects.all().delete()
    answer = a_browser().post("/jwt/", {"username": "ana", "password": NEW + "x"}).json()
    yield from answer.values()


def test_what_is_looked_for_could_be_found() -> None:
    """The test above would fail if the log kept what people type."""
    browser = a_browser()
    browser.post("/login/", {"username": "eve@example.com", "password": WRONG})

    assert kept_username("eve@example.com").encode() in _everything()
