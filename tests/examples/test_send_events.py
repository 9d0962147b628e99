"""The programs in examples/send-events, run against a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.examples.conftest import NO_PROGRAM
from tests.server.serving import Serving, serving
from whodid.event import StoredEvent
from whodid.server.auth import new_key
from whodid.stores.sqlite import SqliteStore
from whodid.testing import EVERYTHING
from whodid.times import Instant

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "send-events"
HOWTO = ROOT / "docs" / "howto" / "send-events.md"
PROGRAMS = {"curl.sh": ("sh", "curl"), "send.mjs": ("node", "node")}
ACTIONS = ["user.login", "user.role.grant", "invoice.delete"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "log.db")
    yield store
    store.close()


@pytest.fixture
def server(store: SqliteStore) -> Iterator[Serving]:
    with serving(store.path) as server:
        yield server


def run(
    name: str, url: str, *arguments: str, key: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run an example until it ends."""
    runner, needed = PROGRAMS[name]
    if shutil.which(needed) is None:
        pytest.skip(f"{needed} {NO_PROGRAM}")
    environment = {name: value for name, value in os.environ.items() if "WHODID" not in name}
    return subprocess.run(
        [runner, str(FOLDER / name), *arguments],
        env=environment | {"WHODID_URL": url} | ({"WHODID_KEY": key} if key else {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def sent(store: SqliteStore) -> list[StoredEvent]:
    """What is in the log, but for the log's own events."""
    found = store.read_from(0, access=EVERYTHING)
    return [stored for stored in found if not stored.event.action.startswith("audit.")]


def ids_in(said: str) -> list[str]:
    return re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", said)


@pytest.mark.parametrize("name", PROGRAMS)
def test_three_events_are_stored_and_their_receipts_shown(
    name: str, server: Serving, store: SqliteStore
) -> None:
    result = run(name, server.url)

    stored = sent(store)
    assert (result.returncode, result.stderr) == (0, "")
    assert [found.event.action for found in stored] == ACTIONS
    assert ids_in(result.stdout) == [found.id for found in stored]
    assert stored[1].event.changes[0].new == "admin"


@pytest.mark.parametrize("name", PROGRAMS)
def test_run_again_it_adds_nothing(name: str, server: Serving, store: SqliteStore) -> None:
    first = run(name, server.url)
    second = run(name, server.url)

    assert (first.returncode, second.returncode) == (0, 0)
    assert len(sent(store)) == 3
    assert ids_in(second.stdout) == ids_in(first.stdout)


def test_both_send_the_same(server: Serving, store: SqliteStore) -> None:
    results = [run(name, server.url) for name in PROGRAMS]

    assert [result.returncode for result in results] == [0, 0]
    assert len(sent(store)) == 3


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_key_is_sent(name: str, server: Serving, store: SqliteStore) -> None:
    text, key = new_key(name="web", tenant="acme", scopes={"ingest"}, now=Instant.now())
    store.add_key(key)

    refused = run(name, server.url)
    taken = run(name, server.url, key=text)

    assert refused.returncode != 0
    assert "urn:whodid:problem:key" in refused.stdout + refused.stderr
    assert taken.returncode == 0
    assert [found.tenant_id for found in sent(store)] == ["acme"] * 3


class Trouble(BaseHTTPRequestHandler):
    """A proxy with bad days: it refuses for now, or passes on and loses the answer."""

    server: TroubledServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        trouble = self.server.troubles.pop(0) if self.server.troubles else None
        if isinstance(trouble, int):
            self.send_response(trouble)
            self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        status, answer = self.server.behind.request("POST", self.path, json.loads(body))
        if trouble == "lost":
            self.close_connection = True
            return
        told = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_: object) -> None:
        pass


class TroubledServer(ThreadingHTTPServer):
    def __init__(self, behind: Serving, troubles: Sequence[int | str]) -> None:
        super().__init__(("127.0.0.1", 0), Trouble)
        self.behind, self.troubles = behind, list(troubles)


@contextmanager
def troubled(server: Serving, *troubles: int | str) -> Iterator[TroubledServer]:
    with TroubledServer(server, troubles) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        yield proxy
        proxy.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("name", "troubles"),
    [
        ("curl.sh", (503, 429)),
        ("send.mjs", (503, 429)),
        ("send.mjs", ("lost", "lost", 502, "lost")),
    ],
)
def test_trouble_on_the_way_neither_loses_nor_doubles(
    name: str, troubles: tuple[int | str, ...], server: Serving, store: SqliteStore
) -> None:
    with troubled(server, *troubles) as proxy:
        result = run(name, f"http://127.0.0.1:{proxy.server_port}")

    assert result.returncode == 0, result.stderr
    assert proxy.troubles == []
    assert [found.event.action for found in sent(store)] == ACTIONS


def test_an_event_that_is_refused_is_not_sent_again(server: Serving, store: SqliteStore) -> None:
    script = (
        f"import {{ send }} from {json.dumps((FOLDER / 'send.mjs').as_uri())};\n"
        f"const url = {json.dumps(server.url)};\n"
        "await send([{ action: 'nonsense', actor: { type: 'system' } }], { url })"
        ".catch((error) => console.log(error.constructor.name, error.message));"
    )
    if shutil.which("node") is None:
        pytest.skip(f"node {NO_PROGRAM}")
    result = subprocess.run(
        ["node", "--input-type=module", "--eval", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert result.stdout.startswith("RefusedError ")
    assert "$.action" in result.stdout
    assert sent(store) == []


def test_the_howto_shows_the_files_as_they_are() -> None:
    shown: dict[str, Any] = dict(
        re.findall(
            r"<!-- file: (\S+) -->\n```\w+\n(.*?)```\n",
            HOWTO.read_text(encoding="utf-8"),
            re.DOTALL,
        )
    )

    assert sorted(shown) == sorted(f"examples/send-events/{name}" for name in PROGRAMS)
    for path, text in shown.items():
        assert text == (ROOT / path).read_text(encoding="utf-8")


def test_the_readme_names_the_files() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")

    assert all(f"[{name}]({name})" in readme for name in PROGRAMS)
    assert {path.name for path in FOLDER.iterdir()} == {*PROGRAMS, "README.md"}
