"""Load for minutes: does memory stay flat, does latency, is everything there and found?

    python benchmarks/bench_sustained.py [MINUTES] [WORKERS] [EVENTS A SECOND]

Batches of 100 over 32 connections against a real server, so many events a second; 0 for as many as
it takes. Every fifteen seconds: events a second, the latency of requests, the memory of the
server's processes, how far the text index is behind, and how long it takes until an event that was
just stored is found by a word of it. At the end every
acknowledged event is counted, and a sample looked up by id.
"""

from __future__ import annotations

import http.client
import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

from bench_http import Bodies, Load, server
from common import folder, percentiles, save

from whodid.ids import uuid7

SIZE = 100
CONNECTIONS = 32
EVERY_S = 15


def processes(server: subprocess.Popen[bytes]) -> list[int]:
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
    return [server.pid, *map(int, children.split())]


def memory_mb(pids: list[int]) -> float:
    """Resident memory that is the processes' own, not the file pages that they share."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_Dirty:"):
                total += int(line.split()[1])
    return round(total / 1024, 1)


def probe(port: int, key: str) -> float:
    """Milliseconds until an event that was acknowledged is found by a word that only it has."""
    word = "probe" + uuid7().replace("-", "")
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    event = {"action": "probe.send", "actor": {"type": "system"}, "message": word}
    connection.request("POST", "/v1/events", json.dumps(event), headers)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 201, answer.status
    start = time.perf_counter()
    # Without the action it would find its own reading as well, which has the word.
    search = quote(f"{word} action:probe.send")
    connection.request("GET", f"/v1/events?q={search}", headers=headers)
    found = json.loads(connection.getresponse().read())
    connection.close()
    assert len(found["events"]) == 1, "an acknowledged event is not found"
    return round((time.perf_counter() - start) * 1000, 1)


def backlog(path: Path) -> int:
    """Events that the text index does not cover yet."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    counters = dict(connection.execute("SELECT name, value FROM whodid_counter"))
    connection.close()
    return int(counters["position"] - counters.get("indexed.text", 0))


def count(path: Path) -> tuple[int, int]:
    """Events in the file, and the highest position: equal when none is missing."""
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT count(*), max(position) FROM whodid_event").fetchone()
    connection.close()
    return int(rows[0]), int(rows[1])


def main(minutes: float, workers: int, per_second: float) -> None:
    samples: list[dict[str, float]] = []
    with folder() as where:
        path = where / "log.db"
        with server(path, workers) as (process, port, key):
            load = Load(
                port,
                key,
                Bodies(SIZE),
                size=SIZE,
                connections=CONNECTIONS,
                per_second=per_second or None,
            )
            begun, before = time.perf_counter(), 0
            since = begun
            while (passed := time.perf_counter() - begun) < minutes * 60:
                time.sleep(EVERY_S)
                stored, taken = load.take()
                lasted, since = time.perf_counter() - since, time.perf_counter()
                cut = percentiles(taken)
                samples.append(
                    {
                        "s": round(passed + lasted),
                        "events/s": round((stored - before) / lasted),
                        "p50_ms": cut["p50_ms"],
                        "p99_ms": cut["p99_ms"],
                        "memory_mb": memory_mb(processes(process)),
                        "not_indexed": backlog(path),
                        "found_after_ms": probe(port, key),
                    }
                )
                before = stored
                print("  ", samples[-1], flush=True)
            load.stop()
            seconds = time.perf_counter() - begun
            stored, _ = load.take()
        found, newest = count(path)
        expected = stored + len(samples)
        own = found - expected  # readings of the probes are events, too
        size = path.stat().st_size
    assert found == newest, (found, newest)
    assert 0 <= own <= len(samples), (found, expected)
    tenth = max(len(samples) // 10, 1)
    results: dict[str, object] = {
        "minutes": minutes,
        "workers": workers,
        "offered, events/s": per_second or "as many as it takes",
        "events": stored,
        "events/s": round(stored / seconds),
        "bytes/event": round(size / found),
        "told to come again": load.refused,
        "first tenth": mean(samples[:tenth]),
        "last tenth": mean(samples[-tenth:]),
        "samples": samples,
    }
    save("sustained" if per_second else "sustained-most", results)


def mean(samples: list[dict[str, float]]) -> dict[str, float]:
    return {
        key: round(sum(sample[key] for sample in samples) / len(samples), 1) for key in samples[0]
    }


if __name__ == "__main__":
    main(
        float(sys.argv[1]) if len(sys.argv) > 1 else 5,
        int(sys.argv[2]) if len(sys.argv) > 2 else 2,
        float(sys.argv[3]) if len(sys.argv) > 3 else 10_000,
    )
