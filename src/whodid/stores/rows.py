"""What is derived from an event: columns, references, and the identity of its actor.

Every store keeps these beside the body to find events by; all of it can be rebuilt from the body,
and verification does so to compare. Pure.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from enum import IntEnum

import msgspec
from msgspec import Struct

from whodid.canonical import Labels
from whodid.event import (
    CATEGORIES,
    OPERATIONS,
    OUTCOMES,
    SEVERITIES,
    Actor,
    Event,
    StoredEvent,
    packed_ip,
)
from whodid.times import Instant

CODEC_RAW = 0
"""How a body is stored: as it is."""


class RefKind(IntEnum):
    """In which role somebody or something appears in an event. Stored: never renumber."""

    TARGET = 1
    BEHALF = 3  # 2 were actors, which the dictionary finds
    VIA = 4


class Columns(Struct, frozen=True, kw_only=True):
    """The findable side of an event. Text is "" where the event has none."""

    occurred_at: int
    received_at: int
    actor: str
    action: str
    category: int
    operation: int
    severity: int
    outcome: int
    app: str
    country: str
    agent: str
    ip: bytes | None
    refs: tuple[tuple[RefKind, str], ...]


def derive(event: Event, *, labels: Labels, received_at: Instant) -> Columns:
    """The columns of an event.

    Args:
        labels: Category, operation, severity and outcome, which the event may leave out.
    """
    client, source = event.client, event.source
    return Columns(
        occurred_at=(event.occurred_at or received_at).micros,
        received_at=received_at.micros,
        actor=actor_text(event.actor),
        action=event.action,
        category=CATEGORIES.index(labels.category),
        operation=OPERATIONS.index(labels.operation),
        severity=SEVERITIES.index(labels.severity),
        outcome=OUTCOMES.index(labels.outcome),
        app=(source.app or "") if source else "",
        country=(client.geo.country or "") if client and client.geo else "",
        agent=(client.user_agent or "") if client else "",
        ip=packed_ip(client.ip) if client and client.ip else None,
        refs=tuple(dict.fromkeys(_references(event))),
    )


def derive_stored(stored: StoredEvent) -> Columns:
    """The columns of a stored event, from its body alone."""
    event = stored.event
    labels = Labels(
        category=event.category or "",
        operation=event.operation or "",
        severity=event.severity or "",
        outcome=event.outcome or "",
    )
    return derive(event, labels=labels, received_at=stored.received_at)


def _references(event: Event) -> Iterator[tuple[RefKind, str]]:
    for target in event.targets:
        if target.id:
            yield RefKind.TARGET, target.id
    if event.on_behalf_of and event.on_behalf_of.id:
        yield RefKind.BEHALF, event.on_behalf_of.id
    for principal in event.via:
        if principal.id:
            yield RefKind.VIA, principal.id


def reference_hash(key: bytes, *, tenant: str, name: str) -> int:
    """A signed 64-bit hint for finding events by somebody's or something's id.

    Keyed, so that ids can't be tried against a stolen index; casefolded, so that searches that
    ignore case use it; without the type, so that `target.id:42` alone does.
    """
    digest = hmac.digest(key, tenant.encode() + b"\0" + name.casefold().encode(), "sha256")
    return int.from_bytes(digest[:8], "big", signed=True)


def log_id(key: bytes, *, tenant: str) -> str:
    """The public name of a tenant's tree: 16 hex digits that tell nothing, yet can be checked."""
    return hmac.digest(key, b"whodid.log\n" + tenant.encode(), "sha256")[:8].hex()


def actor_text(actor: Actor) -> str:
    """The identity of an actor as one text: what the dictionary of actors holds."""
    identity = (actor.type, actor.id or None, actor.name or None, actor.email or None)
    return msgspec.json.encode(identity).decode()


def actor_from_text(text: str) -> Actor:
    """The actor of such a text; roles and the like are not in it."""
    kind, name_id, name, email = msgspec.json.decode(text)
    values = {"type": kind, "id": name_id, "name": name, "email": email}
    return Actor(**{key: value for key, value in values.items() if value is not None})
