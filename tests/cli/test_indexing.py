"""`index`, and who indexes without being asked: the server, and an import at its end."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

from tests.cli.conftest import Run, a_trail, program_arguments, write_lines
from whodid.stores.base import EventStore
from whodid.stores.sqlite_indexer import newest_position, watermark
from whodid.testing import an_event, prepared


def waiting(folder: Path) -> int:
    """How many events are not indexed."""
    connection = sqlite3.connect(folder / "whodid.db")
    try:
        return newest_position(connection) - watermark(connection, "text")
    finally:
        connection.close()


def test_index_leaves_nothing_waiting(folder: Path, run: Run, store: EventStore) -> None:
    store.append(prepared(*(an_event() for _ in range(20))))
    store.close()
    before = waiting(folder)

    result = run("index")

    assert (result.exit_code, result.output) == (0, "")
    assert (before, waiting(folder)) == (20, 0)


def test_a_rebuilt_index_is_sound(folder: Path, run: Run, store: EventStore) -> None:
    store.append(prepared(*(an_event(message="harbour") for _ in range(20))))
    store.close()
    run("index")
    connection = sqlite3.connect(folder / "whodid.db", isolation_level=None)
    connection.execute("INSERT INTO whodid_text (whodid_text) VALUES ('delete-all')")
    connection.close()
    before = run("verify")

    result = run("index", "--rebuild")

    assert before.exit_code == 5
    assert "index --rebuild" in before.stderr
    assert result.exit_code == 0
    assert run("verify").exit_code == 0
    assert run("count", "harbour").stdout == "20\n"


def test_there_must_be_a_log_to_index(run: Run) -> None:
    assert run("index").exit_code == 2


def test_after_an_import_nothing_waits(folder: Path, run: Run) -> None:
    file = write_lines(folder / "trail.jsonl", [a_trail(number) for number in range(30)])

    result = run("import", "--format", "cloudtrail", str(file))

    assert result.exit_code == 0
    assert waiting(folder) == 0


def test_a_server_indexes_what_it_finds_waiting(folder: Path, store: EventStore) -> None:
    store.append(prepared(*(an_event() for _ in range(20))))
    store.close()
    process = subprocess.Popen(
        program_arguments("serve", "--port", "0"), stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr
        assert re.search(r"http://\S+", process.stderr.readline())
        deadline, pause = time.monotonic() + 60, threading.Event()
        while waiting(folder) and time.monotonic() < deadline:
            pause.wait(0.01)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)

    assert waiting(folder) == 0
