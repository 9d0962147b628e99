"""Search, facets, histogram, count and one event at 100,000 events: p50, p95, p99.

python benchmarks/bench_search.py [EVENTS]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, timedelta

from common import NOW, demo_events, folder, percentiles, save

from whodid import recorder
from whodid.access import Access
from whodid.query.ast import all_of, within
from whodid.query.buckets import bucket_edges
from whodid.query.parse import parse
from whodid.stores.base import FacetField
from whodid.stores.sqlite import SqliteStore
from whodid.times import Instant
from whodid.viewer import Request, Viewer

SEARCHES = {
    "newest": "",
    "by actor": "actor:ingrid",
    "by target id": "target.type:invoice target.id:42",
    "by address": "ip:203.0.113.0/24",
    "failed of an action": "action:user.login is:failed",
    "by changed field": "changed:role new.role:admin",
    "free text (scan)": "recovery code",
    "free text without a match (scan)": "xylophone",
}

FACETS: tuple[FacetField, ...] = (
    "outcome",
    "action",
    "actor",
    "country",
    "app",
    "severity",
)


def timed(work: Callable[[], object], runs: int) -> dict[str, float]:
    work()
    samples = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        samples.append(time.perf_counter() - start)
    return percentiles(samples)


def main(count: int) -> None:
    events = demo_events(count)
    everything = Access.everything()
    results: dict[str, object] = {"events": count}
    with folder() as where:
        store = SqliteStore(where / "log.db")
        for start in range(0, count, 1000):
            store.append([recorder.prepare(each) for each in events[start : start + 1000]])
        for name, text in SEARCHES.items():
            query = parse(text, now=NOW)
            runs = 5 if "scan" in name or "changed" in name else 50
            results[f"page: {name}"] = timed(
                lambda query=query: store.page(query, access=everything), runs
            )
        week = Instant.of(NOW - timedelta(days=7))
        edges = bucket_edges(week, NOW, zone=UTC)
        for name, text in (("all", ""), ("one actor", "actor:ingrid")):
            query = parse(text, now=NOW)
            windowed = parse(text, now=NOW)
            windowed = type(windowed)(
                text=text, node=all_of(within(week, NOW), query.node), now=NOW
            )
            results[f"six facets, 7 days: {name}"] = timed(
                lambda q=windowed: store.facets(q, access=everything, fields=FACETS), 20
            )
            results[f"histogram, 7 days: {name}"] = timed(
                lambda q=windowed: store.histogram(q, access=everything, edges=edges), 20
            )
            results[f"count, 30 days: {name}"] = timed(
                lambda q=query: store.count(q, access=everything), 20
            )
        [middle] = store.read_from(count // 2, access=Access.everything(), limit=1)
        results["find one event"] = timed(lambda: store.find(middle.id, access=everything), 200)
        viewer = Viewer(store)
        span = {"from": str(week), "to": str(NOW)}
        for name, path, query_string in (
            ("list, 7 days", "/", span),
            ("list with a search", "/", span | {"q": "actor:ingrid"}),
            ("drawer beside the list", f"/events/{middle.id}", span),
        ):
            request = Request(path=path, query=query_string, access=everything)
            assert viewer.handle(request).status == 200
            results[f"page of the viewer: {name}"] = timed(
                lambda request=request: viewer.handle(request), 10
            )
        start = time.perf_counter()
        report = store.verify(access=everything)
        assert report.is_sound
        results["verify, events/s"] = round(report.events / (time.perf_counter() - start))
        store.close()
    save("search", results)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
