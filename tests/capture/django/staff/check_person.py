"""A user model with an address for a name and no permissions; see `test_custom_users`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.tokens import default_token_generator
from django.core.management import call_command
from django.test import Client, override_settings
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode
from msgspec import UNSET

from tests.capture.django.site import actions, one, sides
from tests.capture.django.staff.models import Person
from whodid.capture.django import audit
from whodid.event import Event
from whodid.redaction import MASK

Told = Callable[[], list[Event]]
PASSWORD = "correct-horse-9"


@pytest.fixture
def ana(told: Told) -> Person:
    ana = Person.objects.create_user("ana@example.com", PASSWORD, full_name="Ana Lima")
    told()
    return ana


@pytest.fixture
def root(told: Told) -> Person:
    root = Person.objects.create_superuser("root@example.com", PASSWORD)
    told()
    return root


def browser_of(user: Person) -> Client:
    browser = Client(raise_request_exception=False)
    browser.force_login(user)
    return browser


def test_a_new_account_is_told_by_its_address(told: Told) -> None:
    ana = Person.objects.create_user("ana@example.com", PASSWORD)

    event = one(told(), "user.create")
    target = event.targets[0]
    assert (target.type, target.id, target.name) == ("user", str(ana.pk), "ana@example.com")
    assert sides(event)["password"] == (UNSET, MASK)
    assert sides(event)["is_admin"] == (UNSET, False)


def test_an_account_by_command_is_told(told: Told) -> None:
    call_command("createsuperuser", interactive=False, email="root@example.com")

    assert one(told(), "user.create").targets[0].name == "root@example.com"


def test_signing_in_and_out_is_told(ana: Person, told: Told) -> None:
    browser = Client()
    browser.post("/login/", {"username": "ana@example.com", "password": PASSWORD})
    browser.post("/logout/")

    events = told()
    assert actions(events) == ["user.login", "user.logout"]
    for event in events:
        assert (event.actor.id, event.actor.email) == (str(ana.pk), "ana@example.com")
        assert event.actor.name == "ana@example.com"


@pytest.mark.parametrize(
    ("address", "password", "active", "reason"),
    [
        ("ana@example.com", "wrong", True, "bad_password"),
        ("ana@example.com", PASSWORD, False, "disabled"),
        ("bob@example.com", PASSWORD, True, "unknown_user"),
    ],
)
def test_failing_to_sign_in_is_told_with_who_and_why(
    address: str, password: str, active: bool, reason: str, ana: Person, told: Told
) -> None:
    Person.objects.update(is_active=active)
    told()

    Client().post("/login/", {"username": address, "password": password})

    event = one(told(), "user.login")
    assert event.outcome == "failure"
    assert event.reason
    assert event.reason.code == reason
    assert event.targets[0].name == address


def test_a_password_in_the_field_of_the_address_is_not_kept(told: Told) -> None:
    Client().post("/login/", {"username": "correct-horse-battery-9", "password": "x"})

    events = told()
    assert actions(events) in ([], ["user.login"])
    assert "correct-horse" not in str(events)


def test_who_acts_is_told_by_address(ana: Person, told: Told) -> None:
    browser = browser_of(ana)
    told()

    browser.get("/make/editors/")

    actor = one(told(), "role.create").actor
    assert (actor.type, actor.id, actor.email) == ("user", str(ana.pk), "ana@example.com")
    assert actor.roles == ()


def test_changes_of_an_account_are_told(ana: Person, told: Told) -> None:
    ana.full_name, ana.is_admin, ana.is_active = "Ana Souza", True, False
    ana.save()
    Person.objects.update(is_active=True)
    ana.delete()

    events = told()
    assert actions(events) == ["user.update", "user.disable", "user.enable", "user.delete"]
    assert sides(events[0]) == {
        "full_name": ("Ana Lima", "Ana Souza"), "is_admin": (False, True),
    }  # fmt: skip


def test_a_password_is_changed_and_reset(ana: Person, told: Told) -> None:
    browser = browser_of(ana)
    told()
    new = {"new_password1": "another-9!", "new_password2": "another-9!"}
    browser.post("/password/", {"old_password": PASSWORD, **new})
    ana.refresh_from_db()
    key = urlsafe_base64_encode(force_bytes(ana.pk))
    stranger = Client()
    stranger.get(f"/reset/{key}/{default_token_generator.make_token(ana)}/")
    stranger.post(f"/reset/{key}/set-password/", new)

    events = told()
    assert [event for event in actions(events) if "password" in event] == [
        "user.password.change", "user.password.reset",
    ]  # fmt: skip


def test_the_log_is_for_those_whom_the_model_permits(ana: Person, root: Person) -> None:
    assert browser_of(ana).get("/audit/").status_code == 403
    assert browser_of(root).get("/audit/").status_code == 200


def test_forms_of_the_admin_are_told_and_shown_in_the_history(
    ana: Person, root: Person, told: Told
) -> None:
    browser = browser_of(root)
    told()
    page = f"/admin/staff/person/{ana.pk}"
    form = {"email": "ana@example.com", "full_name": "as it is now", "is_active": "on"}

    assert browser.post(f"{page}/change/", form).status_code == 302
    assert sides(one(told(), "user.update"))["full_name"] == ("Ana Lima", "as it is now")
    assert b"as it is now" in browser.get(f"{page}/history/").content
    assert browser.post(f"{page}/delete/", {"post": "yes"}).status_code == 302

    event = one(told(), "user.delete")
    assert event.targets[0].name == "ana@example.com"
    assert event.actor.id == str(root.pk)
    assert b"as it is now" in browser.get(f"{page}/history/").content


def test_the_history_of_an_account_is_found(ana: Person) -> None:
    ana.full_name = "Ana Souza"
    ana.save()

    assert [event.action for event in audit.history(ana)] == ["user.update", "user.create"]


def test_a_log_that_fails_closed_signs_nobody_in_unrecorded(ana: Person, told: Told) -> None:
    from tests.capture.django import breaking

    with override_settings(WHODID={"on_failure": "raise"}), breaking.without_table():
        answer = Client(raise_request_exception=False).post(
            "/login/", {"username": "ana@example.com", "password": PASSWORD}
        )

    assert answer.status_code == 500
    assert told() == []
