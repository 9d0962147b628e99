"""The viewer in a Django project: who gets in, what is written down, and what a fault does."""

# The test client's answers have no types.
# mypy: disable-error-code="attr-defined"

from __future__ import annotations

import asyncio
import logging
import re
import unittest
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import TestCase, override_settings
from django.urls import include, path

from tests.capture.django.site import a_browser, a_user, an_admin, an_async_browser, site
from tests.capture.django.site_urls import urlpatterns as of_the_site
from whodid.access import Access
from whodid.capture.django import audit
from whodid.event import Event
from whodid.viewer.render import HEADERS

HERE = "tests.capture.django.test_pages"
READINGS = ("audit.log.view", "audit.log.search")
Told = Callable[[], list[Event]]

urlpatterns = [
    path("audit/", include("whodid.capture.django.urls")),
    path("elsewhere/<int:number>/log/", include("whodid.capture.django.urls")),
    path("sign-in/", lambda request: HttpResponse("sign in here")),
    *of_the_site,
]


@pytest.fixture(autouse=True)
def _site() -> Iterator[None]:
    with site(ROOT_URLCONF=HERE, LOGIN_URL="/sign-in/"):
        yield


def a_reader(name: str = "ida", **fields: Any) -> User:
    user = a_user(name, **fields)
    user.user_permissions.add(Permission.objects.get(codename="view_event"))
    return user


def readings(events: list[Event]) -> list[Event]:
    return [event for event in events if event.action in READINGS]


# -- who gets in ---------------------------------------------------------------------------------


def test_a_superuser_sees_the_log() -> None:
    root = an_admin()
    audit.record("invoice.approve", target="invoice:42", actor=root)

    answer = a_browser(root).get("/audit/")

    assert answer.status_code == 200
    assert b"invoice" in answer.content


def test_a_holder_of_the_permission_sees_the_log() -> None:
    assert a_browser(a_reader()).get("/audit/").status_code == 200


@pytest.mark.parametrize("is_staff", [False, True])
def test_a_user_without_the_permission_is_refused_with_words(is_staff: bool, told: Told) -> None:
    audit.record("invoice.approve", target="invoice:42")

    answer = a_browser(a_user(is_staff=is_staff)).get("/audit/")

    assert answer.status_code == 403
    assert b"invoice" not in answer.content
    assert b"<h1" in answer.content
    assert readings(told()) == []


def test_a_superuser_who_is_suspended_sees_nothing() -> None:
    root = an_admin()
    browser = a_browser(root)
    User.objects.filter(pk=root.pk).update(is_active=False)

    assert browser.get("/audit/").status_code == 302


def test_nobody_signed_in_is_sent_to_where_one_signs_in_and_comes_back() -> None:
    answer = a_browser().get("/audit/?q=actor%3Aana")

    assert answer.status_code == 302
    assert answer["location"] == "/sign-in/?next=/audit/%3Fq%3Dactor%253Aana"


def test_where_no_page_to_sign_in_is_the_admins_is_taken() -> None:
    with override_settings(LOGIN_URL="/accounts/nowhere/"):
        answer = a_browser().get("/audit/")

    assert answer["location"] == "/admin/login/?next=/audit/"


@pytest.mark.parametrize("place", ["events.json", "complete"])
def test_programs_that_are_not_signed_in_are_refused(place: str) -> None:
    assert a_browser().get(f"/audit/{place}").status_code == 403


def test_a_tab_left_open_by_somebody_who_has_signed_out_is_no_attempt_to_get_in(told: Told) -> None:
    browser = a_browser(an_admin())
    browser.get("/audit/")
    browser.logout()
    told()

    for typed in ("a", "ac", "act"):
        assert browser.get(f"/audit/complete?typed={typed}").status_code == 403

    assert told() == []


def test_a_program_that_is_not_signed_in_is_on_record(told: Told) -> None:
    a_browser().get("/audit/events.json")

    [event] = told()
    assert (event.action, event.outcome) == ("access.check", "denied")


def test_a_user_whose_right_was_taken_is_on_record(told: Told) -> None:
    browser = a_browser(a_user())
    told()

    browser.get("/audit/complete?typed=a")

    [event] = told()
    assert (event.action, event.outcome) == ("access.check", "denied")


def test_only_reading_is_answered() -> None:
    assert a_browser(an_admin()).post("/audit/").status_code == 405


def only_acme(request: HttpRequest) -> Access | None:
    return Access.reader({"acme"}) if request.user.is_authenticated else None


async def only_acme_later(request: HttpRequest) -> Access | None:
    return Access.reader({"acme"})


@pytest.mark.parametrize("name", ["only_acme", "only_acme_later"])
def test_the_project_says_who_sees_what(name: str) -> None:
    own = audit.record("invoice.approve", target="invoice:42", tenant="acme")
    foreign = audit.record("invoice.approve", target="invoice:43", tenant="globex")
    browser = a_browser(a_user())

    with override_settings(WHODID={"authorize": f"{HERE}.{name}"}):
        assert browser.get(f"/audit/events/{own}").status_code == 200
        assert browser.get(f"/audit/events/{foreign}").status_code == 404
        assert browser.get(f"/audit/events/{foreign}.json").status_code == 404
        assert b"globex" not in browser.get("/audit/?range=all").content


def test_an_answer_that_is_no_access_lets_nobody_in() -> None:
    with override_settings(WHODID={"authorize": lambda request: True}):
        assert a_browser(an_admin()).get("/audit/").status_code == 500


# -- at any address, in any project ---------------------------------------------------------------


def test_the_pages_work_at_any_address() -> None:
    event = audit.record("invoice.approve", target="invoice:42")
    browser = a_browser(an_admin())

    page = browser.get("/elsewhere/7/log/?range=all").content.decode()

    assert f'href="/elsewhere/7/log/events/{event}' in page
    assert browser.get(f"/elsewhere/7/log/events/{event}").status_code == 200


def test_the_pages_work_below_a_script_name() -> None:
    with override_settings(FORCE_SCRIPT_NAME="/office"):
        page = a_browser(an_admin()).get("/audit/").content.decode()

    assert 'action="/office/audit/' in page or 'href="/office/audit/' in page
    assert 'href="/audit/' not in page


def test_the_style_sheet_is_everybodys_and_kept_by_browsers() -> None:
    page = a_browser(an_admin()).get("/audit/").content.decode()
    found = re.search(r'href="(/audit/static/[^"]+\.css)"', page)
    assert found

    answer = a_browser().get(found[1])

    assert answer.status_code == 200
    assert answer["content-type"] == "text/css; charset=utf-8"
    again = a_browser().get(found[1], headers={"if-none-match": answer["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_headers_of_the_viewer_are_kept() -> None:
    middleware = (
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
        "django.middleware.common.CommonMiddleware",
    )
    with override_settings(MIDDLEWARE=[*middleware, *site().options["MIDDLEWARE"]]):
        answer = a_browser(an_admin()).get("/audit/")

    assert {name: answer[name] for name in HEADERS} == dict(HEADERS)
    assert answer["cache-control"] == "no-store"


def test_the_pages_work_in_an_asynchronous_project(told: Told) -> None:
    browser = an_async_browser(an_admin())
    told()

    assert asyncio.run(browser.get("/audit/")).status_code == 200

    assert len(readings(told())) == 1


# -- the way back ----------------------------------------------------------------------------------


def a_drawer(browser: Any, target: str) -> str:
    event = audit.record("thing.touch", target=target)
    page: str = browser.get(f"/audit/events/{event}").content.decode()
    return page


@pytest.mark.parametrize(
    ("target", "url"),
    [("role:7", "/admin/auth/group/7/change/"), ("user:a/b", "/admin/auth/user/a_2Fb/change/")],
)
def test_an_event_leads_to_the_record_in_the_admin(target: str, url: str) -> None:
    assert f'<a class="link" href="{url}">open</a>' in a_drawer(a_browser(an_admin()), target)


def test_an_admin_who_may_not_look_at_the_record_has_no_link() -> None:
    ida = a_reader(is_staff=True)
    assert "/admin/auth/group/" not in a_drawer(a_browser(ida), "role:7")

    ida.user_permissions.add(Permission.objects.get(codename="view_group"))
    assert "/admin/auth/group/7/change/" in a_drawer(a_browser(ida), "role:7")


def test_who_may_not_open_the_admin_has_no_link_into_it() -> None:
    ida = a_reader()
    ida.user_permissions.add(Permission.objects.get(codename="view_group"))

    assert "/admin/" not in a_drawer(a_browser(ida), "role:7")


def test_a_record_that_the_admin_does_not_show_has_no_link() -> None:
    assert ">open</a>" not in a_drawer(a_browser(an_admin()), "session:7")


def test_settings_of_several_models_have_no_link() -> None:
    browser = a_browser(an_admin())

    with override_settings(WHODID={"settings_models": ["auth.Group", "auth.User"]}):
        assert ">open</a>" not in a_drawer(browser, "settings:7")
    with override_settings(WHODID={"settings_models": ["auth.Group"]}):
        assert "/admin/auth/group/7/change/" in a_drawer(browser, "settings:7")


def test_an_admin_that_cant_say_who_may_open_it_leaves_the_page_readable(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Any, request: HttpRequest, obj: Any = None) -> bool:
        raise LookupError("secret")

    monkeypatch.setattr(type(admin.site._registry[Group]), "has_view_permission", broken)

    with caplog.at_level(logging.WARNING, "whodid"):
        assert ">open</a>" not in a_drawer(a_browser(an_admin()), "role:7")

    assert "an admin can't say who may open it: LookupError" in caplog.text


def test_the_header_says_who_is_signed_in_and_leads_back() -> None:
    root = a_browser(an_admin()).get("/audit/").content.decode()
    ida = a_browser(a_reader(first_name="Ida", last_name="Wells")).get("/audit/").content.decode()

    assert 'href="/admin/">' in root
    assert "<bdi>Admin</bdi></a>" in root
    assert 'title="Signed in as root"' in root
    assert 'href="/">' in ida
    assert "<bdi>Site</bdi></a>" in ida
    assert 'title="Signed in as Ida Wells"' in ida


def test_the_only_tenant_of_a_project_goes_without_a_name() -> None:
    audit.record("invoice.approve", target="invoice:42")
    browser = a_browser(an_admin())

    with override_settings(WHODID={"authorize": lambda request: Access.reader({"default"})}):
        # Other tests' events may have the word in a message.
        page = browser.get("/audit/?q=action:invoice.approve").content.decode()

    assert "invoice.approve" in page
    assert "default" not in page


def test_the_pages_name_the_command_that_runs_here() -> None:
    page = a_drawer(a_browser(an_admin()), "role:7")

    assert "</i>python manage.py whodid verify</code>" in page


# -- reading is an event --------------------------------------------------------------------------


def test_a_reading_is_written_once_with_who_and_what(told: Told) -> None:
    ida = a_reader(first_name="Ida", last_name="Wells")
    browser = a_browser(ida)
    told()

    for _ in range(3):
        browser.get("/audit/?q=actor%3Aana")

    [event] = told()
    assert event.action == "audit.log.search"
    assert event.metadata == {"query": "actor:ana"}
    assert (event.actor.id, event.actor.name) == (str(ida.pk), "Ida Wells")
    assert event.client
    assert event.client.ip == "127.0.0.1"
    assert event.source
    assert event.source.component == "viewer"


def test_another_session_of_the_same_person_is_another_reader(told: Told) -> None:
    ida = a_reader()
    told()

    for browser in (a_browser(ida), a_browser(ida)):
        browser.get("/audit/")

    assert len(readings(told())) == 2


def test_an_event_that_is_opened_is_named(told: Told) -> None:
    event = audit.record("invoice.approve", target="invoice:42")
    browser = a_browser(an_admin())
    told()

    browser.get(f"/audit/events/{event}")

    opened = [target.id for each in readings(told()) for target in each.targets or ()]
    assert opened == [event]


def test_a_reading_is_there_when_the_project_wraps_requests_in_transactions(told: Told) -> None:
    browser = a_browser(an_admin())
    told()

    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        assert browser.get("/audit/?q=atomic").status_code == 200
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False

    assert len(readings(told())) == 1


def test_what_was_read_in_a_transaction_that_is_rolled_back_is_read_anew(told: Told) -> None:
    browser = a_browser(an_admin())
    told()

    with transaction.atomic():
        assert browser.get("/audit/?q=undone").status_code == 200
        transaction.set_rollback(True)
    assert readings(told()) == []

    browser.get("/audit/?q=undone")
    assert len(readings(told())) == 1


def test_a_project_s_own_test_sees_in_the_pages_what_it_did() -> None:
    class InATest(TestCase):
        def test_it(self) -> None:
            browser = a_browser(an_admin())
            Group.objects.create(name="Night owls")
            self.assertContains(browser.get("/audit/?range=all"), "Night owls")

    result = unittest.TestResult()
    unittest.TestSuite([InATest("test_it")]).run(result)

    assert (result.testsRun, result.errors, result.failures) == (1, [], [])


# -- when the log does not answer ------------------------------------------------------------------


@pytest.fixture
def broken() -> Iterator[None]:
    """The table of events is gone for a while."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE whodid_event RENAME TO whodid_away")
    yield
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE whodid_away RENAME TO whodid_event")


def test_a_reading_that_cant_be_written_is_refused_and_the_project_goes_on(
    request: pytest.FixtureRequest,
) -> None:
    audit.record("invoice.approve", target="invoice:42")
    browser = a_browser(an_admin())
    request.getfixturevalue("broken")

    answer = browser.get("/audit/?q=broken")

    assert answer.status_code == 503
    assert answer["retry-after"]
    assert b"invoice" not in answer.content
    assert browser.get("/").status_code == 200
    assert browser.get("/audit/events.json?q=broken").json()["status"] == 503
