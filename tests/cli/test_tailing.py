from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from tests.cli.conftest import Program, Run, program_arguments
from tests.cli.test_program import read_until
from tests.server.serving import Serving, serving, start
from tests.strategies import stored_events
from whodid.canonical import api_form
from whodid.cli.rows import row_of
from whodid.cli.tailing import event_of
from whodid.event import StoredEvent
from whodid.server.auth import new_key
from whodid.stores.base import EventStore
from whodid.stores.sqlite import SqliteStore
from whodid.testing import EVERYTHING, a_query, an_event, prepared
from whodid.times import Instant

Add = Callable[..., None]
Source = Sequence[str]


@pytest.fixture
def add(store: EventStore) -> Add:
    """Stores an event for each message."""

    def add_events(*messages: str, **more: Any) -> None:
        store.append(prepared(*(an_event(message=message, **more) for message in messages)))

    return add_events


@pytest.fixture(params=["database", "server"])
def source(request: pytest.FixtureRequest, store: EventStore, folder: Path) -> Iterator[Source]:
    """The options that name where events come from: both ways show the same."""
    if request.param == "database":
        yield ()
        return
    with serving(folder / "whodid.db", tail_poll_s=0.05) as server:
        yield ("--url", server.url)


@contextmanager
def tailing(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """`whodid tail` in a process of its own."""
    process = subprocess.Popen(
        program_arguments("tail", *arguments),
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=60)


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout
    return [process.stdout.readline() for _ in range(count)]


def messages(process: subprocess.Popen[str], count: int) -> list[str]:
    return [json.loads(line)["message"] for line in lines(process, count)]


def stop(process: subprocess.Popen[str], number: int = signal.SIGINT) -> tuple[int, str, str]:
    """Exit code, and what was said after what was read."""
    process.send_signal(number)
    said, complained = process.communicate(timeout=60)
    return process.returncode, said, complained


def test_the_last_events_come_first_and_then_what_comes(source: Source, add: Add) -> None:
    add("one", "two", "three")
    with tailing("--json", "-n", "2", "action:invoice", *source) as process:
        before = messages(process, 2)
        add("four")
        add("five", "six")

        assert before == ["two", "three"]
        assert messages(process, 3) == ["four", "five", "six"]


def test_a_tail_shows_what_matches(source: Source, add: Add) -> None:
    add("old", outcome="denied")
    with tailing("--json", "outcome:denied", "-actor:bob", *source) as process:
        assert messages(process, 1) == ["old"]
        add("no")
        add("no", outcome="denied", actor="bob")
        add("yes", outcome="denied")

        assert messages(process, 1) == ["yes"]


def test_lines_are_those_of_a_search(source: Source, add: Add, program: Program) -> None:
    add("one")
    with tailing("action:invoice", *source) as process:
        shown = lines(process, 1)
        add("two", outcome="denied", client={"ip": "203.0.113.9"})
        shown += lines(process, 1)

    searched = program("search", "action:invoice").stdout.splitlines(keepends=True)
    assert shown == searched[::-1]
    assert shown[0].count("\t") == 6


def test_json_is_that_of_a_search(source: Source, add: Add, program: Program) -> None:
    with tailing("--json", "-n", "1", "action:invoice", *source) as process:
        add("one \u202e\x1b[31m")
        shown = lines(process, 1)

    searched = program("search", "--format", "jsonl", "action:invoice").stdout
    assert "".join(shown) == searched
    assert "\x1b" not in searched


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_it_ends_quietly(source: Source, add: Add, number: int) -> None:
    add("one")
    with tailing("action:invoice", *source) as process:
        lines(process, 1)

        assert stop(process, number) == (130, "", "whodid: interrupted\n")


def test_a_reader_that_has_enough_ends_it_even_when_nothing_comes(source: Source, add: Add) -> None:
    add("one")
    with tailing("action:invoice", *source) as process:
        assert process.stdout
        assert process.stderr
        lines(process, 1)
        process.stdout.close()
        said = process.stderr.read()
        process.wait(timeout=60)

    assert (process.returncode, said) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_an_output_that_is_full_is_told(source: Source, add: Add, program: Program) -> None:
    add("one")
    with open("/dev/full", "w") as full:
        result = program("tail", "action:invoice", *source, stdout=full, stderr=subprocess.PIPE)

    assert result.returncode == 4
    assert result.stderr == "whodid: cannot write the output: no space left on device\n"


def test_on_a_terminal_it_is_a_coloured_table(source: Source, add: Add) -> None:
    add("one", outcome="denied", actor="bob")
    keyboard, screen = pty.openpty()
    with tailing(
        "action:invoice",
        *source,
        stdout=screen,
        stderr=screen,
        env=dict(os.environ) | {"COLUMNS": "100", "TERM": "xterm-256color"},
    ) as process:
        os.close(screen)
        shown = read_until(keyboard, rb"denied")
        add("two", outcome="error")
        shown += read_until(keyboard, rb"error")
        process.send_signal(signal.SIGINT)
        shown += read_until(keyboard, rb"interrupted")
        process.wait(timeout=60)
    os.close(keyboard)

    assert "⊘ denied".encode() in shown
    assert b"\x1b[" in shown
    assert shown.count(b"did what") == 1


def test_the_zone_is_that_of_a_search(source: Source, add: Add) -> None:
    add("old", occurred_at="2026-07-01T00:30:00+02:00")
    add("older", occurred_at="2026-06-30T23:30:00+02:00")
    with tailing("--tz", "Europe/Vienna", "-n", "5", "created:2026-07-01", *source) as process:
        assert lines(process, 1)[0].startswith("2026-07-01T00:30:00.000+02:00\t")
        add("again", occurred_at="2026-06-30T23:30:00+02:00")
        add("new", occurred_at="2026-07-01T00:30:00+02:00")

        assert lines(process, 1)[0].startswith("2026-07-01T00:30:00.000+02:00\t")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("actr:alice",), "unknown qualifier 'actr'\n  actr:alice\n  ^^^^"),
        (("-n", "1001"), "1001 is not in the range"),
        (("--url", "http://127.0.0.1:1", "--db", "sqlite:///a.db"), "got both"),
        (("--url", "127.0.0.1:8787"), "the address of a server"),
        (("--url", "ftp://example.com"), "the address of a server"),
        (("--url", "http://bob:secret@example.com"), "the address of a server"),
        (("--url", "http://example.com:99999"), "the address of a server"),
        (("--url", "http://example.com/?q=1"), "the address of a server"),
        (("--url", "http://127.0.0.1:1", "--key", "a\nb"), "key: expected"),
        (("--db", "sqlite:///nothing.db"), "no database at nothing.db"),
    ],
)
def test_wrong_usage_is_told(run: Run, arguments: Sequence[str], told: str) -> None:
    result = run("tail", *arguments)

    assert result.exit_code == 2
    assert told in result.stderr
    assert "secret" not in result.stderr


def test_a_database_that_is_named_beats_the_server_of_the_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHODID_URL", "http://127.0.0.1:1")

    for arguments in (("tail", "--db", "sqlite:///no.db"), ("--db", "sqlite:///no.db", "tail")):
        assert "no database" in run(*arguments).stderr


# From a server


def test_a_server_that_is_not_there_is_told(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    result = run("tail", "--url", f"http://127.0.0.1:{port}")

    assert result.exit_code == 4
    assert result.stderr == (f"whodid: cannot reach http://127.0.0.1:{port}: connection refused\n")


def test_the_key_opens_the_server_and_what_lacks_one_is_refused(
    store: EventStore,
    folder: Path,
    add: Add,
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text, key = new_key(name="tail", tenant="acme", scopes={"read"}, now=Instant.now())
    store.add_key(key)
    with serving(folder / "whodid.db") as server:
        monkeypatch.setenv("WHODID_URL", server.url)
        refused = program("tail")
        wrong = program("tail", "--key", text[:-1] + ("x" if text[-1] != "x" else "y"))
        add("theirs", tenant="beta")
        add("ours", tenant="acme")
        monkeypatch.setenv("WHODID_KEY", text)
        with tailing("--json", "action:invoice") as process:
            shown = messages(process, 1)

    assert (refused.returncode, wrong.returncode) == (2, 2)
    assert "answered 401: this needs a key" in refused.stderr
    assert "answered 401: this key is not valid" in wrong.stderr
    assert text not in wrong.stderr
    assert shown == ["ours"]


class Greeter(BaseHTTPRequestHandler):
    """Somebody else's server."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path.startswith("/log/v1/tail?") else 404)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<h1>hello</h1>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("path", "told"), [("", "no answer of whodid"), ("/log/", "no events")])
def test_what_is_no_whodid_is_told(run: Run, path: str, told: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Greeter) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        result = run("tail", "--url", f"http://127.0.0.1:{other.server_port}{path}")
        other.shutdown()
        thread.join()

    assert result.exit_code == 2
    assert told in result.stderr
    assert "check --url" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def stored_ids(store: EventStore) -> list[str]:
    """Ids of the invoices' events in sealed order."""
    found: list[StoredEvent] = []
    while more := store.read_from(found[-1].position + 1 if found else 0, access=EVERYTHING):
        found += more
    return [stored.id for stored in found if stored.event.action == "invoice.update"]


def ids_of(process: subprocess.Popen[str], count: int) -> list[str]:
    return [json.loads(line)["id"] for line in lines(process, count)]


def restarted(server: Serving, database: Path) -> Serving:
    """Another server at the same address, after a sudden end of this one."""
    server.process.kill()
    server.process.communicate(timeout=60)
    return start(database, port=server.address[1], tail_poll_s=0.05)


def test_a_restart_of_the_server_loses_and_doubles_nothing(
    store: EventStore, folder: Path, add: Add
) -> None:
    database = folder / "whodid.db"
    server = start(database, tail_poll_s=0.05)
    add("begin")
    with tailing("--json", "-n", "1", "action:invoice", "--url", server.url) as process:
        found = ids_of(process, 1)
        for _ in range(3):
            add(*("before" for _ in range(20)))
            found += ids_of(process, 7)  # it goes in the middle of them
            server.process.kill()
            server.process.communicate(timeout=60)
            add(*("during" for _ in range(20)))
            server = start(database, port=server.address[1], tail_poll_s=0.05)
            add(*("after" for _ in range(20)))
            found += ids_of(process, 53)
        code, rest, complained = stop(process)
    server.process.kill()
    server.process.communicate(timeout=60)

    assert found == stored_ids(store)
    assert (code, rest) == (130, "")
    assert complained.count("; trying again\n") == complained.count(" again\n") / 2 == 3


class Writer(threading.Thread):
    """Appends events, batch after batch, as long as there are some to append."""

    def __init__(self, database: Path, count: int) -> None:
        super().__init__()
        self._database, self._count = database, count

    def run(self) -> None:
        randomly = random.Random(7)
        store = SqliteStore(self._database)
        while self._count > 0:
            size = min(randomly.choice((1, 1, 3, 20)), self._count)
            store.append(prepared(*(an_event(message="x" * 3_000) for _ in range(size))))
            self._count -= size
        store.close()


def test_kills_while_events_pour_in_lose_and_double_nothing(
    store: EventStore, folder: Path, add: Add
) -> None:
    database = folder / "whodid.db"
    server = start(database, tail_poll_s=0.05)
    add("begin")
    with tailing("--json", "-n", "1", "action:invoice", "--url", server.url) as process:
        found = ids_of(process, 1)
        writer = Writer(database, 1_500)
        writer.start()
        for _ in range(3):
            found += ids_of(process, 101)
            server = restarted(server, database)
        found += ids_of(process, 1_501 - len(found))
        writer.join()
        code, rest, _ = stop(process)
    server.process.kill()
    server.process.communicate(timeout=60)

    assert found == stored_ids(store)
    assert (code, rest) == (130, "")


class Cutter(threading.Thread):
    """A network between a client and a server that breaks after some bytes of each answer."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._randomly = random.Random(5)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.cuts = 0
        self.has_begun = threading.Event()

    def run(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return  # closed
            with (
                contextlib.suppress(OSError),  # one of them has gone
                client,
                socket.create_connection(self._address) as server,
            ):
                self._relay(client, server)
            self.cuts += 1

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        server.sendall(client.recv(65_536))
        left = self._randomly.randint(900, 4_000)
        while left > 0 and (data := server.recv(left)):
            client.sendall(data)
            left -= len(data)
            if b"id: " in data:
                self.has_begun.set()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.join()


def test_a_connection_that_breaks_anywhere_loses_and_doubles_nothing(
    store: EventStore, folder: Path, add: Add
) -> None:
    with serving(folder / "whodid.db", tail_poll_s=0.05, tail_heartbeat_s=0.1) as server:
        cutter = Cutter(server.address)
        cutter.start()
        with tailing("--json", "-n", "0", "action:invoice", "--url", cutter.url) as process:
            assert cutter.has_begun.wait(60)
            add(*("x" * 200 for _ in range(60)))
            found = ids_of(process, 60)
            code, rest, _ = stop(process)
        cutter.close()

    assert found == stored_ids(store)
    assert cutter.cuts > 5
    assert (code, rest) == (130, "")


def test_a_key_that_is_taken_away_ends_it(store: EventStore, folder: Path, add: Add) -> None:
    soon = Instant.from_micros(Instant.now().micros + 3_000_000)
    text, key = new_key(
        name="tail", tenant="*", scopes={"read"}, now=Instant.now(), expires_at=soon
    )
    store.add_key(key)
    add("one")
    with (
        serving(folder / "whodid.db", tail_heartbeat_s=0.1) as server,
        tailing(
            "action:invoice", "--url", server.url, env=dict(os.environ) | {"WHODID_KEY": text}
        ) as process,
    ):
        lines(process, 1)
        _, complained = process.communicate(timeout=60)

    assert process.returncode == 2
    assert "answered 401: this key is not valid" in complained


@given(stored=stored_events())
def test_an_event_of_the_api_is_shown_as_that_of_a_store(stored: StoredEvent) -> None:
    assert row_of(event_of(api_form(stored)), zone=UTC) == row_of(stored, zone=UTC)


def test_an_event_with_keys_of_a_newer_server_is_shown(store: EventStore, add: Add) -> None:
    add("one")
    [stored] = store.page(a_query(), access=EVERYTHING).events
    newer = api_form(stored)[:-1] + b',"enriched":{"a":1},"surprise":[]}'

    assert row_of(event_of(newer), zone=UTC) == row_of(stored, zone=UTC)
