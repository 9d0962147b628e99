"""Searches, facets, histogram and pages over a large log: warm and cold, p50 and p95.

    python benchmarks/bench_scale.py [EVENTS] [--minutes 9]

Fills a database with the generated workload, once: it is kept in `WHODID_BENCH_DIR`, else in the
user's cache folder, and filling goes on where it was when the minutes were over. So ten million
events take several calls, none longer than ten minutes.

Warm is a store that was asked before; cold is a new store whose file was put out of the system's
page cache. Every sample asks for something else (another actor, another word).
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, timedelta
from itertools import islice
from pathlib import Path

import workload
from common import cpu_seconds, percentiles, save

from whodid import recorder
from whodid.access import Access
from whodid.event import decode
from whodid.query.ast import Query, all_of, within
from whodid.query.buckets import bucket_edges
from whodid.query.parse import parse
from whodid.stores.base import Batch, FacetField
from whodid.stores.sqlite import SqliteStore
from whodid.stores.sqlite_text import needed_by_search
from whodid.times import Instant
from whodid.viewer import Request, Viewer

EVERYTHING = Access.everything()
NOW = Instant.of(workload.BEGINS + timedelta(days=workload.DAYS))
WEEK = Instant.of(NOW - timedelta(days=7))
MONTH = Instant.of(NOW - timedelta(days=30))
FACETS: tuple[FacetField, ...] = (
    "action", "outcome", "actor", "app", "ip", "country", "severity",
)  # fmt: skip
SLICE = 20_000  # events that one process writes before the other's turn
WARM_SAMPLES = 40
COLD_SAMPLES = 8


def cache_folder() -> Path:
    """Where large databases are kept between calls."""
    chosen = os.environ.get("WHODID_BENCH_DIR")
    folder = Path(chosen) if chosen else Path.home() / ".cache" / "whodid-bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# -- filling


def fill(path: Path, count: int, *, until: float) -> bool:
    """Store what is missing, by two processes; False when the time was over before."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        slices = [
            (path, start, min(start + SLICE, count), count, until)
            for start in range(0, count, SLICE)
            if start not in done_slices(path)
        ]
        stored = sum(pool.imap_unordered(fill_slice, slices))
    if slices:
        print(f"  {stored:,} events stored, {len(slices) * SLICE:,} were missing")
    return len(done_slices(path)) * SLICE >= count


def done_slices(path: Path) -> set[int]:
    """The first numbers of the slices that are in the database."""
    names = path.with_name(path.name + ".slices")
    return set(map(int, names.read_text().split())) if names.exists() else set()


def fill_slice(job: tuple[Path, int, int, int, float]) -> int:
    path, start, end, total, until = job
    if time.time() > until:
        return 0
    store = SqliteStore(path, indexes=False)
    lines = workload.lines(end, start=start, total=total)
    while batch := list(islice(lines, 2_000)):
        events = [decode(line) for line in batch]
        times = [Instant.of(event.occurred_at or NOW) for event in events]
        encoded = [recorder.prepare(event) for event in events]
        store.append_each([Batch(events=encoded, now=times)])
    store.close()
    with path.with_name(path.name + ".slices").open("a") as done:
        done.write(f"{start}\n")
    return end - start


def index(path: Path) -> None:
    store, told = SqliteStore(path), time.time()

    def progress(done: int, total: int) -> None:
        nonlocal told
        if time.time() - told > 15:
            told = time.time()
            print(f"  indexed {done:,} of {total:,}", flush=True)

    store.index_now(progress=progress)
    store.close()


# -- asking


def asks(text: str, *, since: Instant | None = None) -> Query:
    query = parse(text, now=NOW)
    node = all_of(within(since, NOW), query.node) if since else query.node
    return Query(text=text, node=node, now=NOW)


_Ask = Callable[[], tuple[Query, Access]]


def searches(pick: random.Random) -> dict[str, _Ask]:
    """For each kind of question one that was not asked before."""

    def actor() -> int:
        return int(pick.paretovariate(0.5)) % workload.ACTORS

    def target() -> int:
        return pick.randrange(workload.TARGETS)

    def word() -> str:
        return pick.choice(workload.WORDS)

    def tenant() -> Access:
        return Access.reader({f"t{int(pick.paretovariate(0.7)) % workload.TENANTS}"})

    def of_all(
        make: Callable[[], str], since: Instant | None = None
    ) -> Callable[[], tuple[Query, Access]]:
        return lambda: (asks(make(), since=since), EVERYTHING)

    def of_one(
        make: Callable[[], str], since: Instant | None = None
    ) -> Callable[[], tuple[Query, Access]]:
        return lambda: (asks(make(), since=since), tenant())

    return {
        "newest": of_all(lambda: ""),
        "newest, one tenant": of_one(lambda: ""),
        "by actor's id": of_all(lambda: f"actor.id:u{actor()}"),
        "by actor's name": of_all(lambda: f"actor:{pick.choice(workload.LAST_NAMES)}{actor()}"),
        "by actor, one tenant": of_one(lambda: f"actor:u{actor()}"),
        "by target (entity history)": of_all(lambda: f"target.id:{target()}"),
        "by target, one tenant": of_one(lambda: f"target.id:{target()}"),
        "by address": of_all(lambda: f"ip:10.{pick.randrange(256)}.{pick.randrange(256)}.0/24"),
        "text, a rare word": of_all(lambda: f"u{actor()}@nowhere OR {pick.randrange(9973)}"),
        "text, a common word": of_all(word),
        "text, two common words": of_all(lambda: f"{word()} {word()}"),
        "text, a phrase": of_all(lambda: f'"{word()} {word()} {pick.randrange(9973)}"'),
        "text, one tenant": of_one(lambda: f"{word()} {pick.randrange(997)}"),
        "text, a phrase, one tenant": of_one(
            lambda: f'"{word()} {word()} {pick.randrange(9973)}"'
        ),
        "text that is nowhere": of_all(lambda: f"xylophone{pick.randrange(10**6)}"),
        "action, failed, 30 days": of_all(lambda: "action:user is:failed", MONTH),
        "action, failed, one tenant": of_one(lambda: "action:user is:failed", MONTH),
        "changed field": of_all(lambda: f"changed:{pick.choice(workload.FIELDS)}"),
        "changed to a value": of_all(
            lambda: f'changed:role new.role:"{word()} {pick.randrange(997)}"'
        ),
        "metadata": of_all(lambda: f"meta.batch:b{pick.randrange(1000)}"),
        "by request": of_all(lambda: f"request:r{pick.getrandbits(64):016x}"),
    }  # fmt: skip


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cold_store(path: Path) -> SqliteStore:
    """A store that knows nothing yet, over a file that is in no cache."""
    for name in (path, path.with_name(path.name + "-wal")):
        if name.exists():
            file = os.open(name, os.O_RDONLY)
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)
    return SqliteStore(path)


def figures(samples: Sequence[float]) -> dict[str, float]:
    cut = percentiles(samples)
    return {"p50_ms": cut["p50_ms"], "p95_ms": cut["p95_ms"]}


def measure(path: Path, kinds: dict[str, Callable[[SqliteStore], object]]) -> dict[str, object]:
    """Warm and cold durations of each kind of question."""
    results: dict[str, object] = {}
    store = SqliteStore(path)
    for name, ask in kinds.items():
        timed(lambda ask=ask: ask(store))
        warm = figures([timed(lambda ask=ask: ask(store)) for _ in range(WARM_SAMPLES)])
        cold = []
        for _ in range(COLD_SAMPLES):
            fresh = cold_store(path)
            cold.append(timed(lambda ask=ask, fresh=fresh: ask(fresh)))
            fresh.close()
        results[name] = warm | {f"cold_{key}": value for key, value in figures(cold).items()}
        print(f"  {name:<34} {results[name]}", flush=True)
    store.close()
    return results


def questions(path: Path) -> dict[str, Callable[[SqliteStore], object]]:
    pick = random.Random(7)
    kinds: dict[str, Callable[[SqliteStore], object]] = {}

    def page(make: _Ask) -> Callable[[SqliteStore], object]:
        def ask(store: SqliteStore) -> object:
            query, access = make()
            return store.page(query, access=access)

        return ask

    for name, make in searches(pick).items():
        kinds[f"search: {name}"] = page(make)
    cursor = deep_cursor(path)
    kinds["search: a deep page"] = lambda store: store.page(
        asks(""), access=EVERYTHING, cursor=store.open_cursor(cursor, text="")
    )
    for name, since in (("7 days", WEEK), ("30 days", MONTH), ("everything", None)):
        query = asks("", since=since)
        kinds[f"seven facets, {name}"] = lambda store, query=query: store.facets(
            query, access=EVERYTHING, fields=FACETS
        )
        kinds[f"count, {name}"] = lambda store, query=query: store.count(query, access=EVERYTHING)
    failed = asks("is:failed action:user", since=MONTH)
    kinds["seven facets of failed, 30 days"] = lambda store: store.facets(
        failed, access=EVERYTHING, fields=FACETS
    )
    edges = bucket_edges(MONTH, NOW, zone=UTC)
    hours = [Instant.of(MONTH + timedelta(hours=hour)) for hour in range(30 * 24 + 1)]
    month = asks("", since=MONTH)
    kinds["histogram, 30 days"] = lambda store: store.histogram(
        month, access=EVERYTHING, edges=edges
    )
    kinds["histogram, 30 days by the hour"] = lambda store: store.histogram(
        month, access=EVERYTHING, edges=hours
    )
    return kinds | pages(pick) | bare(path, random.Random(8))


def bare(path: Path, pick: random.Random) -> dict[str, Callable[[SqliteStore], object]]:
    """The index of words asked for the same by hand: what of a search is the engine's own."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA query_only = ON")

    def numbers(access: Access) -> list[int] | None:
        return access.tenants and [
            connection.execute(
                "SELECT ref FROM whodid_dict WHERE tenant = 0 AND kind = 1 AND val = ?", (name,)
            ).fetchone()[0]
            for name in access.tenants
        ]

    def matched(make: _Ask) -> Callable[[SqliteStore], object]:
        def ask(store: SqliteStore) -> object:
            query, access = make()
            needed = needed_by_search(query.node, tenants=numbers(access))
            return connection.execute(
                "SELECT rowid FROM whodid_text WHERE whodid_text MATCH ? "
                "ORDER BY rowid DESC LIMIT 51",
                (needed,),
            ).fetchall()

        return ask

    made = searches(pick)
    names = (
        "text, two common words", "text, a phrase", "text, one tenant",
        "text, a phrase, one tenant",
    )  # fmt: skip
    return {f"FTS5 alone: {name}": matched(made[name]) for name in names}


def pages(pick: random.Random) -> dict[str, Callable[[SqliteStore], object]]:
    week = {"from": str(WEEK), "to": str(NOW)}
    # A server has one viewer for all requests, which learns what tenants are called.
    viewers: dict[SqliteStore, Viewer] = {}

    def page(
        path: str, *, access: Access = EVERYTHING, **query: str
    ) -> Callable[[SqliteStore], object]:
        def ask(store: SqliteStore) -> object:
            viewer = viewers.get(store) or viewers.setdefault(store, Viewer(store))
            answer = viewer.handle(Request(path=path, query=week | query, access=access))
            assert answer.status == 200, answer.status
            return answer

        return ask

    def event(store: SqliteStore) -> object:
        newest = store.page(asks(""), access=EVERYTHING, limit=20).events
        return page(f"/events/{pick.choice(newest).id}")(store)

    return {
        "page: list, 7 days": page("/"),
        "page: list, 90 days": page("/", **{"from": str(workload.BEGINS)}),
        "page: list, 90 days, the largest tenant": page(
            "/", access=Access.reader({"t0"}), **{"from": str(workload.BEGINS)}
        ),
        "page: list with a text": page("/", q="harbour ledger"),
        "page: list of failed": page("/", q="is:failed"),
        "page: an event beside the list": event,
    }


def deep_cursor(path: Path) -> str:
    """After some 20,000 events."""
    store = SqliteStore(path)
    cursor = None
    for _ in range(20):
        page = store.page(
            asks(""),
            access=EVERYTHING,
            limit=1_000,
            cursor=store.open_cursor(cursor, text="") if cursor else None,
        )
        cursor = page.older
    store.close()
    assert cursor
    return cursor


def sizes(path: Path, count: int) -> dict[str, object]:
    """Bytes an event, by table."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    [body] = connection.execute(
        "SELECT avg(length(body)) FROM (SELECT body FROM whodid_event LIMIT 20000)"
    ).fetchone()
    connection.close()
    return {"on disk": round(path.stat().st_size / count), "body": round(body)}


def main(count: int, minutes: float) -> None:
    path = cache_folder() / f"scale-{count}.db"
    print(f"· {path}")
    begun = time.time()
    if not fill(path, count, until=begun + minutes * 60):
        print("  call it again to go on")
        return
    filled = time.time() - begun
    indexing = cpu_seconds(lambda: index(path))
    if time.time() - begun > 120:
        print(f"  filled in {filled:.0f} s, indexed in {indexing:.0f} s; call it again to measure")
        return
    results: dict[str, object] = {"events": count, "bytes/event": sizes(path, count)}
    results |= measure(path, questions(path))
    save(f"scale-{count}", results)


if __name__ == "__main__":
    given = sys.argv[1:]
    allowed = float(given[given.index("--minutes") + 1]) if "--minutes" in given else 9
    main(int(given[0]) if given and given[0].isdecimal() else 1_000_000, allowed)
