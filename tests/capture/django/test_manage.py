"""`manage.py whodid …`: the command line on the log in the project's own database."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from tests.capture.django.conftest import FOLDER
from whodid.capture.django import audit
from whodid.stores.sqlite import SqliteStore

SETTINGS = """
SECRET_KEY = "of a test"
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.auth", "django.contrib.contenttypes", "whodid.capture.django",
]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {name!r}}}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""


def manage(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Django's program in a folder, as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "django", *arguments, "--settings=office", f"--pythonpath={folder}"],
        cwd=folder,
        env=os.environ | {"WHODID_DB": "sqlite:////nowhere/else.db"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a role in its log."""
    folder = tmp_path_factory.mktemp("office")
    (folder / "office.py").write_text(SETTINGS.format(name=str(folder / "office.db")))
    made = manage(folder, "migrate")
    assert made.returncode == 0, made.stderr
    create = "from django.contrib.auth.models import Group; Group.objects.create(name='Owls')"
    assert manage(folder, "shell", "-c", create).returncode == 0
    return folder


def test_search_finds_what_the_project_did(project: Path) -> None:
    found = manage(project, "whodid", "search", "action:role.create")

    assert (found.returncode, found.stderr) == (0, "")
    assert "Owls" in found.stdout


@pytest.mark.parametrize(
    "arguments",
    [("show",), ("verify",), ("count", "action:role.create"), ("index",)],
    ids=lambda arguments: arguments[0],
)
def test_the_commands_of_the_program_work_on_the_project_s_log(
    arguments: tuple[str, ...], project: Path
) -> None:
    if arguments == ("show",):
        [event] = audit_ids(project)
        arguments = ("show", event)

    result = manage(project, "whodid", *arguments)

    assert result.returncode == 0
    assert "Traceback" not in result.stderr


def audit_ids(project: Path) -> list[str]:
    found = manage(project, "whodid", "search", "action:role.create")
    return [line.split()[-1] for line in found.stdout.splitlines()]


def test_the_program_s_exit_code_is_kept(project: Path) -> None:
    assert manage(project, "whodid", "search", "action:invoice.delete").returncode == 1
    assert manage(project, "whodid", "search", "action:").returncode == 2


def test_help_is_the_program_s(project: Path) -> None:
    result = manage(project, "whodid", "search", "--help")

    assert result.returncode == 0
    assert result.stdout.startswith("Usage: manage.py whodid search")


def test_help_lists_nothing_that_is_refused(project: Path) -> None:
    whole, search = (
        manage(project, "whodid", *arguments, "--help").stdout for arguments in ((), ("search",))
    )

    listed = {line.split()[0] for line in whole.partition("Commands:")[2].splitlines() if line}
    assert listed >= {"search", "show", "verify", "tail"}
    assert not listed & {"demo", "serve", "keys"}
    assert "--db" not in whole + search


@pytest.mark.parametrize("name", ["demo", "serve", "keys"])
def test_what_makes_no_sense_in_a_project_is_refused_with_words(name: str, project: Path) -> None:
    result = manage(project, "whodid", name)

    assert result.returncode == 2
    assert f"{name} is no command for a project's log: " in result.stderr
    assert "Traceback" not in result.stderr


def test_another_database_is_refused(project: Path) -> None:
    result = manage(project, "whodid", "search", "--db", "sqlite:///other.db")

    assert result.returncode == 2
    assert "the database is the project's" in result.stderr


def test_a_log_in_memory_is_refused_with_words(tmp_path: Path) -> None:
    (tmp_path / "office.py").write_text(SETTINGS.format(name=":memory:"))

    result = manage(tmp_path, "whodid", "search")

    assert result.returncode == 2
    assert "a database in memory has no URL; use a file" in result.stderr


def test_the_command_can_be_called_from_code(capfd: pytest.CaptureFixture[str]) -> None:
    audit.record("invoice.approve", target="invoice:42")

    call_command("whodid", "search", "target.id:42")

    assert "invoice 42" in capfd.readouterr().out
    with pytest.raises(CommandError, match="exit code 1"):
        call_command("whodid", "search", "target.id:none-such")


def test_the_project_s_file_keeps_its_journal_mode() -> None:
    path = FOLDER / "site.db"
    connection.close()
    before = journal_mode(path)

    SqliteStore(path, create=False).close()

    assert before == "delete"
    assert journal_mode(path) == before


def test_a_file_of_our_own_is_written_ahead(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "own.db").close()

    assert journal_mode(tmp_path / "own.db") == "wal"


def journal_mode(path: Path) -> str:
    own = sqlite3.connect(path)
    try:
        return str(own.execute("PRAGMA journal_mode").fetchone()[0])
    finally:
        own.close()
