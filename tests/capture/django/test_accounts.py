"""Accounts, roles and rights are told in their own words, however their rows are changed."""

# Django REST framework has no types, nor have reverse relations without a plugin.
# mypy: disable-error-code="import-untyped, attr-defined"

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import django
import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.auth.tokens import default_token_generator
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db.models.signals import post_migrate
from django.test import override_settings
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode
from msgspec import UNSET
from rest_framework.authtoken.models import Token

from tests.capture.django.site import (
    PASSWORD,
    a_browser,
    a_user,
    actions,
    an_admin,
    one,
    sides,
    site,
)
from whodid import context
from whodid.event import Event

Told = Callable[[], list[Event]]
NEW = "Tr0ubador-and-3"


@pytest.fixture(autouse=True)
def _site() -> Iterator[None]:
    with site():
        yield


@pytest.fixture
def ana(told: Told) -> User:
    user = a_user()
    told()
    return user


@pytest.fixture
def editors(told: Told) -> Group:
    group = Group.objects.create(name="editors")
    told()
    return group


def _right(codename: str = "add_user") -> Permission:
    return Permission.objects.get(content_type__app_label="auth", codename=codename)


def _new_right() -> Permission:
    kind = _right().content_type
    return Permission.objects.create(codename="export_user", name="Can export", content_type=kind)


# -- accounts ------------------------------------------------------------------------------------


def test_a_new_account_is_told_without_its_password(told: Told) -> None:
    ana = a_user()

    event = one(told(), "user.create")
    assert (event.targets[0].type, event.targets[0].id) == ("user", str(ana.pk))
    assert sides(event)["username"] == (UNSET, "ana")
    assert ana.password not in str(event)
    assert ana.password.rpartition("$")[2] not in str(event)


def test_a_new_superuser_is_told_with_the_roles_that_makes(told: Told) -> None:
    an_admin()

    events = told()
    assert actions(events) == ["user.create", "user.role.grant", "user.role.grant"]
    assert {sides(event)["role"][1] for event in events[1:]} == {"staff", "superuser"}
    assert len({event.correlation_id for event in events}) == 1


def test_a_plain_change_is_an_update(ana: User, told: Told) -> None:
    ana.first_name = "Ana"
    ana.save()

    event = one(told(), "user.update")
    assert sides(event) == {"first_name": ("", "Ana")}


def test_one_save_with_several_meanings_is_several_events_of_one_correlation(
    ana: User, told: Told
) -> None:
    ana.email, ana.is_active, ana.is_staff = "new@example.com", False, True
    ana.set_password(NEW)
    ana.save()

    events = told()
    assert actions(events) == [
        "user.update", "user.password.reset", "user.disable", "user.role.grant"
    ]  # fmt: skip
    assert len({event.correlation_id for event in events}) == 1
    assert events[0].correlation_id is not UNSET


def test_a_correlation_that_is_there_is_kept(ana: User, told: Told) -> None:
    with context.bind(correlation_id="import-7"):
        User.objects.filter(pk=ana.pk).update(is_active=False, is_staff=True)

    assert {event.correlation_id for event in told()} == {"import-7"}


@pytest.mark.parametrize(("active", "action"), [(False, "user.disable"), (True, "user.enable")])
def test_suspending_and_reactivating_are_told(active: bool, action: str, told: Told) -> None:
    ana = a_user(is_active=not active)
    told()

    ana.is_active = active
    ana.save()

    event = one(told(), action)
    assert sides(event) == {"is_active": (not active, active)}


@pytest.mark.parametrize(("flag", "role"), [("is_staff", "staff"), ("is_superuser", "superuser")])
def test_a_flag_is_a_role(flag: str, role: str, ana: User, told: Told) -> None:
    setattr(ana, flag, True)
    ana.save()
    setattr(ana, flag, False)
    ana.save()

    given, taken = told()
    assert (given.action, taken.action) == ("user.role.grant", "user.role.revoke")
    assert sides(given) == {"role": (UNSET, role), flag: (False, True)}
    assert sides(taken) == {"role": (role, UNSET), flag: (True, False)}


def test_a_bulk_update_tells_the_same(told: Told) -> None:
    for name in ("ana", "ben"):
        a_user(name)
    told()

    User.objects.update(is_active=False, is_superuser=True)

    assert sorted(actions(told())) == [
        "user.disable", "user.disable", "user.role.grant", "user.role.grant"
    ]  # fmt: skip


def test_bulk_creation_tells_the_same(told: Told) -> None:
    User.objects.bulk_create([User(username="ana"), User(username="ben", is_staff=True)])

    assert sorted(actions(told())) == ["user.create", "user.create", "user.role.grant"]


def test_a_deleted_account_is_told_by_name(ana: User, told: Told) -> None:
    key = str(ana.pk)
    ana.delete()

    event = one(told(), "user.delete")
    assert (event.targets[0].id, event.targets[0].name) == (key, "ana")
    assert sides(event)["email"] == ("ana@example.com", UNSET)


def test_the_time_of_the_last_sign_in_is_no_change(ana: User, told: Told) -> None:
    from django.utils import timezone

    ana.last_login = timezone.now()
    ana.save()

    assert told() == []


# -- passwords -----------------------------------------------------------------------------------


def test_who_changes_their_own_password_changes_it(ana: User, told: Told) -> None:
    browser = a_browser(an_admin())
    told()

    browser.post(
        "/admin/password_change/",
        {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW},
    )

    event = one(told(), "user.password.change")
    assert event.actor.name == event.targets[0].name == "root"
    assert [change.redacted for change in event.changes] == ["masked"]


def test_whose_password_another_changes_has_it_reset(ana: User, told: Told) -> None:
    browser = a_browser(an_admin())
    told()

    browser.post(f"/admin/auth/user/{ana.pk}/password/", _both("password1", "password2"))

    event = one(told(), "user.password.reset")
    assert (event.actor.name, event.targets[0].name) == ("root", "ana")


def test_a_password_set_by_a_mailed_link_is_reset(ana: User, told: Told) -> None:
    browser = a_browser()
    key, token = urlsafe_base64_encode(force_bytes(ana.pk)), default_token_generator.make_token(ana)
    address = browser.get(f"/reset/{key}/{token}/")["Location"]

    browser.post(address, _both("new_password1", "new_password2"))

    event = one(told(), "user.password.reset")
    assert (event.actor.type, event.targets[0].name) == ("anonymous", "ana")
    assert token not in str(event)


def test_a_mailed_link_resets_and_the_view_goes_on_for_who_is_signed_in(
    ana: User, told: Told
) -> None:
    browser = a_browser(ana)
    key, token = urlsafe_base64_encode(force_bytes(ana.pk)), default_token_generator.make_token(ana)
    address = browser.get(f"/reset/{key}/{token}/")["Location"]
    told()

    answer = browser.post(address, _both("new_password1", "new_password2"))

    # The new password has ended the session: who holds the link is all that is known.
    assert answer.status_code == 302
    assert actions(told()) == ["user.password.reset"]


def test_the_command_resets(ana: User, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getpass", lambda prompt="": NEW)

    call_command("changepassword", "ana", verbosity=0, stdout=StringIO())

    event = one(told(), "user.password.reset")
    assert (event.actor.type, event.actor.name) == ("system", "manage.py changepassword")


def _both(*names: str) -> dict[str, Any]:
    return {**dict.fromkeys(names, NEW), "usable_password": "true"}


def test_a_hash_that_is_renewed_at_a_sign_in_is_no_change(ana: User, told: Told) -> None:
    stronger = [
        "django.contrib.auth.hashers.ScryptPasswordHasher",
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
        "django.contrib.auth.hashers.MD5PasswordHasher",
    ]
    with override_settings(PASSWORD_HASHERS=stronger):
        a_browser().post("/login/", {"username": "ana", "password": PASSWORD})

    ana.refresh_from_db()
    assert ana.password.startswith("scrypt$")
    assert actions(told()) == ["user.login"]


@pytest.mark.skipif(django.VERSION < (5, 0), reason="Django 5.0 brought it")
def test_a_hash_that_is_renewed_in_the_event_loop_is_no_change(ana: User, told: Told) -> None:
    stronger = [
        "django.contrib.auth.hashers.ScryptPasswordHasher",
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
        "django.contrib.auth.hashers.MD5PasswordHasher",
    ]
    with override_settings(PASSWORD_HASHERS=stronger):
        assert asyncio.run(ana.acheck_password(PASSWORD))

    ana.refresh_from_db()
    assert ana.password.startswith("scrypt$")
    assert told() == []


def test_a_password_that_is_taken_away_is_reset_to_none(ana: User, told: Told) -> None:
    ana.set_unusable_password()
    ana.save()

    event = one(told(), "user.password.reset")
    assert event.metadata
    assert event.metadata["usable"] is False


def test_a_password_written_by_a_bulk_statement_is_reset(ana: User, told: Told) -> None:
    from django.contrib.auth.hashers import make_password

    User.objects.filter(pk=ana.pk).update(password=make_password(NEW))

    assert actions(told()) == ["user.password.reset"]


# -- roles and rights ----------------------------------------------------------------------------


def test_groups_are_roles(told: Told) -> None:
    group = Group.objects.create(name="editors")
    group.name = "authors"
    group.save()
    group.delete()

    events = told()
    assert actions(events) == ["role.create", "role.update", "role.delete"]
    assert {event.targets[0].type for event in events} == {"role"}
    assert sides(events[1]) == {"name": ("editors", "authors")}


@pytest.mark.parametrize("side", ["user", "group"])
def test_a_role_is_given_and_taken_by_name_from_either_side(
    side: str, ana: User, editors: Group, told: Told
) -> None:
    if side == "user":
        ana.groups.add(editors)
        ana.groups.clear()
    else:
        editors.user_set.add(ana)
        editors.user_set.remove(ana)

    given, taken = told()
    assert (given.action, taken.action) == ("user.role.grant", "user.role.revoke")
    assert sides(given) == {"role": (UNSET, "editors")}
    assert sides(taken) == {"role": ("editors", UNSET)}
    assert {event.targets[0].name for event in (given, taken)} == {"ana"}


def test_each_role_of_several_is_an_event_of_one_correlation(ana: User, told: Told) -> None:
    groups = [Group.objects.create(name=name) for name in ("editors", "authors")]
    told()

    ana.groups.set(groups)

    events = told()
    assert sorted(str(sides(event)["role"][1]) for event in events) == ["authors", "editors"]
    assert len({event.correlation_id for event in events}) == 1


@pytest.mark.parametrize("side", ["user", "permission"])
def test_a_right_is_given_and_taken_by_name_from_either_side(
    side: str, ana: User, told: Told
) -> None:
    right = _right()
    if side == "user":
        ana.user_permissions.add(right)
        ana.user_permissions.remove(right)
    else:
        right.user_set.add(ana)
        right.user_set.clear()

    given, taken = told()
    assert (given.action, taken.action) == ("permission.grant", "permission.revoke")
    assert sides(given) == {"permission": (UNSET, "auth.add_user")}
    assert sides(taken) == {"permission": ("auth.add_user", UNSET)}
    assert {event.targets[0].name for event in (given, taken)} == {"ana"}


def test_a_right_of_a_role_is_told_of_the_role(editors: Group, told: Told) -> None:
    editors.permissions.set([_right(), _right("delete_user")])

    events = told()
    assert actions(events) == ["permission.grant", "permission.grant"]
    assert {(event.targets[0].type, event.targets[0].name) for event in events} == {
        ("role", "editors")
    }


def test_permissions_that_a_migration_makes_are_nobody_s_decision(told: Told) -> None:
    Permission.objects.filter(codename="view_user").delete()
    told()

    call_command("migrate", verbosity=0)

    assert Permission.objects.filter(codename="view_user").exists()
    assert told() == []


class MakeReady(BaseCommand):
    """A project's own command, which has the migrations run among other things."""

    def handle(self, *args: object, **options: object) -> None:
        call_command("migrate", verbosity=0)
        _new_right().delete()


def test_a_command_that_calls_for_migrations_makes_no_permissions_by_that(told: Told) -> None:
    Permission.objects.filter(codename="view_user").delete()
    told()

    call_command(MakeReady())

    assert Permission.objects.filter(codename="view_user").exists()
    assert actions(told()) == ["permission.create", "permission.delete"]


def test_migrations_that_fail_leave_no_mark(told: Told) -> None:
    def fail(**_: object) -> None:
        raise ValueError("a receiver of the project's")

    post_migrate.connect(fail)
    with pytest.raises(ValueError, match="of the project's"):
        call_command("migrate", verbosity=0)
    post_migrate.disconnect(fail)
    told()

    _new_right().delete()

    assert actions(told()) == ["permission.create", "permission.delete"]


def test_an_account_that_is_deleted_had_its_rights_by_name(editors: Group, told: Told) -> None:
    carl = a_user("carl")
    carl.user_permissions.add(_right())
    carl.groups.add(editors)
    told()

    carl.delete()

    lost = sides(one(told(), "user.delete"))
    assert lost["user_permissions"] == ([{"id": str(_right().pk), "name": "auth.add_user"}], UNSET)
    assert lost["groups"] == ([{"id": str(editors.pk), "name": "editors"}], UNSET)


def test_a_token_of_an_account_is_told_without_the_token(ana: User, told: Told) -> None:
    token = Token.objects.create(user=ana)
    key = token.key
    token.delete()

    events = told()
    assert actions(events) == ["api_key.create", "api_key.revoke"]
    assert events[0].targets[1].id == str(ana.pk)
    assert key not in str(events)


# -- through the admin ---------------------------------------------------------------------------


def test_an_account_made_in_the_admin_is_told(told: Told) -> None:
    browser = a_browser(an_admin())
    told()

    answer = browser.post(
        "/admin/auth/user/add/", {"username": "ben", **_both("password1", "password2")}
    )

    assert answer.status_code == 302
    event = one(told(), "user.create")
    assert (event.actor.name, event.targets[0].name) == ("root", "ben")


def test_everything_that_one_form_of_the_admin_changes_is_told(
    ana: User, editors: Group, told: Told
) -> None:
    browser = a_browser(an_admin())
    told()
    date, time = ana.date_joined.strftime("%Y-%m-%d %H:%M:%S.%f").split()

    answer = browser.post(
        f"/admin/auth/user/{ana.pk}/change/",
        {
            "username": "ana", "first_name": "Ana", "email": "ana@example.com", "is_staff": "on",
            "groups": [editors.pk], "user_permissions": [_right().pk],
            "date_joined_0": date, "date_joined_1": time,
        },
    )  # fmt: skip

    assert answer.status_code == 302
    events = told()
    assert {"user.update", "user.disable", "user.role.grant", "permission.grant"} <= {
        *actions(events)
    }
    assert {event.actor.name for event in events} == {"root"}
    assert len({event.request.id for event in events if event.request}) == 1


def test_an_account_deleted_by_an_action_of_the_admin_is_told(ana: User, told: Told) -> None:
    browser = a_browser(an_admin())
    told()

    browser.post(
        "/admin/auth/user/",
        {"action": "delete_selected", "_selected_action": [ana.pk], "post": "yes"},
    )

    event = one(told(), "user.delete")
    assert (event.actor.name, event.targets[0].name) == ("root", "ana")
