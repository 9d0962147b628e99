"""The commands on a log in PostgreSQL."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg

from tests.cli.conftest import Program, Run, a_trail, write_lines


def _record(run: Run, url: str, *arguments: str) -> None:
    result = run("record", "--db", url, *arguments)
    assert result.exit_code == 0, result.output


def test_what_is_recorded_is_found_shown_and_verified(run: Run, postgres_url: str) -> None:
    _record(run, postgres_url, "invoice.delete", "--actor", "user:ana", "--target", "invoice:42")
    _record(run, postgres_url, "invoice.create", "--actor", "user:bob")

    found = run("search", "--db", postgres_url, "--format", "jsonl", "actor:ana")
    [event] = [json.loads(line) for line in found.output.splitlines()]
    shown = run("show", "--db", postgres_url, event["id"])
    counted = run("count", "--db", postgres_url, "action:invoice")
    verified = run("verify", "--db", postgres_url)

    assert (event["action"], event["index"]) == ("invoice.delete", 0)
    assert (shown.exit_code, "ana" in shown.output) == (0, True)
    assert counted.output.strip() == "2"
    assert verified.exit_code == 0, verified.output


def test_an_import_is_stored_once(run: Run, folder: Path, postgres_url: str) -> None:
    path = write_lines(folder / "trail.jsonl", [a_trail(number) for number in range(30)])

    first = run("import", "--db", postgres_url, str(path))
    again = run("import", "--db", postgres_url, str(path))
    counted = run("count", "--db", postgres_url)

    assert (first.exit_code, again.exit_code) == (0, 0), first.output + again.output
    assert counted.output.strip() == "30"


def test_a_changed_log_is_told_and_ends_with_five(run: Run, postgres_url: str) -> None:
    _record(run, postgres_url, "invoice.delete", "--actor", "user:ana")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("UPDATE whodid_sealed SET outcome = 1")

    result = run("verify", "--db", postgres_url)

    assert result.exit_code == 5
    assert "outcome differs from the body" in result.output


def test_index_seals_what_waits(run: Run, postgres_url: str) -> None:
    _record(run, postgres_url, "invoice.delete", "--actor", "user:ana")

    assert run("index", "--db", postgres_url).exit_code == 0
    assert run("index", "--db", postgres_url, "--rebuild").exit_code == 0


def test_a_key_is_made_and_listed(run: Run, postgres_url: str) -> None:
    made = run("keys", "create", "--db", postgres_url, "--name", "billing", "--tenant", "acme",
               "--scope", "ingest")  # fmt: skip
    listed = run("keys", "list", "--db", postgres_url)

    assert (made.exit_code, listed.exit_code) == (0, 0), made.output
    assert "billing" in listed.output


def test_a_database_without_a_log_and_a_server_that_is_down_are_said(
    run: Run, postgres_url: str
) -> None:
    empty = run("search", "--db", postgres_url)
    down = run("search", "--db", "postgresql://ana:secret@127.0.0.1:1/log")

    assert (empty.exit_code, down.exit_code) == (2, 4)
    assert "holds no log" in empty.output
    assert "check that the server runs" in down.output
    assert "secret" not in down.output


def test_the_program_itself_does_so_too(program: Program, postgres_url: str) -> None:
    recorded = program("record", "--db", postgres_url, "user.login", "--actor", "user:ana")
    found = program("search", "--db", postgres_url, "--format", "jsonl")

    assert recorded.returncode == 0, recorded.stderr
    assert json.loads(found.stdout)["action"] == "user.login"
