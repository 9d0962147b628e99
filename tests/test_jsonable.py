"""Whatever an application has in its fields becomes JSON that an event may hold."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders_of_events import an_event_with
from whodid import event as events
from whodid.jsonable import MAX_ITEMS, MAX_TEXT, cut, label, plain

_OSLO = timezone(timedelta(hours=1))


class Colour(Enum):
    RED = "red"


@dataclass
class Money:
    amount: Decimal
    currency: str


class Rude:
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, None),
        (True, True),
        (2**53 - 1, 2**53 - 1),
        (2**53, str(2**53)),
        (1.5, 1.5),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (1e300, "1e+300"),
        ("text", "text"),
        ("\ud800", "?"),
        (Decimal("12.50"), "12.50"),
        (date(2026, 3, 1), "2026-03-01"),
        (datetime(2026, 3, 1, 12, tzinfo=_OSLO), "2026-03-01T11:00:00.000000Z"),
        (datetime(2026, 3, 1, 12), "2026-03-01T12:00:00"),  # noqa: DTZ001 - as hosts have them
        (timedelta(minutes=1), 60.0),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"12345", "[5 bytes]"),
        (Colour.RED, "red"),
        (Path("a/b"), "a/b"),
        ({3, 1, 2}, [1, 2, 3]),
        ((1, "a"), [1, "a"]),
        (Money(Decimal("1.0"), "EUR"), {"amount": "1.0", "currency": "EUR"}),
        ({1: {"x": b""}}, {"1": {"x": "[0 bytes]"}}),
        (Rude(), "[Rude without text]"),
    ],
)
def test_a_value_is_written_as_a_person_would(value: Any, written: Any) -> None:
    assert plain(value) == written


def test_what_is_too_long_is_cut_with_a_mark() -> None:
    assert plain("x" * 10_000) == cut("x" * 10_000, MAX_TEXT)
    assert len(plain("x" * 10_000)) == MAX_TEXT
    assert plain("x" * 10_000).endswith("[cut]")
    assert len(plain(list(range(1_000)))) == MAX_ITEMS + 1
    assert plain(list(range(1_000)))[-1].startswith("800 more")
    assert len(plain({str(number): number for number in range(1_000)})) == MAX_ITEMS + 1


def test_what_contains_itself_ends() -> None:
    endless: list[Any] = []
    endless.append(endless)

    assert "nested too deeply" in json.dumps(plain(endless))


def test_a_number_beyond_all_bounds_is_told_by_its_size() -> None:
    assert plain(1 << 100_000) == "[integer of 100,001 bits]"


def test_a_label_is_short_and_never_raises() -> None:
    assert label("x" * 500) == cut("x" * 500, 200)
    assert label(Rude()) == "[Rude without text]"


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=20)
    | st.decimals() | st.datetimes() | st.datetimes(timezones=st.just(UTC)) | st.uuids(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5)
    | st.tuples(inner, inner),
    max_leaves=20,
)  # fmt: skip


@given(_anything)
def test_an_event_may_hold_whatever_comes_out(value: Any) -> None:
    written = plain(value)

    events.checked(an_event_with(metadata={"value": written}))
    assert plain(written) == written
