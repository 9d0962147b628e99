"""Ingest over HTTP, durable and sealed, against bare `executemany` of the same rows.

A real server process on loopback, one client process with several connections; what the client
takes of the two cores is in the figures. With workers and without.

    python benchmarks/bench_http.py [SECONDS a case]
"""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count as counting
from pathlib import Path

import workload
from bench_store import fill_raw
from common import folder, percentiles, save

from whodid.access import Access
from whodid.server.auth import new_key
from whodid.stores.sqlite import SqliteStore
from whodid.times import Instant

CASES = (
    # events a request, connections, workers
    (1, 1, 0),
    (1, 32, 0),
    (1, 32, 1),
    (100, 1, 0),
    (100, 32, 0),
    (100, 32, 2),
    (1000, 4, 0),
    (1000, 4, 2),
)
TEMPLATES = 100_000
ID_AT, TIME_AT = slice(7, 43), slice(60, 87)


class Bodies:
    """Events without end, each another one: the workload's, with new ids and times."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._templates = list(workload.lines(TEMPLATES))
        self._numbers = counting()

    def next(self) -> bytes:
        first = next(self._numbers) * self._size
        now = str(Instant.now()).encode()
        events = [self._event(number, now) for number in range(first, first + self._size)]
        return events[0] if self._size == 1 else b'{"events":[%s]}' % b",".join(events)

    def _event(self, number: int, now: bytes) -> bytes:
        line = self._templates[number % TEMPLATES]
        fresh = b"%08x-%04x-7%s" % (number >> 16, number & 0xFFFF, line[22:43])
        return b'{"id":"%s","occurred_at":"%s%s' % (fresh, now, line[TIME_AT.stop :])


@contextmanager
def server(path: Path, workers: int) -> Iterator[tuple[subprocess.Popen[bytes], int, str]]:
    """A `whodid serve` process over the file: the process, its port and a key for it."""
    store = SqliteStore(path, indexes=False)
    text, key = new_key(name="bench", tenant="*", scopes={"ingest", "read"}, now=Instant.now())
    store.add_key(key)
    store.close()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "whodid", "serve", "--db", f"sqlite:///{path}"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--ingest-workers", str(workers)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_healthy(port)
        yield process, port, text
    finally:
        process.terminate()
        process.wait()


def wait_until_healthy(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.02)
    raise SystemExit("the server did not become healthy within 30 s")


class Load:
    """Connections that post as fast as they are answered, or so many events a second.

    Attributes:
        stored: Events that were acknowledged.
        samples: Seconds of each request since they were last taken.
        refused: Requests that were told to come again later, which they did.
    """

    def __init__(
        self,
        port: int,
        key: str,
        bodies: Bodies,
        *,
        size: int,
        connections: int,
        per_second: float | None = None,
    ) -> None:
        self._address = ("127.0.0.1", port)
        self._headers = {
            "Content-Type": "application/json", "Authorization": f"Bearer {key}",
        }  # fmt: skip
        self._bodies, self._size = bodies, size
        self._every_s = size / per_second if per_second else 0.0
        self._due = time.perf_counter()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.stored = self.refused = 0
        self.samples: list[float] = []
        self._threads = [threading.Thread(target=self._post) for _ in range(connections)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def take(self) -> tuple[int, list[float]]:
        """Events stored so far, and the durations since the last call."""
        with self._lock:
            samples, self.samples = self.samples, []
            return self.stored, samples

    def _post(self) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=60)
        body = None
        while not self._stopping.is_set():
            if body is None:
                with self._lock:
                    body, due = self._bodies.next(), self._due
                    self._due += self._every_s
                if self._every_s:
                    time.sleep(max(due - time.perf_counter(), 0))
            start = time.perf_counter()
            connection.request("POST", "/v1/events", body, self._headers)
            answer = connection.getresponse()
            text = answer.read()
            taken = time.perf_counter() - start
            if answer.status in (429, 503):
                self.refused += 1
                time.sleep(float(answer.getheader("retry-after") or 1))
                continue
            if answer.status != 201:
                raise SystemExit(f"the server answered {answer.status}: {text[:300]!r}")
            with self._lock:
                self.stored += self._size
                self.samples.append(taken)
            body = None


def main(seconds: float) -> None:
    results: dict[str, object] = {}
    for size, connections, workers in CASES:
        with folder() as where:
            path = where / "log.db"
            with server(path, workers) as (_, port, key):
                begun = time.perf_counter()
                load = Load(port, key, Bodies(size), size=size, connections=connections)
                time.sleep(seconds)
                load.stop()
                taken = time.perf_counter() - begun
                stored, samples = load.take()
            store = SqliteStore(path, indexes=False)
            found = store.stats(access=Access.everything()).events
            store.close()
            assert found == stored, (found, stored)
            raw = fill_raw(path, where / "raw.db", size, found)
        ours = stored / taken
        name = f"{size} a request, {connections} connections, {workers} workers"
        results[name] = {
            "events/s": round(ours), "raw/s": round(raw), "ratio": round(ours / raw, 2),
        } | percentiles(samples)  # fmt: skip
        print(f"  {name:<46} {results[name]}", flush=True)
    save("http", results)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10)
