"""Which stretch of time an address asks for."""

from __future__ import annotations

from datetime import UTC, timedelta

import pytest

from whodid.errors import InvalidError
from whodid.query.parse import parse
from whodid.testing import NOON
from whodid.times import Instant
from whodid.viewer.moments import Moments, find_zone
from whodid.viewer.window import (
    Window,
    next_wider,
    read_window,
    shifted,
    smallest_range_holding,
    zoomed_out,
)


def window(q: str = "", *, zone: str = "UTC", **params: str) -> Window:
    found = find_zone(zone)
    assert found
    moments = Moments(now=NOON, zone=found, name=zone)
    node = parse(q, now=NOON, zone=found).node
    return read_window(
        {name.rstrip("_"): value for name, value in params.items()}, node=node, moments=moments
    )


def test_without_a_word_it_is_the_last_seven_days() -> None:
    assert window().start == NOON - timedelta(days=7)
    assert window().end is None
    assert window().words == "in 7 days"


@pytest.mark.parametrize(
    ("name", "length"),
    [("15m", timedelta(minutes=15)), ("24h", timedelta(days=1)), ("1y", timedelta(days=365))],
)
def test_a_quick_range_ends_now(name: str, length: timedelta) -> None:
    assert window(range=name).start == NOON - length


def test_all_has_no_ends() -> None:
    assert not window(range="all").is_bounded


def test_given_times_without_offset_are_read_in_the_zone() -> None:
    found = window(from_="2026-03-14T10:00", to="2026-03-14T12:00+00:00", zone="Europe/Oslo")

    assert found.start == Instant.parse("2026-03-14T09:00:00Z")
    assert found.end == Instant.parse("2026-03-14T12:00:00Z")
    assert found.words == "Sat 14 Mar 10:00 – 13:00"


def test_a_search_that_says_when_is_its_own_window() -> None:
    found = window("created:2026-03-01 alice")

    assert found.is_searched
    assert found.start == Instant.parse("2026-03-01T00:00:00Z")
    assert found.end == Instant.parse("2026-03-02T00:00:00Z")


def test_a_chosen_range_counts_before_what_the_search_says() -> None:
    assert window("created:2026-03-01", range="24h").start == NOON - timedelta(days=1)


@pytest.mark.parametrize(
    "params",
    [
        {"range": "5 minutes"},
        {"from_": "soon"},
        {"to": "2026-13-01"},
        {"from_": "2026-03-02", "to": "2026-03-01"},
        {"from_": "10000-01-01"},
        {"from_": "x" * 5_000},
    ],
)
def test_what_cannot_be_read_is_refused(params: dict[str, str]) -> None:
    with pytest.raises(InvalidError):
        window(**params)


def test_the_smallest_range_reaches_back_far_enough() -> None:
    assert smallest_range_holding(Instant.of(NOON - timedelta(minutes=20)), now=NOON) == "1h"
    assert smallest_range_holding(Instant.of(NOON - timedelta(days=29)), now=NOON) == "30d"
    assert smallest_range_holding(Instant.of(NOON - timedelta(days=500)), now=NOON) == "all"
    assert smallest_range_holding(Instant.of(NOON + timedelta(days=1)), now=NOON) == "all"


def test_zooming_out_stays_within_time() -> None:
    first = Instant.of(Instant.min.replace(tzinfo=UTC))
    start, end = zoomed_out(first, NOON)

    assert start == first
    assert end > NOON


def test_a_window_is_shifted_by_its_own_length() -> None:
    end = Instant.of(NOON + timedelta(hours=2))

    assert shifted(NOON, end, by=-1, zone=UTC) == (NOON - timedelta(hours=2), NOON)
    assert shifted(NOON, end, by=1, zone=UTC) == (end, NOON + timedelta(hours=4))


@pytest.mark.parametrize(
    ("start", "end", "before", "after"),
    [
        # In Oslo 2026-03-29 has 23 hours and 2026-10-25 has 25.
        ("03-29T22:00", "03-30T22:00", "03-28T23:00", "03-31T22:00"),
        ("10-25T23:00", "10-26T23:00", "10-24T22:00", "10-27T23:00"),
    ],
)
def test_whole_days_stay_whole_days_when_clocks_change(
    start: str, end: str, before: str, after: str
) -> None:
    zone = find_zone("Europe/Oslo")
    first, last = (Instant.parse(f"2026-{text}:00Z") for text in (start, end))
    assert zone

    earlier = shifted(first, last, by=-1, zone=zone)
    later = shifted(first, last, by=1, zone=zone)
    assert earlier == (Instant.parse(f"2026-{before}:00Z"), first)
    assert later == (last, Instant.parse(f"2026-{after}:00Z"))


def test_a_window_is_not_shifted_out_of_time() -> None:
    first = Instant.of(Instant.min.replace(tzinfo=UTC))

    assert shifted(first, NOON, by=-1, zone=UTC) is None


def test_after_the_widest_range_comes_all() -> None:
    assert [next_wider(name) for name in ("7d", "1y", "all")] == ["30d", "all", "all"]
