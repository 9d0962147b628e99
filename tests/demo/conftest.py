"""A month of the demo, made once: it takes seconds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from whodid import actions, demo
from whodid.event import Event, StoredEvent
from whodid.times import Instant

SEED = 7
NOW = Instant.parse("2026-11-19T06:27:00Z")  # 07:27 in Oslo, a Thursday


def when(event: Event) -> Instant:
    assert event.occurred_at
    return event.occurred_at


def as_stored(event: Event) -> StoredEvent:
    """The event with what a store fills in."""
    filled: dict[str, Any] = {
        key: getattr(event, key) or value for key, value in actions.defaults(event.action).items()
    }
    event = msgspec.structs.replace(event, outcome=event.outcome or "success", **filled)
    return StoredEvent(event=event, received_at=when(event), index=0, position=0)


@pytest.fixture(scope="session")
def month() -> list[Event]:
    return list(demo.history(seed=SEED, now=NOW))


@pytest.fixture(scope="session")
def stored_month(month: list[Event]) -> list[StoredEvent]:
    return [as_stored(event) for event in month]
