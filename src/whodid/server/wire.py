"""What the API answers, as values; the OpenAPI document is made from them.

Names and types here are public: changing one breaks clients. What clients send is `whodid.event`.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from whodid.event import Outcome, Severity

Moment: TypeAlias = Annotated[
    str,
    Meta(description="RFC 3339, UTC, microseconds", extra_json_schema={"format": "date-time"}),
]
# Sliced from the stored bytes, so never decoded here; `openapi` knows its schema.
EventJson: TypeAlias = Annotated[
    Raw, Meta(extra_json_schema={"$ref": "#/components/schemas/StoredEvent"})
]


class Receipt(Struct, frozen=True, kw_only=True):
    """The answer for one event: it is stored."""

    id: Annotated[str, Meta(description="the event's id, yours or the server's")]
    tenant: str
    index: Annotated[
        int | None,
        Meta(description="zero-based position in the tenant's log; null until it is sealed"),
    ]
    received_at: Moment
    duplicate: Annotated[
        bool, Meta(description="it was stored before; this is its first receipt again")
    ]


class Receipts(Struct, frozen=True, kw_only=True):
    """One receipt per event, in the order sent. They are durable."""

    receipts: list[Receipt]


class EventPage(Struct, frozen=True, kw_only=True):
    """Events, newest first."""

    events: list[EventJson]
    older: Annotated[str | None, Meta(description="cursor of the next page, null at the end")]
    newer: Annotated[str | None, Meta(description="cursor of the page before, null at the first")]
    arrived: Annotated[
        int,
        Meta(description="matching events stored since the first page, counted up to 1,000"),
    ]
    warnings: list[str]


class FacetValue(Struct, frozen=True, kw_only=True):
    """One value and how many matching events have it."""

    field: Annotated[str, Meta(description="the qualifier of a search for it, such as `actor.id`")]
    value: Annotated[str, Meta(description="what stands behind that qualifier")]
    label: Annotated[str, Meta(description="what a person reads")]
    count: int


class Facet(Struct, frozen=True, kw_only=True):
    """The commonest values of one field."""

    field: str
    values: list[FacetValue]
    distinct: Annotated[int, Meta(description="how many values there are in all")]
    exact: Annotated[bool, Meta(description="false: the numbers are lower bounds")]


class Facets(Struct, frozen=True, kw_only=True):
    facets: list[Facet]
    warnings: list[str]


class Bucket(Struct, frozen=True, kw_only=True):
    """Events from `start` (inclusive) to `end` (exclusive)."""

    start: Moment
    end: Moment
    total: int
    counts: Annotated[
        dict[str, int], Meta(description="per outcome or severity; those without events are absent")
    ]


class Histogram(Struct, frozen=True, kw_only=True):
    split: str
    size: Annotated[str, Meta(description="how long a bucket is, in words, such as `2 hours`")]
    buckets: list[Bucket]
    exact: Annotated[bool, Meta(description="false: the numbers are lower bounds")]
    warnings: list[str]


class Count(Struct, frozen=True, kw_only=True):
    count: int
    exact: Annotated[bool, Meta(description="false: there are at least so many")]
    warnings: list[str]


class Health(Struct, frozen=True, kw_only=True):
    status: str = "ok"


class Fault(Struct, frozen=True, kw_only=True):
    """What is wrong with one event of a request."""

    index: Annotated[int, Meta(description="zero-based position in the batch")]
    path: Annotated[str, Meta(description="where in that event, as a JSONPath")]
    problem: str


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error (RFC 9457). Which of the further members are there depends on `type`."""

    type: Annotated[str, Meta(description="stable; compare with this")]
    title: str
    status: int
    detail: Annotated[str, Meta(description="what was expected, what came, what to do")]
    errors: Annotated[
        list[Fault] | UnsetType, Meta(description="every faulty event, up to 100")
    ] = UNSET
    faulty: Annotated[int | UnsetType, Meta(description="how many events are faulty in all")] = (
        UNSET
    )
    index: Annotated[int | UnsetType, Meta(description="of the event in conflict")] = UNSET
    path: Annotated[str | UnsetType, Meta(description="the first unit that differs")] = UNSET
    byte: Annotated[int | UnsetType, Meta(description="zero-based, where the JSON breaks")] = UNSET
    parameters: Annotated[
        list[str] | UnsetType, Meta(description="the query parameters that are wrong")
    ] = UNSET
    code: Annotated[str | UnsetType, Meta(description="what is wrong with the query")] = UNSET
    message: str | UnsetType = UNSET
    position: Annotated[int | UnsetType, Meta(description="zero-based character of the query")] = (
        UNSET
    )
    length: Annotated[int | UnsetType, Meta(description="number of faulty characters")] = UNSET
    suggestion: Annotated[str | UnsetType | None, Meta(description="what to write instead")] = UNSET
    error_id: Annotated[
        str | UnsetType, Meta(description="names the entry in the server's own log")
    ] = UNSET


_encoder = msgspec.json.Encoder()


def write(value: Struct) -> bytes:
    """The JSON bytes of an answer."""
    return _encoder.encode(value)


__all__ = [
    "Bucket", "Count", "EventJson", "EventPage", "Facet", "FacetValue", "Facets", "Fault",
    "Health", "Histogram", "Moment", "Outcome", "Problem", "Receipt", "Receipts", "Severity",
    "write",
]  # fmt: skip
