from __future__ import annotations

import re

from tests import action_page
from whodid import actions


def test_the_page_of_actions_is_the_one_that_is_made_of_the_registry() -> None:
    remedy = "run python -m tests.action_page"

    assert action_page.PAGE.read_text(encoding="utf-8") == action_page.page(), remedy


def test_every_action_is_on_the_page_with_its_defaults_and_a_sentence() -> None:
    rows = re.findall(
        r"^\| `([a-z0-9_.]+)` \| (\w+) \| (\w+) \| (\S.*?) \|$", action_page.page(), re.MULTILINE
    )

    assert len(rows) >= 80
    assert {row[:3] for row in rows} == {
        (action.name, action.operation, action.severity) for action in actions.all_actions()
    }


def test_an_action_stands_below_its_category() -> None:
    sections = re.split(r"^## (\w+)$", action_page.page(), flags=re.MULTILINE)[1:]
    placed = {
        name: category
        for category, section in zip(sections[::2], sections[1::2], strict=True)
        for name in re.findall(r"^\| `([a-z0-9_.]+)` \|", section, re.MULTILINE)
    }

    assert placed == {action.name: action.category for action in actions.all_actions()}


def test_what_stands_in_braces_is_explained() -> None:
    head, *tables = action_page.page().split("\n## ")
    used = {
        name.partition(":")[0]
        for braces in re.findall(r"\{([^}]+)\}", "".join(tables))
        for name in braces.split(r"\|")
    }

    assert len(used) > 10
    assert {name for name in used if not re.search(rf"`\{{{name}[:}}]", head)} == set()


def test_a_sentence_is_that_of_a_success() -> None:
    page = action_page.page()

    assert "| gave {self\\|target:user\\|target} the role {new:role" in page
    assert "| was allowed to use the right {meta:permission} on {targets} · passed" in page
