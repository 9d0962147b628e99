"""Every sign-in, sign-out and failed try is told, and no password ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import ClassVar

import django
import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from msgspec import UNSET

from tests.capture.django.site import (
    PASSWORD,
    a_browser,
    a_user,
    actions,
    an_admin,
    an_async_browser,
    one,
    site,
)
from whodid.capture.django.logins import kept_username, method_of
from whodid.event import Event
from whodid.redaction import MASK

Told = Callable[[], list[Event]]


@pytest.fixture(autouse=True)
def _site() -> Iterator[None]:
    with site():
        yield


def _try(name: str, password: str = PASSWORD, *, at: str = "/login/") -> int:
    answer = a_browser().post(at, {"username": name, "password": password})
    return answer.status_code


# -- in and out ----------------------------------------------------------------------------------


def test_a_sign_in_is_told_once_and_its_time_in_the_row_is_not(told: Told) -> None:
    ana = a_user(first_name="Ana", last_name="Lima")
    told()

    assert _try("ana") == 302

    events = told()
    assert actions(events) == ["user.login"]
    event = events[0]
    assert (event.actor.type, event.actor.id, event.actor.name) == ("user", str(ana.pk), "Ana Lima")
    assert event.actor.auth
    assert event.actor.auth.method == "password"
    assert (event.targets[0].type, event.targets[0].name) == ("user", "ana")
    assert event.outcome in (UNSET, "success")
    assert event.client
    assert event.client.ip == "127.0.0.1"


def test_a_sign_in_to_the_admin_is_told(told: Told) -> None:
    an_admin()
    told()

    _try("root", at="/admin/login/")

    assert actions(told()) == ["user.login"]


def test_a_user_that_the_application_vouches_for_has_proved_nothing_to_us(told: Told) -> None:
    from django.contrib.auth import login
    from django.contrib.sessions.backends.db import SessionStore

    request = HttpRequest()
    request.session = SessionStore()
    ana = a_user()
    told()

    login(request, ana)

    assert one(told(), "user.login").actor.auth is UNSET


def test_a_sign_out_is_told(told: Told) -> None:
    browser = a_browser(a_user())
    told()

    browser.post("/logout/")

    event = one(told(), "user.logout")
    assert event.actor.name == "ana"


def test_nobody_signing_out_is_nothing(told: Told) -> None:
    a_browser().post("/logout/")

    assert told() == []


@pytest.mark.skipif(django.VERSION < (5, 0), reason="Django 5.0 brought it")
def test_an_async_sign_in_is_told(told: Told) -> None:
    a_user()
    told()

    with override_settings(ROOT_URLCONF=__name__):
        asyncio.run(_visit("/"))

    event = one(told(), "user.login")
    assert event.actor.name == "ana"


async def _visit(path: str) -> None:
    await an_async_browser().get(path)


async def sign_in(request: HttpRequest) -> HttpResponse:
    from django.contrib.auth import aauthenticate, alogin

    user = await aauthenticate(request, username="ana", password=PASSWORD)
    assert user is not None
    await alogin(request, user)
    return HttpResponse()


def _urls() -> list[object]:
    from django.urls import path

    return [path("", sign_in)]


urlpatterns = _urls()


@pytest.mark.parametrize("address", ["/token/", "/jwt/"])
def test_signing_in_for_a_token_is_a_sign_in(address: str, told: Told) -> None:
    a_user()
    told()

    assert _try("ana", at=address) == 200

    event = one(told(), "user.login")
    assert event.actor.name == "ana"
    assert event.actor.auth
    assert event.actor.auth.method == "password"


# -- failures ------------------------------------------------------------------------------------


def test_a_wrong_password_is_told_with_who_was_tried_and_why(told: Told) -> None:
    ana = a_user()
    told()

    _try("ana", "wrong-horse-9")

    event = one(told(), "user.login")
    assert event.outcome == "failure"
    assert event.reason
    assert event.reason.code == "bad_password"
    assert (event.actor.type, event.actor.id) == ("user", str(ana.pk))
    assert (event.targets[0].id, event.targets[0].name) == (str(ana.pk), "ana")


def test_a_name_of_no_account_is_told(told: Told) -> None:
    _try("eve@example.com")

    event = one(told(), "user.login")
    assert event.reason
    assert event.reason.code == "unknown_user"
    assert event.actor.type == "anonymous"
    assert (event.targets[0].id, event.targets[0].name) == (UNSET, MASK)  # names are none here


def test_an_address_of_no_account_is_told_where_people_sign_in_with_theirs(told: Told) -> None:
    backends = ["tests.capture.django.test_logins.ByAddress"]
    with override_settings(AUTHENTICATION_BACKENDS=backends):
        assert authenticate(email="eve@example.com", password="wrong") is None

    assert one(told(), "user.login").targets[0].name == "eve@example.com"


class ByAddress(BaseBackend):
    """Looks for accounts by their e-mail address, of which it knows none."""


class AsksTheNetwork:
    """A password validator that asks a service, which does not answer."""

    asked: ClassVar[list[str]] = []

    def validate(self, password: str, user: object = None) -> None:
        self.asked.append(password)
        raise ConnectionError("no answer")


def test_a_validator_of_somebody_else_s_is_not_asked_about_a_name(told: Told) -> None:
    validators = [
        {"NAME": f"{__name__}.AsksTheNetwork"},
        {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
    ]
    with override_settings(AUTH_PASSWORD_VALIDATORS=validators):
        _try("eve")
        _try("4711")

    assert AsksTheNetwork.asked == []
    assert [event.targets[0].name for event in told()] == [MASK, "4711"]


def test_a_name_that_no_database_can_look_for_is_told(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_number(name: str) -> User:
        return User.objects.get(pk=int(name))

    monkeypatch.setattr(User._default_manager, "get_by_natural_key", by_number)
    backends = ["tests.capture.django.test_logins.ByAddress"]
    with override_settings(AUTHENTICATION_BACKENDS=backends):
        authenticate(email="9" * 40, password="wrong")

    assert one(told(), "user.login").outcome == "failure"


def test_an_account_that_is_suspended_is_told_as_such(told: Told) -> None:
    a_user(is_active=False)
    told()

    _try("ana")

    event = one(told(), "user.login")
    assert event.reason
    assert event.reason.code == "disabled"


def test_a_failure_outside_of_a_request_is_told(told: Told) -> None:
    a_user()
    told()

    assert authenticate(username="ana", password="wrong") is None

    assert one(told(), "user.login").outcome == "failure"


def test_credentials_without_a_name_are_told_without_one(told: Told) -> None:
    with override_settings(
        AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.RemoteUserBackend"]
    ):
        assert authenticate(code="a1b2c3d4e5") is None

    event = one(told(), "user.login")
    assert (event.actor.type, event.targets, event.reason) == ("anonymous", (), UNSET)


@pytest.mark.parametrize("address", ["/token/", "/jwt/"])
def test_a_refused_answer_to_a_failed_sign_in_is_not_told_twice(address: str, told: Told) -> None:
    a_user()
    told()

    assert _try("ana", "wrong-horse-9", at=address) in (400, 401)

    assert actions(told()) == ["user.login"]


def test_a_failed_sign_in_stays_when_the_view_s_transaction_is_undone(told: Told) -> None:
    from django.db import transaction

    a_user()
    told()

    def fail_and_undo() -> None:
        with transaction.atomic():
            authenticate(username="ana", password="wrong")
            raise ValueError("undone")

    with pytest.raises(ValueError, match="undone"):
        fail_and_undo()

    assert one(told(), "user.login").outcome == "failure"


# -- what may be kept of a name ------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["hunter2-Zq!", "correct horse battery", "a1b2c3d4e5f6", "x" * 600]
)
def test_a_name_that_could_be_a_password_is_masked(name: str) -> None:
    assert kept_username(name) == MASK


@pytest.mark.parametrize("name", ["admin", "root", "test", "4711", ""])
def test_a_name_that_can_be_no_password_is_kept(name: str) -> None:
    assert kept_username(name) == name


def test_where_any_text_may_be_a_password_only_addresses_are_kept() -> None:
    with override_settings(AUTH_PASSWORD_VALIDATORS=[]):
        assert kept_username("admin", is_address=True) == MASK
        assert kept_username("eve@example.com", is_address=True) == "eve@example.com"


def test_what_looks_like_an_address_may_be_a_password_where_names_are_none() -> None:
    assert kept_username("P@ssw0rd.Go") == MASK


def test_a_password_in_the_field_of_the_name_is_not_kept(told: Told) -> None:
    _try("hunter2-Zq!", "whatever-else-9")

    assert one(told(), "user.login").targets[0].name == MASK


@pytest.mark.parametrize(
    ("backend", "method"),
    [
        ("django.contrib.auth.backends.ModelBackend", "password"),
        ("django_auth_ldap.backend.LDAPBackend", "ldap"),
        ("mozilla_django_oidc.auth.OIDCAuthenticationBackend", "oidc"),
        ("djangosaml2.backends.Saml2Backend", "saml"),
        ("shop.auth.CarrierPigeon", UNSET),
        (None, UNSET),
    ],
)
def test_how_somebody_signed_in_is_told_by_the_backend(backend: object, method: object) -> None:
    assert method_of(backend) == method


def test_no_user_is_made_or_changed_by_being_tried() -> None:
    a_user()

    _try("eve@example.com")

    assert [user.username for user in User.objects.all()] == ["ana"]
