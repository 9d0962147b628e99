"""What searching a store has in it whatever the engine is: pages, buckets, remembered decisions."""

from __future__ import annotations

import itertools
import json
import math
import threading
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from whodid.errors import InvalidError
from whodid.event import CATEGORIES, OPERATIONS, OUTCOMES, SEVERITIES, StoredEvent
from whodid.query.ast import And, Node, Term
from whodid.query.sql import DictionaryColumn, RefColumn
from whodid.stores.base import Bucket, Cursor, Histogram, Page, SplitBy
from whodid.stores.dictionary import DictKind
from whodid.stores.rows import RefKind
from whodid.times import Instant

MAX_ARRIVED = 1_000
DECIDE_S = 2.0
"""So long events are decoded for counts of a search that no index answers."""
MAX_DECIDED = 100_000

_MAX_DECISIONS = 8
_POINTING = frozenset({"target.id", "behalf.id", "via.id", "id"})
"""Terms with an index of their own that leads to few events."""
NAMES: Mapping[str, tuple[str, ...]] = {
    "category": CATEGORIES,
    "operation": OPERATIONS,
    "severity": SEVERITIES,
    "outcome": OUTCOMES,
}
KINDS: Mapping[DictionaryColumn, DictKind] = {
    "actor": DictKind.ACTOR,
    "action": DictKind.ACTION,
    "app": DictKind.APP,
    "country": DictKind.COUNTRY,
    "agent": DictKind.AGENT,
    "tenant": DictKind.TENANT,
}
REF_KINDS: Mapping[RefColumn, RefKind] = {
    "target": RefKind.TARGET,
    "behalf": RefKind.BEHALF,
    "via": RefKind.VIA,
}


@dataclass(frozen=True)
class Decision:
    """What a search was decided to match.

    Attributes:
        is_whole: False when there are or may be more.
    """

    positions: Sequence[int]
    is_whole: bool

    @cached_property
    def listed(self) -> str:
        """The positions as JSON."""
        return json.dumps(self.positions)


class Decisions:
    """Positions of events that recent searches were decided to match. Thread-safe.

    A page of the viewer asks for events, their count, facets and a histogram: where SQL can't
    decide, the events are decoded once for all of these, not once each.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Decision] = OrderedDict()

    def find(self, search: Hashable) -> Decision | None:
        with self._lock:
            return self._kept.get(search)

    def keep(self, search: Hashable, decision: Decision) -> None:
        with self._lock:
            self._kept[search] = decision
            while len(self._kept) > _MAX_DECISIONS:
                self._kept.popitem(last=False)


def make_page(
    found: Sequence[StoredEvent],
    *,
    limit: int,
    cursor: Cursor | None,
    now: Instant,
    newest: int,
    seal: Callable[[Cursor], str],
    arrived: int,
) -> Page:
    """The page of what was found from a cursor on, in the direction that it says.

    Args:
        found: One more than the limit where there are more.
        now: The moment that relative times count from.
        newest: The last position that the pages of this search show.
        seal: Writes a cursor.
        arrived: Matching events after that position.
    """
    upwards = cursor is not None and cursor.direction == "newer"
    more = len(found) > limit
    events = found[:limit][::-1] if upwards else found[:limit]

    def link(event: StoredEvent, direction: Literal["older", "newer"]) -> str:
        return seal(
            Cursor(
                now=now,
                newest=newest,
                occurred_at=event.occurred_at.micros,
                position=event.position,
                direction=direction,
            )
        )

    has_older = upwards or more
    has_newer = more if upwards else cursor is not None
    return Page(
        events=events,
        older=link(events[-1], "older") if events and has_older else None,
        newer=link(events[0], "newer") if events and has_newer else None,
        arrived=arrived,
    )


def grid_of(edges: Sequence[int]) -> int:
    """The widest step of a grid that all edges lie on: counting per step loses nothing."""
    return math.gcd(*(end - start for start, end in itertools.pairwise(edges)))


def fill_buckets(
    rows: Iterable[tuple[int, int, int]], *, starts: Sequence[int], step: int, split_by: SplitBy
) -> list[Counter[str]]:
    """For each bucket how many events there are of each outcome or severity.

    Args:
        rows: Step of the grid, counted from the first start; code; number of events.
    """
    counts: list[Counter[str]] = [Counter() for _ in starts[:-1]]
    for number, code, count in rows:
        bucket = bisect_right(starts, starts[0] + number * step) - 1
        counts[bucket][NAMES[split_by][code]] += count
    return counts


def make_histogram(
    edges: Sequence[Instant],
    counts: Sequence[Mapping[str, int]],
    *,
    split_by: SplitBy,
    exact: bool,
) -> Histogram:
    """The histogram of these edges and what was counted between them."""
    buckets = [
        Bucket(start=start, end=end, counts=dict(count))
        for start, end, count in zip(edges, edges[1:], counts, strict=False)
    ]
    return Histogram(buckets=buckets, split_by=split_by, exact=exact)


def too_wide() -> InvalidError:
    """What a search is answered that must be decided to its end and can't be in time."""
    return InvalidError(
        "this can't be counted in the time there is, since your access is limited by a search "
        "that no index answers; ask for a shorter time"
    )


def is_pointed(node: Node) -> bool:
    """Must an event be one of the few that an index of their own leads to?"""
    terms = node.terms if isinstance(node, And) else (node,)
    return any(isinstance(term, Term) and term.field in _POINTING for term in terms)
