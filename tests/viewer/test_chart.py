"""The histogram as it is drawn."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from tests.viewer.html import query_of
from whodid.event import OUTCOMES, SEVERITIES
from whodid.query.buckets import bucket_edges
from whodid.stores.base import Bucket, Histogram, SplitBy
from whodid.testing import NOON
from whodid.times import Instant
from whodid.viewer.address import Address
from whodid.viewer.chart import FLOOR, LAYERS, TOP, Chart, draw
from whodid.viewer.moments import Moments, find_zone

ADDRESS = Address(prefix="", params={"q": "alice"})


def chart(
    *counts: dict[str, int],
    start: Instant = NOON,
    length: timedelta = timedelta(hours=1),
    zone: str = "UTC",
    split_by: SplitBy = "outcome",
) -> Chart | None:
    found = find_zone(zone)
    assert found
    buckets = [
        Bucket(
            start=Instant.of(start + index * length),
            end=Instant.of(start + (index + 1) * length),
            counts=count,
        )
        for index, count in enumerate(counts)
    ]
    return draw(
        Histogram(buckets=buckets, split_by=split_by),
        address=ADDRESS,
        moments=Moments(now=NOON, zone=found, name=zone),
    )


def test_nothing_is_drawn_of_nothing() -> None:
    assert chart({}, {}) is None


def test_the_quiet_lie_below_the_denied_and_these_below_the_failed() -> None:
    drawn = chart({"success": 6, "denied": 2, "failure": 1, "error": 1})

    assert drawn
    slices = drawn.bars[0].slices
    assert [part.css for part in slices] == ["", "d", "f"]
    assert sum(part.height for part in slices) == pytest.approx(FLOOR - TOP, abs=0.2)
    assert slices[0].y > slices[1].y > slices[2].y


def test_split_by_severity_the_graver_lie_above() -> None:
    drawn = chart({"info": 6, "medium": 2, "high": 1, "critical": 1}, split_by="severity")

    assert drawn
    assert [part.css for part in drawn.bars[0].slices] == ["", "m", "d", "f"]
    assert drawn.bars[0].tip_counts == "10 events, 2 medium, 1 high, 1 critical"


def test_every_value_has_its_layer() -> None:
    drawn_values = {
        name: sorted(value for layer in layers for value in layer.values)
        for name, layers in LAYERS.items()
    }

    assert drawn_values == {"outcome": sorted(OUTCOMES), "severity": sorted(SEVERITIES)}


def test_one_failure_among_thousands_is_seen() -> None:
    drawn = chart({"success": 9_000, "failure": 1})

    assert drawn
    assert drawn.bars[0].slices[-1].height >= 1


def test_a_bar_is_a_link_into_its_time_and_has_a_name() -> None:
    drawn = chart({}, {"success": 3, "denied": 1})

    assert drawn
    assert len(drawn.bars) == 1
    bar = drawn.bars[0]
    assert query_of(bar.url) == {
        "q": "alice",
        "from": "2026-03-15T13:00Z",
        "to": "2026-03-15T14:00Z",
    }
    assert bar.name == "Sun 15 Mar 13:00 – 14:00: 4 events, 1 denied"
    assert bar.x > 50


@pytest.mark.parametrize(
    ("peak", "highest"), [(1, 1), (7, 7), (11, 12), (152, 200), (9_001, 10_000)]
)
def test_the_axis_ends_at_a_number_that_reads_well(peak: int, highest: int) -> None:
    drawn = chart({"success": peak})

    assert drawn
    assert drawn.highest == highest


@pytest.mark.parametrize(
    ("start", "end", "zone"),
    [
        ("2026-03-15T11:45:00Z", "2026-03-15T12:00:00Z", "UTC"),
        ("2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z", "Europe/Oslo"),  # 23 hours in one day
        ("2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z", "Europe/Oslo"),
        ("2026-03-08T12:00:00Z", "2026-03-15T12:00:00Z", "Asia/Kathmandu"),
        ("2026-02-13T12:00:00Z", "2026-03-15T12:00:00Z", "UTC"),
        ("2025-03-15T12:00:00Z", "2026-03-15T12:00:00Z", "UTC"),
        ("2001-03-15T12:00:00Z", "2026-03-15T12:00:00Z", "UTC"),
        ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "Pacific/Kiritimati"),
    ],
)
def test_marks_are_at_most_eight_and_in_order(start: str, end: str, zone: str) -> None:
    found = find_zone(zone)
    assert found
    edges = bucket_edges(Instant.parse(start), Instant.parse(end), zone=found)
    buckets = [
        Bucket(start=edges[index], end=edges[index + 1], counts={"success": 1})
        for index in range(len(edges) - 1)
    ]
    drawn = draw(
        Histogram(buckets=buckets, split_by="outcome"),
        address=ADDRESS,
        moments=Moments(now=NOON, zone=found, name=zone),
    )

    assert drawn
    places = [tick.x for tick in drawn.ticks]
    assert 1 < len(places) <= 8
    assert places == sorted(places)
    assert all(0 <= place < 100 for place in places)
    labels = [tick.label for tick in drawn.ticks]
    assert all(one != other for one, other in itertools.pairwise(labels))
