"""A folder to work in, logs to import, and the program as the shell runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from whodid.cli.commands import whodid
from whodid.stores import open_store
from whodid.stores.base import EventStore

Run = Callable[..., Result]
Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one, with nothing of the tester's settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WHODID_DB", raising=False)
    monkeypatch.setenv("TZ", "UTC")
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    """Run a command in this process, as if its output went to a file."""

    def run_command(*arguments: str, **given: Any) -> Result:
        return CliRunner().invoke(whodid, list(arguments), **given)

    return run_command


def program_arguments(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "whodid", *arguments]


@pytest.fixture
def program(folder: Path) -> Program:
    """Run the program in a process of its own."""

    def run_program(*arguments: str, **given: Any) -> subprocess.CompletedProcess[str]:
        options: dict[str, Any] = {"capture_output": True} if "stdout" not in given else {}
        environment = {"COLUMNS": "120"} | dict(os.environ)
        return subprocess.run(
            program_arguments(*arguments),
            text=True,
            env=environment,
            timeout=120,
            check=False,
            **options,
            **given,
        )

    return run_program


@pytest.fixture
def store(folder: Path) -> Iterable[EventStore]:
    """The store that commands use when they are told nothing."""
    opened = open_store("sqlite:///whodid.db")
    yield opened
    opened.close()


def a_trail(number: int, **changes: Any) -> dict[str, Any]:
    """A CloudTrail record; equal numbers are equal records."""
    return {
        "eventID": f"4d482238-d0c5-4337-800f-{number:012d}",
        "eventTime": f"2025-01-21T17:{number // 60 % 60:02d}:{number % 60:02d}Z",
        "eventSource": "s3.amazonaws.com",
        "eventName": "GetObject",
        "sourceIPAddress": "203.0.113.9",
        "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::1:user/ana", "userName": "ana"},
        "requestParameters": {"bucketName": "invoices", "key": f"{number}.pdf"},
    } | changes


def write_lines(path: Path, records: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path
