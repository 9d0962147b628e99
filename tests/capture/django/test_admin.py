"""The admin's History button shows what whodid knows of an object, to those who may see it."""

# The test client's answers have no types.
# mypy: disable-error-code="attr-defined"

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.http import HttpRequest
from django.test import override_settings
from django.urls import include, path

from tests.capture.django.site import a_browser, a_user, an_admin, site
from tests.capture.django.site_urls import urlpatterns as of_the_site
from whodid.access import Access
from whodid.capture.django.admin import PER_PAGE
from whodid.event import Event

HERE = "tests.capture.django.test_admin"
Told = Callable[[], list[Event]]

urlpatterns = [path("audit/", include("whodid.capture.django.urls")), *of_the_site]


@pytest.fixture(autouse=True)
def _site() -> Iterator[None]:
    with site(ROOT_URLCONF=HERE, STATIC_URL="/static/"):
        yield


def history(group: Group | int) -> str:
    key = group if isinstance(group, int) else group.pk
    return f"/admin/auth/group/{key}/history/"


def renamed(group: Group, name: str) -> Group:
    group.name = name
    group.save()
    return group


def a_clerk(*codenames: str) -> User:
    """Somebody of the staff with these rights."""
    clerk = a_user("clerk", is_staff=True)
    clerk.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    return clerk


def test_the_history_tells_what_was_changed_with_old_and_new() -> None:
    root = an_admin()
    group = renamed(Group.objects.create(name="Editors"), "Night owls")

    page = a_browser(root).get(history(group)).content.decode()

    assert "<del>Editors</del>" in page
    assert "<ins>Night owls</ins>" in page
    assert "Success" in page
    assert 'href="/audit/events/' in page


def test_what_a_form_of_the_admin_did_is_told_with_who_did_it() -> None:
    root = an_admin()
    group = Group.objects.create(name="Editors")
    browser = a_browser(root)
    browser.post(f"/admin/auth/group/{group.pk}/change/", {"name": "Night owls"})

    page = browser.get(history(group)).content.decode()

    assert "<strong>root</strong>" in page
    assert "<ins>Night owls</ins>" in page


def test_the_history_of_another_object_is_not_in_it() -> None:
    group, other = Group.objects.create(name="Editors"), Group.objects.create(name="Printers")

    page = a_browser(an_admin()).get(history(group)).content.decode()

    assert "Editors" in page
    assert other.name not in page


def test_an_object_that_is_gone_has_its_history() -> None:
    root = an_admin()
    group = Group.objects.create(name="Editors")
    key = group.pk
    group.delete()

    answer = a_browser(root).get(history(key))

    assert answer.status_code == 200
    assert "This group is gone." in answer.content.decode()
    assert "Editors" in answer.content.decode()


def test_what_is_in_an_object_is_shown_as_text() -> None:
    group = Group.objects.create(name="<script>alert(1)</script>")

    page = a_browser(an_admin()).get(history(group)).content.decode()

    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_marks_of_direction_turn_nothing_round() -> None:
    tag = Group.objects.create(name="txt\u202eexe.gpj")

    page = a_browser(an_admin()).get(history(tag)).content.decode()
    ours = page[page.index('id="content"') :]

    assert "\u202e" not in ours
    assert "U+202E" in ours


def test_a_long_history_has_pages() -> None:
    root = an_admin()
    group = Group.objects.create(name="Editors")
    for number in range(PER_PAGE):
        renamed(group, f"Editors {number}")
    browser = a_browser(root)

    first = browser.get(history(group))
    older = browser.get(history(group) + first.context["older_url"])

    assert len(first.context["entries"]) == PER_PAGE
    assert len(older.context["entries"]) == 1
    assert older.context["older_url"] is None
    assert older.context["newer_url"]


def test_a_mark_of_another_object_s_pages_begins_at_the_newest() -> None:
    group = Group.objects.create(name="Editors")

    answer = a_browser(an_admin()).get(history(group) + "?cursor=nonsense")

    assert len(answer.context["entries"]) == 1


# -- who may see it --------------------------------------------------------------------------------


def test_staff_who_may_not_see_the_log_gets_the_admin_s_own_history(told: Told) -> None:
    group = renamed(Group.objects.create(name="Editors"), "Night owls")
    browser = a_browser(a_clerk("view_group"))
    told()

    answer = browser.get(history(group))

    assert answer.status_code == 200
    assert "Editors" not in answer.content.decode()
    assert told() == []


def test_who_may_see_the_log_but_not_the_object_in_the_admin_is_refused(told: Told) -> None:
    group = Group.objects.create(name="Editors")
    key = group.pk
    browser = a_browser(a_clerk("view_event"))

    assert browser.get(history(group)).status_code == 403
    group.delete()
    assert browser.get(history(key)).status_code == 403


def test_who_may_both_sees_it() -> None:
    group = Group.objects.create(name="Editors")

    answer = a_browser(a_clerk("view_event", "view_group")).get(history(group))

    assert "Editors" in answer.content.decode()
    assert len(answer.context["entries"]) == 1


def test_nobody_signed_in_is_sent_to_the_admin_s_page_to_sign_in() -> None:
    group = Group.objects.create(name="Editors")

    answer = a_browser().get(history(group))

    assert answer.status_code == 302
    assert answer["location"].startswith("/admin/login/")


def only_acme(request: HttpRequest) -> Access:
    return Access.reader({"acme"})


def test_a_foreign_tenant_s_events_are_not_in_it() -> None:
    group = Group.objects.create(name="Editors")

    with override_settings(WHODID={"authorize": f"{HERE}.only_acme"}):
        answer = a_browser(an_admin()).get(history(group))

    assert answer.context["entries"] == []


def test_a_project_may_keep_the_admin_s_own_history() -> None:
    group = renamed(Group.objects.create(name="Editors"), "Night owls")

    with override_settings(WHODID={"admin_history": False}):
        answer = a_browser(an_admin()).get(history(group))

    assert answer.status_code == 200
    assert "Editors" not in answer.content.decode()


def test_an_object_that_never_was_is_answered_by_the_admin() -> None:
    answer = a_browser(an_admin()).get("/admin/auth/group/no-number/history/")

    assert answer.status_code == 302
    assert answer["location"] == "/admin/"


# -- reading is an event -------------------------------------------------------------------------


def test_looking_at_a_history_is_written_once(told: Told) -> None:
    root = an_admin()
    group = Group.objects.create(name="Editors")
    browser = a_browser(root)
    told()

    browser.get(history(group))
    browser.get(history(group))

    [event] = told()
    assert event.action == "audit.log.search"
    assert event.actor.id == str(root.pk)
    assert event.metadata == {"query": f'target.type:"role" target.id:"{group.pk}"'}


def test_a_history_that_cant_be_noted_is_not_shown() -> None:
    group = Group.objects.create(name="Editors")
    browser = a_browser(an_admin())
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE whodid_event RENAME TO whodid_away")
    try:
        answer = browser.get(history(group))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE whodid_away RENAME TO whodid_event")

    assert answer.status_code == 503
    assert "does not answer just now" in answer.content.decode()
    assert "<ins>" not in answer.content.decode()
