"""Instants: one spelling, one number, and nothing that is no instant."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.format_reference import time_text
from whodid.times import Instant

BERLIN = ZoneInfo("Europe/Berlin")
FIRST = "0001-01-01T00:00:00.000000Z"
LAST = "9999-12-31T23:59:59.999999Z"

aware = st.datetimes(
    min_value=datetime(1, 1, 3),  # noqa: DTZ001  # the zone comes from `timezones`
    max_value=datetime(9999, 12, 29),  # noqa: DTZ001  # as above
    timezones=st.timezones(),
)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("2026-03-15T11:00:00Z", "2026-03-15T11:00:00.000000Z"),
        ("2026-03-15t11:00:00z", "2026-03-15T11:00:00.000000Z"),
        ("2026-03-15T12:00:00.25+01:00", "2026-03-15T11:00:00.250000Z"),
        ("2026-03-15T11:00:00-00:00", "2026-03-15T11:00:00.000000Z"),
        ("2026-01-01T00:00:00.999999999Z", "2026-01-01T00:00:00.999999Z"),
        ("2026-01-01T00:00:00." + "9" * 500 + "Z", "2026-01-01T00:00:00.999999Z"),
        ("2024-02-29T23:59:59.1-23:59", "2024-03-01T23:58:59.100000Z"),
        ("0001-01-01T23:59:00+23:59", FIRST),
        ("9999-12-31T00:00:59.9999999-23:59", LAST),
    ],
)
def test_a_time_has_one_spelling(text: str, canonical: str) -> None:
    assert str(Instant.parse(text)) == canonical == time_text(text)
    assert str(Instant.parse(canonical)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2026-03-15", "2026-03-15T11:00", "2026-03-15T11:00:00", "2026-03-15 11:00:00Z",
        "2026-03-15T11:00:00.Z", "2026-03-15T11:00:00,5Z", "2026-03-15T11:00:00+01",
        "2026-03-15T11:00:00+0100", "2026-03-15T11:00:00+01:00:00", "2026-03-15T11:00:00+24:00",
        "2026-03-15T11:00:00+01:60", "2026-03-15T24:00:00Z", "2026-03-15T23:60:00Z",
        "2016-12-31T23:59:60Z", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z",
        "-2026-03-15T11:00:00Z", "20260315T110000Z", "2026-W11-7T11:00:00Z", "2026-074T11:00:00Z",
        " 2026-03-15T11:00:00Z", "2026-03-15T11:00:00Z\n", "٢٠٢٦-03-15T11:00:00Z",
        "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-00:01", "2026-03-15T11:00:00Z\0",
    ],
)  # fmt: skip
def test_what_names_no_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected an RFC 3339 time|no such day or second"):
        Instant.parse(text)


@given(aware)
def test_spelling_and_number_lead_back_to_the_instant(moment: datetime) -> None:
    instant = Instant.of(moment)

    # Not `== moment`: Python calls times in a clock change unequal to any in another zone.
    assert instant == moment.astimezone(UTC)
    assert instant.tzinfo is UTC
    assert Instant.parse(str(instant)) == instant
    assert Instant.from_micros(instant.micros) == instant


@given(aware, aware)
def test_spellings_and_numbers_sort_as_the_instants_do(one: datetime, other: datetime) -> None:
    first, second = sorted([Instant.of(one), Instant.of(other)])

    assert str(first) <= str(second)
    assert first.micros <= second.micros
    assert (first == second) == (str(first) == str(second)) == (first.micros == second.micros)


def test_micros_count_from_1970_also_backwards() -> None:
    assert Instant.parse("1970-01-01T00:00:00Z").micros == 0
    assert Instant.parse("1970-01-01T00:00:00.0000019Z").micros == 1
    assert Instant.parse("1969-12-31T23:59:59.999999Z").micros == -1
    assert Instant.parse(FIRST).micros == -62_135_596_800_000_000
    assert Instant.parse(LAST).micros == 253_402_300_799_999_999
    # Columns hold these; in JSON they would be misread from 2255 on.
    assert Instant.parse("2255-06-06T00:00:00Z").micros > 2**53


def test_a_naive_datetime_names_no_instant() -> None:
    with pytest.raises(ValueError, match="with a zone, got a naive one"):
        Instant.of(datetime(2026, 3, 15))  # noqa: DTZ001  # what is refused


@pytest.mark.parametrize("offset", [14, -14])
def test_an_instant_beyond_the_years_1_to_9999_in_utc_is_refused(offset: int) -> None:
    zone = timezone(timedelta(hours=offset))
    edge = datetime.min.replace(tzinfo=zone) if offset > 0 else datetime.max.replace(tzinfo=zone)
    with pytest.raises(OverflowError):
        Instant.of(edge)


def test_an_instant_shown_in_a_zone_still_spells_utc() -> None:
    instant = Instant.parse("2026-07-01T22:30:00Z")

    local = instant.astimezone(BERLIN)

    assert (local.day, local.hour) == (2, 0)
    assert str(local) == str(instant) == "2026-07-01T22:30:00.000000Z"
    assert Instant.of(local).micros == instant.micros


def test_arithmetic_gives_instants_and_spans() -> None:
    instant = Instant.parse("2026-03-29T00:30:00Z")

    later = instant + timedelta(hours=1)

    assert type(later) is Instant
    assert str(later) == "2026-03-29T01:30:00.000000Z"
    assert later - instant == timedelta(hours=1)
    assert later.micros - instant.micros == 3_600_000_000


def test_now_is_this_machine_s_clock_in_utc() -> None:
    before = datetime.now(UTC)
    now = Instant.now()

    assert type(now) is Instant
    assert before <= now <= datetime.now(UTC)


def test_an_instant_survives_copies_and_other_processes() -> None:
    instant = Instant.parse(LAST)

    for twin in (copy.deepcopy(instant), pickle.loads(pickle.dumps(instant))):
        assert type(twin) is Instant
        assert str(twin) == LAST
