"""The contract that every store passes.

A store's test module subclasses it:

```python
class TestMyStore(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path):
        return lambda: MyStore(tmp_path / "log")
```

Needs pytest.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from msgspec import UNSET, structs

from whodid import ids
from whodid.access import Access
from whodid.errors import ConflictError, CursorError, PermissionRefusedError
from whodid.event import StoredEvent, Tenant
from whodid.ledger.merkle import leaf_hash, root_of
from whodid.query.evaluate import matches
from whodid.query.parse import parse
from whodid.stores.base import Batch, Cursor, EventStore, Page, Receipt
from whodid.testing.builders import EVERYTHING, NOON, a_query, an_event, minutes, prepared

MakeStore = Callable[[], EventStore]


class StoreContract:
    """What `stores.base.EventStore` promises, as tests."""

    @pytest.fixture
    def make_store(self) -> MakeStore:
        """Open the same, at first empty, store at every call."""
        raise AssertionError("a subclass of StoreContract gives a make_store fixture")

    @pytest.fixture
    def store(self, make_store: MakeStore) -> Iterator[EventStore]:
        store = make_store()
        yield store
        store.close()

    # Appending

    def test_events_get_a_dense_index_in_the_order_of_the_batch(self, store: EventStore) -> None:
        first = store.append(prepared(*(an_event() for _ in range(3))))
        second = store.append(prepared(an_event()))

        assert [receipt.index for receipt in first + second] == [0, 1, 2, 3]

    def test_every_tenant_has_an_index_of_its_own(self, store: EventStore) -> None:
        receipts = store.append(
            prepared(an_event(tenant="acme"), an_event(tenant="beta"), an_event(tenant="acme"))
        )

        assert [(each.tenant, each.index) for each in receipts] == [
            ("acme", 0),
            ("beta", 0),
            ("acme", 1),
        ]

    def test_an_acknowledged_event_is_there_after_reopening(self, make_store: MakeStore) -> None:
        store = make_store()
        [receipt] = store.append(prepared(an_event(message="kept")))
        store.close()

        again = make_store()
        found = again.find(receipt.id, access=EVERYTHING)
        again.close()

        assert found is not None
        assert (found.event.message, found.index) == ("kept", 0)

    def test_an_event_comes_back_as_it_went_in(self, store: EventStore) -> None:
        event = an_event(
            id=ids.uuid7(),
            occurred_at="2026-03-15T11:00:00.25+01:00",
            actor={"type": "user", "id": "7", "name": "Žana\0\u202e", "roles": ["hr"]},
            targets=[{"type": "user", "id": str(number)} for number in range(12)],
            changes=[{"path": "role", "old": None, "new": {"a": [1, 2.5, "x"]}}],
            client={"ip": "2001:db8::1", "geo": {"country": "NO", "lat": 59.9}},
            metadata={"empty": {}, "null": None},
        )
        [receipt] = store.append(prepared(event), writer="key:k1", now=NOON)

        found = _found(store, receipt)

        expected = msgspec.structs.replace(
            event,
            tenant=Tenant(id="default"),
            category="data",
            operation="update",
            severity="info",
            outcome="success",
        )
        assert found.event == expected
        assert (found.received_at, found.writer) == (NOON, "key:k1")

    def test_an_empty_batch_stores_nothing(self, store: EventStore) -> None:
        assert store.append([]) == []
        assert store.stats(access=EVERYTHING).events == 0

    # Doubles

    def test_the_same_event_again_gets_its_first_receipt(self, store: EventStore) -> None:
        event = an_event(id=ids.uuid7())
        [first] = store.append(prepared(event), now=NOON)
        [again] = store.append(prepared(event), now=minutes(5))

        assert again == structs.replace(first, duplicate=True)
        assert store.stats(access=EVERYTHING).events == 1

    def test_a_double_inside_one_batch_is_stored_once(self, store: EventStore) -> None:
        event = an_event(id=ids.uuid7())

        receipts = store.append(prepared(event, an_event(), event))

        assert [(each.index, each.duplicate) for each in receipts] == [
            (0, False),
            (1, False),
            (0, True),
        ]

    def test_an_idempotency_key_is_an_id_chosen_by_the_sender(self, store: EventStore) -> None:
        event = an_event(idempotency_key="order-5", source={"app": "billing"})
        [first] = store.append(prepared(event))
        [again] = store.append(prepared(event))
        [other_app] = store.append(
            prepared(an_event(idempotency_key="order-5", source={"app": "shop"}))
        )
        [no_app] = store.append(prepared(an_event(idempotency_key="order-5")))

        assert (again.id, again.duplicate) == (first.id, True)
        assert len({first.id, other_app.id, no_app.id}) == 3

    def test_what_the_sender_left_out_makes_no_conflict(self, store: EventStore) -> None:
        event_id = ids.uuid7()
        full = an_event(
            id=event_id, occurred_at="2026-03-15T11:00:00Z", severity="high", outcome="failure"
        )
        store.append(prepared(full))

        [again] = store.append(prepared(an_event(id=event_id)))

        assert again.duplicate

    def test_another_body_under_the_same_id_is_a_conflict(self, store: EventStore) -> None:
        event_id = ids.uuid7()
        store.append(prepared(an_event(id=event_id)))

        with pytest.raises(ConflictError) as caught:
            store.append(prepared(an_event(), an_event(id=event_id, actor="mallory")))

        assert (caught.value.path, caught.value.index) == ("/actor", 1)
        assert store.stats(access=EVERYTHING).events == 1

    def test_another_body_under_the_same_key_is_a_conflict(self, store: EventStore) -> None:
        store.append(prepared(an_event(idempotency_key="k")))

        with pytest.raises(ConflictError) as caught:
            store.append(prepared(an_event(idempotency_key="k", action="invoice.delete")))

        assert caught.value.path == "/action"

    def test_two_tenants_may_use_the_same_id(self, store: EventStore) -> None:
        event_id = ids.uuid7()
        receipts = store.append(
            prepared(
                an_event(id=event_id, tenant="acme"),
                an_event(id=event_id, tenant="beta", actor="bob"),
            )
        )

        assert [each.duplicate for each in receipts] == [False, False]

    # Access

    def test_without_a_right_nothing_is_read(self, store: EventStore) -> None:
        store.append(prepared(an_event()))
        nobody = Access()
        reads: list[Callable[[], object]] = [
            lambda: store.page(a_query(), access=nobody),
            lambda: list(store.scan(a_query(), access=nobody)),
            lambda: store.count(a_query(), access=nobody),
            lambda: store.facets(a_query(), access=nobody, fields=["action"]),
            lambda: store.histogram(a_query(), access=nobody, edges=[NOON, minutes(1)]),
            lambda: store.find(ids.uuid7(), access=nobody),
            lambda: store.tenants(access=nobody),
            lambda: store.read_from(0, access=nobody),
            lambda: store.stats(access=nobody),
            lambda: store.verify(access=nobody),
        ]
        for read in reads:
            with pytest.raises(PermissionRefusedError):
                read()

    def test_another_tenants_events_do_not_exist(self, store: EventStore) -> None:
        [mine, theirs] = store.append(
            prepared(an_event(tenant="acme"), an_event(tenant="beta", actor="bob"))
        )
        access = Access.reader({"acme"})
        edges = [minutes(-1e6), minutes(1e6)]

        assert store.find(theirs.id, access=access) is None
        assert store.find(theirs.id, access=access, tenant="beta") is None
        assert [each.id for each in store.page(a_query(), access=access).events] == [mine.id]
        assert store.count(a_query(), access=access).count == 1
        assert store.count(a_query("tenant:beta OR actor:bob"), access=access).count == 0
        assert store.tenants(access=access) == ["acme"]
        [actors] = store.facets(a_query(), access=access, fields=["actor"])
        assert [value.value for value in actors.values] == ["alice"]
        [bucket] = store.histogram(a_query(), access=access, edges=edges).buckets
        assert bucket.total == 1

    def test_a_restriction_holds_for_every_read(self, store: EventStore) -> None:
        [seen, hidden] = store.append(
            prepared(an_event(metadata={"team": "a"}), an_event(metadata={"team": "b"}))
        )
        access = Access.reader({"default"}, restriction=parse("meta.team:a", now=NOON).node)

        assert store.find(hidden.id, access=access) is None
        assert store.find(seen.id, access=access) is not None
        assert store.count(a_query(), access=access).count == 1
        assert store.count(a_query("-meta.team:a"), access=access).count == 0
        [actions] = store.facets(a_query(), access=access, fields=["action"])
        assert actions.values[0].count == 1

    # Pages

    def test_a_page_is_newest_first(self, store: EventStore) -> None:
        store.append(prepared(*(an_event(occurred_at=str(minutes(m))) for m in (2, 0, 1))))

        page = store.page(a_query(), access=EVERYTHING)

        assert [each.occurred_at for each in page.events] == [minutes(2), minutes(1), minutes(0)]
        assert (page.older, page.newer) == (None, None)

    @pytest.mark.parametrize("text", ["", "alice", "is:failed OR action:invoice"])
    def test_pages_neither_skip_nor_repeat_while_events_arrive(
        self, store: EventStore, text: str
    ) -> None:
        # Times collide on purpose, so that the order inside one instant matters.
        _append_at(store, [number // 3 for number in range(25)])
        before = [each.id for each in store.scan(a_query(text), access=EVERYTHING)]

        seen: list[str] = []
        page = store.page(a_query(text), access=EVERYTHING, limit=4)
        while True:
            seen += [each.id for each in page.events]
            if page.older is None:
                break
            _append_at(store, [100, 3, -50])  # new, in the middle, back-dated
            page = _next(store, text, page.older)

        assert seen == before
        assert page.arrived == 3 * (len(before) // 4)

    def test_the_way_back_up_leads_over_the_same_pages(self, store: EventStore) -> None:
        _append_at(store, range(10))
        down = [store.page(a_query(), access=EVERYTHING, limit=4)]
        while (token := down[-1].older) is not None:
            down.append(_next(store, "", token))

        up = [down[-1]]
        while (token := up[-1].newer) is not None:
            up.append(_next(store, "", token))

        assert [_ids(page) for page in up] == [_ids(page) for page in reversed(down)]

    def test_a_cursor_keeps_the_moment_that_relative_times_count_from(
        self, store: EventStore
    ) -> None:
        _append_at(store, range(10))
        query = a_query("created:7d", now=minutes(20))
        page = store.page(query, access=EVERYTHING, limit=4)

        assert page.older is not None
        assert store.open_cursor(page.older, text="created:7d").now == minutes(20)

    def test_a_cursor_of_another_search_or_damaged_is_refused(self, store: EventStore) -> None:
        _append_at(store, range(10))
        token = store.page(a_query("alice"), access=EVERYTHING, limit=4).older
        assert token is not None
        damaged = ("B" if token[9] != "B" else "C").join((token[:9], token[10:]))

        for text, given in [("bob", token), ("alice", damaged), ("alice", ""), ("alice", "ä")]:
            with pytest.raises(CursorError):
                store.open_cursor(given, text=text)

    # Counting

    def test_counting_stops_at_the_cap_and_says_so(self, store: EventStore) -> None:
        _append_at(store, range(10))

        for text in ("", "alice"):
            capped = store.count(a_query(text), access=EVERYTHING, cap=5)
            assert (capped.count, capped.exact) == (5, False)
            full = store.count(a_query(text), access=EVERYTHING, cap=10)
            assert (full.count, full.exact) == (10, True)

    @pytest.mark.parametrize("text", ["", "outcome:denied", "alice -outcome:error", "is:failed"])
    def test_facets_equal_a_count_by_hand(self, store: EventStore, text: str) -> None:
        _append_mix(store)
        query = a_query(text)
        found = [e for e in store.scan(a_query(), access=EVERYTHING) if matches(query.node, e)]

        facets = store.facets(
            query,
            access=EVERYTHING,
            fields=["outcome", "action", "actor", "app", "country", "severity", "ip", "tenant"],
        )

        by_hand: dict[str, Counter[Any]] = {
            "outcome": Counter(e.outcome for e in found),
            "action": Counter(e.event.action for e in found),
            "actor": Counter(e.event.actor.id for e in found),
            "app": Counter(e.event.source.app for e in found if e.event.source),
            "country": Counter(
                e.event.client.geo.country for e in found if e.event.client and e.event.client.geo
            ),
            "severity": Counter(e.severity for e in found),
            "ip": Counter(e.event.client.ip for e in found if e.event.client),
            "tenant": Counter(e.tenant_id for e in found),
        }
        for facet in facets:
            assert {v.value: v.count for v in facet.values} == by_hand[facet.field], facet.field
            assert facet.distinct == len(by_hand[facet.field])

    def test_a_facet_shows_the_commonest_values(self, store: EventStore) -> None:
        store.append(prepared(*(an_event(actor=name) for name in "aaabbc")))

        [facet] = store.facets(a_query(), access=EVERYTHING, fields=["actor"], limit=2)

        assert [(value.value, value.count) for value in facet.values] == [("a", 3), ("b", 2)]
        assert facet.distinct == 3

    def test_an_actor_is_one_facet_value_under_all_its_names(self, store: EventStore) -> None:
        store.append(
            prepared(
                an_event(actor={"type": "user", "id": "7", "name": "Ana Berg"}),
                an_event(actor={"type": "user", "id": "7", "name": "Ana Lund"}),
                an_event(actor={"type": "user", "id": "7", "name": "Ana Lund"}),
                an_event(actor={"type": "anonymous"}),
            )
        )

        [facet] = store.facets(a_query(), access=EVERYTHING, fields=["actor"])

        assert [(v.field, v.value, v.label, v.count) for v in facet.values] == [
            ("actor.id", "7", "Ana Lund", 3),
            ("actor.type", "anonymous", "anonymous", 1),
        ]

    @pytest.mark.parametrize("text", ["", "alice"])
    def test_a_histogram_counts_every_event_in_its_bucket(
        self, store: EventStore, text: str
    ) -> None:
        _append_at(store, [0, 1, 1, 5, 9.99, 10])
        edges = [minutes(0), minutes(1), minutes(3), minutes(10)]

        histogram = store.histogram(a_query(text), access=EVERYTHING, edges=edges)

        assert [bucket.total for bucket in histogram.buckets] == [1, 2, 2]
        assert [(bucket.start, bucket.end) for bucket in histogram.buckets] == [
            (edges[0], edges[1]),
            (edges[1], edges[2]),
            (edges[2], edges[3]),
        ]

    # Order, proof, health

    def test_followers_read_all_tenants_in_sealed_order(self, store: EventStore) -> None:
        receipts = store.append(
            prepared(*(an_event(tenant=name) for name in ("acme", "beta", "acme")))
        )
        receipts += store.append(prepared(an_event(tenant="beta")))

        first = store.read_from(0, access=EVERYTHING, limit=3)
        rest = store.read_from(first[-1].position + 1, access=EVERYTHING)

        assert [each.id for each in first + rest] == [each.id for each in receipts]
        assert [each.position for each in first + rest] == [1, 2, 3, 4]

    def test_the_newest_position_is_that_of_the_last_event(self, store: EventStore) -> None:
        before = store.newest_position()
        store.append(prepared(an_event(tenant="acme"), an_event(tenant="beta")))

        [*_, last] = store.read_from(0, access=EVERYTHING)

        assert (before, store.newest_position()) == (0, last.position)

    def test_a_cursor_that_was_sealed_is_read_again(self, make_store: MakeStore) -> None:
        cursor = Cursor(now=NOON, newest=7, occurred_at=1, position=3, direction="newer")
        store = make_store()
        token = store.seal_cursor(cursor, text="a search")
        store.close()

        again = make_store()
        opened = again.open_cursor(token, text="a search")
        again.close()

        assert opened == cursor

    def test_the_tree_is_the_one_of_the_entries(self, store: EventStore) -> None:
        _append_mix(store)

        report = store.verify(access=EVERYTHING)

        assert report.is_sound, report.problems
        assert report.events == store.stats(access=EVERYTHING).events
        assert sum(tree.size for tree in report.trees) == report.events
        for tree in report.trees:
            assert len(tree.log_id) == 16
            assert tree.root != root_of([leaf_hash(b"")])

    def test_of_several_batches_each_is_all_or_nothing(self, store: EventStore) -> None:
        event_id = ids.uuid7()
        store.append(prepared(an_event(id=event_id)))
        bad = prepared(an_event(tenant="new"), an_event(id=event_id, actor="mallory"))

        first, conflict, last = store.append_each(
            [
                Batch(events=prepared(an_event())),
                Batch(events=bad),
                Batch(events=prepared(an_event())),
            ]
        )

        assert isinstance(conflict, ConflictError)
        assert conflict.index == 1
        assert not isinstance(first, ConflictError)
        assert not isinstance(last, ConflictError)
        assert [receipt.index for receipt in [*first, *last]] == [1, 2]
        assert store.tenants(access=EVERYTHING) == ["default"]

    def test_of_several_batches_with_one_event_the_first_stores_it(self, store: EventStore) -> None:
        event = an_event(id=ids.uuid7(), idempotency_key="k")
        other = an_event(idempotency_key="k", action="invoice.delete")

        first, again, conflict = store.append_each(
            [Batch(events=prepared(each)) for each in (event, event, other)]
        )

        assert not isinstance(first, ConflictError)
        assert again == [structs.replace(first[0], duplicate=True)]
        assert isinstance(conflict, ConflictError)
        assert store.stats(access=EVERYTHING).events == 1

    def test_a_batch_under_one_key_is_stored_whole_or_conflicts(self, store: EventStore) -> None:
        def keyed(count: int) -> Batch:
            events = [an_event(idempotency_key=f"k#{number}") for number in range(count)]
            return Batch(events=prepared(*events), key="k")

        [first] = store.append_each([keyed(2)])
        [same] = store.append_each([keyed(2)])
        [longer] = store.append_each([keyed(3)])
        [shorter] = store.append_each([keyed(1)])

        assert isinstance(shorter, ConflictError)
        assert not isinstance(first, ConflictError)
        assert same == [structs.replace(receipt, duplicate=True) for receipt in first]
        assert isinstance(longer, ConflictError)
        assert store.stats(access=EVERYTHING).events == 2

    def test_two_batches_under_one_key_conflict_also_when_they_come_at_once(
        self, store: EventStore
    ) -> None:
        one, three = (
            Batch(
                events=prepared(*(an_event(idempotency_key=f"k#{n}") for n in range(size))),
                key="k",
            )
            for size in (1, 3)
        )

        first, second = store.append_each([one, three])

        assert not isinstance(first, ConflictError)
        assert isinstance(second, ConflictError)
        assert store.stats(access=EVERYTHING).events == 1

    def test_a_batch_under_a_key_may_hold_events_that_were_stored_without_it(
        self, store: EventStore
    ) -> None:
        known = an_event(id=ids.uuid7(), idempotency_key="k#0")
        own = an_event(idempotency_key="own")
        store.append(prepared(structs.replace(known, idempotency_key=UNSET), own))
        batch = Batch(events=prepared(known, own, an_event(idempotency_key="k#2")), key="k")

        [first] = store.append_each([batch])
        [again] = store.append_each([batch])

        assert not isinstance(first, ConflictError)
        assert [receipt.duplicate for receipt in first] == [True, True, False]
        assert again == [structs.replace(receipt, duplicate=True) for receipt in first]

    def test_no_batches_and_empty_ones_have_no_receipts(self, store: EventStore) -> None:
        assert store.append_each([]) == []
        assert store.append_each([Batch(events=[])]) == [[]]
        assert store.append([]) == []

    def test_appending_from_many_threads_loses_and_doubles_nothing(self, store: EventStore) -> None:
        receipts: list[Receipt] = []

        def work() -> None:
            for _ in range(5):
                receipts.extend(store.append(prepared(an_event(), an_event(tenant="acme"))))

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        for tenant in ("default", "acme"):
            indices = sorted(each.index or 0 for each in receipts if each.tenant == tenant)
            assert indices == list(range(30))
        assert store.verify(access=EVERYTHING).is_sound

    def test_a_store_that_works_is_healthy(self, store: EventStore) -> None:
        store.check_health()

    def test_stats_tell_how_much_and_from_when_to_when(self, store: EventStore) -> None:
        _append_at(store, [5, 1, 3])
        stats = store.stats(access=EVERYTHING)

        assert (stats.events, stats.oldest, stats.newest) == (3, minutes(1), minutes(5))
        assert stats.size_bytes

    def test_followers_and_stats_see_no_more_than_their_access(self, store: EventStore) -> None:
        store.append(
            prepared(
                an_event(tenant="acme", occurred_at=str(minutes(1)), message="mine"),
                an_event(tenant="beta", occurred_at=str(minutes(2))),
                an_event(tenant="acme", occurred_at=str(minutes(3)), message="hidden"),
            )
        )
        acme = Access.reader({"acme"})
        restricted = Access.reader({"acme"}, restriction=a_query("message:mine").node)

        assert [each.tenant_id for each in store.read_from(0, access=acme)] == ["acme", "acme"]
        assert [e.event.message for e in store.read_from(0, access=restricted)] == ["mine"]
        seen, part = store.stats(access=acme), store.stats(access=restricted)
        assert (seen.events, seen.oldest, seen.newest) == (2, minutes(1), minutes(3))
        assert (part.events, part.oldest, part.newest) == (1, minutes(1), minutes(1))
        assert seen.size_bytes is None


def _append_at(store: EventStore, offsets: Sequence[float] | range) -> None:
    """Append events at so many minutes after noon."""
    store.append(prepared(*(an_event(occurred_at=str(minutes(m))) for m in offsets)))


def _append_mix(store: EventStore) -> None:
    """Append events that differ in everything that facets count."""
    choices = itertools.product(
        ("success", "denied", "error"), ("invoice.update", "user.login"), ("alice", "bob")
    )
    events = [
        an_event(
            outcome=outcome,
            action=action,
            actor=actor,
            severity="high" if outcome == "denied" else "low",
            source={"app": "billing" if number % 2 else "shop"},
            client={"ip": f"203.0.113.{number % 3}", "geo": {"country": "NO"}},
            tenant="acme" if number % 5 else "beta",
            occurred_at=str(minutes(number)),
        )
        for number, (outcome, action, actor) in enumerate(choices)
    ]
    store.append(prepared(*events))


def _next(store: EventStore, text: str, token: str) -> Page:
    cursor = store.open_cursor(token, text=text)
    return store.page(a_query(text, now=cursor.now), access=EVERYTHING, limit=4, cursor=cursor)


def _ids(page: Page) -> list[str]:
    return [each.id for each in page.events]


def _found(store: EventStore, receipt: Receipt) -> StoredEvent:
    found = store.find(receipt.id, access=EVERYTHING, tenant=receipt.tenant)
    assert found is not None
    return found
