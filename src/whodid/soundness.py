"""Is an event sound by the schema: a look at what is new in it, where the rest was seen before.

Events of one application differ in ids, labels and values; who acts, from where, by which request,
which types and fields there are, is the same again and again. `sound` has a whole event read by the
schema only when it holds something that was in no sound event before. What is seen again is told by
identity: parts are immutable, and those that are remembered are kept, so that no other object gets
their address.
"""

from __future__ import annotations

import re

from msgspec import UNSET, UnsetType

from whodid import event as events
from whodid.event import Change, Event, Target

MAX_REMEMBERED = 4_096
_MAX_SHORT = 256
# An event that has one of these is read by the schema.
_SELDOM = (
    "idempotency_key", "category", "operation", "severity", "outcome", "reason", "message", "via",
    "delegation", "scope", "error", "metadata", "tags", "data_classes", "attachments", "window",
)  # fmt: skip
_is_uuid = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII
).fullmatch

# By key and address; under another key the same part may be wrong.
_parts: dict[str, dict[int, object]] = {
    name: {} for name in ("actor", "on_behalf_of", "tenant", "source", "client", "request", "trace")
}
_actions: set[str] = set()
_types: set[str] = set()
_paths: set[str] = set()
_NOTHING = object()


def sound(event: Event) -> Event:
    """The event, which follows the schema.

    Raises:
        EventError: It does not; with the path of the first fault.
    """
    if _is_known(event):
        return event
    found = events.checked(event)
    _remember(event)
    return found


def _is_known(event: Event) -> bool:
    """Is everything in the event known to be sound? False is "not known"."""
    for name in _SELDOM:
        value = getattr(event, name)
        if value is not UNSET and value != ():
            return False
    for name, known in _parts.items():
        part = getattr(event, name)
        if part is not UNSET and known.get(id(part), _NOTHING) is not part:
            return False
    return (
        event.action in _actions
        and event.schema.__class__ is event.count.__class__ is int
        and event.schema == event.count == 1
        and len(event.targets) <= 50
        and len(event.changes) <= 500
        and _is_short(event.correlation_id)
        and event.id.__class__ is str
        and _is_uuid(event.id) is not None
        and all(map(_is_known_target, event.targets))
        and all(map(_is_known_change, event.changes))
    )


def _is_known_target(target: Target) -> bool:
    return (
        target.__class__ is Target
        and target.type in _types
        and _is_short(target.id)
        and _is_short(target.name)
        and target.role is UNSET
        and target.version is UNSET
        and target.url is UNSET
        and target.attributes is UNSET
    )


def _is_known_change(change: Change) -> bool:
    # Old and new were looked at when the change was made.
    return (
        change.__class__ is Change
        and change.path in _paths
        and change.target.__class__ is int
        and change.target == 0
        and change.op is UNSET
        and change.label is UNSET
        and change.redacted is UNSET
    )


def _is_short(text: str | UnsetType) -> bool:
    return text is UNSET or text.__class__ is str and 0 < len(text) <= _MAX_SHORT


def _remember(event: Event) -> None:
    """Keep what a sound event is made of."""
    kept = (*_parts.values(), _actions, _types, _paths)
    if sum(map(len, kept)) > MAX_REMEMBERED:
        for parts in _parts.values():
            parts.clear()
        for words in (_actions, _types, _paths):
            words.clear()
    for name, known in _parts.items():
        part = getattr(event, name)
        if part is not UNSET:
            known[id(part)] = part
    _actions.add(event.action)
    _types.update(target.type for target in event.targets)
    _paths.update(change.path for change in event.changes)
