"""How somebody or something that acts is named and drawn: the shape tells the kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from whodid.actions import is_unproven
from whodid.event import Event, Principal, StoredEvent
from whodid.viewer.text import initials

Shape = Literal["person", "machine", "agent", "gone"]

KINDS = {
    "user": "Person",
    "service_account": "Service account",
    "api_key": "API key",
    "ai_agent": "AI agent",
    "system": "System",
    "scheduled_job": "Scheduled job",
    "device": "Device",
    "anonymous": "Anonymous",
    "external": "External",
    "unknown": "Unknown",
}
_ICONS: dict[str, tuple[Shape, str]] = {
    "user": ("person", "user"),
    "service_account": ("machine", "gear"),
    "api_key": ("machine", "key"),
    "ai_agent": ("agent", "spark"),
    "system": ("machine", "gear"),
    "scheduled_job": ("machine", "clock"),
    "device": ("machine", "device"),
    "anonymous": ("person", "user"),
    "external": ("machine", "globe"),
    "unknown": ("person", "help"),
}
_IN_THE_NAME_OF = frozenset({"impersonation", "support_access"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who stands in a row or a chain.

    Attributes:
        letters: Initials inside the shape, or "" for an icon.
        is_double: Drawn with a second ring: acts as somebody else.
    """

    name: str
    shape: Shape
    icon: str
    letters: str = ""
    is_double: bool = False


def actor_of(stored: StoredEvent) -> Person:
    """The actor of an event, or the mark of an erased one."""
    if "/actor" in stored.gone:
        return Person(name="Erased person", shape="gone", icon="gone")
    if is_unproven(stored):
        # The one who was named may be the victim; the sentence says the name.
        return Person(name="Somebody", shape="person", icon="help")
    return portray(stored.event.actor, is_double=acts_as(stored.event))


def portray(principal: Principal, *, is_double: bool = False) -> Person:
    """Name and shape of anybody."""
    name = name_of(principal)
    shape, icon = _ICONS[principal.type]
    letters = initials(name) if principal.type == "user" else ""
    return Person(name=name, shape=shape, icon=icon, letters=letters, is_double=is_double)


def name_of(principal: Principal) -> str:
    """Name, else e-mail address, else id, else what kind it is."""
    return principal.name or principal.email or principal.id or KINDS[principal.type]


def acts_as(event: Event) -> bool:
    """Did the actor act under somebody else's identity, not only for them?"""
    return bool(
        event.on_behalf_of and event.delegation and event.delegation.kind in _IN_THE_NAME_OF
    )


def second_name(stored: StoredEvent) -> tuple[str, str] | None:
    """For whom or as whom: `("for", "Mira Okafor")`."""
    if "/on_behalf_of" in stored.gone:
        return "for", "an erased person"
    if not stored.event.on_behalf_of:
        return None
    return ("as" if acts_as(stored.event) else "for"), name_of(stored.event.on_behalf_of)
