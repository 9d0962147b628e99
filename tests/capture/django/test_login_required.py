"""`LoginRequiredMiddleware` of Django: being sent to sign in is neither a refusal nor an error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import django
import pytest
from django.contrib.auth.models import Group
from django.urls import include, path

from tests.capture.django.site import (
    AUDIT,
    MIDDLEWARE,
    PASSWORD,
    a_browser,
    a_user,
    actions,
    an_admin,
    an_async_browser,
    one,
    site,
)
from tests.capture.django.site_urls import urlpatterns as of_the_site
from whodid.event import Event

pytestmark = pytest.mark.skipif(django.VERSION < (5, 1), reason="Django 5.1 and newer have it")

Told = Callable[[], list[Event]]
REQUIRED = "django.contrib.auth.middleware.LoginRequiredMiddleware"

urlpatterns = [path("audit/", include("whodid.capture.django.urls")), *of_the_site]


@pytest.fixture(params=["ours last", "ours first"], autouse=True)
def _site(request: pytest.FixtureRequest) -> Iterator[None]:
    ours_last = [*MIDDLEWARE, REQUIRED, AUDIT]
    ours_first = [AUDIT, *MIDDLEWARE, REQUIRED]
    middleware = ours_last if request.param == "ours last" else ours_first
    with site(ROOT_URLCONF=__name__, MIDDLEWARE=middleware, LOGIN_URL="/login/"):
        yield


@pytest.mark.parametrize("address", ["/make/editors/", "/refuse/", "/break-async/", "/audit/"])
def test_who_is_sent_to_sign_in_is_no_event(address: str, told: Told) -> None:
    answer = a_browser().get(address)

    assert (answer.status_code, answer["Location"]) == (302, f"/login/?next={address}")
    assert answer["X-Request-ID"]
    assert told() == []
    assert not Group.objects.exists()


@pytest.mark.parametrize("address", ["/make-async/editors/", "/break-async/"])
def test_who_is_sent_to_sign_in_from_an_async_view_is_no_event(address: str, told: Told) -> None:
    async def visit() -> Any:
        return await an_async_browser().get(address)

    assert asyncio.run(visit()).status_code == 302
    assert told() == []


def test_signing_in_there_and_failing_to_is_told(told: Told) -> None:
    ana = a_user("ana")
    told()
    browser = a_browser()

    browser.post("/login/?next=/make/editors/", {"username": "ana", "password": "wrong"})
    browser.post("/login/", {"username": "ana", "password": PASSWORD})
    browser.get("/make/editors/")

    events = told()
    assert [(event.action, event.outcome) for event in events] == [
        ("user.login", "failure"), ("user.login", "success"), ("role.create", "success"),
    ]  # fmt: skip
    assert events[2].actor.id == str(ana.pk)


def test_a_refusal_behind_it_is_told_of_who_was_refused(told: Told) -> None:
    ana = a_user("ana")
    browser = a_browser(ana)
    told()

    assert browser.get("/refuse/").status_code == 403
    assert browser.get("/audit/").status_code == 403

    events = told()
    assert set(actions(events)) == {"access.check"}
    assert {event.actor.id for event in events} == {str(ana.pk)}


def test_an_async_view_behind_it_knows_who_acts(told: Told) -> None:
    ana = a_user("ana")
    browser = an_async_browser(ana)
    told()

    async def visit() -> Any:
        return await browser.get("/make-async/editors/")

    assert asyncio.run(visit()).status_code == 200
    assert one(told(), "role.create").actor.id == str(ana.pk)


def test_the_log_behind_it_is_shown_to_who_may_see_it(told: Told) -> None:
    browser = a_browser(an_admin())
    told()

    assert browser.get("/audit/").status_code == 200
    assert actions(told()) == ["audit.log.view"]
