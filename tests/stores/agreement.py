"""The law of searching, for any store: SQL selects at least what `evaluate` accepts, and exactly
that when it says so; pages, counts, facets and histograms follow from `evaluate` alone.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

from hypothesis import event
from hypothesis import strategies as st
from msgspec import UNSET, structs

from tests.strategies import events, query_nodes
from whodid.access import Access
from whodid.canonical import Encoded
from whodid.errors import EventError
from whodid.event import Event, StoredEvent, Tenant
from whodid.ids import derived_id
from whodid.query.ast import EVERYTHING, Node, Query
from whodid.query.evaluate import compile_matcher
from whodid.recorder import prepare
from whodid.stores.base import EventStore
from whodid.testing import NOON, minutes

SEARCHES = 8
EXAMPLES = int(os.environ.get("WHODID_AGREEMENT_EXAMPLES", "260"))  # times SEARCHES = pairs
ACCESS = Access.reader({"acme"})

Select = Callable[[Query], tuple[set[int], bool]]
"""The positions that SQL selects for a search, and whether it says that this is exact."""


def check_a_log(store: EventStore, data: st.DataObject, *, select: Select) -> None:
    """Store some events, and search for what occurs in them."""
    store.append(storable(data.draw(st.lists(events(), max_size=6))), now=NOON)
    there = list(store.scan(as_query(EVERYTHING), access=ACCESS))
    for _ in range(SEARCHES):
        node = data.draw(query_nodes(there))
        accepted = list(filter(compile_matcher(node), there))
        event("hits" if accepted else "no hit")
        _check_law(node, accepted, select=select)
        _check_reads(store, node, accepted)


def storable(found: list[Event]) -> list[Encoded]:
    """The events as a store takes them, with ids that are the same whenever they are drawn."""
    prepared = []
    for number, each in enumerate(found):
        event_id = derived_id("agreement", str(number).encode())
        tenant = Tenant(id="acme", name=each.tenant.name if each.tenant else UNSET)
        own = structs.replace(each, tenant=tenant, id=event_id, idempotency_key=UNSET)
        try:
            prepared.append(prepare(own))
        except EventError:
            continue  # too large, or an action of the log's own
    return prepared


def as_query(node: Node) -> Query:
    return Query(text="", node=node, now=NOON)


def _check_law(node: Node, accepted: list[StoredEvent], *, select: Select) -> None:
    selected, is_exact = select(as_query(node))
    wanted = {each.position for each in accepted}
    assert selected >= wanted, f"SQL misses events of {node}"
    if is_exact:
        assert selected == wanted, f"SQL says it is exact for {node}"


def _check_reads(store: EventStore, node: Node, accepted: list[StoredEvent]) -> None:
    query = as_query(node)
    ids = [each.id for each in accepted]
    assert [each.id for each in store.scan(query, access=ACCESS)] == ids

    paged: list[str] = []
    page = store.page(query, access=ACCESS, limit=2)
    while True:
        paged += [each.id for each in page.events]
        if page.older is None:
            break
        cursor = store.open_cursor(page.older, text="")
        page = store.page(query, access=ACCESS, limit=2, cursor=cursor)
    assert paged == ids

    assert store.count(query, access=ACCESS).count == len(ids)
    [outcomes, actions] = store.facets(query, access=ACCESS, fields=["outcome", "action"], limit=99)
    assert {v.value: v.count for v in outcomes.values} == Counter(e.outcome for e in accepted)
    assert {v.value: v.count for v in actions.values} == Counter(e.event.action for e in accepted)
    edges = [minutes(-1e8), minutes(0), minutes(1e8)]
    counted = store.histogram(query, access=ACCESS, edges=edges)
    inside = [e for e in accepted if edges[0] <= e.occurred_at < edges[-1]]
    assert sum(bucket.total for bucket in counted.buckets) == len(inside)
