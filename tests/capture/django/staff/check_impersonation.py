"""Who is really there, with the real packages: `test_impersonation` runs this by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client, override_settings
from django.urls import include, path

from tests.capture.django.site import PASSWORD, a_browser, a_user, actions, an_admin, one
from tests.capture.django.staff.urls import urlpatterns as of_the_site
from whodid.event import Event

Told = Callable[[], list[Event]]

urlpatterns = [
    path("hijack/", include("hijack.urls")),
    path("impersonate/", include("impersonate.urls")),
    *of_the_site,
]
*_FIRST, _AUDIT = settings.MIDDLEWARE
OF_HIJACK = "hijack.middleware.HijackUserMiddleware"
OF_IMPERSONATE = "impersonate.middleware.ImpersonateMiddleware"


@pytest.fixture(params=["ours last", "ours first"], autouse=True)
def _site(request: pytest.FixtureRequest) -> Iterator[None]:
    theirs = [OF_HIJACK, OF_IMPERSONATE]
    ours_last = [*_FIRST, *theirs, _AUDIT]
    ours_first = [_AUDIT, *_FIRST, *theirs]
    middleware = ours_last if request.param == "ours last" else ours_first
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=middleware):
        yield


@pytest.fixture
def support() -> User:
    return an_admin("support")


@pytest.fixture
def ana(support: User, told: Told) -> User:
    ana = a_user("ana")
    told()
    return ana


def by_hijack(browser: Client, user: User) -> None:
    assert browser.post("/hijack/acquire/", {"user_pk": user.pk}).status_code == 302


def by_impersonate(browser: Client, user: User) -> None:
    assert browser.get(f"/impersonate/{user.pk}/").status_code == 302


WAYS: dict[str, tuple[Callable[[Client, User], object], Callable[[Client], object]]] = {
    "hijack": (by_hijack, lambda browser: browser.post("/hijack/release/")),
    "impersonate": (by_impersonate, lambda browser: browser.get("/impersonate/stop/")),
}
by_way = pytest.mark.parametrize("way", WAYS)


def is_for(event: Event, support: User, ana: User) -> bool:
    """Is support the actor, on behalf of ana?"""
    return bool(
        (event.actor.type, event.actor.id, event.actor.name) == ("user", str(support.pk), "support")
        and event.on_behalf_of
        and (event.on_behalf_of.id, event.on_behalf_of.name) == (str(ana.pk), "ana")
        and event.delegation
        and event.delegation.kind == "impersonation"
    )


@by_way
def test_what_is_done_in_another_s_name_is_told_of_who_is_really_there(
    way: str, support: User, ana: User, told: Told
) -> None:
    browser = a_browser(support)
    begin, end = WAYS[way]
    begin(browser, ana)
    told()

    browser.get("/make/editors/")
    assert is_for(one(told(), "role.create"), support, ana)

    end(browser)
    told()
    browser.get("/make/authors/")
    event = one(told(), "role.create")
    assert event.actor.id == str(support.pk)
    assert not event.on_behalf_of


@by_way
def test_beginning_and_ending_are_told_and_nobody_is_said_to_have_signed_in(
    way: str, support: User, ana: User, told: Told
) -> None:
    browser = a_browser(support)
    told()
    begin, end = WAYS[way]

    begin(browser, ana)
    end(browser)

    events = told()
    assert [each for each in actions(events) if each.startswith("user.")] == [
        "user.impersonate", "user.logout",
    ]  # fmt: skip
    for action in ("user.impersonate", "user.logout"):
        event = one(events, action)
        assert is_for(event, support, ana)
        assert (event.targets[0].type, event.targets[0].id) == ("user", str(ana.pk))
        assert event.request
        assert event.request.route


def test_who_hijacks_one_after_the_other_is_still_who_is_really_there(
    support: User, ana: User, told: Told
) -> None:
    ana.is_superuser = ana.is_staff = True
    ana.save()
    bob = a_user("bob")
    browser = a_browser(support)
    by_hijack(browser, ana)
    told()

    by_hijack(browser, bob)
    browser.get("/make/editors/")

    events = told()
    made = one(events, "role.create")
    assert made.actor.id == str(support.pk)
    assert made.on_behalf_of
    assert made.on_behalf_of.id == str(bob.pk)
    assert one(events, "user.impersonate").actor.id == str(support.pk)


@by_way
def test_whoever_may_not_is_told_as_refused_or_nothing(
    way: str, support: User, ana: User, told: Told
) -> None:
    browser = a_browser(ana)
    told()

    if way == "hijack":
        assert browser.post("/hijack/acquire/", {"user_pk": support.pk}).status_code == 403
        expected = ["access.check"]
    else:
        browser.get(f"/impersonate/{support.pk}/")
        expected = []

    assert actions(told()) == expected


def test_a_usual_sign_in_is_still_one(ana: User, told: Told) -> None:
    Client().post("/login/", {"username": "ana", "password": PASSWORD})

    event = one(told(), "user.login")
    assert event.actor.id == str(ana.pk)
    assert not event.on_behalf_of
