"""What goes on from now is like the month before, and endless."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice, pairwise

import pytest

from tests.demo.conftest import NOW, SEED, when
from whodid import demo
from whodid.event import Event, checked
from whodid.recorder import prepare
from whodid.times import Instant


@pytest.fixture
def living() -> Iterator[Event]:
    return demo.live(seed=SEED, now=NOW)


def test_live_goes_on_from_now_in_the_order_of_time(living: Iterator[Event]) -> None:
    events = list(islice(living, 1_000))

    assert when(events[0]) >= NOW
    assert all(when(a) <= when(b) for a, b in pairwise(events))
    assert len({event.id for event in events}) == 1_000


def test_live_makes_about_as_many_events_a_second_as_asked() -> None:
    events = list(islice(demo.live(seed=SEED, now=NOW, per_second=4), 2_000))
    seconds = (when(events[-1]) - NOW).total_seconds()

    assert 3.5 < len(events) / seconds < 6


def test_live_events_keep_the_schema_and_can_be_stored(living: Iterator[Event]) -> None:
    for event in islice(living, 1_000):
        assert checked(event) == event
        prepare(event)


def test_live_shows_something_noteworthy_now_and_then(living: Iterator[Event]) -> None:
    events = list(islice(living, 4_000))
    noteworthy = [
        event
        for event in events
        if event.outcome in ("denied", "error")
        or event.count > 1
        or event.action in ("user.role.grant", "api_key.create", "data.export")
    ]

    assert 1 / 60 < len(noteworthy) / len(events) < 1 / 15
    assert all(event.actor.name != "Tomás Reyes" for event in events if event.outcome != "failure")


def test_live_events_of_two_starts_differ() -> None:
    first = {event.id for event in islice(demo.live(seed=SEED, now=NOW), 50)}
    later = Instant.of(datetime(2026, 11, 19, 6, 28, tzinfo=UTC))

    assert first.isdisjoint(event.id for event in islice(demo.live(seed=SEED, now=later), 50))
