"""Events for tests, of which only what matters is said."""

from __future__ import annotations

from typing import Any

from whodid.event import Actor, Event


def an_event_with(**fields: Any) -> Event:
    """An event of the constructor's making, unchecked."""
    return Event(**{"action": "invoice.update", "actor": Actor(type="system"), **fields})
