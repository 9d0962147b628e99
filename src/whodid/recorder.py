"""From an event as somebody made it to what a store appends: checked, redacted, filled, encoded.

Server ingest, importers, the command line and the demo all go through `prepare`, so that nothing
reaches a store by another way.
"""

from __future__ import annotations

from collections.abc import Iterable

from whodid import actions, redaction
from whodid.canonical import Encoded, encode
from whodid.errors import BatchError, EventError, InvalidError
from whodid.event import Event

MAX_EVENT_BYTES = 65_536
MAX_BATCH_EVENTS = 1_000


def prepare(event: Event) -> Encoded:
    """Redact, fill and encode an event of an application's.

    Raises:
        EventError: Its action begins with `audit.`, which only whodid writes, or it is too large.
    """
    if event.action.startswith("audit."):
        raise EventError("$.action", "actions beginning with audit. are written by whodid alone")
    return _encoded(event)


def prepare_activity(event: Event) -> Encoded:
    """The same for an event of the log's own, whose action begins with `audit.`."""
    if not event.action.startswith("audit."):
        raise AssertionError("prepare_activity is for the log's own actions")
    return _encoded(event)


def prepare_batch(events: Iterable[Event]) -> list[Encoded]:
    """Prepare every event of a batch.

    Raises:
        BatchError: Names each event that can't be stored.
    """
    prepared: list[Encoded] = []
    errors: list[tuple[int, InvalidError]] = []
    for index, event in enumerate(events):
        try:
            prepared.append(prepare(event))
        except EventError as error:
            errors.append((index, error))
    if errors:
        raise BatchError(errors)
    return prepared


def _encoded(event: Event) -> Encoded:
    encoded = encode(redaction.redact(event), defaults=actions.defaults(event.action))
    if encoded.size_bytes > MAX_EVENT_BYTES:
        raise EventError(
            "$",
            f"the event has {encoded.size_bytes:,} bytes, at most {MAX_EVENT_BYTES:,} are stored",
        )
    return encoded
