from __future__ import annotations

import csv
import io
import json
import sqlite3
import sys
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from tests.cli.conftest import Run, a_trail, write_lines
from whodid import __version__
from whodid.access import Access
from whodid.cli.commands import whodid
from whodid.cli.exits import exit_code_of
from whodid.cli.output import FORMATS, write_events
from whodid.cli.shared import find_zone, local_zone
from whodid.errors import (
    AuditError,
    BatchError,
    ConfigError,
    CursorError,
    EventError,
    LedgerError,
    PermissionRefusedError,
    ProofError,
    StoreUnavailableError,
)
from whodid.event import Event
from whodid.stores.base import EventStore
from whodid.testing import a_query, an_event, prepared
from whodid.times import Instant

HOSTILE = "\x1b[2J\u202eevil\x9b\x07"


def stored(store: EventStore, *events: Event) -> list[str]:
    return [receipt.id for receipt in store.append(prepared(*events))]


def some_events() -> list[Event]:
    return [
        an_event(occurred_at="2026-03-15T11:00:00Z", outcome="denied", actor="bob"),
        an_event(
            occurred_at="2026-03-15T12:00:00Z",
            client={"ip": "203.0.113.7", "geo": {"country": "DE"}},
            targets=[{"type": "invoice", "id": "42", "name": "=1+1"}],
        ),
    ]


class Terminal(io.StringIO):
    """A terminal as far as programs ask."""

    def isatty(self) -> bool:
        return True


# -- search


def test_search_finds_events_newest_first(run: Run, store: EventStore) -> None:
    stored(store, *some_events())

    result = run("search")

    assert result.exit_code == 0
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [line[0] for line in lines] == [
        "2026-03-15T12:00:00.000+00:00",
        "2026-03-15T11:00:00.000+00:00",
    ]
    assert [line[2] for line in lines] == ["alice", "bob"]
    assert [line[4:6] for line in lines] == [["success", "203.0.113.7 DE"], ["denied", "-"]]


@pytest.mark.parametrize(
    "arguments",
    [
        ("outcome:denied",),
        ("actor:bob", "outcome:denied"),
        ("-actor:alice",),
        ("--", "-actor:alice"),
        ("--limit", "5", "-actor:alice", "--tz", "UTC"),
        ("outcome:denied", "-has:trace", "--format", "table"),
        ("-(actor:alice outcome:success)",),
        ("NOT", "actor:alice"),
    ],
)
def test_a_search_may_be_several_words_and_begin_with_a_minus(
    run: Run, store: EventStore, arguments: tuple[str, ...]
) -> None:
    stored(store, *some_events())

    result = run("search", *arguments)

    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 1)
    assert "\tbob\t" in result.stdout


def test_nothing_found_is_an_exit_code_of_its_own(run: Run, store: EventStore) -> None:
    result = run("search", "actor:nobody")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "whodid: nothing found\n"


def test_a_search_that_cannot_be_read_shows_where(run: Run, store: EventStore) -> None:
    result = run("search", "outcome:denied", "actr:alice")

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[:4] == [
        "whodid: unknown qualifier 'actr'",
        "  outcome:denied actr:alice",
        "                 ^^^^",
        "  did you mean actor:? quote it to search it as text",
    ]


def test_the_limit_is_kept_and_0_is_none(run: Run, store: EventStore) -> None:
    stored(store, *(an_event() for _ in range(60)))

    assert len(run("search").stdout.splitlines()) == 50
    assert len(run("search", "--limit", "3").stdout.splitlines()) == 3
    assert len(run("search", "--limit", "0").stdout.splitlines()) == 60


def test_times_are_read_and_shown_in_the_zone(run: Run, store: EventStore) -> None:
    stored(store, an_event(occurred_at="2026-03-15T23:30:00Z"))

    result = run("search", "created:2026-03-16", "--tz", "Europe/Oslo")

    assert result.stdout.startswith("2026-03-16T00:30:00.000+01:00\t")
    assert run("search", "created:2026-03-16", "--tz", "UTC").exit_code == 1


def test_an_unknown_zone_is_refused(run: Run, store: EventStore) -> None:
    result = run("search", "--tz", "Mars/Base")

    assert result.exit_code == 2
    assert "Europe/Oslo" in result.stderr


def test_json_is_one_list_and_jsonl_a_line_each(run: Run, store: EventStore) -> None:
    ids = stored(store, *some_events())

    as_list = json.loads(run("search", "--format", "json").stdout)
    as_lines = [json.loads(line) for line in run("search", "--format", "jsonl").stdout.splitlines()]

    assert as_list == as_lines
    assert [event["id"] for event in as_list] == ids[::-1]


def test_json_of_nothing_is_an_empty_list(run: Run, store: EventStore) -> None:
    result = run("search", "--format", "json")

    assert (result.exit_code, result.stdout) == (1, "[]\n")


def test_what_search_writes_can_be_imported_again(
    run: Run, store: EventStore, folder: Path
) -> None:
    stored(store, *some_events())
    (folder / "out.jsonl").write_text(run("search", "--format", "jsonl").stdout)

    again = run("import", "jsonl", "out.jsonl")
    elsewhere = run("import", "jsonl", "out.jsonl", "--db", "sqlite:///other.db")

    assert "0 stored, 2 already there, 0 rejected" in again.stdout
    assert "2 stored, 0 already there, 0 rejected" in elsewhere.stdout


def test_csv_has_no_formulas(run: Run, store: EventStore) -> None:
    stored(store, *some_events())

    rows = list(csv.DictReader(io.StringIO(run("search", "--format", "csv").stdout)))

    assert [row["target_name"] for row in rows] == ["'=1+1", ""]
    assert [row["outcome"] for row in rows] == ["success", "denied"]
    assert rows[0]["occurred_at"] == "2026-03-15T12:00:00.000000+00:00"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("terminal", [False, True])
def test_nothing_in_an_event_reaches_the_terminal_raw(
    store: EventStore, monkeypatch: pytest.MonkeyPatch, form: Any, terminal: bool
) -> None:
    stored(
        store,
        an_event(
            actor={"type": "user", "id": HOSTILE, "name": f"{HOSTILE}\n\t[red]"},
            message=HOSTILE,
            targets=[{"type": "invoice", "id": HOSTILE, "name": HOSTILE}],
            changes=[{"path": HOSTILE, "old": HOSTILE, "new": [HOSTILE]}],
            metadata={"k": HOSTILE},
            tenant=HOSTILE,
        ),
    )
    output = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "300")
    events = store.scan(a_query(), access=Access.everything())

    count = write_events(events, form=form, zone=UTC)

    text = output.getvalue()
    assert count == 1
    assert "evil" in text
    assert all(char.isprintable() or char in "\n\t" for char in text)
    assert len(text.splitlines()) == (2 if form == "csv" or terminal and form == "table" else 1)


@pytest.mark.parametrize("columns", [60, 80, 110, 200])
def test_a_table_has_one_line_for_each_event_and_fits_the_terminal(
    store: EventStore, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    stored(
        store,
        *some_events(),
        an_event(actor={"type": "user", "id": "7", "name": "日本語" * 30}, message="x" * 500),
    )
    output = Terminal()
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", str(columns))

    write_events(store.scan(a_query(), access=Access.everything()), form="table", zone=UTC)

    lines = output.getvalue().splitlines()
    assert len(lines) == 4
    assert all(cell_len(line) <= columns for line in lines)
    assert lines[0].split()[:3] == ["time", "UTC", "who"]
    assert "✓ success" in lines[2]
    assert "⊘ denied" in lines[3]


# -- count, show


def test_count_says_how_many(run: Run, store: EventStore) -> None:
    stored(store, *some_events())

    assert run("count").stdout == "2\n"
    assert run("count", "-actor:bob").stdout == "1\n"
    assert run("count", "actor:nobody").stdout == "0\n"
    assert run("count", "actor:nobody").exit_code == 0
    assert run("count", "x:").exit_code == 2


def test_show_gives_the_whole_event(run: Run, store: EventStore) -> None:
    (event_id, _) = stored(store, *some_events())

    result = run("show", event_id.upper())

    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert (shown["id"], shown["outcome"], shown["index"]) == (event_id, "denied", 0)


def test_show_on_a_terminal_names_every_field(
    store: EventStore, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    (event_id,) = stored(
        store,
        an_event(
            occurred_at="2026-03-15T11:00:00Z",
            changes=[{"path": "role", "old": None, "new": {"a": [1, 2], "b": [{}]}}],
            metadata={"k": HOSTILE},
        ),
    )
    output = Terminal()
    monkeypatch.setenv("TERM", "dumb")
    with CliRunner().isolation():
        monkeypatch.setattr(sys, "stdout", output)
        whodid.main(["show", event_id, "--tz", "Europe/Oslo"], standalone_mode=False)

    text = output.getvalue()
    fields = dict(line.split(None, 1) for line in text.splitlines() if "  " in line)
    assert fields["occurred_at"] == "2026-03-15 12:00:00+01:00"
    assert (fields["changes[0].old"], fields["changes[0].new.a"]) == ("null", "[1,2]")
    assert fields["metadata.k"].startswith("‹U+001B›[2J‹U+202E›evil")


def test_an_unknown_event_is_not_found(run: Run, store: EventStore) -> None:
    result = run("show", "0199d3a0-7b00-7000-8000-000000000001")

    assert (result.exit_code, result.stdout) == (1, "")
    assert run("show", "'; drop table event").exit_code == 1


# -- record


def test_record_writes_an_event_and_prints_its_receipt(run: Run, store: EventStore) -> None:
    result = run(
        "record", "invoice.delete", "--actor", "user:7:Ana", "--target", r"invoice:a\:b:No\: 42",
        "--target", "customer:9", "--outcome", "denied", "--ip", "203.0.113.7", "--meta", "a=b=c",
        "--meta", "n:=12.5", "--meta", "list:=[1]", "--reason", "not_permitted", "--message", "no",
        "--tenant", "acme",
    )  # fmt: skip

    assert result.exit_code == 0
    receipt = json.loads(result.stdout)
    assert (receipt["tenant"], receipt["index"], receipt["duplicate"]) == ("acme", 0, False)
    found = store.find(receipt["id"], access=Access.everything())
    assert found
    event = found.event
    assert (event.actor.type, event.actor.id, event.actor.name) == ("user", "7", "Ana")
    assert [(target.id, target.name or None) for target in event.targets] == [
        ("a:b", "No: 42"),
        ("9", None),
    ]
    assert event.metadata == {"a": "b=c", "n": 12.5, "list": [1]}
    assert event.client
    assert event.client.ip == "203.0.113.7"
    assert event.reason
    assert (event.outcome, event.reason.code, event.message) == ("denied", "not_permitted", "no")


def test_recording_again_under_the_same_id_stores_it_once(run: Run, store: EventStore) -> None:
    arguments = (
        "record", "a.b", "--actor", "system", "--id", "0199D3A0-7B00-7000-8000-000000000001",
    )  # fmt: skip
    first, second = run(*arguments), run(*arguments)

    assert json.loads(first.stdout)["duplicate"] is False
    assert json.loads(second.stdout)["duplicate"] is True
    assert store.stats(access=Access.everything()).events == 1


def test_recording_something_else_under_the_same_id_is_refused(run: Run, store: EventStore) -> None:
    event_id = "0199d3a0-7b00-7000-8000-000000000001"
    run("record", "a.b", "--actor", "system", "--id", event_id)

    result = run("record", "a.c", "--actor", "system", "--id", event_id)

    assert result.exit_code == 3
    assert "/action" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("Bad Action", "--actor", "system"), 3, "$.action"),
        (("audit.log.view", "--actor", "system"), 3, "audit."),
        (("a.b", "--actor", "martian:1"), 3, "$.actor.type"),
        (("a.b", "--actor", "user"), 3, "$.actor.id"),
        (("a.b", "--actor", ":1"), 2, "TYPE:ID"),
        (("a.b", "--actor", "user:"), 2, "TYPE:ID"),
        (("a.b", "--actor", "system", "--ip", "300.1.1.1"), 3, "$.client.ip"),
        (("a.b", "--actor", "system", "--id", "7"), 3, "$.id"),
        (("a.b", "--actor", "system", "--meta", "novalue"), 2, "KEY=VALUE"),
        (("a.b", "--actor", "system", "--meta", ":=1"), 2, "KEY=VALUE"),
        (("a.b", "--actor", "system", "--meta", "a:={"), 2, "JSON"),
        (("a.b", "--actor", "system", "--meta", "b@d=1"), 3, "$.metadata"),
        (("a.b", "--actor", "system", "--meta", "a=" + "x" * 70_000), 3, "bytes"),
        (("a.b", "--actor", "system", "--outcome", "fail"), 2, "outcome"),
        (("a.b",), 2, "--actor"),
    ],
)
def test_a_faulty_event_is_refused_with_what_is_wrong_and_nothing_is_stored(
    run: Run, store: EventStore, arguments: tuple[str, ...], code: int, words: str
) -> None:
    result = run("record", *arguments)

    assert result.exit_code == code
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert store.stats(access=Access.everything()).events == 0


def test_the_terminal_is_told_in_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = Terminal()
    with CliRunner().isolation():
        monkeypatch.setattr(sys, "stdout", output)
        whodid.main(["record", "a.b", "--actor", "system"], standalone_mode=False)

    assert output.getvalue().startswith("recorded as number 0 in the log of default: ")


# -- import


def test_import_tells_what_became_of_the_records(run: Run, folder: Path) -> None:
    write_lines(folder / "a.jsonl", [a_trail(1), a_trail(2), a_trail(1), {"no": "event"}])

    result = run("import", "cloudtrail", "a.jsonl", "--tenant", "acme")

    assert result.exit_code == 3
    assert "read 4 records in" in result.stdout
    assert "2 stored, 1 already there, 1 rejected" in result.stdout
    assert "whodid-rejected.jsonl" in result.stdout
    assert json.loads((folder / "whodid-rejected.jsonl").read_text())["line"] == 4
    assert run("search", "tenant:acme", "-outcome:denied").exit_code == 0


def test_importing_twice_adds_nothing(run: Run, folder: Path) -> None:
    write_lines(folder / "a.jsonl", [a_trail(number) for number in range(7)])

    first, second = (run("import", "cloudtrail", "a.jsonl", "--batch", "3") for _ in range(2))

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "7 stored, 0 already there" in first.stdout
    assert "0 stored, 7 already there" in second.stdout
    assert run("count").stdout == "7\n"


def test_a_damaged_file_does_not_keep_the_others_out(run: Run, folder: Path) -> None:
    write_lines(folder / "a.jsonl", [a_trail(1)])
    (folder / "b.json").write_text('{"Records":[' + json.dumps(a_trail(2)) + ",{")
    write_lines(folder / "c.jsonl", [a_trail(3)])

    result = run("import", "cloudtrail", "a.jsonl", "b.json", "c.jsonl")

    assert result.exit_code == 3
    assert "3 stored" in result.stdout
    assert "b.json: the file ends inside a record" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("cloudtrail", "a.jsonl", "missing.json"), "missing.json: no such file"),
        (("cloudtrail", "a.jsonl", "."), "is a folder"),
        (("cloudtrail",), "FILE"),
        (("syslog", "a.jsonl"), "cloudtrail"),
        (("cloudtrail", "a.jsonl", "--batch", "0"), "--batch"),
        (("cloudtrail", "bad.jsonl", "--reject", "no/where"), "the reject file no/where"),
    ],
)  # fmt: skip
def test_an_import_that_cannot_begin_says_why_and_stores_nothing(
    run: Run, folder: Path, arguments: tuple[str, ...], words: str
) -> None:
    write_lines(folder / "a.jsonl", [a_trail(1)])
    write_lines(folder / "bad.jsonl", [{}])

    result = run("import", *arguments)

    assert result.exit_code == 2
    assert words in result.stderr
    assert run("count").stdout in ("", "0\n")


# -- verify, keys


def test_verify_names_the_trees_of_a_sound_log(run: Run, store: EventStore) -> None:
    stored(store, *some_events(), an_event(tenant="acme"))

    result = run("verify")

    assert result.exit_code == 0
    trees = [line.split("\t") for line in result.stdout.splitlines()]
    assert [(tenant, size) for tenant, size, _ in trees] == [("acme", "1"), ("default", "2")]
    assert all(len(root) == 64 for _, _, root in trees)
    assert "sound: 3 events in 2 logs" in result.stderr


def test_verify_finds_a_changed_event(run: Run, store: EventStore, folder: Path) -> None:
    stored(store, *some_events())
    store.close()
    with sqlite3.connect(folder / "whodid.db") as connection:
        connection.execute('UPDATE whodid_leaf SET entry = zeroblob(32) WHERE "index" = 0')
    connection.close()

    result = run("verify")

    assert result.exit_code == 5
    assert "BROKEN: 2 problems in 2 events in 1 log; keep" in result.stderr


def test_verify_counts_one_as_one(run: Run, store: EventStore) -> None:
    stored(store, an_event())

    assert "sound: 1 event in 1 log\n" in run("verify").stderr


def test_a_sign_in_that_failed_was_tried_by_somebody(run: Run, store: EventStore) -> None:
    root = {"type": "user", "id": "1", "name": "root"}
    stored(store, an_event(action="user.login", actor=root, targets=[root], outcome="failure"))

    assert "\tsomebody\ttried to sign in as root\t" in run("search", "actor:root").stdout


def test_a_key_is_printed_once_and_opens_the_api(run: Run, store: EventStore) -> None:
    result = run(
        "keys", "create", "--name", "ci", "--tenant", "acme",
        "--scope", "ingest", "--scope", "read", "--days", "30",
    )  # fmt: skip

    assert result.exit_code == 0
    prefix, key_id, secret = result.stdout.strip().split("_", 2)
    assert (prefix, len(secret) >= 40) == ("whodid", True)
    (key,) = store.keys()
    assert (key.id, key.name, key.tenant) == (key_id, "ci", "acme")
    assert key.scopes == {"ingest", "read"}
    assert key.expires_at
    assert (key.expires_at - key.created_at).days == 30
    (made,) = store.page(a_query("action:audit.key.create"), access=Access.everything()).events
    assert secret.encode() not in made.body
    assert [target.id for target in made.event.targets] == [key_id]


def test_keys_are_listed_without_their_secrets(run: Run, store: EventStore) -> None:
    assert run("keys", "list").exit_code == 1
    text = run("keys", "create", "--name", "ci", "--tenant", "*", "--scope", "read").stdout.strip()

    result = run("keys", "list")

    assert result.exit_code == 0
    listed = json.loads(result.stdout)
    assert (listed["name"], listed["tenant"], listed["scopes"]) == ("ci", "*", ["read"])
    assert listed["expires_at"] is None
    assert text.split("_", 2)[2] not in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--name", "x", "--tenant", "a"),
        ("--name", "x", "--scope", "read"),
        ("--name", "x", "--tenant", "a", "--scope", "everything"),
        ("--name", "", "--tenant", "a", "--scope", "read"),
        ("--name", "x", "--tenant", "a", "--scope", "read", "--days", "0"),
    ],
)
def test_an_incomplete_key_is_refused(
    run: Run, store: EventStore, arguments: tuple[str, ...]
) -> None:
    assert run("keys", "create", *arguments).exit_code == 2
    assert store.keys() == []


# -- the database, the program


@pytest.mark.parametrize(
    "command", [("search",), ("count",), ("show", "x"), ("verify",), ("keys", "list")]
)
def test_reading_makes_no_database(run: Run, folder: Path, command: tuple[str, ...]) -> None:
    result = run(*command)

    assert result.exit_code == 2
    assert "no database at whodid.db" in result.stderr
    assert list(folder.iterdir()) == []


def test_the_database_is_named_by_option_environment_or_default(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = ("record", "a.b", "--actor", "system")
    run(*record)
    run(*record, "--db", "sqlite:///option.db")
    run("--db", "sqlite:///before.db", *record)
    monkeypatch.setenv("WHODID_DB", "sqlite:///environment.db")
    run(*record)
    run(*record, "--db", f"sqlite:///{folder}/absolute.db")

    names = {path.name for path in folder.iterdir() if path.suffix == ".db"}
    assert names == {"whodid.db", "option.db", "before.db", "environment.db", "absolute.db"}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("whodid.db", "sqlite:///"),
        ("mysql://x/y", "sqlite:///"),
        ("sqlite:///", "sqlite:///"),
        ("sqlite:///text.db", "no SQLite database"),
    ],
)
def test_what_is_no_database_is_refused_with_the_remedy(
    run: Run, folder: Path, url: str, words: str
) -> None:
    (folder / "text.db").write_text("this is a text, and long enough to be looked at" * 50)

    for command in (("search",), ("record", "a.b", "--actor", "system"), ("verify",)):
        result = run(*command, "--db", url)
        assert result.exit_code == 2
        assert words in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_a_place_that_cannot_be_written_is_told(run: Run) -> None:
    result = run("record", "a.b", "--actor", "system", "--db", "sqlite:////proc/whodid.db")

    assert result.exit_code in (2, 4)
    assert len(result.stderr.splitlines()) == 1


def test_help_and_version_are_there_for_every_command(run: Run) -> None:
    assert run("--version").stdout == f"whodid {__version__}\n"
    for command in (
        (),
        *((name,) for name in whodid.commands),
        ("keys", "create"),
        ("keys", "list"),
    ):
        for option in ("-h", "--help"):
            result = run(*command, option)
            assert result.exit_code == 0
            assert "Usage:" in result.stdout


def test_every_error_has_its_exit_code() -> None:
    codes: dict[type[AuditError], int] = {}
    for error in (
        ConfigError("x"),
        CursorError("x"),
        EventError("$", "x"),
        BatchError([(0, EventError("$", "x"))]),
        PermissionRefusedError("x"),
        StoreUnavailableError("x"),
        LedgerError("x"),
        ProofError("x"),
    ):
        codes[type(error)] = exit_code_of(error)

    assert list(codes.values()) == [2, 2, 3, 3, 4, 4, 5, 5]


def test_the_machine_s_zone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert str(local_zone()) == "Asia/Tokyo"
    monkeypatch.setenv("TZ", ":Europe/Oslo")
    assert str(local_zone()) == "Europe/Oslo"
    monkeypatch.setenv("TZ", "nonsense/../x")
    assert Instant.now().astimezone(local_zone()).utcoffset() is not None
    assert find_zone("utc") is UTC
