"""The pages about Django say what is so: settings, actions, checks, and what to type."""

from __future__ import annotations

import ast
import re
import shlex
import sqlite3
import subprocess
import sys
import unittest
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import TestCase
from django.test.utils import CaptureQueriesContext

from tests.capture.django.shop.models import Code, Invoice, Tag
from tests.capture.django.site import AUDIT, a_browser, a_user, actions, site
from tests.capture.django.test_manage import SETTINGS, manage
from whodid import Access
from whodid import actions as registry
from whodid.capture.django import audit, checks, conf
from whodid.capture.django.fields import Options
from whodid.event import Event

Told = Callable[[], list[Event]]
ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs/reference/django.md"
DEPLOY = ROOT / "docs/howto/deploy-django.md"
PAGES = [REFERENCE, DEPLOY, ROOT / "docs/tutorial/django.md", ROOT / "README.md"]


@pytest.fixture(autouse=True)
def _site() -> Iterator[None]:
    with site():
        yield


def section(page: Path, title: str) -> str:
    """What stands below a title, as far as the next of its rank."""
    text = page.read_text(encoding="utf-8")
    found = re.search(
        rf"^(#+) {re.escape(title)}\n(.*?)(?=^\1 |\Z)", text, re.DOTALL | re.MULTILINE
    )
    assert found, title
    return found[2]


def fences(text: str, language: str = "python") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def cells(text: str) -> list[list[str]]:
    """The rows of a table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def run(text: str, **names: Any) -> dict[str, Any]:
    exec(compile(text, "a page", "exec"), names)
    return names


# -- settings ------------------------------------------------------------------------------------

KEYS = dict(
    re.findall(
        r"^### `(\w+)`\n(.*?)(?=^##)",
        section(REFERENCE, "`WHODID`") + "##",
        re.DOTALL | re.MULTILINE,
    )
)
ATTRIBUTES = {
    "actor": "find_actor", "include_models": None, "exclude_models": None, "redact_names": None,
    "only_models": "only", "redact_fields": "redaction.fields",
    **{key: f"web.{name}" for key, name in conf._WEB_KEYS.items()},
}  # fmt: skip
"""Where a key's default is; None where it only adds to another."""


def test_every_key_has_a_part_of_its_own_and_none_is_made_up() -> None:
    assert set(KEYS) == conf._KNOWN


@pytest.mark.parametrize("key", sorted(KEYS))
def test_a_key_s_default_is_the_one_that_is_told(key: str) -> None:
    told = re.search(r"^Type: .+\. Default: (.+)\.$", KEYS[key], re.MULTILINE)
    assert told
    value: Any = conf.read_settings({})
    path = ATTRIBUTES.get(key, key)
    if path is None:
        assert told[1] == "`[]`"
        return
    for name in path.split("."):
        value = getattr(value, name)
    if key == "app":
        assert value is None  # and the project's name is asked for
        return
    default = ast.literal_eval(told[1].strip("`"))
    assert default == (type(default)(value) if isinstance(default, list | dict) else value)


@pytest.mark.parametrize("key", sorted(KEYS))
def test_a_key_s_example_is_taken(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    office = ModuleType("office.audit")
    for name in ("actor", "authorize", "tenant"):
        setattr(office, name, lambda request: None)
    monkeypatch.setitem(sys.modules, "office", ModuleType("office"))
    monkeypatch.setitem(sys.modules, "office.audit", office)
    [example] = fences(KEYS[key])

    given = run(example)["WHODID"]

    assert key in given
    assert conf.read_settings(given) != conf.read_settings({})


def test_what_a_model_may_say_is_all_there() -> None:
    text = section(REFERENCE, "Models: `class Audit`")

    assert {row[0].strip("`") for row in cells(text)} == set(Options.__dataclass_fields__)
    [example] = fences(text)
    for name in Options.__dataclass_fields__:
        assert re.search(rf"^        {name} = ", example, re.MULTILINE)


def test_what_is_never_recorded_is_named() -> None:
    text = KEYS["exclude_models"].lower()

    for name in conf._EXCLUDED - {"whodid"}:
        assert f"`{name}`" in text


# -- what is recorded ----------------------------------------------------------------------------


def test_the_functions_do_what_they_are_for(told: Told) -> None:
    invoice = Invoice.objects.create(number="1")
    told()

    run(fences(section(REFERENCE, "Functions"))[0], invoice=invoice)

    events = [event for event in told() if not event.action.startswith("invoice.update")]
    assert actions(events) == ["invoice.send", "settings.update", "invoice.approve"]


def test_the_actions_that_are_told_are_known() -> None:
    known = {action.name for action in registry.all_actions()}
    rows = cells(section(REFERENCE, "What is recorded"))
    named = {name for row in rows for name in re.findall(r"`([\w.]+)`", row[1])}

    assert len(named) > 30
    made_of_models = {name for name in named - known if not name.startswith("invoice.")}
    assert made_of_models == {"permission.create", "permission.delete"}


def test_the_checks_are_all_there() -> None:
    ids = re.findall(r'"(whodid\.[EW]\d+)"', Path(checks.__file__).read_text(encoding="utf-8"))

    assert [row[0].strip("`") for row in cells(section(REFERENCE, "Checks"))] == ids


# -- deployment ----------------------------------------------------------------------------------


def test_a_role_of_auditors_sees_the_log() -> None:
    [by_permission, by_tenant] = fences(section(DEPLOY, "Who may see the log"))

    auditors = run(by_permission)["auditors"]
    ida = a_user("ida")
    ida.groups.add(auditors)
    assert User.objects.get(pk=ida.pk).has_perm("whodid.view_event")

    authorize = run(by_tenant)["authorize"]
    person = SimpleNamespace(
        is_authenticated=True, has_perm=lambda name: True, customer=SimpleNamespace(slug="acme")
    )
    assert authorize(SimpleNamespace(user=person)) == Access.reader({"acme"})


def test_the_settings_of_the_pages_are_taken() -> None:
    listed = [block for block in fences(DEPLOY.read_text(encoding="utf-8")) if "WHODID = " in block]
    assert len(listed) == 3

    for block in listed:
        conf.read_settings(run(block)["WHODID"])


def results(block: str, **names: Any) -> unittest.TestResult:
    made = run(block, **names)
    found = [each for name, each in made.items() if name.endswith("Test") and name not in names]
    suite = unittest.TestSuite(
        unittest.defaultTestLoader.loadTestsFromTestCase(each) for each in found
    )
    result = unittest.TestResult()
    suite.run(result)
    return result


def test_the_tests_on_the_page_pass() -> None:
    blocks = fences(section(DEPLOY, "Tests of the project"))
    assert len(blocks) == 2
    Group.objects.create(name="one")

    for block in blocks:
        result = results(block, Group=Group, TestCase=TestCase, __name__=__name__)
        assert (result.testsRun, result.errors, result.failures) == (1, [], [])


def counted(statement: Callable[[], object]) -> int:
    with CaptureQueriesContext(connection) as found:
        statement()
    return len(found.captured_queries)


def statements() -> Iterator[tuple[str, Callable[[], object]]]:
    """What the page names, ready to be run once."""
    tags = [Tag.objects.create(name=f"tag {number}") for number in range(4)]
    invoice, code = Invoice.objects.create(number="1"), Code.objects.create(code="a")
    browser = a_browser(a_user())

    def save() -> None:
        invoice.status = "sent"
        invoice.save()

    def change_many() -> None:
        for tag in tags:
            tag.name += "!"
        Tag.objects.bulk_update(tags, ["name"])

    newest = {"name": "newest"}
    yield "reading", lambda: list(Invoice.objects.select_related("customer"))
    yield "create()", lambda: Tag.objects.create(name="new")
    yield "save()", save
    yield "get_or_create()", lambda: Tag.objects.get_or_create(name="newer")
    yield "update_or_create()", lambda: Tag.objects.update_or_create(newest, name="newer")
    yield "bulk_create()", lambda: Tag.objects.bulk_create([Tag(name="a"), Tag(name="b")])
    yield "update()", lambda: Invoice.objects.update(status="paid")
    yield "bulk_update()", change_many
    yield "add()", lambda: invoice.tags.add(*tags)
    yield "set()", lambda: invoice.tags.set(tags[1:])
    yield "remove()", lambda: invoice.tags.remove(tags[1])
    yield "delete() of an object without links", code.delete
    yield "delete() of an object, for each many-to-many field", tags[0].delete
    yield "a request", lambda: browser.get("/make/by-a-view/")


def test_so_many_statements_more_are_counted_as_is_told() -> None:
    measured: dict[str, int] = {}

    class Counting(TestCase):
        def test_without(self) -> None:
            with audit.disable():
                measured.update((name, -counted(each)) for name, each in statements())

        def test_within(self) -> None:
            for name, each in statements():
                measured[name] += counted(each)

    suite = unittest.TestSuite([Counting("test_without"), Counting("test_within")])
    suite.run(result := unittest.TestResult())
    assert (result.testsRun, result.errors, result.failures) == (2, [], [])

    told: dict[str, int] = {}
    for text, more in cells(section(DEPLOY, "Tests of the project")):
        names = re.findall(r"`(\w+\(\))`", text)
        if text.startswith(("`delete()`", "reading")):
            names = [text.replace("`", "")]
        elif text.startswith("a request"):
            names = ["a request"]
        told |= dict.fromkeys(names, int(more))
    assert measured == told


# -- what to type --------------------------------------------------------------------------------


def typed(folder: Path, command: str) -> str:
    """What a command of the page says, run to its end, which must be a good one."""
    assert command.startswith("python manage.py ")
    words = shlex.split(command.removeprefix("python manage.py "))
    file = Path()
    if ">" in words:
        words, file = words[:-2], folder / words[-1]
    if words[0] == "flush":
        words.append("--noinput")
    result = manage(folder, *words)
    assert result.returncode == 0, (command, result.stderr)
    if file.name:
        file.write_text(result.stdout, encoding="utf-8")
    return result.stdout


def a_project(folder: Path, more: str = "") -> Path:
    settings = SETTINGS.format(name=str(folder / "office.db"))
    (folder / "office.py").write_text(f"{settings}\nMIDDLEWARE = [{AUDIT!r}]\n{more}")
    return folder


def make_group(folder: Path, name: str) -> None:
    code = f"from django.contrib.auth.models import Group; Group.objects.create(name={name!r})"
    assert manage(folder, "shell", "-c", code).returncode == 0


def search(folder: Path, query: str) -> str:
    return manage(folder, "whodid", "search", query).stdout


def commands(title: str) -> list[str]:
    return [
        line.removeprefix("$ ")
        for block in fences(section(DEPLOY, title), "console")
        for line in block.splitlines()
    ]


def test_a_second_database_is_made_as_told(tmp_path: Path) -> None:
    [settings] = fences(section(DEPLOY, "A second database"))
    a_project(tmp_path, settings)

    for command in commands("A second database"):
        typed(tmp_path, command)
    make_group(tmp_path, "Owls")

    assert "Owls" in search(tmp_path, "action:role.create")
    with closing(sqlite3.connect(tmp_path / "audit.db")) as log:
        assert log.execute("SELECT count(*) FROM whodid_event").fetchone()[0] == 1


def test_a_file_of_its_own_is_made_as_told(tmp_path: Path) -> None:
    [settings] = fences(section(DEPLOY, "A file of its own"))
    elsewhere = settings.replace("/var/lib/office/audit.db", str(tmp_path / "audit.db"))
    assert elsewhere != settings
    a_project(tmp_path, elsewhere)
    typed(tmp_path, "python manage.py migrate")

    make_group(tmp_path, "Owls")

    assert "Owls" in search(tmp_path, "action:role.create")
    assert (tmp_path / "audit.db").exists()


def test_a_copy_has_the_log(tmp_path: Path) -> None:
    [statement] = fences(section(DEPLOY, "Backups"), "sql")
    copy = tmp_path / "copy"
    copy.mkdir()
    typed(a_project(tmp_path), "python manage.py migrate")
    make_group(tmp_path, "Owls")

    with closing(sqlite3.connect(tmp_path / "office.db")) as database:
        database.execute(statement.replace("/backup/office.db", str(copy / "office.db")))

    assert "Owls" in search(a_project(copy), "action:role.create")
    typed(copy, "python manage.py whodid verify")


def test_words_are_indexed_as_told(tmp_path: Path) -> None:
    [line] = fences(section(DEPLOY, "Words"), "cron")
    typed(a_project(tmp_path), "python manage.py migrate")

    typed(tmp_path, f"python manage.py {line.partition('manage.py ')[2].strip()}")


def test_what_empties_a_project_leaves_the_log(tmp_path: Path) -> None:
    rows = cells(section(DEPLOY, "Empty it, take it back, take it out"))
    [flush, zero, _] = [row[0].strip("`") for row in rows]
    typed(a_project(tmp_path), "python manage.py migrate")
    make_group(tmp_path, "Owls")

    typed(tmp_path, flush)
    assert "Owls" in search(tmp_path, "action:role.create")
    assert "auth_group" in search(tmp_path, "action:data.sql")

    assert "OK" in typed(tmp_path, zero)
    assert "Owls" in search(tmp_path, "action:role.create")
    typed(tmp_path, "python manage.py migrate")
    assert "Owls" in search(tmp_path, "action:role.create")
    typed(tmp_path, "python manage.py whodid verify")


def test_what_is_taken_out_leaves_nothing_but_the_events_that_were_kept(tmp_path: Path) -> None:
    title = "Empty it, take it back, take it out"
    [keep, zero, forget] = commands(title)
    typed(a_project(tmp_path), "python manage.py migrate")
    make_group(tmp_path, "Owls")

    typed(tmp_path, keep)
    typed(tmp_path, zero)
    settings = (tmp_path / "office.py").read_text().replace(', "whodid.capture.django"', "")
    (tmp_path / "office.py").write_text(settings.replace(f"{AUDIT!r}", ""))
    assert "whodid" not in (tmp_path / "office.py").read_text()
    typed(tmp_path, f"{forget} --noinput")
    [drop] = fences(section(DEPLOY, title))
    assert manage(tmp_path, "shell", "-c", drop).returncode == 0

    assert "Owls" in (tmp_path / "audit.jsonl").read_text()
    typed(tmp_path, "python manage.py check")
    with closing(sqlite3.connect(tmp_path / "office.db")) as database:
        left = database.execute("SELECT name FROM sqlite_master WHERE name LIKE '%whodid%'")
        assert left.fetchall() == []
        rights = database.execute(
            "SELECT count(*) FROM auth_permission WHERE codename='view_event'"
        )
        assert rights.fetchone()[0] == 0


def test_the_lines_of_the_readme_work_in_a_fresh_project(tmp_path: Path) -> None:
    made = [sys.executable, "-m", "django", "startproject", "office", str(tmp_path)]
    subprocess.run(made, check=True, timeout=120)
    [lines] = fences(section(ROOT / "README.md", "In a Django project"))
    of_settings, of_urls = lines.split("# urls.py\n")
    for name, text in (("settings", of_settings), ("urls", of_urls)):
        with (tmp_path / "office" / f"{name}.py").open("a") as file:
            file.write(f"\n{text}")

    checked = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    assert (checked.returncode, checked.stderr) == (0, "")
    assert "no issues" in checked.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if path.startswith("http"):
            continue
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {slug(title) for title in titles}, target


def slug(title: str) -> str:
    """What GitHub makes of a title."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
