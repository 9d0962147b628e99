"""What becomes of records, and the vendors' samples beside the checkout."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from whodid import recorder
from whodid.canonical import Encoded
from whodid.errors import InvalidError
from whodid.event import Event, checked
from whodid.importers import READERS, Context, RawRecord, Reader
from whodid.times import Instant

DATA = Path(__file__).parents[2].parent / "shared" / "data"
CONTEXT = Context(until=Instant.parse("2025-06-01T12:00:00Z"))


def event_of(form: str, record: Mapping[str, Any]) -> Event:
    """The event of a record, which a store accepts."""
    event = READERS[form].read(record)
    assert checked(event) == event
    recorder.prepare(event)
    return event


def event_of_line(
    form: str, line: str, *, context: Context = CONTEXT, occurrence: int = 1
) -> Event:
    """The event of a line, which a store accepts."""
    piece = RawRecord(number=1, start=0, end=0, raw=line.encode(), occurrence=occurrence)
    return event_of(form, READERS[form].decode(piece, context))


def prepared_or_refused(reader: Reader, piece: RawRecord) -> Encoded | None:
    """What is stored of a record, None when it is refused as it should be; anything else raises."""
    try:
        return recorder.prepare(reader.read(reader.decode(piece, CONTEXT)))
    except InvalidError:
        return None


def is_stored_or_refused(form: str, record: Mapping[str, Any]) -> bool:
    """True when a decoded record becomes a valid event, False when it is refused."""
    try:
        event_of(form, record)
    except InvalidError:
        return False
    return True


def data_file(*parts: str) -> Path:
    """A file of others' data, beside the checkout."""
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"NOT TESTED: no data of {parts[0]} beside the checkout")
    return path


def vendor_records(log_type: str) -> list[dict[str, Any]]:
    """Records of one product, as its users wrote them down for tests of their own."""
    found = _all_vendor_records(data_file("saas-audit-panther", "events.jsonl.gz"))
    return [item["event"] for item in found if item["log_type"] == log_type]


def vendor_types() -> dict[str, list[dict[str, Any]]]:
    """All of them, by product."""
    found: dict[str, list[dict[str, Any]]] = {}
    for item in _all_vendor_records(data_file("saas-audit-panther", "events.jsonl.gz")):
        found.setdefault(item["log_type"], []).append(item["event"])
    return found


@cache
def _all_vendor_records(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def vendor_lines(*parts: str) -> list[str]:
    """The lines of a log, blank ones left out."""
    with gzip.open(data_file(*parts), "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n") for line in lines if line.strip()]
