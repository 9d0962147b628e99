"""Buckets cover the window, are few, and begin at round local times on every day of every zone."""

from __future__ import annotations

import operator
from datetime import UTC, timedelta, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from whodid.query.buckets import bucket_edges, bucket_name
from whodid.query.fields import FIRST, LAST
from whodid.times import Instant

OSLO = ZoneInfo("Europe/Oslo")
ZONES = (
    UTC, OSLO, ZoneInfo("Asia/Kolkata"), ZoneInfo("America/Havana"), ZoneInfo("America/Sao_Paulo"),
    ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Pacific/Apia"), ZoneInfo("Asia/Kathmandu"),
    ZoneInfo("America/Toronto"), ZoneInfo("Africa/Cairo"),
)  # fmt: skip
SECOND, MINUTE, HOUR, DAY = 1, 60, 3600, 86_400
YEAR = 365 * DAY

# Around changes of clocks in one of the zones.
CHANGES = (
    "2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", "2026-03-08T05:00:00Z", "2026-11-01T05:00:00Z",
    "2018-11-04T03:00:00Z", "2026-04-04T15:00:00Z", "2026-10-03T15:30:00Z", "2011-12-30T10:00:00Z",
    "1919-03-31T04:30:00Z", "2026-04-23T22:00:00Z",
)  # fmt: skip
moments = st.one_of(
    st.integers(-170 * YEAR, 130 * YEAR).map(lambda second: Instant.from_micros(second * 10**6)),
    st.builds(
        lambda text, gap: Instant.parse(text) + timedelta(seconds=gap),
        st.sampled_from(CHANGES),
        st.integers(-5 * DAY, DAY),
    ),
)
lengths = st.one_of(
    st.builds(operator.mul, st.integers(1, 500), st.sampled_from([SECOND, MINUTE, HOUR, DAY])),
    st.floats(0.001, 200 * YEAR),
)


def at(text: str) -> Instant:
    return Instant.parse(text)


def shown(edges: list[Instant], zone: tzinfo) -> list[str]:
    return [edge.astimezone(zone).strftime("%d %H:%M") for edge in edges]


@given(moments, lengths, st.sampled_from(ZONES), st.integers(1, 200))
@example(FIRST, 10.0, ZoneInfo("America/Havana"), 84)
@example(FIRST, 40.0 * DAY, OSLO, 3)
@example(FIRST, 9_998.9 * YEAR, UTC, 1)
def test_buckets_cover_the_window_and_are_few(
    start: Instant, length_s: float, zone: tzinfo, target: int
) -> None:
    end = start + timedelta(seconds=length_s)

    edges = bucket_edges(start, end, zone=zone, target=target)

    assert 2 <= len(edges) <= target + 3
    assert edges[0] <= start
    assert edges[-1] >= end
    assert all(earlier < later for earlier, later in pairwise(edges))
    # None of them is beside the window.
    assert edges[1] > start
    assert edges[-2] < end


@given(moments, lengths, st.sampled_from(ZONES))
def test_edges_are_round_local_times(start: Instant, length_s: float, zone: tzinfo) -> None:
    edges = bucket_edges(start, start + timedelta(seconds=length_s), zone=zone)
    number, unit = bucket_name(edges).split()
    size, unit = int(number), unit.rstrip("s")

    for edge in edges:
        local = edge.astimezone(zone)
        assert local.microsecond == 0
        if local.date() != (edge - timedelta(seconds=1)).astimezone(zone).date():
            continue  # the first instant of a day, which need not be midnight
        match unit:
            case "second":
                assert local.second % size == 0
            case "minute":
                assert (local.second, local.minute % size) == (0, 0)
            case "hour":
                assert (local.second, local.minute, local.hour % size) == (0, 0, 0)
            case _:
                pytest.fail(f"{local} is within a day, but the buckets have {number} {unit}")


@given(moments, st.integers(90, 200 * 365), st.sampled_from(ZONES))
def test_edges_of_days_and_more_begin_days(start: Instant, days: int, zone: tzinfo) -> None:
    edges = bucket_edges(start, start + timedelta(days=days), zone=zone)
    number, unit = bucket_name(edges).split()
    size, unit = int(number), unit.rstrip("s")

    for edge in edges:
        local = edge.astimezone(zone)
        yesterday = (edge - timedelta(microseconds=1)).astimezone(zone)
        assert local.date() != yesterday.date()
        assert unit != "week" or local.isoweekday() == 1 or yesterday.isoweekday() > 5
        assert unit not in ("month", "year") or local.month != yesterday.month
        assert unit != "year" or local.year % size == 0


@given(moments, lengths, st.sampled_from(ZONES), st.floats(0, 1))
def test_edges_do_not_depend_on_where_in_its_first_bucket_a_window_begins(
    start: Instant, length_s: float, zone: tzinfo, part: float
) -> None:
    end = start + timedelta(seconds=length_s)
    edges = bucket_edges(start, end, zone=zone)
    later = min(start + part * (edges[1] - start), end, edges[1] - timedelta(microseconds=1))

    others = bucket_edges(later, end, zone=zone)

    if bucket_name(others) == bucket_name(edges) and len(others) > 2:  # else shorter ones will do
        assert others == edges


@pytest.mark.parametrize(
    ("length_s", "name"),
    [
        (0.001, "1 second"),
        (84, "1 second"),
        (85, "5 seconds"),
        (15 * MINUTE, "15 seconds"),
        (HOUR, "1 minute"),
        (DAY, "30 minutes"),
        (2 * DAY, "1 hour"),
        (7 * DAY, "2 hours"),
        (30 * DAY, "12 hours"),
        (84 * DAY, "1 day"),
        (YEAR, "1 week"),
        (5 * YEAR, "1 month"),
        (15 * YEAR, "3 months"),
        (50 * YEAR, "1 year"),
        (200 * YEAR, "5 years"),
    ],
)
def test_the_step_is_the_shortest_usual_one_that_fits(length_s: float, name: str) -> None:
    end = at("2026-03-15T00:00:00Z")

    edges = bucket_edges(end - timedelta(seconds=length_s), end, zone=UTC)

    assert bucket_name(edges) == name


def test_two_hour_bars_begin_at_even_hours_on_the_day_clocks_go_forward() -> None:
    edges = bucket_edges(
        at("2026-03-28T23:00:00Z"), at("2026-03-29T06:00:00Z"), zone=OSLO, target=4
    )

    assert shown(edges, OSLO) == ["29 00:00", "29 04:00", "29 06:00", "29 08:00"]


def test_two_hour_bars_begin_at_even_hours_on_the_day_clocks_go_back() -> None:
    edges = bucket_edges(
        at("2026-10-24T22:00:00Z"), at("2026-10-25T05:00:00Z"), zone=OSLO, target=4
    )

    assert shown(edges, OSLO) == ["25 00:00", "25 02:00", "25 04:00", "25 06:00"]


def test_an_hour_that_comes_twice_has_two_bars() -> None:
    edges = bucket_edges(
        at("2026-10-25T00:00:00Z"), at("2026-10-25T03:00:00Z"), zone=OSLO, target=4
    )

    assert shown(edges, OSLO) == ["25 02:00", "25 02:00", "25 03:00", "25 04:00"]


def test_an_hour_that_is_left_out_has_none() -> None:
    edges = bucket_edges(
        at("2026-03-29T00:00:00Z"), at("2026-03-29T03:00:00Z"), zone=OSLO, target=3
    )

    assert shown(edges, OSLO) == ["29 01:00", "29 03:00", "29 04:00", "29 05:00"]


def test_days_have_23_or_25_hours_when_clocks_change() -> None:
    spring = bucket_edges(
        at("2026-03-27T23:00:00Z"), at("2026-03-30T22:00:00Z"), zone=OSLO, target=3
    )
    autumn = bucket_edges(
        at("2026-10-23T22:00:00Z"), at("2026-10-26T23:00:00Z"), zone=OSLO, target=4
    )

    assert [(b - a) // timedelta(hours=1) for a, b in pairwise(spring)] == [24, 23, 24]
    assert [(b - a) // timedelta(hours=1) for a, b in pairwise(autumn)] == [24, 25, 24]
    assert bucket_name(spring) == bucket_name(autumn) == "1 day"


def test_a_day_that_a_zone_left_out_has_no_bar() -> None:
    apia = ZoneInfo("Pacific/Apia")

    edges = bucket_edges(
        at("2011-12-29T10:00:00Z"), at("2012-01-01T10:00:00Z"), zone=apia, target=3
    )

    assert shown(edges, apia) == ["29 00:00", "31 00:00", "01 00:00", "02 00:00"]


def test_half_hour_shifts_are_caught_up_with() -> None:
    howe = ZoneInfo("Australia/Lord_Howe")

    edges = bucket_edges(
        at("2026-04-04T13:00:00Z"), at("2026-04-04T18:30:00Z"), zone=howe, target=6
    )

    assert shown(edges, howe) == [
        "05 00:00",
        "05 01:00",
        "05 02:00",
        "05 03:00",
        "05 04:00",
        "05 05:00",
    ]


@pytest.mark.parametrize("zone", ZONES)
def test_an_empty_or_reversed_window_has_one_bucket(zone: tzinfo) -> None:
    for moment in (FIRST, at("2026-03-15T12:00:00Z"), LAST):
        assert len(bucket_edges(moment, moment, zone=zone)) == 2
        assert len(bucket_edges(moment, FIRST, zone=zone)) == 2


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("target", [1, 2, 84])
def test_all_of_time_has_buckets(zone: tzinfo, target: int) -> None:
    edges = bucket_edges(FIRST, LAST, zone=zone, target=target)

    assert (edges[0], edges[-1]) == (FIRST, LAST)
    assert len(edges) <= target + 3


def test_a_name_without_a_bucket_is_our_own_fault() -> None:
    with pytest.raises(AssertionError):
        bucket_name([FIRST])
