"""The program as a process: pipes that close, signals, full disks, missing packages, a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.cli.conftest import Program, a_trail, program_arguments, write_lines
from whodid.access import Access
from whodid.stores.base import EventStore
from whodid.stores.sqlite import SqliteStore
from whodid.testing import an_event, prepared


def test_a_log_is_imported_and_answers(program: Program, folder: Path) -> None:
    records = [a_trail(1), a_trail(2, errorCode="AccessDenied")]
    (folder / "trail.json").write_text(json.dumps({"Records": records}))

    imported = program("import", "cloudtrail", "trail.json")
    found = program("search", "outcome:denied")

    assert (imported.returncode, found.returncode) == (0, 0)
    assert "2 stored" in imported.stdout
    assert found.stdout.count("\n") == 1
    assert "\tana\t" in found.stdout
    assert found.stderr == imported.stderr == ""


def test_stdin_is_a_file_too(program: Program, folder: Path) -> None:
    lines = "".join(json.dumps(a_trail(number)) + "\n" for number in range(3))

    result = program("import", "cloudtrail", "-", input=lines)

    assert result.returncode == 0
    assert "3 stored" in result.stdout


def test_a_reader_that_has_enough_ends_the_search_quietly(store: EventStore, folder: Path) -> None:
    store.append(prepared(*(an_event(message="x" * 2_000) for _ in range(500))))
    with subprocess.Popen(
        program_arguments("search", "--limit", "0", "--format", "jsonl"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        process.wait(timeout=60)

    assert (process.returncode, errors) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_under_the_output_is_told(program: Program, store: EventStore) -> None:
    store.append(prepared(an_event()))
    with open("/dev/full", "w") as full:
        result = program("search", stdout=full, stderr=subprocess.PIPE)

    assert result.returncode == 4
    assert result.stderr == "whodid: cannot write the output: no space left on device\n"


def test_a_full_disk_under_the_database_keeps_what_was_stored(folder: Path) -> None:
    write_lines(folder / "a.jsonl", [a_trail(number) for number in range(3_000)])

    def with_little_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))

    result = subprocess.run(
        program_arguments("import", "cloudtrail", "a.jsonl", "--batch", "100"),
        preexec_fn=with_little_room,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert result.returncode == 4
    assert "run the same command again" in result.stderr
    assert "Traceback" not in result.stderr
    told = re.search(r"([\d,]+) stored", result.stdout)
    assert told
    store = SqliteStore(folder / "whodid.db")
    report = store.verify(access=Access.everything())
    store.close()
    assert report.is_sound
    assert report.events == int(told[1].replace(",", "")) > 0


def read_until(file: int, pattern: bytes) -> bytes:
    """What a terminal shows, up to where the pattern is."""
    shown = b""
    while not re.search(pattern, shown):
        shown += os.read(file, 4_096)
    return shown


def test_an_import_on_a_terminal_shows_its_progress_and_can_be_interrupted(folder: Path) -> None:
    keyboard, screen = pty.openpty()
    process = subprocess.Popen(
        program_arguments("import", "cloudtrail", "-", "--batch", "10"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=screen,
        env=dict(os.environ) | {"COLUMNS": "100", "TERM": "xterm"},
    )
    os.close(screen)
    assert process.stdin
    for number in range(200):
        process.stdin.write(json.dumps(a_trail(number)).encode() + b"\n")
    process.stdin.flush()
    read_until(keyboard, rb"[1-9]\d* records, [\d,]+/s")

    process.send_signal(signal.SIGINT)
    shown = read_until(keyboard, rb"interrupted")
    output, _ = process.communicate(timeout=60)
    os.close(keyboard)

    assert process.returncode == 130
    assert b"run the same command again" in shown
    assert b"Traceback" not in shown
    told = re.search(rb"(\d+) stored", output)
    assert told
    store = SqliteStore(folder / "whodid.db")
    stored = store.stats(access=Access.everything()).events
    store.close()
    # The signal may come between a batch's commit and its count: one batch more may be there.
    assert 10 <= int(told[1]) <= stored <= int(told[1]) + 10


def test_a_search_on_a_terminal_is_a_coloured_table(store: EventStore, folder: Path) -> None:
    store.append(prepared(an_event(outcome="denied", actor="bob")))
    keyboard, screen = pty.openpty()
    process = subprocess.Popen(
        program_arguments("search"),
        stdout=screen,
        stderr=screen,
        env=dict(os.environ) | {"COLUMNS": "100", "TERM": "xterm-256color"},
    )
    os.close(screen)
    shown = read_until(keyboard, rb"denied")
    process.wait(timeout=60)
    os.close(keyboard)

    assert process.returncode == 0
    assert "⊘ denied".encode() in shown
    assert b"\x1b[" in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_server_answers_and_stops_when_told(folder: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        program_arguments("serve", "--port", "0"), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    found = re.search(r"http://\S+", process.stderr.readline())
    assert found
    with urllib.request.urlopen(f"{found[0]}/healthz", timeout=30) as answer:
        status = answer.status
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)

    assert status == 200
    assert (process.returncode, errors) == (0, "whodid: stopped\n")


def test_a_port_that_is_taken_is_told_with_the_remedy(program: Program) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = program("serve", "--port", str(taken.getsockname()[1]))

    assert result.returncode == 2
    assert "--port" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_open_address_without_a_key_is_refused(program: Program) -> None:
    result = program("serve", "--host", "0.0.0.0", "--port", "0")

    assert result.returncode == 2
    assert "keys create" in result.stderr


def test_the_demo_has_thirty_days_of_events_and_leaves_nothing_behind(folder: Path) -> None:
    process = subprocess.Popen(
        program_arguments("demo", "--port", "0", "--no-open"),
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ) | {"TMPDIR": str(folder)},
    )
    assert process.stdout
    told = [process.stdout.readline() for _ in range(11)]
    found = re.search(r"http://\S+", told[0])
    assert found
    with urllib.request.urlopen(f"{found[0]}/v1/count", timeout=30) as answer:
        count = json.load(answer)["count"]
    during = [path.name for path in folder.iterdir()]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)

    assert count >= 20_000
    assert sum("/?q=" in line for line in told) == 3
    assert during
    assert process.returncode == 0
    assert list(folder.iterdir()) == []


def test_a_demo_in_a_database_of_ones_own_stays_and_goes_on(folder: Path) -> None:
    store = SqliteStore(folder / "own.db")
    store.append(prepared(an_event()))
    with subprocess.Popen(
        program_arguments("demo", "--port", "0", "--no-open", "--db", "sqlite:///own.db"),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        process.stdout.readline()
        position = 0
        while len(store.read_from(position, access=Access.everything())) < 2:
            continue  # a living company soon does something
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    assert process.returncode == 0
    assert 2 <= store.stats(access=Access.everything()).events < 1_000
    store.close()


@pytest.mark.parametrize(
    ("package", "command", "extra"),
    [
        ("click", ("search",), "cli"),
        ("rich", ("search",), "cli"),
        ("uvicorn", ("serve",), "server"),
        ("starlette", tuple("keys create --name a --tenant a --scope read".split()), "server"),
        ("jinja2", ("serve", "--port", "0"), "server"),
    ],
)  # fmt: skip
def test_a_missing_package_is_told_with_its_pip_command(
    folder: Path, store: EventStore, package: str, command: tuple[str, ...], extra: str
) -> None:
    store.append(prepared(an_event()))
    hidden = (
        f"import sys; sys.modules[{package!r}] = None; sys.argv = ['whodid', *{command!r}]\n"
        "sys.stdout.isatty = lambda: True\n"
        "from whodid.cli.main import main; main()"
    )

    result = subprocess.run(
        [sys.executable, "-c", hidden], capture_output=True, text=True, timeout=60, check=False
    )

    assert result.returncode == 2
    assert result.stderr.endswith(
        f"this needs the package {package}; pip install 'whodid[{extra}]'\n"
    )


def test_the_program_does_not_load_what_a_command_does_not_need(folder: Path) -> None:
    names = "('rich', 'uvicorn', 'starlette', 'jinja2', 'sqlite3')"
    asked = f"import sys, whodid.cli.commands; print([n for n in {names} if n in sys.modules])"

    result = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, timeout=60, check=True
    )

    assert result.stdout == "[]\n"
