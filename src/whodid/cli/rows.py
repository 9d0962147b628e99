"""One event as one line: when, who, did what, with what outcome, from where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from msgspec import UnsetType

from whodid import actions
from whodid.actions import Fragment
from whodid.cli.text import one_line
from whodid.event import Principal, StoredEvent
from whodid.times import Instant

ICONS = {"success": "✓", "failure": "✗", "denied": "⊘", "error": "‼", "unknown": "?"}
STYLES = {
    "success": "green",
    "failure": "yellow",
    "denied": "red",
    "error": "bold magenta",
    "unknown": "dim",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a line shows; all of it is safe to print.

    Attributes:
        time: When it occurred, in the reader's zone.
        who: Whoever did it, and for whom.
        did: The sentence; `strong` fragments are values of the event.
        origin: Address and country, empty when not known.
    """

    time: datetime
    who: str
    did: Sequence[Fragment]
    outcome: str
    origin: str
    tenant: str
    event_id: str

    @property
    def sentence(self) -> str:
        """What was done, as plain text."""
        return "".join(fragment.text for fragment in self.did)


def row_of(stored: StoredEvent, *, zone: tzinfo) -> Row:
    """The line of one event."""
    return Row(
        time=in_zone(stored.occurred_at, zone),
        who=one_line(_who(stored)),
        did=[Fragment(one_line(text), strong) for text, strong in actions.sentence(stored)],
        outcome=stored.outcome,
        origin=one_line(_origin(stored)),
        tenant=one_line(stored.tenant_id),
        event_id=stored.id,
    )


def in_zone(moment: Instant, zone: tzinfo) -> datetime:
    """The same moment on the clocks there; in UTC where that is no year 0001 to 9999."""
    try:
        return moment.astimezone(zone)
    except (OverflowError, ValueError):
        return moment


def _who(stored: StoredEvent) -> str:
    event = stored.event
    # Whoever failed to sign in is not known; the sentence says whom they named.
    who = "somebody" if actions.is_unproven(stored) else name_of(event.actor)
    return f"{who} for {name_of(event.on_behalf_of)}" if event.on_behalf_of else who


def name_of(principal: Principal | UnsetType) -> str:
    """What a person is called by: name, else e-mail, else id, else what kind of actor it is."""
    if not principal:
        return ""
    return principal.name or principal.email or principal.id or principal.type.replace("_", " ")


def _origin(stored: StoredEvent) -> str:
    client = stored.event.client
    if not client:
        return ""
    country = client.geo.country if client.geo else ""
    return " ".join(part for part in (client.ip, country) if part)
