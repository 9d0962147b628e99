"""Ingest into PostgreSQL against the same rows into the same tables by executemany and by COPY.

Also four clients at once, what an event adds to a host's transaction, and how long after a host's
commit an event is sealed while others are.

    python benchmarks/bench_postgres.py [EVENTS]

The server is that of the tests, with fsync on; WHODID_TEST_POSTGRES names another.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psycopg
import workload
from common import percentiles, save
from psycopg import sql

from whodid import event, recorder
from whodid.canonical import Encoded
from whodid.stores.base import Batch
from whodid.stores.postgres import PostgresStore
from whodid.stores.postgres_write import append_within

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.postgres_server import PostgresServer, running_server

TABLES = (
    "whodid_event", "whodid_event_key", "whodid_sealed", "whodid_leaf", "whodid_event_ref",
)  # fmt: skip
CLIENTS = 4
LAG_S = 10.0

Rows = dict[str, list[tuple[object, ...]]]


def batches(items: Sequence[Encoded], size: int) -> Iterator[Sequence[Encoded]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def fill(server: PostgresServer, encoded: Sequence[Encoded], size: int) -> tuple[float, Rows, list]:
    """Events a second through `append`; what was written; seconds of each call."""
    with server.database() as url:
        store = PostgresStore(url, indexes=False)
        took = []
        start = time.perf_counter()
        for batch in batches(encoded, size):
            began = time.perf_counter()
            store.append(batch)
            took.append(time.perf_counter() - began)
        rate = len(encoded) / (time.perf_counter() - start)
        store.close()
        with psycopg.connect(url) as connection:
            rows = {
                table: connection.execute(
                    sql.SQL("SELECT * FROM {} ORDER BY received_at").format(sql.Identifier(table))
                    if table != "whodid_leaf"
                    else "SELECT * FROM whodid_leaf ORDER BY position"
                ).fetchall()
                for table in TABLES
            }
    return rate, rows, took


def fill_raw(server: PostgresServer, rows: Rows, size: int, *, copies: bool) -> float:
    """Events a second when the very same rows go in bare, `size` events a commit."""
    count = len(rows["whodid_event"])
    with server.database() as url:
        PostgresStore(url).close()
        with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
            streams = {table: iter(rows[table]) for table in TABLES}
            start = time.perf_counter()
            for done in range(size, count + size, size):
                with connection.transaction():
                    for table in TABLES:
                        share = len(rows[table]) / count
                        upto = round(share * min(done, count)) - round(share * (done - size))
                        put = _copy if copies else _insert
                        put(cursor, table, list(itertools.islice(streams[table], upto)))
            return count / (time.perf_counter() - start)


def _insert(cursor: psycopg.Cursor, table: str, rows: list[tuple[object, ...]]) -> None:
    if rows:
        places = ", ".join(["%s"] * len(rows[0]))
        cursor.executemany(
            f"INSERT INTO {table} OVERRIDING SYSTEM VALUE VALUES ({places})".encode(), rows
        )


def _copy(cursor: psycopg.Cursor, table: str, rows: list[tuple[object, ...]]) -> None:
    with cursor.copy(f"COPY {table} FROM STDIN".encode()) as copy:
        for row in rows:
            copy.write_row(row)


def together(work: Callable[[int], None]) -> float:
    """Seconds until all clients have done their work."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def several(server: PostgresServer, encoded: Sequence[Encoded], size: int) -> float:
    """Events a second of four threads of one process, each with events of its own."""
    with server.database() as url:
        store = PostgresStore(url, indexes=False)

        def work(number: int) -> None:
            for batch in batches(encoded[number::CLIENTS], size):
                store.append(batch)

        rate = len(encoded) / together(work)
        store.close()
    return rate


def hosted(server: PostgresServer, encoded: Sequence[Encoded]) -> dict[str, float]:
    """Milliseconds that an event adds to a transaction of one INSERT."""
    with server.database() as url:
        PostgresStore(url).close()
        with psycopg.connect(url) as host:
            host.execute("CREATE TABLE app (id bigint PRIMARY KEY, name text)")
            host.commit()
            numbers = itertools.count()

            def transactions(events: Sequence[Encoded | None]) -> float:
                start = time.perf_counter()
                for each in events:
                    host.execute("INSERT INTO app VALUES (%s, 'ana')", (next(numbers),))
                    if each:
                        append_within(host, Batch(events=[each]))
                    host.commit()
                return (time.perf_counter() - start) / len(events) * 1000

            bare = min(transactions([None] * 300) for _ in range(3))
            with_event = min(transactions(encoded[n * 300 : n * 300 + 300]) for n in range(3))
    return {"bare ms": round(bare, 2), "with an event ms": round(with_event, 2)}


def lag(server: PostgresServer, encoded: Sequence[Encoded]) -> dict[str, float]:
    """How long after their commit hosts' events are sealed, while four hosts commit."""
    with server.database() as url:
        store = PostgresStore(url)
        store.start_indexing()
        committed: dict[bytes, float] = {}
        stop = threading.Event()

        def work(number: int) -> None:
            with psycopg.connect(url) as host:
                for each in encoded[number::CLIENTS]:
                    if stop.is_set():
                        return
                    [receipt] = append_within(host, Batch(events=[each]))
                    host.commit()
                    committed[receipt.id.encode()] = time.perf_counter()

        sealed: dict[bytes, float] = {}
        threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        end, position = time.perf_counter() + LAG_S, 0
        with psycopg.connect(url, autocommit=True) as watcher:
            while time.perf_counter() < end or len(sealed) < len(committed):
                if time.perf_counter() > end:
                    stop.set()
                rows = watcher.execute(
                    "SELECT position, id::text FROM whodid_sealed WHERE position > %s "
                    "ORDER BY position",
                    (position,),
                ).fetchall()
                now = time.perf_counter()
                for last, event_id in rows:
                    sealed[event_id.encode()], position = now, last
        for thread in threads:
            thread.join()
        store.close()
    lags = [max(0.0, sealed[each] - committed[each]) for each in committed if each in sealed]
    return {
        "events/s": round(len(lags) / LAG_S),
        **percentiles(lags),
        "max_ms": round(max(lags) * 1000, 1),
    }


def main(count: int) -> None:
    encoded = [recorder.prepare(event.decode(line)) for line in workload.lines(count)]
    results: dict[str, object] = {"events": count}
    given = os.environ.get("WHODID_TEST_POSTGRES")
    with running_server(given, is_durable=True) as server:
        for size in (1, 100, 1000):
            some = encoded[: {1: 1_000, 100: 10_000}.get(size, count)]
            ours, rows, took = fill(server, some, size)
            inserted = fill_raw(server, rows, size, copies=False)
            copied = fill_raw(server, rows, size, copies=True)
            results[f"batches of {size}"] = {
                "ours/s": round(ours),
                "executemany/s": round(inserted),
                "copy/s": round(copied),
                "ratio to the faster": round(ours / max(inserted, copied), 2),
                "4 clients/s": round(several(server, some, size)),
                **percentiles(took),
            }
        results["a host's transaction"] = hosted(server, encoded)
        results["seconds to the seal, 4 hosts"] = lag(server, encoded)
    save("postgres", results)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
