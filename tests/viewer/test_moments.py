"""Times as people read them."""

from __future__ import annotations

import pytest

from whodid.times import Instant
from whodid.viewer.moments import Moments, find_zone, span


def moments(now: str, zone: str = "Europe/Oslo") -> Moments:
    found = find_zone(zone)
    assert found
    return Moments(now=Instant.parse(now), zone=found, name=zone)


def test_a_day_begins_at_midnight_of_the_zone() -> None:
    oslo = moments("2026-11-19T06:27:00Z")

    assert oslo.day(Instant.parse("2026-11-18T23:00:00Z")) == ("Today", "Thursday 19 November")
    assert oslo.day(Instant.parse("2026-11-18T22:59:59Z")) == ("Yesterday", "Wednesday 18 November")
    assert oslo.day(Instant.parse("2026-11-17T12:00:00Z")) == ("Tuesday", "17 November")
    assert oslo.day(Instant.parse("2025-11-17T12:00:00Z")) == ("Monday", "17 November 2025")


@pytest.mark.parametrize("hour", ["22:30", "23:30"])
def test_yesterday_is_yesterday_also_when_clocks_change(hour: str) -> None:
    # In Oslo 2026-03-29 has 23 hours and 2026-10-25 has 25.
    spring, autumn = moments("2026-03-30T10:00:00Z"), moments("2026-10-26T10:00:00Z")

    assert spring.day(Instant.parse("2026-03-29T12:00:00Z"))[0] == "Yesterday"
    assert autumn.day(Instant.parse("2026-10-25T12:00:00Z"))[0] == "Yesterday"
    assert autumn.day(Instant.parse(f"2026-10-24T{hour}:00Z"))[0] == "Yesterday"


def test_a_full_time_has_its_milliseconds_and_its_offset() -> None:
    moment = Instant.parse("2026-11-19T01:51:47.218999Z")

    assert moments("2026-11-19T06:27:00Z").full(moment) == "Thu 19 Nov 2026, 02:51:47.218 +01:00"
    assert moments("2026-11-19T06:27:00Z", "UTC").full(moment).endswith("01:51:47.218 UTC")


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        ("2026-11-19T06:26:57Z", "just now"),
        ("2026-11-19T06:26:20Z", "40 s ago"),
        ("2026-11-19T06:24:00Z", "3 min ago"),
        ("2026-11-19T01:51:47Z", "4 h 35 min ago"),
        ("2026-11-18T01:51:47Z", "28 h ago"),
        ("2026-11-16T01:51:47Z", "3 days ago"),
        ("2024-11-16T01:51:47Z", "2 years ago"),
        ("2026-11-19T06:30:00Z", "in 3 min"),
    ],
)
def test_how_long_ago_it_was(moment: str, words: str) -> None:
    assert moments("2026-11-19T06:27:00Z").ago(Instant.parse(moment)) == words


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"])
def test_the_ends_of_time_can_be_shown_in_every_zone(moment: str, zone: str) -> None:
    here = moments("2026-11-19T06:27:00Z", zone)
    end = Instant.parse(moment)

    assert all((here.full(end), here.day(end), here.ago(end), here.between(end, end)))


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ("2026-11-19T01:00:00Z", "2026-11-19T03:00:00Z", "Thu 19 Nov 02:00 – 04:00"),
        ("2026-11-18T23:00:00Z", "2026-11-19T23:00:00Z", "Thu 19 Nov"),
        ("2026-11-11T23:00:00Z", "2026-11-19T23:00:00Z", "12 Nov – 19 Nov"),
        ("2025-11-18T23:00:00Z", "2025-11-19T23:00:00Z", "Wed 19 Nov 2025"),
        ("2026-11-18T22:00:00Z", "2026-11-19T03:00:00Z", "Wed 18 Nov 23:00 – Thu 19 Nov 04:00"),
    ],
)
def test_a_stretch_of_time_is_said_as_shortly_as_it_can_be(
    start: str, end: str, words: str
) -> None:
    oslo = moments("2026-11-19T06:27:00Z")

    assert oslo.between(Instant.parse(start), Instant.parse(end)) == words


@pytest.mark.parametrize(
    "name", ["Mars/Base", "Europe", "../../etc/passwd", "Europe/Oslo\x00", "", "a" * 500, "Ünited"]
)
def test_what_is_no_zone_is_not_found(name: str) -> None:
    assert find_zone(name) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59, "59 s"), (3600, "1 h"), (90_000, "25 h"), (172_800, "2 days")],
)
def test_a_length_of_time(seconds: int, words: str) -> None:
    assert span(seconds) == words
