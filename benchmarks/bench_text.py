"""Full text: what indexing costs an event, and pages of 50 hits for words rare and common.

python benchmarks/bench_text.py [EVENTS]
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from common import folder, percentiles, save
from workload import lines

from whodid import recorder
from whodid.access import Access
from whodid.event import decode
from whodid.query.parse import parse
from whodid.stores.sqlite import SqliteStore
from whodid.stores.sqlite_indexer import advance
from whodid.stores.sqlite_text import TextStep, ValueStep
from whodid.times import Instant

TOTAL = 10_000_000  # the workload's density in time is that of this many events
NOW = Instant.parse("2026-04-01T00:00:00Z")
ALL, ONE = Access.everything(), Access.reader({"t5"})
SEARCHES: dict[str, tuple[str, Access]] = {
    "rare word": ("r552f233a8c25166a", ALL),
    "word of one event in a thousand": ("b12", ALL),
    "common word": ("harbour", ALL),
    "word in every event": ("example", ALL),
    "two words": ("harbour renewal", ALL),
    "two words, one rare": ("harbour b12", ALL),
    "two words, never together": ("harbour nowhere", ALL),
    "address": ("10.39.136.13", ALL),
    "e-mail": ("chiara.novak16332@example.com", ALL),
    "word of a tenant": ("harbour", ONE),
    "word of a tenant, an hour": ("harbour created:2026-01-01T01:00..2026-01-01T02:00", ONE),
    "changed:role": ("changed:owner", ALL),
    "changed and new value": ("changed:owner new.owner:winter", ALL),
    "reason and word": ("reason:not_permitted b7", ALL),
    "actor by name": ("actor:novak16332", ALL),
    "actor by pattern, again": ("actor:*16332*", ALL),
}


def fill(path: Path, count: int) -> None:
    store = SqliteStore(path)
    waiting = lines(count, total=TOTAL)
    while batch := [decode(line) for line in islice(waiting, 1_000)]:
        received = [event.occurred_at or Instant.now() for event in batch]
        store.append(recorder.prepare_batch(batch), now=received)
    store.close()


def index(path: Path, *, batch: int) -> dict[str, Any]:
    """Index a log that isn't yet: processor time and bytes an event, and how long writers wait."""
    before, waits = os.path.getsize(path), []
    connection = sqlite3.connect(path, isolation_level=None)

    @contextmanager
    def turn() -> Iterator[None]:
        started = time.perf_counter()
        yield
        waits.append(time.perf_counter() - started)

    started = time.process_time()
    for step in (TextStep(batch=batch), ValueStep(batch=batch)):
        end = step.newest(connection)
        while advance(connection, step, to=end, turn=turn):
            pass
    took = time.process_time() - started
    [events] = connection.execute("SELECT count(*) FROM whodid_event").fetchone()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    return {
        "cpu_us_per_event": round(took / events * 1e6, 1),
        "bytes_per_event": round((os.path.getsize(path) - before) / events),
        "longest_turn_ms": round(max(waits) * 1000),
    } | percentiles(waits)


def timed(work: Callable[[], object], runs: int) -> dict[str, float]:
    work()
    samples = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        samples.append(time.perf_counter() - started)
    return percentiles(samples)


def main(count: int) -> None:
    results: dict[str, object] = {"events": count}
    with folder() as where:
        plain, path = where / "plain.db", where / "log.db"
        fill(plain, count)
        for batch in (4_000, 1_000):
            shutil.copy(plain, path)
            connection = sqlite3.connect(path, isolation_level=None)
            # The store's own indexer may have begun.
            connection.executescript(
                "INSERT INTO whodid_text (whodid_text) VALUES ('delete-all');"
                "INSERT INTO whodid_value_text (whodid_value_text) VALUES ('delete-all');"
                "DELETE FROM whodid_span;"
                "DELETE FROM whodid_counter WHERE name IN ('indexed.text', 'indexed.values');"
                "VACUUM;"
            )
            connection.close()
            results[f"indexing in batches of {batch:,}"] = index(path, batch=batch)
        store = SqliteStore(path)
        for name, (text, access) in SEARCHES.items():
            query = parse(text, now=NOW)
            results[f"page: {name}"] = timed(
                lambda query=query, access=access: store.page(query, access=access), 50
            )
        store.close()
    save("text", results)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 250_000)
