"""GET /metrics: what came in and what was sent away, for Prometheus (text format 0.0.4).

Names of all keys and tenants are in it, so it needs a key of all tenants with the scope `manage`;
the person at this machine sees it as long as no key exists.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from whodid.server.auth import caller_of
from whodid.server.ingest import Ingest
from whodid.server.problems import refuse
from whodid.server.quotas import Quotas

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The endpoint."""

    def __init__(self, *, quotas: Quotas, ingest: Ingest) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Counters(quotas, ingest))

    async def answer(self, request: Request) -> Response:
        caller = caller_of(request.scope)
        caller.check_scope("manage")
        if caller.tenant is not None:
            raise refuse(403, "tenant", "these are numbers of all tenants; use a key for *")
        return Response(generate_latest(self._registry), media_type=MEDIA_TYPE)


class _Counters(Collector):
    """Reads the counters when they are asked for; keeps none of its own."""

    def __init__(self, quotas: Quotas, ingest: Ingest) -> None:
        self._quotas, self._ingest = quotas, ingest

    def collect(self) -> Iterator[Metric]:
        events = CounterMetricFamily(
            "whodid_ingest_events", "Events stored, doubles not counted.", labels=("owner", "name")
        )
        sizes = CounterMetricFamily(
            "whodid_ingest_bytes",
            "Bytes of bodies by key as they arrived, of events by tenant as stored.",
            labels=("owner", "name"),
        )
        refused = CounterMetricFamily(
            "whodid_ingest_refused", "Requests that were sent away.", labels=("owner", "name")
        )
        for owner, used in self._quotas.usage.items():
            events.add_metric(owner, used.events)
            sizes.add_metric(owner, used.bytes)
            refused.add_metric(owner, used.refused)
        yield from (events, sizes, refused)
        yield GaugeMetricFamily(
            "whodid_ingest_held_bytes",
            "Bodies held in memory now.",
            value=self._ingest.held_bytes,
        )
