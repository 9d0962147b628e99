"""What a management command changes is the system's doing, under the command's name."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from msgspec import UNSET

from tests.capture.django.site import a_user, actions, one, sides, site
from whodid import context
from whodid.capture.django import commands
from whodid.event import Actor, Event

Told = Callable[[], list[Event]]


@pytest.fixture(autouse=True)
def _site() -> Iterator[None]:
    with site():
        yield


class MakeGroup(BaseCommand):
    """A project's own command. Its name is that of its module."""

    def handle(self, *args: object, **options: object) -> None:
        Group.objects.create(name="editors")


class Break(BaseCommand):
    def handle(self, *args: object, **options: object) -> None:
        raise ValueError("nothing to do, token=abcdef123456")


class Complain(BaseCommand):
    def handle(self, *args: object, **options: object) -> None:
        raise CommandError("wrong arguments")


class CallAnother(BaseCommand):
    def handle(self, *args: object, **options: object) -> None:
        call_command(MakeGroup())


def test_a_command_s_changes_are_the_system_s(told: Told) -> None:
    call_command(MakeGroup())

    event = one(told(), "role.create")
    name = "manage.py test_commands"
    assert (event.actor.type, event.actor.id, event.actor.name) == ("system", name, name)
    assert event.actor.attributes == {"os_user": getpass.getuser()}
    assert event.metadata
    assert event.metadata["command"] == "test_commands"


def test_django_s_own_commands_are_covered(told: Told) -> None:
    call_command(
        "createsuperuser", interactive=False, username="root", email="r@example.com", verbosity=0
    )

    events = told()
    assert {event.actor.name for event in events} == {"manage.py createsuperuser"}
    assert actions(events) == ["user.create", "user.role.grant", "user.role.grant"]


def test_the_command_line_is_covered(told: Told) -> None:
    from django.core.management import ManagementUtility

    ana = a_user()
    told()
    ManagementUtility(["manage.py", "shell", "-v0", "-c", _DISABLE]).execute()

    ana.refresh_from_db()
    assert not ana.is_active
    assert one(told(), "user.disable").actor.name == "manage.py shell"


_DISABLE = "from django.contrib.auth.models import User; User.objects.update(is_active=False)"


def test_a_command_that_a_request_or_command_calls_is_part_of_it(told: Told) -> None:
    ana = Actor(type="user", id="7", name="ana")
    with context.occasion(context.Occasion(actor=ana)):
        call_command(MakeGroup())

    assert one(told(), "role.create").actor == ana


def test_the_outermost_command_is_named(told: Told) -> None:
    class Outer(CallAnother):
        pass

    Outer.__module__ = "shop.management.commands.nightly"

    call_command(Outer())

    assert one(told(), "role.create").actor.name == "manage.py nightly"


def test_a_command_that_breaks_is_an_event_and_breaks(told: Told) -> None:
    with pytest.raises(ValueError, match="nothing to do"):
        call_command(Break())

    event = one(told(), "error.raise")
    assert event.actor.name == "manage.py test_commands"
    assert event.error
    assert event.error.message == "nothing to do, token=[masked]"


def test_a_command_that_is_called_wrongly_is_no_event(told: Told) -> None:
    with pytest.raises(CommandError):
        call_command(Complain())

    assert told() == []


@pytest.mark.parametrize("server", ["runserver", "celery", "test"])
def test_what_serves_others_gives_its_name_to_none_of_their_doings(server: str, told: Told) -> None:
    class Server(MakeGroup):
        pass

    Server.__module__ = f"shop.management.commands.{server}"

    call_command(Server())

    assert one(told(), "role.create").actor.type == "unknown"


class MoveData(BaseCommand):
    """Does what a data migration does, with the models that migrations have."""

    def handle(self, *args: object, **options: object) -> None:
        models = MigrationLoader(connection).project_state().apps
        group = models.get_model("auth", "Group").objects.create(name="editors")
        user = models.get_model("auth", "User").objects.create(username="ben", is_active=False)
        user.groups.add(group)


def test_what_a_data_migration_changes_is_the_system_s(told: Told) -> None:
    call_command(MoveData())

    events = told()
    assert actions(events) == ["role.create", "user.create", "user.role.grant"]
    assert [event.targets[0].name for event in events[:2]] == ["editors", "ben"]
    assert sides(events[2]) == {"role": (UNSET, "editors")}
    assert {event.actor.type for event in events} == {"system"}


def test_a_migration_s_changes_of_the_schema_are_no_events(told: Told) -> None:
    with connection.schema_editor() as editor:
        editor.execute("CREATE TABLE a_table_of_a_migration (id INTEGER)")
        editor.execute("DROP TABLE a_table_of_a_migration")

    assert told() == []


def test_nothing_is_left_of_a_command() -> None:
    call_command(MakeGroup())

    assert context.current_occasion() is None


def test_a_second_installation_changes_nothing() -> None:
    before = BaseCommand.execute

    commands.install(None)

    assert BaseCommand.execute is before


def test_where_the_machine_has_no_name_for_the_account_its_number_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", unknown)

    actor = commands.occasion_of("nightly").actor
    assert actor is not None
    assert actor.attributes
    assert str(actor.attributes["os_user"]).isdigit()


def test_no_account_is_made_by_naming_one() -> None:
    commands.occasion_of("nightly")

    assert not User.objects.exists()
