from __future__ import annotations

import re
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodid.importers import UnmappableError
from whodid.importers import values as v
from whodid.times import Instant

ACTION = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){1,4}")
KIND = re.compile(r"[a-z][a-z0-9_.]*")
NOON = Instant.parse("2025-01-21T17:39:10.123456Z")


@given(name=st.text(max_size=300), owner=st.sampled_from(["github", "x"]))
def test_every_foreign_name_makes_an_action_of_ours(name: str, owner: str) -> None:
    action = v.action_name(name, owner)

    assert ACTION.fullmatch(action)
    assert len(action) <= 128
    assert not action.startswith("audit.")


@given(st.text(max_size=300))
def test_every_foreign_type_and_code_makes_one_of_ours(name: str) -> None:
    assert KIND.fullmatch(v.kind_name(name, "resource"))
    code = v.code_name(name)
    assert code is None or KIND.fullmatch(code)
    assert len(code or "") <= 64


@given(st.text(max_size=20) | st.integers() | st.none() | st.floats() | st.booleans())
def test_a_text_is_short_and_visible_or_none(value: object) -> None:
    found = v.text(value, 10)

    assert found is None or 0 < len(found) <= 10


@pytest.mark.parametrize(
    ("value", "number"),
    [(7, 7), ("7", 7), ("²", None), (True, None), (1.0, None), (-1, None), (2**53, None)],
)  # fmt: skip
def test_a_whole_number_may_be_a_string(value: object, number: int | None) -> None:
    assert v.whole(value) == number


@pytest.mark.parametrize(
    "written",
    [
        "2025-01-21T17:39:10.123456Z", "2025-01-21 17:39:10.123456", "2025-01-21 17:39:10123456",
        "2025-01-21t18:39:10.123456+01:00", "2025-01-21T17:39:10.123456789 UTC",
        1737481150123456, "1737481150123456", 1737481150123456789,
    ],
)  # fmt: skip
def test_a_time_is_read_in_every_spelling(written: Any) -> None:
    assert v.first_time({"t": written}, "t") == NOON


@given(micros=st.integers(10**14 + 1, 4 * 10**15))
def test_a_number_of_microseconds_is_not_rounded(micros: int) -> None:
    found = v.first_time({"t": micros}, "t")

    assert found
    assert found.micros == micros


@pytest.mark.parametrize(
    "written", ["x", True, [], {}, 10**30, -(10**18), float("nan"), 1e300, " "]
)
def test_a_time_that_cannot_be_read_is_not_guessed(written: Any) -> None:
    with pytest.raises(UnmappableError, match="when: expected a time"):
        v.first_time({"t": written}, "t", name="when")


def test_the_first_key_that_says_is_taken() -> None:
    given_record = {"a": None, "b": "", "c": 1737481150}

    assert v.first_time(given_record, "a", "b", "c")
    assert v.first_time(given_record, "a", "b") is None


@given(
    month=st.integers(-1, 14), day=st.integers(0, 32), hour=st.integers(0, 25),
    until=st.datetimes(timezones=st.just(UTC)),
)  # fmt: skip
def test_the_newest_year_is_never_in_the_future(
    month: int, day: int, hour: int, until: Any
) -> None:
    limit = Instant.of(until)

    moment = v.newest_before((month, day, hour, 0, 0), until=limit, zone=UTC)

    if moment:
        assert moment <= limit
        assert (moment.month, moment.day, moment.hour) == (month, day, hour)


@pytest.mark.parametrize(
    ("url", "path", "names"),
    [
        ("/a?x=1&y=2&x=3", "/a", ["x", "y"]),
        ("/a#x", "/a", []),
        ("/a?q8Zr5tYw1nUv", "/a", []),
        ("/a;jsessionid=1?x=1", "/a", ["x"]),
        ("?x=1", None, ["x"]),
        (None, None, []),
    ],
)
def test_of_an_address_its_path_and_parameter_names_are_kept(
    url: str | None, path: str | None, names: list[str]
) -> None:
    assert v.path_of(url) == path
    assert v.parameter_names(url) == names


def test_what_is_long_too_much_or_secret_is_counted() -> None:
    kept: dict[str, Any] = {}
    part = {
        "short": "a", "long": "x" * 3_000, "password": "x", "none": None, "empty": {}, "nan": 2**60,
        "deep": {"er": 1}, "": 1, ".odd key": 2,
    }  # fmt: skip

    omitted = v.keep_short(kept, part)

    assert kept == {"short": "a", "deep.er": 1, "odd_key": 2}
    assert omitted == 3


def test_no_more_is_kept_than_there_is_room_for() -> None:
    kept: dict[str, Any] = {}

    omitted = v.keep_short(kept, {str(number): "x" * 100 for number in range(50)}, room=1_000)

    assert len(kept) == 9
    assert omitted == 41
