"""Ingest through the store against plain `executemany` of the same rows into the same schema.

Also what each stage costs (decode, redact, encode, commit to leaf, insert) and bytes per event.

    python benchmarks/bench_store.py [EVENTS]
"""

from __future__ import annotations

import itertools
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import workload
from common import cpu_seconds, folder, save

from whodid import actions, canonical, event, ids, recorder, redaction
from whodid.canonical import Encoded
from whodid.event import Event
from whodid.ledger.merkle import Frontier, leaf_hash
from whodid.stores.rows import derive
from whodid.stores.sqlite import CHECKPOINT_PAGES, WRITE_CACHE_KIB, SqliteStore
from whodid.times import Instant

TABLES = ("whodid_dict", "whodid_event", "whodid_leaf", "whodid_event_ref", "whodid_idempotency")


def batches(items: Sequence[Encoded], size: int) -> Iterator[Sequence[Encoded]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def fill(path: Path, encoded: Sequence[Encoded], size: int) -> float:
    """Events a second through `append` in batches of `size`."""
    store = SqliteStore(path, indexes=False)
    start = time.perf_counter()
    for batch in batches(encoded, size):
        store.append(batch)
    taken = time.perf_counter() - start
    store.close()
    return len(encoded) / taken


def fill_raw(source: Path, path: Path, size: int, count: int) -> float:
    """Events a second when the very same rows go in by bare `executemany`, `size` a commit."""
    SqliteStore(path).close()
    reader, writer = sqlite3.connect(source), sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA synchronous=FULL")
    # The same cache and checkpoints as ours: what is compared is the work, not the settings.
    writer.execute(f"PRAGMA cache_size=-{WRITE_CACHE_KIB}")
    writer.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    rows = {table: reader.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}
    inserts = {
        table: f"INSERT INTO {table} VALUES ({', '.join('?' * len(found[0]))})"
        for table, found in rows.items()
        if found
    }
    streams = {table: iter(rows[table]) for table in inserts}
    share = {table: len(rows[table]) / count for table in inserts}
    start = time.perf_counter()
    for done in range(size, count + size, size):
        writer.execute("BEGIN IMMEDIATE")
        for table, insert in inserts.items():
            upto = round(share[table] * min(done, count)) - round(share[table] * (done - size))
            writer.executemany(insert, itertools.islice(streams[table], upto))
        writer.execute("COMMIT")
    taken = time.perf_counter() - start
    reader.close()
    writer.close()
    return count / taken


def stages(events: Sequence[Event]) -> dict[str, float]:
    """Microseconds of processor time per event and stage."""
    wire = [msgspec.json.encode(each, enc_hook=event.write_hook) for each in events]
    encoded = [recorder.prepare(each) for each in events]
    now, seed = Instant.now(), bytes(16)
    stamps = [
        canonical.stamp_bytes(event_id=str(each.id or ids.uuid7()), received_at=now, tenant="t")
        for each in events
    ]
    frontier = Frontier()

    def commit() -> None:
        for each, stamp in zip(encoded, stamps, strict=True):
            canonical.body_bytes(each.core, stamp, each.units)
            frontier.append(leaf_hash(canonical.commit(each.core, stamp, each.units, seed=seed)))

    def per_event(work: object) -> float:
        assert callable(work)
        return round(min(cpu_seconds(work) for _ in range(3)) / len(events) * 1e6, 1)

    return {
        "decode": per_event(lambda: [event.decode(each) for each in wire]),
        "redact": per_event(lambda: [redaction.redact(each) for each in events]),
        "encode": per_event(
            lambda: [
                canonical.encode(each, defaults=actions.defaults(each.action)) for each in events
            ]
        ),
        "commit to leaf": per_event(commit),
        "derive columns": per_event(
            lambda: [derive(each.event, labels=each.labels, received_at=now) for each in encoded]
        ),
    }


def insert_cost(path: Path, encoded: Sequence[Encoded]) -> float:
    """Microseconds of processor time per event of the whole `append`, batches of 1,000."""
    store = SqliteStore(path, indexes=False)
    taken = cpu_seconds(lambda: [store.append(batch) for batch in batches(encoded, 1000)])
    store.close()
    return round(taken / len(encoded) * 1e6, 1)


def main(count: int) -> None:
    events = [event.decode(line) for line in workload.lines(count)]
    encoded = [recorder.prepare(each) for each in events]
    results: dict[str, object] = {"events": count}
    with folder() as where:
        for size in (1, 10, 100, 1000):
            some = encoded[: min(count, 2_000 * max(size // 2, 1))]
            name = where / f"ours-{size}.db"
            ours = fill(name, some, size)
            raw = fill_raw(name, where / f"raw-{size}.db", size, len(some))
            results[f"batches of {size}"] = {
                "ours/s": round(ours),
                "raw/s": round(raw),
                "ratio": round(ours / raw, 2),
            }
        full = where / "full.db"
        whole = insert_cost(full, encoded)
        parts = stages(events)
        done = parts["commit to leaf"] + parts["derive columns"]
        results["us/event by stage"] = parts | {"rest of append": round(whole - done, 1)}
        connection = sqlite3.connect(full)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [body] = connection.execute("SELECT sum(length(body)) FROM whodid_event").fetchone()
        connection.close()
        results["bytes/event"] = {
            "on disk": round(full.stat().st_size / count),
            "body": round(body / count),
        }
    save("store", results)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
