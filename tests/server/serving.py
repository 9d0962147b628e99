"""A real server in a process of its own: `python -m tests.server.serving DATABASE SETTINGS`.

SETTINGS is a JSON object. The server takes a free port and says its URL on the first line of its
output, once it answers.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Serving:
    """A running server."""

    process: subprocess.Popen[str]
    url: str

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return str(parts.hostname), int(parts.port or 0)

    def connect(self, *, timeout_s: float = 30) -> http.client.HTTPConnection:
        """A connection that is kept between requests."""
        host, port = self.address
        return http.client.HTTPConnection(host, port, timeout=timeout_s)

    def request(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and JSON of one answer."""
        connection = self.connect()
        try:
            connection.request(
                method,
                path,
                body=None if body is None else json.dumps(body),
                headers={"Content-Type": "application/json"} | (headers or {}),
            )
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()


def start(database: Path | str, **settings: object) -> Serving:
    """Start a server and wait until it answers."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tests.server.serving", str(database),
         json.dumps({"port": 0} | settings)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    if not url:
        _, said = process.communicate()
        raise AssertionError(f"the server did not start: {said}")
    return Serving(process, url)


@contextmanager
def serving(database: Path | str, **settings: object) -> Iterator[Serving]:
    """A server that runs as long as the block, and is asked to stop after it."""
    server = start(database, **settings)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.communicate(timeout=30)


def main() -> None:
    from whodid.server.run import run
    from whodid.server.settings import Settings
    from whodid.stores import open_store

    database, given = sys.argv[1:]
    settings = Settings(**json.loads(given))
    url = database if "://" in database else f"sqlite:///{database}"
    store = open_store(url, indexes=not settings.ingest_workers)
    run(store, settings, on_ready=lambda at: print(at, flush=True))


if __name__ == "__main__":
    main()
