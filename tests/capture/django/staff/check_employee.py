"""A user model that adds to Django's: `test_custom_users` runs this in a process of its own."""

# The stubs of Django's relations say nothing without their plugin.
# mypy: disable-error-code="attr-defined"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.contrib.auth.tokens import default_token_generator
from django.core.management import call_command
from django.test import Client, override_settings
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode
from msgspec import UNSET

from tests.capture.django.site import actions, one, sides
from tests.capture.django.staff.models import Employee, Team
from whodid.capture.django import audit
from whodid.event import Event
from whodid.redaction import MASK

Told = Callable[[], list[Event]]
PASSWORD = "correct-horse-9"


@pytest.fixture
def ana(told: Told) -> Employee:
    ana = Employee.objects.create_user("ana", "ana@example.com", PASSWORD, badge="7")
    told()
    return ana


@pytest.fixture
def root(told: Told) -> Employee:
    root = Employee.objects.create_superuser("root", "root@example.com", PASSWORD)
    told()
    return root


def browser_of(user: Employee) -> Client:
    browser = Client(raise_request_exception=False)
    browser.force_login(user)
    return browser


def test_this_is_the_project_s_user_model() -> None:
    assert get_user_model() is Employee


def test_a_new_account_is_told_with_the_fields_of_the_project_s(told: Told) -> None:
    ana = Employee.objects.create_user("ana", password=PASSWORD, badge="7", mfa_secret="JBSWY3DP")

    event = one(told(), "user.create")
    target = event.targets[0]
    assert (target.type, target.id, target.name) == ("user", str(ana.pk), "ana")
    assert sides(event)["badge"] == (UNSET, "7")
    assert sides(event)["mfa_secret"] == (UNSET, MASK)
    assert sides(event)["password"] == (UNSET, MASK)


def test_a_superuser_by_command_is_told_with_the_roles_that_makes(told: Told) -> None:
    call_command("createsuperuser", interactive=False, username="root", email="r@example.com")

    assert sorted(actions(told())) == ["user.create", "user.role.grant", "user.role.grant"]


def test_signing_in_and_out_is_told(ana: Employee, told: Told) -> None:
    browser = Client()
    browser.post("/login/", {"username": "ana", "password": PASSWORD})
    browser.post("/logout/")

    events = told()
    assert actions(events) == ["user.login", "user.logout"]
    assert {(each.actor.id, each.actor.name) for each in events} == {(str(ana.pk), "ana")}


def test_failing_to_sign_in_is_told(ana: Employee, told: Told) -> None:
    Client().post("/login/", {"username": "ana", "password": "wrong"})

    event = one(told(), "user.login")
    assert event.outcome == "failure"
    assert event.reason
    assert (event.reason.code, event.targets[0].id) == ("bad_password", str(ana.pk))


def test_a_field_of_the_project_s_is_an_update(ana: Employee, root: Employee, told: Told) -> None:
    ana.badge, ana.manager = "8", root
    ana.save()

    event = one(told(), "user.update")
    assert sides(event)["badge"] == ("7", "8")
    assert sides(event)["manager"] == (None, root.pk)


def test_a_link_of_the_project_s_is_an_update_of_the_account(ana: Employee, told: Told) -> None:
    team = Team.objects.create(name="Sales")
    told()

    ana.teams.add(team)
    team.people.remove(ana)

    events = told()
    assert actions(events) == ["user.update", "user.update"]
    assert [event.targets[0].type for event in events] == ["user", "user"]
    assert [event.targets[0].id for event in events] == [str(ana.pk)] * 2


def test_one_save_with_several_meanings_is_several_events(ana: Employee, told: Told) -> None:
    ana.badge, ana.is_active, ana.is_staff = "8", False, True
    ana.save()

    assert actions(told()) == ["user.update", "user.disable", "user.role.grant"]


def test_an_account_is_enabled_and_deleted(ana: Employee, told: Told) -> None:
    Employee.objects.update(is_active=False)
    Employee.objects.update(is_active=True)
    ana.delete()

    assert actions(told()) == ["user.disable", "user.enable", "user.delete"]


def test_roles_and_rights_are_given_and_taken_by_name(ana: Employee, told: Told) -> None:
    editors = Group.objects.create(name="editors")
    right = Permission.objects.get(codename="view_event")
    told()

    ana.groups.add(editors)
    editors.user_set.remove(ana)
    ana.user_permissions.add(right)
    right.user_set.remove(ana)

    events = told()
    assert actions(events) == [
        "user.role.grant", "user.role.revoke", "permission.grant", "permission.revoke",
    ]  # fmt: skip
    assert [event.changes[0].new or event.changes[0].old for event in events] == [
        "editors", "editors", "whodid.view_event", "whodid.view_event",
    ]  # fmt: skip
    assert {event.targets[0].id for event in events} == {str(ana.pk)}


def test_who_changes_their_own_password_changes_it(ana: Employee, told: Told) -> None:
    browser = browser_of(ana)
    told()

    browser.post(
        "/password/",
        {"old_password": PASSWORD, "new_password1": "another-9!", "new_password2": "another-9!"},
    )

    event = one(told(), "user.password.change")
    assert event.actor.id == str(ana.pk)
    assert sides(event) == {"password": (MASK, MASK)}


def test_a_password_by_link_is_reset(ana: Employee, told: Told) -> None:
    key = urlsafe_base64_encode(force_bytes(ana.pk))
    browser = Client()
    browser.get(f"/reset/{key}/{default_token_generator.make_token(ana)}/")

    new = {"new_password1": "another-9!", "new_password2": "another-9!"}
    browser.post(f"/reset/{key}/set-password/", new)

    assert one(told(), "user.password.reset").targets[0].id == str(ana.pk)


def test_the_log_is_for_superusers_and_holders_of_the_right(ana: Employee, root: Employee) -> None:
    browser = browser_of(ana)
    assert browser.get("/audit/").status_code == 403

    ana.user_permissions.add(Permission.objects.get(codename="view_event"))

    assert browser.get("/audit/").status_code == 200
    assert browser_of(root).get("/audit/").status_code == 200


def test_a_form_of_the_admin_is_told_and_shown_in_the_history(
    ana: Employee, root: Employee, told: Told
) -> None:
    browser = browser_of(root)
    told()
    page = f"/admin/staff/employee/{ana.pk}"
    form: dict[str, Any] = {
        "username": "ana", "badge": "as it is now", "date_joined_0": "2026-01-01",
        "date_joined_1": "10:00:00", "is_active": "on",
    }  # fmt: skip

    assert browser.post(f"{page}/change/", form).status_code == 302

    event = one(told(), "user.update")
    assert event.actor.id == str(root.pk)
    assert sides(event)["badge"] == ("7", "as it is now")
    assert b"as it is now" in browser.get(f"{page}/history/").content


def test_the_history_of_an_account_and_of_a_role_is_found(ana: Employee) -> None:
    editors = Group.objects.create(name="editors")
    ana.groups.add(editors)

    assert [event.action for event in audit.history(ana)] == ["user.role.grant", "user.create"]
    assert [event.action for event in audit.history(editors)] == ["role.create"]


def test_more_accounts_than_are_told_one_by_one_are_told_as_accounts(told: Told) -> None:
    with override_settings(WHODID={"bulk_limit": 2}):
        Employee.objects.bulk_create([Employee(username=str(number)) for number in range(3)])

    assert actions(told()) == ["user.create"]
