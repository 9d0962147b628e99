"""The reference names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import click

from whodid.cli import exits
from whodid.cli.commands import whodid
from whodid.importers import READERS

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")


def commands(group: click.Group, path: str = "whodid") -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= commands(command, f"{path} {name}")
        else:
            found[f"{path} {name}"] = command
    return found


def test_every_command_and_option_is_in_the_reference() -> None:
    missing = [
        f"{path} {option}"
        for path, command in commands(whodid).items()
        for option in [
            opt for parameter in command.params for opt in parameter.opts if opt.startswith("--")
        ]
        if path not in REFERENCE or option not in REFERENCE
    ]

    assert missing == []


def test_every_exit_code_is_in_the_reference() -> None:
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", REFERENCE, re.MULTILINE)}

    assert told == {value for value in vars(exits).values() if isinstance(value, int)}


def test_every_format_is_in_the_howto() -> None:
    text = (DOCS / "howto" / "import.md").read_text(encoding="utf-8")

    assert all(f"import {name}" in text for name in READERS)
