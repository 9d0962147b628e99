"""Odd records: each becomes an event that a store accepts, or is refused with a reason."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.importers.conftest import is_stored_or_refused, prepared_or_refused
from tests.importers.odd import odd_line
from tests.importers.samples import LINES, RECORDS, SECRETS
from whodid.importers import READERS, RawRecord

COUNT = 1_500


@pytest.mark.parametrize("form", sorted(READERS))
def test_odd_lines_become_events_or_are_refused(form: str) -> None:
    rng = Random(f"odd {form}")
    lines = [odd_line(rng, form) for _ in range(COUNT)]
    reader = READERS[form]

    fates = [
        prepared_or_refused(reader, RawRecord(number=1, start=0, end=0, raw=line)) is not None
        for line in lines
    ]

    assert len(fates) == COUNT
    assert 0.2 * COUNT < sum(fates) < 0.95 * COUNT


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300)
big = st.sampled_from([10**400, -(10**400), float("nan"), float("inf"), "\ud800", "\0", "x" * 5000])
junk = st.recursive(
    scalars | big,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("form", sorted(RECORDS))
@given(data=st.data())
def test_anything_in_place_of_a_field_breaks_nothing(form: str, data: st.DataObject) -> None:
    record = copy.deepcopy(data.draw(st.sampled_from(RECORDS[form])))
    for _ in range(data.draw(st.integers(1, 3))):
        place: Any = record
        while isinstance(place, dict) and place:
            key = data.draw(st.sampled_from(sorted(place)))
            if not isinstance(place[key], dict) or data.draw(st.booleans()):
                place[key] = data.draw(junk)
                break
            place = place[key]

    is_stored_or_refused(form, record)


@pytest.mark.parametrize("form", sorted(RECORDS))
@given(record=st.dictionaries(st.text(max_size=12), junk, max_size=6))
def test_any_object_is_stored_or_refused(form: str, record: dict[str, Any]) -> None:
    is_stored_or_refused(form, record)
    is_stored_or_refused(form, {**RECORDS[form][0], **record})


@pytest.mark.parametrize("form", sorted(RECORDS))
def test_a_number_too_long_to_be_written_breaks_nothing(form: str) -> None:
    for sample in RECORDS[form]:
        for key in sample:
            is_stored_or_refused(form, {**sample, key: 10**5000})
            text = json.dumps({**sample, key: "<huge>"}).replace('"<huge>"', "7" * 5000)
            raw = text.encode()
            prepared_or_refused(READERS[form], RawRecord(number=1, start=0, end=0, raw=raw))


@pytest.mark.parametrize("form", sorted(LINES))
@given(line=st.binary(max_size=300), at=st.integers(0, 200))
def test_any_bytes_in_a_line_are_stored_or_refused(form: str, line: bytes, at: int) -> None:
    sound = LINES[form][at % len(LINES[form])].encode()
    whole = (sound[:at] + line + sound[at:]).replace(b"\n", b" ")

    for raw in (line, whole):
        piece = RawRecord(number=1, start=0, end=len(raw), raw=raw)
        prepared_or_refused(READERS[form], piece)


@pytest.mark.parametrize("form", sorted(LINES))
def test_a_line_of_five_megabytes_is_read_in_a_moment(form: str) -> None:
    for filler in (" from x", "[", '"', "a", "\\", " : TTY="):
        sound = LINES[form][0].encode()
        raw = sound + filler.encode() * (4_000_000 // len(filler))

        prepared_or_refused(READERS[form], RawRecord(number=1, start=0, end=0, raw=raw))


@pytest.mark.parametrize("form", sorted({**RECORDS, **LINES}))
def test_no_secret_of_a_sample_is_in_its_event(form: str) -> None:
    samples = [json.dumps(record).encode() for record in RECORDS.get(form, ())]
    samples += [line.encode() for line in LINES.get(form, ())]
    reader = READERS[form]

    written = [
        prepared.core + b"".join(value for _, value in prepared.units)
        for raw in samples
        if (prepared := prepared_or_refused(reader, RawRecord(number=1, start=0, end=0, raw=raw)))
    ]

    assert written
    assert not [secret for secret in SECRETS if secret.encode() in b"".join(written)]
