"""Before and after → the list of changes of an event.

A snapshot is a mapping of a field's name to its value. What is in one alone was added or removed;
what is equal on both sides is no change. Order: as the fields stand in the newer snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from msgspec import UNSET

from whodid.event import Change, Json
from whodid.jsonable import cut, guarded_text, plain

MAX_CHANGES = 500
_MAX_PATH = 256

Changes: TypeAlias = Mapping[str, Any] | Iterable["Change | Mapping[str, Any]"]
"""What `changes_of` takes: `{"status": ("draft", "sent")}`, or Change objects, or mappings with
`path`, `old` and `new`."""


def diff(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[Change]:
    """The changes that lead from one snapshot to the other; None is "there was nothing"."""
    old, new = before or {}, after or {}
    paths = dict.fromkeys([*new, *old])
    changes = []
    for path in paths:
        was, became = old.get(path, UNSET), new.get(path, UNSET)
        if was is not became and not _is_same(was, became):
            changes.append(change(path, old=was, new=became))
    return changes


def change(path: str, *, old: Any = UNSET, new: Any = UNSET) -> Change:
    """One field's change, its values as JSON."""
    return Change(
        path=cut(path, _MAX_PATH) or "?",
        old=old if old is UNSET else plain(old),
        new=new if new is UNSET else plain(new),
    )


def changes_of(given: Changes) -> tuple[Change, ...]:
    """Changes from any of the forms that `record` takes; beyond 500 a last one says how many.

    Raises:
        TypeError: This is none of the forms.
    """
    if isinstance(given, Mapping):
        found = [_from_pair(str(path), sides) for path, sides in given.items()]
    else:
        found = [each if isinstance(each, Change) else _from_mapping(each) for each in given]
    if len(found) <= MAX_CHANGES:
        return tuple(found)
    left = len(found) - MAX_CHANGES + 1
    more = Change(path="…", new=f"{left:,} more changes", redacted="truncated")
    return (*found[: MAX_CHANGES - 1], more)


def _from_pair(path: str, sides: Any) -> Change:
    if isinstance(sides, Change):
        return sides
    if isinstance(sides, Mapping) and sides.keys() <= {"old", "new"}:
        return change(path, old=sides.get("old", UNSET), new=sides.get("new", UNSET))
    if isinstance(sides, tuple | list) and len(sides) == 2:
        return change(path, old=sides[0], new=sides[1])
    raise TypeError(
        f"changes[{cut(path, 40)!r}]: expected a pair (old, new), got {type(sides).__name__}"
    )


def _from_mapping(given: Any) -> Change:
    if not isinstance(given, Mapping) or "path" not in given:
        raise TypeError(
            "changes: expected {path: (old, new)} or a list of Change, "
            f"got an item of type {type(given).__name__}"
        )
    path = guarded_text(given["path"])
    return change(path, old=given.get("old", UNSET), new=given.get("new", UNSET))


def _is_same(was: Json, became: Json) -> bool:
    # `1 == True` and `1 == 1.0`, but a field that went from one to the other changed its type.
    try:
        return type(was) is type(became) and bool(was == became)
    except Exception:  # noqa: BLE001 - a host's __eq__: taken for a change, which its text decides
        return False
