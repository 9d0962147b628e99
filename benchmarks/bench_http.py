"""Ingest over HTTP, durable and sealed, against bare `executemany` of the same rows.

A real server process on loopback, one client process per run with several connections.

    python benchmarks/bench_http.py [EVENTS]
"""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from bench_store import fill_raw
from common import demo_events, folder, percentiles, save

from whodid import event
from whodid.access import Access
from whodid.stores.sqlite import SqliteStore


@contextmanager
def server(path: Path) -> Iterator[int]:
    """A `whodid serve` process over the file; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "whodid", "serve", "--db", f"sqlite:///{path}"]
    process = subprocess.Popen(
        [*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until_healthy(port)
        yield port
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


def send(port: int, bodies: Sequence[bytes], connections: int) -> tuple[float, list[float]]:
    """Post all bodies over so many connections: wall seconds, and each request's."""
    queue = iter(bodies)
    lock = threading.Lock()
    samples: list[float] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            with lock:
                body = next(queue, None)
            if body is None:
                return
            start = time.perf_counter()
            connection.request("POST", "/v1/events", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 201:
                raise SystemExit(f"the server answered {answer.status}: {text[:300]!r}")
            samples.append(time.perf_counter() - start)

    threads = [threading.Thread(target=work) for _ in range(connections)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begun, samples


def main(count: int) -> None:
    wire = [msgspec.json.encode(each, enc_hook=event.write_hook) for each in demo_events(count)]
    results: dict[str, object] = {}
    for size, connections in ((1, 1), (1, 32), (100, 1), (100, 32), (1000, 4)):
        some = wire[: min(count, 3_000 if size == 1 else count)]
        bodies = [
            b'{"events":[%s]}' % b",".join(some[start : start + size])
            for start in range(0, len(some), size)
        ]
        with folder() as where:
            path = where / "log.db"
            with server(path) as port:
                taken, samples = send(port, bodies, connections)
            store = SqliteStore(path)
            report = store.verify(access=Access.everything())
            store.close()
            assert report.is_sound
            assert report.events >= len(some)
            raw = fill_raw(path, where / "raw.db", size, report.events)
        ours = len(some) / taken
        results[f"{size} a request, {connections} connections"] = {
            "events/s": round(ours),
            "raw/s": round(raw),
            "ratio": round(ours / raw, 2),
        } | percentiles(samples)
    save("http", results)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)
