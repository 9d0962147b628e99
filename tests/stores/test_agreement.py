"""The law of searching: SQL selects at least what `evaluate` accepts, and exactly that when it
says so; pages, counts, facets and histograms follow from `evaluate` alone.

Every example is one set of events in a tenant of its own and several searches made from the values
that occur in them.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.strategies import events, query_nodes
from whodid.access import Access
from whodid.errors import EventError
from whodid.event import Event, StoredEvent, Tenant
from whodid.query.ast import Node, Query
from whodid.query.evaluate import compile_matcher
from whodid.recorder import prepare
from whodid.stores.sqlite import SqliteStore
from whodid.testing import NOON, minutes

SEARCHES = 8
EXAMPLES = int(os.environ.get("WHODID_AGREEMENT_EXAMPLES", "300"))  # times SEARCHES = pairs
_numbers = itertools.count()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path_factory.mktemp("agreement") / "log.db")
    yield store
    store.close()


def _append(store: SqliteStore, found: list[Event]) -> tuple[str, list[StoredEvent]]:
    """Store the events in a new tenant: its id, and what is there."""
    tenant = f"t{next(_numbers)}"
    prepared = []
    for each in found:
        own = msgspec.structs.replace(
            each, tenant=Tenant(id=tenant), id=msgspec.UNSET, idempotency_key=msgspec.UNSET
        )
        try:
            prepared.append(prepare(own))
        except EventError:
            continue  # too large, or an action of the log's own
    store.append(prepared, now=NOON)
    access = Access.reader({tenant})
    return tenant, list(store.scan(_query(None), access=access))


def _query(node: Node | None) -> Query:
    from whodid.query.ast import EVERYTHING

    return Query(text="", node=EVERYTHING if node is None else node, now=NOON)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_every_search_finds_what_evaluate_accepts(store: SqliteStore, data: st.DataObject) -> None:
    made = data.draw(st.lists(events(), max_size=6))
    tenant, there = _append(store, made)
    access = Access.reader({tenant})
    for _ in range(SEARCHES):
        node = data.draw(query_nodes(there))
        accepted = list(filter(compile_matcher(node), there))
        event("hits" if accepted else "no hit")

        _check_law(store, node, access, accepted)
        _check_reads(store, node, access, accepted)


def _check_law(
    store: SqliteStore, node: Node, access: Access, accepted: list[StoredEvent]
) -> None:
    with store._reader(access) as reader:
        where = reader._search(_query(node)).where
        rows = reader._connection.execute(
            f"SELECT position FROM whodid_event WHERE {where.sql}", where.params
        )
        selected = {row[0] for row in rows}
    wanted = {each.position for each in accepted}
    assert selected >= wanted, f"SQL misses events of {node}"
    if where.exact:
        assert selected == wanted, f"SQL says it is exact for {node}"


def _check_reads(
    store: SqliteStore, node: Node, access: Access, accepted: list[StoredEvent]
) -> None:
    query = _query(node)
    ids = [each.id for each in accepted]
    assert [each.id for each in store.scan(query, access=access)] == ids

    paged: list[str] = []
    page = store.page(query, access=access, limit=2)
    while True:
        paged += [each.id for each in page.events]
        if page.older is None:
            break
        cursor = store.open_cursor(page.older, text="")
        page = store.page(query, access=access, limit=2, cursor=cursor)
    assert paged == ids

    assert store.count(query, access=access).count == len(ids)
    [outcomes, actions] = store.facets(query, access=access, fields=["outcome", "action"], limit=99)
    assert {v.value: v.count for v in outcomes.values} == Counter(e.outcome for e in accepted)
    assert {v.value: v.count for v in actions.values} == Counter(e.event.action for e in accepted)
    edges = [minutes(-1e8), minutes(0), minutes(1e8)]
    counted = store.histogram(query, access=access, edges=edges)
    inside = [e for e in accepted if edges[0] <= e.occurred_at < edges[-1]]
    assert sum(bucket.total for bucket in counted.buckets) == len(inside)
