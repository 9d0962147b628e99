"""A dump of a project's data holds no events, and can be loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import connection

from tests.capture.django.site import a_user
from tests.capture.django.test_manage import SETTINGS, manage
from whodid.capture.django import audit
from whodid.capture.django.models import Event

WITHOUT = ["-e", "contenttypes", "-e", "auth.permission"]


@pytest.mark.parametrize("options", [[], ["--all"]], ids=["plain", "all"])
def test_what_was_dumped_can_be_loaded_elsewhere(options: list[str], tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "office.py").write_text(SETTINGS.format(name=str(folder / "office.db")))
        assert manage(folder, "migrate").returncode == 0
    create = "from django.contrib.auth.models import Group; Group.objects.create(name='Owls')"
    assert manage(here, "shell", "-c", create).returncode == 0
    file = tmp_path / "dump.json"

    dumped = manage(here, "dumpdata", "--natural-foreign", *WITHOUT, *options, "-o", str(file))
    loaded = manage(there, "loaddata", str(file))

    assert (dumped.returncode, loaded.returncode) == (0, 0), dumped.stderr + loaded.stderr
    assert {row["model"] for row in json.loads(file.read_text())} == {"auth.group"}
    assert "Owls" in manage(there, "whodid", "search", "action:role.create").stdout
    assert manage(there, "whodid", "verify").returncode == 0


def test_events_are_read_with_audit_and_not_with_the_model() -> None:
    audit.record("invoice.approve", target="invoice:42")

    managers: list[Any] = [Event.objects, Event._default_manager, Event._base_manager]
    assert [list(manager.all()) for manager in managers] == [[], [], []]
    assert Event.objects.count() == 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM whodid_event")
        assert cursor.fetchone()[0] > 0


def test_the_right_to_see_the_log_is_there_and_can_be_given() -> None:
    right = Permission.objects.get_by_natural_key("view_event", "whodid", "event")
    ida = a_user("ida")

    ida.user_permissions.add(right)

    assert right.content_type.model_class() is Event
    assert right.content_type.get_all_objects_for_this_type().count() == 0
    ida = type(ida).objects.get(pk=ida.pk)
    assert ida.has_perm("whodid.view_event")


def test_the_model_needs_no_new_migration() -> None:
    call_command("makemigrations", "whodid", check=True, dry_run=True, verbosity=0)
