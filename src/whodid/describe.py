"""What an application's objects are in an event: an actor, a target, a snapshot of fields.

`record(target=invoice)` takes the application's own objects. A `Describer` knows those of a
framework; the log asks each of its describers in turn. What none of them knows is described in the
ways that any object may have: a class name, an `id` or `pk`, a text of its own, and attributes.

Exceptions have a text, too, and some quote in it what they were given: `message_of`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

from msgspec import UNSET

from whodid.event import Actor, Target
from whodid.jsonable import cut, guarded_text, label, plain
from whodid.redaction import redact_text

MAX_ID = 256
_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_KIND = re.compile(r"[a-z][a-z0-9_.]{0,63}")


class Describer(Protocol):
    """Knows the objects of one framework; answers None for all others. Must not query or raise."""

    def actor(self, value: object) -> Actor | None:
        """Who it is, for somebody that may act."""
        ...

    def target(self, value: object) -> Target | None:
        """What it is."""
        ...

    def snapshot(self, value: object) -> Mapping[str, Any] | None:
        """Its fields, name to value; values of any type, see `jsonable`."""
        ...


@lru_cache(maxsize=4096)
def kind_of(name: str) -> str:
    """A class's name as the type of a target: `SalesInvoice` → `sales_invoice`."""
    written = _BORDER.sub("_", name).lower()
    written = re.sub(r"[^a-z0-9_.]+", "_", written).strip("_.")[:64]
    return written if _KIND.fullmatch(written) else "object"


def actor_of(value: object, describers: Sequence[Describer] = ()) -> Actor:
    """The actor that a value stands for: an Actor, a mapping, `"user:7"`, or an object.

    Raises:
        TypeError: A mapping or a text that names none.
    """
    if isinstance(value, Actor):
        return value
    for describer in describers:
        if (found := describer.actor(value)) is not None:
            return found
    if isinstance(value, Mapping):
        return Actor(**_fitted(value))
    if isinstance(value, str):
        kind, _, name = value.partition(":")
        return Actor(type=kind, id=cut(name, MAX_ID)) if name else Actor(type=kind)  # type: ignore[arg-type]  # checked when the event is drafted
    found_id = _id_of(value)
    name = _name_of(value)
    return Actor(type="user" if found_id else "unknown", id=found_id or UNSET, name=name or UNSET)


def target_of(value: object, describers: Sequence[Describer] = ()) -> Target:
    """The target that a value stands for: a Target, a mapping, `"invoice:42"`, a pair, an object.

    Raises:
        TypeError: A mapping or a text that names none.
    """
    if isinstance(value, Target):
        return value
    for describer in describers:
        if (found := describer.target(value)) is not None:
            return found
    if isinstance(value, Mapping):
        return Target(**_fitted(value))
    if isinstance(value, str):
        kind, _, name = value.partition(":")
        return Target(type=kind, id=cut(name, MAX_ID) or UNSET)
    if isinstance(value, tuple) and len(value) in (2, 3):
        kind, id_, *rest = value
        name = label(rest[0]) if rest else ""
        return Target(
            type=str(kind), id=cut(guarded_text(id_), MAX_ID) or UNSET, name=name or UNSET
        )
    name = _name_of(value)
    return Target(type=kind_of(type(value).__name__), id=_id_of(value) or UNSET, name=name or UNSET)


def snapshot_of(value: object, describers: Sequence[Describer] = ()) -> dict[str, Any] | None:
    """The fields of an object as JSON, None when it has none that could be read."""
    for describer in describers:
        if (found := describer.snapshot(value)) is not None:
            return {name: plain(item) for name, item in found.items()}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, str | tuple | Target | type):
        return None
    names = list(getattr(value, "__dict__", ())) or [
        name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())
    ]
    public = [name for name in names if isinstance(name, str) and not name.startswith("_")]
    return {name: plain(getattr(value, name, None)) for name in public} or None


def message_of(error: BaseException, *, limit: int) -> str:
    """What an exception says, at most `limit` characters; empty when it can't say anything.

    Without secrets, and without the values that some libraries quote: pydantic and FastAPI the
    input, SQLAlchemy the parameters of the statement, PostgreSQL the row.
    """
    try:
        text = _message_of(error)
    except Exception:  # noqa: BLE001 - a host's exception: the event says its type at least
        return ""
    # Redacted before it is cut: half of a secret would no longer look like one.
    return str(plain(redact_text(text), max_text=limit))


def _message_of(error: BaseException) -> str:
    errors = getattr(error, "errors", None)
    if type(error).__name__.endswith("ValidationError") and callable(errors):
        return _invalid_places(errors())
    original = getattr(error, "orig", None)
    if hasattr(error, "hide_parameters") and isinstance(original, BaseException):
        error = original
    return guarded_text(error).partition("\nDETAIL:")[0]


def _invalid_places(errors: Sequence[Mapping[str, Any]]) -> str:
    places = [
        f"{'.'.join(map(str, each.get('loc', ())))}: {each.get('type', 'invalid')}"
        for each in errors[:20]
    ]
    return f"{len(errors)} invalid: {', '.join(places)}"


def _name_of(value: object) -> str:
    """The text of an object whose class has one; not what shows a programmer all its fields."""
    kind = type(value)
    if kind.__str__ is object.__str__ or kind.__str__.__module__ in _SHOWS_FIELDS:
        return ""
    return label(value)


# Of pydantic's models; dataclasses, attrs and Structs have none but `__repr__`.
_SHOWS_FIELDS = frozenset({"pydantic.main", "pydantic.v1.utils", "pydantic.utils"})


def _id_of(value: object) -> str:
    for name in ("pk", "id"):
        try:
            found = getattr(value, name, None)
        except Exception:  # noqa: BLE001 - a host's property: an object without an id is one, too
            continue
        if found is not None and not callable(found):
            return cut(guarded_text(found), MAX_ID)
    return ""


def _fitted(given: Mapping[Any, Any]) -> dict[str, Any]:
    """The same with ids as text, since applications have numbers."""
    fitted = {str(name): value for name, value in given.items() if value is not None}
    for name in ("id", "name", "email"):
        if name in fitted and not isinstance(fitted[name], str):
            fitted[name] = guarded_text(fitted[name])
        if name in fitted:
            fitted[name] = cut(fitted[name], MAX_ID)
            if not fitted[name]:
                del fitted[name]
    return fitted
