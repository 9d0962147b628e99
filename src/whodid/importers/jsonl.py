"""whodid's own events, one JSON object per line: what `search --format jsonl` writes.

What a store adds (`received_at`, `index`) is read over, so that an export can be imported again.
An event without `id` and without `idempotency_key` gets an id derived from what it says, so that
importing a file twice adds nothing; two events that say exactly the same, time included, are one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from whodid.event import ACTOR_TYPES, Event, from_mapping
from whodid.ids import derived_id
from whodid.importers.base import Reader, UnmappableError, record_bytes

_KEYS = frozenset((*Event.__struct_fields__, "received_at", "index", "erased"))


def read(record: Mapping[str, Any]) -> Event:
    """An event of our own schema.

    Raises:
        EventError: It breaks the schema; with the path.
        UnmappableError: It was exported after a part of it was erased.
    """
    if "erased" in record or any(
        isinstance(item, dict) and "erased" in item
        for key in ("targets", "changes")
        for item in (record[key] if isinstance(record.get(key), list) else ())
    ):
        raise UnmappableError("parts of the event were erased; what is left is no event of its own")
    values = {key: value for key, value in record.items() if key not in ("received_at", "index")}
    if "occurred_at" not in values and "received_at" in record:
        values["occurred_at"] = record["received_at"]
    if "id" not in values and "idempotency_key" not in values:
        values["id"] = derived_id("jsonl", record_bytes(values))
    return from_mapping(values)


def recognises(record: Mapping[str, Any]) -> bool:
    """Is this an event of ours? It has an action, an actor of some type, and no foreign key."""
    actor = record.get("actor")
    return (
        isinstance(record.get("action"), str)
        and isinstance(actor, dict)
        and actor.get("type") in ACTOR_TYPES
        and _KEYS.issuperset(record)
    )


JSONL = Reader(
    name="jsonl",
    description="whodid's own events, one JSON object per line",
    read=read,
    recognises=recognises,
)
